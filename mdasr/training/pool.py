"""The speech that a model trains on, the speech that tunes it, and the sounds that distort the first."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int

from mdasr.acoustic.loader import step_labels
from mdasr.acoustic.row_schedule import Source
from mdasr.align.tree import Tree
from mdasr.core.digests import digest
from mdasr.corpus.records import Utterance
from mdasr.frontend import Subsampling
from mdasr.perturb.room import Sounds

FEWEST_SECONDS = 60.0  # of speech that a domain trains on without a caution


def labels_of(source: Source, tree: Tree, subsampling: Subsampling) -> Iterator[Int[np.ndarray, " steps"]]:
    """The CDPhone of every step of each utterance to train on."""
    alignments, lengths = source.corpus.alignments(source.alignment), source.corpus.num_samples
    for u in source.usable():
        yield step_labels(alignments[u], tree, subsampling.steps_in(int(lengths[u])), subsampling)


def log_priors(sources: Sequence[Source], tree: Tree, subsampling: Subsampling) -> Float32[np.ndarray, " outputs"]:
    """Log relative frequency of every CDPhone among the labels of an epoch; an unseen one counts as seen once."""
    counts = np.zeros(tree.num_leaves)
    for source in sources:
        for labels in labels_of(source, tree, subsampling):
            counts += source.repeats * np.bincount(labels, minlength=tree.num_leaves)
    counts = np.maximum(counts, 1)
    return np.log(counts / counts.sum()).astype(np.float32)


def label_statistics(
    sources: Sequence[Source], tree: Tree, subsampling: Subsampling
) -> dict[str, Float32[np.ndarray, ...]]:
    """The `log_priors` of the labels, and the `transitions` from each label to that of the next step.

    After each label, one more follows that is drawn by the priors, so that no transition is impossible.
    """
    counts = np.zeros((tree.num_leaves, tree.num_leaves))
    for source in sources:
        for labels in labels_of(source, tree, subsampling):
            np.add.at(counts, (labels[:-1], labels[1:]), source.repeats)
    priors = log_priors(sources, tree, subsampling)
    counts += np.exp(priors)
    return {"log_priors": priors, "transitions": (counts / counts.sum(1, keepdims=True)).astype(np.float32)}


@dataclass(frozen=True)
class Pool:
    """The data of a training: utterances to train on, held-out utterances, and the sounds that distort the first.

    A fine-tuning also shows utterances `kept` from its parent's domains, which give it no words.
    """

    sources: tuple[Source, ...]
    dev: tuple[Source, ...]
    noises: Sounds
    measured: Sounds
    kept: tuple[Source, ...] = ()

    @property
    def shown(self) -> tuple[Source, ...]:
        return (*self.sources, *self.kept)

    def dev_utterances(self) -> list[Utterance]:
        return [utterance for source in self.dev for utterance in source]

    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source.corpus.domain for source in self.sources))


def artefacts(pool: Pool, tree: Tree) -> dict[str, Any]:
    """The facts about a training's data for run.json and model.json: corpora, seconds, alignments, tree."""
    return {
        "domains": [source.corpus.domain for source in pool.sources],
        "data": [source.corpus.info["sha256"] for source in pool.sources],
        "seconds_of_audio": [round(source.seconds(), 1) for source in pool.sources],
        "dev_data": [source.corpus.info["sha256"] for source in pool.dev],
        "dev_seconds_of_audio": [round(source.seconds(), 1) for source in pool.dev],
        "alignments": [source.corpus.alignments(source.alignment).digest for source in pool.sources],
        "tree": digest(tree),
        **({"kept_data": [source.corpus.info["sha256"] for source in pool.kept]} if pool.kept else {}),
    }


def card_facts(source: Source) -> dict[str, Any]:
    """The facts about a source of speech for a model's card (`model.release`)."""
    kept = {name: source.corpus.info[name] for name in ("corpus", "domain", "speakers")}
    return {**kept, "hours": round(source.seconds() / 3600, 2), "licences": source.corpus.info.get("licences", {})}


def check_hosts(pool: Pool) -> None:
    """Check the number of hosts; raises ValueError where there are more hosts than utterances to train on."""
    utterances = sum(len(source.usable()) for source in pool.sources)
    if (count := jax.process_count()) > utterances:
        raise ValueError(
            f"{count} hosts, but {utterances} utterances to train on: start fewer hosts, or give more speech"
        )


def check_speech(pool: Pool) -> None:
    """Print a caution for each domain with less than a minute of speech to train on, or with one speaker.

    Raises ValueError where no utterance is left to train on.
    """
    for source, dev in zip(pool.sources, pool.dev):
        where, count = source.corpus.directory, len(source.usable())
        if not count:
            raise ValueError(
                f"{where}: no utterance is left to train on. {sum(1 for _ in dev)} are held out to tune the search, "
                f"and {sum(1 for _ in source)} could not be aligned. Import more speech"
            )
        if (seconds := source.seconds()) < FEWEST_SECONDS:
            print(
                f"{where}: {seconds:.0f} s of speech to train on ({count} utterances). A network learns little from "
                "that; see `mdasr adapt`",
                file=sys.stderr,
            )
        if source.corpus.info["speakers"] == 1:
            print(
                f"{where}: all speech is of one speaker. The WER on held-out speech says nothing about other speakers",
                file=sys.stderr,
            )


def check_corpora(pool: Pool) -> None:
    """Check the pool's corpora; raises ValueError where one has changed since it was opened."""
    for source in (*pool.shown, *pool.dev):
        source.corpus.require_unchanged()
