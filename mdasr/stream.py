"""Recognition while somebody speaks: samples in, words out, the network's state carried from chunk to chunk.

The LSTM looks at nothing that comes later than its output delay, so the words at the end of a sentence are those that
`recognizer.recognize` finds in the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from mdasr import frontend
from mdasr.acoustic.model import ModelConfig, log_posteriors
from mdasr.decode.lattice import STEP, word_times
from mdasr.decode.search import Search
from mdasr.recognizer import Recognizer, features_of
from mdasr.spec import RATE_HZ

CHUNK = 4  # steps that the network takes at once: 120 ms
PAUSE_S = 0.6  # silence after which a sentence is taken to be over
LONGEST_SILENCE_S = 10.0  # after which the search begins anew, lest it remember hours of nothing
WIDTH = frontend.STACK * frontend.BANDS


class Heard(NamedTuple):
    """What is known at `time_s` of the stream: words so far of the sentence that goes on, or, `final`, all of one."""

    time_s: float
    words: tuple[str, ...]
    final: bool
    times: tuple[tuple[str, float, float], ...] = ()  # (word, start, end) in the stream, of final words


@lru_cache(maxsize=8)
def _forward(config: ModelConfig):
    def forward(params, features, keep, state):
        return log_posteriors(config, params, features, keep, state)

    return jax.jit(forward)


class Listener:
    """One stream of 16 kHz samples, sentence after sentence.

    With `pause_s` infinite everything up to `finish` is one sentence.
    """

    def __init__(self, recognizer: Recognizer, pause_s: float = PAUSE_S) -> None:
        self.recognizer, self.pause_s = recognizer, pause_s
        self._samples = np.zeros(0, np.float32)
        self._taken = 0  # samples of the stream that lie before `_samples`
        self._begin()

    def _begin(self) -> None:
        """Start a sentence: nothing heard, nothing remembered."""
        self._search = Search(self.recognizer.language.graph, self.recognizer.search)
        self._state: Any = None
        self._unanswered = self.recognizer.output_delay  # steps that the network's first answers are too early by
        self._steps = 0  # of this sentence, given to the network
        self._start = self._taken

    def accept(self, samples: Float[np.ndarray, " _"]) -> list[Heard]:
        """Hear more, of any length: what is new after each chunk, the last of it being the latest."""
        self._samples = np.concatenate([self._samples, samples.astype(np.float32, copy=False)])
        found: list[Heard] = []
        while frontend.num_steps(len(self._samples)) >= CHUNK:
            found += self._hear()
        return found

    def finish(self) -> list[Heard]:
        """The stream has ended: the words of the sentence that was going on, if there are any steps of it."""
        left = frontend.num_steps(len(self._samples))
        return self._end(self._take(left)) if left or self._steps else []

    def _take(self, steps: int) -> Float[np.ndarray, "_ 512"]:
        """Features of the next steps, which the stream has then gone past."""
        taken = STEP * steps
        window = self._samples[: taken - STEP + frontend.HOP * (frontend.STACK - 1) + frontend.WINDOW]
        features = features_of(self.recognizer, window) if steps else np.zeros((0, WIDTH), np.float32)
        self._samples, self._taken, self._steps = self._samples[taken:], self._taken + taken, self._steps + steps
        return features

    def _hear(self) -> list[Heard]:
        self._answer(self._take(CHUNK))
        if not self._search.steps:
            return []
        best = self._search.best()
        silent = self._search.steps - best.ends[-1] if best.words else 0
        if silent * STEP > self.pause_s * RATE_HZ:
            return self._end(np.zeros((0, WIDTH), np.float32))
        if not best.words and self._search.steps * STEP > LONGEST_SILENCE_S * RATE_HZ and self.pause_s < np.inf:
            self._begin()
            return []
        return [Heard(self._taken / RATE_HZ, best.words, final=False)]

    def _end(self, rest: Float[np.ndarray, "_ 512"]) -> list[Heard]:
        """End the sentence after `rest`, with zeros for what the network would still have liked to hear."""
        tail = np.concatenate([rest, np.zeros((self.recognizer.output_delay, WIDTH), np.float32)])
        for first in range(0, len(tail), CHUNK):
            self._answer(tail[first : first + CHUNK])
        best, offset_s = self._search.finish(), self._start / RATE_HZ
        times = tuple((word, start + offset_s, end + offset_s) for word, start, end in word_times(best))
        self._begin()
        return [Heard(self._taken / RATE_HZ, best.words, final=True, times=times)]

    def _answer(self, features: Float[np.ndarray, "_ 512"]) -> None:
        """Run the network over a chunk (a shorter one is the last of its sentence) and search its answers.

        Its first answers are to what came before the sentence, and are not searched.
        """
        padded = np.zeros((1, CHUNK, WIDTH), np.float32)
        padded[0, : len(features)] = features
        keep = np.ones((1, CHUNK), np.float32)
        keep[0, 0] = self._state is not None
        posteriors, self._state = _forward(self.recognizer.config)(self.recognizer.params, padded, keep, self._state)
        scores = np.asarray(posteriors)[0, : len(features)] - self.recognizer.log_priors
        early = min(self._unanswered, len(scores))
        self._unanswered -= early
        self._search.accept(scores[early:])


def listen(
    recognizer: Recognizer, chunks: Iterable[Float[np.ndarray, " _"]], pause_s: float = PAUSE_S
) -> Iterator[Heard]:
    """What is heard in a stream of chunks, as it becomes known."""
    listener = Listener(recognizer, pause_s)
    for chunk in chunks:
        yield from listener.accept(chunk)
    yield from listener.finish()
