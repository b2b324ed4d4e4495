"""Draw the picture that each chapter's page opens with: its question, drawn.

Every number in it comes from a committed run or record. `<!-- opener 03 -->` shows
picture 3 with its caption, which says what to notice.
"""

from __future__ import annotations

import html
import pathlib
import re
from collections.abc import Callable, Sequence

import records
from records import SITE

from distrinews.config.settings import DistributedSettings
from distrinews.model import sizes

__all__ = ["BLOCKS", "files"]

WIDTH = 720


class Picture:
    """An SVG in the making, in the classes of `assets/diagrams.css`.

    Args:
        name: Of the file, without `.svg`.
        title: What it is called.
        description: What it shows, for those who do not see it.
        height: In pixels; it is 720 wide.
    """

    def __init__(self, name: str, *, title: str, description: str, height: int) -> None:
        self.name = name
        self.title = title
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'role="img" aria-labelledby="{name}-title {name}-desc" '
            'style="min-width: 32rem">',
            f'<title id="{name}-title">{html.escape(title)}</title>',
            f'<desc id="{name}-desc">{html.escape(description)}</desc>',
            f'<defs><marker id="{name}-head" viewBox="0 0 10 10" refX="9" refY="5" '
            'markerUnits="userSpaceOnUse" markerWidth="11" markerHeight="11" '
            'orient="auto-start-reverse"><path class="d-head" d="M0 0 L10 5 L0 10 z"/>'
            "</marker></defs>",
        ]

    def text(
        self, x: float, y: float, *words: str, kind: str = "d-text", anchor: str = ""
    ) -> None:
        """Write lines, centred at x unless `anchor` says otherwise."""
        for number, line in enumerate(words):
            self._lines.append(
                f'<text class="{kind}" x="{x:g}" y="{y + 19 * number:g}" '
                f'text-anchor="{anchor or "middle"}">{html.escape(line)}</text>'
            )

    def box(
        self, x: float, y: float, width: float, height: float, *words: str, kind: str
    ) -> None:
        """Draw a box with words in its middle."""
        self._lines.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" '
            f'height="{height:g}" rx="{5 if height > 30 else 2}"/>'
        )
        on = "d-on" if re.fullmatch(r"d-r\d", kind) else "d-text"
        first = y + height / 2 + 5 - 19 * (len(words) - 1) / 2
        self.text(x + width / 2, first, *words, kind=on)

    def line(self, path: str, *, kind: str = "d-line", arrow: bool = True) -> None:
        """Draw a line, with an arrow's head at its end."""
        head = f' marker-end="url(#{self.name}-head)"' * arrow
        self._lines.append(f'<path class="{kind}" d="{path}"{head}/>')

    def svg(self) -> str:
        """Return the file's text."""
        return "\n".join([*self._lines, "</svg>", ""])


def _number(pattern: str, name: str) -> str:
    """What a captured run printed."""
    found = re.findall(pattern, records.captured_text(name), re.MULTILINE)
    if len(found) != 1:
        raise SystemExit(f"{name}.txt: {len(found)} lines match {pattern!r}.")
    return str(found[0])


# --- The six pictures -----------------------------------------------------------------
# WHY question marks: the page asks the reader to predict, right below.


def _one_process() -> tuple[Picture, str]:
    """Chapter 01: a loop."""
    run = "01_single_gpu"
    rows = int(_number(r"(\d+) rows to train on", run))
    batch = _number(r"(\d+) rows per step$", run)
    picture = Picture(
        "chapter-01",
        title="The loop of one process",
        description=f"{rows:,} rows on the left. {batch} of them go round a loop: "
        "forward gives a loss, backward gives gradients, the optimizer's step gives "
        f"new weights, with which the next {batch} rows begin. How often, and how good "
        "the model is after that, are question marks.",
        height=176,
    )
    picture.box(8, 66, 104, 76, f"{rows:,} rows", kind="d-box")
    names = (("forward", "a loss"), ("backward", "gradients"), ("step", "new weights"))
    for number, words in enumerate(names):
        picture.box(170 + 136 * number, 66, 108, 76, *words, kind="d-r0")
        picture.line(f"M{(114, 280, 416)[number]} 104H{168 + 136 * number}")
    picture.text(141, 92, batch)
    picture.line("M496 66V36H224V62")
    picture.text(360, 26, "the weights come back: ? times")
    picture.line("M552 104H590")
    picture.box(592, 66, 120, 76, "test, once:", "? % right", kind="d-dash")
    picture.text(360, 168, f"{batch} rows a turn, until every row has been read once")
    return picture, (
        "One turn of the loop is a step. Notice what comes back: the weights, and "
        "nothing else. With several processes, all depends on keeping them equal."
    )


def _two_memories() -> tuple[Picture, str]:
    """Chapter 02: all-reduce."""
    printed = records.captured_text("02_process_group")
    part = printed.partition("all_reduce (sum)")[2]
    before = [re.split(r" {2,}", line.strip())[1] for line in part.splitlines()[1:3]]
    picture = Picture(
        "chapter-02",
        title="Two processes that share nothing",
        description=f"Rank 0 holds {before[0]}, rank 1 holds {before[1]}, each in "
        "memory of its own, with a line between them. Both make one call. What each "
        "holds after it is a question mark.",
        height=208,
    )
    for rank, held in enumerate(before):
        y = 30 + 92 * rank
        picture.box(8, y, 170, 76, f"rank {rank}, a process", held, kind=f"d-r{rank}")
        picture.box(542, y, 170, 76, f"rank {rank}", "[ ? ]", kind="d-dash")
        end = 92 if rank == 0 else 136
        picture.line(f"M180 {y + 38}L278 {end}", kind=f"d-r{rank}-line")
        picture.line(f"M442 {end}L538 {y + 38}", kind=f"d-r{rank}-line")
    picture.line("M8 114H178M542 114H712", kind="d-dash", arrow=False)
    picture.box(282, 72, 158, 84, "one call:", "all_reduce", kind="d-box")
    picture.text(93, 18, "before", kind="d-strong")
    picture.text(627, 18, "after", kind="d-strong")
    return picture, (
        "Two processes share no memory: the dashed line is a wall. Notice that there "
        "is no third process that collects and answers. Both make the same call."
    )


def _dealt_rows() -> tuple[Picture, str]:
    """Chapter 03: rows, and two ranks that wait for them."""
    epoch = records.captured_text("03_data_sharding").partition("epoch 0")[2]
    by_rank = [line.partition("|")[2].split() for line in epoch.splitlines()[1:3]]
    places = [row for pair in zip(*by_rank, strict=True) for row in pair]
    rows = list(dict.fromkeys(places))
    picture = Picture(
        "chapter-03",
        title=f"{len(rows)} rows for two ranks",
        description=f"Above, the order of an epoch: {', '.join(rows)}. Below, seven "
        "places of rank 0 and seven of rank 1, all of them question marks.",
        height=200,
    )
    picture.text(8, 20, "the order of an epoch", kind="d-strong", anchor="start")
    for place, row in enumerate(rows):
        picture.box(8 + 50.4 * place, 32, 44, 38, row, kind="d-box")
    for rank, mine in enumerate(by_rank):
        y = 98 + 52 * rank
        picture.box(8, y, 84, 38, f"rank {rank}", kind=f"d-r{rank}")
        for step in range(len(mine)):
            picture.box(110 + 70 * step, y, 56, 38, "?", kind="d-dash")
    num_places = sum(map(len, by_rank))
    return picture, (
        f"Both ranks take equally many steps. Notice the numbers: {num_places} places, "
        f"and {len(rows)} rows."
    )


def _gradients() -> tuple[Picture, str]:
    """Chapter 04: all gradients, to scale."""
    gradients = sizes.gradient_bytes("minilm")[::-1]  # in the order of backward
    whole = sum(gradients)
    largest = max(gradients) / whole
    picture = Picture(
        "chapter-04",
        title=f"The {len(gradients)} gradients of minilm",
        description="A strip of gradients for each of two ranks, in the order in which "
        "backward makes them, each as wide as its bytes. Most are narrow; the last "
        f"one, of the word embedding, is {largest:.0%} of the strip. Between the "
        "strips a question mark: how do they become their mean?",
        height=176,
    )
    scale = (WIDTH - 16) / whole
    words = "backward, from the last layer to the first"
    picture.text(8, 20, words, kind="d-strong", anchor="start")
    picture.line("M330 15H704")
    for rank in range(2):
        start = 0
        for num_bytes in gradients:
            x, wide = 8 + start * scale, max(0.4, num_bytes * scale - 0.6)
            picture.box(x, 32 + 92 * rank, wide, 40, kind=f"d-r{rank}")
            start += num_bytes
    picture.text(200, 103, "how do both come to hold the mean?", kind="d-strong")
    picture.text(712, 103, "the word embedding's", anchor="end")
    return picture, (
        f"{len(gradients)} gradients on each of two ranks, {whole / 1e6:.0f} MB, each "
        f"as wide as its bytes. Notice the last one: {largest:.0%} of all, and ready "
        "when backward is over."
    )


def _two_lanes() -> tuple[Picture, str]:
    """Chapter 05: two lanes that must meet somewhere."""
    settings = DistributedSettings()
    batch = settings.global_batch_size
    picture = Picture(
        "chapter-05",
        title="Two ranks, one model",
        description="Two lanes, rank 0 and rank 1, from left to right: equal weights; "
        "rows of each rank's own; a gradient of its own; then a question mark between "
        "the lanes; then equal weights again.",
        height=206,
    )
    columns = (
        (8, "equal weights", "the start"),
        (150, "its rows", f"of all {batch}"),
        (292, "a gradient", "its own"),
        (582, "equal weights", "again"),
    )
    for rank in range(settings.num_ranks):
        y = 14 + 96 * rank
        for x, *words in columns:
            picture.box(x, y, 124, 66, *words, kind=f"d-r{rank}")
        for x in (134, 276):
            picture.line(f"M{x} {y + 33}h14", kind=f"d-r{rank}-line", arrow=False)
        middle = 82 if rank == 0 else 112
        picture.line(f"M418 {y + 33}L444 {middle}", kind=f"d-r{rank}-line")
        picture.line(f"M556 {middle}L580 {y + 33}", kind=f"d-r{rank}-line")
    picture.box(446, 62, 110, 70, "they meet", "in which line?", kind="d-dash")
    picture.text(360, 200, "step after step")
    return picture, (
        "Equal weights, different rows, different gradients, and equal weights again. "
        "Notice that the lanes touch in one place only."
    )


def _half_a_bar() -> tuple[Picture, str]:
    """Chapter 06: the measured step of one process, and half of it."""
    one = records.figures("scaling")["one_process"]
    picture = Picture(
        "chapter-06",
        title="A step of one process, and half of it",
        description=f"A bar in parts, forward, backward and optimizer: a step of one "
        f"process, {one['median_ms']:.0f} ms. Below it a dashed bar of half that "
        "length: two ranks, with a question mark.",
        height=160,
    )
    scale = 520 / one["median_ms"]
    picture.text(8, 49, "one process", kind="d-strong", anchor="start")
    x = 110.0
    for phase, kind in (
        ("forward", "d-r0"),
        ("backward", "d-r2"),
        ("optimizer", "d-r3"),
    ):
        wide = one["phases_ms"][phase] * scale
        picture.box(x, 24, wide, 40, *(phase,) * (wide > 8 * len(phase)), kind=kind)
        x += wide
    picture.text(x + 8, 49, f"{one['median_ms']:.0f} ms", anchor="start")
    picture.text(x, 16, "optimizer", anchor="end")
    half = 520 / 2
    picture.text(8, 119, "two ranks", kind="d-strong", anchor="start")
    picture.box(
        110, 94, half, 40, f"half: {one['median_ms'] / 2:.0f} ms?", kind="d-dash"
    )
    return picture, (
        f"A step of {one['rows']} rows, measured on two cores. Two ranks compute half "
        "of the rows each. Notice the narrow part at the end: how long the optimizer "
        "takes does not depend on the rows."
    )


CHAPTERS: dict[str, Callable[[], tuple[Picture, str]]] = {
    "01": _one_process,
    "02": _two_memories,
    "03": _dealt_rows,
    "04": _gradients,
    "05": _two_lanes,
    "06": _half_a_bar,
}


def _opener(chapter: str) -> str:
    """A chapter's picture with its caption."""
    picture, caption = CHAPTERS[chapter]()
    lines: Sequence[str] = (
        '<figure class="picture" markdown="0" tabindex="0" role="group" '
        f'aria-label="{html.escape(picture.title)}">',
        f'--8<-- "diagrams/{picture.name}.svg"',
        f"<figcaption>Picture {int(chapter)}. {html.escape(caption)}</figcaption>",
        "</figure>",
    )
    return "\n".join(lines)


def files() -> dict[pathlib.Path, str]:
    """Every picture."""
    pictures = [draw()[0] for draw in CHAPTERS.values()]
    return {SITE / "diagrams" / f"{one.name}.svg": one.svg() for one in pictures}


BLOCKS = {"opener": _opener}
