"""How the embedded corpus' domains are recorded: microphone, room, background, telephone line (§4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal
import soxr
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ
from mdasr.perturb.loudness import active_power, noise_gain
from mdasr.perturb.room import RoomRanges, add_room, draw_room

TELEPHONE_RATE_HZ = 8000
TELEPHONE_BAND_HZ = (300.0, 3400.0)  # ITU-T G.712
_MU = 255.0  # ITU-T G.711


@dataclass(frozen=True)
class Channel:
    """What lies between a mouth and a file.

    There is always hiss, `hiss_db` below the speech; then noise of one of the kinds `noises`, `snr_db`
    below it, or a room with noises of these kinds; then, on a `telephone`, a narrow band and companding at
    8 kHz.
    """

    hiss_db: tuple[float, float] = (35.0, 50.0)
    noises: tuple[str, ...] = ()
    snr_db: tuple[float, float] = (20.0, 35.0)
    rooms: RoomRanges | None = None
    telephone: bool = False


def equalise(
    wave: Float[np.ndarray, " samples"], hz: tuple[float, ...], gains_db: tuple[float, ...]
) -> Float[np.ndarray, " samples"]:
    """Gains given at some frequencies, interpolated over the logarithm of frequency, with no delay."""
    size = scipy.fft.next_fast_len(len(wave) + RATE_HZ // 100, True)
    bins_hz = np.maximum(scipy.fft.rfftfreq(size, 1 / RATE_HZ), 1)
    gain = 10 ** (np.interp(np.log(bins_hz), np.log(hz), gains_db) / 20)
    return scipy.fft.irfft(scipy.fft.rfft(wave, size) * gain.astype(np.float32), size)[: len(wave)]


def transmit(
    wave: Float[np.ndarray, " samples"],
    channel: Channel,
    rng: np.random.Generator,
    snippets: Mapping[str, Float[np.ndarray, " snippet"]],
    room_indices: tuple[int, int],
) -> Float[np.ndarray, " samples"]:
    """`wave` (float32, 16 kHz) through a channel: same length, aligned with it.

    A room is configuration [low, high) of `room_indices`. ValueError if no snippet is of a kind that the
    channel names; a snippet's kind is what its id begins with, up to "-".
    """
    wave = _mix(wave, _hiss(len(wave), rng), rng.uniform(*channel.hiss_db))
    names = sorted(name for name in snippets if name.split("-")[0] in channel.noises)
    if channel.noises and not names:
        raise ValueError(f"no noise snippet of the kinds {', '.join(channel.noises)}")
    if channel.rooms:
        room = draw_room(int(rng.integers(*room_indices)), 0, names, channel.rooms)
        wave = add_room(wave, room, snippets)
    elif names:
        snippet = snippets[names[rng.integers(len(names))]]
        noise = np.resize(np.roll(snippet, -int(rng.integers(len(snippet)))), len(wave))
        wave = _mix(wave, noise, rng.uniform(*channel.snr_db))
    return telephone(wave) if channel.telephone else wave


def telephone(wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """The narrow band of a telephone, companded to 8 bits by G.711's mu-law at 8 kHz, brought back to 16 kHz.

    Companding at 16 kHz would fill the band above 4 kHz with noise that no telephone has.
    """
    narrow = soxr.resample(wave, RATE_HZ, TELEPHONE_RATE_HZ)
    band = scipy.signal.butter(4, TELEPHONE_BAND_HZ, "bandpass", fs=TELEPHONE_RATE_HZ, output="sos")
    narrow = scipy.signal.sosfiltfilt(band, narrow)  # forwards and backwards: no delay
    wide = soxr.resample(mu_law(narrow.astype(np.float32)), TELEPHONE_RATE_HZ, RATE_HZ)
    return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]


def mu_law(wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """What 8 bits of mu-law leave of a waveform (G.711's continuous law, 127 steps to either side)."""
    compressed = np.sign(wave) * np.log1p(_MU * np.minimum(np.abs(wave), 1)) / np.log1p(_MU)
    rounded = np.round(compressed * 127) / 127
    return (np.sign(rounded) * np.expm1(np.abs(rounded) * np.log1p(_MU)) / _MU).astype(np.float32)


def _mix(
    wave: Float[np.ndarray, " samples"], noise: Float[np.ndarray, " samples"], snr_db: float
) -> Float[np.ndarray, " samples"]:
    """Add noise, so much weaker than the speech is where somebody speaks; silent noise adds nothing."""
    return wave + noise * noise_gain(active_power(wave), float(np.mean(noise**2)), snr_db)


def _hiss(samples: int, rng: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """A microphone's own noise: white to pink."""
    white = rng.standard_normal(samples, np.float32)
    pole = np.float32(rng.uniform(0, 0.95))
    return scipy.signal.lfilter(np.ones(1, np.float32), np.array([1, -pole], np.float32), white)
