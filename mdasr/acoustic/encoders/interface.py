"""The interface of an encoder: where its steps lie, its input and output, and the state that it carries on."""

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
"""A function of a layer's output [steps, batch, units] and its number: adapters, and dropout in training."""


class PackedFrames(NamedTuple):
    """Rows of frames at 100 Hz, in which utterances stand one after another.

    `segments` numbers the utterances of a row from 1; 0 is a frame of none. `forget`, if given, is true at output steps
    before which a state is forgotten, in addition to those at which an utterance begins.
    """

    frames: Float[AnyArray, "batch frames width"]
    segments: Int[AnyArray, "batch frames"]
    forget: Bool[AnyArray, "batch steps"] | None = None


@runtime_checkable
class Encoder(Protocol):
    """A frozen dataclass with the encoder's configuration; `name` is its name in the list of encoders.

    - `subsampling` says which frames each input step takes.
    - `output_delay`: output step t is the answer to input step t - `output_delay`. An encoder looks ahead only by
      answering late, and sees nothing after that.
    - `width` is the size of its output.
    - `forget_steps`: in training its state is forgotten at random moments, on average that many steps apart; 0 is
      never.
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
        """Hidden vectors at every output step, and the state to carry on with; call it inside a compact Flax module.

        The state is a tree of arrays whose first axis is the batch. None and zeros both mean that nothing has been
        heard yet. The output of every layer goes through `layer_end`. Everything is computed in the dtype of the
        frames.
        """
        ...


def steps_of(rows: PackedFrames, subsampling: Subsampling) -> tuple[Float[Array, "batch steps stacked"], Array]:
    """The frames of every step side by side, and whether an utterance begins there [batch, steps].

    A step whose frames do not all belong to one utterance is zero.
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
