"""Words and phrases that a language model is given: names that are heard, and other words that stay as likely."""

from __future__ import annotations

import numpy as np
import pytest

from mdasr.language.arpa_reader import read_arpa
from mdasr.language.ngram import train_ngrams
from mdasr.language.phrases import raised, read_phrases
from tests.toy_text import made_up, sums

WORDS = "abcdef"
MODEL = train_ngrams(made_up(1, 200), 3, vocabulary=WORDS)


def p(model, *ngram: str) -> float:
    """The probability of the last word, given the others."""
    return float(10 ** model.log10_conditional(np.array([[model.words.index(word) for word in ngram]]))[0])


@pytest.mark.parametrize("phrases", [[["x"]], [["x", "y", "z", "w"], ["x"], ["a", "b", "a"]], [["a"]], [["x", "x"]]])
@pytest.mark.parametrize("boost", [0.0, 5.0])
def test_probabilities_sum_to_one_after_every_history(phrases, boost):
    np.testing.assert_allclose(sums(raised(MODEL, phrases, boost), 3), 1, atol=1e-4)


def test_the_boost_is_the_weight_beside_an_average_word():
    """Hand-worked: 8 words with the marks, 2 new ones at weight e^2 each, so that both have 2 e^2 / (8 + 2 e^2)."""
    model = raised(MODEL, [["x"], ["y"]], 2.0)
    share = 2 * np.exp(2) / (8 + 2 * np.exp(2))
    assert p(model, "x") == pytest.approx(share / 2, rel=1e-4) and p(model, "y") == pytest.approx(share / 2, rel=1e-4)
    assert p(model, "a") == pytest.approx((1 - share) * p(MODEL, "a"), rel=1e-4)


def test_a_phrase_that_began_goes_on_and_then_anything_may_follow():
    model = raised(MODEL, [["x", "y", "z", "w"], ["a", "b"]], 1.0)
    assert p(model, "x", "y") == pytest.approx(0.9, rel=1e-4)
    assert p(model, "x", "y", "z") == pytest.approx(0.9, rel=1e-4)
    assert p(model, "a", "x", "y") == pytest.approx(0.9, rel=1e-4), "after any word"
    assert p(model, "z", "w", "a") == pytest.approx(p(model, "a"), rel=1e-4)
    assert p(model, "a", "b") > p(MODEL, "a", "b")


def test_words_in_known_histories_keep_their_probabilities():
    model = raised(MODEL, [["x"]], 1.0)
    assert p(model, "a", "b") == pytest.approx(p(MODEL, "a", "b"), rel=1e-3)
    likelier = [p(raised(MODEL, [["x"]], boost), "a", "x") for boost in (0.0, 2.0, 4.0, 6.0)]
    assert likelier == sorted(likelier) and likelier[0] < likelier[-1] / 2


@pytest.mark.parametrize("boost", [-0.1, 10.1, float("nan")])
def test_a_boost_outside_its_range_is_refused(boost):
    with pytest.raises(ValueError, match="give a number from 0 to 10"):
        raised(MODEL, [["x"]], boost)


def test_a_file_of_phrases_is_read_as_transcripts_are(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffWojciech Szczepański\r\n\r\nAnna-Maria O’Neil\r\n".encode())
    assert read_phrases(path) == [["wojciech", "szczepański"], ["anna", "maria", "o'neil"]]
    path.write_text("Anna\nR2D2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"names.txt:2: .*r2d2' can be read"):
        read_phrases(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"names.txt: no phrases"):
        read_phrases(path)


def test_a_model_with_phrases_survives_arpa(tmp_path):
    model = raised(MODEL, [["x", "y"]], 3.0)
    model.write_arpa(tmp_path / "m.arpa")
    text = [["a", "x", "y", "b"]]
    again = read_arpa(tmp_path / "m.arpa")
    np.testing.assert_allclose(again.log10_probabilities(text), model.log10_probabilities(text), atol=1e-5)
