"""A universal background model (UBM) for i-vectors (§4.2): the sounds that a frame may be, and how often they occur.

It is one mixture of Gaussians with diagonal covariances, of any size, while the aligner (`mdasr.align.gmm`) has many
small ones. So it uses JAX, on an accelerator where there is one, with blocks of frames in batches of one shape. Sums
over batches are kept in float64 on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int

from mdasr.core.progress import track

BLOCK_FRAMES = 128  # an utterance is cut into blocks of so many frames; the last one is filled up
BATCH = 64  # blocks at a time
FEWEST_FRAMES = 1.0  # a component with fewer frames stays as it was
_SEEDED_FROM = 20_000  # the first means are chosen from so many frames


@dataclass(frozen=True)
class UbmOptions:
    """Size and training of a UBM; `variance_floor` is a share of the variance of all frames.

    The paper gives none of this. Dehak et al. (2011) have 2048 components, for thousands of hours.
    """

    components: int = 64
    iterations: int = 15
    variance_floor: float = 0.01


@dataclass(frozen=True, eq=False)
class Ubm:
    """A mixture of Gaussians with diagonal covariances."""

    weights: Float64[np.ndarray, " components"]
    means: Float64[np.ndarray, "components dim"]
    variances: Float64[np.ndarray, "components dim"]


@dataclass(frozen=True, eq=False)
class BaumWelchStatistics:
    """Baum-Welch statistics of utterances: frames of each component, and the sum of their distances from its mean.

    `first`, this sum, is in units of the component's standard deviations.
    """

    occupancy: Float32[np.ndarray, "utterances components"]
    first: Float32[np.ndarray, "utterances components dim"]


def train_ubm(
    frames: Float32[np.ndarray, "frames dim"], options: UbmOptions, rng: np.random.Generator
) -> tuple[Ubm, tuple[float, ...]]:
    """Train a UBM by EM from k-means++; also returns the log likelihood a frame before each iteration.

    The likelihood never falls. Raises ValueError for fewer frames than components, and for frames that are not finite.
    """
    if len(frames) < options.components:
        raise ValueError(
            f"{len(frames)} frames cannot train {options.components} components; give more speech or fewer components"
        )
    _check([frames])
    ubm, floor = seeded_ubm(frames, options.components, rng), options.variance_floor * frames.var(axis=0)
    likelihoods = []
    for _ in track(range(options.iterations), desc="UBM", unit="pass", delay=2):
        ubm, likelihood = reestimate_ubm(ubm, frames, floor)
        likelihoods.append(likelihood)
    return ubm, tuple(likelihoods)


def seeded_ubm(frames: Float32[np.ndarray, "frames dim"], components: int, rng: np.random.Generator) -> Ubm:
    """A UBM with equal weights, the variances of all frames, and means that are frames far from each other.

    The means are drawn by k-means++ (Arthur and Vassilvitskii, 2007): the probability of a frame grows with its squared
    distance from the means before it. Distances are in standard deviations.
    """
    variances = np.maximum(frames.var(axis=0, dtype=np.float64), 1e-10)
    chosen = rng.choice(len(frames), min(_SEEDED_FROM, len(frames)), replace=False)
    scaled = frames[chosen] / np.sqrt(variances)
    picks = [int(rng.integers(len(scaled)))]
    distances = ((scaled - scaled[picks[0]]) ** 2).sum(axis=1)
    while len(picks) < components:
        total = distances.sum()
        share = distances / total if total else np.full(len(scaled), 1 / len(scaled))
        picks.append(int(rng.choice(len(scaled), p=share)))
        distances = np.minimum(distances, ((scaled - scaled[picks[-1]]) ** 2).sum(axis=1))
    return Ubm(
        np.full(components, 1 / components),
        frames[chosen][picks].astype(np.float64),
        np.tile(variances, (components, 1)),
    )


def reestimate_ubm(
    ubm: Ubm, frames: Float32[np.ndarray, "frames dim"], variance_floor: Float[np.ndarray, " dim"]
) -> tuple[Ubm, float]:
    """One EM step; also returns the log likelihood a frame of the mixture before the step."""
    totals: Sequence[np.ndarray] = [np.zeros(())] * len(_Moments._fields)
    for batch, mask, _ in _frame_batches([frames]):
        sums = _moments(*_linear(ubm), batch, mask)
        totals = [total + np.asarray(part, np.float64).sum(axis=0) for total, part in zip(totals, sums)]
    likelihood, occupancy, first, second = totals
    fed = (occupancy >= FEWEST_FRAMES)[:, None]
    share = np.maximum(occupancy, FEWEST_FRAMES)[:, None]
    means = first / share
    variances = np.maximum(second / share - means**2, variance_floor)
    weights = np.maximum(occupancy, 1e-6)  # above 0, because their logarithm is taken
    means, variances = np.where(fed, means, ubm.means), np.where(fed, variances, ubm.variances)
    return Ubm(weights / weights.sum(), means, variances), float(likelihood) / len(frames)


def statistics(ubm: Ubm, utterances: Sequence[Float32[np.ndarray, "_ dim"]]) -> BaumWelchStatistics:
    """Statistics of each utterance [frames, dim]; zero for one without frames.

    Raises ValueError for features that are not finite.
    """
    _check(utterances)
    occupancy, first = np.zeros((len(utterances), len(ubm.weights))), np.zeros((len(utterances), *ubm.means.shape))
    for batch, mask, owners in _frame_batches(utterances):
        sums = _moments(*_linear(ubm), batch, mask)
        np.add.at(occupancy, owners, np.asarray(sums.occupancy)[: len(owners)])
        np.add.at(first, owners, np.asarray(sums.first)[: len(owners)])
    centred = (first - occupancy[..., None] * ubm.means) / np.sqrt(ubm.variances)
    return BaumWelchStatistics(occupancy.astype(np.float32), centred.astype(np.float32))


def _frame_batches(
    utterances: Sequence[Float32[np.ndarray, "_ dim"]],
) -> Iterator[
    tuple[Float32[np.ndarray, "blocks frames dim"], Bool[np.ndarray, "blocks frames"], Int[np.ndarray, " _"]]
]:
    """Blocks of frames in batches of one shape, a mask of the real frames, and the utterance of each real block."""
    blocks = [(u, first) for u, frames in enumerate(utterances) for first in range(0, len(frames), BLOCK_FRAMES)]
    for start in range(0, len(blocks), BATCH):
        chosen = blocks[start : start + BATCH]
        batch = np.zeros((BATCH, BLOCK_FRAMES, utterances[0].shape[1]), np.float32)
        mask = np.zeros((BATCH, BLOCK_FRAMES), bool)
        for row, (u, first) in enumerate(chosen):
            frames = utterances[u][first : first + BLOCK_FRAMES]
            batch[row, : len(frames)], mask[row, : len(frames)] = frames, True
        yield batch, mask, np.array([u for u, _ in chosen])


def _linear(ubm: Ubm) -> tuple[Float32[np.ndarray, "two_dim components"], Float32[np.ndarray, " components"]]:
    """Log of weight times density as a linear function of [x, x*x]: factors and constant."""
    precisions = 1 / ubm.variances
    constant = np.log(ubm.weights) - 0.5 * (np.log(2 * np.pi / precisions) + ubm.means**2 * precisions).sum(axis=1)
    factors = np.concatenate([ubm.means * precisions, -0.5 * precisions], axis=1).T
    return factors.astype(np.float32), constant.astype(np.float32)


class _Moments(NamedTuple):
    """Sums over the frames of each block, weighted by the posteriors of the components."""

    log_likelihood: Float[Array, " blocks"]
    occupancy: Float[Array, "blocks components"]
    first: Float[Array, "blocks components dim"]
    second: Float[Array, "blocks components dim"]


@jax.jit
def _moments(
    factors: Float[Array, "two_dim components"],
    constant: Float[Array, " components"],
    frames: Float[Array, "blocks frames dim"],
    real: Bool[Array, "blocks frames"],
) -> _Moments:
    with jax.default_matmul_precision("highest"):
        squares = frames**2
        scores = jnp.concatenate([frames, squares], axis=2) @ factors + constant
        total = jax.nn.logsumexp(scores, axis=2)
        posteriors = jnp.exp(scores - total[..., None]) * real[..., None]
        first, second = (jnp.einsum("btc,btd->bcd", posteriors, x) for x in (frames, squares))
        return _Moments((total * real).sum(axis=1), posteriors.sum(axis=1), first, second)


def _check(utterances: Sequence[Float32[np.ndarray, "_ dim"]]) -> None:
    for u, frames in enumerate(utterances):
        if not np.isfinite(frames).all():
            raise ValueError(f"the features of utterance {u} hold a value that is not finite; is its audio damaged?")
