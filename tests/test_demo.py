"""Proofs for apps/page, in a real browser: what a visitor sees, and what leaves."""

from __future__ import annotations

import contextlib
import pathlib
import re
import socket
from collections.abc import Generator
from typing import Any

import pytest
from helpers.browsing import DESK, PHONE, Visit, free_port, wait_for_answer
from helpers.running import HELPERS, Program

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

# WHY: a browser takes seconds to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
STORY = HELPERS / "demo_program.py"


def serve(folder: pathlib.Path, *, guarded: str = "yes", num_classes: int = 4) -> Any:
    folder.mkdir()
    port = free_port()
    program = Program((STORY, port, guarded, num_classes), folder=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(program, f"{url}/ui", timeout_s=60)
    except AssertionError:
        program.kill_everything()
        raise
    return program, url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    program, url = serve(tmp_path_factory.mktemp("demo") / "served")
    yield url
    program.kill_everything()


def test_a_typed_headline_gets_four_bars_and_the_seconds(
    chromium: Any, server: str
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    assert visit.bars() == []
    visit.type("slow: a goal in the last minute")
    visit.sees("Reading")
    visit.sees("Answered in 0.5")  # the service waits half a second
    want = ["Sports 60%", "Business 25%", "World 10%", "Sci/Tech 5%"]
    assert [row.replace(" - ", " ") for row in visit.bars()] == want
    assert visit.faults == []
    visit.keep_picture("desk_light")


def test_an_example_is_filled_in_and_answered_by_one_click(
    chromium: Any, server: str
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.page.get_by_role("button", name="Space probe").click()
    visit.sees("Answered in")
    assert visit.box.input_value().startswith("Space probe sends first pictures")
    assert visit.bars()[0].startswith("Sci/Tech")


def test_of_many_classes_the_likeliest_are_shown(
    chromium: Any, tmp_path: pathlib.Path
) -> None:
    program, url = serve(tmp_path / "served", num_classes=25)
    try:
        visit = Visit(chromium, f"{url}/ui", size=DESK)
        visit.sees("class 18, class 19 and 5 more")
        visit.type("any text")
        visit.sees("Answered in")
        *bars, rest = visit.bars()
        # Scores grow with the number: k of 0 + 1 + ... + 24 = 300.
        want = [f"class {k} {round(100 * k / 300)}%" for k in range(24, 14, -1)]
        assert bars == want
        assert rest == "and 15 more classes"
        assert visit.faults == []
    finally:
        program.kill_everything()


SENTENCES = {
    "": "Type a text first",
    "   ": "Type a text first",
    "x" * 100_001: "This text is too long",
    "status 413": "This text is too long",
    "status 422": "This text cannot be read",
    "status 429": "Many people are asking",
    "status 503": "The model is starting or busy",
    "status 504": "This took too long",
    "status 500": "Something went wrong on our side",
}


def test_what_goes_wrong_is_told_in_a_sentence(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    for text, sentence in SENTENCES.items():
        visit.type("a goal")
        visit.sees("Answered in")
        assert len(visit.bars()) == 4
        visit.type(text)
        visit.sees(sentence)
        assert visit.bars() == []  # old bars beside a new sentence would mislead
    visit.keep_picture("sentence")
    assert visit.faults == []


def test_a_text_that_was_cut_is_said_to_be(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.type("long " * 50)
    visit.sees("only its beginning counted")
    assert len(visit.bars()) == 4
    visit.type("short")
    visit.page.get_by_text("only its beginning").wait_for(state="detached")
    visit.sees("Answered in")


def test_a_service_that_is_gone_is_told_in_a_sentence(
    chromium: Any, server: str
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.window.set_offline(True)
    visit.type("a goal")
    visit.sees("The service did not answer")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_nothing_scrolls_sideways(
    chromium: Any, server: str, dark: bool
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=PHONE, dark=dark)
    visit.type("a goal in the last minute " * 4)
    visit.sees("Answered in")
    visit.keep_picture(f"phone_{'dark' if dark else 'light'}")
    assert not visit.is_wider_than_the_window()
    assert (visit.background() < 200) == dark
    # Negative control: one thing that is too wide, and the measure sees it.
    visit.page.evaluate("document.body.style.width = '500px'")
    assert visit.is_wider_than_the_window()


def test_the_address_can_ask_for_dark(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui?__theme=dark", size=PHONE)
    assert visit.background() < 200
    # Negative control: the system's own choice is light.
    assert Visit(chromium, f"{server}/ui", size=PHONE).background() > 600


class OtherOrigin:
    """Another server than ours; remembers whether anybody came."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(3)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def was_asked_by(self, visit: Visit) -> bool:
        """Have the page load a picture from here; say whether the request came."""
        visit.page.evaluate(f"new Image().src = '{self.url}/picture.png'")
        with self.socket, contextlib.suppress(TimeoutError):
            self.socket.accept()[0].close()
            return True
        return False


def test_the_page_asks_no_other_origin_even_if_it_wanted_to(
    chromium: Any, server: str
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.type("a goal")
    visit.sees("Answered in")
    own = ("data:", "blob:", f"{server}/")
    assert len(visit.asked) >= 4  # page, style, script, answer
    assert [url for url in visit.asked if not url.startswith(own)] == []
    assert not OtherOrigin().was_asked_by(visit)


def test_without_its_policy_the_page_would_ask_another_origin(
    chromium: Any, tmp_path: pathlib.Path
) -> None:
    """Negative control."""
    program, url = serve(tmp_path / "served", guarded="no")
    try:
        visit = Visit(chromium, f"{url}/ui", size=DESK)
        assert OtherOrigin().was_asked_by(visit)
    finally:
        program.kill_everything()


def test_an_answer_that_comes_too_late_is_not_shown(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.type("slow Space")
    visit.type("a goal")
    visit.sees("Answered in 0.0")
    visit.page.wait_for_timeout(800)
    assert visit.bars()[0].startswith("Sports")
    # Negative control: asked alone, it is shown.
    visit.type("slow Space")
    visit.sees("Answered in 0.5")
    assert visit.bars()[0].startswith("Sci/Tech")


@pytest.mark.parametrize("address", ["ui", "ui/"])
def test_the_page_is_found_below_a_proxys_prefix(server: str, address: str) -> None:
    """No address in it, and none that it leads to, names scheme, host or root."""
    page = httpx.get(f"{server}/{address}")
    if address == "ui/":
        assert page.headers["location"] == "../ui"
    else:
        addresses = re.findall(r'(?:href|src)="([^"]*)"', page.text)
        assert len(addresses) >= 5
        assert not [a for a in addresses if a.startswith(("/", "http"))]


def test_files_beside_the_page_stay_where_they_are(server: str) -> None:
    for path in ("../api.py", "..%2fapi.py", "%2e%2e/api.py", "/etc/passwd", ""):
        assert httpx.get(f"{server}/static/{path}").status_code in {404, 405}
    assert httpx.get(f"{server}/static/page.js").status_code == 200  # the control
