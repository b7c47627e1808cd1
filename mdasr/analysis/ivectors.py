"""i-vectors (§4.2): the acoustic character of an utterance in a few numbers (Dehak et al., 2011).

The total-variability matrix T says how the means of all components of a background model (UBM) change together from one
utterance to the next: M = m + T w, with w ~ N(0, I). The i-vector is the posterior mean of w. All batches of utterances
have the same shape, and their sums are added up in float64 on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64

from mdasr.analysis.ubm import FEWEST_FRAMES, BaumWelchStatistics, Ubm
from mdasr.core.progress import track

BATCH = 64  # utterances at a time


@dataclass(frozen=True)
class ExtractorOptions:
    """The number of dimensions of i-vectors (the paper's 32), and the number of iterations for training T."""

    dimension: int = 32
    iterations: int = 15


@dataclass(frozen=True, eq=False)
class Extractor:
    """A UBM and the total-variability matrix, `loadings`, in units of the components' standard deviations."""

    ubm: Ubm
    loadings: Float64[np.ndarray, "components dim factors"]


def train_extractor(
    ubm: Ubm, observed: BaumWelchStatistics, options: ExtractorOptions, rng: np.random.Generator
) -> tuple[Extractor, tuple[float, ...]]:
    """Train T by EM from a random start; also returns the evidence before each iteration, which never falls."""
    shape = (*ubm.means.shape, options.dimension)
    extractor = Extractor(ubm, 0.1 * rng.standard_normal(shape))
    evidences = []
    for _ in track(range(options.iterations), desc="total variability", unit="pass", delay=2):
        extractor, evidence = reestimate_loadings(extractor, observed)
        evidences.append(evidence)
    return extractor, tuple(evidences)


def reestimate_loadings(extractor: Extractor, observed: BaumWelchStatistics) -> tuple[Extractor, float]:
    """One EM step for T (Kenny et al., 2005), with minimum divergence; also returns the evidence of T before the step.

    The evidence is the log likelihood of the statistics over all w, above that of the UBM alone (T = 0), in nats. The
    frames' components count as known, with their posteriors.

    Minimum divergence (Kenny, 2008) gives w the second moment that it has over the utterances and absorbs it in T. Then
    N(0, I) is the distribution of w over the training set: EM is faster, and distances have a scale. The variances of
    the components stay those of the UBM. Raises ValueError for fewer utterances than factors.
    """
    loadings = extractor.loadings
    utterances, factors = len(observed.occupancy), loadings.shape[2]
    if utterances < factors:
        raise ValueError(f"{utterances} utterances cannot train i-vectors of {factors} dimensions; give more of them")
    totals: Sequence[np.ndarray] = [np.zeros(())] * len(_Sums._fields)
    for batch, count in _utterance_batches(observed):
        sums = _expectation(loadings.astype(np.float32), *batch, np.arange(BATCH) < count)
        totals = [total + np.asarray(part, np.float64) for total, part in zip(totals, sums)]
    evidence, spread, cross, moment = totals
    fed = observed.occupancy.sum(axis=0) >= FEWEST_FRAMES
    updated = loadings.copy()
    updated[fed] = np.linalg.solve(spread[fed], cross[fed].transpose(0, 2, 1)).transpose(0, 2, 1)
    return Extractor(extractor.ubm, updated @ np.linalg.cholesky(moment / utterances)), float(evidence)


def ivectors(extractor: Extractor, observed: BaumWelchStatistics) -> Float64[np.ndarray, "utterances factors"]:
    """The posterior means of w; zero, the prior's mean, for an utterance without frames."""
    loadings = extractor.loadings.astype(np.float32)
    means = [_posterior(loadings, *batch).means[:count] for batch, count in _utterance_batches(observed)]
    return np.concatenate([np.zeros((0, loadings.shape[2])), *means])


def _utterance_batches(
    observed: BaumWelchStatistics,
) -> Iterator[tuple[tuple[Float32[np.ndarray, "batch components"], Float32[np.ndarray, "batch components dim"]], int]]:
    """Statistics in batches of one shape, filled up with utterances without frames, and the number of real ones."""
    for start in range(0, len(observed.occupancy), BATCH):
        parts = [part[start : start + BATCH] for part in (observed.occupancy, observed.first)]
        count = len(parts[0])
        occupancy, first = (np.pad(x, [(0, BATCH - count), *[(0, 0)] * (x.ndim - 1)]) for x in parts)
        yield (occupancy, first), count


class _Posterior(NamedTuple):
    """Means and covariances of w for each utterance, and each utterance's log evidence."""

    means: Float[Array, "utterances factors"]
    covariances: Float[Array, "utterances factors factors"]
    evidence: Float[Array, " utterances"]


@jax.jit
def _posterior(
    loadings: Float[Array, "components dim factors"],
    occupancy: Float[Array, "utterances components"],
    first: Float[Array, "utterances components dim"],
) -> _Posterior:
    """The posterior of w: its precision is I + sum_c n_c T_c' T_c, and its mean the inverse of that times T' f.

    Source: Kenny et al., 2005.
    """
    with jax.default_matmul_precision("highest"):
        identity = jnp.eye(loadings.shape[2])
        gram = jnp.einsum("cdi,cdj->cij", loadings, loadings)
        root = jnp.linalg.cholesky(identity + jnp.einsum("uc,cij->uij", occupancy, gram))
        covariances = jax.vmap(lambda r: jax.scipy.linalg.cho_solve((r, True), identity))(root)
        pull = jnp.einsum("ucd,cdi->ui", first, loadings)
        means = jnp.einsum("uij,uj->ui", covariances, pull)
        half_log_det = jnp.log(jnp.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        return _Posterior(means, covariances, jnp.einsum("ui,ui->u", means, pull) / 2 - half_log_det)


class _Sums(NamedTuple):
    """The sums that a batch of utterances adds to the M step."""

    evidence: Float[Array, ""]
    spread: Float[Array, "components factors factors"]
    cross: Float[Array, "components dim factors"]
    moment: Float[Array, "factors factors"]


@jax.jit
def _expectation(
    loadings: Float[Array, "components dim factors"],
    occupancy: Float[Array, "utterances components"],
    first: Float[Array, "utterances components dim"],
    real: Bool[Array, " utterances"],
) -> _Sums:
    with jax.default_matmul_precision("highest"):
        posterior = _posterior(loadings, occupancy, first)
        second = posterior.covariances + jnp.einsum("ui,uj->uij", posterior.means, posterior.means)
        return _Sums(
            posterior.evidence.sum(),
            jnp.einsum("uc,uij->cij", occupancy, second),
            jnp.einsum("ucd,ui->cdi", first, posterior.means),
            jnp.einsum("u,uij->ij", real.astype(second.dtype), second),
        )
