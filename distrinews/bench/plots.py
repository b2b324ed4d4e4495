"""Pictures of measurements: where the milliseconds of a step go.

Promise: a picture shows numbers of one record and nothing else; SVG for pages, PNG for
everything that cannot show SVG.

Not here: the numbers (`distrinews.bench.scaling`).

Guide: understand/performance.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from distrinews.bench.timing import PHASES
from distrinews.system import files

__all__ = ["draw_many_ranks", "draw_steps"]

# Told apart also by those who do not see red and green (Okabe and Ito 2008).
COLOURS = dict(
    zip(PHASES, ("#999999", "#56B4E9", "#0072B2", "#CC79A7", "#009E73"), strict=True)
)
# Readable on white and on black: pages have both.
GREY = "#808080"
BANDS = (
    ("efficiency", "ring, rows as they come", "#D55E00"),
    ("tree_efficiency", "trees, equally long batches", "#56B4E9"),
)
TITLES = {
    "one_process": "one process",
    "strong": "{ranks} ranks,\nsame rows per step",
    "weak": "{ranks} ranks,\nsame rows per rank",
}


def draw_steps(
    result: Mapping[str, Any], folder: pathlib.Path, *, world_size: int, title: str
) -> list[pathlib.Path]:
    """Draw a bar per variant of a step, cut into its phases.

    Args:
        result: What `scaling.figures` returned.
        folder: Where `steps.svg` and `steps.png` go.
        world_size: How many ranks.
        title: Above the picture; says what was measured and where.

    Returns:
        The files.

    Raises:
        OSError: A file could not be written, as the OutputError that names the cure.
            On this rank only.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    names = [TITLES[name].format(ranks=world_size) for name in result]
    totals = [row["median_ms"] for row in result.values()]
    below = [0.0] * len(names)
    for phase in PHASES:
        heights = [row["phases_ms"].get(phase, 0.0) for row in result.values()]
        label = "exposed communication" if phase == "communication" else phase
        axes.bar(names, heights, 0.6, bottom=below, label=label, color=COLOURS[phase])
        below = [low + height for low, height in zip(below, heights, strict=True)]
    for x, (total, row) in enumerate(zip(totals, result.values(), strict=True)):
        text = f"{total:.0f} ms\n{row['samples_per_s']:.1f} samples/s"
        top = max(total, below[x])
        axes.annotate(text, (x, top), ha="center", va="bottom", fontsize=9)
    axes.set_ylabel("milliseconds a step (median)")
    axes.set_title(title, fontsize=10)
    axes.margins(y=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    written = [folder / f"steps.{kind}" for kind in ("svg", "png")]
    for path in written:
        _save(figure, path)
    pyplot.close(figure)
    return written


def _pyplot() -> Any:
    # WHY late: the import costs half a second, and no window system is needed.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: pathlib.Path, **options: Any) -> None:
    kind = path.suffix.removeprefix(".")
    # WHY no date inside: the same numbers should give the same file.
    stamp = {"Date": None} if kind == "svg" else {}
    with files.atomic_file(path) as draft:
        figure.savefig(draft, format=kind, dpi=150, metadata=stamp, **options)


def draw_many_ranks(
    result: Mapping[str, Any],
    path: pathlib.Path,
    *,
    titles: Mapping[str, str],
    title: str,
) -> pathlib.Path:
    """Draw how efficiency falls with the number of ranks, as a band for each case.

    Args:
        result: What `many_ranks.figures` returned.
        path: The file; its suffix says whether SVG or PNG.
        titles: Scenario -> its name in words.
        title: Above the picture; says what it is and that it is predicted.

    Returns:
        The file.

    Raises:
        OSError: The file could not be written, as the OutputError that names the cure.
            On this rank only.
    """
    pyplot = _pyplot()
    # WHY a salt: without it the same numbers give another file each time.
    with pyplot.rc_context({
        "text.color": GREY,
        "axes.labelcolor": GREY,
        "axes.edgecolor": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "svg.hashsalt": "distrinews",
    }):
        figure, panels = pyplot.subplots(
            1, len(result), figsize=(9, 4), sharey=True, layout="constrained"
        )
        for panel, (name, rows) in zip(panels, result.items(), strict=True):
            ranks = [row["world_size"] for row in rows]
            for key, label, colour in BANDS:
                low, high = zip(*(row[key] for row in rows), strict=True)
                panel.fill_between(ranks, low, high, color=colour, alpha=0.25)
                panel.plot(ranks, low, color=colour, lw=1.5, label=label)
                panel.plot(ranks, high, color=colour, lw=1.5)
            panel.set_xscale("log", base=2)
            panel.set_xticks(ranks, [f"{number:,}" for number in ranks], rotation=45)
            panel.minorticks_off()
            panel.set_xlabel("ranks")
            panel.set_title(titles[name], fontsize=10)
            panel.set_ylim(0, 1.05)
            panel.yaxis.set_major_formatter(lambda part, _: f"{part:.0%}")
            panel.grid(color=GREY, alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("samples/s of a rank,\nby those of one alone")
        panels[0].legend(loc="lower left", frameon=False)
        figure.suptitle(title, fontsize=11)
        _save(figure, path, transparent=True)
        pyplot.close(figure)
    return path
