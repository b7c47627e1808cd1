"""What the rest of the project knows of a training criterion: its loss, what is watched, what decoding must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

AnyArray = Array | np.ndarray


class Outputs(NamedTuple):
    """What the network's outputs mean to a decoder.

    `topology` names the HMM of an output (`decode.transducers.TOPOLOGIES`). With `subtracts_priors`, scores are log
    posteriors less log priors. Tuning begins at `acoustic_scale`.
    """

    topology: str = "one-state"
    subtracts_priors: bool = True
    acoustic_scale: float = 0.5


class Loss(NamedTuple):
    """Sums over a batch: the `total` that is minimised, and sums to report by name, each over the batch's frames."""

    total: Array
    sums: dict[str, Array]


@runtime_checkable
class Criterion(Protocol):
    """A frozen dataclass: its fields are the criterion's settings, `name` the one that it is listed under.

    A batch has `labels` and `weights` [batch, steps] (weight 0: the step does not count), and `segments`
    [batch, frames], which say where utterances begin and end (`encoders.interface.PackedFrames`). An ensemble's logits
    have a leading axis for its members, each of which is trained as if it were alone: sums are over them, too. Of
    several devices each has some of the rows: a loss is a sum, which training divides by the weights of the global
    batch.
    """

    @property
    def name(self) -> str: ...

    @property
    def outputs(self) -> Outputs: ...

    def loss(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Loss:
        """What training minimises, with the sums "loss" and "right" (frames) among those to report."""
        ...

    def watched(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Array:
        """The sum that early stopping watches on held-out speech."""
        ...
