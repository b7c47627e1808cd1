"""Impulse responses of rooms (§3.1): simulated, by a reference implementation, or measured.

The simulator makes the early part by the image method (Allen and Berkley, 1979), exact in time and gain; past some
hundred images a response is noise that decays exponentially with the energy that the images would have had on
average. In every response here the direct path is at sample `LEAD`.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Float, Int

from mdasr.core.waves import RATE_HZ

SPEED_M_PER_S = 343.0
LEAD = 40  # samples before the direct path in a response: the band limit makes it ring on both sides

Position = tuple[float, float, float]

NEAREST_M = 0.1  # a source at the microphone would be infinitely loud
IMAGES = 100  # a source; the tail follows
FADE_S = 0.01  # from images to tail


def simulate(
    size_m: Position, rt60_s: float, microphone_m: Position, places_m: Float[np.ndarray, "sources 3"], tail_seed: int
) -> Float[np.ndarray, "sources taps"]:
    """Responses from `places_m` to the microphone of a box with equal walls, float32 at 16 kHz.

    The direct path has gain 1/distance (metres). Walls absorb so that Eyring's formula gives `rt60_s`; the tail ends
    where it has fallen by 60 dB, and its noise is drawn from `tail_seed`.
    """
    direct_m = np.maximum(np.linalg.norm(places_m - microphone_m, axis=1), NEAREST_M)
    volume_m3 = float(np.prod(size_m))
    reach_m = np.maximum((IMAGES * volume_m3 * 3 / (4 * np.pi)) ** (1 / 3), direct_m + 4)
    early = _early(np.array(size_m), reflection(size_m, rt60_s), np.array(microphone_m), places_m, direct_m, reach_m)
    responses = np.zeros((len(places_m), LEAD + max(early.shape[1], round(rt60_s * RATE_HZ))), np.float32)
    if rt60_s > 0:
        time_s = (np.arange(responses.shape[1]) - LEAD) / RATE_HZ + direct_m[:, None] / SPEED_M_PER_S
        # Images arrive 4 pi c^3 t^2 / V times a second with energy 1/(c t)^2, less what the walls took.
        density = 4 * np.pi * SPEED_M_PER_S / (volume_m3 * RATE_HZ)
        envelope = np.sqrt(density) * np.exp(-3 * np.log(10) / rt60_s * np.maximum(time_s, 0))
        envelope *= np.sqrt(np.clip(1 + (time_s - reach_m[:, None] / SPEED_M_PER_S) / FADE_S, 0, 1))
        responses[:] = tail_noise(np.uint32(tail_seed), *responses.shape)
        np.multiply(responses, envelope, out=responses, casting="same_kind")
    responses[:, : early.shape[1]] += early
    return responses


def tail_noise(seed: Any, sources: int, taps: int, xp: ModuleType = np) -> Any:
    """White noise of unit variance, [sources, taps] float32, from a 32-bit seed: the same in numpy and in jax.numpy.

    Each sample is a hash of its place (Wellons' lowbias32), uniform because a response's fine structure is heard
    through a convolution, after which all distributions sound alike. One source more changes no other's.
    """
    place = xp.arange(taps, dtype=xp.uint32)
    source = xp.arange(sources, dtype=xp.uint32)[:, None] + xp.uint32(1)
    bits = _hash(place ^ _hash(seed ^ _hash(source, xp), xp), xp)
    return ((bits >> 8).astype(xp.float32) * xp.float32(2.0**-23) - 1) * xp.float32(np.sqrt(3))


def _hash(x: Any, xp: ModuleType) -> Any:
    x = (x ^ (x >> 16)) * xp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * xp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def reflection(size_m: Position, rt60_s: float) -> float:
    """The share of the amplitude that a wall reflects, from Eyring's formula.

    rt60 = 24 ln 10 V / (-c S ln(1 - absorption)), and a wall reflects sqrt(1 - absorption).
    """
    length_m, width_m, height_m = size_m
    volume_m3 = length_m * width_m * height_m
    surface_m2 = 2 * (length_m * width_m + width_m * height_m + height_m * length_m)
    return float(np.exp(-12 * np.log(10) * volume_m3 / (SPEED_M_PER_S * surface_m2 * rt60_s))) if rt60_s else 0.0


def _early(
    size_m: Float[np.ndarray, " 3"],
    wall_gain: float,
    microphone_m: Float[np.ndarray, " 3"],
    places_m: Float[np.ndarray, "sources 3"],
    direct_m: Float[np.ndarray, " sources"],
    reach_m: Float[np.ndarray, " sources"],
) -> Float[np.ndarray, "sources samples"]:
    """What arrives over paths shorter than `reach_m`, by source: the images within, faded out at its end."""
    squares, gains = [], []
    for axis, side_m in enumerate(size_m):
        last = int(reach_m.max() / (2 * side_m)) + 1
        k = np.arange(-last, last + 1)
        place_m = places_m[:, axis, None]
        images_m = np.concatenate([2 * k * side_m + place_m, 2 * k * side_m - place_m], axis=1)
        square = (images_m - microphone_m[axis]) ** 2
        near = (square <= reach_m[:, None] ** 2).any(axis=0)
        squares.append(square[:, near])
        gains.append(wall_gain ** np.concatenate([np.abs(2 * k), np.abs(2 * k - 1)])[near])
    lattice = squares[0][:, :, None, None] + squares[1][:, None, :, None] + squares[2][:, None, None, :]
    lattice = lattice.reshape(len(places_m), -1)
    source, image = np.nonzero(lattice <= reach_m[:, None] ** 2)
    path_m = np.maximum(np.sqrt(lattice[source, image]), NEAREST_M)
    gain = (gains[0][:, None, None] * gains[1][:, None] * gains[2]).ravel()[image] / path_m
    gain *= np.sqrt(np.clip((reach_m[source] - path_m) / SPEED_M_PER_S / FADE_S, 0, 1))
    delay = (path_m - direct_m[source]) / SPEED_M_PER_S * RATE_HZ
    samples = 2 * LEAD + 1 + int((reach_m - direct_m).max() / SPEED_M_PER_S * RATE_HZ)
    return _laid_out(source, delay + LEAD, gain, (len(places_m), samples))


def _laid_out(
    row: Int[np.ndarray, " impulses"],
    delay: Float[np.ndarray, " impulses"],
    gain: Float[np.ndarray, " impulses"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "rows samples"]:
    """Impulses at fractions of samples, each as the pulse that a band below 8 kHz leaves of it."""
    rows, samples = shape
    floor = delay.astype(np.int64)
    phase = (delay - floor) * PHASES
    before = phase.astype(np.int64)
    late = (phase - before)[:, None]
    pulses = gain[:, None] * ((1 - late) * pulse()[before] + late * pulse()[before + 1])
    places = (row * samples + floor)[:, None] + PULSE
    return np.bincount(places.ravel(), pulses.ravel(), rows * samples).reshape(rows, samples)


PHASES = 64  # of a sample at which the pulse is stored; between them it is interpolated, which errs by -80 dB
PULSE = np.arange(1 - LEAD, LEAD + 1)  # samples around an impulse's own that its pulse covers


@cache
def pulse() -> Float[np.ndarray, "phases samples"]:
    """A low-pass at 7.7 kHz under a Hann window of `LEAD` samples on either side, by fractions of a sample."""
    time = PULSE - np.arange(PHASES + 1)[:, None] / PHASES
    window = np.cos(np.pi / 2 * np.clip(time / LEAD, -1, 1)) ** 2
    found = np.sinc(2 * 7700 / RATE_HZ * time) * window
    return found / found[0].sum()


def reference(
    size_m: Position,
    rt60_s: float,
    microphone_m: Position,
    places_m: Float[np.ndarray, "sources 3"],
    max_order: int | None = None,
) -> Float[np.ndarray, "sources taps"]:
    """The same by pyroomacoustics' image method, hundreds of times as slow: to check against, or for small rooms.

    `max_order` is that of the reflections; left out, as many as arrive within `rt60_s` along the shortest side. Memory
    grows with its cube (1.4 GB and some seconds a response at 0.9 s).
    """
    import pyroomacoustics

    if max_order is None:
        max_order = int(np.ceil(SPEED_M_PER_S * rt60_s / min(size_m)))
    walls = pyroomacoustics.Material(1 - reflection(size_m, rt60_s) ** 2)
    box = pyroomacoustics.ShoeBox(size_m, fs=RATE_HZ, max_order=max_order, materials=walls)
    box.set_sound_speed(SPEED_M_PER_S)
    for place_m in places_m:
        box.add_source(place_m)
    box.add_microphone(microphone_m)
    # Its default high-pass at 10 Hz rings over the whole response.
    filtered = pyroomacoustics.constants.get("rir_hpf_enable")
    pyroomacoustics.constants.set("rir_hpf_enable", False)
    try:
        box.compute_rir()
    finally:
        pyroomacoustics.constants.set("rir_hpf_enable", filtered)
    # Its responses begin when the source sounds, and lag by 40 samples as ours.
    direct = np.linalg.norm(places_m - microphone_m, axis=1) / SPEED_M_PER_S * RATE_HZ
    taps = max(map(len, box.rir[0]))
    size = scipy.fft.next_fast_len(taps + int(direct.max()) + LEAD, True)
    hz = scipy.fft.rfftfreq(size)
    spectra = scipy.fft.rfft(np.stack([np.pad(r, (0, taps - len(r))) for r in box.rir[0]]), size)
    return scipy.fft.irfft(spectra * np.exp(2j * np.pi * hz * direct[:, None]), size)[:, :taps].astype(np.float32)


def align_measured(response: Float[np.ndarray, " taps"]) -> Float[np.ndarray, " shifted"]:
    """A measured response, shifted so that its direct path is at `LEAD`: the first peak at least half as high as any.

    ValueError for a response that is empty, silent or not finite.
    """
    if not len(response) or not np.isfinite(response).all() or not response.any():
        raise ValueError("a room response must have finite samples, not all of them zero")
    height = np.abs(response)
    first = int(np.argmax(height >= 0.5 * height.max()))
    direct = first + int(height[first : first + RATE_HZ // 1000].argmax())
    before = response[max(0, direct - LEAD) : direct]
    return np.concatenate([np.zeros(LEAD - len(before)), before, response[direct:]]).astype(np.float32)


def cut_tails(responses: Float[np.ndarray, "sources taps"], below_db: float) -> Float[np.ndarray, "sources shorter"]:
    """Responses without what comes after their last sample within `below_db` of the loudest (Kim et al., 2018)."""
    height = np.abs(responses)
    loud = (height >= height.max(axis=1, keepdims=True) * 10 ** (-below_db / 20)).any(axis=0)
    return responses[:, : np.flatnonzero(loud)[-1] + 1]
