"""Masks over time and over mel bands (SpecAugment, Park et al., 2019), as part of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FRAMES_PER_S = 100
BANDS = 128  # of the front end


@dataclass(frozen=True)
class TimeMask:
    """A mask of `length_s` seconds. `start` is its place: 0 is the earliest that is possible, 1 the latest."""

    start: float
    length_s: float

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 <= self.length_s <= 60):
            raise ValueError(f"time mask: start {self.start} must be a share, and length_s {self.length_s} at most 60")


@dataclass(frozen=True)
class BandMask:
    """A mask over the mel bands [first, first + width), counted from the lowest."""

    first: int
    width: int

    def __post_init__(self) -> None:
        if not (self.first >= 0 and self.width >= 0 and self.first + self.width <= BANDS):
            raise ValueError(f"band mask: [{self.first}, {self.first} + {self.width}) must lie within {BANDS} bands")


@dataclass(frozen=True)
class MaskRanges:
    """The number of masks over time and over bands, and the ranges of their lengths and widths. By default none."""

    times: int = 0
    length_s: tuple[float, float] = (0.0, 0.3)
    bands: int = 0
    width: tuple[int, int] = (0, 20)

    def __post_init__(self) -> None:
        if self.times < 0 or self.bands < 0:
            raise ValueError(f"masks: times {self.times} and bands {self.bands} must be 0 or more")
        if not 0 <= self.length_s[0] <= self.length_s[1] <= 60 or not 0 <= self.width[0] <= self.width[1] <= BANDS:
            raise ValueError(f"masks: length_s {self.length_s} and width {self.width} must run from low to high")


NO_MASKS = MaskRanges()


def draw_masks(ranges: MaskRanges, rng: np.random.Generator) -> tuple[tuple[TimeMask, ...], tuple[BandMask, ...]]:
    """Draw masks over time and over bands. Lengths, widths and places are uniform."""
    times = tuple(
        TimeMask(round(float(rng.random()), 4), round(float(rng.uniform(*ranges.length_s)), 2))
        for _ in range(ranges.times)
    )
    widths = [int(rng.integers(ranges.width[0], ranges.width[1] + 1)) for _ in range(ranges.bands)]
    return times, tuple(BandMask(int(rng.integers(0, BANDS - width + 1)), width) for width in widths)


def masked(
    mel: Float[np.ndarray, "frames 128"], times: Sequence[TimeMask], bands: Sequence[BandMask]
) -> Float[np.ndarray, "frames 128"]:
    """Return log-mel frames in which every band has its own mean where a mask lies."""
    hidden = np.zeros(mel.shape, bool)
    for mask in times:
        length = min(round(mask.length_s * FRAMES_PER_S), len(mel))
        first = round(mask.start * (len(mel) - length))
        hidden[first : first + length] = True
    for band in bands:
        hidden[:, band.first : band.first + band.width] = True
    return np.where(hidden, mel.mean(axis=0), mel) if hidden.any() else mel
