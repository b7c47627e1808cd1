"""Pictures for people: an utterance with its alignment, and what each perturbation does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdasr import frontend
from mdasr.data.records import Alignment, Utterance
from mdasr.spec import RATE_HZ

matplotlib.use("Agg")
_BAND_TICKS_HZ = (250, 500, 1000, 2000, 4000)


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
