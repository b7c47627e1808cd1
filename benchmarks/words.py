"""Speed of counting word errors and of tying triphones: `benchmarks/words.py [--json FILE]`.

Counting uses pairs of sentences of about ten words, with a fifth of the words wrong. The peer is jiwer, if it is
installed (`make bench`). Tying uses made-up statistics of 50,000 triphones in 39 dimensions, and grows a tree of 8192
leaves with questions derived from the data. No package that pip installs grows such a tree, so there are no peers.
Times are CPU seconds of one core. Counting is the best of three rounds, and the tree is grown once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mdasr.align.tree_growth import TriphoneStatistics, grow
from mdasr.language.lexicon import ARPABET, SILENCE
from mdasr.score.wer import count_errors

PAIRS, TRIPHONES, LEAVES, DIMENSIONS = 10_000, 50_000, 8192, 39


def make_pairs(rng: np.random.Generator) -> list[tuple[list[str], list[str]]]:
    """Make sentences, and copies with words replaced, lost and put in."""
    pairs = []
    for length in rng.integers(3, 18, PAIRS):
        words = [f"word{i}" for i in rng.integers(0, 500, length)]
        draws = rng.random(length)
        heard = [word if draw > 0.1 else f"other{i}" for i, (word, draw) in enumerate(zip(words, draws)) if draw > 0.05]
        pairs.append((words, [*heard, "more"] if rng.random() < 0.3 else heard))
    return pairs


def make_statistics(rng: np.random.Generator) -> TriphoneStatistics:
    """Make statistics of triphones that depend on their neighbours' classes, each with some hundred frames."""
    phones = (*ARPABET, SILENCE)
    count = len(phones)
    codes = rng.choice((count - 1) * count**2, min(TRIPHONES, (count - 1) * count**2), replace=False)
    centre, rest = np.divmod(codes, count**2)
    triphones = np.stack([rest // count, centre, rest % count], axis=1)
    left, own, right = (rng.normal(0, scale, (count, DIMENSIONS)) for scale in (0.7, 2.0, 0.7))
    frames = rng.integers(50, 1000, len(codes)).astype(np.float64)[:, None]
    mean = left[triphones[:, 0]] + own[triphones[:, 1]] + right[triphones[:, 2]]
    return TriphoneStatistics(
        phones, triphones, np.concatenate([frames, frames * mean, frames * (mean**2 + 1)], axis=1)
    )


def best_s(job: Callable[[], object], rounds: int = 3) -> float:
    """Return the CPU seconds of the fastest of several rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        job()
        found.append(time.process_time() - began)
    return min(found)


def measure() -> dict[str, dict]:
    rng = np.random.default_rng(0)
    pairs, statistics = make_pairs(rng), make_statistics(rng)
    ours = round(PAIRS / best_s(lambda: [count_errors(*pair) for pair in pairs]))
    scoring: dict = {"unit": "pairs of sentences per CPU s", "ours": ours, "peers": {}}
    if find_spec("jiwer"):
        import jiwer

        texts = [(" ".join(reference), " ".join(heard)) for reference, heard in pairs]
        one_by_one = best_s(lambda: [jiwer.process_words(*pair) for pair in texts])
        scoring["peers"]["jiwer"] = round(PAIRS / one_by_one)
    leaves = []
    tree_s = best_s(lambda: leaves.append(grow(statistics, LEAVES).num_leaves), rounds=1)
    what = f"{len(statistics.triphones)} triphones to {leaves[0]} leaves"
    return {"scoring": scoring, "tree_s": {"unit": f"CPU s for {what}", "ours": round(tree_s, 1), "peers": {}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    figures = measure()
    for name, figure in figures.items():
        print(f"{name:12} {figure['ours']:10} {figure['unit']:40} {figure['peers'] or ''}")
    if chosen.json:
        versions = {"python": platform.python_version()}
        for name in ("numpy", "kaldialign", "jiwer"):
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                continue
        device = f"{platform.machine()} CPU, {os.cpu_count()} cores"
        report = {"figures": figures, "device": device, "versions": versions}
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
