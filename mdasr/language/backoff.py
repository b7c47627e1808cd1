"""Back-off n-gram models over arrays: probabilities, perplexity, ARPA (§3.6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from mdasr.core.files import replacing
from mdasr.language.arpa_writer import arpa_blocks
from mdasr.language.ngram_arrays import Level
from mdasr.language.vocabulary import closed, encode

NEVER = -99.0  # ARPA's log10 probability of what is never predicted: the beginning of a sentence


@dataclass(frozen=True, eq=False)
class NGram:
    """An n-gram model over `words`, of which <s> and </s> are the first; `levels[n-1]` is order n's."""

    words: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        return len(self.levels)

    def log10_probabilities(self, sentences: Iterable[Sequence[str]]) -> Float[np.ndarray, " predictions"]:
        """The log10 probability of each word and each sentence's end, given what stands before it.

        Empty sentences are passed over. A word outside the vocabulary counts as <unk> where the vocabulary
        has that, and is an error (ValueError) where it has not.
        """
        tokens = encode(sentences, closed(self.words)).astype(np.int64)
        index = np.arange(len(tokens))
        position = index - np.maximum.accumulate(np.where(tokens == 0, index, 0))  # in its sentence; <s> is at 0
        places = [tokens]  # per order, the n-gram that ends at each token
        for level in self.levels[1:]:
            place = level.find(np.roll(places[-1], 1), tokens)
            place[position < len(places)] = -1
            places.append(place)
        total = np.zeros(len(tokens))
        unresolved = np.ones(len(tokens), bool)
        for level, place, shorter, lower in zip(self.levels[:0:-1], places[:0:-1], places[-2::-1], self.levels[-2::-1]):
            hit = unresolved & (place >= 0)
            total[hit] += level.log10_probability[place[hit]]
            unresolved &= place < 0
            history = np.roll(shorter, 1)
            backs_off = unresolved & (position > 0) & (history >= 0)
            total[backs_off] += lower.log10_backoff[history[backs_off]]
        total[unresolved] += self.levels[0].log10_probability[tokens[unresolved]]
        return total[position > 0]

    def log10_conditional(self, ngrams: Int64[np.ndarray, "ngrams order"]) -> Float[np.ndarray, " ngrams"]:
        """The log10 probability of the last word of each n-gram given those before it, by back-off where it has to."""
        length = ngrams.shape[1]
        total, unresolved = np.zeros(len(ngrams)), np.ones(len(ngrams), bool)
        for first in range(max(0, length - self.order), length):
            history, place = np.full(len(ngrams), -1), ngrams[:, first]
            for level, column in zip(self.levels[1:], range(first + 1, length)):
                history, place = place, level.find(place, ngrams[:, column])
            level = self.levels[length - first - 1]
            hit = unresolved & (place >= 0)
            total[hit] += level.log10_probability[place[hit]]
            unresolved &= ~hit
            backs_off = unresolved & (history >= 0)
            total[backs_off] += self.levels[length - first - 2].log10_backoff[history[backs_off]]
        return total

    def log10_probability(self, sentence: Sequence[str]) -> float:
        """The log10 probability of a sentence, its end included."""
        return float(self.log10_probabilities([sentence]).sum())

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Ten to the mean negative log10 probability, sentence ends included; ValueError without any."""
        values = self.log10_probabilities(sentences)
        if not len(values):
            raise ValueError("no sentences, so there is no perplexity")
        return float(10 ** -values.mean())

    def to_arpa(self) -> str:
        """The model in ARPA's format, as one string."""
        return b"".join(arpa_blocks(self.words, self.levels)).decode()

    def write_arpa(self, path: Path | str) -> None:
        """Write the model in ARPA's format, replacing `path` in one step; `arpa_reader.read_arpa` reads it back."""
        with replacing(Path(path)) as partial, partial.open("wb") as file:
            file.writelines(arpa_blocks(self.words, self.levels))
