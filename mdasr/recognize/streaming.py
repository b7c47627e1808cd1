"""Recognition while somebody speaks: from samples to words, with the network's state carried from chunk to chunk.

A network does not look ahead further than its output delay. So the words at the end of a sentence are those that
`words.recognize` finds in the whole sentence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from mdasr import frontend
from mdasr.core.waveforms import RATE_HZ
from mdasr.decode.graph import Graph
from mdasr.decode.lattice import word_times
from mdasr.decode.live_search import Search
from mdasr.decode.search import Hypothesis, SearchOptions
from mdasr.frontend import Subsampling

PAUSE_S = 0.6  # a sentence ends with so much silence
LONGEST_SILENCE_S = 10.0  # then the search begins again, so that it does not remember hours of silence
LONGEST_SENTENCE_S = 30.0  # a sentence without a pause then ends at a gap between words, as the cost of `best` grows
GAP_WAIT_S = 5.0  # if there is no gap for so long, it ends without one
UNSURE_S = 1.0  # words that end this recently may still change


@runtime_checkable
class Network(Protocol):
    """The interface of a model for a listener: `network_scores.Streamed` has it, and `serve.Served`, without Flax."""

    @property
    def chunk(self) -> int: ...

    @property
    def output_delay(self) -> int: ...

    @property
    def subsampling(self) -> Subsampling: ...

    @property
    def margin(self) -> int:
        """The number of frames before and after a step's own that its features are made of."""
        ...

    @property
    def graph(self) -> Graph: ...

    @property
    def search(self) -> SearchOptions: ...

    def answer(
        self, samples: Float[np.ndarray, " window"], heard: tuple[int, int], state: Any = None
    ) -> tuple[Float[np.ndarray, "chunk outputs"], Any]:
        """Scores of the next `chunk` steps of a stream, and the state to go on with (None: nothing was heard before).

        `samples` [`window_samples`] hold the frames of the steps, with `margin` more on either side. The frames from
        `heard[0]` up to `heard[1]` belong to the sentence. Steps that do not lie in it as a whole hear zeros.
        """
        ...


def window_samples(network: Network) -> int:
    """The number of samples at 16 kHz that a network takes at a time."""
    return frontend.num_samples(network.subsampling.num_frames(network.chunk) + 2 * network.margin)


class Heard(NamedTuple):
    """The words known at `time_s` of the stream: those so far of an unfinished sentence or, if `final`, all of one.

    `times` are the (word, start, end) in the stream. The first `stable` words stay in the sentence (`Search.settled`).
    """

    time_s: float
    words: tuple[str, ...]
    final: bool
    times: tuple[tuple[str, float, float], ...] = ()
    stable: int = 0


class Listener:
    """A listener to one stream of 16 kHz samples, sentence after sentence.

    A sentence ends with a pause of `pause_s` seconds, or after `LONGEST_SENTENCE_S`. With an infinite `pause_s`,
    everything up to `finish` is one sentence. Raises ValueError where `pause_s` is not above 0.
    """

    def __init__(self, network: Network, pause_s: float = PAUSE_S) -> None:
        if not pause_s > 0:
            raise ValueError(f"pause_s is {pause_s}; a sentence ends with a pause of more than 0 s")
        self.network, self.pause_s = network, pause_s
        self._step_s = network.subsampling.step_samples / RATE_HZ
        self._samples = np.zeros(0, np.float32)
        self._before = 0  # frames at the beginning of `_samples` that were heard already
        self._taken = 0  # samples of the stream before `_samples`
        self._begin()

    def _begin(self) -> None:
        """Start a sentence: nothing heard, nothing remembered."""
        self._search = Search(self.network.graph, self.network.search)
        self._state: Any = None
        self._unanswered = self.network.output_delay  # answers to drop, because they are for steps before the sentence
        self._steps = 0  # steps of this sentence that the network has been given
        self._start = self._taken
        self._stable = 0  # words of this sentence that stay
        self._samples, self._before = self._samples[frontend.HOP * self._before :], 0

    def accept(self, samples: Float[np.ndarray, " _"]) -> list[Heard]:
        """Hear more samples, any number of them; returns the words after each chunk, the latest last."""
        self._samples = np.concatenate([self._samples, samples.astype(np.float32, copy=False)])
        results: list[Heard] = []
        enough = self.network.subsampling.num_frames(self.network.chunk) + self.network.margin
        while frontend.num_frames(len(self._samples)) >= self._before + enough:
            results += self._hear()
        return results

    def finish(self) -> list[Heard]:
        """End the stream; returns the words of the last sentence, if it has any steps."""
        left = self.network.subsampling.num_steps(frontend.num_frames(len(self._samples)) - self._before)
        return self._end(left) if left or self._steps else []

    def _hear(self) -> list[Heard]:
        self._answer(self.network.chunk, self.network.chunk)
        if not self._search.steps:
            return []
        best = self._search.best()
        self._stable = stable = self._search.settled(best)
        silent = self._search.steps - best.ends[-1] if best.words else 0
        if silent * self._step_s > self.pause_s:
            return self._end(0)
        if self.pause_s < np.inf:
            begun = best.starts[0] if best.words else 0
            longest_s = LONGEST_SENTENCE_S if best.words else LONGEST_SILENCE_S
            if best.words and not (stable and gap_after(best, stable)):
                longest_s += GAP_WAIT_S
            if (self._search.steps - begun) * self._step_s > longest_s:
                return self._cut(best)
        return [self._heard(best)]

    def _cut(self, best: Hypothesis) -> list[Heard]:
        """End a sentence before its words do, or drop a silence except for a possible beginning of a word.

        The network goes on as it is, and the search begins again with the steps after the cut.
        """
        sure = self._search.steps - round(UNSURE_S / self._step_s)
        count = self._stable or last_gap(best, sure)
        done = dataclasses.replace(best, words=best.words[:count], starts=best.starts[:count], ends=best.ends[:count])
        results = [self._heard(done, final=True)] if count else []
        step = done.ends[-1] if count else sure
        self._search, self._steps, self._stable = self._search.since(step), self._steps - step, 0
        self._start += self.network.subsampling.step_samples * step
        return results

    def _end(self, left: int) -> list[Heard]:
        """End the sentence after `left` more steps, with zeros for the steps that the network still needs to hear."""
        due = left + self.network.output_delay
        while due > 0:
            steps = min(left, self.network.chunk)
            self._answer(steps, min(self.network.chunk, due))
            due, left = due - self.network.chunk, left - steps
        result = self._heard(self._search.finish(), final=True)
        self._begin()
        return [result]

    def _heard(self, best: Hypothesis, final: bool = False) -> Heard:
        offset_s = self._start / RATE_HZ
        times = tuple(
            (word, start + offset_s, end + offset_s) for word, start, end in word_times(best, self.network.subsampling)
        )
        return Heard(self._taken / RATE_HZ, best.words, final, times, len(best.words) if final else self._stable)

    def _answer(self, steps: int, wanted: int) -> None:
        """Let the network hear the next `steps`, go past them in the stream, and search the first `wanted` answers.

        The first answers in a sentence are for steps before it, and are not searched.
        """
        window, first = np.zeros(window_samples(self.network), np.float32), self.network.margin - self._before
        near = self._samples[: len(window) - frontend.HOP * first] if steps else self._samples[:0]
        window[frontend.HOP * first :][: len(near)] = near
        heard = first, first + frontend.num_frames(len(near))
        scores, self._state = self.network.answer(window, heard, self._state)
        self._go_on(self.network.subsampling.stride * steps)
        early = min(self._unanswered, wanted)
        self._unanswered -= early
        self._search.accept(scores[early:wanted])

    def _go_on(self, frames: int) -> None:
        """Go past so many frames, but keep those that the features of the next ones need."""
        before = min(self.network.margin, self._before + frames)
        dropped = frontend.HOP * (self._before + frames - before)
        self._samples, self._before = self._samples[dropped:], before
        self._taken += frontend.HOP * frames
        self._steps += frames // self.network.subsampling.stride


def last_gap(best: Hypothesis, sure: int) -> int:
    """The number of words before the last silence that follows a word, among words that end by the step `sure`.

    Without such a silence, all words that end by then; without such words, all words.
    """
    known = [i for i, end in enumerate(best.ends, start=1) if end <= sure]
    gaps = [i for i in known if gap_after(best, i)]
    return max(gaps or known, default=len(best.words))


def gap_after(best: Hypothesis, count: int) -> bool:
    """Whether no word begins right after the first `count` words."""
    return count == len(best.words) or best.ends[count - 1] < best.starts[count]


def listen(network: Network, chunks: Iterable[Float[np.ndarray, " _"]], pause_s: float = PAUSE_S) -> Iterator[Heard]:
    """Recognise a stream of chunks; yields the words as they become known."""
    listener = Listener(network, pause_s)
    for chunk in chunks:
        yield from listener.accept(chunk)
    yield from listener.finish()
