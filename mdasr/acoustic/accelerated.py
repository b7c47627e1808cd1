"""Rooms, bandwidth and features on the accelerator: §3.1, §3.2 and §3.4 under jit, for recipes without a codec.

The host sends 16-bit samples, noises and the rooms' numbers (`perturb.packed`); impulse responses, convolution,
low-pass and log-mel are made where the network is. The results are those of `mdasr.perturb` and `mdasr.frontend`:
normalised features agree within 1e-3 in bands within 40 dB of an utterance's loudest (below, single precision shows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import lax
from jaxtyping import Array, Float, Int32, UInt32

from mdasr import frontend
from mdasr.acoustic.schedule import RowOptions
from mdasr.core.waves import RATE_HZ
from mdasr.frontend import FeatureKind
from mdasr.perturb import responses
from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.packed import Packed, Shapes
from mdasr.perturb.responses import LEAD, SPEED_M_PER_S
from mdasr.perturb.room import LOUDEST

AnyArray = Array | np.ndarray
_FRAME = 320  # of `active_power`: 20 ms
_MOST_IMAGES = 256  # within a source's reach there are about 100
_FIR = 1024  # samples on either side of the low-pass' centre


def impulse_responses(
    size_m: Float[AnyArray, " 3"],
    rt60_s: Float[AnyArray, ""],
    microphone_m: Float[AnyArray, " 3"],
    places_m: Float[AnyArray, "places 3"],
    tail_seed: UInt32[AnyArray, ""],
    shapes: Shapes,
) -> Float[Array, "places taps"]:
    """`mdasr.perturb.impulse_responses` for one room, from arrays of fixed shape."""
    direct_m = jnp.maximum(jnp.linalg.norm(places_m - microphone_m, axis=1), responses.NEAREST_M)
    volume_m3 = size_m.prod()
    reach_m = jnp.maximum((responses.IMAGES * volume_m3 * 3 / (4 * np.pi)) ** (1 / 3), direct_m + 4)
    surface_m2 = 2 * (size_m[0] * size_m[1] + size_m[1] * size_m[2] + size_m[2] * size_m[0])
    dry = rt60_s <= 0
    nepers = 12 * np.log(10) * volume_m3 / (SPEED_M_PER_S * surface_m2 * jnp.where(dry, 1, rt60_s))
    wall_gain = jnp.where(dry, 0, jnp.exp(-nepers))
    early = _early(size_m, wall_gain, microphone_m, places_m, direct_m, reach_m, shapes)
    time_s = (jnp.arange(shapes.taps) - LEAD) / RATE_HZ + direct_m[:, None] / SPEED_M_PER_S
    density = 4 * np.pi * SPEED_M_PER_S / (volume_m3 * RATE_HZ)
    envelope = jnp.sqrt(density) * jnp.exp(-3 * np.log(10) / jnp.where(dry, 1, rt60_s) * jnp.maximum(time_s, 0))
    envelope *= jnp.sqrt(jnp.clip(1 + (time_s - reach_m[:, None] / SPEED_M_PER_S) / responses.FADE_S, 0, 1))
    ended = jnp.arange(shapes.taps) >= LEAD + jnp.round(rt60_s * RATE_HZ)
    tail = responses.tail_noise(tail_seed, len(places_m), shapes.taps, jnp) * jnp.where(ended | dry, 0, envelope)
    return tail.at[:, : shapes.early].add(early)


def _early(
    size_m: AnyArray,
    wall_gain: AnyArray,
    microphone_m: AnyArray,
    places_m: AnyArray,
    direct_m: AnyArray,
    reach_m: AnyArray,
    shapes: Shapes,
) -> Float[Array, "places early"]:
    """The images within reach, among all of a fixed lattice, laid out and limited in band as the host does."""
    k = np.arange(-shapes.mirrors, shapes.mirrors + 1)
    order = np.concatenate([np.abs(2 * k), np.abs(2 * k - 1)])
    sides = np.concatenate([k, k]) * 2.0
    signs = np.repeat([1.0, -1.0], len(k))
    images_m = sides[:, None, None] * size_m + signs[:, None, None] * places_m  # [images, places, 3]
    squares = (images_m - microphone_m) ** 2
    path_m = jnp.sqrt(
        squares[:, None, None, :, 0] + squares[None, :, None, :, 1] + squares[None, None, :, :, 2]
    )  # [images of each axis (3), places]
    reflections = order[:, None, None] + order[None, :, None] + order[None, None, :]
    near = path_m <= reach_m
    path_m = jnp.maximum(path_m, responses.NEAREST_M)
    # 0 ** 0 is 1: without reverberation the direct path alone is left.
    gain = jnp.where(near, wall_gain ** reflections[..., None] / path_m, 0)
    gain *= jnp.sqrt(jnp.clip((reach_m - path_m) / SPEED_M_PER_S / responses.FADE_S, 0, 1))
    delay = jnp.where(near, (path_m - direct_m) / SPEED_M_PER_S * RATE_HZ + LEAD, 0)
    loudest, which = lax.top_k(gain.reshape(-1, len(places_m)).T, min(_MOST_IMAGES, gain.size // len(places_m)))
    delay = jnp.take_along_axis(delay.reshape(-1, len(places_m)).T, which, axis=1)
    return jax.vmap(lambda d, g: _laid_out(d, g, shapes.early))(delay, loudest)


def _laid_out(
    delay: Float[AnyArray, " images"], gain: Float[AnyArray, " images"], samples: int
) -> Float[Array, " samples"]:
    floor = delay.astype(jnp.int32)
    phase = (delay - floor) * responses.PHASES
    before = phase.astype(jnp.int32)
    late = (phase - before)[:, None]
    table = jnp.asarray(responses.pulse(), jnp.float32)
    pulses = gain[:, None] * ((1 - late) * table[before] + late * table[before + 1])
    return jnp.zeros(samples).at[floor[:, None] + responses.PULSE].add(pulses, mode="drop")


def add_room(
    wave: Float[AnyArray, " samples"], length: AnyArray, room: Packed, shapes: Shapes
) -> Float[AnyArray, " samples"]:
    """`mdasr.perturb.add_room` for one wave of a batch, `room` being that row of `Packed`."""
    found = impulse_responses(room.size_m, room.rt60_s, room.microphone_m, room.places_m, room.tail_seed, shapes)
    within = jnp.arange(shapes.samples) < length
    size = scipy.fft.next_fast_len(shapes.samples + shapes.taps, True)
    spectra = jnp.fft.rfft(found * room.present[:, None], size)
    heard = jnp.fft.irfft(jnp.fft.rfft(wave, size) * spectra[0], size)[LEAD : LEAD + shapes.samples] * within
    before, after = active_power(wave, length), active_power(heard, length)
    heard *= jnp.where(after > 0, jnp.sqrt(before / jnp.where(after > 0, after, 1)), 1)
    playing = room.noises.astype(jnp.float32) * room.loudness[:, None]
    noise = jnp.fft.irfft((jnp.fft.rfft(playing, size) * spectra[1:]).sum(0), size)[shapes.taps :][: shapes.samples]
    power = (noise**2 * within).sum() / jnp.maximum(length, 1)
    gain = jnp.sqrt(before / jnp.where(power > 0, power, 1) / 10 ** (room.snr_db / 10))
    heard += jnp.where(power > 0, gain, 0) * noise * within
    peak = jnp.abs(heard).max()
    return heard * jnp.where(peak > LOUDEST, LOUDEST / jnp.where(peak > 0, peak, 1), 1)


def active_power(wave: Float[AnyArray, " samples"], length: AnyArray) -> Float[Array, ""]:
    """`mdasr.perturb.room.active_power` of a wave's first `length` samples."""
    count = len(wave) // _FRAME
    powers = (wave[: count * _FRAME].reshape(count, _FRAME) ** 2).mean(1)
    powers = jnp.where(jnp.arange(count) < length // _FRAME, powers, 0)
    loud = powers > 1e-3 * powers.max()
    return (powers * loud).sum() / jnp.maximum(loud.sum(), 1)


@cache
def low_pass() -> Float[np.ndarray, " taps"]:
    """The FIR filter that `narrowband` amounts to: soxr's answer to an impulse."""
    impulse = np.zeros(4 * _FIR, np.float32)
    impulse[2 * _FIR] = 1
    return narrowband(impulse)[_FIR : 3 * _FIR + 1]


def narrow(wave: Float[AnyArray, " samples"]) -> Float[Array, " samples"]:
    """`mdasr.perturb.narrowband`, as one filter."""
    size = scipy.fft.next_fast_len(len(wave) + 2 * _FIR, True)
    spectrum = jnp.fft.rfft(wave, size) * np.fft.rfft(low_pass(), size).astype(np.complex64)
    return jnp.fft.irfft(spectrum, size)[_FIR : _FIR + len(wave)]


def log_mel(wave: Float[AnyArray, " samples"]) -> Float[Array, "frames 128"]:
    """`mdasr.frontend.log_mel`."""
    frames = frontend.num_frames(len(wave))
    first = frontend.HOP * np.arange(frames)[:, None]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frontend.WINDOW) / frontend.WINDOW)).astype(np.float32)
    spectrum = jnp.fft.rfft(wave[first + np.arange(frontend.WINDOW)] * hann, frontend.FFT_SIZE)
    power = spectrum.real**2 + spectrum.imag**2
    bands = jnp.dot(power, frontend.mel_filters(), precision=lax.Precision.HIGHEST)
    return jnp.log(bands + np.float32(frontend.FLOOR))


def perturb(packed: Packed, shapes: Shapes) -> Float[Array, "batch samples"]:
    """The waves of a batch as their recipes distort them; what lies past a wave's end is zero."""

    def one(row: Packed) -> Array:
        wave = row.waves.astype(jnp.float32) / 32768
        wave = jnp.where(row.reverberant, add_room(wave, row.lengths, row, shapes), wave)
        wave = jnp.where(row.narrowband, narrow(wave), wave)
        wave = jnp.where(jnp.arange(shapes.samples) < row.lengths, wave, 0)
        return jnp.clip(wave, -1, np.float32(32767 / 32768))

    return jax.vmap(one)(packed)


def features(
    packed: Packed, kind: FeatureKind, mean: Float[AnyArray, " width"], std: Float[AnyArray, " width"], shapes: Shapes
) -> Float[Array, "batch frames width"]:
    """Distorted and normalised frames of a batch, as many as `shapes.samples` have."""
    mel = jax.vmap(log_mel)(perturb(packed, shapes))
    counts = frontend.num_frames(packed.lengths)
    frames = jax.vmap(lambda each, count: frontend.frames_between(each, kind, 0, count, jnp))(mel, counts)
    return (frames - mean) / std


def featurizer(
    options: RowOptions, features_kind: str, stats: frontend.FeatureStats, shapes: Shapes
) -> Callable[[Mapping[str, AnyArray]], Float[Array, "rows frames width"]]:
    """What turns a batch of `loader.PackedRowMaker` into frames, to be called under jit."""
    kind, subsampling = frontend.feature_kind(features_kind), options.subsampling

    def row_frames(packed: Packed, slots: Int32[AnyArray, " pieces"]) -> Float[Array, "frames width"]:
        """Those of a row's utterances, each from the step on at which `slots` puts it; elsewhere zeros."""
        frames = features(packed, kind, stats.mean, stats.std, shapes)
        steps = subsampling.steps_in(packed.lengths)
        heard = jnp.where(steps > 0, subsampling.stride * (steps - 1) + subsampling.window, 0)
        inside = np.arange(frames.shape[1]) < heard[:, None]
        place = subsampling.stride * slots[:, None] + np.arange(frames.shape[1])
        row = jnp.zeros((options.frames, kind.width))
        return row.at[jnp.where(inside, place, options.frames)].set(frames, mode="drop")

    def batch_frames(batch: Mapping[str, AnyArray]) -> Float[Array, "rows frames width"]:
        return jax.vmap(row_frames)(Packed(*(batch[name] for name in Packed._fields)), batch["slots"])

    return batch_frames
