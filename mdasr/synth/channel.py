"""The recording channels of the embedded corpus' domains (§4.1): microphone, room, background, telephone line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soxr
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ
from mdasr.perturb.loudness import active_power, audible_power, noise_gain
from mdasr.perturb.room import RoomRanges, add_room, draw_room

TELEPHONE_RATE_HZ = 8000
TELEPHONE_BAND_HZ = (300.0, 3400.0)  # ITU-T G.712
_MU = 255.0  # ITU-T G.711


@dataclass(frozen=True)
class Channel:
    """A recording channel, from the mouth to the file.

    Hiss is always added, `hiss_db` below the speech. Then noise of one of the kinds `noises` is added, `snr_db` below
    the speech, or a room with noises of these kinds. A `telephone` then limits the band and compands at 8 kHz.
    """

    hiss_db: tuple[float, float] = (35.0, 50.0)
    noises: tuple[str, ...] = ()
    snr_db: tuple[float, float] = (20.0, 35.0)
    rooms: RoomRanges | None = None
    telephone: bool = False


def transmit(
    wave: Float[np.ndarray, " samples"],
    channel: Channel,
    rng: np.random.Generator,
    snippets: Mapping[str, Float[np.ndarray, " snippet"]],
    room_indices: tuple[int, int],
) -> Float[np.ndarray, " samples"]:
    """Pass `wave` (float32, 16 kHz) through a channel. The result has the same length and is aligned with it.

    Rooms are configurations from [low, high), the `room_indices`. A snippet's kind is the part of its id before the
    first "-". Raises ValueError where no snippet has a kind of the channel.
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
    """Limit a wave to a telephone's band, compand it to 8 bits by G.711's mu-law at 8 kHz, and resample it to 16 kHz.

    Companding at 16 kHz would add noise above 4 kHz, which no telephone has.
    """
    narrow = soxr.resample(wave, RATE_HZ, TELEPHONE_RATE_HZ)
    band = scipy.signal.butter(4, TELEPHONE_BAND_HZ, "bandpass", fs=TELEPHONE_RATE_HZ, output="sos")
    narrow = scipy.signal.sosfiltfilt(band, narrow)  # forwards and backwards: no delay
    wide = soxr.resample(mu_law(narrow.astype(np.float32)), TELEPHONE_RATE_HZ, RATE_HZ)
    return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]


def mu_law(wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Compand a waveform to 8 bits of mu-law and back (G.711's continuous law, 127 steps on each side)."""
    compressed = np.sign(wave) * np.log1p(_MU * np.minimum(np.abs(wave), 1)) / np.log1p(_MU)
    rounded = np.round(compressed * 127) / 127
    return (np.sign(rounded) * np.expm1(np.abs(rounded) * np.log1p(_MU)) / _MU).astype(np.float32)


def _mix(
    wave: Float[np.ndarray, " samples"], noise: Float[np.ndarray, " samples"], snr_db: float
) -> Float[np.ndarray, " samples"]:
    """Add noise `snr_db` below the speech, measured where somebody speaks. Silent noise adds nothing."""
    return wave + noise * noise_gain(active_power(wave), audible_power(noise), snr_db)


def _hiss(samples: int, rng: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """The noise of a microphone itself, from white to pink."""
    white = rng.standard_normal(samples, np.float32)
    pole = np.float32(rng.uniform(0, 0.95))
    return scipy.signal.lfilter(np.ones(1, np.float32), np.array([1, -pole], np.float32), white)
