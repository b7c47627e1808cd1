"""What the network says of speech: the scores of every output at every step, of whole recordings and of streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32

from mdasr import frontend
from mdasr.acoustic.network import ModelConfig, log_posteriors
from mdasr.core.waves import RATE_HZ
from mdasr.decode.graph import Graph
from mdasr.decode.search import SearchOptions
from mdasr.model.directory import Recognizer

WIDTH = frontend.STACK * frontend.BANDS


ROWS, STEPS = 16, 64  # utterances are scored so many at once, padded to a multiple of so many steps


MOST_STEPS = ROWS * 1024  # of all rows together: beyond 31 s there are fewer of them, lest memory grow with the longest


CHUNK = 4  # steps of a stream that the network answers at once: 120 ms
AT_ONCE_S = 600.0  # of speech that features and scores are held of


@lru_cache(maxsize=8)
def _forward(config: ModelConfig):
    """Jitted log posteriors of features [rows, steps, 512], with the state that they leave."""
    return jax.jit(partial(log_posteriors, config))


def scores(
    recognizer: Recognizer, features: Sequence[Float[np.ndarray, "_ 512"]]
) -> list[Float32[np.ndarray, "_ outputs"]]:
    """Log posterior minus log prior of every CDPhone at every step, for each utterance's stacked features."""
    results: list[Any] = [None] * len(features)
    delay = recognizer.output_delay
    for group, rows, steps in _groups([len(each) + delay for each in features]):
        padded = np.zeros((rows, steps, WIDTH), np.float32)
        keep = np.ones((rows, steps), np.float32)
        keep[:, 0] = 0
        for row, i in enumerate(group):
            padded[row, : len(features[i])] = features[i]
        output = np.asarray(_forward(recognizer.config)(recognizer.params, padded, keep)[0])
        for row, i in enumerate(group):
            results[i] = output[row, delay : delay + len(features[i])] - recognizer.log_priors
    return results


def _groups(lengths: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
    """Which utterances of so many steps are scored together, in how many rows of how many steps."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    while order:
        rows = ROWS
        while rows > 1 and rows * _padded(lengths[order[0]]) > MOST_STEPS:
            rows //= 2
        group = [i for i in order[:rows] if rows * _padded(lengths[i]) <= MOST_STEPS] or order[:1]
        order = order[len(group) :]
        # Short groups are filled up to ROWS, for one compilation a length; long ones seldom have a length in common.
        yield group, ROWS if rows == ROWS else len(group), _padded(lengths[group[-1]])


def _padded(steps: int) -> int:
    return -(-steps // STEPS) * STEPS


def features_of(recognizer: Recognizer, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "steps 512"]:
    """Normalised, stacked features of a 16 kHz waveform."""
    return frontend.stack(frontend.normalize(frontend.log_mel(wave), recognizer.stats))


def score_blocks(
    recognizer: Recognizer, waves: Iterable[Float[np.ndarray, " _"]]
) -> Iterator[list[Float32[np.ndarray, "_ outputs"]]]:
    """`scores` of 16 kHz waveforms, those of `AT_ONCE_S` of them at a time, so that a corpus need not fit in memory."""
    block: list[Float[np.ndarray, "_ 512"]] = []
    seconds = 0.0
    for wave in waves:
        block.append(features_of(recognizer, wave))
        seconds += len(wave) / RATE_HZ
        if seconds >= AT_ONCE_S:
            yield scores(recognizer, block)
            block, seconds = [], 0.0
    if block:
        yield scores(recognizer, block)


@dataclass(frozen=True, eq=False)
class Streamed:
    """A recogniser that hears a stream piece by piece: a `recognize.listener.Network`."""

    recognizer: Recognizer
    chunk: int = CHUNK

    @property
    def output_delay(self) -> int:
        return self.recognizer.output_delay

    @property
    def graph(self) -> Graph:
        return self.recognizer.graph

    @property
    def search(self) -> SearchOptions:
        return self.recognizer.search

    def answer(
        self, samples: Float[np.ndarray, " window"], steps: int, state: Any = None
    ) -> tuple[Float[np.ndarray, "chunk outputs"], Any]:
        """Scores of the next `chunk` steps of a stream (`recognize.listener.Network`)."""
        features = np.zeros((1, self.chunk, WIDTH), np.float32)
        if steps:
            features[0, :steps] = features_of(self.recognizer, samples)[:steps]
        keep = np.ones((1, self.chunk), np.float32)
        keep[0, 0] = state is not None
        posteriors, state = _forward(self.recognizer.config)(self.recognizer.params, features, keep, state)
        return np.asarray(posteriors)[0] - self.recognizer.log_priors, state
