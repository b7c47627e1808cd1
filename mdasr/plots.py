"""Pictures for people: an utterance with its alignment, what each perturbation does to it, rooms, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdasr import frontend
from mdasr.acoustic.curves import Curve
from mdasr.data.records import Alignment, Utterance
from mdasr.data.rooms import distance_m
from mdasr.perturb import PAPER_ROOMS, Room, impulse_responses
from mdasr.perturb.responses import LEAD
from mdasr.spec import RATE_HZ

matplotlib.use("Agg")
_BAND_TICKS_HZ = (250, 500, 1000, 2000, 4000)
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")  # Okabe and Ito (2008): told apart by the colour-blind, too


class Point(NamedTuple):
    """The word error rate (in %, with its interval) that an amount of audio gives; 0 is before any."""

    amount: float
    wer: float
    ci95: tuple[float, float]


class Adaptation(NamedTuple):
    """Word error rates on a new domain by what training started from; `scratch` is training without a start."""

    unit: str
    starts: Mapping[str, Sequence[Point]]
    scratch: Point | None


class Course(NamedTuple):
    """How a training went, and after how many steps its parameters were kept."""

    loss: Curve
    frame_accuracy: Curve
    kept: int


def _spectrogram(axes: Axes, wave: Float[np.ndarray, " samples"], title: str) -> None:
    """Draw the log-mel features, the very ones that the network sees, with a range of 60 dB below the loudest."""
    features = frontend.log_mel(wave) * 10 / np.log(10)
    seconds = len(wave) / RATE_HZ
    top = features.max()
    axes.imshow(
        features.T, origin="lower", aspect="auto", cmap="magma", vmin=top - 60, vmax=top,
        extent=(0, seconds, 0, frontend.BANDS), interpolation="nearest",
    )  # fmt: skip
    mel = [2595 * np.log10(1 + hz / 700) for hz in (frontend.LOW_HZ, frontend.HIGH_HZ, *_BAND_TICKS_HZ)]
    axes.set_yticks(
        [frontend.BANDS * (m - mel[0]) / (mel[1] - mel[0]) for m in mel[2:]],
        [f"{hz / 1000:g}" for hz in _BAND_TICKS_HZ],
    )
    axes.set_ylabel("kHz")
    axes.set_title(title, loc="left", fontsize=9)


def draw_alignment(path: Path, utterance: Utterance, alignments: Mapping[str, Alignment]) -> None:
    """Save the features of an utterance with the phones of one or more alignments (by name) under them."""
    figure = Figure(figsize=(11, 2.6 + 0.5 * len(alignments)), layout="constrained")
    panels = figure.subplots(
        1 + len(alignments), 1, sharex=True, height_ratios=[5, *[1] * len(alignments)], squeeze=False
    )
    _spectrogram(panels[0][0], utterance.samples, f"{utterance.domain}: “{utterance.text}”")
    for (axes,), (name, alignment) in zip(panels[1:], alignments.items()):
        starts = (0.0, *alignment.ends_s[:-1])
        for start, end, phone in zip(starts, alignment.ends_s, alignment.phones):
            axes.axvline(end, color="0.6", lw=0.6)
            panels[0][0].axvline(end, color="w", lw=0.4, alpha=0.6)
            axes.text((start + end) / 2, 0.5, phone, ha="center", va="center", fontsize=6.5)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    panels[-1][0].set_xlim(0, utterance.seconds)
    panels[-1][0].set_xlabel("s")
    figure.savefig(path, dpi=110)


def draw_perturbations(
    path: Path, waves: Sequence[tuple[str, Float[np.ndarray, " samples"]]], columns: int = 3
) -> None:
    """Save the features of one utterance as each of several (title, waveform) has it, in a grid."""
    rows = -(-len(waves) // columns)
    figure = Figure(figsize=(4 * columns, 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, (title, wave) in zip(panels, waves):
        _spectrogram(axes, wave, title)
    for axes in panels[len(waves) :]:
        axes.set_axis_off()
    for axes in panels[-columns:]:
        axes.set_xlabel("s")
    for i, axes in enumerate(panels):
        if i % columns:
            axes.set_ylabel("")
    figure.savefig(path, dpi=100)


def draw_rooms(path: Path, rooms: Sequence[Room]) -> None:
    """Distributions of a collection's RT60, SNR, distance and number of sources, beside the ranges of §3.1.

    The paper states the ranges; of the distributions within them, those of Kim et al. (2017), only these are public.
    """
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    columns = {
        "RT60 (s)": ([room.rt60_s for room in rooms], PAPER_ROOMS.rt60_s),
        "SNR (dB)": ([room.snr_db for room in rooms], PAPER_ROOMS.snr_db),
        "talker to microphone (m)": ([distance_m(room) for room in rooms], PAPER_ROOMS.distance_m),
    }
    for axes, (name, (values, stated)) in zip(panels, columns.items()):
        axes.hist(values, bins=40, color="#4878a8")
        for x in stated:
            axes.axvline(x, color="#c44e52", linestyle="--")
        axes.set_xlabel(f"{name}: mean {np.mean(values):.2f}")
    counts = np.bincount([len(room.sources) for room in rooms], minlength=PAPER_ROOMS.sources[1] + 1)
    panels[3].bar(np.arange(len(counts)), counts, color="#4878a8")
    for x in (PAPER_ROOMS.sources[0] - 0.5, PAPER_ROOMS.sources[1] + 0.5):
        panels[3].axvline(x, color="#c44e52", linestyle="--")
    panels[3].set_xlabel("noise sources")
    panels[3].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{len(rooms):,} rooms; dashed: the ends of the ranges that the paper states (§3.1)", fontsize=10)
    figure.savefig(path, dpi=110)


def draw_response(path: Path, room: Room) -> None:
    """A room's response from the talker, and its decay: Schroeder's backward integral beside the line of its RT60."""
    response = impulse_responses(room)[0].astype(np.float64)
    time_ms = (np.arange(len(response)) - LEAD) / RATE_HZ * 1000
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    wave, decay = figure.subplots(1, 2)
    wave.plot(time_ms, response / np.abs(response).max(), linewidth=0.6, color="#4878a8")
    wave.set_title(
        f"response at {distance_m(room):.1f} m in a room of " + " × ".join(f"{x:.1f}" for x in room.size_m) + " m"
    )
    wave.set_xlabel("ms after the direct path")
    decay.plot(time_ms, 10 * np.log10(energy / energy[0] + 1e-12), color="#4878a8", label="energy still to come")
    start = 10 * np.log10(energy[LEAD + RATE_HZ // 20] / energy[0])  # the line begins where the direct path is past
    decay.plot(
        time_ms, start - 60 * (time_ms - 50) / (1000 * room.rt60_s), "--", color="#c44e52",
        label=f"RT60 {room.rt60_s:.2f} s",
    )  # fmt: skip
    decay.set_ylim(-65, 3)
    decay.set_ylabel("dB")
    decay.set_xlabel("ms after the direct path")
    decay.legend()
    figure.savefig(path, dpi=110)


def _narrow(points: float) -> AbstractContextManager[None]:
    """Settings of pictures 5 inches wide, which can be read on a phone; the same bytes for the same data."""
    return matplotlib.rc_context({"font.size": points, "svg.hashsalt": "mdasr", "text.parse_math": False})


def draw_errors(file: BytesIO, cells: Sequence[Mapping[str, Any]]) -> None:
    """Write word error rates as bars with their 95% intervals: a group a row, a colour a column, all as SVG.

    `cells` are those of a table's JSON; diamonds are the paper's.
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
            shown[column] = axes.barh(at, [cell["wer"] for cell in own], 0.9 * thick, color=_COLOURS[i % 4], alpha=0.75)
            axes.hlines(at, *zip(*(cell["ci95"] for cell in own)), color="k", linewidth=0.9)
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


def draw_adaptation(file: BytesIO, panels: Mapping[str, Adaptation]) -> None:
    """Write word error rates against the amount of in-domain audio (logarithmic), a curve a start, as SVG."""
    with _narrow(8.0):
        figure = Figure(figsize=(5, 2.7 * len(panels)), layout="constrained")
        for axes, (title, panel) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items()):
            amounts = sorted({point.amount for points in panel.starts.values() for point in points} - {0.0})
            none = amounts[0] / 3 if amounts else 1.0  # where a logarithmic axis has its zero
            for i, (start, points) in enumerate(panel.starts.items()):
                x, y, ends = zip(*((point.amount or none, point.wer, point.ci95) for point in sorted(points)))
                axes.plot(x, y, "os^D"[i % 4] + "-", color=_COLOURS[i % 4], label=f"from {start}", markersize=4)
                axes.vlines(x, *zip(*ends), color=_COLOURS[i % 4], linewidth=1)
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
    """Write each model's loss and share of right frames over its steps, a panel a model, a line a seed, as SVG.

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
        figure.suptitle("loss (left, blue) and share of right frames (right, orange)", fontsize=8)
        figure.savefig(file, format="svg", metadata={"Date": None})
