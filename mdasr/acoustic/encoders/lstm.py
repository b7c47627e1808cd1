"""The paper's encoder (§3.5): unidirectional LSTM layers at 33 Hz.

The recurrence is a `lax.scan`; the products of inputs and weights are computed before it. The backward pass is written
by hand. The forward scan saves the derivatives, so the backward scan only multiplies and adds. After it, a single
product over all steps gives the gradient of a matrix of weights. With bfloat16, products are still summed, and cells
kept, in float32.
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


_dot = partial(jnp.dot, preferred_element_type=jnp.float32)


def _weights_gradient(x: Float[AnyArray, "steps batch width"], d: Float[AnyArray, "steps batch out"]) -> Array:
    """The gradient [width, out] of weights that multiply `x`, as one product of matrices: a CPU does that fastest."""
    rows = (x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1]))
    return jnp.einsum("nw,no->wo", *rows, preferred_element_type=jnp.float32)


@jax.custom_vjp
def product(x: Float[AnyArray, "steps batch width"], weights: Float[AnyArray, "width out"]) -> Array:
    """The product [steps, batch, out] in float32; its gradients are computed in the dtype of `x`."""
    return _dot(x, weights)


def _product_forward(x, weights):
    return _dot(x, weights), (x, weights)


def _product_backward(saved, d):
    x, weights = saved
    d = d.astype(x.dtype)
    return _dot(d, weights.T).astype(x.dtype), _weights_gradient(x, d).astype(weights.dtype)


product.defvjp(_product_forward, _product_backward)


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

    The gates are in PyTorch's order: input, forget, candidate, output. `keep` is 0 where a new utterance starts, so
    that the state before that step is forgotten, and 1 elsewhere; it gets no gradient. Returns the hidden state of
    every step and the last cell state. All arrays have one dtype, but the cell states are float32, because they add up
    over hundreds of steps.
    """
    outputs, _ = _recurrence_forward(inputs, weights, keep, h0, c0, unroll)
    return outputs


def _recurrence_forward(inputs, weights, keep, h0, c0, unroll):
    dtype = inputs.dtype
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one tanh serves all gates.
    scale = jnp.repeat(jnp.array([0.5, 0.5, 1, 0.5], jnp.float32), len(weights))

    def step(carry, now):
        h, c = carry
        x, k = now
        i, f, g, o = jnp.split(jnp.tanh((x + _dot(k * h, weights)) * scale) * scale + (1 - scale), 4, axis=-1)
        c_in = k * c
        c = f * c_in + i * g
        tanh_c = jnp.tanh(c)
        # Derivatives: of c by the first three sums, and of h by the fourth; of h by c; of c by c_in.
        by_gates = (g * i * (1 - i), c_in * f * (1 - f), i * (1 - g**2), tanh_c * o * (1 - o))
        slopes = (jnp.concatenate(by_gates, axis=-1), o * (1 - tanh_c**2), f)
        h = (o * tanh_c).astype(dtype)
        return (h, c), (h, [slope.astype(dtype) for slope in slopes])

    (_, last_c), (hs, slopes) = lax.scan(step, (h0, c0), (inputs, keep[..., None]), unroll=unroll)
    return (hs, last_c), (weights, keep[..., None], h0, hs, slopes)


def _recurrence_backward(unroll, saved, gradients):
    weights, keep, h0, hs, slopes = saved
    d_hs, d_last_c = gradients
    dtype, transposed = hs.dtype, weights.T  # once, not at every step

    def step(carry, now):
        d_h, d_c = carry
        d_h_out, k, (by_gates, h_by_c, c_by_c) = now
        d_h = d_h + d_h_out
        d_c = d_c + d_h * h_by_c
        d_gates = (jnp.concatenate([d_c, d_c, d_c, d_h], axis=-1) * by_gates).astype(dtype)
        return (k * _dot(d_gates, transposed), k * c_by_c * d_c), d_gates

    carry = (jnp.zeros(h0.shape, jnp.float32), d_last_c)
    (d_h0, d_c0), d_inputs = lax.scan(step, carry, (d_hs, keep, slopes), reverse=True, unroll=unroll)
    # Without the barrier, XLA makes the states before each step and their transpose in one slow loop on a CPU.
    h_before = lax.optimization_barrier(keep * jnp.concatenate([h0[None], hs[:-1]]))
    d_weights = _weights_gradient(h_before, d_inputs)
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
        hs, last_c = recurrence((product(x, wx) + bias).astype(x.dtype), wh, keep, *state, self.unroll)
        return hs, (hs[-1], last_c)
