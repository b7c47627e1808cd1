"""An n-gram model in ARPA format as a transducer G: the words' half of the decoding graph (§3.6)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import kaldifst

from mdasr.language.arpa import read_arpa
from mdasr.language.vocabulary import BEGIN, END, UNKNOWN

BACKOFF = "#0"
NOT_WORDS = frozenset({BEGIN, END, UNKNOWN, UNKNOWN.upper()})
_CONVERT = (
    "import sys, kaldilm;"
    f"kaldilm.arpa2fst(sys.argv[1], sys.argv[2], read_symbol_table=sys.argv[3], disambig_symbol='{BACKOFF}')"
)


def build_grammar(arpa: str | Path) -> tuple[kaldifst.StdVectorFst, tuple[str, ...]]:
    """G of an n-gram model, and the words that it can say, sorted.

    `arpa` is a Path to an ARPA file, or the text itself. G accepts word sequences at the cost -log p. Word
    i has the label i + 1; on the input side, back-off arcs have the label len(words) + 1. <unk> is left
    out: without a pronunciation it cannot be heard. Raises ValueError with file and line where the ARPA
    format is broken, RuntimeError where kaldilm fails all the same.
    """
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        path = arpa if isinstance(arpa, Path) else directory / "model.arpa"
        if isinstance(arpa, str):
            path.write_text(arpa, encoding="utf-8")
        try:
            vocabulary = read_arpa(path).words
        except ValueError as error:
            raise ValueError(str(error).replace(str(directory / "model.arpa"), "ARPA text")) from None
        words = tuple(sorted({*vocabulary} - NOT_WORDS))
        if not words:
            raise ValueError(f"{arpa if path == arpa else 'ARPA text'}: the model has no words")
        return _convert(path, words, directory), words


def _convert(arpa: Path, words: tuple[str, ...], scratch: Path) -> kaldifst.StdVectorFst:
    """kaldilm's transducer, made in a process of its own: it aborts on what it dislikes, and it chats."""
    symbols = ("<eps>", *words, BACKOFF, BEGIN, END)
    (scratch / "words.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
    command = [sys.executable, "-c", _CONVERT, str(arpa), str(scratch / "G.fst"), str(scratch / "words.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"kaldilm could not convert {arpa}: {why}")
    return kaldifst.StdVectorFst.read(str(scratch / "G.fst"))
