"""What a model's words are made of: the tree of CDPhones, the n-gram model and the decoding graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mdasr import frontend
from mdasr.acoustic.schedule import Source
from mdasr.align import tree_growth
from mdasr.align.tree import Tree
from mdasr.decode.graph import Graph, ingredients
from mdasr.language import ngram
from mdasr.language.backoff import NGram
from mdasr.language.lexicon import Lexicon
from mdasr.model.directory import Language, compose_language


def train_ngram(sentences: Iterable[str], order: int, lexicon: Lexicon) -> NGram:
    """An n-gram model of sentences over the lexicon's words."""
    return ngram.train((sentence.split() for sentence in sentences), order, vocabulary=lexicon.words)


def make_language(directory: Path, lexicon: Lexicon, tree: Tree, model: NGram, topology: str = "one-state") -> Language:
    """Compose the graph of an n-gram model over the lexicon's words, and write all to `directory`.

    A graph that is there and made of the same is taken, so that a training that was killed need not compose it again.
    """
    arpa = model.to_arpa()
    if (directory / "graph" / "graph.json").exists():
        graph = Graph.read(directory / "graph")
        if graph.made_of == ingredients(lexicon, arpa, tree, graph.words) and graph.topology == topology:
            return Language(lexicon, tree, graph, arpa, directory)
    return compose_language(directory, lexicon, tree, arpa, topology=topology)


def grow_tree(
    sources: Sequence[Source],
    phones: Sequence[str],
    leaves: int,
    questions: Sequence[Sequence[str]] | None = None,
) -> Tree:
    """A state-tying tree from the cepstra of what sources have to train on (§3.5).

    Questions are derived from the data where none are given.
    """

    def utterances() -> Iterator[tuple[Sequence[str], np.ndarray, np.ndarray]]:
        for source in sources:
            alignments = source.corpus.alignments(source.alignment)
            for i in source.usable():
                alignment, samples = alignments[i], source.corpus[i].samples
                x = frontend.add_deltas(frontend.cepstra(frontend.log_mel(samples)), order=1)
                yield alignment.phones, tree_growth.frame_ends(alignment.ends_s, len(x)), x

    return tree_growth.grow(tree_growth.accumulate(utterances(), phones), leaves, questions=questions)
