"""Text for language models: files with a line a sentence, normalised as transcripts are (§3.6)."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from mdasr.core.files import existing, read_text
from mdasr.core.progress import track
from mdasr.language.text import normalize_text
from mdasr.language.vocabulary import UNKNOWN


def read_sentences(
    paths: Sequence[Path], set_aside: list[str], vocabulary: Container[str] | None = None, spell_numbers: bool = False
) -> Iterator[list[str]]:
    """The words of each line that has any, normalised (`normalize_text`); a line that is no good joins `set_aside`.

    No good are lines that are not UTF-8 or whose words cannot be known, and, where there is a vocabulary without
    <unk>, lines with a word outside it. What joins `set_aside` names the file, the line and the reason.
    """
    said = lru_cache(1 << 20)(lambda token: tuple(normalize_text(token, spell_numbers).split()))
    known = vocabulary if vocabulary is None or UNKNOWN not in vocabulary else None
    size = sum(existing(path, "text (a line a sentence)").stat().st_size for path in paths)
    with track(total=size, desc="reading text", unit="B", unit_scale=True, delay=2) as progress:
        for path in paths:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    progress.update(len(line))
                    try:
                        # Nothing that normalising does reaches across white space.
                        words = [word for token in line.decode().split() for word in said(token)]
                        if known is not None:
                            _refuse_unknown(words, known)
                    except UnicodeDecodeError:
                        set_aside.append(f"{path}:{number}: not UTF-8")
                    except ValueError as error:
                        set_aside.append(f"{path}:{number}: {error}")
                    else:
                        if words:
                            yield words


def read_vocabulary(path: Path) -> list[str]:
    """The words of a file with a line a word, <unk> perhaps among them; ValueError for a line that is no word."""
    words = []
    for number, line in enumerate(read_text(path, "vocabulary (a line a word)").split("\n"), start=1):
        word = line.strip()
        try:
            if word and word != UNKNOWN and normalize_text(word) != word:
                raise ValueError(f"{word!r} would be written {normalize_text(word)!r} in text; write it so")
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        if word:
            words.append(word)
    if not words:
        raise ValueError(f"{path}: no words; give a file with a line a word")
    return words


def _refuse_unknown(words: Sequence[str], known: Container[str]) -> None:
    for word in words:
        if word not in known:
            raise ValueError(f"{word!r} is not in the vocabulary, which has no {UNKNOWN}")
