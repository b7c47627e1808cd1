"""Reading of n-gram models from ARPA files, written by this program or another toolkit (§3.6)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from mdasr.core.files import unpacked
from mdasr.core.progress import Bar, track
from mdasr.language.backoff import NGram
from mdasr.language.ngram_arrays import SHIFT, Level
from mdasr.language.vocabulary import BEGIN, END, NOT_WORDS, UNKNOWN

Lines = Iterator[tuple[int, list[str]]]
"""The number and the fields of each line that is not empty."""

_BLOCK = 1 << 14
_STRANGE = re.compile(r"[^\S \t]")
N_GRAMS = "n-gram model (an ARPA file; `mdasr lm train` writes one)"


@dataclass(frozen=True)
class Announced:
    """The size of an n-gram model, from the first lines of its file: n-grams of each order, and the sorted words."""

    counts: tuple[int, ...]
    words: tuple[str, ...]


def read_arpa(arpa: Path | str) -> NGram:
    """Read an n-gram model of any order, from any toolkit: a Path to an ARPA file, gzipped or not, or the text itself.

    Blanks and tabs separate fields. <UNK> is read as <unk>, and weights of the highest order are ignored, since nothing
    uses them.

    Raises OSError where the file is missing. Raises ValueError, which names the file and the line, for broken lines,
    missing sections, sections out of order, and wrong counts. Raises it, too, for an n-gram that occurs twice or has a
    history that the file lacks.
    """
    with _opened(arpa) as lines:
        counts = _parse_counts(lines)
        with track(total=sum(counts), desc="reading", unit=" n-grams", unit_scale=True, delay=5) as progress:
            unigrams, places = _parse_unigrams(lines, counts, progress)
            levels = [_level(unigrams, [])]
            for n in range(2, len(counts) + 1):
                levels.append(_level(_parse_section(lines, n, counts, places.__getitem__, progress), levels))
    levels[-1] = replace(levels[-1], log10_backoff=np.zeros_like(levels[-1].log10_backoff))
    return NGram(tuple(places), tuple(levels))


def announced(arpa: Path | str) -> Announced:
    """Read the size and the words of an n-gram model from the first lines of its file, by the rules of `read_arpa`.

    The n-grams of order 2 and more are not read, however many there are. Raises ValueError as `read_arpa` does.
    """
    with _opened(arpa) as lines, track(desc="reading", delay=5) as progress:
        counts = _parse_counts(lines)
        _, places = _parse_unigrams(lines, counts, progress)
    return Announced(tuple(counts), tuple(word for word in places if word not in NOT_WORDS))


@contextmanager
def _opened(arpa: Path | str) -> Iterator[Lines]:
    """Yield the lines of a file or a text. An error in the block, which begins with a line's number, gets its name."""
    text = isinstance(arpa, str)
    with io.BytesIO(arpa.encode()) if isinstance(arpa, str) else unpacked(arpa, N_GRAMS) as file:
        try:
            yield _fields(file)
        except ValueError as error:
            raise ValueError(f"{'ARPA text' if text else arpa}:{error}") from None


def _fields(file: Iterable[bytes]) -> Lines:
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"{number}: not UTF-8; save the model as UTF-8") from None
        if "\0" in text:
            raise ValueError(f"{number}: a NUL byte; is this a text file?")
        if strange := _STRANGE.search(text):
            raise ValueError(f"{number}: the white space {strange[0]!r}; separate fields by blanks or tabs")
        if fields := text.split():
            yield number, [UNKNOWN if f == "<UNK>" else f for f in fields] if "<UNK>" in text else fields


def _parse_unigrams(lines: Lines, counts: Sequence[int], progress: Bar) -> tuple[_Rows, dict[str, int]]:
    """Read the 1-grams. Returns them with the place of each word."""
    numbers = _Numbers()
    unigrams = _parse_section(lines, 1, counts, numbers.__getitem__, progress)
    places = _vocabulary(numbers, unigrams)
    unigrams.ids[:] = np.array([places[word] for word in numbers], np.int32)[unigrams.ids]
    return unigrams, places


class _Numbers(dict):
    """Words numbered in the order in which they are looked up first."""

    def __missing__(self, word: str) -> int:
        return self.setdefault(word, len(self))


def _parse_counts(lines: Lines) -> list[int]:
    """Read the announced number of n-grams of each order, up to the line before the first 1-gram."""
    if not any(fields == ["\\data\\"] for _, fields in lines):
        raise ValueError("1: no line \\data\\, so this is not a model in ARPA's format")
    counts: list[int] = []
    number = 1
    for number, fields in lines:
        if counts and fields == ["\\1-grams:"]:
            return counts
        name, _, count = "".join(fields).partition("=")
        if name != f"ngram{len(counts) + 1}" or not count.isdecimal():
            raise ValueError(f"{number}: expected 'ngram {len(counts) + 1}=COUNT', found {' '.join(fields)!r}")
        counts.append(int(count))
    raise ValueError(f"{number}: the file ends before its 1-grams; was it cut off?")


@dataclass(frozen=True, eq=False)
class _Rows:
    """Lines of one section as columns."""

    numbers: Int64[np.ndarray, " lines"]
    ids: Int32[np.ndarray, "lines n"]
    log10_probability: Float32[np.ndarray, " lines"]
    log10_backoff: Float32[np.ndarray, " lines"]


def _parse_section(lines: Lines, n: int, counts: Sequence[int], place: Callable[[str], int], progress: Bar) -> _Rows:
    """Read a section's lines in blocks. A block with an error is read again line by line, to name the error."""
    count, following = counts[n - 1], f"\\{n + 1}-grams:" if n < len(counts) else "\\end\\"
    blocks = [_columns([], n, place)]
    done, number = 0, 0
    while block := [*islice(lines, min(count - done, _BLOCK))]:
        try:
            blocks.append(_columns(block, n, place))
        except (ValueError, KeyError):
            for k, line in enumerate(block):
                _check_line(*line, n, place, f"after {done + k} {n}-grams, but \\data\\ announces {count}")
            raise
        done, number = done + len(block), block[-1][0]
        progress.update(len(block))
    number, fields = next(lines, (number, []))
    if not fields:
        raise ValueError(f"{number}: the file ends before {following}; was it cut off?")
    if fields != [following]:
        text = " ".join(fields)
        raise ValueError(f"{number}: {text!r} after {done} {n}-grams, but \\data\\ announces {count}")
    columns = ("numbers", "ids", "log10_probability", "log10_backoff")
    return _Rows(*(np.concatenate([getattr(block, name) for block in blocks]) for name in columns))


def _columns(block: Sequence[tuple[int, list[str]]], n: int, place: Callable[[str], int]) -> _Rows:
    """Convert lines to columns. Raises ValueError or KeyError where a line is broken."""
    if not all(n + 1 <= len(fields) <= n + 2 for _, fields in block):
        raise ValueError("a wrong number of fields")
    ids = np.array([place(word) for _, fields in block for word in fields[1 : n + 1]], np.int32)
    numbers = np.array([[_number(f[0]), _number(f[n + 1]) if len(f) > n + 1 else 0.0] for _, f in block]).reshape(-1, 2)
    with np.errstate(over="ignore"):
        probability, backoff = numbers.T.astype(np.float32)
    if not np.isfinite([probability, backoff]).all() or probability.max(initial=0) > 0:
        raise ValueError("a number that is not a valid weight")
    return _Rows(np.array([number for number, _ in block], np.int64), ids.reshape(-1, n), probability, backoff)


def _number(text: str) -> float:
    """A number of ASCII digits. Python's `float` also reads 1_0 and digits of other scripts."""
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def _check_line(number: int, fields: list[str], n: int, place: Callable[[str], int], where: str) -> None:
    """Raise ValueError where a line is broken."""
    if fields[0].startswith("\\"):
        raise ValueError(f"{number}: {' '.join(fields)!r} {where}")
    if not n + 1 <= len(fields) <= n + 2:
        raise ValueError(f"{number}: expected a log10 probability, {n} words and at most one weight")
    for text in (fields[0], *fields[n + 1 :]):
        try:
            value = _number(text)
        except ValueError:
            raise ValueError(f"{number}: {text!r} is not a number") from None
        if not abs(value) <= float(np.finfo(np.float32).max):
            raise ValueError(f"{number}: {text} is not finite")
    if float(fields[0]) > 0:
        raise ValueError(f"{number}: the log10 probability {fields[0]} is above 0")
    for word in fields[1 : n + 1]:
        try:
            place(word)
        except KeyError:
            raise ValueError(f"{number}: {word!r}, a word of this {n}-gram, is not among the 1-grams") from None


def _vocabulary(words: Mapping[str, int], unigrams: _Rows) -> dict[str, int]:
    """The place of each word: the two marks first, then the words, sorted."""
    for mark in (BEGIN, END):
        if mark not in words:
            raise ValueError(f"{unigrams.numbers.max(initial=1)}: the 1-grams lack {mark}")
    return {word: i for i, word in enumerate((BEGIN, END, *sorted(words.keys() - {BEGIN, END})))}


def _level(rows: _Rows, shorter: Sequence[Level]) -> Level:
    """The section's n-grams, sorted by key."""
    n = len(shorter) + 1
    history = rows.ids[:, 0].astype(np.int64) if shorter else np.zeros(len(rows.ids), np.int64)
    for k, level in enumerate(shorter[1:], start=1):
        history = level.find(history, rows.ids[:, k])
    _refuse_first(history < 0, rows, f"the file has no {n - 1}-gram of the first {n - 1} words of this {n}-gram")
    keys = (history << SHIFT) | rows.ids[:, -1]
    order = np.argsort(keys, kind="stable")
    repeated = np.zeros(len(keys), bool)
    repeated[order[1:]] = np.diff(keys[order]) == 0
    _refuse_first(repeated, rows, f"this {n}-gram is on an earlier line, too")
    return Level(keys[order], rows.log10_probability[order], rows.log10_backoff[order])


def _refuse_first(bad: Bool[np.ndarray, " lines"], rows: _Rows, why: str) -> None:
    if bad.any():
        raise ValueError(f"{rows.numbers[bad.argmax()]}: {why}")
