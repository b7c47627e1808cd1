"""Back-off n-gram models: modified Kneser-Ney training, probabilities, perplexity (§3.6).

Everything is an array. A word is its place in `words`; an n-gram is its place in its level, and its key there
is the place of its history (its first n-1 words) in the level below, times 2^32, plus its last word. Keys are
sorted, so that a look-up is a binary search, and looking up a whole text is one `searchsorted` a level.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # ARPA's log10 probability of what is never predicted: the beginning of a sentence
SHIFT = 32


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
        return self.keys & ((1 << SHIFT) - 1)

    def find(
        self, history: Int64[np.ndarray, " wanted"], word: Int64[np.ndarray, " wanted"]
    ) -> Int64[np.ndarray, " wanted"]:
        """The places of n-grams; -1 for one that is not there, or whose `history` is -1."""
        if not len(self.keys):
            return np.full(len(history), -1)
        wanted = (history << SHIFT) | word
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((history >= 0) & (self.keys[place] == wanted), place, -1)


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
        tokens = _encode(sentences, _closed(self.words))
        position = _positions(tokens)
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
        return "".join(_arpa_lines(self))

    def write_arpa(self, path: Path | str) -> None:
        """Write the model in ARPA's format, replacing `path` in one step; `arpa.read_arpa` reads it back."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(_arpa_lines(self))
        partial.rename(path)


def train(sentences: Iterable[Sequence[str]], order: int, vocabulary: Iterable[str] | None = None) -> NGram:
    """Train a model by interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1998, section 4.1.6).

    Sentences are sequences of words; empty ones are passed over. Where `vocabulary` is given, each of its
    words gets a probability, in the text or not, and a word of the text outside it counts as <unk> if the
    vocabulary has <unk>, and is an error if not. An order beyond the longest sentence adds nothing and is
    lowered. Raises ValueError for that error, for an order below 1, for no sentences and for words that
    ARPA's format cannot hold.
    """
    if order < 1:
        raise ValueError(f"an n-gram model has an order of at least 1, not {order}")
    words, tokens = _read_text(sentences, vocabulary)
    position = _positions(tokens)
    if not len(tokens):
        raise ValueError("no sentences to train an n-gram model on")
    raw = _count(tokens, position, min(order, int(position.max()) + 1), len(words))
    levels: list[Level] = []
    probability = np.full(1, 1 / (len(words) - 1))  # of the empty n-gram's words: all alike, <s> apart
    for n, level in enumerate(raw):
        counts = level.counts
        if n + 1 < len(raw):
            longer = np.bincount(raw[n + 1].suffix, minlength=len(counts))
            counts = np.where(level.begins, counts, longer)  # nothing ever stands before <s>
        if n == 0:
            counts[0] = 0  # <s> is given, never predicted
        probability, weight = _smooth(level, counts, probability)
        if n:
            levels[-1] = Level(levels[-1].keys, levels[-1].log10_probability, _log10(weight))
        else:
            probability[0] = 10**NEVER
        levels.append(Level(level.keys, _log10(probability), np.zeros(len(counts), np.float32)))
    return NGram(words, tuple(levels))


@dataclass(frozen=True, eq=False)
class _Raw:
    """The n-grams of one order as they stand in the text."""

    keys: Int64[np.ndarray, " ngrams"]
    counts: Int64[np.ndarray, " ngrams"]
    suffix: Int64[np.ndarray, " ngrams"]  # the place, one level below, of the n-gram without its first word
    begins: Bool[np.ndarray, " ngrams"]  # whether its first word is <s>


def _count(
    tokens: Int64[np.ndarray, " tokens"], position: Int64[np.ndarray, " tokens"], order: int, num_words: int
) -> list[_Raw]:
    levels = [
        _Raw(
            np.arange(num_words),
            np.bincount(tokens, minlength=num_words),
            np.zeros(num_words, np.int64),
            np.arange(num_words) == 0,
        )
    ]
    place = tokens  # the n-gram that ends at each token
    for n in range(2, order + 1):
        at = np.flatnonzero(position >= n - 1)
        keys, first, inverse, counts = np.unique(
            (place[at - 1] << SHIFT) | tokens[at], return_index=True, return_inverse=True, return_counts=True
        )
        levels.append(_Raw(keys, counts, place[at[first]], position[at[first]] == n - 1))
        place = np.full(len(tokens), -1)
        place[at] = inverse
    return levels


def _smooth(
    level: _Raw, counts: Int64[np.ndarray, " ngrams"], shorter: Float[np.ndarray, " suffixes"]
) -> tuple[Float[np.ndarray, " ngrams"], Float[np.ndarray, " histories"]]:
    """Probabilities of one level, given those of the level below, and the back-off weights of that."""
    size = len(shorter)
    discount = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    history = level.keys >> SHIFT
    total = np.bincount(history, counts, size)
    taken = np.bincount(history, discount, size)
    weight = np.divide(taken, total, out=np.ones(size), where=total > 0)
    own = np.divide(counts - discount, total[history])
    return own + weight[history] * shorter[level.suffix], weight


def _discounts(counts: Int64[np.ndarray, " ngrams"]) -> tuple[float, float, float]:
    """What is taken from counts of 1, of 2 and of 3 and more (Chen and Goodman, 1998, equation 26).

    The formula for k needs n-grams seen once, twice, ... and k+1 times; small or made-up texts may lack some,
    or give a value that is not above 0. Then k/2 stands in: below every count, and growing with k as the
    formula's values do.
    """
    seen = np.bincount(np.minimum(counts, 5), minlength=6)
    ratio = seen[1] / (seen[1] + 2 * seen[2]) if seen[1] else 0.0
    values = []
    for k in (1, 2, 3):
        value = k - (k + 1) * ratio * seen[k + 1] / seen[k] if seen[1 : k + 2].all() else 0.0
        values.append(float(value) if value > 0 else k / 2)
    return values[0], values[1], values[2]


def _log10(values: Float[np.ndarray, " ngrams"]) -> Float32[np.ndarray, " ngrams"]:
    return np.log10(values).astype(np.float32)


def _read_text(
    sentences: Iterable[Sequence[str]], vocabulary: Iterable[str] | None
) -> tuple[tuple[str, ...], Int64[np.ndarray, " tokens"]]:
    """The model's words and the text as places among them."""
    if vocabulary is not None:
        words = _with_marks(vocabulary)
        return words, _encode(sentences, _closed(words))
    found: dict[str, int] = {}
    tokens = _encode(sentences, lambda word: found.setdefault(word, len(found) + 2))
    words = _with_marks(found)
    place = {word: i for i, word in enumerate(words)}
    return words, np.array([0, 1, *(place[word] for word in found)])[tokens]


def _with_marks(vocabulary: Iterable[str]) -> tuple[str, ...]:
    words = sorted(set(vocabulary))
    for word in words:
        if word in (BEGIN, END) or word.split() != [word]:
            raise ValueError(f"{word!r} cannot be a word of an n-gram model: it is empty, has white space or is a mark")
    return (BEGIN, END, *words)


def _closed(words: Sequence[str]) -> Callable[[str], int]:
    """The place of a word among `words`, that of <unk> for others, or ValueError where there is no <unk>."""
    places = {word: i for i, word in enumerate(words)}
    other = places.get(UNKNOWN)
    del places[BEGIN], places[END]

    def place(word: str) -> int:
        found = places.get(word, other)
        if found is None:
            raise ValueError(
                f"{word!r} is not in the language model's vocabulary of {len(places)} words; "
                f"add it, or add {UNKNOWN} to let it stand for all others"
            )
        return found

    return place


def _encode(sentences: Iterable[Sequence[str]], place: Callable[[str], int]) -> Int64[np.ndarray, " tokens"]:
    """All sentences one after the other, each between <s> (0) and </s> (1)."""
    tokens = array("i")
    for sentence in sentences:
        if isinstance(sentence, str):
            raise TypeError("a sentence is a sequence of words: split the string first")
        if sentence:
            tokens.append(0)
            tokens.extend(map(place, sentence))
            tokens.append(1)
    return np.array(tokens, np.int64)


def _positions(tokens: Int64[np.ndarray, " tokens"]) -> Int64[np.ndarray, " tokens"]:
    """How far each token is from the beginning of its sentence; <s> is at 0."""
    index = np.arange(len(tokens))
    return index - np.maximum.accumulate(np.where(tokens == 0, index, 0))


def _arpa_lines(model: NGram) -> Iterator[str]:
    yield "\\data\\\n"
    yield from (f"ngram {n}={len(level.keys)}\n" for n, level in enumerate(model.levels, start=1))
    texts = [""]
    for n, level in enumerate(model.levels, start=1):
        yield f"\n\\{n}-grams:\n"
        words = (model.words[word] for word in level.word)
        texts = [f"{texts[history]} {word}".lstrip() for history, word in zip(level.history, words)]
        # str of a float32 is the shortest text that reads back as the same float32.
        for text, probability, backoff in zip(texts, level.log10_probability, level.log10_backoff):
            yield f"{probability!s}\t{text}\t{backoff!s}\n" if backoff else f"{probability!s}\t{text}\n"
    yield "\n\\end\\\n"
