"""Long recordings: cut where it is quietest, and recognised piece by piece; calls: recognised side by side."""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ
from mdasr.decode.lattice import Lattice, word_times
from mdasr.decode.paths import confidences, nbest
from mdasr.decode.search import Hypothesis
from mdasr.model.gmm_directory import Model
from mdasr.recognize.network_scores import ROWS
from mdasr.recognize.streaming import PAUSE_S
from mdasr.recognize.words import recognize, recognize_lattices

SHORTEST_S, LONGEST_S = 10.0, 20.0  # limits for a piece, except for the last one of a recording
_QUIET_S = 0.2  # length of the quiet moments; a cut lies in the middle of one
_GRID = RATE_HZ // 100  # samples between the moments that are compared


class Word(NamedTuple):
    """A word, when it starts and ends in the recording, and the probability that it is right (if requested)."""

    word: str
    start_s: float
    end_s: float
    confidence: float | None = None


class Alternative(NamedTuple):
    """Words that may have been said, and their cost: -log p up to a constant, so that only differences count."""

    text: str
    cost: float


@dataclass(frozen=True)
class Passage:
    """The words between two moments of a recording, in seconds, and the alternatives to them, the best first.

    `channel` is the name of the channel that they come from (`channel_name`).
    """

    start_s: float
    end_s: float
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()
    channel: str = "1"

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words)


@dataclass(frozen=True)
class Depth:
    """The results to compute beside the best words: `confidences`, the `nbest` word sequences, and rescoring.

    Each needs a lattice, which makes the search several times slower. `rescore_with` is an ARPA file, whose model then
    chooses the words.
    """

    confidences: bool = False
    nbest: int = 0
    rescore_with: Path | None = None

    @property
    def needs_lattice(self) -> bool:
        return self.confidences or self.nbest > 0 or self.rescore_with is not None


def channel_name(number: int | None) -> str:
    """The name of a channel in every output: "1" for the only one; else NIST's A, B, ..., and after Z the number."""
    if number is None:
        return "1"
    return chr(ord("A") + number) if number < 26 else str(number)


def quiet_cuts(wave: Float[np.ndarray, " samples"]) -> list[int]:
    """The samples at which to cut: 0, the quietest moments 10 to 20 s after each other, and the end."""
    blocks = wave[: len(wave) // _GRID * _GRID].reshape(-1, _GRID)
    power = np.concatenate([[0], np.cumsum(np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64))])
    length = round(_QUIET_S * RATE_HZ) // _GRID
    first, last = (round(seconds * RATE_HZ) // _GRID for seconds in (SHORTEST_S, LONGEST_S))
    cuts = [0]
    while len(wave) - cuts[-1] > LONGEST_S * RATE_HZ:
        moments = cuts[-1] // _GRID + np.arange(first, last - length)
        quietest = moments[(power[moments + length] - power[moments]).argmin()]
        cuts.append((int(quietest) + length // 2) * _GRID)
    return [*cuts, len(wave)]


def transcribe(
    recognizer: Model,
    wave: Float[np.ndarray, " samples"],
    pool: Executor | None = None,
    depth: Depth = Depth(),
    channel: str = "1",
) -> Iterator[Passage]:
    """Recognise a recording of any length, piece by piece; pieces too short to hold speech have no words."""
    pairs, subsampling = [*itertools.pairwise(quiet_cuts(wave))], recognizer.subsampling
    for start in range(0, len(pairs), ROWS):  # the network hears ROWS pieces together
        edges = pairs[start : start + ROWS]
        waves = [wave[first:last] for first, last in edges if subsampling.steps_in(last - first)]
        results: Iterator[tuple[Hypothesis, Lattice | None]] = (
            iter(recognize_lattices(recognizer, waves, pool, depth.rescore_with))
            if depth.needs_lattice
            else ((best, None) for best in recognize(recognizer, waves, pool))
        )
        for first, last in edges:
            start_s, end_s = first / RATE_HZ, last / RATE_HZ
            if subsampling.steps_in(last - first):
                yield replace(_piece(start_s, end_s, *next(results), depth, recognizer), channel=channel)
            else:
                yield Passage(start_s, end_s, (), channel=channel)


def _piece(
    start_s: float, end_s: float, best: Hypothesis, lattice: Lattice | None, depth: Depth, recognizer: Model
) -> Passage:
    """One piece, with as much depth as is requested."""
    sure: Sequence[float | None] = ()
    ranked: list[Hypothesis] = []
    if lattice:
        sure = [round(value, 4) for value in confidences(lattice, best, recognizer.search)] if depth.confidences else ()
        ranked = nbest(lattice, depth.nbest) if depth.nbest else []
    words = tuple(
        Word(word, start + start_s, end + start_s, value)
        for (word, start, end), value in itertools.zip_longest(word_times(best, recognizer.subsampling), sure)
    )
    return Passage(start_s, end_s, words, tuple(Alternative(other.text, round(other.cost, 3)) for other in ranked))


def runs(words: Iterable[Word], most: int = sys.maxsize) -> list[list[Word]]:
    """Divide words at pauses of more than `PAUSE_S`, and after every `most` words."""
    parts: list[list[Word]] = []
    for word in words:
        if parts and word.start_s - parts[-1][-1].end_s <= PAUSE_S and len(parts[-1]) < most:
            parts[-1].append(word)
        else:
            parts.append([word])
    return parts


def merged(sides: Iterable[Sequence[Passage]]) -> list[Passage]:
    """The turns of a call by time: its `sides` are the passages of its channels, which pauses divide into turns.

    A side without words is one passage. Turns have no alternatives, as these belong to pieces.
    """
    turns: list[Passage] = []
    for side in sides:
        spoken = runs(word for piece in side for word in piece.words)
        turns += [Passage(run[0].start_s, run[-1].end_s, tuple(run), channel=side[0].channel) for run in spoken]
        if not spoken:
            turns.append(Passage(side[0].start_s, side[-1].end_s, (), channel=side[0].channel))
    return sorted(turns, key=lambda turn: turn.start_s)


def alternatives(pieces: Sequence[Passage], count: int) -> list[Alternative]:
    """The `count` likeliest word sequences of a whole recording, made of those of its pieces, the best first.

    Each sequence occurs once, even where its words can be divided among the pieces in several ways.
    """
    whole = [Alternative("", 0.0)]
    for piece in pieces:
        if piece.alternatives:
            # The cheapest come first, so the first of several with the same text is kept. `count` of each piece, and of
            # the pieces before it, are enough: any other one has at least `count` cheaper ones with other texts.
            longer = heapq.merge(*(_followed(before, piece) for before in whole), key=lambda joined: joined.cost)
            best: dict[str, Alternative] = {}
            for joined in longer:
                best.setdefault(joined.text, joined)
                if len(best) == count:
                    break
            whole = [*best.values()]
    return whole


def _followed(before: Alternative, piece: Passage) -> Iterator[Alternative]:
    for after in piece.alternatives:
        yield Alternative(f"{before.text} {after.text}".strip(), before.cost + after.cost)
