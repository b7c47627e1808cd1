"""The paper's encoder (§3.5): unidirectional LSTM layers at 33 Hz.

The recurrence is a `lax.scan`; the products of inputs and weights are computed before it. The backward pass is written
by hand: one scan for the gates' gradients, then a single product over all steps for the recurrent weights' gradient.
With bfloat16, products are still summed, and cells kept, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mdasr.acoustic.encoders.interface import AnyArray, Encoded, LayerEnd, PackedFrames, steps_of
from mdasr.core.schema import require_within
from mdasr.frontend import LARGEST_DELAY, PAPER_STEPS, Subsampling

LARGEST = 1 << 20  # cells of a layer: far more than anybody trains
LARGEST_UNROLL = 1000  # steps
PAPER_CELLS = (1024, 1024, 1024, 1024, 768)


@dataclass(frozen=True)
class LSTM:
    """LSTM layers with so many `cells` each; `unroll` steps are compiled as one, which changes the speed alone.

    With `forget_steps`, the state is forgotten at random moments in training. Then the network does not learn the few
    sentences of a small corpus by heart.
    """

    cells: tuple[int, ...] = PAPER_CELLS
    output_delay: int = 3
    forget_steps: int = 0
    unroll: int = 1
    name: Literal["lstm"] = "lstm"

    subsampling: ClassVar[Subsampling] = PAPER_STEPS

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("cells is empty; an LSTM needs at least one layer")
        for cells in self.cells:
            require_within("cells", cells, 1, LARGEST)
        require_within("output_delay", self.output_delay, 0, LARGEST_DELAY)
        require_within("forget_steps", self.forget_steps, 0, LARGEST)
        require_within("unroll", self.unroll, 1, LARGEST_UNROLL)

    @property
    def width(self) -> int:
        return self.cells[-1]

    def encode(self, rows: PackedFrames, state: Any, layer_end: LayerEnd) -> Encoded:
        """Encode rows as `Encoder.encode` says; a layer's state is a pair (hidden state, cells) of [batch, cells]."""
        stacked, begins = steps_of(rows, self.subsampling)
        forgets = begins if rows.forget is None else begins | rows.forget
        keep = 1 - forgets.swapaxes(0, 1).astype(stacked.dtype)
        x: Array = stacked.swapaxes(0, 1)
        last = []
        for layer, cells in enumerate(self.cells):
            lstm = LSTMLayer(cells, self.unroll, name=f"lstm_{layer}")
            hidden, carried = lstm(x, keep, state[layer] if state else None)
            last.append(carried)
            x = layer_end(jnp.asarray(hidden), layer)
        return x, last


def _cell(gates: Float[AnyArray, "batch gates"], c: Float[AnyArray, "batch cells"]) -> tuple[Array, Array, Array]:
    """One LSTM step from its pre-activations, in PyTorch's order: input, forget, candidate, output."""
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * c + i * g
    return o * jnp.tanh(c), c, jnp.concatenate([i, f, g, o], axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def recurrence(
    inputs: Float[AnyArray, "steps batch gates"],
    weights: Float[AnyArray, "cells gates"],
    keep: Float[AnyArray, "steps batch"],
    h0: Float[AnyArray, "batch cells"],
    c0: Float[AnyArray, "batch cells"],
    unroll: int = 1,
) -> tuple[Float[AnyArray, "steps batch cells"], Float[AnyArray, "batch cells"]]:
    """Run an LSTM layer whose input products (and biases) are already in `inputs`.

    `keep` is 0 where a new utterance starts, so that the state before that step is forgotten, and 1 elsewhere; it gets
    no gradient. Returns the hidden state of every step and the last cell state. All arrays have one dtype, but the cell
    states are float32, because they add up over hundreds of steps.
    """
    outputs, _ = _recurrence_forward(inputs, weights, keep, h0, c0, unroll)
    return outputs


_dot = partial(jnp.dot, preferred_element_type=jnp.float32)


def _recurrence_forward(inputs, weights, keep, h0, c0, unroll):
    dtype = inputs.dtype

    def step(carry, now):
        h, c = carry
        x, k = now
        h, c, activations = _cell(x + _dot(k * h, weights), k * c)
        h = h.astype(dtype)
        return (h, c), (h, c.astype(dtype), activations.astype(dtype))

    (_, last_c), (hs, cs, activations) = lax.scan(step, (h0, c0), (inputs, keep[..., None]), unroll=unroll)
    return (hs, last_c), (weights, keep, h0, c0, hs, cs, activations)


def _recurrence_backward(unroll, saved, gradients):
    weights, keep, h0, c0, hs, cs, activations = saved
    d_hs, d_last_c = gradients
    dtype, keep = hs.dtype, keep[..., None]
    h_before = keep * jnp.concatenate([h0[None], hs[:-1]])
    c_before = keep * jnp.concatenate([c0[None].astype(dtype), cs[:-1]])

    def step(carry, now):
        d_h, d_c = carry
        d_h_out, k, *state = now
        c, c_in, gates = (array.astype(jnp.float32) for array in state)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        d_h = d_h + d_h_out
        tanh_c = jnp.tanh(c)
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_gates = jnp.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * c_in * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ],
            axis=-1,
        ).astype(dtype)
        return (k * _dot(d_gates, weights.T), k * (d_c * f)), d_gates

    carry = (jnp.zeros(h0.shape, jnp.float32), d_last_c)
    steps = (d_hs, keep, cs, c_before, activations)
    (d_h0, d_c0), d_inputs = lax.scan(step, carry, steps, reverse=True, unroll=unroll)
    d_weights = jnp.einsum("tbh,tbg->hg", h_before, d_inputs, preferred_element_type=jnp.float32)
    return d_inputs, d_weights.astype(dtype), jnp.zeros_like(keep[..., 0]), d_h0.astype(dtype), d_c0


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


def _recurrent_init(key: Array, shape: tuple[int, int], dtype=jnp.float32) -> Array:
    """An orthogonal block for each gate, so that the state neither fades nor grows at the start."""
    cells = shape[0]
    blocks = [nn.initializers.orthogonal()(k, (cells, cells), dtype) for k in jax.random.split(key, shape[1] // cells)]
    return jnp.concatenate(blocks, axis=1)


def _bias_init(key: Array, shape: tuple[int], dtype=jnp.float32) -> Array:
    """Zero, but one for the forget gate, so that gradients reach far back from the first step on."""
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)


LayerState = tuple[Float[AnyArray, "batch _"], Float[AnyArray, "batch _"]]


class LSTMLayer(nn.Module):
    """A unidirectional LSTM layer over [steps, batch, width], with one bias for each gate."""

    cells: int
    unroll: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[AnyArray, "steps batch width"],
        keep: Float[AnyArray, "steps batch"],
        state: LayerState | None = None,
    ) -> tuple[Float[AnyArray, "steps batch cells"], LayerState]:
        wx = self.param("input", nn.initializers.lecun_normal(), (x.shape[-1], 4 * self.cells))
        wh = self.param("recurrent", _recurrent_init, (self.cells, 4 * self.cells))
        bias = self.param("bias", _bias_init, (4 * self.cells,))
        wx, wh = wx.astype(x.dtype), wh.astype(x.dtype)
        if state is None:
            zeros = jnp.zeros((x.shape[1], self.cells))
            state = (zeros.astype(x.dtype), zeros)
        # The bias is added in float32, so that its gradient, a sum over all steps and rows, is float32, too.
        hs, last_c = recurrence((_dot(x, wx) + bias).astype(x.dtype), wh, keep, *state, self.unroll)
        return hs, (hs[-1], last_c)
