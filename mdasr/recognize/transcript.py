"""Long recordings: cut where it is quietest, recognised piece by piece, written as text, CTM, SRT or JSON."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mdasr.core.waveforms import RATE_HZ
from mdasr.decode.lattice import Lattice, word_times
from mdasr.decode.paths import confidences, nbest
from mdasr.decode.search import Hypothesis
from mdasr.model.directory import Recognizer
from mdasr.recognize.network_scores import ROWS
from mdasr.recognize.words import recognize, recognize_lattices

SHORTEST_S, LONGEST_S = 10.0, 20.0  # limits for a piece, except for the last one of a recording
SUBTITLE_WORDS = 12
_QUIET_S = 0.2  # length of the quiet moments; a cut lies in the middle of one


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
    """The words between two moments of a recording, in seconds, and the alternatives to them, the best first."""

    start_s: float
    end_s: float
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()

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


def quiet_cuts(wave: Float[np.ndarray, " samples"]) -> list[int]:
    """The samples at which to cut: 0, the quietest moments 10 to 20 s after each other, and the end."""
    power = np.concatenate([[0], np.cumsum(np.square(wave, dtype=np.float64))])
    length = round(_QUIET_S * RATE_HZ)
    cuts = [0]
    while len(wave) - cuts[-1] > LONGEST_S * RATE_HZ:
        first, last = (cuts[-1] + round(seconds * RATE_HZ) for seconds in (SHORTEST_S, LONGEST_S))
        moments = np.arange(first, last - length, RATE_HZ // 100)
        cuts.append(int(moments[(power[moments + length] - power[moments]).argmin()]) + length // 2)
    return [*cuts, len(wave)]


def transcribe(
    recognizer: Recognizer,
    wave: Float[np.ndarray, " samples"],
    pool: Executor | None = None,
    depth: Depth = Depth(),
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
                yield _piece(start_s, end_s, *next(results), depth, recognizer)
            else:
                yield Passage(start_s, end_s, ())


def _piece(
    start_s: float, end_s: float, best: Hypothesis, lattice: Lattice | None, depth: Depth, recognizer: Recognizer
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


def as_text(name: str, pieces: Sequence[Passage]) -> str:
    """The words alone, in one line."""
    return " ".join(piece.text for piece in pieces if piece.words)


def ctm_name(name: str) -> str:
    """The name of a recording in a CTM: blanks become underscores, because blanks separate columns."""
    return "_".join(name.split())


def as_ctm(name: str, pieces: Sequence[Passage]) -> str:
    """NIST's CTM: recording, channel, start, duration, word and confidence, a line each.

    Without confidences there is no sixth column.
    """
    recording = ctm_name(name)
    return "\n".join(
        f"{recording} 1 {start:.3f} {end - start:.3f} {word}" + ("" if sure is None else f" {sure:.2f}")
        for piece in pieces
        for word, start, end, sure in piece.words
    )


def as_srt(name: str, pieces: Sequence[Passage]) -> str:
    """Subtitles of at most `SUBTITLE_WORDS` words each."""
    count = SUBTITLE_WORDS
    spoken = [piece.words[i : i + count] for piece in pieces for i in range(0, len(piece.words), count)]
    blocks = [
        f"{number}\n{_clock(line[0].start_s)} --> {_clock(line[-1].end_s)}\n"
        + " ".join(word.word for word in line)
        + "\n"
        for number, line in enumerate(spoken, start=1)
    ]
    return "\n".join(blocks)


def as_json(name: str, pieces: Sequence[Passage]) -> str:
    """One line of JSON: the recording and its pieces, with words as [word, start, end, confidence or null]."""
    content = [asdict(piece) | {"text": piece.text} for piece in pieces]
    return json.dumps({"recording": name, "text": as_text(name, pieces), "pieces": content}, ensure_ascii=False)


FORMATS = {"text": as_text, "ctm": as_ctm, "srt": as_srt, "json": as_json}


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
