"""The acoustic model (§3.5): an encoder, and a linear layer that classifies CDPhones at its output steps.

With any encoder, the output of every layer passes through the domain's own scales and biases (`adapters`) and through
dropout. An utterance may have a vector, which joins each of its frames. The members of an ensemble run side by side.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from mdasr.acoustic.adapters import adapted, domain_place
from mdasr.acoustic.criteria import CrossEntropy, read_criterion
from mdasr.acoustic.criteria.interface import Criterion
from mdasr.acoustic.encoders import read_encoder
from mdasr.acoustic.encoders.interface import AnyArray, Encoder, PackedFrames
from mdasr.core import schema
from mdasr.core.schema import require_within
from mdasr.frontend import feature_kind

LARGEST = 1 << 20  # outputs, members or numbers of a vector: far more than anybody trains
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a network: its features, encoder and outputs, and the criterion that trains them.

    - `dropout` acts on the output of each layer in training.
    - `members` networks, each with its own initial weights, train side by side and answer together. After an hour of
      speech, a few of them make fewer errors than one.
    - Each of `domains` has its own scales and biases (`mdasr.acoustic.adapters`).
    - With `vector_size`, a vector of each utterance joins each of its frames.
    - Weights are float32 for any `compute_dtype`.

    The paper's network has one member, and neither domains nor vectors.
    """

    encoder: Encoder
    num_outputs: int
    features: str = "log_mel"
    criterion: Criterion = field(default_factory=CrossEntropy)
    dropout: float = 0.0
    compute_dtype: str = "float32"
    members: int = 1
    domains: tuple[str, ...] = ()
    vector_size: int = 0

    def __post_init__(self) -> None:
        feature_kind(self.features)
        require_within("num_outputs", self.num_outputs, 2, LARGEST)
        require_within("members", self.members, 1, LARGEST)
        require_within("vector_size", self.vector_size, 0, LARGEST)
        if self.compute_dtype not in DTYPES:
            raise ValueError(f"compute_dtype is {self.compute_dtype!r}; it must be one of {', '.join(DTYPES)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must lie in [0, 1)")

    @property
    def width(self) -> int:
        """The size of a frame of features."""
        return feature_kind(self.features).width

    @property
    def num_weights(self) -> int:
        """The number of weights in a member's matrices, without biases (the paper's model: 43,253,760)."""
        alone = dataclasses.replace(self, members=1, domains=())
        leaves = jax.tree.leaves(jax.eval_shape(lambda: init_params(alone, 0)))
        return sum(math.prod(leaf.shape) for leaf in leaves if leaf.ndim == 2)


def read_config(value: Any, where: str) -> ModelConfig:
    """Read a configuration from parsed JSON, as `dataclasses.asdict` writes it.

    Raises ValueError naming the field that is wrong.
    """
    chosen = {"encoder": read_encoder, "criterion": read_criterion}
    return schema.read(ModelConfig, schema.completed(ModelConfig, value), where, chosen)


class Rows(NamedTuple):
    """The input of a network: packed rows, and what it is told about their utterances.

    `told` is the domain of each output step, numbered from 1 as in the configuration; 0, or None, tells nothing.
    `vectors` are those of the rows' utterances, in the order of `packed.segments`.
    """

    packed: PackedFrames
    told: Int[AnyArray, "batch steps"] | None = None
    vectors: Float[AnyArray, "batch utterances size"] | None = None


def _dropout(x: Float[AnyArray, "steps batch cells"], rate: float, layer: int, keys: Key[Array, " batch"]) -> Array:
    """Drop units with a mask from each row's own key, so that the result does not depend on which device has the row.

    The rate is rounded to the nearest 256th: random bytes cost a quarter of random floats, which matters on a CPU.
    """
    dropped = round(256 * rate)

    def mask(key):
        return jax.random.bits(jax.random.fold_in(key, layer), (x.shape[0], x.shape[2]), jnp.uint8) >= dropped

    return jnp.where(jax.vmap(mask, out_axes=1)(keys), x * (256 / (256 - dropped)), 0)


class AcousticModel(nn.Module):
    """An encoder and a linear layer to CDPhone logits."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, rows: Rows, state: Any = None, dropout_keys: Key[Array, " batch"] | None = None
    ) -> tuple[Float[AnyArray, "batch steps outputs"], Any]:
        """Logits in float32, and the state to carry on with; dropout acts only where there is a key for each row.

        The input of the output layer is kept in the collection `hidden`, for callers that need it.
        """
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)

        def layer_end(x: Array, layer: int) -> Array:
            if config.domains:
                shape = (len(config.domains), 2, x.shape[-1])
                own = self.param(f"domains_{layer}", nn.initializers.zeros, shape)
                x = x if rows.told is None else adapted(x, own, rows.told)
            if dropout_keys is None or not config.dropout:
                return x
            return _dropout(x, config.dropout, layer, dropout_keys)

        frames = _with_vectors(rows, config.vector_size).astype(dtype)
        x, last = config.encoder.encode(rows.packed._replace(frames=frames), state, layer_end)
        self.sow("hidden", "last", x)
        output = nn.Dense(
            config.num_outputs,
            kernel_init=nn.initializers.normal(1 / math.sqrt(config.encoder.width)),
            dtype=dtype,
            dot_general=partial(lax.dot_general, preferred_element_type=jnp.float32),
            name="output",
        )
        return output(x).swapaxes(0, 1).astype(jnp.float32), last


def _with_vectors(rows: Rows, size: int) -> Float[Array, "batch frames width"]:
    """The frames, each joined by the vector of its utterance, or by zeros where it has no utterance."""
    frames = jnp.asarray(rows.packed.frames)
    if not size:
        return frames
    if rows.vectors is None:
        raise ValueError(f"this network takes a vector of {size} numbers an utterance; give `Rows.vectors`")
    padded = jnp.pad(jnp.asarray(rows.vectors), ((0, 0), (1, 0), (0, 0)))
    chosen = jnp.take_along_axis(padded, jnp.asarray(rows.packed.segments)[..., None], axis=1)
    return jnp.concatenate([frames, chosen.astype(frames.dtype)], axis=-1)


class Ensemble(nn.Module):
    """`config.members` acoustic models, each with its own weights; results have a leading axis for the members."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, rows: Rows, state: Any = None, dropout_keys: Key[Array, " batch"] | None = None
    ) -> tuple[Float[AnyArray, "members batch steps outputs"], Any]:
        """Logits of every member, and the state to carry on with; each member drops its own units."""
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
            in_axes=(None, None if state is None else 0, None if keys is None else 0),
            axis_size=members,
        )
        return side_by_side(self.config, name="members")(rows, state, keys)


def network(config: ModelConfig) -> nn.Module:
    """The module that `config` describes: one acoustic model, or an ensemble."""
    return AcousticModel(config) if config.members == 1 else Ensemble(config)


def rows_of(batch: dict[str, Any], frames: AnyArray | None = None) -> Rows:
    """The input of a network from a loader's batch (`acoustic.loader.RowMaker`); `frames` replace the batch's own."""
    packed = PackedFrames(batch["frames"] if frames is None else frames, batch["segments"], batch.get("forget"))
    return Rows(packed, batch.get("told"), batch.get("vectors"))


def log_posteriors(
    config: ModelConfig, params: dict, packed: PackedFrames, state: Any = None, domain: str = ""
) -> tuple[Float[Array, "batch steps outputs"], Any]:
    """Log probability of every output, and the state to carry on with; `domain` is told to the network.

    The log probabilities of members are averaged. The result is not normalised again, so it may sum to less than 1.
    """
    told = None
    if domain:
        steps = config.encoder.subsampling.num_steps(packed.frames.shape[1])
        told = jnp.full((packed.frames.shape[0], steps), 1 + domain_place(domain, config.domains))
    logits, state = network(config).apply({"params": params}, Rows(packed, told), state)
    posteriors = jax.nn.log_softmax(logits)
    return (posteriors if config.members == 1 else posteriors.mean(0)), state


def init_params(config: ModelConfig, seed: int) -> dict:
    """Initial parameters (float32), which depend on the configuration and the seed alone."""
    frames = config.encoder.subsampling.num_frames(2)
    packed = PackedFrames(jnp.zeros((1, frames, config.width)), jnp.ones((1, frames), jnp.int32))
    rows = Rows(packed, vectors=jnp.zeros((1, 1, config.vector_size)) if config.vector_size else None)
    return network(config).init(jax.random.key(seed), rows)["params"]
