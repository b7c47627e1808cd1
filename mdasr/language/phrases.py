"""Phrases that an n-gram model shall expect: names, products, places (`mdasr graph --phrases`)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from mdasr.language.backoff import NEVER, NGram
from mdasr.language.combine import interpolate, widen
from mdasr.language.ngram_arrays import SHIFT, Level
from mdasr.language.text_files import read_sentences
from mdasr.language.vocabulary import with_marks

BOOSTS = (0.0, 10.0)  # the least and the most
BOOST = 3.0  # unless another is given
CONTINUED = 0.9  # how surely a phrase goes on, even where no other phrase has these words


def read_phrases(path: Path) -> list[list[str]]:
    """Read a file with a phrase a line, normalised as transcripts are. Raises ValueError, which names a broken line."""
    set_aside: list[str] = []
    phrases = [*read_sentences([path], set_aside, spell_numbers=True)]
    if set_aside:
        raise ValueError(set_aside[0])
    if not phrases:
        raise ValueError(f"{path}: no phrases; give a file with a phrase a line")
    return phrases


def raised(model: NGram, phrases: Sequence[Sequence[str]], boost: float) -> NGram:
    """Add the words of `phrases` to a model, and make the phrases likelier.

    The model is mixed with a model of the phrases, which has no sentence ends. So any words may come before and after
    a phrase. At a boost of 0, each word of the phrases weighs as much as an average word of the model. At X, it weighs
    e^X times as much. The weights are Bayesian (`interpolate`), so that a phrase that has begun goes on. Raises
    ValueError for a boost outside `BOOSTS`.
    """
    if not BOOSTS[0] <= boost <= BOOSTS[1]:
        raise ValueError(f"boost {boost:g}: give a number from {BOOSTS[0]:g} to {BOOSTS[1]:g}")
    odds = len({*chain.from_iterable(phrases)}) * np.exp(boost) / len(model.words)
    share = odds / (1 + odds)
    return interpolate(widen([model, _phrase_model(phrases, model.order)]), [1 - share, share])


def _phrase_model(phrases: Sequence[Sequence[str]], order: int) -> NGram:
    """The relative frequencies of the words of phrases, and of longer n-grams inside each phrase."""
    words = with_marks(chain.from_iterable(phrases))
    place = {word: i for i, word in enumerate(words)}
    numbered = [[place[word] for word in phrase] for phrase in phrases]
    shorter: Counter[tuple[int, ...]] = Counter((word,) for phrase in numbered for word in phrase)
    places: dict[tuple[int, ...], int] = {(i,): i for i in range(len(words))}
    total = sum(shorter.values())
    shares = np.array([shorter[i,] / total for i in range(len(words))])
    levels = [_level(np.arange(len(words)), np.where(shares, np.log10(np.maximum(shares, 1e-9)), NEVER))]
    for n in range(2, order + 1):
        counts = Counter(tuple(phrase[i : i + n]) for phrase in numbered for i in range(len(phrase) - n + 1))
        ngrams = sorted(counts)
        keys = np.array([(places[ngram[:-1]] << SHIFT) | ngram[-1] for ngram in ngrams], np.int64)
        shares = np.array([CONTINUED * counts[ngram] / shorter[ngram[:-1]] for ngram in ngrams])
        left = 1 - np.bincount(keys >> SHIFT, shares, len(levels[-1].keys))
        levels[-1] = dataclasses.replace(levels[-1], log10_backoff=np.log10(left).astype(np.float32))
        levels.append(_level(keys, np.log10(shares)))
        shorter, places = counts, {ngram: i for i, ngram in enumerate(ngrams)}
    return NGram(words, tuple(level for level in levels if len(level.keys)))


def _level(keys: Int64[np.ndarray, " ngrams"], log10_probability: Float[np.ndarray, " ngrams"]) -> Level:
    return Level(keys, log10_probability.astype(np.float32), np.zeros(len(keys), np.float32))
