"""The acoustic model (§3.5): a stack of unidirectional LSTM layers that classifies CDPhones at 33 Hz.

The recurrence is a `lax.scan` whose input products are hoisted out of it, with a backward pass of its own: one scan
backwards for the gates' gradients, then the recurrent weights' gradient as a single product over all steps. Computed in
bfloat16, products are still added up, and cells and logits kept, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from mdasr.acoustic.adapters import AnyArray, adapted

FEATURES = 512  # §3.4: four stacked frames of 128
LARGEST = 1 << 20  # cells of a layer, outputs or members: far above what anybody trains
DTYPES = ("float32", "bfloat16")
LARGEST_UNROLL = 1000  # steps


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; `cells` has one entry a layer, `dropout` acts on the output of each layer in training.

    `members` networks, each begun from weights of its own, train side by side and answer together: after an hour of
    speech a few of them err less than one. The paper has one. Each of `domains` has scales and biases of its own
    (`mdasr.acoustic.adapters`); the paper's has none. Weights are float32 whatever `compute_dtype` is. `unroll` steps
    of the recurrence are compiled as one, which changes its speed and, but for rounding, nothing else.
    """

    cells: tuple[int, ...]
    num_outputs: int
    dropout: float = 0.0
    compute_dtype: str = "float32"
    members: int = 1
    domains: tuple[str, ...] = ()
    unroll: int = 1

    def __post_init__(self) -> None:
        if not self.cells or min(self.cells) < 1 or self.num_outputs < 2:
            raise ValueError(f"a model needs layers with cells and two outputs or more, not {self}")
        if max(*self.cells, self.num_outputs, self.members) > LARGEST:
            raise ValueError(f"a model of this size fits into no machine: {self}")
        if self.compute_dtype not in DTYPES:
            raise ValueError(f"compute_dtype is {self.compute_dtype!r}; it must be one of {', '.join(DTYPES)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must lie in [0, 1)")
        if self.members < 1:
            raise ValueError(f"members is {self.members}; it must be 1 or more")
        if not 1 <= self.unroll <= LARGEST_UNROLL:
            raise ValueError(f"unroll is {self.unroll}; it must lie between 1 and {LARGEST_UNROLL}")

    @property
    def num_weights(self) -> int:
        """Weights of a member's matrices, biases apart (the paper's model: 43,253,760)."""
        inputs = (FEATURES, *self.cells[:-1])
        layers = sum(4 * cells * (width + cells) for width, cells in zip(inputs, self.cells))
        return layers + self.cells[-1] * self.num_outputs


PAPER_CELLS = (1024, 1024, 1024, 1024, 768)
PAPER_OUTPUTS = 8192


def _cell(gates: Float[AnyArray, "batch gates"], c: Float[AnyArray, "batch cells"]) -> tuple[Array, Array, Array]:
    """One LSTM step from its pre-activations, in the order input, forget, candidate, output (as PyTorch's)."""
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

    `keep` is 0 where a new utterance starts, so that the state before that step is forgotten, and 1 elsewhere. Returns
    the hidden state of every step and the last cell state. `keep` gets no gradient. All are of one dtype but the cell
    states, which are float32: they add up over hundreds of steps.
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
        c, c_in, gates = (each.astype(jnp.float32) for each in state)
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
    """An orthogonal block a gate, so that the state neither fades nor grows at the start."""
    cells = shape[0]
    blocks = [nn.initializers.orthogonal()(k, (cells, cells), dtype) for k in jax.random.split(key, shape[1] // cells)]
    return jnp.concatenate(blocks, axis=1)


def _bias_init(key: Array, shape: tuple[int], dtype=jnp.float32) -> Array:
    """Zero, and one for the forget gate, so that gradients reach far back from the first step on."""
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)


LayerState = tuple[Float[AnyArray, "batch _"], Float[AnyArray, "batch _"]]


class LSTM(nn.Module):
    """A unidirectional LSTM layer over [steps, batch, width] with one bias a gate."""

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
        # The bias is added in float32, so that its gradient, a sum over all steps and rows, is one, too.
        hs, last_c = recurrence((_dot(x, wx) + bias).astype(x.dtype), wh, keep, *state, self.unroll)
        return hs, (hs[-1], last_c)


def _dropout(x: Float[AnyArray, "steps batch cells"], rate: float, layer: int, keys: Key[Array, " batch"]) -> Array:
    """Drop units with a mask from each row's own key, so that rows do not depend on how devices share them.

    The rate is taken to the nearest 256th: random bytes cost a quarter of random floats, and on a CPU that is felt.
    """
    dropped = round(256 * rate)

    def mask(key):
        return jax.random.bits(jax.random.fold_in(key, layer), (x.shape[0], x.shape[2]), jnp.uint8) >= dropped

    return jnp.where(jax.vmap(mask, out_axes=1)(keys), x * (256 / (256 - dropped)), 0)


class AcousticModel(nn.Module):
    """LSTM layers and a linear layer to CDPhone logits."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        features: Float[AnyArray, "batch steps 512"],
        keep: Float[AnyArray, "batch steps"],
        state: Sequence[LayerState] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        told: Int[AnyArray, "batch steps"] | None = None,
    ) -> tuple[Float[AnyArray, "batch steps outputs"], list[LayerState]]:
        """Logits in float32, and the state to carry on with; dropout acts only where a key a row is given.

        `told` numbers the domain of each step among the configuration's, from 1; 0, or None, tells nothing. What the
        output layer sees is put aside in the collection `hidden`, for those who ask for it.
        """
        dtype = jnp.dtype(self.config.compute_dtype)
        x, keep = features.swapaxes(0, 1).astype(dtype), keep.swapaxes(0, 1).astype(dtype)
        last = []
        for layer, cells in enumerate(self.config.cells):
            lstm = LSTM(cells, self.config.unroll, name=f"lstm_{layer}")
            x, layer_state = lstm(x, keep, state[layer] if state else None)
            last.append(layer_state)
            if self.config.domains:
                own = self.param(f"domains_{layer}", nn.initializers.zeros, (len(self.config.domains), 2, cells))
                x = x if told is None else adapted(x, own, told)
            if dropout_keys is not None and self.config.dropout:
                x = _dropout(x, self.config.dropout, layer, dropout_keys)
        self.sow("hidden", "last", x)
        scale = 1 / math.sqrt(self.config.cells[-1])
        output = nn.Dense(
            self.config.num_outputs,
            kernel_init=nn.initializers.normal(scale),
            dtype=dtype,
            dot_general=partial(lax.dot_general, preferred_element_type=jnp.float32),
            name="output",
        )
        return output(x).swapaxes(0, 1).astype(jnp.float32), last


class Ensemble(nn.Module):
    """`config.members` acoustic models with weights of their own; results have a leading axis for them."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        features: Float[AnyArray, "batch steps 512"],
        keep: Float[AnyArray, "batch steps"],
        state: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        told: Int[AnyArray, "batch steps"] | None = None,
    ) -> tuple[Float[AnyArray, "members batch steps outputs"], Any]:
        """Logits of every member, and the state to carry on with; each member drops units of its own choice."""
        members = self.config.members
        keys = dropout_keys
        if keys is not None:
            keys = jax.vmap(lambda member: jax.vmap(lambda key: jax.random.fold_in(key, member))(dropout_keys))(
                jnp.arange(members)
            )
        side_by_side = nn.vmap(
            AcousticModel,
            variable_axes={"params": 0, "hidden": 0},
            split_rngs={"params": True},
            in_axes=(None, None, None if state is None else 0, None if keys is None else 0, None),
            axis_size=members,
        )
        return side_by_side(self.config, name="members")(features, keep, state, keys, told)


def network(config: ModelConfig) -> nn.Module:
    """The module that `config` asks for: one acoustic model, or an ensemble."""
    return AcousticModel(config) if config.members == 1 else Ensemble(config)


def log_posteriors(
    config: ModelConfig,
    params: dict,
    features: Float[AnyArray, "batch steps 512"],
    keep: Float[AnyArray, "batch steps"],
    state: Any = None,
) -> tuple[Float[Array, "batch steps outputs"], Any]:
    """Log probability of every CDPhone, and the state to carry on with.

    Members are averaged in the logarithm, and what that loses is not restored.
    """
    logits, state = network(config).apply({"params": params}, features, keep, state)
    found = jax.nn.log_softmax(logits)
    return (found if config.members == 1 else found.mean(0)), state


def init_params(config: ModelConfig, seed: int) -> dict:
    """Fresh parameters (float32), a function of the configuration and the seed alone."""
    return network(config).init(jax.random.key(seed), jnp.zeros((1, 2, FEATURES)), jnp.ones((1, 2)))["params"]
