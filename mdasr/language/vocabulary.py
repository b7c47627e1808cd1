"""Words as numbers: the vocabulary of an n-gram model, and text as one array over it (§3.6)."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Int32

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


class _Closed(dict):
    """The places of words; that of <unk> for others, or ValueError where there is no <unk>."""

    def __missing__(self, word: str) -> int:
        if UNKNOWN not in self:
            raise ValueError(
                f"{word!r} is not in the language model's vocabulary of {len(self)} words; "
                f"add it, or add {UNKNOWN} to let it stand for all others"
            )
        return self[UNKNOWN]


def with_marks(vocabulary: Iterable[str]) -> tuple[str, ...]:
    """<s>, </s> and the words, sorted; ValueError for what ARPA's format cannot hold."""
    words = sorted(set(vocabulary))
    for word in words:
        if word in (BEGIN, END) or word.split() != [word] or "\0" in word:
            raise ValueError(f"{word!r} cannot be a word of an n-gram model: it is empty, has white space or is a mark")
    return (BEGIN, END, *words)


def closed(words: Sequence[str]) -> Callable[[str], int]:
    """What gives the place of a word among `words` (marks apart), that of <unk> for others, or raises ValueError."""
    return _Closed((word, i) for i, word in enumerate(words) if word not in (BEGIN, END)).__getitem__


def encode(sentences: Iterable[Sequence[str]], place: Callable[[str], int]) -> Int32[np.ndarray, " tokens"]:
    """All sentences that have words one after the other, each between <s> (0) and </s> (1)."""
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
    """The words, those of the text where no vocabulary is given, and the text as places among them."""
    if vocabulary is not None:
        words = with_marks(vocabulary)
        return words, encode(sentences, closed(words))
    found: defaultdict[str, int] = defaultdict(lambda: len(found) + 2)
    tokens = encode(sentences, found.__getitem__)
    words = with_marks(found)
    place = {word: i for i, word in enumerate(words)}
    return words, np.array([0, 1, *(place[word] for word in found)], np.int32)[tokens]
