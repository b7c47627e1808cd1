"""Text with a pattern in it, and what n-gram models of it must keep."""

import itertools

import numpy as np

from mdasr.language.backoff import NGram


def made_up(seed: int, sentences: int = 120, words: str = "abcdef") -> list[list[str]]:
    """Sentences whose words depend on the two before, of 1 to 9 words."""
    rng = np.random.default_rng(seed)
    text = []
    for _ in range(sentences):
        sentence, state = [], 0
        for _ in range(rng.integers(1, 10)):
            state = (state * 2 + int(rng.geometric(0.6))) % len(words)
            sentence.append(words[state])
        text.append(sentence)
    return text


def sums(model: NGram, order: int) -> np.ndarray:
    """The sum of the probabilities of all words, </s> included, after every history of up to `order` - 1 words."""
    words = range(1, len(model.words))
    inner, first = words[1:], [0, *words[1:]]
    histories = [h for n in range(order) for h in itertools.product(*[first, *[inner] * (order - 2)][:n])]
    return np.array(
        [(10 ** model.log10_conditional(np.array([[*history, w] for w in words]))).sum() for history in histories]
    )
