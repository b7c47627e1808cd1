"""Mixtures of Gaussians with diagonal covariances, one mixture an output: the aligner's acoustic model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int

_SHIFT = 0.2  # of a standard deviation, by which the halves of a split Gaussian move apart


@dataclass(frozen=True, eq=False)
class Mixtures:
    """`log_weights` [outputs, components] is -inf where an output has fewer components than others."""

    log_weights: Float32[np.ndarray, "outputs components"]
    means: Float32[np.ndarray, "outputs components dim"]
    variances: Float32[np.ndarray, "outputs components dim"]

    @cached_property
    def _projection(
        self,
    ) -> tuple[Float32[np.ndarray, "two_dim gaussians"], Float32[np.ndarray, " gaussians"]]:
        """The log density of every Gaussian as a linear function of [x, x*x]."""
        dim = self.means.shape[2]
        means, precisions = (a.reshape(-1, dim).astype(np.float64) for a in (self.means, 1 / self.variances))
        constant = dim * np.log(2 * np.pi) - np.log(precisions).sum(1) + (means**2 * precisions).sum(1)
        offset = self.log_weights.reshape(-1) - 0.5 * constant
        matrix = np.concatenate([means * precisions, -0.5 * precisions], axis=1).T
        return np.ascontiguousarray(matrix, np.float32), offset.astype(np.float32)

    def log_densities(
        self, features: Float32[np.ndarray, "frames dim"]
    ) -> Float32[np.ndarray, "frames outputs components"]:
        """Log of weight times density of every Gaussian."""
        matrix, offset = self._projection
        densities = np.concatenate([features, features**2], axis=1) @ matrix + offset
        return densities.reshape(len(features), *self.log_weights.shape)

    def log_likelihood(
        self, features: Float32[np.ndarray, "frames dim"]
    ) -> Float32[np.ndarray, "frames outputs"]:
        """Log density of every output's mixture."""
        return _log_sum(self.log_densities(features))

    def of(self, output: int) -> Mixtures:
        """One output's mixture, without the components that it lacks."""
        used = np.isfinite(self.log_weights[output])
        parts = (self.log_weights, self.means, self.variances)
        return Mixtures(*(part[output][used][None] for part in parts))


def _log_sum(densities: Float32[np.ndarray, "*rows components"]) -> Float32[np.ndarray, "*rows"]:
    if densities.shape[-1] == 1:
        return densities[..., 0]
    top = densities.max(axis=-1)
    return top + np.log(np.exp(densities - top[..., None]).sum(axis=-1))


def one_gaussian_each(features: Float32[np.ndarray, "frames dim"], outputs: int) -> Mixtures:
    """The same Gaussian for every output: mean and variance of all frames."""
    mean, variance = features.mean(axis=0), features.var(axis=0)
    shape = (outputs, 1, features.shape[1])
    return Mixtures(
        np.zeros((outputs, 1), np.float32),
        np.broadcast_to(mean, shape).astype(np.float32),
        np.broadcast_to(variance, shape).astype(np.float32),
    )


def reestimate(
    mixtures: Mixtures,
    features: Float32[np.ndarray, "frames dim"],
    labels: Int[np.ndarray, " frames"],
    variance_floor: Float32[np.ndarray, " dim"],
    fewest_frames: int = 10,
) -> Mixtures:
    """One EM step for every output on the frames that `labels` gives it.

    A component with fewer than `fewest_frames` frames is dropped; an output with fewer stays as it was.
    """
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(mixtures.log_weights) + 1))
    parts = []
    for output, (first, last) in enumerate(itertools.pairwise(bounds)):
        mixture = mixtures.of(output)
        if last - first >= fewest_frames:
            mixture = _em_step(mixture, features[order[first:last]], variance_floor, fewest_frames)
        parts.append(mixture)
    return _joined(parts)


def _em_step(
    mixture: Mixtures,
    features: Float32[np.ndarray, "frames dim"],
    variance_floor: Float32[np.ndarray, " dim"],
    fewest_frames: int,
) -> Mixtures:
    densities = mixture.log_densities(features)[:, 0]
    shares = np.exp(densities - _log_sum(densities)[:, None])
    occupancy = shares.sum(axis=0)
    kept = occupancy >= min(fewest_frames, occupancy.max())
    occupancy, shares = occupancy[kept], shares[:, kept]
    means = shares.T @ features / occupancy[:, None]
    # Around the means, not E[x*x] - mean*mean: in float32 the difference of two large numbers is no variance.
    squares = [share @ (features - mean) ** 2 for share, mean in zip(shares.T, means)]
    variances = np.maximum(np.stack(squares) / occupancy[:, None], variance_floor)
    weights = np.log(occupancy / occupancy.sum())
    return Mixtures(*(part[None].astype(np.float32) for part in (weights, means, variances)))


def split(
    mixtures: Mixtures, frames: Int[np.ndarray, " outputs"], components: int, frames_per_component: int
) -> Mixtures:
    """Split the heaviest components in two until an output has `components`, or as many as its frames feed."""
    parts = []
    for output, fed in enumerate(frames // frames_per_component):
        mixture = mixtures.of(output)
        weights, means, variances = mixture.log_weights[0], mixture.means[0], mixture.variances[0]
        while len(weights) < min(components, fed):
            heavy = int(np.argmax(weights))
            shift = _SHIFT * np.sqrt(variances[heavy])
            means = np.concatenate([means, means[heavy][None] + shift])
            means[heavy] -= shift
            variances = np.concatenate([variances, variances[heavy][None]])
            weights = np.append(weights, weights[heavy] - np.float32(np.log(2)))
            weights[heavy] = weights[-1]
        parts.append(Mixtures(weights[None], means[None], variances[None]))
    return _joined(parts)


def _joined(parts: list[Mixtures]) -> Mixtures:
    """Mixtures of one output each as one, padded to the largest."""
    most = max(part.log_weights.shape[1] for part in parts)

    def padded(arrays: list[np.ndarray], fill: float) -> np.ndarray:
        whole = np.full((len(arrays), most, *arrays[0].shape[2:]), fill, np.float32)
        for row, array in zip(whole, arrays):
            row[: array.shape[1]] = array[0]
        return whole

    return Mixtures(
        padded([part.log_weights for part in parts], -np.inf),
        padded([part.means for part in parts], 0.0),
        padded([part.variances for part in parts], 1.0),
    )
