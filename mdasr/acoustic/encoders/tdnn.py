"""A time-delay network (Waibel et al., 1989; Peddinti et al., 2015): dilated convolutions over time at 33 Hz.

Every layer looks back only. The whole network looks ahead by its output delay, as an LSTM does, so it can stream.
Layers are normalised over their units (Ba et al., 2016) and not over a batch, so that all devices compute the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mdasr.acoustic.encoders.interface import Encoded, LayerEnd, PackedFrames, steps_of
from mdasr.core.schema import require_within
from mdasr.frontend import LARGEST_DELAY, PAPER_STEPS, Subsampling

LARGEST = 1 << 20  # units of a layer: far more than anybody trains
TAPS = 3  # steps that a layer combines
NEVER = -(1 << 30)  # stands for an utterance that began before all steps at hand


@dataclass(frozen=True)
class TDNN:
    """Layers of rectified `units`; the three taps of each layer lie `dilations` steps apart.

    The network sees twice the sum of the dilations, in steps of 30 ms. With an output delay of half of that, it sees as
    far ahead as back.

    With `mean_steps`, the mean of the utterance so far is subtracted from the input. Kaldi's online normalisation does
    so within a window. The mean counts the mean of all speech, which is zero, as so many steps before the utterance.
    """

    units: tuple[int, ...] = (256, 256, 256, 256)
    dilations: tuple[int, ...] = (1, 2, 3, 3)
    output_delay: int = 9
    mean_steps: int = 0
    name: Literal["tdnn"] = "tdnn"

    subsampling: ClassVar[Subsampling] = PAPER_STEPS
    forget_steps: ClassVar[int] = 0  # its layers limit what it can remember

    def __post_init__(self) -> None:
        if not self.units or len(self.units) != len(self.dilations):
            raise ValueError(f"a TDNN needs a dilation for each layer: units {self.units}, dilations {self.dilations}")
        for units, dilation in zip(self.units, self.dilations):
            require_within("units", units, 1, LARGEST)
            require_within("dilations", dilation, 1, LARGEST_DELAY)
        require_within("output_delay", self.output_delay, 0, LARGEST_DELAY)
        require_within("mean_steps", self.mean_steps, 0, LARGEST)

    @property
    def width(self) -> int:
        return self.units[-1]

    def encode(self, rows: PackedFrames, state: Any, layer_end: LayerEnd) -> Encoded:
        """Encode rows as `Encoder.encode` says.

        The state of each layer is its past input [batch, steps, width]. With `mean_steps`, that of the mean comes last:
        the sum of the utterance so far, and its number of steps [batch, width + 1].
        """
        stacked, begins = steps_of(rows, self.subsampling)
        x, begins = stacked.swapaxes(0, 1), begins.swapaxes(0, 1)
        steps = jnp.arange(len(x))[:, None]
        began = lax.cummax(jnp.where(begins, steps, NEVER))  # the step at which the utterance of each step began
        last = []
        if self.mean_steps:
            x, heard = centred(x, begins, state[-1] if state else None, self.mean_steps)
        for layer, (units, dilation) in enumerate(zip(self.units, self.dilations)):
            inputs = _joined(state[layer].swapaxes(0, 1).astype(x.dtype) if state else None, x, dilation)
            taps = [_delayed(inputs, dilation * tap, steps, began) for tap in range(TAPS)]
            last.append(_remembered(inputs, len(inputs) - len(x), began[-1]))
            x = nn.Dense(units, dtype=x.dtype, name=f"tdnn_{layer}")(jnp.concatenate(taps, axis=-1))
            x = nn.relu(nn.LayerNorm(dtype=x.dtype, name=f"norm_{layer}")(x))
            x = layer_end(x, layer)
        return x, [*last, heard] if self.mean_steps else last


def centred(
    x: Float[Array, "steps batch width"],
    begins: Bool[Array, "steps batch"],
    before: Float[Array, "batch sum_and_count"] | None,
    prior: int,
) -> tuple[Float[Array, "steps batch width"], Float[Array, "batch sum_and_count"]]:
    """The input without the running mean of each utterance, and the sum and the count to carry on with."""
    heard = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1).astype(jnp.float32)
    if before is not None:
        heard = heard.at[0].add(jnp.where(begins[0][:, None], 0, before))
    totals, _ = lax.associative_scan(_added, (heard, begins[..., None]))
    return (x - totals[..., :-1] / (totals[..., -1:] + prior)).astype(x.dtype), totals[-1]


def _added(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sum of two stretches of steps; where an utterance begins in the later one, the earlier one is forgotten."""
    return later[0] + jnp.where(later[1], 0, earlier[0]), earlier[1] | later[1]


def _joined(
    past: Float[Array, "past batch width"] | None, x: Float[Array, "steps batch width"], dilation: int
) -> Float[Array, "all batch width"]:
    """A layer's input after its past input, which is zero at the beginning of a stream."""
    return jnp.concatenate([jnp.zeros((dilation * (TAPS - 1), *x.shape[1:]), x.dtype) if past is None else past, x])


def _delayed(
    inputs: Float[Array, "all batch width"], delay: int, steps: Array, began: Array
) -> Float[Array, "steps batch width"]:
    """The input `delay` steps ago; zero where that belonged to another utterance."""
    first = len(inputs) - len(steps) - delay
    return jnp.where((steps - delay >= began)[..., None], inputs[first : first + len(steps)], 0)


def _remembered(inputs: Float[Array, "all batch width"], past: int, began: Array) -> Float[Array, "batch past width"]:
    """The last steps of a layer's input, with zeros for utterances that have ended."""
    steps = jnp.arange(len(inputs) - past, len(inputs))[:, None] - past
    return jnp.where((steps >= began)[..., None], inputs[len(inputs) - past :], 0).swapaxes(0, 1)
