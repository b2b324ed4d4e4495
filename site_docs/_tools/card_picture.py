"""Draw the picture that other sites show beside a link to this one.

`python site_docs/_tools/make_pages.py card_picture` draws `site_docs/assets/card.png`,
1200 x 630 pixels, in a Chromium, as `widget_pictures` does.
"""

from __future__ import annotations

import os
import pathlib

from records import SITE

PICTURE = SITE / "assets" / "card.png"
HTML = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; width: 1200px; height: 630px; box-sizing: border-box;
  padding: 70px 80px; background: #27405e; color: #fff;
  font-family: system-ui, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 26px; font-size: 74px; line-height: 1.1; }
p { margin: 0; font-size: 34px; color: #e4ebf4; }
div { display: flex; gap: 28px; margin-top: 84px; }
span { flex: 1; padding: 30px 0; border-radius: 14px; font-size: 34px; font-weight: 600;
  text-align: center; }
</style><body><h1>Distributed training, understood</h1>
<p>PyTorch DDP, on the computer that you have</p>
<div>
<span style="background:#1565c0">rank 0</span>
<span style="background:#b34700">rank 1</span>
<span style="background:#2e7d32">rank 2</span>
<span style="background:#7b1fa2">rank 3</span>
</div>"""


def files() -> dict[pathlib.Path, bytes]:
    """Draw the picture.

    Returns:
        The PNG, by path.
    """
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(HTML)
        drawn = page.screenshot()
        browser.close()
    return {PICTURE: drawn}
