"""What the rest of the project knows of an encoder: where its steps lie, what it takes, gives and carries on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdasr.frontend import Subsampling

AnyArray = Array | np.ndarray
Encoded = tuple[Float[Array, "steps batch width"], Any]
"""Hidden vectors at every output step, and the state to carry on with."""
LayerEnd = Callable[[Array, int], Array]
"""What happens to the output [steps, batch, units] of layer number so and so: adapters, and dropout in training."""


class PackedFrames(NamedTuple):
    """Rows of frames at 100 Hz, in which utterances stand one after another.

    `segments` numbers the utterances of a row from 1; a frame that belongs to none is 0. `forget`, where it is given,
    is true at output steps before which a state is to be made to forget, beside those at which an utterance begins.
    """

    frames: Float[AnyArray, "batch frames width"]
    segments: Int[AnyArray, "batch frames"]
    forget: Bool[AnyArray, "batch steps"] | None = None


@runtime_checkable
class Encoder(Protocol):
    """A frozen dataclass: its fields are the encoder's configuration, `name` the one that it is listed under.

    Output step t answers for the input step t - `output_delay`, which takes the frames that `subsampling` says: an
    encoder looks ahead by answering late, and sees nothing that comes after. `width` is the size of its output. In
    training its state forgets at random moments, on average `forget_steps` apart; 0 is never.
    """

    @property
    def name(self) -> str: ...

    @property
    def subsampling(self) -> Subsampling: ...

    @property
    def output_delay(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def forget_steps(self) -> int: ...

    def encode(self, rows: PackedFrames, state: Any, layer_end: LayerEnd) -> Encoded:
        """Hidden vectors at every output step, and the state to carry on with; called inside a compact Flax module.

        The state is a tree of arrays whose first axis is the batch. None and zeros are the state before anything was
        heard. Every layer's output goes through `layer_end`. Computed in the dtype of the frames.
        """
        ...


def steps_of(rows: PackedFrames, subsampling: Subsampling) -> tuple[Float[Array, "batch steps stacked"], Array]:
    """The frames of every step side by side, and at which steps [batch, steps] an utterance begins.

    A step whose frames are not all of one utterance hears nothing: zeros.
    """
    stride, window = subsampling.stride, subsampling.window
    steps = 1 + (rows.frames.shape[1] - window) // stride
    last = stride * (steps - 1) + 1
    frames = jnp.asarray(rows.frames)
    stacked = jnp.concatenate([frames[:, k : k + last : stride] for k in range(window)], axis=-1)
    first = jnp.asarray(rows.segments)[:, :last:stride]
    whole = (first > 0) & (first == jnp.asarray(rows.segments)[:, window - 1 :: stride][:, :steps])
    begins = (first > 0) & (first != jnp.pad(first, ((0, 0), (1, 0)), mode="edge")[:, :-1])
    return jnp.where(whole[..., None], stacked, 0), begins
