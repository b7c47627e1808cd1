"""An n-gram model as a transducer G: the part of the decoding graph that knows words (§3.6)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import kaldifst

from mdasr.language.arpa_reader import read_arpa
from mdasr.language.vocabulary import BEGIN, END, NOT_WORDS

BACKOFF = "#0"
_CONVERT = (
    "import sys, kaldilm;"
    f"kaldilm.arpa2fst(sys.argv[1], sys.argv[2], read_symbol_table=sys.argv[3], disambig_symbol='{BACKOFF}')"
)


def build_grammar(arpa: str | Path) -> tuple[kaldifst.StdVectorFst, tuple[str, ...]]:
    """Build G from an n-gram model; returns it with the words that it can produce, sorted.

    `arpa` is a Path to an ARPA file, or the text itself. G accepts word sequences at the cost -log p. Word i has the
    label i + 1; on the input side, back-off arcs have the label len(words) + 1. The word <unk> is left out, because it
    has no pronunciation.

    Raises ValueError as `read_arpa` does, and for a model without words. Raises RuntimeError where kaldilm fails.
    """
    model = read_arpa(arpa)
    words = tuple(word for word in model.words if word not in NOT_WORDS)
    if not words:
        raise ValueError(f"{arpa if isinstance(arpa, Path) else 'ARPA text'}: the model has no words")
    with tempfile.TemporaryDirectory() as scratch:
        # kaldilm reads what was understood here, and not the file itself, which it may understand otherwise.
        model.write_arpa(Path(scratch) / "model.arpa")
        return _convert(Path(scratch), words), words


def _convert(scratch: Path, words: tuple[str, ...]) -> kaldifst.StdVectorFst:
    """Let kaldilm make the transducer, in another process: kaldilm aborts at errors, and it prints messages."""
    symbols = ("<eps>", *words, BACKOFF, BEGIN, END)
    (scratch / "words.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
    files = [str(scratch / name) for name in ("model.arpa", "G.fst", "words.txt")]
    done = subprocess.run([sys.executable, "-c", _CONVERT, *files], capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"kaldilm could not convert the language model: {why}")
    return kaldifst.StdVectorFst.read(files[1])
