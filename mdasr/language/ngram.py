"""Training of n-gram models by interpolated Kneser-Ney smoothing, modified or with one discount (§3.6).

Levels are made from the shortest n-grams to the longest. Each level sorts one 64-bit key for each token to find its
n-grams. From the level below it needs only one 32-bit place for each token. So a text needs some 90 bytes of memory a
token at order 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64

from mdasr.core.progress import track
from mdasr.language.backoff import NEVER, NGram
from mdasr.language.ngram_arrays import SHIFT, Level
from mdasr.language.vocabulary import numbered_text

Discounting = Literal["modified", "single"] | float


def train_ngrams(
    sentences: Iterable[Sequence[str]],
    order: int,
    vocabulary: Iterable[str] | None = None,
    discounting: Discounting = "modified",
) -> NGram:
    """Train a model by interpolated Kneser-Ney smoothing (Chen and Goodman, 1998, section 4.1.6).

    Sentences are sequences of words; empty ones are skipped. If `vocabulary` is given, each of its words gets a
    probability, even if the text lacks it. Then a word outside it counts as <unk>, if the vocabulary has <unk>. An
    order above the length of the longest sentence adds nothing and is lowered.

    With "modified", each order has three discounts, for counts of 1, of 2 and of more. With "single", it has one (Ney,
    Essen and Kneser, 1994, equation 41). Both are estimated from the counts of that order; a number is the discount of
    every order.

    Raises ValueError for a word outside a vocabulary without <unk>, an order below 1, or a discount outside (0, 1).
    Raises it, too, where there are no sentences, and for words that ARPA's format cannot hold.
    """
    if order < 1:
        raise ValueError(f"the order of an n-gram model must be at least 1, not {order}")
    if isinstance(discounting, float) and not 0 < discounting < 1:
        raise ValueError(f"a discount must lie between 0 and 1, not {discounting}")
    words, tokens = numbered_text(sentences, vocabulary)
    if not len(tokens):
        raise ValueError("no sentences to train an n-gram model on; give some text")
    levels: list[Level] = []
    probability = np.full(1, 1 / (len(words) - 1))  # of a word without any history: the same for all but <s>
    counted = pairwise(chain(_count(tokens, order, len(words)), [None]))
    for level, longer in track(counted, total=order, desc="counting", unit="order", delay=5):
        assert level is not None
        counts = level.counts if longer is None else _continuations(level, longer)
        if not levels:
            counts[0] = 0  # <s> is given, never predicted
        probability, weight = _smooth(level, counts, probability, discounting)
        if levels:
            levels[-1] = Level(levels[-1].keys, levels[-1].log10_probability, _log10(weight))
        else:
            probability[0] = 10**NEVER
        levels.append(Level(level.keys, _log10(probability), np.zeros(len(counts), np.float32)))
    return NGram(words, tuple(levels))


@dataclass(frozen=True, eq=False)
class _Raw:
    """The n-grams of one order as they occur in the text."""

    keys: Int64[np.ndarray, " ngrams"]
    counts: Int32[np.ndarray, " ngrams"]
    suffix: Int32[np.ndarray, " ngrams"]  # the place, one level below, of the n-gram without its first word
    begins: Bool[np.ndarray, " ngrams"]  # whether its first word is <s>


def _count(tokens: Int32[np.ndarray, " tokens"], order: int, num_words: int) -> Iterator[_Raw]:
    """Yield the levels from the 1-grams up; each is counted only when the caller takes it."""
    begins = np.arange(num_words) == 0
    counts = np.bincount(tokens, minlength=num_words).astype(np.int32)
    yield _Raw(np.arange(num_words), counts, np.zeros(num_words, np.int32), begins)
    place = tokens  # the n-gram that ends at each token; -1 where its sentence has too few words before
    for _ in range(2, order + 1):
        ends = (tokens[1:] != 0) & (place[:-1] >= 0)
        if not ends.any():
            return
        keys = (place[:-1][ends].astype(np.int64) << SHIFT) | tokens[1:][ends]
        by_key = np.argsort(keys)
        keys = keys[by_key]
        new = np.diff(keys, prepend=-1) != 0
        first = np.flatnonzero(new)
        level = _Raw(
            keys[first],
            np.diff(first, append=len(keys)).astype(np.int32),
            place[1:][ends][by_key[first]],
            begins := begins[keys[first] >> SHIFT],
        )
        inverse = np.empty(len(keys), np.int32)
        inverse[by_key] = np.cumsum(new, dtype=np.int32) - 1
        place = np.full(len(tokens), -1, np.int32)
        place[1:][ends] = inverse
        del keys, by_key, new, first, inverse, ends  # frees gigabytes while the caller works on this level
        yield level


def _continuations(level: _Raw, longer: _Raw) -> Int32[np.ndarray, " ngrams"]:
    """The number of different words before each n-gram; for an n-gram that begins with <s>, its count."""
    before = np.bincount(longer.suffix, minlength=len(level.counts)).astype(np.int32)
    return np.where(level.begins, level.counts, before)


def _smooth(
    level: _Raw,
    counts: Int32[np.ndarray, " ngrams"],
    shorter: Float[np.ndarray, " suffixes"],
    discounting: Discounting,
) -> tuple[Float[np.ndarray, " ngrams"], Float[np.ndarray, " histories"]]:
    """The probabilities of one level, given those of the level below, and the back-off weights of the level below."""
    size = len(shorter)
    discount = np.array([0.0, *_discounts(counts, discounting)])[np.minimum(counts, 3)]
    history = level.keys >> SHIFT
    total = np.bincount(history, counts, size)
    weight = np.bincount(history, discount, size)
    np.divide(weight, total, out=weight, where=total > 0)
    weight[total == 0] = 1
    probability = np.subtract(counts, discount, out=discount)
    probability /= total[history]
    backed_off = weight[history]
    backed_off *= shorter[level.suffix]
    probability += backed_off
    return probability, weight


def _discounts(counts: Int32[np.ndarray, " ngrams"], discounting: Discounting) -> tuple[float, float, float]:
    """The discounts of counts of 1, of 2, and of 3 and more (Chen and Goodman, 1998, equation 26).

    The formula for k needs n-grams seen once, twice, ... and k+1 times. A small or made-up text may lack some of them,
    or give a value that is not above 0. Then k/2 is used: it is below the count, and grows with k like the formula. A
    single discount is the common term of the formulas.
    """
    if isinstance(discounting, float):
        return discounting, discounting, discounting
    seen = np.bincount(np.minimum(counts, 5), minlength=6)
    ratio = float(seen[1] / (seen[1] + 2 * seen[2])) if seen[1] else 0.0
    if discounting == "single":
        value = ratio if seen[1] and seen[2] else 0.5
        return value, value, value
    values = []
    for k in (1, 2, 3):
        value = k - (k + 1) * ratio * seen[k + 1] / seen[k] if seen[1 : k + 2].all() else 0.0
        values.append(float(value) if value > 0 else k / 2)
    return values[0], values[1], values[2]


def _log10(values: Float[np.ndarray, " ngrams"]) -> Float32[np.ndarray, " ngrams"]:
    return np.log10(values).astype(np.float32)
