"""Mixtures of n-gram models against their parts, and pruning against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from mdasr.language.arpa_reader import read_arpa
from mdasr.language.backoff import NGram
from mdasr.language.combine import fit_weights, interpolate, prune
from mdasr.language.ngram import train_ngrams
from mdasr.language.ngram_arrays import Level, ngram_words
from tests.toy_text import made_up, sums

WORDS = "abcdef"


@pytest.fixture(scope="module")
def models() -> list[NGram]:
    return [train_ngrams(made_up(seed, 60 + 60 * seed), 3, vocabulary=WORDS) for seed in (1, 2)]


def ngram_rows(model: NGram, n: int) -> np.ndarray:
    """Return the words of every n-gram of one order, as indices into `model.words`."""
    return ngram_words(model.levels[: n - 1], model.levels[n - 1].keys)


@pytest.mark.parametrize("how", ["bayesian", "linear"])
def test_probabilities_sum_to_one_after_every_history(models, how):
    mixture = interpolate(models, [0.3, 0.7], how)
    assert mixture.order == 3
    np.testing.assert_allclose(sums(mixture, 3), 1, atol=1e-4)


def test_linear_interpolation_mixes_probabilities(models):
    mixture = interpolate(models, [0.3, 0.7], "linear")
    for n in (1, 2, 3):
        rows = ngram_rows(mixture, n)
        rows = rows[rows[:, -1] > 0]
        mixed = sum(w * 10 ** model.log10_conditional(rows) for w, model in zip((0.3, 0.7), models))
        np.testing.assert_allclose(10 ** mixture.log10_conditional(rows), mixed, rtol=1e-4)
        # Every n-gram of either is there.
        assert {tuple(row) for model in models for row in ngram_rows(model, n)} == {
            tuple(row) for row in ngram_rows(mixture, n)
        }


def test_bayesian_weights_are_those_of_the_sources_given_the_history(models):
    mixture = interpolate(models, [0.3, 0.7])
    for row in ngram_rows(mixture, 3)[::7]:
        history = [model.log10_conditional(row[None, :1])[0] * (row[0] > 0) for model in models]
        history = [h + model.log10_conditional(row[None, :2])[0] for h, model in zip(history, models)]
        evidence = np.array([0.3, 0.7]) * 10 ** np.array(history)
        own = [10 ** model.log10_conditional(row[None])[0] for model in models]
        expected = (evidence / evidence.sum() * own).sum()
        assert 10 ** mixture.log10_conditional(row[None])[0] == pytest.approx(expected, rel=1e-4)


def test_a_mixture_of_one_or_of_twins_is_that_model(models):
    text = made_up(9)
    for mixture in (interpolate(models[:1], [1.0]), interpolate([models[0]] * 2, [0.4, 0.6])):
        np.testing.assert_allclose(mixture.log10_probabilities(text), models[0].log10_probabilities(text), atol=2e-4)


@pytest.mark.parametrize("how", ["bayesian", "linear"])
def test_fitted_weights_suit_the_held_out_text(models, how):
    first = fit_weights(models, made_up(1, 30), how)
    assert first[0] > 0.6 and sum(first) == pytest.approx(1)
    mixed = made_up(1, 40) + made_up(2, 40)
    weights = fit_weights(models, mixed, how)
    best = interpolate(models, weights, how).perplexity(mixed)
    assert best < min(model.perplexity(mixed) for model in models)
    for other in (0.02, 0.98):
        assert best < interpolate(models, [other, 1 - other], how).perplexity(mixed)
    with pytest.raises(ValueError, match="no held-out sentences"):
        fit_weights(models, [], how)


def test_models_that_do_not_go_together_are_refused(models):
    other = train_ngrams(made_up(3), 2, vocabulary="abcdefg")
    with pytest.raises(ValueError, match="same vocabulary"):
        interpolate([models[0], other], [0.5, 0.5])
    for weights in ([0.5], [0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(ValueError, match="weights"):
            interpolate(models, weights)


def test_models_of_two_orders_mix(models):
    mixture = interpolate([models[0], train_ngrams(made_up(2), 2, vocabulary=WORDS)], [0.5, 0.5])
    assert mixture.order == 3
    np.testing.assert_allclose(sums(mixture, 3), 1, atol=1e-4)


def test_pruned_models_mix_though_n_grams_lack_their_suffixes(models):
    pruned = [prune(model, 3e-3) for model in models]
    listed = {tuple(row) for model in pruned for row in ngram_rows(model, 2)}
    assert any(tuple(row[1:]) not in listed for model in pruned for row in ngram_rows(model, 3))
    mixture = interpolate(pruned, [0.3, 0.7], "linear")
    np.testing.assert_allclose(sums(mixture, 3), 1, atol=1e-4)
    for n in (2, 3):
        rows = ngram_rows(mixture, n)
        mixed = sum(w * 10 ** model.log10_conditional(rows) for w, model in zip((0.3, 0.7), pruned))
        np.testing.assert_allclose(10 ** mixture.log10_conditional(rows), mixed, rtol=1e-4)
    np.testing.assert_allclose(sums(prune(mixture, 1e-3), 3), 1, atol=1e-4)


def test_pruning_nothing_changes_nothing(models):
    text = made_up(9)
    same = prune(models[0], 0.0)
    assert [len(level.keys) for level in same.levels] == [len(level.keys) for level in models[0].levels]
    np.testing.assert_allclose(same.log10_probabilities(text), models[0].log10_probabilities(text), atol=2e-4)


def test_pruning_keeps_sums_and_costs_little_at_first(models):
    text, model = made_up(1, 400), models[0]
    sizes, perplexities = [], []
    for threshold in (0.0, 1e-4, 1e-3, 1e-2, 1e9):
        pruned = prune(model, threshold)
        np.testing.assert_allclose(sums(pruned, 3), 1, atol=1e-4)
        sizes.append(sum(len(level.keys) for level in pruned.levels))
        perplexities.append(pruned.perplexity(text))
    assert sizes == sorted(sizes, reverse=True) and sizes[1] < sizes[0] and sizes[-1] == len(model.words)
    assert perplexities[1] < 1.02 * perplexities[0] < perplexities[-1]
    with pytest.raises(ValueError, match="threshold"):
        prune(model, -1.0)


def test_the_loss_is_the_divergence_that_leaving_out_makes():
    """Stolcke's formula agrees with the definition: the relative entropy of the model without one bigram."""
    from mdasr.language.combine import _losses, _with_backoff

    model = train_ngrams(made_up(4), 2, vocabulary=WORDS)
    losses, rows, level = next(_losses(model)), ngram_rows(model, 2), model.levels[1]
    words = np.arange(1, len(model.words))
    for i in range(0, len(rows), 5):
        keep = np.arange(len(rows)) != i
        probability = 10 ** level.log10_probability[keep].astype(np.float64)
        shorter = 10 ** model.log10_conditional(rows[keep, 1:])
        lower = _with_backoff(model.levels[0], level.history[keep], probability, shorter)
        without = NGram(
            model.words, (lower, Level(level.keys[keep], level.log10_probability[keep], level.log10_backoff[keep]))
        )
        after = np.column_stack([np.full(len(words), rows[i, 0]), words])
        p, q = (each.log10_conditional(after) * np.log(10) for each in (model, without))
        history = 1.0 if rows[i, 0] == 0 else 10 ** model.log10_conditional(rows[i : i + 1, :1])[0]
        divergence = history * (np.exp(p) * (p - q)).sum()
        assert losses[i] == pytest.approx(np.exp(divergence) - 1, rel=2e-3, abs=1e-6)


def test_a_mixture_survives_arpa(models, tmp_path):
    mixture = interpolate(models, [0.5, 0.5])
    mixture.write_arpa(tmp_path / "mixed.arpa")
    again = read_arpa(tmp_path / "mixed.arpa")
    np.testing.assert_allclose(
        again.log10_probabilities(made_up(9)), mixture.log10_probabilities(made_up(9)), atol=1e-6
    )
