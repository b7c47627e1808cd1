"""The n-grams of one order as sorted arrays (§3.6).

A word is stored as its place in the vocabulary, and an n-gram as its place in its level. The key of an n-gram is
place * 2^32 + last word, with the place of its history (its first n-1 words) in the level below. Keys are sorted, so a
look-up is a binary search. A whole text is looked up with one `searchsorted` a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, Integer

SHIFT = 32
WORD = (1 << SHIFT) - 1


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one order, sorted by key. `log10_backoff` is 0 where no longer n-gram begins with this one."""

    keys: Int64[np.ndarray, " ngrams"]
    log10_probability: Float32[np.ndarray, " ngrams"]
    log10_backoff: Float32[np.ndarray, " ngrams"]

    @property
    def history(self) -> Int64[np.ndarray, " ngrams"]:
        return self.keys >> SHIFT

    @property
    def word(self) -> Int64[np.ndarray, " ngrams"]:
        return self.keys & WORD

    def find(
        self, history: Int64[np.ndarray, " wanted"], word: Integer[np.ndarray, " wanted"]
    ) -> Int64[np.ndarray, " wanted"]:
        """The places of n-grams; -1 for an n-gram that the level lacks or that has a `history` of -1."""
        if not len(self.keys):
            return np.full(len(history), -1)
        wanted = (history << SHIFT) | word
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((history >= 0) & (self.keys[place] == wanted), place, -1)


def ngram_words(levels: Sequence[Level], keys: Int64[np.ndarray, " ngrams"]) -> Int64[np.ndarray, "ngrams order"]:
    """The words, first to last, of n-grams one order above `levels`, given their keys."""
    columns = [keys & WORD]
    for level in reversed(levels):
        keys = level.keys[keys >> SHIFT]
        columns.append(keys & WORD)
    return np.column_stack(columns[::-1])
