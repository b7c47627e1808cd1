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

    `seed` draws the held-out part.
    """

    domain: str
    train: Named[Corpus]
    dev: Named[Corpus] | None = None
    seed: int = 0

    @classmethod
    def of(cls, corpus: Corpus, seed: int = 0) -> DomainSpeech:
        """The speech of an existing corpus, a part of it held out."""
        return cls(corpus.domain, Named(corpus.info["sha256"], lambda: corpus), None, seed)

    @property
    def held_out(self) -> Any:
        """A description of the held-out utterances that JSON can hold."""
        return self.dev.made_of if self.dev else [self.seed, HELD_OUT, MOST_HELD_OUT, FEWEST_SPEAKERS]

    def corpora(self) -> list[Corpus]:
        return [self.train.get(), *([self.dev.get()] if self.dev else [])]

    @cached_property
    def chosen(self) -> tuple[Indices, Indices]:
        """The utterances of their corpora to train on, and those that are held out."""
        if self.dev:
            return None, None
        held = held_out(self.train.get(), self.seed)
        return _numbers(~held), _numbers(held)

    def to_train_on(self, alignment_of: AlignmentOf, policy: Policy) -> Source:
        corpus = self.train.get()
        return Source(corpus, alignment_of(corpus), policy, self.chosen[0])

    def to_tune_on(self, alignment_of: AlignmentOf) -> Source:
        corpus = (self.dev or self.train).get()
        return Source(corpus, alignment_of(corpus), STILL, self.chosen[1])


def _numbers(chosen: Bool[np.ndarray, " utterances"]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def held_out(corpus: Corpus, seed: int) -> Bool[np.ndarray, " utterances"]:
    """Draw the utterances to keep from training: whole speakers, until they have `HELD_OUT` of the utterances.

    A speaker who would raise the share above `MOST_HELD_OUT` is skipped. Single utterances are drawn where there are
    fewer than `FEWEST_SPEAKERS`, or where the remaining speakers are too large.
    """
    speakers = [utterance.speaker for utterance in corpus]
    if len(set(speakers)) >= FEWEST_SPEAKERS:
        chosen = _drawn(speakers, seed, MOST_HELD_OUT * len(corpus))
        if chosen.sum() >= HELD_OUT * len(corpus):
            return chosen
    return _drawn([utterance.id for utterance in corpus], seed, len(corpus))


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
