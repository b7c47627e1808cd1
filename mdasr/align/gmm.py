"""The aligner's acoustic model: a mixture of Gaussians with diagonal covariances for each output.

numba compiles the loops; BLAS is not used. The matrices are so small that, on a shared machine, the threads of BLAS
wait for each other thirty times longer than they work. Also, sums have a fixed order, so that results are the same bits
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Float32, Int

_SHIFT = 0.2  # the shift of the halves of a split Gaussian, as a share of the standard deviation
_LEAST_SHARE = 1e-3  # of a frame: smaller shares are left out to save time
_NEGLIGIBLE = 16.0  # nats below the best component: too little to change a float32 sum


@dataclass(frozen=True, eq=False)
class Mixtures:
    """A mixture for each output. `log_weights` is -inf for components that an output does not have."""

    log_weights: Float32[np.ndarray, "outputs components"]
    means: Float32[np.ndarray, "outputs components dim"]
    variances: Float32[np.ndarray, "outputs components dim"]

    @cached_property
    def linear(
        self,
    ) -> tuple[Float32[np.ndarray, "two_dim outputs components"], Float32[np.ndarray, "outputs components"]]:
        """The log of weight times density as a linear function of [x, x*x]: its factors and its constant."""
        means, precisions = self.means.astype(np.float64), 1 / self.variances.astype(np.float64)
        constant = (np.log(2 * np.pi) - np.log(precisions) + means**2 * precisions).sum(axis=2)
        factors = np.concatenate([means * precisions, -0.5 * precisions], axis=2)
        factors = np.ascontiguousarray(factors.transpose(2, 0, 1), np.float32)
        return factors, (self.log_weights - 0.5 * constant).astype(np.float32)

    def log_likelihood(
        self, features: Float32[np.ndarray, "frames dim"], outputs: Int[np.ndarray, " chosen"]
    ) -> Float32[np.ndarray, "frames chosen"]:
        """The log density of every frame in the mixture of each of `outputs`."""
        factors, constant = self.linear
        chosen = factors[:, outputs].reshape(len(factors), -1)
        result = np.empty((len(features), len(outputs)), np.float32)
        _log_likelihood(features, chosen, constant[outputs].reshape(-1), result)
        return result


def one_gaussian_each(features: Float32[np.ndarray, "frames dim"], outputs: int) -> Mixtures:
    """Give every output the same Gaussian, with the mean and variance of all frames."""
    shape = (outputs, 1, features.shape[1])
    return Mixtures(
        np.zeros((outputs, 1), np.float32),
        np.broadcast_to(features.mean(axis=0), shape).astype(np.float32),
        np.broadcast_to(features.var(axis=0), shape).astype(np.float32),
    )


def reestimate(
    mixtures: Mixtures,
    features: Float32[np.ndarray, "frames dim"],
    labels: Int[np.ndarray, " frames"],
    variance_floor: Float32[np.ndarray, " dim"],
    fewest_frames: int = 10,
) -> Mixtures:
    """Do one EM step for every output, on the frames with its label.

    A component with fewer than `fewest_frames` frames is dropped. An output that would lose its last component stays as
    it was.
    """
    moments = _no_moments(mixtures)
    _accumulate(features, labels.astype(np.int32), *mixtures.linear, *moments)
    return _maximised(mixtures, *moments, variance_floor, fewest_frames)


def reestimate_softly(
    mixtures: Mixtures,
    examples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    variance_floor: Float32[np.ndarray, " dim"],
    fewest_frames: int = 10,
) -> Mixtures:
    """Do the EM step of `reestimate` with shares of frames.

    The examples are tuples of features, outputs [chosen], and shares [frames, chosen].
    """
    moments = _no_moments(mixtures)
    for features, outputs, shares in examples:
        _accumulate_shares(features, outputs.astype(np.int32), shares, *mixtures.linear, *moments)
    return _maximised(mixtures, *moments, variance_floor, fewest_frames)


def _no_moments(mixtures: Mixtures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Occupancy, sums and sums of squares, all zero and in float64. The kernels add to them."""
    return np.zeros(mixtures.log_weights.shape), np.zeros(mixtures.means.shape), np.zeros(mixtures.means.shape)


def _maximised(
    mixtures: Mixtures,
    occupancy: Float[np.ndarray, "outputs components"],
    sums: Float[np.ndarray, "outputs components dim"],
    squares: Float[np.ndarray, "outputs components dim"],
    variance_floor: Float32[np.ndarray, " dim"],
    fewest_frames: int,
) -> Mixtures:
    fed = occupancy >= fewest_frames
    frames = np.maximum(occupancy, 1)[..., None]
    means = sums / frames
    variances = np.maximum(squares / frames - means**2, variance_floor)
    share = np.where(fed, occupancy, 0.0)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
    log_weights = np.log(share, where=fed, out=np.full(share.shape, -np.inf))
    kept = np.asarray(fed.any(axis=1))[:, None]
    return Mixtures(
        np.where(kept, log_weights, mixtures.log_weights).astype(np.float32),
        np.where(kept[..., None], means, mixtures.means).astype(np.float32),
        np.where(kept[..., None], variances, mixtures.variances).astype(np.float32),
    )


def split(
    mixtures: Mixtures, frames: Int[np.ndarray, " outputs"], components: int, frames_per_component: int
) -> Mixtures:
    """Split the heaviest components until each output has `components`, or as many as its frames allow."""
    room = ((0, 0), (0, max(0, components - mixtures.log_weights.shape[1])))
    log_weights = np.pad(mixtures.log_weights, room, constant_values=-np.inf)
    means = np.pad(mixtures.means, (*room, (0, 0)))
    variances = np.pad(mixtures.variances, (*room, (0, 0)), constant_values=1.0)
    for weight, mean, variance, fed in zip(log_weights, means, variances, frames // frames_per_component):
        while np.isfinite(weight).sum() < min(components, fed):
            heavy, free = int(np.argmax(weight)), int(np.argmin(weight))
            shift = _SHIFT * np.sqrt(variance[heavy])
            mean[free], variance[free] = mean[heavy] + shift, variance[heavy]
            mean[heavy] -= shift
            weight[heavy] -= np.log(2)
            weight[free] = weight[heavy]
    return Mixtures(log_weights, means, variances)


# no_type_check: the tests' import hook would wrap these functions, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _log_likelihood(features, factors, constant, result):
    frames, dim = features.shape
    outputs, block = result.shape[1], 8  # frames at a time: the factors stay in the nearest cache
    components = len(constant) // max(outputs, 1)
    densities = np.empty((block, len(constant)), np.float32)
    for first in range(0, frames, block):
        rows = min(block, frames - first)
        densities[:] = constant
        for d in range(dim):
            for b in range(rows):
                x = features[first + b, d]
                for g in range(len(constant)):
                    densities[b, g] += x * (factors[d, g] + x * factors[dim + d, g])
        for b in range(rows):
            for o in range(outputs):
                own = densities[b, o * components : (o + 1) * components]
                result[first + b, o] = _log_sum(own)


@numba.njit(cache=True)
@no_type_check
def _log_sum(densities):
    top = densities.max()
    total = np.float32(0)
    for density in densities:
        if density > top - _NEGLIGIBLE:
            total += np.exp(density - top)
    return top + np.log(total)


@numba.njit(cache=True)
@no_type_check
def _add_frame(frame, o, weight, factors, constant, occupancy, sums, squares):
    dim = len(frame)
    densities = constant[o].copy()
    for d in range(dim):
        for m in range(len(densities)):
            densities[m] += frame[d] * (factors[d, o, m] + frame[d] * factors[dim + d, o, m])
    total = _log_sum(densities)
    for m in range(len(densities)):
        if densities[m] > total - _NEGLIGIBLE:
            share = weight * np.exp(densities[m] - total)
            occupancy[o, m] += share
            for d in range(dim):
                sums[o, m, d] += share * frame[d]
                squares[o, m, d] += share * frame[d] * frame[d]


@numba.njit(cache=True)
@no_type_check
def _accumulate(features, labels, factors, constant, occupancy, sums, squares):
    for t in range(len(features)):
        _add_frame(features[t], labels[t], 1.0, factors, constant, occupancy, sums, squares)


@numba.njit(cache=True)
@no_type_check
def _accumulate_shares(features, outputs, shares, factors, constant, occupancy, sums, squares):
    for t in range(len(features)):
        for u in range(len(outputs)):
            if shares[t, u] > _LEAST_SHARE:
                _add_frame(features[t], outputs[u], shares[t, u], factors, constant, occupancy, sums, squares)
