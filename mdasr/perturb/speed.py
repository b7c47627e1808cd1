"""Another speed, which changes tempo and pitch together (Ko et al., 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ

SLOWEST, FASTEST = 0.5, 2.0
THREE_SPEEDS = (0.9, 1.0, 1.1)  # those of Ko et al.


def num_samples_at(samples: Any, speed: Any) -> Any:
    """The length of a wave of `samples` after a change of speed: whole numbers, or arrays of them."""
    return np.rint(np.asarray(samples) / speed).astype(np.int64)


def at_speed(wave: Float[np.ndarray, " samples"], speed: float) -> Float[np.ndarray, " fewer"]:
    """Play a wave `speed` times as fast, by resampling. A sound at time t is then at t / `speed`."""
    if speed == 1:
        return wave
    length = int(num_samples_at(len(wave), speed))
    played = soxr.resample(wave, RATE_HZ * speed, RATE_HZ, quality="HQ")
    return np.pad(played, (0, max(0, length - len(played))))[:length]
