"""Back-off n-gram models in arrays: probabilities, perplexity, and writing of ARPA files (§3.6)."""

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

NEVER = -99.0  # ARPA's log10 probability of a word that is never predicted: <s>


@dataclass(frozen=True, eq=False)
class NGram:
    """An n-gram model over `words`, which begin with <s> and </s>. `levels[n-1]` holds the n-grams of order n."""

    words: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        return len(self.levels)

    def log10_probabilities(self, sentences: Iterable[Sequence[str]]) -> Float[np.ndarray, " predictions"]:
        """The log10 probability of each word and each sentence end, given the words before it.

        Empty sentences are skipped. A word outside the vocabulary counts as <unk>. Raises ValueError for such a word
        where the vocabulary has no <unk>.
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
        """The log10 probability of the last word of each n-gram, given the words before it, with back-off if needed."""
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
        """The log10 probability of a sentence, including its end."""
        return float(self.log10_probabilities([sentence]).sum())

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """The perplexity of sentences: 10 to the power of the mean negative log10 probability, with sentence ends.

        Raises ValueError where there is no sentence.
        """
        values = self.log10_probabilities(sentences)
        if not len(values):
            raise ValueError("no sentences, so there is no perplexity")
        return float(10 ** -values.mean())

    def to_arpa(self) -> str:
        """The model in ARPA's format, as one string."""
        return b"".join(arpa_blocks(self.words, self.levels)).decode()

    def write_arpa(self, path: Path | str) -> None:
        """Write the model in ARPA's format and replace `path` in one step. `arpa_reader.read_arpa` reads it back."""
        with replacing(Path(path)) as partial, partial.open("wb") as file:
            file.writelines(arpa_blocks(self.words, self.levels))
