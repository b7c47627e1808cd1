"""Maximum mutual information over whole rows, without lattices (Povey et al., 2016), with some cross-entropy.

The rivals of the spoken labels are all sequences of labels, weighted by a bigram model of the training's labels. A step
is a label, and a label repeats itself with its own probability, so the bigram also says how long labels last. Kaldi's
rivals are phones under a 4-gram, which needs sparse graphs; a bigram of CDPhones, which tell their neighbours, is one
small matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mdasr.acoustic.criteria.cross_entropy import frame_errors
from mdasr.acoustic.criteria.interface import AnyArray, Loss, Outputs
from mdasr.core.schema import require_within

LARGEST_TOLERANCE = 10  # steps (0.3 s), longer than most phones
UNROLLED = 4  # steps of the forward pass that are compiled together


@dataclass(frozen=True)
class MMI:
    """Minus the log posterior of the spoken sequence of labels among all sequences, for a `share` of the loss.

    The rest is cross-entropy, which keeps the network from making the likely sequences certain (Su et al., 2013). A
    boundary between two labels may lie up to `tolerance` steps from where the alignment has it. The scores of a label
    are its log posterior minus its log prior, as in decoding.
    """

    share: float = 0.7
    tolerance: int = 1
    name: Literal["mmi"] = "mmi"

    outputs: ClassVar[Outputs] = Outputs()
    uses_transitions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_within("share", self.share, 0, 1)
        require_within("tolerance", self.tolerance, 0, LARGEST_TOLERANCE)

    def loss(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Loss:
        """The loss, as `Criterion.loss` describes it."""
        total, right = frame_errors(logits, batch["labels"], batch["weights"])
        mixed = self.share * self.rivals(logits, batch) + (1 - self.share) * total
        return Loss(mixed, {"loss": mixed, "right": right})

    def watched(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Array:
        """Cross-entropy, which needs no transitions."""
        return frame_errors(logits, batch["labels"], batch["weights"])[0]

    def rivals(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Array:
        """The log sum over all sequences minus that over the spoken ones, summed over rows and members."""
        transitions, weights = jnp.asarray(batch["transitions"]), jnp.asarray(batch["weights"])
        start = jnp.exp(batch["log_priors"])
        spoken = spoken_labels(jnp.asarray(batch["labels"]), weights, logits.shape[-1], self.tolerance)

        def of_member(scores: Float[Array, "batch steps outputs"]) -> Array:
            every = log_sums(scores, weights, transitions, start)
            return (every - log_sums(jnp.where(spoken, scores, -jnp.inf), weights, transitions, start)).sum()

        scores = jnp.asarray(logits) - batch["log_priors"]
        return jax.vmap(of_member)(scores.reshape(-1, *scores.shape[-3:])).sum()


def spoken_labels(
    labels: Array, weights: Float[Array, "batch steps"], outputs: int, tolerance: int
) -> Bool[Array, "batch steps outputs"]:
    """The labels that the alignment has within `tolerance` steps of each step, in the same stretch of weights of 1."""
    counts = weights[..., None] > 0
    near = jax.nn.one_hot(labels, outputs, dtype=bool) & counts
    for _ in range(tolerance):
        padded = jnp.pad(near, ((0, 0), (1, 1), (0, 0)))
        near = (padded[:, :-2] | near | padded[:, 2:]) & counts
    return near


def log_sums(
    scores: Float[Array, "batch steps outputs"],
    weights: Float[Array, "batch steps"],
    transitions: Float[Array, "outputs outputs"],
    start: Float[Array, " outputs"],
) -> Float[Array, " batch"]:
    """The log of the sum over all sequences of labels of the product of their transitions and their exp(scores).

    It is the forward algorithm. Steps of weight 0 have no label; after them, a sequence begins anew from `start`.
    """

    def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        reached, log_sum = carry
        scores, counts = now
        largest = lax.stop_gradient(scores.max(-1, where=counts[:, None], initial=-1e30))
        reached = (reached @ transitions) * jnp.exp(jnp.where(counts[:, None], scores - largest[:, None], 0))
        total = reached.sum(-1)
        log_sum = log_sum + jnp.where(counts, jnp.log(total) + largest, 0)
        return (jnp.where(counts[:, None], reached / total[:, None], start), log_sum), None

    begin = jnp.broadcast_to(start, (len(scores), len(start))), jnp.zeros(len(scores))
    (_, log_sum), _ = lax.scan(step, begin, (scores.swapaxes(0, 1), weights.T > 0), unroll=UNROLLED)
    return log_sum
