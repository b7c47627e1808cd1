"""§3.2: 16 kHz speech as an 8 kHz recording would have kept it."""

from __future__ import annotations

import numpy as np
import soxr
from jaxtyping import Float

from mdasr.spec import RATE_HZ

NARROW_RATE_HZ = 8_000


def narrowband(wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Down to 8 kHz and back to 16 kHz: float32 of the same length, without delay, nothing left above 4 kHz.

    soxr's "HQ" filters, linear in phase: the band below 3.6 kHz stays as it was.
    """
    narrow = soxr.resample(wave.astype(np.float32, copy=False), RATE_HZ, NARROW_RATE_HZ, quality="HQ")
    wide = soxr.resample(narrow, NARROW_RATE_HZ, RATE_HZ, quality="HQ")
    # An odd number of samples comes back one longer or shorter.
    return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]
