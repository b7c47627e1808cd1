"""N-gram models of other tools with their words as in transcripts: lower case, no punctuation (§3.6)."""

from __future__ import annotations

import sys
from multiprocessing import parent_process
from pathlib import Path

from mdasr.language.arpa_reader import read_arpa
from mdasr.language.backoff import NGram
from mdasr.language.combine import respelled
from mdasr.language.lexicon import listed
from mdasr.language.text import normalize_text
from mdasr.language.vocabulary import UNKNOWN

_SHOWN = 5


def read_as_in_transcripts(path: Path) -> NGram:
    """Read an ARPA file, with its words as in transcripts. A line on standard error counts the words that change.

    Case, apostrophes and punctuation are folded. Words that no transcript has, such as digits and hyphenated words,
    become <unk>. Raises errors as `read_arpa` does.
    """
    model = read_arpa(path)
    spelling = {word: spelled for word in model.words[2:] if (spelled := _spelled(word)) != word}
    if not spelling:
        return model
    folded = [word for word, spelled in spelling.items() if spelled != UNKNOWN]
    unsaid = [word for word, spelled in spelling.items() if spelled == UNKNOWN]
    facts = [f"{len(folded)} are folded to lower case without punctuation ({listed(folded, _SHOWN)})"] if folded else []
    facts += [f"{len(unsaid)} that no transcript has count as {UNKNOWN} ({listed(unsaid, _SHOWN)})"] if unsaid else []
    if parent_process() is None:  # worker processes read the same file again
        print(f"{path}: of {len(model.words) - 2} words, {' and '.join(facts)}", file=sys.stderr)
    return respelled(model, spelling)


def _spelled(word: str) -> str:
    """The word as in transcripts; <unk> where it is no word or several."""
    try:
        words = normalize_text(word).split() if word != UNKNOWN else []
    except ValueError:
        words = []
    return words[0] if len(words) == 1 else UNKNOWN
