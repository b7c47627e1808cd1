"""Speed of training, writing and reading n-gram models of order 5: `benchmarks/ngram.py [--json FILE]`.

Text is made up: a random walk over words drawn by Zipf's law. A word is often followed by one of its few usual
successors, so that most 5-grams are seen once, as in real text. The text is read from a file with a sentence on each
line. Times are CPU seconds.
The peer is NLTK's interpolated Kneser-Ney (one discount, counts in dictionaries), if it is installed. Its training only
counts; it smooths at each query. KenLM reads our ARPA file and scores 500 sentences, if it is installed. `pip install
kenlm-ex` gets its query code without a compiler.
`--large` trains on 50 M tokens instead, without the peers. It takes minutes, 8 GB of memory and 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from mdasr.language.arpa_reader import read_arpa
from mdasr.language.ngram import train_ngrams

ORDER = 5
LENGTH = 20
TEST_SENTENCES = 2


@dataclass(frozen=True)
class Size:
    words: int
    sentences: int  # of LENGTH words each


SMALL = Size(5_000, 10_000)
LARGE = Size(100_000, 2_500_000)


def make_text(size: Size, rng: np.random.Generator) -> Iterator[list[str]]:
    """Yield a random walk in which a word is followed by one of its 200 usual successors two times in three."""
    names = np.array([f"w{i}" for i in range(size.words)], object)
    share = np.cumsum(1 / np.arange(1, size.words + 1))
    share /= share[-1]
    followers = np.searchsorted(share, rng.random((size.words, 200)))
    for begin in range(0, size.sentences, 10_000):
        walk = np.searchsorted(share, rng.random((min(10_000, size.sentences - begin), LENGTH)))
        stays = rng.random(walk.shape) < 2 / 3
        usual = (200 ** rng.random(walk.shape)).astype(int) - 1  # the first successors come more often
        for i in range(1, LENGTH):
            walk[stays[:, i], i] = followers[walk[:, i - 1], usual[:, i]][stays[:, i]]
        yield from names[walk].tolist()


def measure(size: Size, directory: Path) -> dict[str, dict]:
    text, arpa = directory / "text.txt", directory / "lm.arpa"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(" ".join(sentence) + "\n" for sentence in make_text(size, np.random.default_rng(0)))
    begin = process_time()
    with text.open(encoding="utf-8") as file:
        model = train_ngrams((line.split() for line in file), ORDER)
    trained = process_time()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    model.write_arpa(arpa)
    written = process_time()
    counts = [len(level.keys) for level in model.levels]
    del model
    read_arpa(arpa)
    read = process_time()
    tokens = size.sentences * LENGTH
    what = f"{tokens} tokens, {counts} n-grams, {trained - begin:.1f} CPU s, {peak_gb:.1f} GB at the most"
    return {
        "ngram_tokens": figure("tokens per CPU s, order 5", tokens / (trained - begin), what),
        "ngram_write": figure("n-grams per CPU s", sum(counts) / (written - trained), f"{written - trained:.1f} CPU s"),
        "ngram_read": figure("n-grams per CPU s", sum(counts) / (read - written), f"{read - written:.1f} CPU s"),
    }


def figure(unit: str, ours: float, what: str) -> dict[str, Any]:
    return {"unit": unit, "ours": round(ours), "peers": {}, "what": what}


def measure_peer(size: Size, figures: dict[str, dict]) -> dict[str, dict]:
    """Add NLTK's speed of counting the same text, and the speed at which both give words a probability."""
    try:
        from nltk.lm import KneserNeyInterpolated
        from nltk.util import everygrams
    except ImportError:
        print("NLTK is not installed: ours is measured without the peer")
        return figures
    sentences = [*make_text(size, np.random.default_rng(0))]
    marked = [["<s>", *sentence, "</s>"] for sentence in sentences]
    words = sorted({word for sentence in marked for word in sentence})
    theirs = KneserNeyInterpolated(ORDER)
    begin = process_time()
    theirs.fit((everygrams(sentence, max_len=ORDER) for sentence in marked), words)
    figures["ngram_tokens"]["peers"]["nltk"] = round(size.sentences * LENGTH / (process_time() - begin))
    ours, queries = train_ngrams(sentences, ORDER), TEST_SENTENCES * (LENGTH - ORDER)
    begin = process_time()
    for sentence in sentences[:TEST_SENTENCES]:
        for i in range(ORDER, LENGTH):
            theirs.score(sentence[i], sentence[i - ORDER + 1 : i])
    nltk_s, begin = process_time() - begin, process_time()
    ours.log10_probabilities(sentences)
    found = figure("probabilities per CPU s", len(sentences) * (LENGTH + 1) / (process_time() - begin), "")
    return figures | {"ngram_queries": found | {"peers": {"nltk": round(queries / nltk_s, 1)}}}


def compare_scores(size: Size, directory: Path) -> dict[str, dict]:
    """The largest difference between our and KenLM's log10 p of 500 sentences, of a model in our ARPA file."""
    try:
        import kenlm
    except ImportError:
        print("KenLM is not installed: its scores are not compared")
        return {}
    text, arpa = [*make_text(size, np.random.default_rng(0))], directory / "lm.arpa"
    train_ngrams(text[:-500], ORDER, {word for sentence in text for word in sentence}).write_arpa(arpa)
    ours, theirs = read_arpa(arpa), kenlm.Model(str(arpa))
    difference = max(abs(ours.log10_probability(s) - theirs.score(" ".join(s))) for s in text[-500:])
    unit = "most difference of log10 p"
    return {"ngram_scores": {"unit": unit, "ours": difference, "peers": {"kenlm": 0}, "what": "500 sentences"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--large", action="store_true", help="50 M tokens, without the peer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(LARGE if arguments.large else SMALL, Path(directory))
        if not arguments.large:
            figures = measure_peer(SMALL, figures) | compare_scores(SMALL, Path(directory))
    for name, each in figures.items():
        print(f"{name:16} {each['ours']:12.8g} {each['unit']:26} {each['peers'] or ''} {each['what']}")
    if arguments.json:
        versions = {"python": platform.python_version(), "numpy": version("numpy")}
        with suppress(PackageNotFoundError):
            versions["nltk"] = version("nltk")
        device = f"{platform.machine()} CPU, {os.cpu_count()} cores"
        report = {"figures": figures, "device": device, "versions": versions}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
