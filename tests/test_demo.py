"""Proofs for apps/page, in a real browser: what a visitor sees, and what leaves."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import socket
from collections.abc import Generator
from typing import Any

import pytest
from helpers import site_crawl
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
        assert len(addresses) >= 4
        assert not [a for a in addresses if a.startswith(("/", "http"))]


def test_files_beside_the_page_stay_where_they_are(server: str) -> None:
    for path in ("../api.py", "..%2fapi.py", "%2e%2e/api.py", "/etc/passwd", ""):
        assert httpx.get(f"{server}/static/{path}").status_code in {404, 405}
    assert httpx.get(f"{server}/static/page.js").status_code == 200  # the control


# --- While one types ------------------------------------------------------------


def test_the_bars_follow_what_is_typed(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.box.press_sequentially("a goal", delay=20)
    visit.sees("Answered in")
    assert visit.bars()[0] == "Sports 60%"
    visit.box.press_sequentially(" in Space", delay=20)
    visit.page.get_by_text("Sci/Tech. Answered in").wait_for()
    assert visit.bars()[0] == "Sci/Tech 60%"
    # A request for each pause and not for each of 15 keys.
    assert 2 <= visit.asked.count(f"{server}/predict") <= 6
    visit.box.fill("")
    visit.page.locator("#bars tr").first.wait_for(state="detached")
    assert visit.page.locator("#note").inner_text() == ""
    assert visit.faults == []


def words_of(visit: Visit) -> dict[str, tuple[str, float]]:
    """Each tinted word, its kind, and how strong its tint is."""
    visit.page.locator("#words:not([hidden]):not(.old)").wait_for()
    buttons = visit.page.locator("#words [role=toolbar] button").all()
    script = "node => Number(node.style.getPropertyValue('--weight'))"
    return {
        button.inner_text(): (button.get_attribute("class"), button.evaluate(script))
        for button in buttons
    }


def test_each_word_is_left_out_once_in_one_batch(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    sent: list[str] = []
    visit.page.on(
        "request",
        lambda request: (
            request.url.endswith("/batch") and sent.append(request.post_data)
        ),
    )
    visit.type("a goal in  Space")
    tints = words_of(visit)
    assert [json.loads(body)["texts"] for body in sent] == [
        ["goal in  Space", "a in  Space", "a goal Space", "a goal in  "]
    ]
    # Without "Space" the rule says Sports: 0.60 - 0.05 is what that word does.
    assert tints["Space"] == ("for", 1)
    assert {tints[word] for word in ("a", "goal", "in")} == {("for", 0)}
    line = visit.page.locator("#without")
    want = "Without “Space”: Sci/Tech 0.05 (with it 0.60)"
    assert line.inner_text() == f"{want}; the answer would be Sports 0.60."
    visit.page.get_by_role("button", name="goal", exact=True).click()
    assert line.inner_text() == "Without “goal”: Sci/Tech 0.60 (with it 0.60)."
    visit.keep_picture("words")
    visit.page.mouse.move(0, 0)  # else the word under it would be told
    # A word may speak against the answer.
    visit.type("tie a goal")
    visit.sees("Without “tie”: Sports 0.60 (with it 0.40)")
    assert words_of(visit)["tie"] == ("against", 1)
    # Where the model fails at one of the texts, that word has no tint.
    visit.type("a broken goal")
    visit.sees("Without “a” there is no answer")
    assert visit.faults == []


def test_a_text_without_a_second_word_has_no_tints(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    for text in ("goal", "goal !", "word " * 65):
        visit.type("a goal")  # the control
        assert len(words_of(visit)) == 2
        visit.type(text)
        visit.page.locator("#words").wait_for(state="hidden")
        visit.page.wait_for_timeout(700)  # longer than the pause before a batch
        assert visit.page.locator("#words").is_hidden()


def test_the_arrow_keys_move_among_the_words(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.type("a goal in Space")
    words_of(visit)
    for key, word in (("Tab", ""), ("Tab", ""), ("Tab", "Space"), ("ArrowLeft", "in")):
        visit.page.keyboard.press(key)
        if word:
            assert visit.page.evaluate("document.activeElement.textContent") == word
            visit.sees(f"Without “{word}”")
    visit.page.keyboard.press("Home")
    assert visit.page.evaluate("document.activeElement.textContent") == "a"
    visit.page.keyboard.press("ArrowLeft")  # there is nothing
    assert visit.page.evaluate("document.activeElement.textContent") == "a"


# --- Games and links ------------------------------------------------------------


def test_two_classes_can_be_made_to_tie(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.type("a goal")
    visit.sees("Sports leads Business by 35.0 points; the smallest lead so far is 35.0")
    assert "A tie!" not in visit.page.locator("#tie").inner_text()
    visit.type("tie a goal")
    visit.sees("A tie! Sports leads Business by 0.5 points")
    visit.type("a goal")
    visit.sees("by 35.0 points; the smallest lead so far is 0.5.")


def test_the_shortest_addition_that_flips_the_answer_counts(
    chromium: Any, server: str
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.sees("Two games")
    fix = visit.page.get_by_role("button", name="Fix this text")
    fix.click()
    visit.sees("Classify a text first")
    visit.type("a goal")
    visit.sees("Answered in")
    fix.click()
    visit.sees("Fixed: “a goal” (Sports). Still Sports.")
    for text, sentence in (
        ("a goal in Space", "Sci/Tech, with 8 characters added! Fewest so far: 8."),
        ("Space a goal", "Sci/Tech, with 5 characters added! Fewest so far: 5."),
        ("a goal in Space 🚀", "Sci/Tech, with 10 characters added! Fewest so far: 5."),
        ("a goal by night", "Still Sports."),
        ("Space", "Leave it unchanged"),
    ):
        visit.type(text)
        visit.sees(sentence)
    assert visit.faults == []


def test_a_link_holds_the_text_and_sends_and_stores_nothing(
    chromium: Any, server: str
) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.type("a goal")
    visit.sees("Answered in")
    visit.page.get_by_role("button", name="Fix this text").click()
    visit.type("a goal in Space & 100% <b>")
    visit.sees("Sci/Tech. Answered in")
    visit.page.get_by_role("button", name="Share").click()
    link = visit.page.locator("#link input").input_value()
    assert link.startswith(f"{server}/ui#")
    friend = Visit(chromium, link, size=DESK)
    friend.sees("Fixed: “a goal” (Sports). Sci/Tech, with")
    assert friend.box.input_value() == "a goal in Space & 100% <b>"
    assert friend.bars()[0].startswith("Sci/Tech")
    for url in (*visit.asked, *friend.asked):
        assert "goal" not in url.partition("#")[0]
    stored = "[localStorage.length, sessionStorage.length, document.cookie.length]"
    assert friend.page.evaluate(stored) == [0, 0, 0]
    # Negative control: an address without a text fills nothing.
    other = Visit(chromium, f"{server}/ui#other=1", size=DESK)
    other.sees("Two games")
    assert other.box.input_value() == ""
    visit.type("x " * 1001)
    visit.page.get_by_role("button", name="Share").click()
    visit.sees("Too long for a link")


def test_nonsense_gets_a_class_and_the_page_says_so(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.sees("always picks one, even for nonsense")
    visit.page.get_by_role("button", name="asdf qwer").click()
    visit.sees("Answered in")
    assert visit.box.input_value() == "asdf qwer"
    assert visit.bars()[0] == "Sports 60%"


# --- Where the model comes from -------------------------------------------------


def test_the_card_shows_what_the_export_says(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.sees("How this model was made")
    card = visit.page.locator("#record")
    shown = " ".join(card.inner_text().split())
    for fact in (
        "91.50%: 732 of 800 test rows, each counted once",  # 0.915 * 800
        "Ranks 2 on cpu",
        "Training time 61.5 seconds",
        "Training rows 3,200",
        f"SHA-256 {'0' * 64}",
        "Run proof",
    ):
        assert fact in shown
    curve = card.get_by_role("img", name="Training loss")
    want = "Training loss: 1.50 at step 10, 0.50 at step 30"
    assert curve.get_attribute("aria-label") == want
    # Half the loss stands half as high: zero is at the bottom, the highest at the top.
    points = curve.locator("polyline").get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights[0] == 8
    assert heights[1] == pytest.approx((156 + 8) / 2, abs=0.1)
    card.get_by_text("the life of a step").click()
    picture = card.get_by_role("img", name="The life of a step on two ranks")
    picture.wait_for()
    assert picture.bounding_box()["width"] > 500
    assert visit.faults == []
    visit.keep_picture("card")


def test_without_facts_the_card_shows_the_hash_and_no_curve(
    chromium: Any, tmp_path: pathlib.Path
) -> None:
    """Negative control: none of the figures is the page's own."""
    program, url = serve(tmp_path / "served", num_classes=5)
    try:
        visit = Visit(chromium, f"{url}/ui", size=DESK)
        visit.sees("How this model was made")
        card = visit.page.locator("#record")
        terms = [term.inner_text() for term in card.locator("dt").all()]
        assert terms == ["Run", "Weights, SHA-256", "Computed by"]
        assert card.locator("figure").is_hidden()
        assert card.locator("#step").is_hidden()  # nobody says that ranks met
        assert visit.faults == []
    finally:
        program.kill_everything()


# --- For everybody --------------------------------------------------------------


def use_everything(page: Any) -> None:
    """Have all parts of the page shown at once."""
    page.get_by_label("Text", exact=True).fill("tie a goal in Space")
    page.get_by_text("Without “").wait_for()
    page.get_by_role("button", name="Fix this text").click()
    page.get_by_role("button", name="Share").click()
    page.get_by_text("the life of a step").click()
    page.get_by_role("img", name="The life of a step on two ranks").wait_for()


@pytest.mark.parametrize("look", site_crawl.LOOKS, ids=lambda look: look.name)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    chromium: Any, server: str, look: site_crawl.Look
) -> None:
    with site_crawl.visitor(chromium, server, look) as visitor:
        assert visitor.faults("/ui") == []
        assert visitor.faults("/ui", then=use_everything) == []

        # Negative control: without its label the field is found.
        def spoil(page: Any) -> None:
            page.locator("label[for=text]").evaluate("node => node.remove()")
            page.locator("#text").evaluate("node => { node.placeholder = '' }")

        assert any("axe label" in line for line in visitor.faults("/ui", then=spoil))


def test_everything_can_be_reached_by_keys(chromium: Any, server: str) -> None:
    visit = Visit(chromium, f"{server}/ui", size=DESK)
    visit.sees("Two games")
    visit.page.keyboard.type("a goal in Space")  # the field has the focus
    words_of(visit)
    reached = set()
    for _ in range(24):
        visit.page.keyboard.press("Tab")
        name = "document.activeElement.textContent.trim()"
        reached.add(visit.page.evaluate(name))
    summary = "How it was trained: the life of a step"
    assert {"Classify", "Share", "Space", "Fix this text", summary} <= reached
    assert {"asdf qwer", "the API"} <= reached  # once around
