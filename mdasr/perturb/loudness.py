"""The loudness of speech and noise, and gains that set it (§3.1). `xp` is numpy, or jax.numpy under jit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

FRAME = 320  # samples: 20 ms, the frames that are counted as speech or pause
LOUDEST = 0.999  # louder mixtures are scaled down to this

# ITU-T P.56, method B, in frames of 20 ms.
_TIME_S = 0.03  # of each of the two smoothings of the envelope
_HANGOVER = 10  # frames: 200 ms
# The threshold of activity lies 15.9 dB below the active level. It is compared with P.56's rectified mean. That of
# speech is some 2.5 dB below the RMS, which is used here.
_MARGIN_DB = 15.9 - 2.5


def _smoothing() -> Float[np.ndarray, " taps"]:
    """The impulse response of P.56's two smoothings, t exp(-t / 30 ms), summed in frames."""
    time = np.arange(0, 0.23, 0.02) / _TIME_S
    return np.diff(-np.exp(-time) * (1 + time)).astype(np.float32)


def _slow() -> Float[np.ndarray, "frame 3"]:
    """An orthonormal basis of the constants, slopes and parabolas of a frame: sounds below about 50 Hz."""
    place = (np.arange(FRAME) + 0.5) / FRAME
    return np.linalg.qr(np.vander(place, 3))[0].astype(np.float32)


_SMOOTHING, _SLOW = _smoothing(), _slow()


def active_power(wave: Float[np.ndarray, " samples"]) -> float:
    """The mean power where somebody speaks, above about 50 Hz: ITU-T P.56's active level. It is 0 for silence."""
    powers = frame_powers(wave)
    return float(active_mean(powers, len(powers)))


def audible_power(wave: Float[np.ndarray, " samples"]) -> float:
    """The mean power of a noise above about 50 Hz."""
    return float(frame_powers(wave).mean(dtype=float))


def frame_powers(wave: Any, xp: ModuleType = np) -> Any:
    """The mean power in each whole frame of 20 ms, above about 50 Hz: DC, rumble and slow drifts do not count.

    From every frame, the parabola that fits it best is subtracted. That takes 62 dB from 5 Hz, 27 from 20 Hz, 6 from
    50 Hz, 3 from 60 Hz and 0.5 from 100 Hz. A wave shorter than a frame counts as it is.
    """
    if len(wave) < FRAME:
        return (wave**2).sum(keepdims=True) / max(len(wave), 1)
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    frames = frames - (frames @ _SLOW) @ _SLOW.T
    return xp.einsum("ij,ij->i", frames, frames) / FRAME


def active_mean(powers: Any, frames: Any, xp: ModuleType = np) -> Any:
    """P.56's active level (method B) of the first `frames` powers: their sum over the number of active frames.

    A frame is active where the envelope reached a threshold in the last 200 ms. The threshold is the lowest one that
    lies at most 13.4 dB below the level that it gives. On real speech, this agrees with P.56 within some 0.1 dB.
    """
    count = len(powers)
    envelope = xp.convolve(xp.sqrt(powers), _SMOOTHING)[:count]
    held = xp.concatenate([xp.zeros(_HANGOVER - 1, envelope.dtype), envelope])
    held = xp.stack([held[i : i + count] for i in range(_HANGOVER)]).max(0) * (np.arange(count) < frames)
    # With the k-th highest value as the threshold, k frames are active.
    active = 1 + np.arange(count)
    area = active * xp.sort(held)[::-1] ** 2
    # In numpy `float` has 64 bits. That holds the sum of 32-bit numbers exactly enough, in any order.
    energy = (powers * (np.arange(count) < frames)).sum(dtype=float)
    reached = (area > 0) & (energy <= 10 ** (_MARGIN_DB / 10) * area)
    most = xp.where(reached.any(), (reached * active).max(initial=1), 1 + area.argmax())
    return energy / most


def mean_level(total: Any, samples: Any, xp: ModuleType = np) -> Any:
    """The DC of a wave, float32, from the sum of its samples and their number; 0 for less than a frame."""
    return xp.where(samples < FRAME, 0, total / xp.maximum(samples, 1)).astype(np.float32)


def without_dc(wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """A wave without its `mean_level`."""
    return wave - mean_level(wave.sum(dtype=float), len(wave))


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
