"""The loudness of speech and noise, and gains that set it (§3.1). `xp` is numpy, or jax.numpy under jit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

FRAME = 320  # samples: 20 ms, the frames that are counted as speech or pause
LOUDEST = 0.999  # louder mixtures are scaled down to this


def active_power(wave: Float[np.ndarray, " samples"]) -> float:
    """The mean power where somebody speaks: in 20 ms frames within 30 dB of the loudest one. It is 0 for silence."""
    frame = min(FRAME, max(len(wave), 1))
    frames = wave[: len(wave) // frame * frame].reshape(-1, frame)
    return float(mean_of_loud(np.einsum("ij,ij->i", frames, frames) / frame))


def mean_of_loud(powers: Any, xp: ModuleType = np) -> Any:
    """The mean of the powers [frames] that lie within 30 dB of the largest; 0 if all are 0."""
    loud = powers > 1e-3 * powers.max(initial=0)
    # In numpy `float` has 64 bits. That holds the sum of such similar 32-bit numbers exactly, in any order.
    return (powers * loud).sum(dtype=float) / xp.maximum(loud.sum(), 1)


def level_gain(power: Any, heard_power: Any, xp: ModuleType = np) -> Any:
    """The float32 factor that brings a sound of `heard_power` to `power`; 1 for silence."""
    silent = heard_power <= 0
    return xp.where(silent, 1, xp.sqrt(power / xp.where(silent, 1, heard_power))).astype(np.float32)


def noise_gain(power: Any, noise_power: Any, snr_db: Any, xp: ModuleType = np) -> Any:
    """The float32 factor that brings a noise `snr_db` below speech of `power`; 0 for silent noise."""
    silent = noise_power <= 0
    gain = xp.sqrt(power / xp.where(silent, 1, noise_power) / 10 ** (snr_db / 10))
    return xp.where(silent, 0, gain).astype(np.float32)


def limited(wave: Any, xp: ModuleType = np) -> Any:
    """A mixture [samples], scaled down where a sample would be louder than `LOUDEST`."""
    peak = xp.maximum(wave.max(initial=0), -wave.min(initial=0)).astype(float)
    return wave * (LOUDEST / xp.maximum(peak, LOUDEST)).astype(np.float32)


def clipped(wave: Any, xp: ModuleType = np) -> Any:
    """A wave [samples] without what 16 bits cannot hold: in [-1, 1)."""
    return xp.clip(wave, -1, np.float32(32767 / 32768))
