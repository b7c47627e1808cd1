"""Choose the search's options on development speech: acoustic scale, insertion penalty, and the beam (§3.6)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from time import process_time
from typing import Any, TypeVar

import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float

from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Utterance
from mdasr.decode.graph import Graph
from mdasr.decode.lattice import search_lattice
from mdasr.decode.paths import log_odds, shares
from mdasr.decode.search import SearchOptions, decode
from mdasr.model.gmm_directory import Model
from mdasr.recognize.network_scores import score_blocks
from mdasr.score.wer import GAP, Errors, align_words, count_errors

T = TypeVar("T")

GRIDS = {
    "acoustic_scale": (0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.5, 0.65, 0.85, 1.1),  # a GMM's are below 0.2
    "insertion_penalty": (-2.0, -1.0, 0.0, 1.0, 2.0),
}
BEAMS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 16.0)
TUNING_WORDS = 600
FEWEST_WORDS = 50  # of held-out speech of a new domain; with fewer, an adaptation keeps its parent's options
TOLERANCE = 0.1  # points of WER

Dev = Sequence[tuple[list[str], Float[np.ndarray, "_ outputs"]]]
"""The words of each development utterance, and the model's scores."""


@dataclass(frozen=True)
class Trial:
    """The result of one setting of the search: WER in percent, and CPU seconds of decoding per second of audio."""

    options: SearchOptions
    wer: float
    rtf: float


def dev_scores(recognizer: Model, dev: Sequence[Utterance]) -> Dev:
    """The words and the model's scores of development utterances; raises ValueError where there are no words."""
    if not any(u.text.split() for u in dev):
        raise ValueError("the development utterances hold no words, so there is nothing to tune on")
    scores = itertools.chain.from_iterable(score_blocks(recognizer, (u.samples for u in dev)))
    return [(u.text.split(), of_utterance) for u, of_utterance in zip(dev, scores)]


def tune(recognizer: Model, dev: Sequence[Utterance]) -> tuple[SearchOptions, float]:
    """Choose acoustic scale, then insertion penalty, on a development set; returns them with their WER.

    Each moves along its grid for as long as that helps. In a long development set, this uses only some utterances,
    spread evenly over it, with `TUNING_WORDS` words or up to twice as many. The returned WER is that of the whole set.
    """
    pairs = dev_scores(recognizer, dev)
    best = climb(recognizer.search, wer_on(recognizer.language.graph, thinned(pairs)))
    return best, wer_on(recognizer.language.graph, pairs)(best)


def count_words(dev: Iterable[Utterance]) -> int:
    """The number of words in the transcripts."""
    return sum(len(utterance.text.split()) for utterance in dev)


def wer_with(options: SearchOptions, recognizer: Model, dev: Sequence[Utterance]) -> float:
    """The word error rate in percent on development utterances, without any tuning."""
    return wer_on(recognizer.language.graph, dev_scores(recognizer, dev))(options)


def climb(start: SearchOptions, wer: Callable[[SearchOptions], float]) -> SearchOptions:
    """Move each option along its grid, which includes the value in `start`, for as long as `wer` falls."""
    best, wer = start, cache(wer)
    for field, values in GRIDS.items():
        grid = sorted({*values, getattr(start, field)})
        for direction in (grid, grid[::-1]):
            for value in direction[direction.index(getattr(best, field)) + 1 :]:
                change: dict[str, Any] = {field: value}
                moved = dataclasses.replace(best, **change)
                if wer(moved) >= wer(best):
                    break
                best = moved
    return best


def wer_on(graph: Graph, pairs: Dev) -> Callable[[SearchOptions], float]:
    """A function from options to the word error rate in percent."""

    def wer(options: SearchOptions) -> float:
        return sum((count_errors(words, decode(graph, scores, options).words) for words, scores in pairs), Errors()).wer

    return wer


def calibrate(graph: Graph, pairs: Dev, options: SearchOptions) -> SearchOptions:
    """Calibrate confidences on `pairs`, so that four in five of the words with 0.8 are right there.

    A word is right or wrong as in the count of errors. Where no words are recognised, options stay as they are.
    """
    shares_of_words: list[float] = []
    right: list[bool] = []
    for words, scores in pairs:
        best, lattice = search_lattice(graph, scores, options)
        shares_of_words += shares(lattice, best)
        right += [word == result for word, result in align_words(words, best.words) if result != GAP]
    if not shares_of_words:
        return options
    slope, offset = fit_odds(log_odds(np.array(shares_of_words)), np.array(right))
    return dataclasses.replace(options, confidence_slope=slope, confidence_offset=offset)


def fit_odds(odds: Float[np.ndarray, " words"], right: Bool[np.ndarray, " words"]) -> tuple[float, float]:
    """Slope (0 or more) and offset of the line over log odds under which right and wrong words are the most probable.

    As in Platt (1999), each of n right words counts as (n + 1) / (n + 2) right. Each of n wrong words counts as
    1 / (n + 2) right. Then a few words, or words without a wrong one, make nothing certain.
    """
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(line: Float[np.ndarray, " 2"]) -> float:
        z = line[0] * odds + line[1]
        return float((np.logaddexp(0, z) - target * z).sum())

    slope, offset = scipy.optimize.minimize(loss, (1.0, 0.0), bounds=((0, None), (None, None))).x
    return round(float(slope), 4), round(float(offset), 4)


def thinned(pairs: Sequence[tuple[list[str], T]]) -> list[tuple[list[str], T]]:
    """Some of the utterances, spread evenly, with `TUNING_WORDS` words or up to twice as many.

    `pairs` hold the words of each utterance, and anything else.
    """
    every = max(1, sum(len(words) for words, _ in pairs) // TUNING_WORDS)
    # Apart, since otherwise the choice could fall on utterances without words alone.
    return [*[pair for pair in pairs if pair[0]][::every], *[pair for pair in pairs if not pair[0]][::every]]


def sweep(
    graph: Graph, pairs: Dev, options: SearchOptions, step_samples: int, beams: Sequence[float] = BEAMS
) -> list[Trial]:
    """Word errors and time at each beam, from the narrowest; retries, which widen the beam, count in the time."""
    audio_s = sum(len(scores) for _, scores in pairs) * step_samples / RATE_HZ
    wer, trials = wer_on(graph, pairs), []
    decode(graph, pairs[0][1], options)  # things made only once, such as a graph with penalties, are not timed
    for beam in track(sorted(beams), desc="beams", unit="beam"):
        changed, begin = dataclasses.replace(options, beam=beam), process_time()
        rate = wer(changed)
        trials.append(Trial(changed, rate, (process_time() - begin) / audio_s))
    return trials


def narrowest(trials: Sequence[Trial], tolerance: float = TOLERANCE) -> Trial:
    """The smallest beam from which on no trial is worse than the widest one by more than `tolerance` points."""
    by_beam = sorted(trials, key=lambda trial: trial.options.beam)
    good = [trial.wer <= by_beam[-1].wer + tolerance for trial in by_beam]
    return next(trial for i, trial in enumerate(by_beam) if all(good[i:]))
