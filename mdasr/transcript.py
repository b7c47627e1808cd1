"""Long recordings: cut where it is quietest, recognised piece by piece, written as text, CTM, SRT or JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from mdasr import frontend
from mdasr.decode.lattice import word_times
from mdasr.recognizer import Recognizer, recognize
from mdasr.spec import RATE_HZ

SHORTEST_S, LONGEST_S = 10.0, 20.0  # of a piece, the last of a recording apart
_QUIET_S = 0.2  # how long a moment is that a cut is made in the middle of


@dataclass(frozen=True)
class Piece:
    """What was said between two moments of a recording, in seconds: words with their own starts and ends."""

    start_s: float
    end_s: float
    words: tuple[tuple[str, float, float], ...]

    @property
    def text(self) -> str:
        return " ".join(word for word, *_ in self.words)


def cuts(wave: Float[np.ndarray, " samples"]) -> list[int]:
    """Samples at which to cut: 0, the quietest moments 10 to 20 s after each other, and the end."""
    power = np.concatenate([[0], np.cumsum(np.square(wave, dtype=np.float64))])
    length = round(_QUIET_S * RATE_HZ)
    found = [0]
    while len(wave) - found[-1] > LONGEST_S * RATE_HZ:
        first, last = (found[-1] + round(seconds * RATE_HZ) for seconds in (SHORTEST_S, LONGEST_S))
        moments = np.arange(first, last - length, RATE_HZ // 100)
        found.append(int(moments[(power[moments + length] - power[moments]).argmin()]) + length // 2)
    return [*found, len(wave)]


def transcribe(
    recognizer: Recognizer, wave: Float[np.ndarray, " samples"], pool: Executor | None = None
) -> Iterator[Piece]:
    """What is said in a recording of any length, piece by piece; pieces too short to hold speech have no words."""
    edges = cuts(wave)
    for first, last in itertools.pairwise(edges):
        words: tuple[tuple[str, float, float], ...] = ()
        if frontend.num_steps(last - first):
            (found,) = recognize(recognizer, [wave[first:last]], pool)
            offset_s = first / RATE_HZ
            words = tuple((word, start + offset_s, end + offset_s) for word, start, end in word_times(found))
        yield Piece(first / RATE_HZ, last / RATE_HZ, words)


def as_text(name: str, pieces: Sequence[Piece]) -> str:
    """The words alone, in one line."""
    return " ".join(piece.text for piece in pieces if piece.words)


def as_ctm(name: str, pieces: Sequence[Piece]) -> str:
    """NIST's CTM: recording, channel, start, duration and word, a line each; blanks in the name become underscores."""
    recording = "_".join(name.split())
    return "\n".join(
        f"{recording} 1 {start:.3f} {end - start:.3f} {word}" for piece in pieces for word, start, end in piece.words
    )


def as_srt(name: str, pieces: Sequence[Piece], words: int = 12) -> str:
    """Subtitles, of no more than so many words each."""
    spoken = [piece.words[i : i + words] for piece in pieces for i in range(0, len(piece.words), words)]
    blocks = [
        f"{number}\n{_clock(line[0][1])} --> {_clock(line[-1][2])}\n" + " ".join(word for word, *_ in line) + "\n"
        for number, line in enumerate(spoken, start=1)
    ]
    return "\n".join(blocks)


def as_json(name: str, pieces: Sequence[Piece]) -> str:
    """One line of JSON: the recording and its pieces, with the words and their times."""
    content = [asdict(piece) | {"text": piece.text} for piece in pieces]
    return json.dumps({"recording": name, "text": as_text(name, pieces), "pieces": content}, ensure_ascii=False)


FORMATS = {"text": as_text, "ctm": as_ctm, "srt": as_srt, "json": as_json}


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
