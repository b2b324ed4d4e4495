"""Proofs for the page that trains: ranks in node's threads, then in a real browser."""

from __future__ import annotations

import gzip
import json
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("material")  # mkdocs-material

from helpers import node_tests, site_crawl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = pathlib.Path(__file__).resolve().parents[1]
WIDGETS = ROOT / "site_docs" / "assets" / "widgets"
NAMES = ["live-ddp", "live-ddp-full"]
NODE_TESTS = ROOT / "tests" / "helpers" / "live_ddp.test.mjs"
SWITCHES = re.findall(
    r"^  (\w+): \{$", (WIDGETS / "ddp.switches.js").read_text("utf-8"), re.MULTILINE
)


def test_ranks_in_nodes_threads_hold_all_that_the_page_says() -> None:
    """N ranks equal one process; bytes; every switch's effect: see the file."""
    assert node_tests.num_passed(NODE_TESTS) >= 25  # the guard: tests were found


# --- Reading the page ---------------------------------------------------------------


def read(page: Any, name: str) -> str:
    """A figure of the page, by its attribute."""
    return str(page.locator(f"[data-live-ddp] [data-{name}]").text_content())


def step(page: Any) -> int:
    return int(read(page, "step"))


def fingerprints(page: Any) -> list[str]:
    texts: list[str] = page.locator("[data-live-ddp] [data-rank]").all_text_contents()
    return texts


def wait_for(page: Any, what: str) -> None:
    """Until an expression about the element `ddp` and the step `step` holds."""
    page.wait_for_function(
        """what => {
          const ddp = document.querySelector("[data-live-ddp]");
          const step = Number(ddp?.querySelector("[data-step]")?.textContent);
          return ddp && new Function("ddp", "step", `return ${what}`)(ddp, step);
        }""",
        arg=what,
    )


def press(page: Any, words: str) -> None:
    page.get_by_role("button", name=words).click()


def break_it(page: Any) -> None:
    """Let the switch act that the address names."""
    wait_for(page, "ddp.dataset.state === 'asking'")
    page.get_by_label("Speed").select_option("fast")
    press(page, "Show me")


# --- What it shows --------------------------------------------------------------------


def test_the_home_page_trains_by_itself_and_moves_within_a_second_or_so(
    visit: Any,
) -> None:
    page = visit("live-ddp/")
    wait_for(page, "step > 0")
    first_ms = page.evaluate("performance.now()")
    print(f"first step after {first_ms:.0f} ms")
    # On a quiet machine 1 s; a busy one has other things to do.
    assert first_ms < 8000
    page.get_by_label("Speed").select_option("fast")
    wait_for(page, "ddp.dataset.state === 'done'")
    assert step(page) == 300
    prints = fingerprints(page)
    assert len(prints) == 4
    assert len(set(prints)) == 1
    assert re.fullmatch(r"[0-9a-f]{8}", prints[0])
    assert read(page, "apart") == "0"
    assert 0 < float(read(page, "gap")) < 1e-5
    assert float(read(page, "loss")) < 0.05
    assert read(page, "bytes") == "4,320 bytes in 6 messages"
    assert page.locator("fieldset").count() == 0  # nothing to break there


@pytest.mark.parametrize("ranks", [1, 2, 3, 6, 8])
def test_with_any_number_of_ranks_it_is_the_model_of_one_process(
    ranks: int, visit: Any
) -> None:
    page = visit(f"live-ddp-full/#ranks={ranks}")
    page.get_by_label("Speed").select_option("fast")
    wait_for(page, "ddp.dataset.state === 'done'")
    assert len(fingerprints(page)) == ranks
    assert len(set(fingerprints(page))) == 1
    assert float(read(page, "gap")) < 1e-5
    parameters = 4 * 720
    per_step = 2 * (ranks - 1) * parameters // ranks
    assert read(page, "bytes").startswith(f"{per_step:,} bytes")


def are_apart(page: Any) -> None:
    wait_for(page, "step >= 60")
    prints = fingerprints(page)
    assert len(set(prints)) == len(prints)
    assert float(read(page, "apart")) > 1e-4


def loss_is_high(page: Any) -> None:
    wait_for(page, "ddp.dataset.state === 'done'")
    assert len(set(fingerprints(page))) == 1
    assert float(read(page, "gap")) > 0.1


def rows_are_few(page: Any) -> None:
    wait_for(page, "step >= 48")
    assert read(page, "seen") == "144 of 576"
    assert len(set(fingerprints(page))) == 1


def is_slow(page: Any) -> None:
    wait_for(page, "step >= 3")
    assert float(read(page, "rate")) < 1000 / 150
    assert len(set(fingerprints(page))) == 1


def rows_are_the_same(page: Any) -> None:
    wait_for(page, "step >= 48")
    assert len(set(fingerprints(page))) == 1
    assert float(read(page, "gap")) > 0.01


def hangs(words: str) -> Callable[[Any], None]:
    def look(page: Any) -> None:
        wait_for(page, "ddp.dataset.state === 'waiting'")
        assert "Timeout in" in page.locator(".w-sentence").text_content()
        wait_for(page, "ddp.dataset.state === 'stuck'")
        assert words in page.locator(".w-live").text_content()
        assert step(page) == 60
        press(page, "Resume from step 48")
        wait_for(page, "step >= 120")
        assert len(set(fingerprints(page))) == 1
        assert float(read(page, "gap")) < 1e-5  # as if nothing had happened

    return look


def one_differs(page: Any) -> None:
    wait_for(page, "step >= 72")
    prints = fingerprints(page)
    assert len(set(prints)) == 2
    assert prints.count(prints[1]) == 1


EFFECTS: dict[str, Callable[[Any], None]] = {
    "drift": are_apart,
    "sum": loss_is_high,
    "start": are_apart,
    "weights": are_apart,
    "rows": rows_are_the_same,
    "order": rows_are_few,
    "slow": is_slow,
    "skip": hangs("Rank 1 in call 62: rank 1 skipped call 61".lower()),
    "kill": hangs("Rank 1 answers nothing"),
    "flip": one_differs,
}


def test_every_switch_of_the_page_has_a_proof() -> None:
    assert list(EFFECTS) == SWITCHES


@pytest.mark.parametrize("name", EFFECTS)
def test_a_switch_asks_first_and_then_does_what_it_says(name: str, visit: Any) -> None:
    page = visit(f"live-ddp-full/#ranks=4&break={name}")
    break_it(page)
    EFFECTS[name](page)
    assert "In an interview:" in page.locator(".l-interview").text_content()


def test_until_the_question_is_answered_nothing_runs_and_nothing_can_be_read(
    visit: Any,
) -> None:
    page = visit("live-ddp-full/")
    wait_for(page, "step > 0")
    page.get_by_label("Other start weights").check(force=True)
    wait_for(page, "ddp.dataset.state === 'asking'")
    covered = page.locator(".w-covered")
    assert covered.evaluate("node => node.inert")
    before = step(page)
    page.wait_for_timeout(700)
    assert step(page) <= before + 2  # a turn that was under way
    # A wrong answer acts, too; and says so.
    page.get_by_label("Yes, within some steps").check()
    press(page, "Check my answer")
    assert page.locator(".w-answer").text_content().startswith("Not quite.")
    assert not covered.evaluate("node => node.inert")
    are_apart(page)
    assert "break=start" in page.url
    page.get_by_label("Nothing broken").check(force=True)
    wait_for(page, "step > 10")
    assert len(set(fingerprints(page))) == 1


def test_the_keyboard_alone_breaks_pauses_and_goes_on(visit: Any) -> None:
    page = visit("live-ddp-full/")
    wait_for(page, "step > 0")
    page.get_by_label("Nothing broken").focus()
    page.keyboard.press("ArrowRight")
    wait_for(page, "ddp.dataset.state === 'asking'")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # the second answer
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".w-answer").text_content().startswith("Right.")
    wait_for(page, "ddp.dataset.state === 'running' && step > 0")
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Space")
    wait_for(page, "ddp.dataset.state === 'paused'")
    assert page.evaluate("document.activeElement.textContent") == "Run"
    page.keyboard.press("Space")
    wait_for(page, "ddp.dataset.state === 'running'")


def test_one_message_at_a_time_can_be_followed(visit: Any) -> None:
    page = visit("live-ddp-full/#ranks=2")
    page.get_by_label("Speed").select_option("slow")
    said = page.locator(".w-sentence")
    for words in ("message 1 of 2", "adds what it receives", "message 2 of 2"):
        page.wait_for_function(
            "words => document.querySelector('.w-sentence')"
            ".textContent.includes(words)",
            arg=words,
        )
    assert "right neighbour" in said.text_content()
    # Each message really flies: its dot is animated along its link.
    assert page.evaluate(
        "document.querySelector('.l-ring').getAnimations({subtree: true}).length"
    )


def test_who_wants_no_motion_gets_three_stills(visit: Any) -> None:
    page = visit("live-ddp/", reduced_motion="reduce")
    wait_for(page, "ddp.dataset.state === 'paused'")
    assert step(page) == 0
    page.wait_for_timeout(600)
    assert step(page) == 0
    for still in (60, 300):
        seen = "window.seen ??= new Set(); new MutationObserver(() => window.seen.add("
        page.evaluate(
            f"{seen}document.querySelector('[data-step]')?.textContent))"
            ".observe(document.querySelector('.l-facts'), {childList: true}); 0"
        )
        press(page, f"Go to step {still}")
        wait_for(page, f"step === {still}")
    assert set(page.evaluate("[...window.seen]")) <= {"0", "60", "300"}
    assert (
        page.locator(".l-ring").evaluate("n => n.getAnimations({subtree: true}).length")
        == 0
    )


def test_out_of_sight_or_done_it_takes_no_processor_time(
    chromium: Any, visit: Any
) -> None:
    page = visit("live-ddp/")
    wait_for(page, "step > 0")
    page.evaluate("document.body.style.paddingTop = '4000px'; scrollTo(0, 0)")
    page.wait_for_timeout(500)
    before = step(page)
    page.wait_for_timeout(1000)
    assert step(page) == before
    page.evaluate("document.body.style.paddingTop = ''")
    wait_for(page, f"step > {before}")
    page.get_by_label("Speed").select_option("fast")
    wait_for(page, "ddp.dataset.state === 'done'")
    page.wait_for_timeout(500)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def busy_s() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        [seconds] = [one["value"] for one in metrics if one["name"] == "TaskDuration"]
        return float(seconds)

    begun, used = time.monotonic(), busy_s()
    page.wait_for_timeout(2000)
    share = (busy_s() - used) / (time.monotonic() - begun)
    print(f"idle: {100 * share:.1f} % of a core")
    assert share < 0.05


def test_without_javascript_or_with_workers_blocked_a_recorded_picture_stands_there(
    chromium: Any, address: str, visit: Any
) -> None:
    page = visit("live-ddp/", java_script_enabled=False)
    assert page.locator("live-ddp svg").bounding_box()["width"] > 400
    table = page.locator("live-ddp table").inner_text()
    picture = page.locator("live-ddp svg").text_content()
    # The table says what the picture says.
    for row in table.splitlines()[1:]:
        _step, loss, apart, to_one = row.split("\t")
        assert loss == "-" or f"loss {loss}" in picture
        assert f"between ranks: {apart}" in picture
        assert f"to one process: {to_one}" in picture
    blocked = chromium.new_page()
    blocked.route("**/ddp.worker.js", lambda route: route.abort())
    with blocked.expect_console_message(lambda one: "stays a picture" in one.text):
        blocked.goto(f"{address}/live-ddp/")
    blocked.locator("live-ddp figure svg").wait_for()
    assert "web workers" in blocked.locator("live-ddp p").first.text_content()
    blocked.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits(width: int, scheme: str, visit: Any) -> None:
    page = visit(
        "live-ddp-full/", width=width, color_scheme=scheme, reduced_motion="reduce"
    )
    page.add_script_tag(content=site_crawl.axe_script())

    def look(state: str) -> None:
        found = page.evaluate(site_crawl.FIND.replace("document,", "'.widget-place',"))
        assert found + page.evaluate(site_crawl.WIDE) == [], state

    wait_for(page, "ddp.dataset.state === 'paused'")
    look("start")
    page.get_by_label("A killed rank").check(force=True)
    wait_for(page, "ddp.dataset.state === 'asking'")
    look("asked")
    press(page, "Show me")
    press(page, "Go to step 60")
    wait_for(page, "step === 60")
    page.locator("[data-live-ddp] summary").click()
    press(page, "Go to step 300")
    wait_for(page, "ddp.dataset.state === 'waiting'")
    look("waiting")
    for control in page.locator("live-ddp :is(button, select, input, summary)").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 24


def test_a_page_loads_what_it_shows_and_all_widgets_are_small() -> None:
    scripts = [path for path in WIDGETS.glob("*.js") if path.name != "ddp.picture.js"]
    sent = {path.name: len(gzip.compress(path.read_bytes(), 6)) for path in scripts}
    print(json.dumps(sent), sum(sent.values()))
    assert sum(sent.values()) < 120_000  # as a host sends them
    loader = (WIDGETS / "widgets.js").read_text("utf-8")
    assert "ddp" not in loader.replace('"live-ddp"', "")
