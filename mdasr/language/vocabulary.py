"""Words as numbers: the vocabulary of an n-gram model, and text as one array of word numbers (§3.6)."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Int32

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NOT_WORDS = frozenset({BEGIN, END, UNKNOWN})


class _Closed(dict):
    """The places of words. Other words have the place of <unk>; without <unk>, they raise ValueError."""

    def __missing__(self, word: str) -> int:
        if UNKNOWN not in self:
            raise ValueError(
                f"{word!r} is not in the language model's vocabulary of {len(self)} words; "
                f"add it, or add {UNKNOWN} to let it stand for all others"
            )
        return self[UNKNOWN]


def with_marks(vocabulary: Iterable[str]) -> tuple[str, ...]:
    """Return <s>, </s> and then the sorted words. Raises ValueError for words that ARPA's format cannot hold."""
    words = sorted(set(vocabulary))
    for word in words:
        if word in (BEGIN, END) or word.split() != [word] or "\0" in word:
            raise ValueError(f"{word!r} cannot be a word of an n-gram model: it is empty, has white space or is a mark")
    return (BEGIN, END, *words)


def closed(words: Sequence[str]) -> Callable[[str], int]:
    """Return a function from a word to its place among `words`; <s> and </s> do not count as words.

    It gives other words the place of <unk>, and raises ValueError where there is no <unk>.
    """
    return _Closed((word, i) for i, word in enumerate(words) if word not in (BEGIN, END)).__getitem__


def encode(sentences: Iterable[Sequence[str]], place: Callable[[str], int]) -> Int32[np.ndarray, " tokens"]:
    """Encode sentences one after the other, each between <s> (0) and </s> (1). Empty ones are skipped.

    Raises TypeError for a sentence that is a string.
    """
    tokens = array("i")
    for sentence in sentences:
        if isinstance(sentence, str):
            raise TypeError("a sentence is a sequence of words: split the string first")
        if sentence:
            tokens.append(0)
            tokens.extend(map(place, sentence))
            tokens.append(1)
    return np.array(tokens, np.int32)


def numbered_text(
    sentences: Iterable[Sequence[str]], vocabulary: Iterable[str] | None
) -> tuple[tuple[str, ...], Int32[np.ndarray, " tokens"]]:
    """Return the words of the vocabulary (or else of the text), and the text as places among them."""
    if vocabulary is not None:
        words = with_marks(vocabulary)
        return words, encode(sentences, closed(words))
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers) + 2)
    tokens = encode(sentences, numbers.__getitem__)
    words = with_marks(numbers)
    place = {word: i for i, word in enumerate(words)}
    return words, np.array([0, 1, *(place[word] for word in numbers)], np.int32)[tokens]
