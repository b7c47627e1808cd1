"""Impulse responses of rooms (§3.1): simulated, made by a reference implementation, or measured.

The simulator makes the early part by the image method (Allen and Berkley, 1979), exact in time and gain. After about
a hundred images, a response is noise that decays exponentially, with the mean energy of the images that it replaces.
In every response here the direct path is at sample `LEAD`. A function with an argument `xp` takes arrays of numpy or
of jax.numpy; `mdasr.acoustic.accelerated` calls it under jit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Float, Int

from mdasr.core.waveforms import RATE_HZ

SPEED_M_PER_S = 343.0
LEAD = 40  # samples before the direct path in a response: the band limit makes it ring on both sides of its peak

Position = tuple[float, float, float]

NEAREST_M = 0.1  # a source at the microphone would be infinitely loud
IMAGES = 100  # of each source; the tail follows them
FADE_S = 0.01  # from images to tail
DRY_S = 1e-9  # used for an RT60 of 0, to avoid a division by 0: such a decay leaves no sample


def simulate(
    size_m: Position, rt60_s: float, microphone_m: Position, places_m: Float[np.ndarray, "sources 3"], tail_seed: int
) -> Float[np.ndarray, "sources taps"]:
    """Simulate the responses from `places_m` to the microphone in a box with equal walls, float32 at 16 kHz.

    The direct path has gain 1/distance (metres). The absorption of the walls gives `rt60_s` by Eyring's formula. The
    tail ends where it has fallen by 60 dB, and its noise is drawn from `tail_seed`.
    """
    direct_m = direct_paths(microphone_m, places_m)
    reach_m = images_reach(size_m, direct_m)
    early = _early(size_m, reflection(size_m, rt60_s), microphone_m, places_m, direct_m, reach_m)
    responses = np.zeros((len(places_m), num_taps(early.shape[1], rt60_s)), np.float32)
    if rt60_s > 0:
        responses[:] = tail_noise(np.uint32(tail_seed), *responses.shape)
        envelope = tail_envelope(size_m, rt60_s, direct_m, reach_m, responses.shape[1])
        np.multiply(responses, envelope, out=responses, casting="same_kind")
    responses[:, : early.shape[1]] += early
    return responses


def direct_paths(microphone_m: Any, places_m: Any, xp: ModuleType = np) -> Any:
    """The lengths of the direct paths (metres) from `places_m` [sources, 3] to the microphone [3]."""
    return xp.maximum(xp.linalg.norm(places_m - microphone_m, axis=1), NEAREST_M)


def images_reach(size_m: Any, direct_m: Any, xp: ModuleType = np) -> Any:
    """The longest paths of images (metres): at least `IMAGES` images are within, and 4 m after the direct path."""
    return xp.maximum((IMAGES * _volume_m3(size_m) * 3 / (4 * np.pi)) ** (1 / 3), direct_m + 4)


def reflection(size_m: Any, rt60_s: Any, xp: ModuleType = np) -> Any:
    """The share of the amplitude that a wall reflects, from Eyring's formula; 0 without reverberation.

    rt60 = 24 ln 10 V / (-c S ln(1 - absorption)), and a wall reflects sqrt(1 - absorption).
    """
    decay_s = xp.maximum(rt60_s, DRY_S)
    return xp.exp(-12 * np.log(10) * _volume_m3(size_m) / (SPEED_M_PER_S * _surface_m2(size_m) * decay_s))


def shortest_rt60(size_m: Any, absorption: float) -> float:
    """The RT60 in seconds, by Eyring's formula, of a room whose walls absorb this share (below 1) of the energy."""
    mean_path_m = 4 * _volume_m3(size_m) / _surface_m2(size_m)
    return float(-6 * np.log(10) * mean_path_m / (SPEED_M_PER_S * np.log(1 - absorption)))


def _surface_m2(size_m: Any) -> Any:
    length_m, width_m, height_m = size_m
    return 2 * (length_m * width_m + width_m * height_m + height_m * length_m)


def _volume_m3(size_m: Any) -> Any:
    length_m, width_m, height_m = size_m
    return length_m * width_m * height_m


def num_mirrors(reach_m: float, side_m: float) -> int:
    """The number of times that a path of `reach_m` can cross a room with a side of `side_m` there and back, plus 1."""
    return int(reach_m / (2 * side_m)) + 1


def mirror_images(place_m: Any, side_m: Any, mirrors: int, xp: ModuleType = np) -> tuple[Any, Int[np.ndarray, " _"]]:
    """The positions of the images of `place_m` [sources, 1] along one axis, and the number of reflections of each."""
    k = np.arange(-mirrors, mirrors + 1)
    images_m = xp.concatenate([2 * k * side_m + place_m, 2 * k * side_m - place_m], axis=1)
    return images_m, np.concatenate([np.abs(2 * k), np.abs(2 * k - 1)])


def image_lattice(squares: Sequence[Any], gains: Sequence[Any]) -> tuple[Any, Any]:
    """Combine the images along the three axes: return squared path lengths [sources, images] and gains [images].

    `squares` and `gains` hold the same for the images along each axis. Every combination of the three is an image. A
    gain is the share of the amplitude that is left after the reflections.
    """
    paths = squares[0][:, :, None, None] + squares[1][:, None, :, None] + squares[2][:, None, None, :]
    return paths.reshape(len(paths), -1), (gains[0][:, None, None] * gains[1][:, None] * gains[2]).ravel()


def arrivals(path_m: Any, walls_gain: Any, direct_m: Any, reach_m: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """The delays (samples of the response) and the gains of images: 1/path, faded out towards `reach_m`."""
    path_m = xp.maximum(path_m, NEAREST_M)
    fade = xp.sqrt(xp.clip((reach_m - path_m) / SPEED_M_PER_S / FADE_S, 0, 1))
    return (path_m - direct_m) / SPEED_M_PER_S * RATE_HZ + LEAD, walls_gain / path_m * fade


def num_early(later_m: float) -> int:
    """The number of samples for images with paths up to `later_m` longer than the direct path."""
    return 2 * LEAD + 1 + int(later_m / SPEED_M_PER_S * RATE_HZ)


def num_taps(early: int, rt60_s: float) -> int:
    """The length of a response in samples: images take `early` samples, and the tail falls by 60 dB in `rt60_s`."""
    return LEAD + max(early, round(rt60_s * RATE_HZ))


def tail_envelope(size_m: Any, rt60_s: Any, direct_m: Any, reach_m: Any, taps: int, xp: ModuleType = np) -> Any:
    """The root mean square of the tail [sources, taps]: it rises where the images fade out, and decays with `rt60_s`.

    Images arrive 4 pi c^3 t^2 / V times a second, each with energy 1/(c t)^2 less the energy that the walls absorb.
    """
    time_s = (xp.arange(taps) - LEAD) / RATE_HZ + direct_m[:, None] / SPEED_M_PER_S
    density = 4 * np.pi * SPEED_M_PER_S / (_volume_m3(size_m) * RATE_HZ)
    envelope = xp.sqrt(density) * xp.exp(-3 * np.log(10) / xp.maximum(rt60_s, DRY_S) * xp.maximum(time_s, 0))
    envelope *= xp.sqrt(xp.clip(1 + (time_s - reach_m[:, None] / SPEED_M_PER_S) / FADE_S, 0, 1))
    return envelope


def tail_noise(seed: Any, sources: int, taps: int, xp: ModuleType = np) -> Any:
    """White noise of unit variance, [sources, taps] float32, from a 32-bit seed: the same in numpy and in jax.numpy.

    Each sample is a hash of its place (Wellons' lowbias32). Samples are uniform: after the convolution with speech, all
    distributions sound the same. A further source does not change the noise of the others.
    """
    place = xp.arange(taps, dtype=xp.uint32)
    source = xp.arange(sources, dtype=xp.uint32)[:, None] + xp.uint32(1)
    bits = _hash(place ^ _hash(seed ^ _hash(source, xp), xp), xp)
    return ((bits >> 8).astype(xp.float32) * xp.float32(2.0**-23) - 1) * xp.float32(np.sqrt(3))


def _hash(x: Any, xp: ModuleType) -> Any:
    x = (x ^ (x >> 16)) * xp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * xp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _early(
    size_m: Position,
    wall_gain: float,
    microphone_m: Position,
    places_m: Float[np.ndarray, "sources 3"],
    direct_m: Float[np.ndarray, " sources"],
    reach_m: Float[np.ndarray, " sources"],
) -> Float[np.ndarray, "sources samples"]:
    """The early part of each source's response: the images with paths shorter than `reach_m`, faded out at the end."""
    squares, gains = [], []
    for axis, side_m in enumerate(size_m):
        images_m, order = mirror_images(places_m[:, axis, None], side_m, num_mirrors(reach_m.max(), side_m))
        square = (images_m - microphone_m[axis]) ** 2
        near = (square <= reach_m[:, None] ** 2).any(axis=0)
        squares.append(square[:, near])
        gains.append(wall_gain ** order[near])
    paths, walls_gain = image_lattice(squares, gains)
    source, image = np.nonzero(paths <= reach_m[:, None] ** 2)
    delay, gain = arrivals(np.sqrt(paths[source, image]), walls_gain[image], direct_m[source], reach_m[source])
    sample, pulses = laid_out(delay, gain)
    shape = len(places_m), num_early((reach_m - direct_m).max())
    places = (source * shape[1] + sample)[:, None] + PULSE
    return np.bincount(places.ravel(), pulses.ravel(), shape[0] * shape[1]).reshape(shape)


def laid_out(delay: Any, gain: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """Band-limit impulses [...] that lie between samples.

    Return the sample before each impulse, and the pulse [..., 80] to add to the samples at `PULSE` from there.
    """
    floor = delay.astype(np.int32)
    phase = (delay - floor) * PHASES
    before = phase.astype(np.int32)
    late = (phase - before)[..., None]
    table = xp.asarray(pulse(), delay.dtype)
    return floor, gain[..., None] * ((1 - late) * table[before] + late * table[before + 1])


PHASES = 64  # fractions of a sample for which the pulse is stored; interpolation between them errs by -80 dB
PULSE = np.arange(1 - LEAD, LEAD + 1)  # the samples of a pulse, relative to the sample before the impulse


@cache
def pulse() -> Float[np.ndarray, "phases samples"]:
    """The pulse at each fraction of a sample: a 7.7 kHz low-pass under a Hann window of `LEAD` samples on each side."""
    time = PULSE - np.arange(PHASES + 1)[:, None] / PHASES
    window = np.cos(np.pi / 2 * np.clip(time / LEAD, -1, 1)) ** 2
    low_pass = np.sinc(2 * 7700 / RATE_HZ * time) * window
    return low_pass / low_pass[0].sum()


def reference(
    size_m: Position,
    rt60_s: float,
    microphone_m: Position,
    places_m: Float[np.ndarray, "sources 3"],
    max_order: int | None = None,
) -> Float[np.ndarray, "sources taps"]:
    """Simulate the same responses with pyroomacoustics' image method, for checks or small rooms.

    It takes hundreds of times as long as `simulate`. `max_order` is the highest order of reflections. The default
    covers those that arrive within `rt60_s` along the shortest side. Memory grows with its cube: at 0.9 s, a response
    takes 1.4 GB and some seconds.
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
    # The default high-pass of pyroomacoustics at 10 Hz rings over the whole response.
    filtered = pyroomacoustics.constants.get("rir_hpf_enable")
    pyroomacoustics.constants.set("rir_hpf_enable", False)
    try:
        box.compute_rir()
    finally:
        pyroomacoustics.constants.set("rir_hpf_enable", filtered)
    # Its responses begin when the source starts, and have the same delay of 40 samples as ours.
    direct = np.linalg.norm(places_m - microphone_m, axis=1) / SPEED_M_PER_S * RATE_HZ
    taps = max(map(len, box.rir[0]))
    size = scipy.fft.next_fast_len(taps + int(direct.max()) + LEAD, True)
    hz = scipy.fft.rfftfreq(size)
    spectra = scipy.fft.rfft(np.stack([np.pad(r, (0, taps - len(r))) for r in box.rir[0]]), size)
    return scipy.fft.irfft(spectra * np.exp(2j * np.pi * hz * direct[:, None]), size)[:, :taps].astype(np.float32)


def align_measured(response: Float[np.ndarray, " taps"]) -> Float[np.ndarray, " shifted"]:
    """Shift a measured response so that its direct path is at `LEAD`.

    The direct path is the first peak that is at least half as high as the highest. Raises ValueError for a response
    that is empty, silent or not finite.
    """
    if not len(response) or not np.isfinite(response).all() or not response.any():
        raise ValueError("a room response must have finite samples, not all of them zero")
    height = np.abs(response)
    first = int(np.argmax(height >= 0.5 * height.max()))
    direct = first + int(height[first : first + RATE_HZ // 1000].argmax())
    before = response[max(0, direct - LEAD) : direct]
    return np.concatenate([np.zeros(LEAD - len(before)), before, response[direct:]]).astype(np.float32)


def cut_tails(responses: Float[np.ndarray, "sources taps"], below_db: float) -> Float[np.ndarray, "sources shorter"]:
    """Cut responses after their last sample within `below_db` of the loudest one (Kim et al., 2018)."""
    height = np.abs(responses)
    loud = (height >= height.max(axis=1, keepdims=True) * 10 ** (-below_db / 20)).any(axis=0)
    return responses[:, : np.flatnonzero(loud)[-1] + 1]
