"""Rooms, bandwidth and features on the accelerator (§3.1, §3.2, §3.4), for recipes without a codec.

The host sends 16-bit samples, noises and the numbers of the rooms (`perturb.packed`). Impulse responses, convolution,
low-pass filter and log-mel are computed under jit, on the network's device. The formulas are those of `mdasr.perturb`
and `mdasr.frontend`. This file adds fixed shapes, masks and rows.

Normalised features agree with the host's within 1e-3 in bands that lie within 40 dB of the utterance's loudest band. In
quieter bands, single precision makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import lax
from jaxtyping import Array, Float, Int32

from mdasr import frontend
from mdasr.acoustic.row_schedule import RowOptions
from mdasr.core.waveforms import RATE_HZ
from mdasr.frontend import FeatureKind
from mdasr.perturb import bandwidth, loudness, responses
from mdasr.perturb.gain import amplified
from mdasr.perturb.packed import Packed, Shapes
from mdasr.perturb.responses import LEAD

AnyArray = Array | np.ndarray
_MOST_IMAGES = 256  # about 100 lie within reach


def impulse_responses(room: Packed, shapes: Shapes) -> Float[Array, "places taps"]:
    """The impulse responses of one room, a row of `Packed`, as `mdasr.perturb.impulse_responses` computes them.

    There is one for every place of the row, whether a source is present there or not.
    """
    direct_m = responses.direct_paths(room.microphone_m, room.places_m, jnp)
    reach_m = responses.images_reach(room.size_m, direct_m, jnp)
    early = _early(room, direct_m, reach_m, shapes)
    envelope = responses.tail_envelope(room.size_m, room.rt60_s, direct_m, reach_m, shapes.taps, jnp)
    ends = LEAD + jnp.round(room.rt60_s * RATE_HZ)
    tail = responses.tail_noise(room.tail_seed, len(room.places_m), shapes.taps, jnp)
    tail *= jnp.where(jnp.arange(shapes.taps) < ends, envelope, 0)
    return tail.at[:, : shapes.early].add(early)


def _early(room: Packed, direct_m: AnyArray, reach_m: AnyArray, shapes: Shapes) -> Float[Array, "places early"]:
    """The responses of the images within reach.

    The loudest images of a fixed lattice are enough, because images beyond reach have faded out.
    """
    wall_gain = responses.reflection(room.size_m, room.rt60_s, jnp)
    squares, gains = [], []
    for axis in range(3):
        images_m, order = responses.mirror_images(room.places_m[:, axis, None], room.size_m[axis], shapes.mirrors, jnp)
        squares.append((images_m - room.microphone_m[axis]) ** 2)
        gains.append(wall_gain**order)
    paths, walls_gain = responses.image_lattice(squares, gains)
    delay, gain = responses.arrivals(jnp.sqrt(paths), walls_gain, direct_m[:, None], reach_m[:, None], jnp)
    gain, loudest = lax.top_k(gain, min(_MOST_IMAGES, gain.shape[1]))
    sample, pulses = responses.laid_out(jnp.take_along_axis(delay, loudest, axis=1), gain, jnp)
    touched = np.arange(len(gain))[:, None, None], sample[..., None] + responses.PULSE
    return jnp.zeros((len(gain), shapes.early)).at[touched].add(pulses, mode="drop")


def add_room(
    wave: Float[AnyArray, " samples"], length: AnyArray, room: Packed, shapes: Shapes
) -> Float[AnyArray, " samples"]:
    """Put one wave of a batch into its room, as `mdasr.perturb.add_room` does.

    `length` is the wave's length in samples, and `room` is its row of `Packed`.
    """
    within = jnp.arange(shapes.samples) < length
    wave = without_dc(wave, length)
    size = scipy.fft.next_fast_len(shapes.samples + shapes.taps, True)
    spectra = jnp.fft.rfft(impulse_responses(room, shapes) * room.present[:, None], size)
    received = jnp.fft.irfft(jnp.fft.rfft(wave, size) * spectra[0], size)[LEAD : LEAD + shapes.samples] * within
    speech_power = active_power(wave, length)
    received *= loudness.level_gain(speech_power, active_power(received, length), jnp)
    playing = room.noises.astype(jnp.float32) * room.loudness[:, None]
    noise = jnp.fft.irfft((jnp.fft.rfft(playing, size) * spectra[1:]).sum(0), size)[shapes.taps :][: shapes.samples]
    noise = without_dc(noise, length)
    noise_power = audible_power(noise, length)
    received += noise * loudness.noise_gain(speech_power, noise_power, room.snr_db, jnp)
    return loudness.limited(received, jnp)


def without_dc(wave: Float[AnyArray, " samples"], length: AnyArray) -> Float[Array, " samples"]:
    """The `mdasr.perturb.loudness.without_dc` of a wave's first `length` samples; zero after them."""
    within = np.arange(len(wave)) < length
    return (wave - loudness.mean_level((wave * within).sum(), length, jnp)) * within


def active_power(wave: Float[AnyArray, " samples"], length: AnyArray) -> Float[Array, ""]:
    """The `mdasr.perturb.loudness.active_power` of a wave's first `length` samples."""
    with jax.default_matmul_precision("highest"):
        return loudness.active_mean(loudness.frame_powers(wave, jnp), length // loudness.FRAME, jnp)


def audible_power(wave: Float[AnyArray, " samples"], length: AnyArray) -> Float[Array, ""]:
    """The `mdasr.perturb.loudness.audible_power` of a wave's first `length` samples."""
    with jax.default_matmul_precision("highest"):
        powers, frames = loudness.frame_powers(wave, jnp), length // loudness.FRAME
    return (powers * (np.arange(len(powers)) < frames)).sum() / jnp.maximum(frames, 1)


def low_passed(wave: Float[AnyArray, " samples"]) -> Float[Array, " samples"]:
    """The wave after the filter of `mdasr.perturb.narrowband`, applied as a single filter."""
    size = scipy.fft.next_fast_len(len(wave) + 2 * bandwidth.REACH, True)
    spectrum = jnp.fft.rfft(wave, size) * np.fft.rfft(bandwidth.low_pass(), size).astype(np.complex64)
    return jnp.fft.irfft(spectrum, size)[bandwidth.REACH : bandwidth.REACH + len(wave)]


def log_mel(wave: Float[AnyArray, " samples"], floor: float = frontend.FLOOR) -> Float[Array, "frames 128"]:
    """The log-mel features of a wave, as `mdasr.frontend.log_mel` computes them."""
    frames = frontend.num_frames(len(wave))
    first = frontend.HOP * np.arange(frames)[:, None]
    spectrum = jnp.fft.rfft(wave[first + np.arange(frontend.WINDOW)] * frontend.hann(), frontend.FFT_SIZE)
    bands = jnp.dot(frontend.powers(spectrum), frontend.mel_filters(), precision=lax.Precision.HIGHEST)
    return frontend.log_powers(bands, floor, jnp)


def perturb(packed: Packed, shapes: Shapes) -> Float[Array, "batch samples"]:
    """Distort the waves of a batch as their recipes say; samples past a wave's end are zero."""

    def one(row: Packed) -> Array:
        wave = row.waves.astype(jnp.float32) / 32768
        wave = jnp.where(row.reverberant, add_room(wave, row.lengths, row, shapes), wave)
        wave = amplified(wave, row.gain_db, jnp)
        wave = jnp.where(row.narrowband, low_passed(wave), wave)
        wave = jnp.where(jnp.arange(shapes.samples) < row.lengths, wave, 0)
        return loudness.clipped(wave, jnp)

    return jax.vmap(one)(packed)


def features(
    packed: Packed, kind: FeatureKind, stats: frontend.FeatureStats, shapes: Shapes
) -> Float[Array, "batch frames width"]:
    """Normalised frames of the distorted waves of a batch, as many as `shapes.samples` samples have."""
    mel = jax.vmap(lambda wave: log_mel(wave, stats.floor))(perturb(packed, shapes))
    counts = frontend.num_frames(packed.lengths)
    frames = jax.vmap(lambda bands, count: frontend.frames_between(bands, kind, 0, count, jnp))(mel, counts)
    return (frames - stats.mean) / stats.std


def featurizer(
    options: RowOptions, features_kind: str, stats: frontend.FeatureStats, shapes: Shapes
) -> Callable[[Mapping[str, AnyArray]], Float[Array, "rows frames width"]]:
    """Return a function that turns a batch of `loader.PackedRowMaker` into frames; call it under jit."""
    kind, subsampling = frontend.feature_kind(features_kind), options.subsampling

    def row_frames(packed: Packed, slots: Int32[AnyArray, " pieces"]) -> Float[Array, "frames width"]:
        """The frames of a row: each utterance begins at its step in `slots`, and all other frames are zero."""
        frames = features(packed, kind, stats, shapes)
        lengths = subsampling.num_frames(subsampling.steps_in(packed.lengths))
        inside = np.arange(frames.shape[1]) < lengths[:, None]
        place = subsampling.stride * slots[:, None] + np.arange(frames.shape[1])
        row = jnp.zeros((options.frames, kind.width))
        return row.at[jnp.where(inside, place, options.frames)].set(frames, mode="drop")

    def batch_frames(batch: Mapping[str, AnyArray]) -> Float[Array, "rows frames width"]:
        return jax.vmap(row_frames)(Packed(*(batch[name] for name in Packed._fields)), batch["slots"])

    return batch_frames
