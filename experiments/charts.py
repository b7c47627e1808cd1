"""Charts of results in SVG for the page of results: narrow enough for a phone, the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from mdasr.acoustic.training_log import Curve

matplotlib.use("Agg")
# Okabe and Ito (2008): colour-blind readers can tell these colours apart.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MOST_COLUMNS = len(_COLOURS)  # a picture of a table has one colour for each column


class Point(NamedTuple):
    """The word error rate (in %, with its 95% interval) after training on an amount of audio; 0 is no audio."""

    amount: float
    wer: float
    ci95: tuple[float, float]


class Adaptation(NamedTuple):
    """Word error rates on a new domain, by the name of the start model; `scratch` is training from scratch."""

    unit: str
    starts: Mapping[str, Sequence[Point]]
    scratch: Point | None


class Course(NamedTuple):
    """The curves of a training, and the step whose parameters were kept."""

    loss: Curve
    frame_accuracy: Curve
    kept: int


def _narrow(points: float) -> AbstractContextManager[None]:
    """Return matplotlib settings for pictures 5 inches wide, which can be read on a phone."""
    return matplotlib.rc_context({"font.size": points, "svg.hashsalt": "mdasr", "text.parse_math": False})


def draw_errors(file: BytesIO, cells: Sequence[Mapping[str, Any]]) -> None:
    """Write a bar chart of word error rates (%) with 95% intervals, as SVG.

    `cells` come from a table's JSON. Each row is a group of bars, and each column a colour. Diamonds mark the paper's
    numbers.
    """
    rows, columns = ([*dict.fromkeys(cell[name] for cell in cells)] for name in ("row", "column"))
    thick = 0.8 / len(columns)
    shown: dict[str, Any] = {}
    marks: list[Any] = []
    with _narrow(8.0):
        figure = Figure(figsize=(5, 0.8 + 0.19 * len(cells) + 0.06 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for i, column in enumerate(columns):
            own = [cell for cell in cells if cell["column"] == column]
            at = [rows.index(cell["row"]) + (i - (len(columns) - 1) / 2) * thick for cell in own]
            shown[column] = axes.barh(at, [cell["wer"] for cell in own], 0.9 * thick, color=_COLOURS[i], alpha=0.75)
            axes.hlines(at, *zip(*(cell["ci95"] or [cell["wer"]] * 2 for cell in own)), color="k", linewidth=0.9)
            if paper := [(cell["paper"], y) for cell, y in zip(own, at) if cell["paper"] is not None]:
                marks = axes.plot(*zip(*paper), "D", color="w", markeredgecolor="k", markersize=3.5)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("word error rate (%), 95% interval")
        if marks:
            shown["the paper's"] = marks[0]
        figure.legend([*shown.values()], [*shown], loc="outside upper center", ncols=2, frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None})


def draw_starts(file: BytesIO, panels: Mapping[str, Adaptation]) -> None:
    """Write word error rates (%) against the amount of in-domain audio (log scale), one curve per start, as SVG."""
    with _narrow(8.0):
        figure = Figure(figsize=(5, 2.7 * len(panels)), layout="constrained")
        for axes, (title, panel) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items()):
            amounts = sorted({point.amount for points in panel.starts.values() for point in points} - {0.0})
            none = amounts[0] / 3 if amounts else 1.0  # where a logarithmic axis has its zero
            for i, (start, points) in enumerate(panel.starts.items()):
                x, y, ends = zip(*((point.amount or none, point.wer, point.ci95) for point in sorted(points)))
                axes.plot(
                    x, y, "os^D"[i % 4] + "-", color=_COLOURS[i % len(_COLOURS)], label=f"from {start}", markersize=4
                )
                axes.vlines(x, *zip(*ends), color=_COLOURS[i % len(_COLOURS)], linewidth=1)
            if panel.scratch:
                label = f"from scratch, {panel.scratch.amount:,.0f} {panel.unit}"
                axes.axhline(panel.scratch.wer, color="k", linestyle="--", linewidth=1, label=label)
                axes.axhspan(*panel.scratch.ci95, color="k", alpha=0.1, linewidth=0)
            axes.set_xscale("log")
            axes.set_xticks([none, *amounts], ["0", *(f"{amount:,.0f}" for amount in amounts)])
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_xlabel(f"in-domain audio ({panel.unit})")
            axes.set_ylabel("word error rate (%)")
            axes.legend(frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None})


def draw_training(file: BytesIO, courses: Mapping[str, Sequence[Course]]) -> None:
    """Write loss and share of correct frames against steps, one panel per model and one line per seed, as SVG.

    A dotted line is the step whose parameters early stopping kept.
    """
    with _narrow(7.0):
        figure = Figure(figsize=(5, 0.3 + 1.15 * -(-len(courses) // 2)), layout="constrained")
        panels = figure.subplots(-(-len(courses) // 2), 2, sharey=True, squeeze=False).ravel()
        for i, (axes, (name, runs)) in enumerate(zip(panels, courses.items())):
            right = axes.twinx()
            for run in runs:
                axes.plot(*run.loss, color=_COLOURS[0], linewidth=1)
                right.plot(*run.frame_accuracy, color=_COLOURS[1], linewidth=1)
                if run.kept < run.loss.steps[-1]:
                    axes.axvline(run.kept, color="k", linestyle=":", linewidth=0.8)
            axes.set_title(name, loc="left", fontsize=7)
            axes.set_ylim(bottom=0)
            right.set_ylim(0, 1)
            right.tick_params(labelright=bool(i % 2))
        for axes in panels[len(courses) :]:
            axes.set_axis_off()
        figure.supxlabel("steps")
        figure.suptitle("loss (left, blue) and share of correct frames (right, orange)", fontsize=8)
        figure.savefig(file, format="svg", metadata={"Date": None})
