"""The form of a waveform in this package: one channel of float32 at 16 kHz, between -1 and 1."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32


def checked(wave: np.ndarray) -> Float32[np.ndarray, " samples"]:
    """Return `wave` as float32.

    Raises ValueError where it holds whole numbers, several channels, or samples that are not finite.
    """
    if wave.dtype.kind != "f":
        raise ValueError(
            f"the wave holds {wave.dtype} samples; floats between -1 and 1 are needed: divide 16-bit samples by 32768"
        )
    if wave.ndim != 1:
        raise ValueError(f"the wave has the shape {wave.shape}; one channel is needed, of shape (samples,)")
    wave = wave.astype(np.float32, copy=False)
    if not np.isfinite(wave).all():
        raise ValueError("the wave has samples that are not finite numbers; repair or leave it out")
    return wave


RATE_HZ = 16_000  # §3.2: the front end is configured to operate at 16 kHz
