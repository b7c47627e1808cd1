"""A model as one function that a program without Flax, or without Python, can run: samples in, scores out.

    DIR/model.stablehlo   the function, as `jax.export` serialises it (FlatBuffers around StableHLO): front end,
                          network, priors and parameters, for CPU, CUDA and TPU and for any number of streams
        serve.json        what goes in and comes out, and how to search; written last
        graph/  lexicon.txt  tree.txt    the words

The function is (samples, steps, state) -> (scores, state). `mdasr.recognize.serve` reads it, and says how it is called.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from mdasr import frontend
from mdasr.acoustic import accelerated
from mdasr.acoustic.network import ModelConfig, log_posteriors
from mdasr.core.files import write_atomically
from mdasr.core.waves import RATE_HZ
from mdasr.model.directory import Recognizer
from mdasr.recognize.listener import listen
from mdasr.recognize.scoring import CHUNK
from mdasr.recognize.serve import FORMAT, Served
from mdasr.recognize.words import recognize

PLATFORMS = ("cpu", "cuda", "tpu")


def state_size(config: ModelConfig) -> int:
    """How many numbers the network remembers of a stream: two a cell, in every member."""
    return 2 * config.members * sum(config.cells)


def _unpack(config: ModelConfig, state: Float[Array, "batch size"]) -> list[tuple[Array, Array]]:
    """The state as the network takes it, from one array: hidden state and cells of each layer, member by member."""
    layers, at = [], 0
    for cells in config.cells:
        pair = []
        for dtype in (config.compute_dtype, "float32"):  # hidden state, cells
            part = state[:, at : at + config.members * cells].astype(dtype)
            part = part.reshape(-1, config.members, cells).swapaxes(0, 1)
            pair.append(part if config.members > 1 else part[0])
            at += config.members * cells
        layers.append((pair[0], pair[1]))
    return layers


def _pack(config: ModelConfig, layers: Any) -> Float[Array, "batch size"]:
    parts = [part[None] if config.members == 1 else part for pair in layers for part in pair]
    return jnp.concatenate([p.swapaxes(0, 1).reshape(p.shape[1], -1) for p in parts], axis=1).astype(jnp.float32)


def streaming_step(recognizer: Recognizer) -> Callable:
    """The function that is exported; see `mdasr.recognize.serve.Served.answers` for its arguments and results."""
    config, stats, chunk = recognizer.config, recognizer.stats, CHUNK
    # As arrays of jax: a custom_vjp under vmap does not take numpy's as constants.
    params = jax.tree.map(jnp.asarray, dict(recognizer.params))
    stacked = frontend.STRIDE * np.arange(chunk)[:, None] + np.arange(frontend.STACK)

    def features(samples: Float[Array, " window"], steps: Int[Array, ""]) -> Float[Array, "chunk 512"]:
        normal = (accelerated.log_mel(samples) - stats.mean) / stats.std
        heard = jnp.arange(chunk)[:, None] < steps
        return jnp.where(heard, normal[stacked].reshape(chunk, -1), 0)

    def step(
        samples: Float[Array, "batch window"], steps: Int[Array, " batch"], state: Float[Array, "batch size"]
    ) -> tuple[Float[Array, "batch chunk outputs"], Float[Array, "batch size"]]:
        x = jax.vmap(features)(samples, steps)
        posteriors, layers = log_posteriors(config, params, x, jnp.ones(x.shape[:2]), _unpack(config, state))
        return posteriors - recognizer.log_priors, _pack(config, layers)

    return step


def export_model(recognizer: Recognizer, directory: Path) -> None:
    """Write the artefact of a model to `directory`, `serve.json` last."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "serve.json").unlink(missing_ok=True)
    window, size = frontend.num_samples(CHUNK), state_size(recognizer.config)
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jax.jit(streaming_step(recognizer)), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct((batch, window), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
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
        "step_samples": frontend.STRIDE * frontend.HOP,
        "arguments": {
            "samples": ["float32", "batch", window],
            "steps": ["int32", "batch"],
            "state": ["float32", "batch", size],
        },
        "results": {
            "scores": ["float32", "batch", CHUNK, recognizer.config.num_outputs],
            "state": ["float32", "batch", size],
        },
        "output_delay": recognizer.output_delay,
        "search": dataclasses.asdict(recognizer.search),
        "log_priors": recognizer.log_priors.tolist(),
        "mean": recognizer.stats.mean.tolist(),
        "std": recognizer.stats.std.tolist(),
    }
    write_atomically(directory / "serve.json", json.dumps(described, indent=1) + "\n")


def same_words(recognizer: Recognizer, directory: Path, waves: Sequence[Float[np.ndarray, " _"]]) -> int:
    """In how many recordings the artefact, streamed, hears the words that the model hears in the whole."""
    served = Served.read(directory)
    streamed = [
        [word for heard in listen(served, [wave], pause_s=np.inf) if heard.final for word in heard.words]
        for wave in tqdm(waves, desc="streaming", unit="utt")
    ]
    return sum(list(h.words) == words for h, words in zip(recognize(recognizer, waves), streamed, strict=True))
