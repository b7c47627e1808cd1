"""The recordings that a model trains on, and those that are held out of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from mdasr.acoustic.row_schedule import Source
from mdasr.core.digests import Named
from mdasr.corpus.records import Corpus
from mdasr.perturb import Policy

HELD_OUT = 0.06  # share of each corpus' utterances that tunes the search; whole speakers where possible
MOST_HELD_OUT = 0.15
FEWEST_SPEAKERS = 8  # with fewer, single utterances are held out: a speaker would be too large a part of the data

STILL = Policy(narrowband_probability=0.0)  # utterances stay as they were recorded

AlignmentOf: TypeAlias = Callable[[Corpus], str]
"""The name of a corpus' alignment."""

Indices: TypeAlias = tuple[int, ...] | None
"""Some of a corpus' utterances; None is all."""


@dataclass(frozen=True)
class DomainSpeech:
    """A domain's corpus to train on, and a corpus to tune the search on; without that, a part of the first is held out.

    `seed` draws the held-out part. Speakers `without` are in neither part. Raises ValueError for such speakers beside a
    corpus to tune on.
    """

    domain: str
    train: Named[Corpus]
    dev: Named[Corpus] | None = None
    seed: int = 0
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dev and self.without:
            raise ValueError("speakers are left out only where a part of the corpus tunes the search")

    @classmethod
    def of(cls, corpus: Corpus, seed: int = 0) -> DomainSpeech:
        """The speech of an existing corpus, a part of it held out."""
        return cls(corpus.domain, Named(corpus.info["sha256"], lambda: corpus), None, seed)

    @property
    def held_out(self) -> Any:
        """A description of the held-out utterances that JSON can hold."""
        rules = self.dev.made_of if self.dev else [self.seed, HELD_OUT, MOST_HELD_OUT, FEWEST_SPEAKERS]
        return [rules, [*self.without]] if self.without else rules

    def corpora(self) -> list[Corpus]:
        return [self.train.get(), *([self.dev.get()] if self.dev else [])]

    @cached_property
    def chosen(self) -> tuple[Indices, Indices]:
        """The utterances of their corpora to train on, and those that are held out."""
        if self.dev:
            return None, None
        corpus = self.train.get()
        held = held_out(corpus, self.seed, self.without)
        return _numbers(~held & ~spoken_by(self.without, corpus)), _numbers(held)

    def to_train_on(self, alignment_of: AlignmentOf, policy: Policy) -> Source:
        corpus = self.train.get()
        return Source(corpus, alignment_of(corpus), policy, self.chosen[0])

    def to_tune_on(self, alignment_of: AlignmentOf) -> Source:
        corpus = (self.dev or self.train).get()
        return Source(corpus, alignment_of(corpus), STILL, self.chosen[1])


def _numbers(chosen: Bool[np.ndarray, " utterances"]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def held_out(corpus: Corpus, seed: int, without: Sequence[str] = ()) -> Bool[np.ndarray, " utterances"]:
    """Draw the utterances to keep from training: whole speakers, until they have `HELD_OUT` of the utterances.

    A speaker who would raise the share above `MOST_HELD_OUT` is skipped. Single utterances are drawn where there are
    fewer than `FEWEST_SPEAKERS`, or where the remaining speakers are too large. The utterances of the speakers
    `without` are not drawn.
    """
    spoken = [(utterance.speaker, utterance.id) for utterance in corpus]
    others, held = [i for i, (speaker, _) in enumerate(spoken) if speaker not in without], np.zeros(len(spoken), bool)
    held[others] = _held_out([spoken[i][0] for i in others], [spoken[i][1] for i in others], seed)
    return held


def spoken_by(speakers: Sequence[str], corpus: Corpus) -> Bool[np.ndarray, " utterances"]:
    """Whether one of `speakers` speaks each utterance."""
    if not speakers:
        return np.zeros(len(corpus), bool)
    return np.array([utterance.speaker in speakers for utterance in corpus])


def _held_out(speakers: Sequence[str], ids: Sequence[str], seed: int) -> Bool[np.ndarray, " utterances"]:
    if len(set(speakers)) >= FEWEST_SPEAKERS:
        chosen = _drawn(speakers, seed, MOST_HELD_OUT * len(speakers))
        if chosen.sum() >= HELD_OUT * len(speakers):
            return chosen
    return _drawn(ids, seed, len(ids))


def _drawn(groups: Sequence[str], seed: int, most: int | float) -> Bool[np.ndarray, " utterances"]:
    """Draw whole groups until they have `HELD_OUT` of the utterances.

    Groups that would raise the number of utterances above `most` are skipped.
    """
    names, sizes = np.unique(groups, return_counts=True)
    chosen: list[str] = []
    held = 0
    for i in np.random.Generator(np.random.Philox(key=[seed, 2**33])).permutation(len(names)):
        if held < HELD_OUT * len(groups) and held + sizes[i] <= most:
            chosen, held = [*chosen, names[i]], held + int(sizes[i])
    return np.isin(groups, chosen)
