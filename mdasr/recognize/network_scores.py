"""The model's scores of every output at every step, for whole recordings and for streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32

from mdasr import frontend
from mdasr.acoustic.encoders.interface import PackedFrames
from mdasr.acoustic.network import ModelConfig, log_posteriors
from mdasr.core.waveforms import RATE_HZ
from mdasr.decode.graph import Graph
from mdasr.decode.search import SearchOptions
from mdasr.frontend import Subsampling
from mdasr.model.directory import Recognizer
from mdasr.model.gmm_directory import Model

ROWS, STEPS = 16, 64  # utterances that are scored together, padded to a multiple of so many steps
SHORT_STEPS = 256  # utterances up to so many steps share rows of one length, and fill up ROWS with empty rows
MOST_STEPS = ROWS * 1024  # limit for all rows together: with utterances above 31 s, fewer rows save memory
AT_ONCE_S = 600.0  # seconds of speech whose features and scores are held in memory
CHUNK = 4  # steps of a stream that the network answers at once: 120 ms of the paper's


@lru_cache(maxsize=8)
def _forward(config: ModelConfig, domain: str):
    """Jitted log posteriors of packed rows, with the state after them."""
    return jax.jit(partial(log_posteriors, config, domain=domain))


def features_of(recognizer: Recognizer, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "frames width"]:
    """Normalised frames of a 16 kHz waveform, of the kind that the network takes."""
    mel = frontend.log_mel(wave, floor=recognizer.stats.floor)
    return frontend.normalize(frontend.frames_of(mel, recognizer.config.features), recognizer.stats)


def scores(
    recognizer: Recognizer, features: Sequence[Float[np.ndarray, "_ width"]]
) -> list[Float32[np.ndarray, "_ outputs"]]:
    """The score of every output at every step, for each utterance's frames.

    Scores are log posteriors, minus log priors where the model's criterion says so.
    """
    results: list[Any] = [None] * len(features)
    delay, subsampling = recognizer.output_delay, recognizer.subsampling
    counts = [subsampling.num_steps(len(frames)) for frames in features]
    for group, rows, steps in _groups([count + delay for count in counts]):
        padded = np.zeros((rows, subsampling.num_frames(steps), recognizer.config.width), np.float32)
        segments = np.zeros(padded.shape[:2], np.int32)
        for row, i in enumerate(group):
            length = subsampling.num_frames(counts[i])
            padded[row, :length], segments[row, :length] = features[i][:length], 1
        forward = _forward(recognizer.config, recognizer.domain)
        output = np.asarray(forward(recognizer.params, PackedFrames(padded, segments))[0])
        for row, i in enumerate(group):
            results[i] = output[row, delay : delay + counts[i]] - recognizer.score_offsets
    return results


def _groups(lengths: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
    """Groups of utterances to score together: their indices, the number of rows, and the steps of each row."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    while order:
        rows, shortest = ROWS, _padded(lengths[order[0]])
        while rows > 1 and rows * shortest > MOST_STEPS:
            rows //= 2
        # A row costs as much as the longest one: a long utterance does not join shorter ones.
        longest = max(min(2 * shortest, MOST_STEPS // rows), SHORT_STEPS)
        group = [i for i in order[:rows] if _padded(lengths[i]) <= longest] or order[:1]
        order = order[len(group) :]
        steps = _padded(lengths[group[-1]])
        # Each shape is compiled once: short groups have one number of rows, and long ones a power of two.
        yield group, ROWS if steps <= SHORT_STEPS else 1 << (len(group) - 1).bit_length(), steps


def _padded(steps: int) -> int:
    return -(-steps // STEPS) * STEPS


def score_blocks(
    model: Model, waves: Iterable[Float[np.ndarray, " _"]]
) -> Iterator[list[Float32[np.ndarray, "_ outputs"]]]:
    """The scores of 16 kHz waveforms, by a network or by a GMM, in blocks of about `AT_ONCE_S` seconds.

    A corpus need not fit in memory. A GMM has three times as many outputs and steps, and its blocks are shorter.
    """
    prepare, answer, at_once_s = (
        (partial(features_of, model), partial(scores, model), AT_ONCE_S)
        if isinstance(model, Recognizer)
        else (model.gmm.scores, list, AT_ONCE_S / 10)
    )
    block: list[np.ndarray] = []
    seconds = 0.0
    for wave in waves:
        block.append(prepare(wave))
        seconds += len(wave) / RATE_HZ
        if seconds >= at_once_s:
            yield answer(block)
            block, seconds = [], 0.0
    if block:
        yield answer(block)


@dataclass(frozen=True, eq=False)
class Streamed:
    """A recogniser that hears a stream piece by piece: a `recognize.streaming.Network`."""

    recognizer: Recognizer
    chunk: int = CHUNK

    @property
    def output_delay(self) -> int:
        return self.recognizer.output_delay

    @property
    def subsampling(self) -> Subsampling:
        return self.recognizer.subsampling

    @property
    def margin(self) -> int:
        return frontend.feature_kind(self.recognizer.config.features).margin

    @property
    def graph(self) -> Graph:
        return self.recognizer.graph

    @property
    def search(self) -> SearchOptions:
        return self.recognizer.search

    def answer(
        self, samples: Float[np.ndarray, " window"], heard: tuple[int, int], state: Any = None
    ) -> tuple[Float[np.ndarray, "chunk outputs"], Any]:
        """Scores of the next `chunk` steps of a stream, as `recognize.streaming.Network` describes them."""
        recognizer, kind = self.recognizer, frontend.feature_kind(self.recognizer.config.features)
        mel = frontend.log_mel(samples, floor=recognizer.stats.floor)
        frames = frontend.frames_between(mel, kind, *heard, np)
        frames = frames[kind.margin : len(frames) - kind.margin]
        count = self.subsampling.num_frames(self.subsampling.num_steps(heard[1] - kind.margin))
        inside = np.arange(len(frames)) < count
        normal = np.where(inside[:, None], frontend.normalize(frames, recognizer.stats), 0)
        packed = PackedFrames(normal[None].astype(np.float32), inside[None].astype(np.int32))
        posteriors, state = _forward(recognizer.config, recognizer.domain)(recognizer.params, packed, state)
        return np.asarray(posteriors)[0] - recognizer.score_offsets, state
