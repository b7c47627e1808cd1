"""Pictures for people: an utterance with its alignment, the effects of perturbations, rooms, domains, adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import librosa
import librosa.display
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mdasr import frontend
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Alignment, Utterance
from mdasr.perturb import PAPER_ROOMS, Room, RoomRanges, impulse_responses
from mdasr.perturb.conditions import Suite
from mdasr.perturb.responses import LEAD
from mdasr.perturb.room_table import distance_m
from mdasr.recognize.report import degradation, rise_text
from mdasr.recognize.tune import Trial

matplotlib.use("Agg")
_BAND_TICKS_HZ = (250, 500, 1000, 2000, 4000)


def _spectrogram(axes: Axes, wave: Float[np.ndarray, " samples"], title: str) -> None:
    """Draw the log-mel features, the same that the network sees, with a range of 60 dB below the loudest."""
    features = frontend.log_mel(wave) * 10 / np.log(10)
    top = features.max()
    librosa.display.specshow(
        features.T, x_axis="s", y_axis="mel", sr=RATE_HZ, hop_length=frontend.HOP, fmin=frontend.LOW_HZ,
        fmax=frontend.HIGH_HZ, htk=True, ax=axes, cmap="magma", vmin=top - 60, vmax=top,
    )  # fmt: skip
    # librosa's own mel axis has a kink at 1 kHz; on this one all bands are equally high.
    axes.set_yscale("function", functions=(partial(librosa.hz_to_mel, htk=True), partial(librosa.mel_to_hz, htk=True)))
    axes.set_yticks(_BAND_TICKS_HZ, [f"{hz / 1000:g}" for hz in _BAND_TICKS_HZ])
    axes.set_xlabel("")
    axes.set_ylabel("kHz")
    axes.set_title(title, loc="left", fontsize=9)


def draw_alignment(path: Path, utterance: Utterance, alignments: Mapping[str, Alignment]) -> None:
    """Save the features of an utterance, with the phones of one or more alignments (by name) under them."""
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
    """Save the features of several (title, waveform) of one utterance, in a grid."""
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


def draw_rooms(path: Path, rooms: Sequence[Room], ranges: RoomRanges = PAPER_ROOMS) -> None:
    """Save the distributions of a collection's RT60, SNR, distance and number of sources, with the ends of `ranges`."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    columns = {
        "RT60 (s)": ([room.rt60_s for room in rooms], ranges.rt60_s),
        "SNR (dB)": ([room.snr_db for room in rooms], ranges.snr_db),
        "talker to microphone (m)": ([distance_m(room) for room in rooms], ranges.distance_m),
    }
    for axes, (name, (values, stated)) in zip(panels, columns.items()):
        axes.hist(values, bins=40, color="#4878a8")
        for x in stated:
            axes.axvline(x, color="#c44e52", linestyle="--")
        axes.set_xlabel(f"{name}: mean {np.mean(values):.2f}")
    counts = np.bincount([len(room.sources) for room in rooms], minlength=ranges.sources[1] + 1)
    panels[3].bar(np.arange(len(counts)), counts, color="#4878a8")
    for x in (ranges.sources[0] - 0.5, ranges.sources[1] + 0.5):
        panels[3].axvline(x, color="#c44e52", linestyle="--")
    panels[3].set_xlabel("noise sources")
    panels[3].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{len(rooms):,} rooms; dashed: the ends of the ranges that they are drawn from", fontsize=10)
    figure.savefig(path, dpi=110)


def draw_response(path: Path, room: Room) -> None:
    """Save a room's response from the talker, and its decay: Schroeder's backward integral and the line of its RT60."""
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
    start = 10 * np.log10(energy[LEAD + RATE_HZ // 20] / energy[0])  # the line begins after the direct path
    decay.plot(
        time_ms, start - 60 * (time_ms - 50) / (1000 * room.rt60_s), "--", color="#c44e52",
        label=f"RT60 {room.rt60_s:.2f} s",
    )  # fmt: skip
    decay.set_ylim(-65, 3)
    decay.set_ylabel("dB")
    decay.set_xlabel("ms after the direct path")
    decay.legend()
    figure.savefig(path, dpi=110)


def draw_adaptation(path: Path, curve: Mapping[str, Any]) -> None:
    """Save WER against the amount of a new domain's speech (`training.adaptation_curve`), a line a test corpus."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    points = curve["points"]
    markers = {"adapted": "o-", "adapted, old speech kept": "^-.", "from scratch": "s--"}
    lines = {start: line for start, line in markers.items() if any(point["start"] == start for point in points)}
    for i, test in enumerate(points[0]["wer"]):
        for start, line in lines.items():
            measured = sorted((p["seconds"] / 60, p["wer"][test]) for p in points if p["start"] == start)
            minutes, cells = [m for m, _ in measured], [c for _, c in measured]
            axes.plot(minutes, [c["wer"] for c in cells], line, color=f"C{i}", markersize=5)
            low, high = ([(c["ci95"] or [c["wer"]] * 2)[end] for c in cells] for end in (0, 1))
            axes.fill_between(minutes, low, high, color=f"C{i}", alpha=0.12, lw=0)
        axes.axhline(points[0]["wer"][test]["wer"], color=f"C{i}", ls=":", lw=1)
        axes.plot([], [], "-", color=f"C{i}", label=test)
    for what, line in {**lines, "before adaptation": ":"}.items():
        axes.plot([], [], line, color="k", lw=1, markersize=5, label=what)
    axes.set_xscale("log")
    axes.set_xticks(minutes, [f"{m:.1f}" if m < 10 else f"{m:.0f}" for m in minutes])
    axes.minorticks_off()
    axes.set_xlabel("minutes of the new domain's speech")
    axes.set_ylabel("word error rate in %, 95% interval")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def draw_trials(path: Path, trials: Sequence[Trial], chosen: Trial, tolerance: float) -> None:
    """Save WER against real-time factor over beams, with the chosen beam and its tolerance above the widest one."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    widest = max(trials, key=lambda trial: trial.options.beam)
    axes.axhspan(widest.wer, widest.wer + tolerance, color="#c44e52", alpha=0.2, label=f"widest + {tolerance:g} points")
    axes.plot([t.rtf for t in trials], [t.wer for t in trials], "o-", color="#4878a8", markersize=4)
    axes.plot(
        [chosen.rtf], [chosen.wer], "o", color="#c44e52", markersize=9, label=f"beam {chosen.options.beam:g}, chosen"
    )
    for trial in trials:
        text = f"{trial.options.beam:g}"
        axes.annotate(text, (trial.rtf, trial.wer), (4, 5), textcoords="offset points", fontsize=8)
    axes.margins(0.08, 0.1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("CPU seconds of search per second of speech; the numbers are beams")
    axes.set_ylabel("word error rate (%)")
    axes.legend()
    figure.savefig(path, dpi=110)


def draw_suite(path: Path, cells: Mapping[str, Sequence[Mapping[str, Any]]], suite: Suite) -> None:
    """Save the WER of each condition of a suite, with its interval, a panel a corpus; kinds have colours."""
    kinds = {kind: f"C{i}" for i, kind in enumerate(["clean", *suite.kinds])}
    figure = Figure(figsize=(1.5 + 4.5 * len(cells), 0.3 * len(suite.conditions) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    for axes, (label, rows) in zip(panels, cells.items()):
        clean = rows[0]["wer"]
        for place, cell in enumerate(rows):
            low, high = cell["ci95"] or [cell["wer"]] * 2
            axes.barh(place, cell["wer"], color=kinds[suite.conditions[cell["condition"]]])
            axes.hlines(place, low, high, color="k", lw=1)
            axes.annotate(
                f"{cell['wer']:.1f}", (high, place), (4, 0), textcoords="offset points", va="center", fontsize=8
            )
        axes.axvline(clean, color="k", ls=":", lw=1)
        axes.set_title(f"{label}: {rise_text(degradation(rows, suite)['mean'])} % on average", loc="left", fontsize=9)
        axes.set_xlabel("word error rate in %, 95% interval")
        axes.margins(x=0.1)
    places = {words: place for place, words in enumerate(suite.conditions)}
    panels[0].set_yticks([*places.values()], [*places])
    panels[0].invert_yaxis()
    panels[-1].legend([Patch(color=kinds[kind]) for kind in kinds], [*kinds], fontsize=8, loc="lower right")
    figure.suptitle(str(suite), fontsize=10, x=0.01, ha="left")
    figure.savefig(path, dpi=110)


def draw_domains(path: Path, points: Mapping[str, Float[np.ndarray, "_ dims"]]) -> None:
    """Save utterances as points, a colour for each domain, in the plane in which the domains' means lie farthest apart.

    (i-vectors are white over their training set, so the principal components of all points would show nothing.) The
    axes give the share of the variance of all points that lies in the plane. Crosses are the means; ellipses are one
    standard deviation.
    """
    together = np.concatenate([*points.values()])
    centre, plane = together.mean(axis=0), _plane(points)
    shares = ((together - centre) @ plane.T).var(axis=0) / max(together.var(axis=0).sum(), 1e-30)
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    for i, (name, own) in enumerate(points.items()):
        flat, colour = (own - centre) @ plane.T, f"C{i % 10}"
        axes.scatter(flat[:, 0], flat[:, 1], s=9, color=colour, alpha=0.5, linewidths=0, marker="os^Dv"[i // 10 % 5])
        values, vectors = np.linalg.eigh(np.cov(flat.T)) if len(flat) > 1 else (np.zeros(2), np.eye(2))
        turn = np.linspace(0, 2 * np.pi, 100)
        ring = np.stack([np.cos(turn), np.sin(turn)]).T * np.sqrt(np.maximum(values, 0)) @ vectors.T
        axes.plot(*(flat.mean(axis=0) + ring).T, color=colour, linewidth=1)
        axes.plot(*flat.mean(axis=0), "X", color=colour, markersize=11, markeredgecolor="w", label=name)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"direction of the largest difference between domains ({shares[0]:.0%} of all variance)")
    axes.set_ylabel(f"direction of the second largest ({shares[1]:.0%})")
    axes.legend(fontsize=9)
    figure.savefig(path, dpi=110)


def _plane(points: Mapping[str, Float[np.ndarray, "_ dims"]]) -> Float[np.ndarray, "2 dims"]:
    """The two principal directions of the domains' means.

    For two domains, the second direction is the first principal one of what remains of the points.
    """
    means = np.stack([own.mean(axis=0) for own in points.values()])
    directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2]
    if len(points) > 2:
        return directions[:2]
    rest = np.concatenate([own - own.mean(axis=0) for own in points.values()])
    rest -= rest @ directions[:1].T @ directions[:1]
    return np.concatenate([directions[:1], np.linalg.svd(rest, full_matrices=False)[2][:1]])
