"""Proofs for the interview: cards that are complete, true to their numbers, and asked.

What a card claims about DDP is proven by the test or lab that it names; here it is
proven that this test or lab exists.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import interview_pages
import numbers_interview
import pytest
from helpers.command import call

from distrinews.cli import interview_commands
from distrinews.cli.interview_commands import Progress
from distrinews.course import interview_cards
from distrinews.course.interview_cards import Group
from distrinews.errors import InterviewError, OutputError
from distrinews.model import sizes

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site_docs"
RAW = interview_cards.read(raw=True)
GROUPS = interview_cards.read()
CARDS = {card.id: card for group in GROUPS for card in group.cards}
RAW_CARDS = [card for group in RAW for card in group.cards]


def test_a_number_without_a_value_is_an_error() -> None:
    """Negative control."""
    wrong = dataclasses.replace(RAW_CARDS[0], number="{no_such_number} bytes")
    with pytest.raises(KeyError, match="no_such_number"):
        wrong.filled(interview_cards.numbers())


# --- The numbers, by other arithmetic ----------------------------------------------


def parameters(dim: int, hidden: int, layers: int = 6) -> int:
    """DistilBERT's, added up by hand: tables, layers, and the head of four classes."""
    tables = (30522 + 512) * dim + 2 * dim
    attention = 4 * (dim * dim + dim)
    layer = attention + 2 * dim * hidden + hidden + dim + 2 * (2 * dim)
    return tables + layers * layer + (dim * dim + dim) + (4 * dim + 4)


def test_sizes_and_traffic_are_those_of_the_formulas() -> None:
    known = interview_cards.numbers()
    large, small = parameters(768, 3072), parameters(384, 1536)
    assert known["distilbert_parameters"] == f"{large / 1e6:.1f} million"
    assert known["distilbert_gradients"] == f"{4 * large / 1e6:,.0f} MB"
    assert known["minilm_state"] == f"{16 * small / 1e6:,.0f} MB"
    assert known["distilbert_checkpoint"] == f"{12 * large / 1e6:,.0f} MB"
    assert known["sent_8"] == f"{4 * large * 7 / 4 / 1e6:,.0f} MB"
    assert known["sharded_sent_8"] == f"{4 * large * 21 / 8 / 1e6:,.0f} MB"
    assert known["zero_1_8"] == f"{9 * large / 1e6:,.0f} MB"
    assert known["zero_2_8"] == f"{5.5 * large / 1e6:,.0f} MB"
    assert (known["messages_8"], known["messages_1024"]) == ("14", "2,046")
    assert (known["padded_3"], known["extra_64"]) == ("7,602", "16")
    assert (known["steps_32"], known["steps_16384"]) == ("3,750", "7")
    assert (known["rate_64_linear"], known["rate_64_sqrt"]) == ("0.0004", "0.00028")


def test_measured_numbers_are_those_of_the_committed_files() -> None:
    known = interview_cards.numbers()
    results = SITE / "benchmarks" / "results"
    scaling = json.loads((results / "scaling.json").read_text("utf-8"))["figures"]
    one_process_ms, two_ranks_ms = (
        scaling[variant]["median_ms"] for variant in ("one_process", "strong")
    )
    assert known["cpu_one_ms"] == f"{one_process_ms:.0f} ms"
    rounds = zip(
        scaling["one_process"]["all_ms"], scaling["strong"]["all_ms"], strict=True
    )
    ratio = statistics.median(alone_ms / both_ms for alone_ms, both_ms in rounds)
    speedup = f"{ratio:.2f}x ("  # and its interval
    assert known["cpu_speedup"].startswith((speedup, "no difference ("))


@pytest.mark.slow
def test_the_kept_numbers_are_what_the_library_computes_each_time() -> None:
    import interview_figures

    computed = interview_figures.figures()
    assert computed == interview_cards.numbers() == interview_figures.figures()


@pytest.mark.slow
def test_another_model_would_give_other_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control."""
    import interview_figures

    def halved(name: str) -> tuple[int, ...]:
        return tuple(n // 2 for n in real(name))

    real = sizes.gradient_bytes
    monkeypatch.setattr(sizes, "gradient_bytes", halved)
    kept = interview_cards.numbers()
    other = interview_figures.figures()
    assert {"sent_8", "distilbert_state"} <= {n for n in kept if kept[n] != other[n]}


def test_a_page_holds_every_card_of_its_group() -> None:
    for group in GROUPS:
        page = interview_pages.page(group)
        for card in group.cards:
            assert f"{{ #{card.id} }}" in page
            assert f'??? question "{card.question} ({card.level})"' in page


def test_the_walks_show_what_the_prediction_says() -> None:
    # By hand: 50,677 hours / 1,024; the root of 2 x 0.8 s x 49.5 h; 16,384 rows.
    assert "| 49 hours" in numbers_interview.scale_failures(1024)
    assert "| 9 minutes" in numbers_interview.scale_failures(1024)
    assert "| 16,384" in numbers_interview.scale_batch(1024)
    assert "not measured" in numbers_interview.scale_step(64)
    assert "Assumed" in numbers_interview.scale_failures(8)


# --- Anki --------------------------------------------------------------------------


def imported(text: str) -> tuple[dict[str, str], list[list[str]]]:
    """Headers and rows, as Anki reads such a file: headers first, then CSV."""
    lines = text.splitlines()
    count = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    headers = dict(line[1:].split(":", 1) for line in lines[:count])
    assert headers["separator"] == "tab"
    return headers, list(csv.reader(lines[count:], delimiter="\t"))


def test_every_line_for_anki_has_the_same_fields_and_comes_back() -> None:
    text = interview_cards.anki_text(GROUPS)
    headers, rows = imported(text)
    assert headers["html"] == "true"
    columns = headers["columns"].split("\t")
    assert columns == list(interview_cards.COLUMNS)
    for name in ("guid", "deck", "tags"):
        assert columns[int(headers[f"{name} column"]) - 1] == name
    assert {len(row) for row in rows} == {len(columns)}
    assert [row[0] for row in rows] == [f"distrinews-{name}" for name in CARDS]
    assert len({row[2] for row in rows}) == len(rows)  # Anki's first field: no twins
    assert "\n".join("\t".join(row) for row in rows) in text  # nothing was quoted
    again = dict(zip(CARDS.values(), rows, strict=True))
    for card, row in again.items():
        assert all(" ".join(word) for word in (row[2], row[3]))
        assert card.id in row[0]


def test_anki_itself_takes_every_card_once(tmp_path: pathlib.Path) -> None:
    """By Anki's own importer, as far as it is installed: it is large."""
    needs = "Anki is not installed (pip install anki)"
    collection = pytest.importorskip("anki.collection", reason=needs)
    cards = collection.Collection(str(tmp_path / "cards.anki2"))
    path = str(SITE / "interview" / "distrinews-anki.txt")
    metadata = cards.get_csv_metadata(path=path, delimiter=None)
    assert list(metadata.column_labels) == list(interview_cards.COLUMNS)
    request = importlib.import_module("anki.import_export_pb2").ImportCsvRequest
    first = cards.import_csv(request(path=path, metadata=metadata)).log
    assert len(first.new) == len(CARDS)
    again = cards.import_csv(request(path=path, metadata=metadata)).log
    assert not again.new  # who takes the file once more has no card twice
    assert len(cards.find_cards("deck:DistriNews::*")) == len(CARDS)
    note = cards.get_note(cards.find_notes("tag:seniors")[0])
    assert note.guid.removeprefix("distrinews-") in CARDS
    cards.close()


def test_a_card_with_tabs_and_markup_stays_one_line() -> None:
    """Negative control: these would break the file if they got through."""
    odd = dataclasses.replace(
        next(iter(CARDS.values())),
        question='a < b & "c"',
        short="\n\n".join(interview_cards.paragraphs("one\ttwo\nthree\n\nfour")),
    )
    [row] = imported(interview_cards.anki_text([Group("g", "G", "About.", (odd,))]))[1]
    assert row[2].startswith("a &lt; b &amp; &quot;c&quot;<br>")
    assert "one two three<br><br>four" in row[3]


def test_the_file_on_the_site_is_what_the_command_writes(
    tmp_path: pathlib.Path,
) -> None:
    target = tmp_path / "deck.txt"
    call("-m", "distrinews", "interview", "--anki", target, folder=tmp_path)
    on_site = SITE / "interview" / "distrinews-anki.txt"
    assert target.read_bytes() == on_site.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


def test_a_deck_that_cannot_be_written_is_an_output_error(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        interview_cards.write_anki(tmp_path / "file" / "deck.txt", GROUPS)


# --- In the terminal ---------------------------------------------------------------


def answers(*words: str) -> tuple[list[str], object]:
    """A reader who types these words, and the prompts that they saw."""
    seen: list[str] = []
    waiting = list(words)

    def ask(prompt: str) -> str:
        seen.append(prompt)
        if not waiting:
            raise EOFError
        return waiting.pop(0)

    return seen, ask


def chosen(count: int) -> list[interview_commands.GroupedCard]:
    return [(GROUPS[0], card) for card in GROUPS[0].cards[:count]]


def test_a_card_that_was_not_known_comes_again_until_it_is(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(tmp_path / "interview.json")
    _, ask = answers("", "n", "", "y", "", "n", "", "y")
    interview_commands._drill(chosen(2), progress, ask=ask)  # type: ignore[arg-type]
    output = capsys.readouterr().out
    first, second = (card for _, card in chosen(2))
    words = " ".join(output.split())
    assert words.count(" ".join(first.question.split())) == 3
    assert words.count(" ".join(second.question.split())) == 1
    assert "2 of 2 known" in output
    kept = json.loads((tmp_path / "interview.json").read_text("utf-8"))
    assert kept[first.id]["times"] == 3
    assert Progress(progress.path).knew(second.id) is True


def test_the_answer_comes_after_enter_and_more_on_d_and_f(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [(_, card)] = chosen(1)
    steps = [
        ((), card.question, card.short),
        (("",), card.short, card.deep),
        (("", "d"), card.deep, card.follow_up),
        (("", "d", "f"), card.follow_up, card.follow_up_answer),
        (("", "d", "f", ""), card.follow_up_answer, "1 of 1 known"),
    ]
    for words, shown, hidden in steps:
        _, ask = answers(*words)  # then the reader presses Ctrl-D
        interview_commands._drill(
            chosen(1),
            Progress(tmp_path / "interview.json"),
            ask=ask,  # type: ignore[arg-type]
        )
        output = " ".join(capsys.readouterr().out.split())
        assert " ".join(shown.split()) in output
        assert " ".join(hidden.split()) not in output
    assert not (tmp_path / "interview.json").exists()  # nothing was answered


def test_what_was_missed_comes_first_in_the_next_session(
    tmp_path: pathlib.Path,
) -> None:
    progress = Progress(tmp_path / "interview.json")
    three = chosen(3)
    progress.note(three[0][1].id, knew=True)
    progress.note(three[2][1].id, knew=False)
    order = [card.id for _, card in interview_commands._in_order(three, progress)]
    assert order == [three[i][1].id for i in (2, 1, 0)]
    assert (
        interview_commands._in_order(three, Progress(tmp_path / "none.json")) == three
    )


@pytest.mark.parametrize("text", ["[", "[]", '{"step": {"times": 1}}', '{"step": 1}'])
def test_a_damaged_file_of_answers_is_named_and_stays(
    tmp_path: pathlib.Path, text: str
) -> None:
    path = tmp_path / "interview.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InterviewError, match="not a file of answers"):
        Progress(path)
    assert path.read_text(encoding="utf-8") == text


def test_without_a_terminal_all_cards_are_printed_and_nothing_is_kept(
    tmp_path: pathlib.Path,
) -> None:
    done = call("-m", "distrinews", "interview", folder=tmp_path)
    heads = re.findall(r"^--- .*: (\S+)$", done.stdout, re.MULTILINE)
    assert heads == list(CARDS)
    assert list(tmp_path.iterdir()) == []


def test_group_level_and_seed_choose_and_order_the_cards(
    tmp_path: pathlib.Path,
) -> None:
    def heads(*words: str) -> list[str]:
        done = call("-m", "distrinews", "interview", *words, folder=tmp_path)
        return re.findall(r"^--- .*: (\S+)$", done.stdout, re.MULTILINE)

    seniors = [c.id for c in GROUPS[-1].cards if c.level == "staff"]
    assert heads("--group", "seniors", "--level", "staff") == seniors
    mixed = heads("--group", "seniors", "--level", "staff", "--seed", "3")
    assert sorted(mixed) == sorted(seniors)
    assert mixed != seniors
    assert mixed == heads("--group", "seniors", "--level", "staff", "--seed", "3")


def test_the_list_marks_what_is_known(tmp_path: pathlib.Path) -> None:
    own = tmp_path / interview_commands.PROGRESS
    Progress(own).note("ring", knew=True)
    Progress(own).note("tree", knew=False)
    words = ("interview", "--group", "basics", "--list")
    lines = call("-m", "distrinews", *words, folder=tmp_path).stdout.splitlines()
    marks = {line.split()[3]: line.split()[0] for line in lines if line.count("  ") > 2}
    assert (marks["ring"], marks["tree"], marks["step"]) == ("known", "again", "new")
    assert lines[-1] == f"1 of {len(GROUPS[0].cards)} known"


def test_a_kind_of_card_that_does_not_exist_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    from distrinews.cli import parser

    monkeypatch.chdir(tmp_path)
    only = [dataclasses.replace(GROUPS[0], cards=GROUPS[0].cards[:1])]
    monkeypatch.setattr(interview_cards, "read", lambda: only)
    with pytest.raises(InterviewError, match="no card of group basics has level staff"):
        parser.run(["interview", "--group", "basics", "--level", "staff"])


def test_the_cards_need_no_torch() -> None:
    script = (
        "import sys; from distrinews.cli import parser; "
        "parser.run(['interview', '--list']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"of {len(CARDS)} known" in done.stdout


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")


def in_terminal(*typed: tuple[str, bytes], folder: pathlib.Path) -> tuple[int, str]:
    """Run the cards in a real terminal: (what to wait for, what to type) in turn."""
    import pty

    terminal, program_side = pty.openpty()
    words = ("interview", "--group", "basics")
    started = subprocess.Popen(
        [sys.executable, "-m", "distrinews", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=program_side,
        stdout=program_side,
        stderr=program_side,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(program_side)
    shown = ""
    try:
        for wanted, keys in typed:
            before = len(shown)
            while wanted not in shown[before:]:
                shown += os.read(terminal, 4096).decode()
            os.write(terminal, keys)
        while True:
            try:
                output = os.read(terminal, 4096).decode()
            except OSError:  # the other side is closed
                break
            if not output:
                break
            shown += output
        return started.wait(timeout=30), shown
    finally:
        started.kill()
        started.wait()
        os.close(terminal)


def _take_terminal() -> None:
    """Make standard input the terminal of this process, so that Ctrl-C arrives."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@posix_only
@pytest.mark.timeout(60)
def test_in_a_real_terminal_a_session_is_asked_answered_and_kept(
    tmp_path: pathlib.Path,
) -> None:
    code, shown = in_terminal(
        ("[Enter]", b"\n"),
        ("[q] quit:", b"y\n"),
        ("[Enter]", b"q\n"),
        folder=tmp_path,
    )
    assert code == 0
    assert f"1 of {len(GROUPS[0].cards)} known" in shown
    kept = json.loads((tmp_path / interview_commands.PROGRESS).read_text("utf-8"))
    assert kept[GROUPS[0].cards[0].id]["knew"] is True


@posix_only
@pytest.mark.timeout(60)
def test_ctrl_c_ends_a_session_quietly_and_keeps_what_was_answered(
    tmp_path: pathlib.Path,
) -> None:
    code, shown = in_terminal(
        ("[Enter]", b"\n"),
        ("[q] quit:", b"n\n"),
        ("[Enter]", b"\x03"),
        folder=tmp_path,
    )
    assert code == 130
    assert "Traceback" not in shown
    kept = json.loads((tmp_path / interview_commands.PROGRESS).read_text("utf-8"))
    assert kept[GROUPS[0].cards[0].id]["knew"] is False
