"""An equaliser: the colour that a microphone gives to what it hears."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ

MICROPHONE_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # where a recipe gives the gains
LARGEST_DB = 40.0


def equalise(
    wave: Float[np.ndarray, " samples"], hz: Sequence[float], gains_db: Sequence[float]
) -> Float[np.ndarray, " samples"]:
    """Apply gains given at some frequencies, interpolated over the logarithm of frequency, without delay."""
    size = scipy.fft.next_fast_len(len(wave) + RATE_HZ // 100, True)
    bins_hz = np.maximum(scipy.fft.rfftfreq(size, 1 / RATE_HZ), 1)
    gain = 10 ** (np.interp(np.log(bins_hz), np.log(hz), gains_db) / 20)
    return scipy.fft.irfft(scipy.fft.rfft(wave, size) * gain.astype(np.float32), size)[: len(wave)]
