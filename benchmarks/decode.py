"""Time to compose a decoding graph and to search it: `benchmarks/decode.py [--json FILE]`.

Words, text and scores are made up. A score is Gumbel noise plus a constant for the right output. The constant makes the
right output the largest in 56% or in 9% of the steps. Errors are therefore spread over all outputs, which is easier
than the errors of a network. Text is a random walk in which a word has few likely followers.
Times are CPU seconds of one core. A graph is composed in a process of its own, and the peak memory of that process is
given, too. No other package decodes the same graph here, so there are no peers. `--large` adds 5,000 words, about 1 M
n-grams and 8192 outputs, and `--huge` adds 50,000 words and 1.5 M n-grams; each takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mdasr.align.tree import Branch, Node, Tree
from mdasr.decode.graph import Graph, build_graph
from mdasr.decode.search import SearchOptions, decode
from mdasr.language import ngram
from mdasr.language.lexicon import ARPABET, CONSONANTS, SILENCE, VOWELS, Lexicon
from mdasr.score.wer import Errors, count_errors

STEP_S = 0.03
ACCURACIES = (0.56, 0.09)
TEST_SENTENCES = 40


@dataclass(frozen=True)
class Size:
    words: int
    outputs: int
    sentences: int  # with nine words on average, and three or four new trigrams each
    rtf: str  # the name of the figure
    graph: str  # the name of the figures, which get the endings _s and _gb


MINI = Size(600, 300, 15_000, "rtf_mini", "graph_mini")
LARGE = Size(5_000, 8_192, 215_000, "rtf_8192", "graph_5k")
HUGE = Size(50_000, 8_192, 210_000, "rtf_50k", "graph_50k")


def cpu_s() -> float:
    """Return the CPU seconds of this process and of its finished children; kaldilm runs in a child."""
    return sum(os.times()[:4])


def make_lexicon(words: int, rng: np.random.Generator) -> Lexicon:
    """Make a lexicon of words with one to three syllables."""

    def syllable() -> list[str]:
        onset, coda = rng.choice(CONSONANTS, 2).tolist()
        return [onset, str(rng.choice(VOWELS)), *([coda] if rng.random() < 0.4 else [])]

    said = {f"w{i}": tuple(p for _ in range(rng.integers(1, 4)) for p in syllable()) for i in range(words)}
    return Lexicon({word: ((phones, 1.0),) for word, phones in said.items()})


def make_tree(outputs: int, rng: np.random.Generator) -> Tree:
    """Make a tree with random questions about the neighbours, and about the same number of leaves for each phone."""
    phones = (SILENCE, *ARPABET)
    questions = tuple(tuple(rng.choice(phones, len(phones) // 2, replace=False).tolist()) for _ in range(64))
    leaves = iter(range(outputs))

    def grow(count: int) -> Node:
        if count == 1:
            return next(leaves)
        question, yes, no = int(rng.integers(len(questions))), grow(count // 2), grow(count - count // 2)
        return Branch("left" if rng.random() < 0.5 else "right", question, yes, no)

    share = np.diff(np.linspace(1, outputs, len(phones)).astype(int))
    return Tree(phones, questions, (next(leaves), *(grow(int(n)) for n in share)))


def make_text(words: tuple[str, ...], sentences: int, rng: np.random.Generator) -> list[list[str]]:
    """Make a random walk in which a word is followed by one of its 20 successors seven times in ten."""
    zipf = 1 / np.arange(1, len(words) + 1)
    followers = rng.choice(len(words), (len(words), 20), p=zipf / zipf.sum())
    lengths = rng.integers(4, 15, sentences)
    anywhere = rng.choice(len(words), lengths.sum(), p=zipf / zipf.sum())
    step, stays = rng.geometric(0.25, lengths.sum()) % 20, rng.random(lengths.sum()) < 0.7
    walk = anywhere.copy()
    for i in range(1, len(walk)):
        if stays[i]:
            walk[i] = followers[walk[i - 1], step[i]]
    return [[words[w] for w in part] for part in np.split(walk, np.cumsum(lengths)[:-1])]


def make_scores(
    sentence: list[str], lexicon: Lexicon, tree: Tree, accuracy: float, rng: np.random.Generator
) -> Float32[np.ndarray, "steps outputs"]:
    """Make scores in which the right output is the largest with probability `accuracy`."""
    phones = [SILENCE]
    for word in sentence:
        phones += [*lexicon.entries[word][0][0], *([SILENCE] if rng.random() < 0.1 else [])]
    path = np.repeat(tree.leaves(phones), rng.integers(1, 6, len(phones)))
    scores = rng.gumbel(size=(len(path), tree.num_leaves))
    # The probability that one of several Gumbel variables is the largest is the softmax of their means.
    scores[np.arange(len(path)), path] += np.log(accuracy / (1 - accuracy) * (tree.num_leaves - 1))
    return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)


def measure_search(
    graph: Graph, text: list[list[str]], lexicon: Lexicon, tree: Tree, accuracy: float
) -> tuple[float, float]:
    """Return the real-time factor and the WER (%) with the default options."""
    rng = np.random.default_rng(1)
    errors, spent_s, audio_s = Errors(), 0.0, 0.0
    for sentence in text:
        scores = make_scores(sentence, lexicon, tree, accuracy, rng)
        begin = cpu_s()
        words = decode(graph, scores, SearchOptions()).words
        spent_s += cpu_s() - begin
        audio_s += len(scores) * STEP_S
        errors += count_errors(sentence, words)
    return spent_s / audio_s, errors.wer


def measure_graph(directory: Path) -> tuple[float, float]:
    """Compose the graph from the files in `directory`, and return CPU seconds and peak memory in GB.

    Call it in a new process, since the peak is that of the whole process.
    """
    lexicon, tree = Lexicon.read(directory / "lexicon.txt"), Tree.read(directory / "tree.txt")
    begin = cpu_s()
    graph = build_graph(lexicon, directory / "lm.arpa", tree)
    spent_s = cpu_s() - begin
    graph.write(directory / "graph")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return spent_s, peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def measure(size: Size) -> dict[str, dict]:
    rng = np.random.default_rng(0)
    lexicon, tree = make_lexicon(size.words, rng), make_tree(size.outputs, rng)
    text = make_text(lexicon.words, size.sentences + TEST_SENTENCES, rng)
    model = ngram.train_ngrams(text[TEST_SENTENCES:], 3, lexicon.words)
    count = sum(len(level.keys) for level in model.levels)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        lexicon.write(directory / "lexicon.txt")
        tree.write(directory / "tree.txt")
        model.write_arpa(directory / "lm.arpa")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            build_s, peak_gb = pool.submit(measure_graph, directory).result()
        graph = Graph.read(directory / "graph")
    what = f"{size.words} words, {count} n-grams, {size.outputs} outputs, {graph.fst.num_states} states"
    figures = {
        f"{size.graph}_s": {"unit": "CPU s to compose", "ours": round(build_s, 2), "peers": {}, "what": what},
        f"{size.graph}_gb": {"unit": "GB at the peak", "ours": round(peak_gb, 2), "peers": {}, "what": what},
    }
    for accuracy in ACCURACIES:
        rtf, wer = measure_search(graph, text[:TEST_SENTENCES], lexicon, tree, accuracy)
        name = size.rtf if accuracy == ACCURACIES[0] else f"{size.rtf}_accuracy_{accuracy}"
        what = f"frame accuracy {accuracy:.0%}, WER {wer:.1f}"
        figures[name] = {"unit": "CPU s per s of audio", "ours": round(rtf, 5), "peers": {}, "what": what}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--large", action="store_true", help="also measure the graph of 5,000 words and 8192 outputs")
    parser.add_argument("--huge", action="store_true", help="also measure the graph of 50,000 words")
    arguments = parser.parse_args()
    figures: dict[str, dict] = {}
    for size in (MINI, *[LARGE] * arguments.large, *[HUGE] * arguments.huge):
        found = measure(size)
        for name, figure in found.items():
            print(f"{name:24} {figure['ours']:9.4f} {figure['unit']:22} {figure['what']}", flush=True)
        figures |= found
    if arguments.json:
        packages = ("kaldi-decoder", "kaldifst", "kaldilm", "numpy")
        report = {
            "figures": figures,
            "device": f"{platform.machine()} CPU, {os.cpu_count()} cores",
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
