"""§3.4: features at 100 Hz, global normalisation, and the frames of each step of the network.

Frame i covers samples [160 i, 160 i + 512); nothing is padded. "10 msec overlap between neighboring frames" is read as
a hop of 10 ms. A step of the paper takes four frames and begins at every third frame: three hops are its 30 ms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Float, Int

from mdasr.core.files import read_json
from mdasr.core.waveforms import RATE_HZ, checked

WINDOW = 512  # samples: 32 ms
HOP = 160  # samples: 10 ms
FFT_SIZE = 1024  # with 512 points, one of the 128 filters would be empty
BANDS = 128
LOW_HZ, HIGH_HZ = 125.0, 7500.0
# Added to a band's power before the logarithm. Rounding to 16 bits adds noise with a variance of 2**-30 / 12. Times the
# sum of the squared window and the sum of a band's filter, this is 1.4e-8 in the lowest band and 1.4e-7 in the highest.
FLOOR = 1e-8
FORMER_FLOOR = 1e-6  # of models whose statistics name none: those of 0.2.0
CEPSTRA = 20
LARGEST_DELAY = 1000  # the most steps by which a network's output may be late

_BLOCK = 64  # frames transformed at once: they stay in a core's cache, which doubles the speed
Count = TypeVar("Count")  # of samples, frames or steps: a whole number, or an array of them (numpy or jax)


def num_frames(samples: Count) -> Count:
    """The number of whole 32 ms frames in a waveform of `samples` at 16 kHz."""
    return _positive(1 + (samples - WINDOW) // HOP)  # type: ignore[operator]


def _positive(count: Any) -> Any:
    return count * (count > 0)


@dataclass(frozen=True)
class Subsampling:
    """The frames of each step of a network: step t takes frames [`stride` t, `stride` t + `window`).

    The label of step t is the phone at the centre of frame `stride` t + `label_frame`.
    """

    stride: int = 3
    window: int = 4
    label_frame: int = 1

    @property
    def step_samples(self) -> int:
        """Samples at 16 kHz from one step to the next."""
        return self.stride * HOP

    def num_steps(self, frames: Count) -> Count:
        """The number of whole steps in `frames` frames."""
        return _positive(1 + (frames - self.window) // self.stride)  # type: ignore[operator]

    def num_frames(self, steps: Count) -> Count:
        """The smallest number of frames that hold `steps` steps."""
        return (self.stride * (steps - 1) + self.window) * (steps > 0)  # type: ignore[operator, return-value]

    def steps_in(self, samples: Count) -> Count:
        """The number of whole steps in a waveform of `samples` at 16 kHz."""
        return self.num_steps(num_frames(samples))

    def label_centres(self, steps: int) -> Int[np.ndarray, " steps"]:
        """The sample at the centre of each step's label frame."""
        return HOP * (self.stride * np.arange(steps) + self.label_frame) + WINDOW // 2


PAPER_STEPS = Subsampling()  # §3.4: four frames stacked, every third position kept


def num_samples(frames: int) -> int:
    """The smallest number of samples at 16 kHz that hold `frames` frames (1 or more)."""
    return HOP * (frames - 1) + WINDOW


@cache
def hann() -> Float[np.ndarray, " 512"]:
    """The periodic Hann window of a frame, float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def powers(spectrum: Any) -> Any:
    """The squared magnitudes of a complex spectrum [frames, 513], in numpy or in jax.numpy."""
    power = spectrum.real**2
    power += spectrum.imag**2
    return power


def log_powers(bands: Any, floor: float = FLOOR, xp: ModuleType = np) -> Any:
    """The natural logarithm of the powers in bands [frames, 128] plus `floor`. `xp` is numpy or jax.numpy."""
    return xp.log(bands + np.float32(floor))


@cache
def mel_filters(warp: float = 1.0) -> Float[np.ndarray, "513 128"]:
    """Triangular filters of height 1, equally spaced on the scale 2595 log10(1 + f/700) (O'Shaughnessy).

    Up to 4.8 kHz, their edges are multiplied by `warp`; from there to 8 kHz they return to the unwarped edges. With a
    `warp` above 1, speech seems to come from a longer vocal tract (Jaitly and Hinton, 2013).
    """
    low_mel, high_mel = (2595 * np.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edges_mel = np.linspace(low_mel, high_mel, BANDS + 2)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    edges_hz = np.interp(edges_hz, (0, 4800, RATE_HZ / 2), (0, 4800 * warp, RATE_HZ / 2))
    bins_hz = np.arange(FFT_SIZE // 2 + 1)[:, None] * RATE_HZ / FFT_SIZE
    rising = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


@cache
def _sparse_filters(warp: float) -> scipy.sparse.csr_array:
    """The filters as a sparse array [128, 513]. A dense product would be slower, and start threads in every worker."""
    return scipy.sparse.csr_array(mel_filters(warp).T)


def log_mel(
    wave: Float[np.ndarray, " samples"], warp: float = 1.0, floor: float = FLOOR
) -> Float[np.ndarray, "frames 128"]:
    """The natural logarithm of the power in 128 mel bands, float32, for a 16 kHz waveform in [-1, 1).

    It uses a periodic Hann window and a 1024-point transform; `warp` is as in `mel_filters`. The `floor` is added to
    the power; a model has its own (`FeatureStats`). A waveform shorter than one window has no frames. Raises ValueError
    as `waveforms.checked`.
    """
    wave = checked(wave)
    frames = num_frames(len(wave))
    features = np.empty((frames, BANDS), np.float32)
    if not frames:
        return features
    windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    padded = np.zeros((min(_BLOCK, frames), FFT_SIZE), np.float32)
    for first in range(0, frames, _BLOCK):
        block = windows[first : first + _BLOCK]
        rows = padded[: len(block)]
        np.multiply(block, hann(), out=rows[:, :WINDOW])
        power = powers(scipy.fft.rfft(rows))
        features[first : first + len(block)] = (_sparse_filters(warp) @ np.ascontiguousarray(power.T)).T
    return log_powers(features, floor)


@dataclass(frozen=True, eq=False)
class FeatureStats:
    """The mean and standard deviation of every band over a training set, for the paper's "globally normalized".

    `floor` is that of the logarithm (`log_mel`) that the features were made with. A model makes all features with it.
    """

    mean: Float[np.ndarray, " bands"]
    std: Float[np.ndarray, " bands"]
    floor: float = FLOOR

    def write(self, path: Path) -> None:
        """Write everything as JSON. `read` gives the same float32 values."""
        fields = {"floor": self.floor, "mean": self.mean.tolist(), "std": self.std.tolist()}
        path.write_text(json.dumps(fields, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path, width: int) -> FeatureStats:
        """Read a file of `write` with `width` bands. Raises ValueError for a missing field or one of another length.

        A file without a floor has the `FORMER_FLOOR`.
        """
        try:
            fields = read_json(path, "feature statistics (training writes them)")
            mean, std = (np.asarray(fields[name], np.float32) for name in ("mean", "std"))
            stats = cls(mean, std, float(fields.get("floor", FORMER_FLOOR)))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"{path}: not feature statistics ({error!r}); training writes them") from error
        finite = np.isfinite([*stats.mean.ravel(), *stats.std.ravel()]).all()
        if stats.mean.shape != (width,) or stats.std.shape != (width,) or not (finite and np.all(stats.std > 0)):
            raise ValueError(f"{path}: fields mean and std must be {width} numbers each, std above 0; train again")
        if not 0 < stats.floor < 1:
            raise ValueError(f"{path}: field floor must be a number between 0 and 1; train again")
        return stats


def feature_stats(features: Iterable[Float[np.ndarray, "_ bands"]]) -> FeatureStats:
    """Compute the statistics over the frames of all arrays [frames, bands] of an iterable, which is read once.

    Sums are kept in float64. A band that never changes gets a standard deviation of 1. Raises ValueError where there is
    no frame.
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for array in features:
        wide = array.astype(np.float64)
        count += len(wide)
        total = total + wide.sum(axis=0)
        squares = squares + (wide**2).sum(axis=0)
    if not count:
        raise ValueError("feature statistics need at least one frame: every utterance is shorter than 32 ms")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std = np.where(std > 1e-4, std, 1.0)
    return FeatureStats(mean.astype(np.float32), std.astype(np.float32))


def normalize(features: Float[np.ndarray, "frames bands"], stats: FeatureStats) -> Float[np.ndarray, "frames bands"]:
    """Shift and scale every band to mean 0 and variance 1 over the training set."""
    return (features - stats.mean) / stats.std


def cepstra(features: Float[np.ndarray, "frames bands"], count: int = 13) -> Float[np.ndarray, "frames count"]:
    """The first `count` coefficients of the orthonormal DCT-II of log-mel frames. The aligner models these."""
    return scipy.fft.dct(features, type=2, norm="ortho", axis=1)[:, :count]


def add_deltas(
    features: Float[np.ndarray, "frames dim"], order: int = 2, reach: int = 2
) -> Float[np.ndarray, "frames dims"]:
    """Append the time derivatives up to `order` to the features: [frames, dim * (order + 1)].

    Each derivative is the slope of a line fitted to 2 * `reach` + 1 frames (as in the HTK Book). Before the first frame
    and after the last one, these two are repeated.
    """
    if not len(features):
        return np.empty((0, features.shape[1] * (order + 1)), np.float32)
    offsets = np.arange(-reach, reach + 1)
    weights = (offsets / (offsets**2).sum()).astype(np.float32)
    parts = [features]
    for _ in range(order):
        padded = np.pad(parts[-1], ((reach, reach), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=0)
        parts.append(windows @ weights)
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class FeatureKind:
    """A kind of features: a frame has `width` numbers, made from log-mel frames up to `margin` before and after it.

    `make` takes log-mel frames [frames + 2 `margin`, 128], and the module of these arrays, numpy or jax.numpy.
    """

    width: int
    margin: int
    make: Callable[[Any, Any], Any]


def _as_they_are(mel: Any, xp: Any) -> Any:
    return mel


@cache
def _cosines() -> Float[np.ndarray, "bands cepstra"]:
    """The matrix of the orthonormal DCT-II from log-mel bands to cepstra."""
    return scipy.fft.dct(np.eye(BANDS, dtype=np.float32), type=2, norm="ortho", axis=1)[:, :CEPSTRA]


def _with_slopes(mel: Any, xp: Any) -> Any:
    """Cepstra with first and second derivatives, each the slope of a line over five frames (the HTK Book, §5.9)."""
    # On a CPU, a matrix product would start threads in every worker.
    parts = [cepstra(mel, CEPSTRA) if xp is np else xp.dot(mel, _cosines(), precision="highest")]
    for _ in range(2):
        before = parts[-1]
        count = len(before) - 4
        parts.append(sum(np.float32(k / 10) * before[2 + k : 2 + k + count] for k in (-2, -1, 1, 2)))
    return xp.concatenate([parts[0][4:-4], parts[1][2:-2], parts[2]], axis=1)


FEATURES = {
    "log_mel": FeatureKind(BANDS, 0, _as_they_are),  # §3.4
    "cepstra": FeatureKind(3 * CEPSTRA, 4, _with_slopes),
}


def feature_kind(name: str) -> FeatureKind:
    """Return the kind of features called `name`. Raises ValueError, which lists the known names."""
    if name not in FEATURES:
        raise ValueError(f"there are no features called {name!r}; choose one of {', '.join(FEATURES)}")
    return FEATURES[name]


def frames_of(mel: Float[np.ndarray, "frames 128"], name: str) -> Float[np.ndarray, "frames width"]:
    """Make features of the kind called `name` from the log-mel frames of a whole utterance."""
    kind = feature_kind(name)
    return frames_between(mel, kind, 0, len(mel), np) if len(mel) else np.zeros((0, kind.width), np.float32)


def frames_between(mel: Any, kind: FeatureKind, first: Any, end: Any, xp: Any) -> Any:
    """Make features [frames, width] from log-mel frames, where an utterance has the frames [`first`, `end`).

    Outside the utterance, its first and last frames are repeated. `xp` is the module of the arrays, numpy or jax.numpy.
    """
    if not kind.margin:
        return kind.make(mel, xp)
    place = xp.arange(-kind.margin, len(mel) + kind.margin)
    return kind.make(mel[xp.clip(place, first, xp.maximum(end - 1, first))], xp)
