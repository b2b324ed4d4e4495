"""Proofs for the site's widgets: their numbers are the library's, for every reader.

Models against fixtures that the library wrote; every widget driven by keyboard alone,
read by a screen reader's means, without motion, without JavaScript, on a telephone.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
pytest.importorskip("material")  # mkdocs-material

from helpers import browsing, widget_site

from distrinews.bench.costmodel import step_model
from distrinews.bench.costmodel.calibration import ddp_buckets
from distrinews.bench.costmodel.step_model import Compute, Link
from distrinews.doctor import catalogue, matching

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site_docs"
WIDGETS = SITE / "assets" / "widgets"
FIXTURES = WIDGETS / "fixtures"
DRAWN = [
    *("ring-all-reduce", "bucket-timeline", "sampler-view", "speed-up"),
    "life-of-step",
]
SHORT_INPUTS = json.loads(
    (ROOT / "tests" / "data" / "short_inputs.json").read_text("utf-8")
)
known = catalogue.read()
NAMES = [*DRAWN, "match-box"]


@pytest.fixture(scope="module")
def tools() -> ModuleType:
    """The module that draws."""
    return importlib.import_module("widget_pictures")


@pytest.fixture(scope="module")
def address(tmp_path_factory: Any) -> Iterator[str]:
    """A small site with the real theme, and a page a widget."""
    with widget_site.served(tmp_path_factory.mktemp("site"), NAMES) as where:
        yield where


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browsing.browser() as opened:
        yield opened


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Any]:
    """Opens a widget's page; at the end, nothing may have been complained about."""
    with widget_site.pages(chromium, timeout_ms=10_000) as go:

        def visit_one(
            name: str, *, width: int = 1280, veiled: bool = False, **options: Any
        ) -> Any:
            options = {"reduced_motion": "reduce"} | options
            page = go(f"{address}/{name}/", width=width, height=900, **options)
            if options.get("java_script_enabled", True) and name in NAMES:
                page.wait_for_selector(f"{name}[ready]")
                if name in DRAWN and not veiled:
                    page.get_by_role("button", name="Show me").click()
            return page

        yield visit_one


def fixture(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((FIXTURES / name).read_text("utf-8"))
    return cases


# --- The models say what the library says ------------------------------------------


def test_a_changed_cost_model_would_make_the_fixtures_stale(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(step_model, "ring_s", lambda *_, **__: 1.0)
    made = importlib.import_module("widget_costs").buckets_fixture()
    assert json.loads(json.dumps(made)) != fixture("buckets.json")


def test_the_pictures_are_what_the_widgets_draw_today(tools: ModuleType) -> None:
    for name, svg in tools.pictures().items():
        path = SITE / "diagrams" / f"widget-{name}.svg"
        fix = "run: python site_docs/_tools/make_pages.py widget_pictures"
        assert path.read_text("utf-8") == svg, fix


# File -> what the model answers to each of its cases.
ASK = {
    "ring.json": """
      const ring = await import(`${widgets}/ring.model.js`);
      return cases.map((one) => {
        const { world_size: n, elements } = one;
        const steps = [...Array(ring.numSteps(n) + 1).keys()];
        const last = ring.at(n, ring.numSteps(n), elements);
        return {
          world_size: n,
          elements,
          names: steps.slice(0, -1).map((step) => {
            const { name, number } = ring.phase(n, step);
            return `${name} ${number}`;
          }),
          values: steps.map((step) => ring.at(n, step, elements).values),
          steps: last.sentBytes.map(() => last.step),
          sent_bytes: last.sentBytes,
        };
      });""",
    "buckets.json": """
      const model = await import(`${widgets}/costmodel.model.js`);
      const models = await (await fetch(`${widgets}/data/models.json`)).json();
      return cases.map((one) => {
        const buckets = model.cut(models[one.model], one.bucket_mib);
        const link = model.network(one.gbit);
        const backwardS = one.step.backward_s;
        const way = model.travels(buckets, { backwardS, ranks: one.ranks, link });
        const set = { buckets, ranks: one.ranks, rows: 0, tokens: 0 };
        const step = model.predict(one.compute, link, set);
        return { ...one, buckets, ends_s: way.map(({ end }) => end), step };
      });""",
    "speed.json": """
      const model = await import(`${widgets}/speed-up.model.js`);
      const read = async (name) => (await fetch(`${widgets}/data/${name}`)).json();
      const [known, models] = [await read("measured.json"), await read("models.json")];
      return cases.map((one) => {
        const speedUps = model.speedUps(one, known, models);
        const { low, high } = speedUps.find(({ ranks }) => ranks === one.ranks);
        return { ...one, speedup: [low, high] };
      });""",
    "sampler.json": """
      const model = await import(`${widgets}/sampler.model.js`);
      const shuffles = await (await fetch(`${widgets}/data/shuffles.json`)).json();
      return cases.map((one) => {
        const order = model.orderOf(shuffles, one);
        const set = { ranks: one.ranks, dropLast: one.drop_last };
        const { byRank } = model.deal(order, set);
        const indices = byRank.map((mine) => mine.map(({ row }) => row));
        return { ...one, indices, exact: model.exact(one.rows, one.ranks) };
      });""",
}


def differences(got: Any, want: Any, path: str = "") -> list[str]:
    """Where two JSON values differ; numbers by more than rounding."""
    if isinstance(want, dict):
        pairs = [(key, got.get(key), value) for key, value in want.items()]
    elif isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return [f"{path}: {got} instead of {want}"]
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(got, want, strict=True))]
    elif isinstance(want, float):
        # WHY not exact: the two languages add up in the same order, but Python's sum
        # of floats compensates its rounding since 3.12. In seconds: a picosecond.
        same = isinstance(got, (int, float)) and got == pytest.approx(want, abs=1e-12)
        return [] if same else [f"{path}: {got} instead of {want}"]
    else:
        return [] if got == want else [f"{path}: {got} instead of {want}"]
    return [line for key, a, b in pairs for line in differences(a, b, f"{path}/{key}")]


@pytest.fixture
def ask(visit: Any) -> Any:
    page = visit("")

    def of(name: str, cases: list[dict[str, Any]]) -> Any:
        script = f"async ([widgets, cases]) => {{{ASK[name]}}}"
        return page.evaluate(script, ["/assets/widgets", cases])

    return of


@pytest.mark.parametrize("name", list(ASK))
def test_every_model_answers_as_the_library_and_a_wrong_fixture_is_noticed(
    name: str, ask: Any
) -> None:
    want = fixture(name)
    assert len(want) >= 8
    answers = ask(name, want)
    assert differences(answers, want) == []
    # Negative control: one number of one case, changed.
    text = json.dumps(want[-1])
    numbers = list(re.finditer(r"\d+(\.\d+)?", text))
    last = numbers[-1]
    wrong = json.loads(f"{text[: last.start()]}77{text[last.end() :]}")
    assert len(differences(answers, [*want[:-1], wrong])) == 1


# --- By keyboard alone --------------------------------------------------------------


def tab_to(page: Any, words: str) -> None:
    """Press Tab until the thing with that name has the focus."""
    script = """() => {
      const one = document.activeElement;
      const label = one.labels?.[0]?.textContent ?? one.ariaLabel ?? one.textContent;
      return label.trim();
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(script).startswith(words):
            return
    raise AssertionError(f"Tab never reached {words!r}")


def from_the_top(page: Any) -> None:
    page.evaluate("document.activeElement.blur()")
    page.evaluate("getSelection().setPosition(document.querySelector('article h1'))")


def answer(page: Any, option: str, downs: int) -> str:
    """Answer the question by keyboard, and give what is said then."""
    from_the_top(page)
    tab_to(page, option)
    page.keyboard.press("Space")
    for _ in range(downs):
        page.keyboard.press("ArrowDown")
    tab_to(page, "Check my answer")
    page.keyboard.press("Enter")
    return str(page.locator(".w-answer").text_content())


def announced(page: Any) -> str:
    """What a screen reader would read out."""
    live = page.locator("[role=status][aria-live=polite]").last
    return str(live.text_content())


def open_table(page: Any) -> None:
    tab_to(page, "The same as a table")
    page.keyboard.press("Enter")
    page.wait_for_selector(".w-scroll table")
    tab_to(page, page.locator(".w-scroll").get_attribute("aria-label"))
    from_the_top(page)


def rows(page: Any) -> list[list[str]]:
    script = """all => all.map(
      (row) => [...row.cells].slice(1).map((cell) => cell.textContent))"""
    cells: list[list[str]] = page.locator(".w-scroll tbody tr").evaluate_all(script)
    return cells


def test_the_ring_is_stepped_by_keyboard_and_shows_the_librarys_numbers(
    visit: Any,
) -> None:
    page = visit("ring-all-reduce")
    assert answer(page, "3", 1).startswith("Not quite.")
    assert answer(page, "4", 1).startswith("Right. 6 steps")
    open_table(page)
    want = next(case for case in fixture("ring.json") if case["world_size"] == 4)
    tab_to(page, "Next step")
    for step, by_rank in enumerate(want["values"]):
        shown = [[float(re.findall(r"\d+", c)[0]) for c in r[:-1]] for r in rows(page)]
        assert shown == by_rank
        assert {row[-1] for row in rows(page)} == {
            f"{step / 4:.2f} tensors"
        } or step == 4
        if step:
            name = want["names"][step - 1].split()[0]
            assert announced(page).startswith(
                f"Step {step} of 6, {name}" if step < 6 else "Done after 6 steps"
            )
        page.keyboard.press("Space" if step % 2 else "Enter")
    assert announced(page) == (
        "Done after 6 steps: every rank holds 10, 20, 30, 40; each sent 1.50 tensors."
    )
    # The focus stayed; a press at the end does nothing.
    assert page.evaluate("document.activeElement.textContent") == "Next step"
    tab_to(page, "Back")
    page.keyboard.press("Enter")
    assert announced(page).startswith("Step 5 of 6")
    tab_to(page, "Reset")
    page.keyboard.press("Enter")
    assert announced(page).startswith("Start: 4 ranks")


def bucket_sentence(mib: int, gbit: float) -> str:
    """What the time line should say, by the library."""
    record = SITE / "benchmarks" / "results" / "scaling.json"
    phases = json.loads(record.read_text("utf-8"))["figures"]["strong"]["phases_ms"]
    both_s = (phases["forward"] + phases["backward"]) / 1000
    compute = Compute(both_s, 0, 0, phases["backward"] / 1000 / both_s, 0)
    buckets = ddp_buckets("minilm", mib)
    link = Link(50e-6, gbit * 1e9 / 8)
    prediction = step_model.predict(
        compute, link, buckets=buckets, world_size=2, rows=0, tokens=0
    )
    hidden, exposed = (
        abs(1000 * s) for s in (prediction.hidden_s, prediction.exposed_s)
    )
    travel = hidden + exposed
    many = "1 bucket travels" if len(buckets) == 1 else f"{len(buckets)} buckets travel"
    return (
        f"{many} for {travel:.0f} ms: backward hides {hidden:.0f} ms, "
        f"{exposed:.0f} ms are exposed."
    )


def test_the_time_line_is_moved_by_keyboard_and_says_what_the_cost_model_says(
    visit: Any,
) -> None:
    page = visit("bucket-timeline")
    assert answer(page, "Nothing", 1).startswith("Right.")
    tab_to(page, "Bucket size")
    page.keyboard.press("Home")
    seen = []
    for mib in (1, 2, 5, 10, 25, 50):
        if mib > 1:
            page.keyboard.press("ArrowRight")
        else:
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowLeft")
        seen.append(announced(page) == bucket_sentence(mib, 5))
    assert seen == [True] * 6
    tab_to(page, "Network")
    page.keyboard.press("End")
    assert announced(page) == bucket_sentence(50, 100)
    tab_to(page, "When")
    page.keyboard.press("End")
    assert "backward hides 0 ms" in announced(page)
    tab_to(page, "Reset")
    page.keyboard.press("Enter")
    assert announced(page) == bucket_sentence(25, 5)
    open_table(page)
    assert len(rows(page)) == len(ddp_buckets("minilm", 25))


def test_the_sampler_is_turned_by_keyboard_and_shows_torchs_indices(
    visit: Any,
) -> None:
    page = visit("sampler-view")
    assert answer(page, "9", 2).startswith("Right. 12")
    open_table(page)

    def want(epoch: int, *, drop_last: bool = False) -> list[list[int]]:
        [by_rank] = [
            case["indices"]
            for case in fixture("sampler.json")
            if (case["rows"], case["ranks"], case["shuffle"]) == (11, 3, True)
            and (case["epoch"], case["drop_last"]) == (epoch, drop_last)
        ]
        indices: list[list[int]] = by_rank
        return indices

    def shown() -> list[list[int]]:
        return [[int(n) for n in re.findall(r"\d+", row[0])] for row in rows(page)]

    assert shown() == want(0)
    assert rows(page)[2][0].endswith(f"{want(0)[0][0]} (padding)")
    tab_to(page, "Next epoch")
    page.keyboard.press("Enter")
    assert shown() == want(1)
    assert announced(page).startswith("Epoch 1, another order")
    tab_to(page, "call set_epoch")
    page.keyboard.press("Space")
    assert shown() == want(0)
    assert announced(page).startswith(
        "Epoch 1, set_epoch forgotten, the very same order"
    )
    tab_to(page, "Left-over rows")
    page.keyboard.press("ArrowDown")
    assert shown()[:3] == want(0, drop_last=True)
    assert "nobody reads rows" in announced(page)
    page.keyboard.press("End")
    assert shown() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert (
        announced(page)
        == "Exact evaluation: 4 + 4 + 3 = 11 rows, each once, no padding."
    )


def test_the_calculator_is_moved_by_keyboard_and_shows_the_cost_models_numbers(
    visit: Any,
) -> None:
    page = visit("speed-up")
    assert answer(page, "8 times", 2).startswith("Right. The cost model predicts")
    open_table(page)

    def times(number: float) -> str:
        return f"{number:.2f}x" if number < 10 else f"{number:.1f}x"

    def column(hardware: str, kind: str, gbit: float) -> list[str]:
        keys = ("hardware", "kind", "gbit")
        speedups = [
            case["speedup"]
            for case in fixture("speed.json")
            if tuple(case[key] for key in keys) == (hardware, kind, gbit)
        ]
        return [
            times(high) if high - low < 1e-9 else f"{times(low)} to {times(high)}"
            for low, high in speedups
        ]

    def shown(index: int = 1) -> list[str]:
        return [row[index] for row in rows(page)]

    tab_to(page, "Network between")
    assert shown() == column("cpu", "strong", 10)
    for gbit in (25, 100, 400):
        page.keyboard.press("ArrowRight")
        assert shown() == column("cpu", "strong", gbit)
        assert announced(page).startswith(f"Predicted at {gbit} Gbit/s")
    record = SITE / "benchmarks" / "results" / "scaling.json"
    measured = json.loads(record.read_text("utf-8"))["figures"]
    assert shown(3)[1] == f"{measured['strong']['speedup']:.2f}x"
    tab_to(page, "A rank is")
    page.keyboard.press("End")
    assert shown() == column("t4", "strong", 400)
    assert set(shown(3)) == {"not measured"}  # none of our runs was on a T4
    tab_to(page, "Rows")
    page.keyboard.press("End")
    assert shown() == column("t4", "weak", 400)


def test_the_step_is_walked_by_arrow_keys_and_says_what_was_recorded(
    visit: Any,
) -> None:
    page = visit("life-of-step")
    assert answer(page, "The forward", 1).startswith("Right.")
    recorded = json.loads((WIDGETS / "data" / "step.json").read_text("utf-8"))
    ready = [
        next(event for event in events if event["name"] == "bucket 2")["start_ms"]
        for events in recorded["ranks"]
    ]
    tab_to(page, "Next stop")
    lit = []
    for number, name in enumerate(recorded["lines"], start=1):
        said = page.locator(".w-sentence").text_content()
        assert said.startswith(f"Stop {number} of 7, {name}: ")
        assert announced(page) == (said if number > 1 else "")  # silent at the start
        assert page.locator(".s-stops [aria-current]").text_content() == name
        lit.append(page.locator(".s-on").all_text_contents())
        if name == "wait":
            for ms in ready:
                assert f"after {ms:.0f} ms" in announced(page)
        page.keyboard.press("ArrowRight")
    for lines, numbers in zip(lit, recorded["lines"].values(), strict=True):
        code = [recorded["code"][number] for number in sorted(numbers)]
        assert [line.rstrip("\n") for line in lines] == code
    page.keyboard.press("ArrowRight")  # at the end a press does nothing
    page.keyboard.press("ArrowLeft")
    assert announced(page).startswith("Stop 6 of 7")
    open_table(page)
    assert len(rows(page)) == sum(len(events) for events in recorded["ranks"])


def test_the_code_beside_the_step_is_the_chapters_and_the_times_are_the_recordings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording = importlib.import_module("step_recording")
    data = recording.step_data()
    chapter = (ROOT / recording.CHAPTER).read_text("utf-8")
    for line in data["code"]:
        assert line.strip() in chapter
    text = (SITE / "benchmarks" / "results" / "timeline.html").read_text("utf-8")
    for rank, events in enumerate(data["ranks"]):
        assert [event["name"] for event in events] == [
            *("data", "forward", "backward"),
            *("bucket 0", "bucket 1", "bucket 2", "optimizer"),
        ]
        for event in events:
            took = event["end_ms"] - event["start_ms"]
            told = re.findall(rf"rank {rank}: {event['name']}, ([\d.]+) ms", text)
            assert min(abs(float(one) - took) for one in told) < 0.11  # ms, rounded
    # Negative control: a line that has left the chapter.
    monkeypatch.setitem(recording.LINES, "step", ("optimizer.leap()",))
    with pytest.raises(SystemExit, match="0 lines begin with 'optimizer.leap"):
        recording.step_data()


BOX = "What does your program say or do?"


def type_into_the_box(page: Any, text: str) -> None:
    """Replace what the box holds, and wait for the answer."""
    page.get_by_label(BOX).focus()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.insert_text(text)
    page.wait_for_timeout(300)  # longer than the pause that the box waits for


def listed(page: Any) -> list[str]:
    """The entries that are shown, the first first."""
    links = page.locator("match-box :is(.w-entry-title, .t-row) a:visible")
    addresses = links.evaluate_all("all => all.map((one) => one.href)")
    return [address.rpartition("#")[2] for address in addresses]


def test_the_matcher_answers_while_one_types_as_the_command_does(visit: Any) -> None:
    page = visit("match-box")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    text = "RuntimeError: Distributed package doesn't have NCCL built in"
    from_the_top(page)
    tab_to(page, BOX)
    page.keyboard.type(text)
    page.wait_for_timeout(300)
    best = matching.match(text)[0]
    assert announced(page) == f"Found: {best.entry.title} ({best.sure})."
    link = page.get_by_role("link", name="The whole entry").get_attribute("href")
    assert link.endswith(f"/launch/#{best.entry.slug}")
    card = page.locator(".w-entry").text_content()
    places = [card.find(part) for part in ("Symptom", "Cure", "Why", "Next time")]
    assert sorted(places) == places
    assert min(places) >= 0
    assert best.entry.cure.replace("`", "") in card
    tab_to(page, "Clear")
    page.keyboard.press("Enter")
    page.keyboard.type("flurble wobble")  # the box has the focus
    page.wait_for_timeout(300)
    assert announced(page) == "Nothing in the catalogue matches this text."
    assert listed(page) == []
    assert requests == [], "nothing that is pasted may leave the page"


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_that_tells_the_answer_is_seen_or_reached_before_one(
    name: str, visit: Any
) -> None:
    page = visit(name, veiled=True)
    covered = page.locator(".w-covered")
    assert page.get_by_text("Answer first").is_visible()
    assert covered.evaluate(
        "node => node.inert && getComputedStyle(node).filter"
    ).startswith("blur")
    # Everything below the question is covered.
    parts = ".w-figure, .w-sentence, .w-notice, .w-caption, .w-details, .w-controls"
    assert page.locator(parts).count() == 6
    assert covered.locator(parts).count() == 6
    answer(page, page.locator(".w-option span").first.text_content(), 0)
    assert not covered.evaluate("node => node.inert")
    assert covered.evaluate("node => getComputedStyle(node).filter") == "none"
    assert not page.get_by_text("Answer first").is_visible()


@pytest.mark.parametrize("case", SHORT_INPUTS["ten"], ids=lambda case: case["text"])
def test_a_short_input_finds_its_entry_in_the_box(
    case: dict[str, str], visit: Any
) -> None:
    page = visit("match-box")
    type_into_the_box(page, case["text"])
    assert listed(page)[0] == case["expect"]


def test_the_beginning_of_a_word_filters_the_list(visit: Any) -> None:
    page = visit("match-box")
    assert len(listed(page)) == len(known.troubles) + len(known.own)
    type_into_the_box(page, "tokeni")
    assert "tokenizers-forked" in listed(page)
    assert len(listed(page)) < 6
    assert announced(page) == f"{len(listed(page))} entries with these words."


def test_chips_show_a_family_or_a_platform_and_count_what_they_would_show(
    visit: Any,
) -> None:
    page = visit("match-box")
    hangs = [trouble.slug for trouble in known.troubles if trouble.group == "hang"]
    from_the_top(page)
    tab_to(page, "Hangs")
    page.keyboard.press("Space")
    assert listed(page) == hangs
    assert announced(page) == f"{len(hangs)} entries shown."
    pressed = page.locator("match-box [aria-pressed=true]")
    assert pressed.all_text_contents() == [f"Hangs{len(hangs)}"]
    tab_to(page, "Windows")
    page.keyboard.press("Enter")
    assert 0 < len(listed(page)) < len(hangs)
    assert set(listed(page)) < set(hangs)
    tab_to(page, "Clear")
    page.keyboard.press("Enter")
    assert len(listed(page)) == len(known.troubles) + len(known.own)
    # With text in the box the chips filter what was found.
    type_into_the_box(page, "CUDA out of memory")
    found = listed(page)
    tab_to(page, "Setup")
    page.keyboard.press("Enter")
    assert listed(page) == [
        slug for slug in found if known.trouble(slug).group == "launch"
    ]
    tab_to(page, "Hangs")
    page.keyboard.press("Enter")
    assert (
        announced(page) == f"Nothing under this chip; {len(found)} entries without it."
    )


# --- For every reader ----------------------------------------------------------------


def test_with_reduced_motion_a_step_is_there_at_once_and_else_it_flies(
    visit: Any,
) -> None:
    script = """() => {
      const press = [...document.querySelectorAll("button")];
      press.find((one) => one.textContent === "Next step").click();
      return document.querySelector(".w-sentence").textContent;
    }"""
    assert visit("ring-all-reduce").evaluate(script).startswith("Step 1 of 6")
    # Negative control: without the wish the message is still on its way.
    moving = visit("ring-all-reduce", reduced_motion="no-preference")
    assert moving.evaluate(script).startswith("Start")
    moving.wait_for_function("document.body.textContent.includes('Step 1 of 6')")


def test_play_starts_only_when_asked_and_a_screen_reader_hears_the_end_only(
    visit: Any,
) -> None:
    page = visit("ring-all-reduce", reduced_motion="no-preference")
    page.get_by_role("combobox", name="Ranks").select_option("2")
    page.wait_for_timeout(300)
    assert announced(page).startswith("Start: 2 ranks")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(
        "document.querySelector('.w-sentence').textContent.startsWith('Step 1')"
    )
    assert announced(page).startswith("Start")
    page.wait_for_function(
        "document.querySelector('.w-live').textContent.startsWith('Done after 2')"
    )


@pytest.mark.parametrize("name", NAMES)
def test_without_javascript_a_picture_and_its_words_stand_there(
    name: str, visit: Any
) -> None:
    page = visit(name, java_script_enabled=False)
    place = page.locator(name)
    assert len(place.locator("p").inner_text()) > 100
    if name in DRAWN:
        box = place.locator("svg").bounding_box()
        assert box["width"] > 400
        assert box["height"] > 150
        assert place.locator("svg title").count() == 1


def test_when_its_data_do_not_arrive_a_widget_stays_a_picture(
    chromium: Any, address: str
) -> None:
    page = chromium.new_page()
    page.route("**/data/*.json", lambda route: route.fulfill(status=404))
    with page.expect_console_message(lambda one: "stays a picture" in one.text):
        page.goto(f"{address}/sampler-view/")
    assert page.locator("sampler-view figure svg").is_visible()
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_on_a_telephone_nothing_is_too_wide_or_too_small_to_touch(
    name: str, visit: Any
) -> None:
    page = visit(name, width=360)
    for state in ("start", "table"):
        if state == "table" and name in DRAWN:
            page.locator(f"{name} summary").click()
            page.wait_for_selector(".w-scroll table")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, state
        frame = page.locator(".w-frame").bounding_box()
        for control in page.locator(
            f"{name} :is(button, select, input, summary):visible"
        ).all():
            box = control.bounding_box()
            assert min(box["width"], box["height"]) >= 24, control.evaluate(
                "e => e.outerHTML"
            )
            assert box["x"] + box["width"] <= frame["x"] + frame["width"]
    if name in DRAWN:
        svg = page.locator(".w-figure svg").bounding_box()
        assert svg["width"] <= frame["width"]
        # What is drawn lies within the picture.
        outside = page.locator(".w-figure svg text").evaluate_all(
            """all => all.filter((one) => {
              const [a, b] = [one.getBoundingClientRect(),
                one.ownerSVGElement.getBoundingClientRect()];
              return a.left < b.left - 2 || a.right > b.right + 2;
            }).map((one) => one.textContent)"""
        )
        assert outside == []


MID = {
    "ring-all-reduce": ["Next step", "Next step"],
    "bucket-timeline": [],
    "sampler-view": ["Next epoch"],
    "speed-up": [],
    "life-of-step": ["Next stop", "Next stop"],
    "match-box": [],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_in_any_state(name: str, scheme: str, visit: Any) -> None:
    page = visit(name, color_scheme=scheme)
    shown = page.evaluate("document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    axe = axe_playwright.Axe()
    # WHY only contrast in the dark: names, roles and order do not depend on colours.
    every = {"resultTypes": ["violations"]}
    colours = every | {"runOnly": ["color-contrast"]}
    options = every if scheme == "light" else colours

    def look(state: str) -> None:
        results = axe.run(page, context=".widget-place", options=options)
        assert results.violations_count == 0, f"{state}: {results.generate_report()}"

    look("start")
    for button in MID[name]:
        page.get_by_role("button", name=button, exact=True).click()
    if name == "match-box":
        type_into_the_box(page, "CUDA out of memory")
    if name in DRAWN:
        page.get_by_role("button", name="Show me").click()
        page.locator(f"{name} summary").click()
        page.wait_for_selector(".w-scroll table")
    look("in the middle")
    if name == "ring-all-reduce":
        for _ in range(4):
            page.get_by_role("button", name="Next step").click()
    elif name == "match-box":
        page.get_by_role("button", name="Kaggle").click()
    else:
        for control in page.locator(f"{name} select").all():
            control.evaluate(
                "e => { e.selectedIndex = e.length - 1;"
                " e.dispatchEvent(new Event('change')) }"
            )
    look("at the end")


def test_axe_would_find_a_button_that_cannot_be_read(visit: Any) -> None:
    """Negative control."""
    page = visit("speed-up")
    page.add_style_tag(content=".w-frame .w-button { color: #ddd !important }")
    results = axe_playwright.Axe().run(page, context=".widget-place")
    assert results.violations_count == 1


def test_a_page_without_a_widget_loads_one_small_file_and_no_more(
    chromium: Any, address: str
) -> None:
    def loaded(page_name: str) -> list[str]:
        page = chromium.new_page()
        page.goto(f"{address}/{page_name}", wait_until="networkidle")
        script = "performance.getEntriesByType('resource').map((one) => one.name)"
        names = [url for url in page.evaluate(script) if "/widgets/" in url]
        page.close()
        return names

    assert [name.rsplit("/", 1)[1] for name in loaded("")] == ["widgets.js"]
    assert (WIDGETS / "widgets.js").stat().st_size < 2000
    assert len(loaded("ring-all-reduce/")) > 3  # negative control: one with a widget
