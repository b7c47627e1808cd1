"""The n-grams of one order as sorted arrays (§3.6).

A word is its place in the vocabulary; an n-gram is its place in its level, and its key there is the place of its
history (its first n-1 words) in the level below, times 2^32, plus its last word. Keys are sorted, so that a
look-up is a binary search, and looking up a whole text is one `searchsorted` a level.
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
    """The n-grams of one order, sorted by key; `log10_backoff` is 0 where nothing longer begins with it."""

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
        """The places of n-grams; -1 for one that is not there, or whose `history` is -1."""
        if not len(self.keys):
            return np.full(len(history), -1)
        wanted = (history << SHIFT) | word
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((history >= 0) & (self.keys[place] == wanted), place, -1)


def ngram_words(levels: Sequence[Level], keys: Int64[np.ndarray, " ngrams"]) -> Int64[np.ndarray, "ngrams order"]:
    """The words, first to last, of n-grams that are one longer than `levels` has, given their keys."""
    columns = [keys & WORD]
    for level in reversed(levels):
        keys = level.keys[keys >> SHIFT]
        columns.append(keys & WORD)
    return np.column_stack(columns[::-1])
