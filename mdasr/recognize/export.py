"""Export a model as one function, from samples to scores, that a program without Flax or without Python can run.

    DIR/model.stablehlo   the function, as `jax.export` serialises it (FlatBuffers around StableHLO): front end,
                          network, priors and parameters, for CPU, CUDA and TPU and for any number of streams
        serve.json        what goes in and comes out, and how to search; written last
        graph/  lexicon.txt  tree.txt    the words

The function is (samples, heard, state) -> (scores, state). `mdasr.recognize.serve` reads it and explains its use.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Int

from mdasr import frontend
from mdasr.acoustic import accelerated
from mdasr.acoustic.encoders.interface import PackedFrames
from mdasr.acoustic.network import log_posteriors
from mdasr.core.files import write_atomically
from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.model.directory import Recognizer
from mdasr.recognize.network_scores import CHUNK, Streamed
from mdasr.recognize.serve import FORMAT, Served
from mdasr.recognize.streaming import listen, window_samples
from mdasr.recognize.words import recognize

PLATFORMS = ("cpu", "cuda", "tpu")


class StateLayout(NamedTuple):
    """The layout of a network's state, a tree of arrays, in one array [batch, size]."""

    leaves: tuple[jax.ShapeDtypeStruct, ...]  # those of one stream
    tree: Any
    axis: int  # the batch axis of each leaf, which comes after that of an ensemble's members

    @classmethod
    def of(cls, recognizer: Recognizer) -> StateLayout:
        config, frames = recognizer.config, recognizer.subsampling.num_frames(CHUNK)
        one = PackedFrames(jnp.zeros((1, frames, config.width)), jnp.zeros((1, frames), jnp.int32))
        state = jax.eval_shape(lambda: log_posteriors(config, dict(recognizer.params), one)[1])
        leaves, tree = jax.tree.flatten(state)
        return cls(tuple(leaves), tree, 0 if config.members == 1 else 1)

    @property
    def size(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in self.leaves)

    def unpack(self, state: Float[Array, "batch size"]) -> Any:
        parts, at = [], 0
        for leaf in self.leaves:
            count = math.prod(leaf.shape)
            shape = [length for axis, length in enumerate(leaf.shape) if axis != self.axis]
            part = state[:, at : at + count].reshape(-1, *shape).astype(leaf.dtype)
            parts.append(jnp.moveaxis(part, 0, self.axis))
            at += count
        return jax.tree.unflatten(self.tree, parts)

    def pack(self, tree: Any) -> Float[Array, "batch size"]:
        parts = [jnp.moveaxis(part, self.axis, 0) for part in jax.tree.leaves(tree)]
        return jnp.concatenate([part.reshape(part.shape[0], -1).astype(jnp.float32) for part in parts], axis=1)


def streaming_step(recognizer: Recognizer) -> Callable:
    """The function that is exported; `serve.Served.answers` describes its arguments and results."""
    config, stats, layout = recognizer.config, recognizer.stats, StateLayout.of(recognizer)
    kind, subsampling = frontend.feature_kind(config.features), recognizer.subsampling
    # The parameters are jax arrays, because a custom_vjp under vmap does not accept numpy arrays as constants.
    params = jax.tree.map(jnp.asarray, dict(recognizer.params))

    def frames(samples: Float[Array, " window"], heard: Int[Array, " 2"]) -> tuple[Array, Array]:
        """Normalised frames of a window, and 1 for each frame of a whole step; the other frames are zero."""
        mel = accelerated.log_mel(samples, stats.floor)
        wide = frontend.frames_between(mel, kind, heard[0], heard[1], jnp)
        normal = (wide[kind.margin : len(wide) - kind.margin] - stats.mean) / stats.std
        inside = jnp.arange(len(normal)) < subsampling.num_frames(subsampling.num_steps(heard[1] - kind.margin))
        return jnp.where(inside[:, None], normal, 0), inside.astype(jnp.int32)

    def step(
        samples: Float[Array, "batch window"], heard: Int[Array, "batch 2"], state: Float[Array, "batch size"]
    ) -> tuple[Float[Array, "batch chunk outputs"], Float[Array, "batch size"]]:
        packed = PackedFrames(*jax.vmap(frames)(samples, heard))
        posteriors, after = log_posteriors(config, params, packed, layout.unpack(state), recognizer.domain)
        return posteriors - recognizer.score_offsets, layout.pack(after)

    return step


def export_model(recognizer: Recognizer, directory: Path) -> None:
    """Write the exported form of a model to `directory`, `serve.json` last."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "serve.json").unlink(missing_ok=True)
    window, size = window_samples(Streamed(recognizer)), StateLayout.of(recognizer).size
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jax.jit(streaming_step(recognizer)), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct((batch, window), jnp.float32),
        jax.ShapeDtypeStruct((batch, 2), jnp.int32),
        jax.ShapeDtypeStruct((batch, size), jnp.float32),
    )
    serialized = bytes(exported.serialize())
    write_atomically(directory / "model.stablehlo", serialized)
    recognizer.language.lexicon.write(directory / "lexicon.txt")
    recognizer.language.tree.write(directory / "tree.txt")
    recognizer.graph.write(directory / "graph")
    described = {
        "format": FORMAT,
        "sha256": hashlib.sha256(serialized).hexdigest(),
        "jax": jax.__version__,
        "platforms": PLATFORMS,
        "rate_hz": RATE_HZ,
        "chunk": CHUNK,
        "margin": Streamed(recognizer).margin,
        "subsampling": dataclasses.asdict(recognizer.subsampling),
        "step_samples": recognizer.subsampling.step_samples,
        "arguments": {
            "samples": ["float32", "batch", window],
            "heard": ["int32", "batch", 2],
            "state": ["float32", "batch", size],
        },
        "results": {
            "scores": ["float32", "batch", CHUNK, recognizer.config.num_outputs],
            "state": ["float32", "batch", size],
        },
        "output_delay": recognizer.output_delay,
        "search": dataclasses.asdict(recognizer.search),
        "score_offsets": recognizer.score_offsets.tolist(),
        "mean": recognizer.stats.mean.tolist(),
        "std": recognizer.stats.std.tolist(),
    }
    write_atomically(directory / "serve.json", json.dumps(described, indent=1) + "\n")


def same_words(recognizer: Recognizer, directory: Path, waves: Sequence[Float[np.ndarray, " _"]]) -> int:
    """The number of recordings in which the streamed export hears the same words as the model in the whole."""
    served = Served.read(directory)
    streamed = [
        [word for heard in listen(served, [wave], pause_s=np.inf) if heard.final for word in heard.words]
        for wave in track(waves, desc="streaming", unit="utt")
    ]
    return sum(list(h.words) == words for h, words in zip(recognize(recognizer, waves), streamed, strict=True))
