"""Combining n-gram models (Bayesian or linear interpolation) and pruning them by entropy (§3.6), on whole arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float, Int64

from mdasr.language.backoff import NEVER, NGram
from mdasr.language.levels import SHIFT, Level
from mdasr.language.vocabulary import BEGIN, END

How = Literal["bayesian", "linear"]
_LN10 = np.log(10)


def interpolate(models: Sequence[NGram], weights: Sequence[float], how: How = "bayesian") -> NGram:
    """One back-off model of several over the same words: sum_i w_i(h) p_i(word | h) for every n-gram of any of them.

    Linear interpolation has constant weights. In Bayesian interpolation (Allauzen and Riley, 2011) they are those of
    the sources given the history, w_i(h) proportional to w_i p_i(h), so that a source counts where the text is its own.
    Back-off weights are computed anew. Raises ValueError for other vocabularies, or weights that are no distribution.
    """
    shares = np.asarray(weights, np.float64)
    if len(models) != len(shares) or not len(models) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"{len(models)} models need as many weights, none below 0 and 1 together, not {list(weights)}")
    if any(model.words != models[0].words for model in models):
        raise ValueError("models to interpolate need the same vocabulary: train each with all words of all of them")
    order = max(model.order for model in models)
    rows = np.arange(len(models[0].words))[:, None]
    places = [rows[:, 0] for _ in models]  # of each model's n-grams in the union's level
    levels: list[Level] = []
    joint = np.zeros((len(models), 1))  # ln p_i(history)
    for n in range(1, order + 1):
        keys = rows[:, 0]
        if n > 1:
            found = [
                (place[level.history] << SHIFT) | level.word
                for place, level in ((p, m.levels[n - 1]) for p, m in zip(places, models) if m.order >= n)
            ]
            keys = np.unique(np.concatenate(found))
            mapped = iter(np.searchsorted(keys, each) for each in found)
            places = [next(mapped) if m.order >= n else np.empty(0, np.int64) for m in models]
            rows = np.column_stack([rows[keys >> SHIFT], keys & ((1 << SHIFT) - 1)])
        history = keys >> SHIFT if n > 1 else np.zeros(len(keys), np.int64)
        own = np.stack([model.log10_conditional(rows) * _LN10 for model in models])
        with np.errstate(divide="ignore"):
            evidence = np.log(shares)[:, None] + (joint[:, history] if how == "bayesian" else 0)
        probability = np.exp(
            scipy.special.logsumexp(own + evidence, axis=0) - scipy.special.logsumexp(evidence, axis=0)
        )
        probability = np.broadcast_to(probability, len(keys)).copy()
        joint = (joint[:, history] if n > 1 else 0) + np.where(rows[:, -1] == 0, 0, own)  # <s> is given
        if n > 1:
            levels[-1] = _with_backoff(models[0].words, levels, rows, history, probability)
        else:
            probability[0] = 10**NEVER
        levels.append(Level(keys, np.log10(probability).astype(np.float32), np.zeros(len(keys), np.float32)))
    return NGram(models[0].words, tuple(levels))


def _with_backoff(
    words: tuple[str, ...],
    levels: Sequence[Level],
    rows: Int64[np.ndarray, "ngrams order"],
    history: Int64[np.ndarray, " ngrams"],
    probability: Float[np.ndarray, " ngrams"],
) -> Level:
    """The last of `levels` with back-off weights, so that with the n-grams `rows`, one order longer, all sums are 1."""
    size = len(levels[-1].keys)
    shorter = 10 ** NGram(words, tuple(levels)).log10_conditional(rows[:, 1:])
    left = 1 - np.bincount(history, probability, size)
    lower = 1 - np.bincount(history, shorter, size)
    # Where every word is listed nothing is left to back off to, and rounding must not make a weight of it.
    weight = np.divide(np.maximum(left, 1e-12), np.maximum(lower, 1e-12))
    has = np.bincount(history, minlength=size) > 0
    backoff = np.where(has, np.log10(weight), 0).astype(np.float32)
    return Level(levels[-1].keys, levels[-1].log10_probability, backoff)


def fit_weights(models: Sequence[NGram], held_out: Iterable[Sequence[str]], how: How = "bayesian") -> list[float]:
    """The weights that make held-out text likeliest; ValueError where there is none."""
    sentences = [list(sentence) for sentence in held_out if len(sentence)]
    if not sentences:
        raise ValueError("no held-out sentences to fit interpolation weights on")
    own = np.stack([model.log10_probabilities(sentences) * _LN10 for model in models])
    ends = np.cumsum([len(sentence) + 1 for sentence in sentences])
    order = max(model.order for model in models)
    before = _history_probabilities(own, ends, order) if how == "bayesian" else np.zeros_like(own)

    def loss(free: np.ndarray) -> float:
        evidence = scipy.special.log_softmax(np.append(free, 0))[:, None] + before
        found = scipy.special.logsumexp(own + evidence, axis=0) - scipy.special.logsumexp(evidence, axis=0)
        return float(-found.mean())

    best = scipy.optimize.minimize(
        loss, np.zeros(len(models) - 1), method="L-BFGS-B", bounds=[(-12, 12)] * (len(models) - 1)
    )
    return scipy.special.softmax(np.append(best.x, 0)).tolist()


def _history_probabilities(
    own: Float[np.ndarray, "models tokens"], ends: Int64[np.ndarray, " sentences"], order: int
) -> Float[np.ndarray, "models tokens"]:
    """ln p_i of the up to order - 1 words before each token, each given what stands before it in its sentence."""
    total = np.concatenate([np.zeros((len(own), 1)), np.cumsum(own, axis=1)], axis=1)
    index = np.arange(own.shape[1])
    starts = np.concatenate([[0], ends[:-1]])
    first = np.maximum(index - (order - 1), starts[np.searchsorted(ends, index, side="right")])
    return total[:, index] - total[:, first]


def prune(model: NGram, threshold: float) -> NGram:
    """Leave out n-grams that change the model's perplexity by less than a share of `threshold` (Stolcke, 1998).

    From the highest order down; what a longer n-gram that is kept begins with is kept. Back-off weights are computed
    anew. ValueError for a negative threshold.
    """
    if threshold < 0:
        raise ValueError(f"threshold {threshold} must be 0 or more: a relative change of perplexity")
    kept: list[np.ndarray] = [np.ones(len(level.keys), bool) for level in model.levels]
    for n in range(model.order, 1, -1):
        level = model.levels[n - 1]
        keep = _loss(model, n) >= threshold
        if n < model.order:
            keep[model.levels[n].history[kept[n]]] = True
        kept[n - 1] = keep
    levels: list[Level] = [model.levels[0]]
    rows, place = np.arange(len(model.words))[:, None], np.arange(len(model.words))
    for n in range(2, model.order + 1):
        level, keep = model.levels[n - 1], kept[n - 1]
        keys = (place[level.history[keep]] << SHIFT) | level.word[keep]
        probability = level.log10_probability[keep]
        history = keys >> SHIFT
        rows = np.column_stack([rows[history], level.word[keep]])
        levels[-1] = _with_backoff(model.words, levels, rows, history, 10 ** probability.astype(np.float64))
        levels.append(Level(keys, probability, np.zeros(len(keys), np.float32)))
        place = np.cumsum(keep) - 1
    while len(levels) > 1 and not len(levels[-1].keys):
        levels.pop()
    return NGram(model.words, tuple(levels))


def _loss(model: NGram, n: int) -> Float[np.ndarray, " ngrams"]:
    """By what share perplexity grows if each n-gram of order n alone is left to back-off."""
    rows = ngram_rows(model, n)
    level, lower = model.levels[n - 1], model.levels[n - 2]
    own = 10 ** level.log10_probability.astype(np.float64)
    shorter = 10 ** model.log10_conditional(rows[:, 1:])
    history, size = level.history, len(lower.keys)
    left = np.maximum(1 - np.bincount(history, own, size), 1e-12)
    below = np.maximum(1 - np.bincount(history, shorter, size), 1e-12)
    weight = (left / below)[history]
    after = (left[history] + own) / (below[history] + shorter)
    change = own * (np.log(shorter) + np.log(after) - np.log(own)) + left[history] * (np.log(after) - np.log(weight))
    joint = np.zeros(size)
    for k in range(1, n):
        prefix = ngram_rows(model, n - 1)[:, :k]
        joint += np.where(prefix[:, -1] == 0, 0, model.log10_conditional(prefix) * _LN10)
    return np.exp(np.maximum(-np.exp(joint)[history] * change, 0)) - 1


def ngram_rows(model: NGram, n: int) -> Int64[np.ndarray, "ngrams order"]:
    """The words of every n-gram of one order, as places in `model.words`."""
    rows = np.arange(len(model.words))[:, None]
    for level in model.levels[1:n]:
        rows = np.column_stack([rows[level.history], level.word])
    return rows


def widen(models: Sequence[NGram]) -> list[NGram]:
    """The models over all words of all of them; a word that a model lacks has probability 0 (10^-99) in it.

    So do words that it would take for <unk>: that probability is of all other words together, and stays with <unk>.
    Sums over the words remain 1, and in Bayesian interpolation a model has no say where the history has a word that
    it lacks.
    """
    words = (BEGIN, END, *sorted({word for model in models for word in model.words[2:]}))
    places = {word: i for i, word in enumerate(words)}
    return [_widened(model, words, np.array([places[word] for word in model.words])) for model in models]


def _widened(model: NGram, words: tuple[str, ...], place: Int64[np.ndarray, " words"]) -> NGram:
    """A model over more words, of which its own are at `place`, in the same order: that of its n-grams holds, too."""
    unigrams, *longer = model.levels
    probability, backoff = np.full(len(words), NEVER, np.float32), np.zeros(len(words), np.float32)
    probability[place], backoff[place] = unigrams.log10_probability, unigrams.log10_backoff
    levels = [Level(np.arange(len(words)), probability, backoff)]
    for n, level in enumerate(longer, start=2):
        history = place[level.history] if n == 2 else level.history
        keys = (history << SHIFT) | place[level.word]
        levels.append(Level(keys, level.log10_probability, level.log10_backoff))
    return NGram(words, tuple(levels))
