"""The paper's criterion (§3.7): cross-entropy of every frame's CDPhone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mdasr.acoustic.criteria.interface import AnyArray, Loss, Outputs


@dataclass(frozen=True)
class CrossEntropy:
    """Minus the log posterior of the label, summed over frames."""

    name: Literal["cross_entropy"] = "cross_entropy"

    outputs: ClassVar[Outputs] = Outputs()
    uses_transitions: ClassVar[bool] = False

    def loss(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Loss:
        """The loss, as `Criterion.loss` describes it."""
        total, right = frame_errors(logits, batch["labels"], batch["weights"])
        return Loss(total, {"loss": total, "right": right})

    def watched(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Array:
        """The loss itself."""
        return self.loss(logits, batch).total


def frame_errors(
    logits: Float[AnyArray, "*members batch steps outputs"],
    labels: Int[AnyArray, "batch steps"],
    weights: Float[AnyArray, "batch steps"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Summed cross-entropy and the number of right frames, over members and over frames whose `weights` is 1."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.broadcast_to(labels, logits.shape[:-1]))
    right = (jnp.argmax(logits, -1) == labels) * weights
    return (losses * weights).sum(), right.sum()
