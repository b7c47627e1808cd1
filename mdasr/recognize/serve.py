"""Run an exported model with jax and the search, without Flax and without anything that training needs.

The exported function takes a stream of 16 kHz samples, one window at a time. The state that it returns is an argument
of the next call, whose window begins `chunk` steps later. Without mdasr, this code runs it (after three lines of
imports):

    served = json.loads(Path("DIR/serve.json").read_text())
    step = jax.jit(jax.export.deserialize(bytearray(Path("DIR/model.stablehlo").read_bytes())).call)
    (_, _, window), (_, _, size) = served["arguments"]["samples"], served["arguments"]["state"]
    chunk, hop, delay, margin = (served[name] for name in ("chunk", "step_samples", "output_delay", "margin"))
    stride, width = served["subsampling"]["stride"], served["subsampling"]["window"]
    frames = 1 + (len(wave) - 512) // 160
    steps = 1 + (frames - width) // stride  # the network answers each `delay` steps later
    wave = np.pad(wave, (160 * margin, window + delay * hop))
    state, parts = np.zeros((1, size), np.float32), []  # the beginning of a sentence
    for first in range(0, steps + delay, chunk):
        ends = np.array([[0, frames]]) + margin - stride * first  # of the sentence, in frames of this window
        heard = np.maximum(ends, 0).astype(np.int32)
        scores, state = step(wave[None, first * hop : first * hop + window], heard, state)
        parts.append(scores[0])
    scores = np.concatenate(parts)[delay : delay + steps]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from jaxtyping import Array, Float, Int

from mdasr.core import schema
from mdasr.core.files import existing, read_json
from mdasr.decode.graph import Graph
from mdasr.decode.search import SearchOptions
from mdasr.frontend import Subsampling

FORMAT = 2
AnyArray = Array | np.ndarray


@dataclass(frozen=True, eq=False)
class Served:
    """A model that `mdasr export` wrote, ready to use: a `mdasr.recognize.streaming.Network`."""

    chunk: int
    output_delay: int
    state_size: int
    margin: int
    subsampling: Subsampling
    graph: Graph
    search: SearchOptions
    step: Callable[..., tuple[Any, Any]]

    @classmethod
    def read(cls, directory: Path | str) -> Served:
        """Read an export; raises FileNotFoundError or ValueError naming the file and its fault."""
        directory = Path(directory)
        path = directory / "serve.json"
        if not path.exists():
            raise FileNotFoundError(
                f"{directory} is not an export: it has no serve.json (`mdasr export` writes it last)"
            )
        described = read_json(path, "description of an export")
        if described.get("format") != FORMAT:
            raise ValueError(f"{path}: not of format {FORMAT}, which this version reads; export the model again")
        serialized = existing(directory / "model.stablehlo", "function of an export; copy it again").read_bytes()
        if hashlib.sha256(serialized).hexdigest() != described.get("sha256"):
            raise ValueError(f"{directory / 'model.stablehlo'}: not the file that serve.json describes; copy it again")
        try:
            chunk, delay = described["chunk"], described["output_delay"]
            state_size, margin = described["arguments"]["state"][-1], described["margin"]
            subsampling = schema.read(Subsampling, described["subsampling"], "field subsampling")
            search = SearchOptions(**described["search"])
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{path}: damaged ({error!r}); export the model again") from None
        if (
            not all(type(value) is int and 0 <= value < 10**9 for value in (chunk, delay, state_size, margin))
            or not chunk
        ):
            raise ValueError(
                f"{path}: chunk, output_delay, margin and arguments must be whole numbers; export the model again"
            )
        step = _function(directory / "model.stablehlo", serialized, described.get("jax"))
        return cls(chunk, delay, state_size, margin, subsampling, Graph.read(directory / "graph"), search, step)

    def answers(
        self,
        samples: Float[AnyArray, "batch window"],
        heard: Int[AnyArray, "batch 2"],
        state: Float[AnyArray, "batch size"],
    ) -> tuple[Float[Array, "batch chunk outputs"], Float[Array, "batch size"]]:
        """The score of every output at the next `chunk` steps of `batch` streams, and the streams' state.

        - `samples` are float32 in [-1, 1) at 16 kHz, from `margin` frames before each stream's first step.
        - `heard`: the frames from `heard[0]` up to `heard[1]` of these samples belong to the sentence.
        - `state` is zero at the beginning of a sentence.

        The scores of a sentence come `output_delay` steps late: drop that many at its beginning, and take that many
        after its end.
        """
        return self.step(samples, heard, state)

    def answer(
        self, samples: Float[np.ndarray, " window"], heard: tuple[int, int], state: AnyArray | None = None
    ) -> tuple[Float[np.ndarray, "chunk outputs"], AnyArray]:
        """The `answers` for one stream, whose state is None at the beginning."""
        before = np.zeros((1, self.state_size), np.float32) if state is None else state
        scores, after = self.answers(samples[None], np.array([heard], np.int32), before)
        return np.asarray(scores)[0], after


def _function(path: Path, serialized: bytes, needed: object) -> Callable[..., tuple[Any, Any]]:
    """The function in an export; raises ValueError, which names the jax it needs, where the installed one cannot."""
    try:
        exported = jax.export.deserialize(bytearray(serialized))
        step = jax.jit(exported.call)
        step.lower(*(jax.ShapeDtypeStruct((1, *each.shape[1:]), each.dtype) for each in exported.in_avals))
    except Exception as error:  # jax raises errors of many kinds
        why = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: needs jax {needed} or a little later, and jax {jax.__version__} is installed ({why}); install it "
            f"with pip install 'jax=={needed}', or export the model again"
        ) from None
    return step
