"""Maximum mutual information over whole rows, without lattices (Povey et al., 2016), with some cross-entropy.

The rivals of the spoken labels are all sequences of labels, weighted by a bigram model of the training's labels. A step
is a label, and a label repeats itself with its own probability, so the bigram also says how long labels last. Kaldi's
rivals are phones under a 4-gram, which needs sparse graphs; a bigram of CDPhones, which tell their neighbours, is one
small matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

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
        spoken = spoken_labels(jnp.asarray(batch["labels"]), weights, self.tolerance)
        among = transitions_among(spoken, weights, transitions, start)
        first = jnp.zeros(spoken.shape[-1]).at[0].set(1)

        def of_member(scores: Float[Array, "batch steps outputs"]) -> Array:
            own = jnp.where(spoken >= 0, jnp.take_along_axis(scores, spoken, axis=-1), -jnp.inf)
            every = log_sums(scores, weights, start, lambda reached, _: reached @ transitions)
            return (every - log_sums(own, weights, first, partial(jnp.einsum, "bi,bij->bj"), among)).sum()

        scores = jnp.asarray(logits) - batch["log_priors"]
        return jax.vmap(of_member)(scores.reshape(-1, *scores.shape[-3:])).sum()


def spoken_labels(
    labels: Int[Array, "batch steps"], weights: Float[Array, "batch steps"], tolerance: int
) -> Int[Array, "batch steps near"]:
    """The labels that the alignment has within `tolerance` steps of each step, in the same stretch of weights of 1.

    Each is there once; the other places hold -1.
    """
    counts, steps = weights > 0, labels.shape[1]
    stretch = jnp.where(counts, jnp.cumsum(~counts, axis=1), -1)
    places = jnp.arange(steps)[:, None] + jnp.arange(-tolerance, tolerance + 1)
    inside = (places >= 0) & (places < steps)
    places = jnp.clip(places, 0, steps - 1)
    together = inside & counts[..., None] & (stretch[:, places] == stretch[..., None])
    near = jnp.where(together, labels[:, places], -1)
    again = jnp.tril(near[..., :, None] == near[..., None, :], -1).any(-1)
    return jnp.where(again, -1, near)


def transitions_among(
    spoken: Int[Array, "batch steps near"],
    weights: Float[Array, "batch steps"],
    transitions: Float[Array, "outputs outputs"],
    start: Float[Array, " outputs"],
) -> Float[Array, "steps batch near near"]:
    """The transitions to the spoken labels of each step from those of the step before.

    Where a stretch of weights of 1 begins, each row has the transitions from all labels, weighted by `start`.
    """
    before = jnp.pad(spoken, ((0, 0), (1, 0), (0, 0)))[:, :-1, :, None]
    begins = ~jnp.pad(weights > 0, ((0, 0), (1, 0)))[:, :-1, None, None]
    now = spoken[..., None, :]
    return jnp.where(begins, (start @ transitions)[now], transitions[before, now]).swapaxes(0, 1)


def log_sums(
    scores: Float[Array, "batch steps labels"],
    weights: Float[Array, "batch steps"],
    start: Float[Array, " labels"],
    onward: Callable[[Array, Any], Array],
    given: Float[Array, "steps ..."] | None = None,
) -> Float[Array, " batch"]:
    """The log of the sum over all sequences of labels of the product of their transitions and their exp(scores).

    It is the forward algorithm: `onward` takes sums [batch, labels] from a step to the next one, where it is told
    `given`. Steps of weight 0 have no label; after them, a sequence begins anew from `start`.
    """

    def step(carry: tuple[Array, Array], now: tuple[Array, Array, Any]) -> tuple[tuple[Array, Array], None]:
        reached, log_sum = carry
        scores, counts, given = now
        largest = lax.stop_gradient(scores.max(-1, where=counts[:, None], initial=-1e30))
        reached = onward(reached, given) * jnp.exp(jnp.where(counts[:, None], scores - largest[:, None], 0))
        total = reached.sum(-1)
        log_sum = log_sum + jnp.where(counts, jnp.log(total) + largest, 0)
        return (jnp.where(counts[:, None], reached / total[:, None], start), log_sum), None

    begin = jnp.broadcast_to(start, (len(scores), len(start))), jnp.zeros(len(scores))
    (_, log_sum), _ = lax.scan(step, begin, (scores.swapaxes(0, 1), weights.T > 0, given), unroll=UNROLLED)
    return log_sum
