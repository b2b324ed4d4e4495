"""Draw the pictures that stand in a page where widgets cannot run.

Each widget draws itself, in Chromium, into `site_docs/diagrams/widget-NAME.svg`; the
files `site_docs/widgets/NAME.html` show them inside the widgets' elements.

`python site_docs/_tools/make_pages.py widget_pictures` renews them. It needs playwright
and a Chromium: the one of the system (CHROMIUM, or /usr/bin/chromium), or playwright's.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import docs_site
from records import SITE

ASSETS = SITE / "assets"
PICTURES = SITE / "diagrams"
WIDTH = 560
# Where the element draws on canvases, another module draws the picture.
MODULES = {"live-ddp": "ddp.picture"}
# What a picture is called, and what it shows, for those who do not see it.
DESCRIPTIONS = {
    "ring-all-reduce": (
        "Four ranks in a ring after three of six steps",
        "Each rank holds four chunks. One of them is finished, at each rank another: "
        "10 at rank 3, 20 at rank 0, 30 at rank 1, 40 at rank 2. It is on its way to "
        "the right neighbour, where it will replace the same chunk.",
    ),
    "bucket-timeline": (
        "Buckets of 25 MiB on a network of 5 Gbit/s",
        "Backward fills three buckets in order. The first two travel while backward "
        "goes on. The third is full when it is over: all of its way is exposed.",
    ),
    "hang-view": (
        "Rank 1 of three leaves out its call 2, a barrier",
        "The calls of each rank downwards, by number. Calls 0 and 1 meet on all ranks. "
        "In call 2 ranks 0 and 2 wait in the barrier, and rank 1 in the all-reduce "
        "that follows in its program. The calls after that are never made.",
    ),
    "life-of-step": (
        "One recorded step of two ranks",
        "Rank 0 computes above, rank 1 below; between them their three buckets. Rank 1 "
        "is earlier with each bucket, which waits, dashed, for rank 0's. Two buckets "
        "travel while backward goes on. For the last one both ranks wait at the end of "
        "backward. Then both take the optimizer step.",
    ),
    "live-ddp": (
        "Four ranks train one model: at the start, after 60 and after 300 steps",
        "What each of four replicas answers for every point of a square: three areas, "
        "which become three spiral arms. At every moment the four pictures are equal. "
        "Below them: the loss of the global batch, and the largest differences between "
        "ranks and to one process.",
    ),
    "sampler-view": (
        "Eleven rows dealt to three ranks",
        "Above, the order of the rows, each with the rank that gets it: 0, 1, 2, 0, 1, "
        "2 and so on. Below, ranks 0, 1 and 2 with four rows each: twelve places for "
        "eleven rows. The last place of rank 2 repeats the first row of rank 0.",
    ),
    "speed-up": (
        "Predicted speed-up over the number of ranks, on a network of 10 Gbit/s",
        "The ideal rises as a straight line. The predicted curve leaves it at once "
        "and hardly rises after 4 ranks. A measured point, two ranks on one machine "
        "with two cores, lies below 1.",
    ),
    "where-time": (
        "From one process's step to that of two ranks on the same two cores",
        "The step of one process as a bar, below it what each part grew or shrank by. "
        "Forward and backward hardly change. Communication is added, and the optimizer "
        "takes longer. So the last bar, the step of two ranks, is longer than the "
        "first; half of the first would be ideal.",
    ),
    "will-it-fit": (
        "What one of eight ranks holds of a model with seven billion parameters",
        "Four bars of weights, gradients, optimizer state and activations, with lines "
        "where cards of 16, 24, 40 and 80 GB end. DDP is longer than all of them; "
        "ZeRO-1 fits into 80 GB, ZeRO-2 into 40 GB, ZeRO-3 into 16 GB.",
    ),
}


def pictures() -> dict[str, str]:
    """Let every widget draw itself: name -> SVG."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    path = chromium if pathlib.Path(chromium).is_file() else None
    with docs_site.served(ASSETS) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(f"{address}/diagrams.css")
        drawn = {name: _drawn(page, address, name) for name in DESCRIPTIONS}
        browser.close()
    return drawn


def _drawn(page: Any, address: str, name: str) -> str:
    svg = page.evaluate(
        """async ([module, name, width]) => {
          const drawn = await import(module);
          if (name === "live-ddp") return (await drawn.picture(width)).outerHTML;
          const element = document.createElement(name);
          element.name = `picture-${name}`;
          await element.prepare();
          element.controls();
          return element.picture(width).outerHTML;
        }""",
        [f"{address}/widgets/{MODULES.get(name, name)}.js", name, WIDTH],
    )
    title, words = DESCRIPTIONS[name]
    # WHY inside the picture: without JavaScript nobody loads the widgets' style sheets.
    style = (ASSETS / "widgets" / "figures.css").read_text(encoding="utf-8")
    style = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL))
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:width|height)="\d+(\.\d+)?"', "", head)
    ids = f"widget-{name}-title widget-{name}-desc"
    lines = [
        f'{head} role="img" aria-labelledby="{ids}" style="min-width: 460px">',
        f'<title id="widget-{name}-title">{title}</title>',
        f'<desc id="widget-{name}-desc">{words}</desc>',
        f"<style>{style.strip()}</style>",
        body.replace("><", ">\n<"),
    ]
    return "\n".join(lines) + "\n"


def files() -> dict[pathlib.Path, str]:
    """Every picture."""
    return {PICTURES / f"widget-{name}.svg": svg for name, svg in pictures().items()}
