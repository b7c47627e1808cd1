"""Interpolation of n-gram models (Bayesian or linear), pruning by entropy, and other names for words (§3.6).

All work on whole arrays, from the shortest n-grams to the longest. At each level they need the probability of an
n-gram's last word without its first word. They look it up in the level below, at the place of the n-gram's suffix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float, Int64

from mdasr.language.backoff import NEVER, NGram
from mdasr.language.ngram_arrays import SHIFT, WORD, Level, ngram_words
from mdasr.language.vocabulary import BEGIN, END

How = Literal["bayesian", "linear"]
_LN10 = np.log(10)
_NONE = 1e-12  # the least rest of a probability: where every word is listed, only rounding is left for back-off


def interpolate(models: Sequence[NGram], weights: Sequence[float], how: How = "bayesian") -> NGram:
    """Combine models over the same words: each n-gram of any of them gets sum_i w_i(h) p_i(word | h).

    Linear interpolation has constant weights. In Bayesian interpolation (Allauzen and Riley, 2011), w_i(h) is
    proportional to w_i p_i(h): a model counts most where the history is likely under it. Back-off weights are computed
    again. Raises ValueError where the vocabularies differ (use `widen` first) or the weights are not a distribution.
    """
    shares = np.asarray(weights, np.float64)
    if len(models) != len(shares) or not len(models) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"{len(models)} models need {len(models)} weights >= 0 with the sum 1, not {list(weights)}")
    if any(model.words != models[0].words for model in models):
        raise ValueError("models to interpolate need the same vocabulary: train each with the words of all of them")
    with np.errstate(divide="ignore"):
        prior = np.log(shares)[:, None]
    words, keys = models[0].words, np.arange(len(models[0].words))
    sources = [_Source(model, keys, model.levels[0].log10_probability * _LN10) for model in models]
    own = np.stack([source.own for source in sources])
    joint = np.where(keys == 0, 0, own)  # ln p_i of each n-gram; <s> is given
    probability = _mixed(own, np.broadcast_to(prior, own.shape))
    probability[0] = 10**NEVER
    levels, suffix = [_bare(keys, np.log10(probability))], np.zeros_like(keys)
    for n in range(2, max(model.order for model in models) + 1):
        listed = [source.keys(n) for source in sources]
        keys = np.unique(np.concatenate(listed))
        history = keys >> SHIFT
        suffix = levels[-1].find(suffix[history], keys & WORD)
        places = [np.searchsorted(keys, own_keys) for own_keys in listed]
        sources = [_longer(source, n, levels, keys, suffix, at) for source, at in zip(sources, places)]
        own = np.stack([source.own for source in sources])
        probability = _mixed(own, prior + (joint[:, history] if how == "bayesian" else np.zeros_like(own)))
        joint = joint[:, history] + np.where(keys & WORD == 0, 0, own)
        shorter = 10 ** _shorter(NGram(words, tuple(levels)), keys, suffix)
        levels[-1] = _with_backoff(levels[-1], history, probability, shorter)
        levels.append(_bare(keys, np.log10(probability)))
    return NGram(words, tuple(levels))


@dataclass(frozen=True, eq=False)
class _Source:
    """A model at one level of the union: the `places` of its n-grams there, and its `own` ln p of all n-grams there."""

    model: NGram
    places: Int64[np.ndarray, " listed"]
    own: Float[np.ndarray, " ngrams"]

    def keys(self, n: int) -> Int64[np.ndarray, " listed"]:
        """The keys in the union of the model's n-grams of order `n`, one above this level."""
        if n > self.model.order:
            return np.empty(0, np.int64)
        level = self.model.levels[n - 1]
        return (self.places[level.history] << SHIFT) | level.word


def _longer(
    source: _Source,
    n: int,
    union: Sequence[Level],
    keys: Int64[np.ndarray, " ngrams"],
    suffix: Int64[np.ndarray, " ngrams"],
    places: Int64[np.ndarray, " listed"],
) -> _Source:
    """The source at the next level of the union. N-grams that its model lacks get ln p by back-off from the suffix."""
    model = source.model
    backoff = np.zeros(len(source.own))
    if n <= model.order:
        backoff[source.places] = model.levels[n - 2].log10_backoff * _LN10
    own = backoff[keys >> SHIFT] + source.own[suffix]
    if (lost := np.flatnonzero(suffix < 0)).size:
        own[lost] = model.log10_conditional(ngram_words(union, keys[lost])) * _LN10
    if n <= model.order:
        own[places] = model.levels[n - 1].log10_probability * _LN10
    return _Source(model, places, own)


def _mixed(
    own: Float[np.ndarray, "models ngrams"], evidence: Float[np.ndarray, "models ngrams"]
) -> Float[np.ndarray, " ngrams"]:
    """Mix probabilities with weights that are proportional to exp(evidence)."""
    return np.exp(scipy.special.logsumexp(own + evidence, axis=0) - scipy.special.logsumexp(evidence, axis=0))


def _bare(keys: Int64[np.ndarray, " ngrams"], log10_probability: Float[np.ndarray, " ngrams"]) -> Level:
    """A level without back-off weights. Sums of rounded probabilities can be a little above 1, and become 1."""
    return Level(keys, np.minimum(log10_probability, 0).astype(np.float32), np.zeros(len(keys), np.float32))


def _shorter(
    model: NGram, keys: Int64[np.ndarray, " ngrams"], suffix: Int64[np.ndarray, " ngrams"]
) -> Float[np.ndarray, " ngrams"]:
    """The log10 p of the last word of n-grams, without their first word. The n-grams are one longer than the model.

    `suffix` holds the places of the n-grams without their first word, as from `find`.
    """
    log10_p = model.levels[-1].log10_probability[suffix].astype(np.float64)
    if (lost := np.flatnonzero(suffix < 0)).size:
        log10_p[lost] = model.log10_conditional(ngram_words(model.levels, keys[lost])[:, 1:])
    return log10_p


def _with_backoff(
    level: Level,
    history: Int64[np.ndarray, " ngrams"],
    probability: Float[np.ndarray, " ngrams"],
    shorter: Float[np.ndarray, " ngrams"],
) -> Level:
    """The level with the back-off weights that make probabilities add up to 1, given the n-grams one order above."""
    size = len(level.keys)
    left = np.maximum(1 - np.bincount(history, probability, size), _NONE)
    below = np.maximum(1 - np.bincount(history, shorter, size), _NONE)
    has = np.bincount(history, minlength=size) > 0
    return Level(level.keys, level.log10_probability, np.where(has, np.log10(left / below), 0).astype(np.float32))


def fit_weights(models: Sequence[NGram], held_out: Iterable[Sequence[str]], how: How = "bayesian") -> list[float]:
    """Fit the weights under which held-out text is most likely. Raises ValueError where there is no text."""
    sentences = [list(sentence) for sentence in held_out if len(sentence)]
    if not sentences:
        raise ValueError("no held-out sentences to fit interpolation weights to; give some text")
    own = np.stack([model.log10_probabilities(sentences) * _LN10 for model in models])
    ends = np.cumsum([len(sentence) + 1 for sentence in sentences])
    order = max(model.order for model in models)
    before = _history_probabilities(own, ends, order) if how == "bayesian" else np.zeros_like(own)

    def loss(free: np.ndarray) -> float:
        evidence = scipy.special.log_softmax(np.append(free, 0))[:, None] + before
        ln_p = scipy.special.logsumexp(own + evidence, axis=0) - scipy.special.logsumexp(evidence, axis=0)
        return float(-ln_p.mean())

    best = scipy.optimize.minimize(
        loss, np.zeros(len(models) - 1), method="L-BFGS-B", bounds=[(-12, 12)] * (len(models) - 1)
    )
    return scipy.special.softmax(np.append(best.x, 0)).tolist()


def _history_probabilities(
    own: Float[np.ndarray, "models tokens"], ends: Int64[np.ndarray, " sentences"], order: int
) -> Float[np.ndarray, "models tokens"]:
    """The ln p_i of the (at most order - 1) words before each token, each word given those before it."""
    total = np.concatenate([np.zeros((len(own), 1)), np.cumsum(own, axis=1)], axis=1)
    index = np.arange(own.shape[1])
    starts = np.concatenate([[0], ends[:-1]])
    first = np.maximum(index - (order - 1), starts[np.searchsorted(ends, index, side="right")])
    return total[:, index] - total[:, first]


def prune(model: NGram, threshold: float) -> NGram:
    """Remove n-grams that change the model's perplexity by less than the share `threshold` (Stolcke, 1998).

    Pruning starts at the highest order; the history of each n-gram that stays also stays. Back-off weights are computed
    again. Raises ValueError for a negative threshold.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold {threshold} must be 0 or more: a relative change of perplexity")
    kept = [np.ones(len(model.words), bool), *(loss >= threshold for loss in _losses(model))]
    for level, keep, shorter in zip(model.levels[:0:-1], kept[:0:-1], kept[-2::-1]):
        shorter[level.history[keep]] = True
    levels, suffix, place = [model.levels[0]], np.zeros(len(model.words), np.int64), np.arange(len(model.words))
    for level, keep in zip(model.levels[1:], kept[1:]):
        if not keep.any():
            levels[-1] = _bare(levels[-1].keys, levels[-1].log10_probability.astype(np.float64))
            break
        history = place[level.history[keep]]
        keys = (history << SHIFT) | level.word[keep]
        suffix = levels[-1].find(suffix[history], keys & WORD)
        probability = level.log10_probability[keep].astype(np.float64)
        shorter = 10 ** _shorter(NGram(model.words, tuple(levels)), keys, suffix)
        levels[-1] = _with_backoff(levels[-1], history, 10**probability, shorter)
        levels.append(_bare(keys, probability))
        place = np.cumsum(keep) - 1
    return NGram(model.words, tuple(levels))


def _losses(model: NGram) -> Iterator[Float[np.ndarray, " ngrams"]]:
    """Yield for order 2, 3 and so on by what share perplexity grows if only one n-gram is removed, for each n-gram."""
    suffix = np.zeros(len(model.words), np.int64)
    joint = np.where(np.arange(len(model.words)) == 0, 0, model.levels[0].log10_probability * _LN10)
    for n, level in enumerate(model.levels[1:], start=2):
        history, size = level.history, len(joint)
        suffix = model.levels[n - 2].find(suffix[history], level.word)
        shorter = _shorter(NGram(model.words, model.levels[: n - 1]), level.keys, suffix) * _LN10
        own = level.log10_probability * _LN10
        left = np.maximum(1 - np.bincount(history, np.exp(own), size), _NONE)
        below = np.maximum(1 - np.bincount(history, np.exp(shorter), size), _NONE)
        after = np.log((left[history] + np.exp(own)) / (below[history] + np.exp(shorter)))
        change = np.exp(own) * (shorter + after - own) + left[history] * (after - np.log(left / below)[history])
        yield np.expm1(np.maximum(-np.exp(joint[history]) * change, 0))
        joint = joint[history] + np.where(level.word == 0, 0, own)


def widen(models: Sequence[NGram]) -> list[NGram]:
    """Give all models the words of all of them. In a model, a word that it lacked has probability 0 (10^-99).

    This holds for a model with <unk>, too: the probability of <unk> is that of all other words together, and stays with
    <unk>. So the sums over the words stay 1. In Bayesian interpolation, a model has no weight where the history has a
    word that it lacked.
    """
    words = (BEGIN, END, *sorted({word for model in models for word in model.words[2:]}))
    places = {word: i for i, word in enumerate(words)}
    return [_widened(model, words, np.array([places[word] for word in model.words])) for model in models]


def _widened(model: NGram, words: tuple[str, ...], place: Int64[np.ndarray, " words"]) -> NGram:
    """Return the model over more words. Its own words, at `place`, keep their order, and so do its n-grams."""
    unigrams, *longer = model.levels
    probability, backoff = np.full(len(words), NEVER, np.float32), np.zeros(len(words), np.float32)
    probability[place], backoff[place] = unigrams.log10_probability, unigrams.log10_backoff
    levels = [Level(np.arange(len(words)), probability, backoff)]
    for n, level in enumerate(longer, start=2):
        history = place[level.history] if n == 2 else level.history
        keys = (history << SHIFT) | place[level.word]
        levels.append(Level(keys, level.log10_probability, level.log10_backoff))
    return NGram(words, tuple(levels))


def respelled(model: NGram, spelling: Mapping[str, str]) -> NGram:
    """Return a model with other names for the words in `spelling`. Words that get the same name become one.

    The probabilities of such words are added up. After them, the probability of a word is the mean of the old ones,
    weighted by the probabilities of the old histories. Back-off weights are then computed again. Where no words become
    one, all numbers stay.
    """
    names = [spelling.get(word, word) for word in model.words]
    words = (BEGIN, END, *sorted({*names} - {BEGIN, END}))
    number = {word: i for i, word in enumerate(words)}
    of_words = _Joined.of(np.array([number[name] for name in names]))
    histories, own, whole, suffix = _Joined.of(np.zeros(1, np.int64)), np.zeros(1), np.zeros(1), np.zeros(1, np.int64)
    levels: list[Level] = []
    for n, level in enumerate(model.levels, start=1):
        ngrams = _Joined.of((histories.place[level.history] << SHIFT) | of_words.place[level.word])
        keys, history = ngrams.names, ngrams.names >> SHIFT
        log10_p = level.log10_probability[ngrams.order[ngrams.first]]
        if len(words) == len(model.words):
            levels.append(Level(keys, log10_p, level.log10_backoff[ngrams.order]))
            histories = ngrams
            continue
        # The old n-grams that each new one stands for, with those that the model has by back-off alone.
        rows, (old_history, old_word) = _pairs(histories, history, of_words, keys & WORD)
        olds = ngram_words(model.levels[: n - 1], (old_history << SHIFT) | old_word)
        sums = np.logaddexp.reduceat(own[old_history] + model.log10_conditional(olds) * _LN10, rows)
        log10_p = np.where(keys == 0, NEVER, (sums - whole[history]) / _LN10)
        # ln p of the n-grams together with their histories; <s> is given.
        own = own[level.history] + np.where(level.word == 0, 0, level.log10_probability * _LN10)
        whole = np.logaddexp.reduceat(own[ngrams.order], ngrams.first)
        suffix = levels[-1].find(suffix[history], keys & WORD) if levels else np.zeros(len(words), np.int64)
        if levels:
            shorter = 10 ** _shorter(NGram(words, tuple(levels)), keys, suffix)
            levels[-1] = _with_backoff(levels[-1], history, 10**log10_p, shorter)
        levels.append(_bare(keys, log10_p))
        histories = ngrams
    return NGram(words, tuple(levels))


class _Joined(NamedTuple):
    """Old things that become one where they have the same name: `order[first[i] : first[i] + times[i]]` become i."""

    names: Int64[np.ndarray, " new"]
    place: Int64[np.ndarray, " old"]
    order: Int64[np.ndarray, " old"]
    first: Int64[np.ndarray, " new"]
    times: Int64[np.ndarray, " new"]

    @classmethod
    def of(cls, keys: Int64[np.ndarray, " old"]) -> _Joined:
        names, place, times = np.unique(keys, return_inverse=True, return_counts=True)
        return cls(names, place, np.argsort(place, kind="stable"), np.cumsum(times) - times, times)


def _pairs(
    one: _Joined, of_one: Int64[np.ndarray, " rows"], other: _Joined, of_other: Int64[np.ndarray, " rows"]
) -> tuple[Int64[np.ndarray, " rows"], tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]]:
    """All pairs of the old things that became one in each row, and the index of each row's first pair."""
    times = one.times[of_one] * other.times[of_other]
    starts = np.cumsum(times) - times
    row = np.repeat(np.arange(len(times)), times)
    left, right = np.divmod(np.arange(len(row)) - starts[row], other.times[of_other][row])
    return starts, (one.order[one.first[of_one][row] + left], other.order[other.first[of_other][row] + right])
