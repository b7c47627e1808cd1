"""§3.2: 16 kHz speech reduced to the band of an 8 kHz recording."""

from __future__ import annotations

from functools import cache

import numpy as np
import soxr
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ, checked

NARROW_RATE_HZ = 8_000
REACH = 1024  # samples on either side of the centre of `low_pass`


def to_16_khz(wave: Float[np.ndarray, " samples"], rate_hz: int | float) -> Float[np.ndarray, " resampled"]:
    """Resample a wave of any rate to 16 kHz, float32.

    Raises ValueError where `rate_hz` is not between 1,000 and 1,000,000, and as `waveforms.checked`.
    """
    if not 1_000 <= rate_hz <= 1_000_000:
        raise ValueError(f"rate_hz {rate_hz} must lie between 1,000 and 1,000,000; what rate was the wave sampled at?")
    wave = checked(wave)
    return wave if rate_hz == RATE_HZ else soxr.resample(wave, rate_hz, RATE_HZ, quality="HQ")


def narrowband(wave: Float[np.ndarray, " samples"], rate_hz: int | float = RATE_HZ) -> Float[np.ndarray, " resampled"]:
    """Resample a wave to 8 kHz and back to 16 kHz: float32, without delay, with nothing above 4 kHz.

    A wave of another rate is resampled to 16 kHz first; a wave at 16 kHz keeps its length. The filters are soxr's "HQ",
    with linear phase; the band below 3.6 kHz does not change. Raises ValueError as `to_16_khz`.
    """
    wave = to_16_khz(wave, rate_hz)
    narrow = soxr.resample(wave, RATE_HZ, NARROW_RATE_HZ, quality="HQ")
    wide = soxr.resample(narrow, NARROW_RATE_HZ, RATE_HZ, quality="HQ")
    # An odd number of samples comes back one longer or shorter.
    return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]


@cache
def low_pass() -> Float[np.ndarray, " taps"]:
    """The FIR filter that is equivalent to `narrowband`: its response to an impulse, [2 * `REACH` + 1]."""
    impulse = np.zeros(4 * REACH, np.float32)
    impulse[2 * REACH] = 1
    return narrowband(impulse)[REACH : 3 * REACH + 1]
