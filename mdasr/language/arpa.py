"""Reading n-gram models from ARPA files, ours or another toolkit's (§3.6)."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from mdasr.language.ngram import BEGIN, END, SHIFT, Level, NGram

Lines = Iterator[tuple[int, list[str]]]
"""The fields of each line that has any, with the line's number."""


def read_arpa(path: Path | str) -> NGram:
    """Read an ARPA file of any order, whoever wrote it.

    Raises ValueError, naming the file and the line, for a line that is broken, sections that are missing or
    out of order, counts that do not hold, an n-gram that stands twice, and one whose history the file lacks.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            return _parse(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save the model as UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{path}:{error}") from None


def _parse(file: Iterable[str]) -> NGram:
    """The model that an ARPA file spells; raises ValueError that begins with a line's number."""
    lines = ((number, line.split()) for number, line in enumerate(file, start=1) if line.strip())
    counts = _parse_counts(lines)
    places: dict[str, int] = {}
    levels: list[Level] = []
    for n, count in enumerate(counts, start=1):
        following = f"\\{n + 1}-grams:" if n < len(counts) else "\\end\\"
        rows = _parse_section(lines, n, count, following)
        places = places or _vocabulary(rows)
        levels.append(_level(rows, n, levels, places))
    return NGram(tuple(places), tuple(levels))


def _parse_counts(lines: Lines) -> list[int]:
    """How many n-grams of each order there are to be; leaves `lines` at the first of them."""
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


@dataclass(frozen=True)
class _Rows:
    """The lines of one section; each adds n to `words`."""

    numbers: array
    words: list[str]
    log10_probability: array
    log10_backoff: array


def _parse_section(lines: Lines, n: int, count: int, following: str) -> _Rows:
    rows = _Rows(array("q"), [], array("f"), array("f"))
    number = 0
    for number, fields in lines:
        done = len(rows.numbers)
        if fields == [following] and done == count:
            return rows
        if fields[0].startswith("\\") or done == count:
            found = " ".join(fields)
            raise ValueError(f"{number}: {found!r} after {done} {n}-grams, but \\data\\ announces {count}")
        if len(fields) not in (n + 1, n + 2):
            raise ValueError(f"{number}: expected a log10 probability, {n} words and at most one weight")
        rows.numbers.append(number)
        rows.words.extend(sys.intern(word) for word in fields[1 : n + 1])
        rows.log10_probability.append(_number(number, fields[0]))
        rows.log10_backoff.append(_number(number, fields[n + 1]) if len(fields) > n + 1 else 0.0)
        if rows.log10_probability[-1] > 0:
            raise ValueError(f"{number}: the log10 probability {fields[0]} is above 0")
    raise ValueError(f"{number}: the file ends before {following}; was it cut off?")


def _number(line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{line}: {text!r} is not a number") from None
    if not isfinite(value):
        raise ValueError(f"{line}: {text} is not finite")
    return value


def _vocabulary(unigrams: _Rows) -> dict[str, int]:
    """The place of each word: the two marks first, then the words sorted."""
    known = set(unigrams.words)
    for mark in (BEGIN, END):
        if mark not in known:
            raise ValueError(f"{unigrams.numbers[-1] if known else 1}: the 1-grams lack {mark}")
    return {word: i for i, word in enumerate((BEGIN, END, *sorted(known - {BEGIN, END})))}


def _level(rows: _Rows, n: int, shorter: Sequence[Level], places: Mapping[str, int]) -> Level:
    """The section's n-grams as arrays, in the order of their keys."""
    ids = np.array([places.get(word, -1) for word in rows.words], np.int64).reshape(-1, n)
    _refuse_first(ids.min(axis=1, initial=0) < 0, rows, f"a word of this {n}-gram is not among the 1-grams")
    history = ids[:, 0] if n > 1 else np.zeros(len(ids), np.int64)
    for k, level in enumerate(shorter[1:], start=1):
        history = level.find(history, ids[:, k])
    _refuse_first(history < 0, rows, f"the first {n - 1} words of this {n}-gram are no {n - 1}-gram here")
    keys = (history << SHIFT) | ids[:, -1]
    order = np.argsort(keys, kind="stable")
    repeated = np.zeros(len(keys), bool)
    repeated[order[1:]] = np.diff(keys[order]) == 0
    _refuse_first(repeated, rows, f"this {n}-gram stands on an earlier line already")
    probability, backoff = (np.array(a, np.float32) for a in (rows.log10_probability, rows.log10_backoff))
    return Level(keys[order], probability[order], backoff[order])


def _refuse_first(bad: np.ndarray, rows: _Rows, why: str) -> None:
    if bad.any():
        raise ValueError(f"{rows.numbers[int(bad.argmax())]}: {why}")
