"""Proofs for the site's widgets: their numbers are the library's, for every reader.

Models against fixtures that the library wrote; every widget driven by keyboard alone,
read by a screen reader's means, without motion, without JavaScript, on a telephone.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import re
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
pytest.importorskip("material")  # mkdocs-material

from helpers import node_tests

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
    *("hang-view", "life-of-step", "padding-wait", "where-time", "will-it-fit"),
]
SHORT_INPUTS = json.loads(
    (ROOT / "tests" / "data" / "short_inputs.json").read_text("utf-8")
)
known = catalogue.read()
NAMES = [*DRAWN, "first-run", "match-box"]


@pytest.fixture(scope="module")
def tools() -> ModuleType:
    """The module that draws."""
    return importlib.import_module("widget_pictures")


@pytest.fixture
def visit(visit: Any) -> Any:
    """Open a widget's page when it is ready, its question answered."""

    def visit_one(name: str, *, veiled: bool = False, **options: Any) -> Any:
        options = {"reduced_motion": "reduce"} | options
        page = visit(f"{name}/" if name else "", **options)
        if options.get("java_script_enabled", True) and name in NAMES:
            page.wait_for_selector(f"{name}[ready]")
            if name in DRAWN and not veiled:
                page.get_by_role("button", name="Show me").click()
        return page

    return visit_one


def test_what_node_proves_of_the_models() -> None:
    """Moments of the first run, memory of a rank, parts of a step: see the file."""
    tests = ROOT / "tests" / "helpers" / "widget_models.test.mjs"
    assert node_tests.num_passed(tests) >= 4  # the guard: tests were found


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
    "padding.json": """
      const model = await import(`${widgets}/padding-wait.model.js`);
      const { tokens, steps } = await (
        await fetch(`${widgets}/data/padding.json`)).json();
      return cases.map((one) => {
        const dealt = model.deal(tokens, steps[one.kind], one.ranks);
        const groups = dealt.map(({ groups }) => groups.map(({ rows }) => rows));
        return { ...one, groups, places: model.places(tokens, dealt) };
      });""",
    "calls.json": """
      const model = await import(`${widgets}/hang-view.model.js`);
      const { calls, ranks } = await (
        await fetch(`${widgets}/data/calls.json`)).json();
      return cases.map((one) => {
        const { met, says } = model.run(model.program(calls, ranks, one));
        return { ...one, met, says };
      });""",
    "memory.json": """
      const model = await import(`${widgets}/will-it-fit.model.js`);
      return cases.map((one) => ({ ...one, stages: model.stages(one.model, one) }));""",
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

    # It begins with the rows' own order: whoever looks sees how they are dealt.
    assert shown() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 0]]
    assert rows(page)[2][0].endswith("0 (padding)")
    dealt = "Step 0 reads rows 0, 1, 2, as one process with a batch of 3 would."
    assert dealt in page.locator(".w-sentence").text_content()
    tab_to(page, "blocks instead of dealing")
    page.keyboard.press("Space")
    assert shown() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 0]]
    blocks = (
        "Step 0 reads rows 0, 4, 8; one process with a batch of 3 would read 0, 1, 2."
    )
    assert announced(page).endswith(blocks)
    page.keyboard.press("Space")
    from_the_top(page)
    tab_to(page, "shuffle")
    page.keyboard.press("Space")
    assert shown() == want(0)
    assert rows(page)[2][0].endswith(f"{want(0)[0][0]} (padding)")
    from_the_top(page)
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


def test_the_waterfall_is_chosen_by_keyboard_and_marks_what_is_predicted(
    visit: Any,
) -> None:
    page = visit("where-time")
    assert answer(page, "Forward", 2).startswith("Right. Communication.")
    open_table(page)
    record = SITE / "benchmarks" / "results" / "scaling.json"
    measured = json.loads(record.read_text("utf-8"))["figures"]
    one, ranks = (measured[name]["median_ms"] for name in ("one_process", "strong"))
    exposed_ms = measured["strong"]["phases_ms"]["communication"]
    assert rows(page)[2][2] == f"+{exposed_ms:.0f} ms"
    assert rows(page)[-1][:2] == [f"{one:.0f} ms", f"{ranks:.0f} ms"]
    said = page.locator(".w-sentence").text_content()
    assert said.startswith(f"Measured: from {one:.0f} ms to {ranks:.0f} ms, ")
    tab_to(page, "Two ranks are")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
        assert announced(page).startswith("Predicted: from ")
        assert page.locator(".w-scroll caption").text_content().startswith("Predicted")
    page.keyboard.press("Home")
    assert announced(page) == said


def test_whether_it_fits_is_moved_by_keyboard_and_counted_as_the_page_counts(
    visit: Any,
) -> None:
    page = visit("will-it-fit")
    assert answer(page, "Nothing: DDP", 3).startswith("Right. ZeRO-3.")
    open_table(page)

    def gigabytes(column: int) -> list[float]:
        cells = [row[column].removesuffix(" GB") for row in rows(page)]
        return [float(cell.replace(",", "")) for cell in cells]

    # 7 billion parameters on 8 ranks, as the table of the page.
    text = (SITE / "understand" / "memory-and-beyond.md").read_text("utf-8")
    of_page = re.findall(r"^\| (?:DDP|ZeRO).* (\d+) GB +\|$", text, re.MULTILINE)
    state = [sum(parts) for parts in zip(*map(gigabytes, (0, 1, 2)), strict=True)]
    assert [round(each) for each in state] == [112, 63, 38, 14]
    assert [int(each) for each in of_page] == [112, 63, 38, 14]
    tab_to(page, "Ranks")
    page.keyboard.press("ArrowRight")
    assert gigabytes(2) == [56.0, 3.5, 3.5, 3.5]
    assert "each of 16 ranks" in announced(page)
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert {row[-1] for row in rows(page)} == {"nothing"}
    assert announced(page).count("no card here") == 4
    tab_to(page, "Rows per rank")
    before = gigabytes(3)
    page.keyboard.press("ArrowRight")
    assert gigabytes(3) == pytest.approx([2 * each for each in before], abs=0.1)
    tab_to(page, "Reset")
    page.keyboard.press("Enter")
    from_the_top(page)
    tab_to(page, "Model")
    page.keyboard.press("Home")
    assert announced(page).startswith("minilm, 23 million parameters: each of 8 ranks")
    assert announced(page).count("fits into 16 GB") == 4


def test_who_waits_for_whom_is_chosen_by_keyboard_and_diagnosed_as_by_the_library(
    visit: Any,
) -> None:
    page = visit("hang-view")
    assert answer(page, "In none", 1).startswith("Right. In call 2.")
    says = {
        (case["rank"], case["left_out"]): case["says"] for case in fixture("calls.json")
    }
    tab_to(page, "Play")
    page.keyboard.press("Enter")  # without motion the end is there at once
    assert announced(page) == f"Timeout. The trace says: {says[1, 2]}"
    tab_to(page, "leaves out")
    page.keyboard.press("End")
    assert announced(page) == "Rank 1 leaves out call 5. Press Play."
    from_the_top(page)
    tab_to(page, "Play")
    page.keyboard.press("Enter")
    assert announced(page) == f"Timeout. The trace says: {says[1, 5]}"
    assert "which ranks [1] never joined" in announced(page)
    tab_to(page, "leaves out")
    page.keyboard.press("Home")
    from_the_top(page)
    tab_to(page, "Play")
    page.keyboard.press("Enter")
    assert announced(page) == "The trace says: every call ended on every rank."
    open_table(page)
    assert {row[-1] for row in rows(page)} == {"meets"}


def test_a_hang_is_played_call_by_call_up_to_its_timeout(visit: Any) -> None:
    page = visit("hang-view", reduced_motion="no-preference")
    page.get_by_role("button", name="Play").click()
    waits = "In call 2 ranks 0 and 2 wait in barrier; rank 1 is in all_reduce. Timeout"
    for words in (
        "Call 0: all ranks meet in all_reduce.",
        "Call 1: all ranks meet in all_reduce.",
        f"{waits} in 4 s.",
        f"{waits} in 1 s.",
    ):
        page.wait_for_function(
            "words => document.querySelector('.w-sentence').textContent === words",
            arg=words,
        )
    begin = "Rank 1 leaves out call 2. The ranks begin."
    assert announced(page) == begin  # silent meanwhile
    page.wait_for_function(
        "document.querySelector('.w-live').textContent.startsWith('Timeout. ')"
    )
    # Where lines are mixed up, it says so.
    page.get_by_label("leaves out").select_option("0")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(
        "document.querySelector('.w-sentence').textContent"
        ".includes('but rank 1 is at another line')"
    )


def test_padding_and_waiting_are_counted_as_the_library_counts(visit: Any) -> None:
    page = visit("padding-wait")
    by_case = {
        (case["kind"], case["ranks"]): case["places"]
        for case in fixture("padding.json")
    }

    def sentence(kind: str, ranks: int) -> str:
        places = by_case[kind, ranks]
        text, padding, waiting = (
            f"{100 * places[name] / sum(places.values()):.0f} %"
            for name in ("text", "padding", "waiting")
        )
        how = "By length" if kind == "length" else "Shuffled"
        many = "1 rank" if ranks == 1 else f"{ranks} ranks"
        waits = "nobody to wait for" if ranks == 1 else f"{waiting} waiting"
        return (
            f"{how}, {many}: {text} of all places are text, {padding} padding, {waits}."
        )

    assert page.locator(".w-sentence").text_content() == sentence("shuffled", 4)
    from_the_top(page)
    tab_to(page, "batches by length")
    page.keyboard.press("Space")
    assert announced(page) == sentence("length", 4)
    tab_to(page, "Ranks")
    for ranks, key in ((8, "ArrowDown"), (1, "Home"), (2, "ArrowDown")):
        page.keyboard.press(key)
        assert announced(page) == sentence("length", ranks)
    # A bar glides to its new place, unless the reader wants no motion.
    moving = visit("padding-wait", reduced_motion="no-preference")
    moving.get_by_label("batches by length").check(force=True)
    script = "document.querySelector('.w-figure').getAnimations({subtree: true}).length"
    assert moving.evaluate(script) >= 64
    page.get_by_label("batches by length").uncheck(force=True)
    assert page.evaluate(script) == 0


def test_cards_fly_from_the_order_to_their_ranks_when_dealt(visit: Any) -> None:
    page = visit("sampler-view", reduced_motion="no-preference")
    page.get_by_role("button", name="Deal").click()
    script = """() => document.querySelector(".w-figure")
      .getAnimations({subtree: true}).map((one) => one.effect.getTiming().delay)"""
    delays = page.evaluate(script)
    assert len(delays) == 12  # a place each
    assert sorted(delays) == [160 * place for place in range(12)]
    # Who wants no motion is offered none.
    still = visit("sampler-view")
    assert still.get_by_role("button", name="Deal").count() == 0


# --- The first run, played ----------------------------------------------------------

PRINTED = (SITE / "learn" / "captured" / "05_ddp_training.txt").read_text("utf-8")


def on_screen(page: Any) -> list[str]:
    """The lines of the terminal that can be seen: the command, then the output."""
    script = """all => all.map((line) => line.firstChild.textContent)"""
    lines: list[str] = page.locator(".f-screen code > span").evaluate_all(script)
    return lines


def played(visit: Any, **options: Any) -> Any:
    page = visit("first-run", reduced_motion="no-preference", **options)
    page.get_by_label("Speed").select_option("8")
    return page


def test_the_terminal_types_by_itself_and_ends_with_what_our_run_printed(
    visit: Any,
) -> None:
    page = played(visit)
    page.wait_for_selector("first-run[data-state=running]")
    # The bar is drawn again and again; what stands above it stays as it is.
    page.wait_for_function(
        "/train: +[1-9][0-9]?%/.test(document.querySelector('.f-screen').innerText)"
    )
    lines = on_screen(page)
    assert lines[1:7] == PRINTED.splitlines()[:6]
    assert not any("accuracy" in line for line in lines)
    assert announced(page) == ""
    page.wait_for_selector("first-run[data-state=done]")
    readme = (ROOT / "README.md").read_text("utf-8")
    command, *lines = on_screen(page)
    assert f"```sh\n{command}\n```" in readme
    assert lines == PRINTED.rstrip().splitlines()
    [phases] = re.findall(r"^.*; start .* s$", PRINTED, re.MULTILINE)
    seconds = sum(map(float, re.findall(r"[;,] \w+ ([\d.]+) s", phases)))
    assert announced(page).startswith(f"Done after {seconds:.1f} s by the run's own")


def test_the_terminal_keeps_the_runs_pace_and_can_be_paused_by_keyboard(
    visit: Any,
) -> None:
    page = visit("first-run", reduced_motion="no-preference")
    page.wait_for_selector("first-run[data-state=running]")
    clock = """() => [performance.now() / 1000,
      Number(document.querySelector("first-run").dataset.time)]"""
    (began_s, first), _ = page.evaluate(clock), page.wait_for_timeout(1500)
    ended_s, last = page.evaluate(clock)
    assert last - first == pytest.approx(ended_s - began_s, abs=0.4)
    from_the_top(page)
    tab_to(page, "Pause")
    page.keyboard.press("Space")
    page.wait_for_selector("first-run[data-state=paused]")
    stopped = page.locator("first-run").get_attribute("data-time")
    page.wait_for_timeout(400)
    assert page.locator("first-run").get_attribute("data-time") == stopped
    tab_to(page, "To the end")
    page.keyboard.press("Enter")
    assert page.locator("first-run").get_attribute("data-state") == "done"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # Play again
    assert page.locator("first-run").get_attribute("data-state") == "running"


def test_what_the_terminal_has_written_can_be_selected_while_it_goes_on(
    visit: Any,
) -> None:
    page = played(visit)
    page.wait_for_function("document.querySelector('.f-line').innerText.trim() !== ''")
    script = """() => {
      const [command, line] = document.querySelectorAll(".f-screen code > span");
      getSelection().setBaseAndExtent(command, 0, line.firstChild.firstChild, 6);
    }"""
    page.evaluate(script)
    page.wait_for_selector("first-run[data-state=done]")
    copied = page.evaluate("String(getSelection())")
    assert copied.startswith("python3 -m venv .venv")  # the prompt is not copied
    assert copied.endswith("run   ")


def test_a_reader_on_windows_gets_windows_command(visit: Any) -> None:
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    page = visit("first-run", user_agent=agent)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"```powershell\n{on_screen(page)[0]}\n```" in readme
    page.get_by_label("Command for").select_option("sh")
    assert f"```sh\n{on_screen(page)[0]}\n```" in readme
    assert on_screen(page)[1:] == PRINTED.rstrip().splitlines()


def test_who_wants_no_motion_sees_the_run_as_it_ended(visit: Any) -> None:
    page = visit("first-run")
    assert page.locator("first-run").get_attribute("data-state") == "done"
    assert on_screen(page)[1:] == PRINTED.rstrip().splitlines()
    assert page.locator("first-run button").count() == 0


def test_out_of_sight_the_terminal_stands_still(visit: Any) -> None:
    page = played(visit)
    page.wait_for_selector("first-run[data-state=running]")
    page.evaluate("document.body.style.paddingTop = '4000px'; scrollTo(0, 0)")
    page.wait_for_timeout(400)
    before = page.locator("first-run").get_attribute("data-time")
    page.wait_for_timeout(400)
    assert page.locator("first-run").get_attribute("data-time") == before
    page.evaluate("document.body.style.paddingTop = ''")
    page.wait_for_selector("first-run[data-state=done]")


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
    assert len(place.inner_text()) > 100
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


MID: dict[str, list[str]] = {
    "first-run": [],
    "ring-all-reduce": ["Next step", "Next step"],
    "bucket-timeline": [],
    "sampler-view": ["Next epoch"],
    "hang-view": ["Play"],
    "padding-wait": [],
    "speed-up": [],
    "where-time": [],
    "will-it-fit": [],
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
