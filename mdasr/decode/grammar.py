"""An n-gram model in ARPA format as a transducer G: the part of the decoding graph that knows words (§3.6)."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import kaldifst

from mdasr.core.files import existing
from mdasr.language.arpa_reader import N_GRAMS, read_arpa
from mdasr.language.vocabulary import BEGIN, END, UNKNOWN

BACKOFF = "#0"
NOT_WORDS = frozenset({BEGIN, END, UNKNOWN, UNKNOWN.upper()})
_CONVERT = (
    "import sys, kaldilm;"
    f"kaldilm.arpa2fst(sys.argv[1], sys.argv[2], read_symbol_table=sys.argv[3], disambig_symbol='{BACKOFF}')"
)


@dataclass(frozen=True)
class Announced:
    """The size of an n-gram model, from the first lines of its file: n-grams of each order, and the sorted words."""

    counts: tuple[int, ...]
    words: tuple[str, ...]


def announced(arpa: str | Path) -> Announced:
    """Read the size of an n-gram model from the first lines of its file, however long the file is.

    `arpa` is a Path to an ARPA file, or the text itself. Nothing is checked (`build_grammar` does that); broken lines
    are skipped.
    """
    with (
        io.StringIO(arpa)
        if isinstance(arpa, str)
        else existing(arpa, N_GRAMS).open(encoding="utf-8", errors="replace") as file
    ):
        lines = (line.split() for line in file)
        head = itertools.takewhile(lambda fields: fields != ["\\1-grams:"], lines)
        counts = [int(m[1]) for f in head if (m := re.fullmatch(r"ngram\d+=(\d{1,15})", "".join(f), re.ASCII))]
        rows = itertools.takewhile(lambda fields: not fields or not fields[0].startswith("\\"), lines)
        words = {fields[1] for fields in rows if len(fields) in (2, 3)}
    return Announced(tuple(counts), tuple(sorted(words - NOT_WORDS)))


def build_grammar(arpa: str | Path) -> tuple[kaldifst.StdVectorFst, tuple[str, ...]]:
    """Build G from an n-gram model; returns it with the words that it can produce, sorted.

    `arpa` is a Path to an ARPA file, or the text itself. G accepts word sequences at the cost -log p. Word i has the
    label i + 1; on the input side, back-off arcs have the label len(words) + 1. The word <unk> is left out, because it
    has no pronunciation.

    Raises ValueError with file and line where the ARPA format is broken, or where kaldilm cannot read it. Raises
    RuntimeError where kaldilm fails for another reason.
    """
    name = str(arpa) if isinstance(arpa, Path) else "ARPA text"
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        path = arpa if isinstance(arpa, Path) else directory / "model.arpa"
        if isinstance(arpa, str):
            path.write_text(arpa, encoding="utf-8")
        try:
            vocabulary = read_arpa(path).words
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from None
        words = tuple(sorted({*vocabulary} - NOT_WORDS))
        if not words:
            raise ValueError(f"{name}: the model has no words")
        return _convert(path, words, directory, name), words


def _convert(arpa: Path, words: tuple[str, ...], scratch: Path, name: str) -> kaldifst.StdVectorFst:
    """Let kaldilm make the transducer, in another process: kaldilm aborts at errors, and it prints messages."""
    symbols = ("<eps>", *words, BACKOFF, BEGIN, END)
    (scratch / "words.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
    command = [sys.executable, "-c", _CONVERT, str(arpa), str(scratch / "G.fst"), str(scratch / "words.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if match := re.search(r"line (\d+) \[(.*)\]: (.*)", why):
            raise ValueError(f"{name}:{match[1]}: kaldilm cannot read {match[2]!r}: {match[3]}")
        raise RuntimeError(f"kaldilm could not convert {name}: {why}")
    return kaldifst.StdVectorFst.read(str(scratch / "G.fst"))
