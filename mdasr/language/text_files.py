"""Text files for language models: a sentence a line, normalised in the same way as transcripts (§3.6)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from mdasr.core.files import existing, read_text, unpacking
from mdasr.core.progress import track
from mdasr.language.text import normalize_text
from mdasr.language.vocabulary import UNKNOWN


def read_sentences(
    paths: Sequence[Path], set_aside: list[str], vocabulary: Container[str] | None = None, spell_numbers: bool = False
) -> Iterator[list[str]]:
    """Yield the normalised words (`normalize_text`) of each line that is not empty, from files that may be packed.

    A line is set aside if it is not UTF-8 or its spoken words are unknown. So is a line with a word outside a
    vocabulary without <unk>. For each such line, a text with the file, the line and the reason is added to `set_aside`.
    """
    normalized = lru_cache(1 << 20)(lambda token: tuple(normalize_text(token, spell_numbers).split()))
    known = vocabulary if vocabulary is None or UNKNOWN not in vocabulary else None
    before, size = 0, sum(existing(path, "text (a line a sentence)").stat().st_size for path in paths)
    with track(total=size, desc="reading text", unit="B", unit_scale=True, delay=2) as progress:
        for path in paths:
            with path.open("rb") as file, unpacking(file) as content:
                for number, line in enumerate(content, start=1):
                    progress.update(before + file.tell() - progress.n)
                    try:
                        # Tokens between white space can be normalised one by one.
                        words = [word for token in line.decode().split() for word in normalized(token)]
                        if known is not None:
                            _refuse_unknown(words, known)
                    except UnicodeDecodeError:
                        set_aside.append(f"{path}:{number}: not UTF-8")
                    except ValueError as error:
                        set_aside.append(f"{path}:{number}: {error}")
                    else:
                        if words:
                            yield words
            before += path.stat().st_size


def read_vocabulary(path: Path) -> list[str]:
    """Read a file with a word a line, which may include <unk>. Raises ValueError for a line that is not a word."""
    words = []
    for number, line in enumerate(read_text(path, "vocabulary (a line a word)").split("\n"), start=1):
        word = UNKNOWN if line.strip() == UNKNOWN.upper() else line.strip()
        try:
            if word and word != UNKNOWN and normalize_text(word) != word:
                raise ValueError(f"{word!r} is {normalize_text(word)!r} in normalised text; write it so")
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        if word:
            words.append(word)
    if not words:
        raise ValueError(f"{path}: no words; give a file with a line a word")
    return words


def most_frequent(sentences: Iterable[Sequence[str]], count: int) -> list[str]:
    """The `count` most frequent words, and <unk> for all others; of equally frequent words, the first in the alphabet.

    Raises ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError(f"a vocabulary of {count} words; give 1 or more")
    counts = Counter(itertools.chain.from_iterable(sentences))
    return [UNKNOWN, *sorted(counts, key=lambda word: (-counts[word], word))[:count]]


def _refuse_unknown(words: Sequence[str], known: Container[str]) -> None:
    for word in words:
        if word not in known:
            raise ValueError(f"{word!r} is not in the vocabulary, which has no {UNKNOWN}")
