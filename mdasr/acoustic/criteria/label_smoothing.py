"""Cross-entropy with smoothed labels (Szegedy et al., 2016): a share of every label is spread over all outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
from jaxtyping import Array, Float

from mdasr.acoustic.criteria.cross_entropy import frame_errors
from mdasr.acoustic.criteria.interface import AnyArray, Loss, Outputs
from mdasr.core.schema import require_within


@dataclass(frozen=True)
class LabelSmoothing:
    """Cross-entropy with a `share` of each label spread evenly over all outputs.

    Early stopping watches the cross-entropy without smoothing.
    """

    share: float = 0.1
    name: Literal["label_smoothing"] = "label_smoothing"

    outputs: ClassVar[Outputs] = Outputs()
    uses_transitions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_within("share", self.share, 0, 1)

    def loss(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Loss:
        """The loss, as `Criterion.loss` describes it; the sum "loss" is the smoothed one."""
        total, right = frame_errors(logits, batch["labels"], batch["weights"])
        spread = -(jax.nn.log_softmax(logits).mean(-1) * batch["weights"]).sum()
        smoothed = (1 - self.share) * total + self.share * spread
        return Loss(smoothed, {"loss": smoothed, "right": right})

    def watched(self, logits: Float[AnyArray, "*members batch steps outputs"], batch: Mapping[str, AnyArray]) -> Array:
        """Cross-entropy with the original labels."""
        return frame_errors(logits, batch["labels"], batch["weights"])[0]
