"""The interface of a training criterion: its loss, the sum that early stopping watches, and its use in decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

AnyArray = Array | np.ndarray


class Outputs(NamedTuple):
    """The meaning of the network's outputs for a decoder.

    `topology` names the HMM of an output (`decode.transducers.TOPOLOGIES`). With `subtracts_priors`, scores are log
    posteriors minus log priors. Tuning begins at `acoustic_scale`.
    """

    topology: str = "one-state"
    subtracts_priors: bool = True
    acoustic_scale: float = 0.5


class Loss(NamedTuple):
    """Sums over the frames of a batch: the `total` to minimise, and the sums to report, by name."""

    total: Array
    sums: dict[str, Array]


@runtime_checkable
class Criterion(Protocol):
    """A frozen dataclass with the criterion's settings; `name` is its name in the list of criteria.

    A batch has `labels` and `weights` [batch, steps]; a step of weight 0 does not count. Its `segments` [batch, frames]
    say where utterances begin and end (`encoders.interface.PackedFrames`). With `uses_transitions`, it also has the
    `log_priors` [outputs] of the labels, and `transitions` [outputs, outputs]. These are the probabilities that one
    label follows another a step later (`training.pool.label_statistics`).

    The logits of an ensemble have a leading axis for its members. Each member is trained as if it were alone, so sums
    go over members, too. Each device has only some of the rows, so a loss is a sum: training divides it by the weights
    of the global batch.
    """

    @property
    def name(self) -> str: ...

    @property
    def outputs(self) -> Outputs: ...

    @property
    def uses_transitions(self) -> bool: ...

    def loss(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Loss:
        """The loss to minimise; the sums to report include "loss" and "right" (frames)."""
        ...

    def watched(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Array:
        """The sum that early stopping watches on held-out speech."""
        ...
