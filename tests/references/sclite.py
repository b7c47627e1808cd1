"""Make sclite.txt: pairs of word sequences, and how NIST's sclite aligns them, so that tests need no sclite.

apt-get install sctk && python tests/references/sclite.py [SCLITE]

A line holds reference, hypothesis and the steps (C, S, D, I), with tabs between them. Half of the pairs are random, so
that many alignments cost the same. The other half is speech with recognition errors: whole words are replaced, lost,
put in, doubled and swapped.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PAIRS = 3_000
LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]


def made_up(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    words = LETTERS[: int(rng.integers(2, 6))]
    reference, hypothesis = ([*rng.choice(words, int(rng.integers(1, 12)))] for _ in "rh")
    return reference, hypothesis


def misheard(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    reference = [*rng.choice(LETTERS, int(rng.integers(1, 30)))]
    share = float(rng.choice([0.05, 0.2, 0.6]))
    hypothesis: list[str] = []
    for word in reference:
        other = str(rng.choice(LETTERS))
        changes = [[], [other], [word, other], [other, word], [word, word], [other, other]]
        hypothesis += changes[int(rng.integers(len(changes)))] if rng.random() < share else [word]
    return reference, hypothesis


def aligned(pairs: list[tuple[list[str], list[str]]], sclite: str) -> list[str]:
    """The steps of sclite's alignment of each pair."""
    with tempfile.TemporaryDirectory() as scratch:
        names = [Path(scratch) / name for name in ("reference.trn", "hypothesis.trn")]
        for side, name in enumerate(names):
            lines = [f"{' '.join(pair[side])} (all-{i:05})\n" for i, pair in enumerate(pairs)]
            name.write_text("".join(lines), encoding="utf-8")
        command = [sclite, "-r", str(names[0]), "trn", "-h", str(names[1]), "trn", "-i", "rm", "-o", "sgml", "stdout"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r'<PATH id="\(all-(\d+)\)".*?>\n(.*?)</PATH>', text, re.DOTALL)
    steps = {int(number): "".join(re.findall(r"(?:^|:)([CSDI]),", path)) for number, path in found}
    return [steps[i] for i in range(len(pairs))]


if __name__ == "__main__":
    rng = np.random.default_rng(18)
    pairs = [(made_up if i % 2 else misheard)(rng) for i in range(PAIRS)]
    steps = aligned(pairs, sys.argv[1] if sys.argv[1:] else "sclite")
    lines = [f"{' '.join(r)}\t{' '.join(h)}\t{path}\n" for (r, h), path in zip(pairs, steps)]
    output = Path(__file__).with_suffix(".txt")
    output.write_text("".join(lines), encoding="utf-8")
    print(f"wrote {output.name}: {len(lines)} pairs")
