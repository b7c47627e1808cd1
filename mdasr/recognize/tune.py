"""The search's options, chosen on development speech: acoustic scale, insertion penalty, and the beam (§3.6)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from time import process_time
from typing import Any

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
from mdasr.model.directory import Recognizer
from mdasr.recognize.network_scores import score_blocks
from mdasr.score.wer import GAP, Errors, align_words, count_errors

GRIDS = {"acoustic_scale": (0.2, 0.3, 0.4, 0.5, 0.65, 0.85, 1.1), "insertion_penalty": (-2.0, -1.0, 0.0, 1.0, 2.0)}
BEAMS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 16.0)
TUNING_WORDS = 600
TOLERANCE = 0.1  # points of WER

Dev = Sequence[tuple[list[str], Float[np.ndarray, "_ outputs"]]]
"""The words of each development utterance, and the network's scores."""


@dataclass(frozen=True)
class Trial:
    """What a setting of the search came to: WER in percent, and CPU seconds of decoding per second of audio."""

    options: SearchOptions
    wer: float
    rtf: float


def dev_scores(recognizer: Recognizer, dev: Sequence[Utterance]) -> Dev:
    """What the network says of development utterances; ValueError where their transcripts hold no word."""
    if not any(u.text.split() for u in dev):
        raise ValueError("the development utterances hold no words, so there is nothing to tune on")
    found = itertools.chain.from_iterable(score_blocks(recognizer, (u.samples for u in dev)))
    return [(u.text.split(), each) for u, each in zip(dev, found)]


def tune(recognizer: Recognizer, dev: Sequence[Utterance]) -> tuple[SearchOptions, float]:
    """Choose acoustic scale, then insertion penalty, on a development set; returns them with the WER that they reach.

    Each is moved along its grid for as long as that helps. Of a long development set, utterances spread evenly over it
    serve, with `TUNING_WORDS` words or up to twice as many; the WER returned is that of all.
    """
    pairs = dev_scores(recognizer, dev)
    best = climb(recognizer.search, wer_on(recognizer.language.graph, _thinned(pairs)))
    return best, wer_on(recognizer.language.graph, pairs)(best)


def wer_with(options: SearchOptions, recognizer: Recognizer, dev: Sequence[Utterance]) -> float:
    """The word error rate in percent on development utterances, without any tuning."""
    return wer_on(recognizer.language.graph, dev_scores(recognizer, dev))(options)


def climb(start: SearchOptions, wer: Callable[[SearchOptions], float]) -> SearchOptions:
    """Move each option along its grid (which a `start` off it joins) for as long as `wer` falls."""
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
    """The word error rate in percent that options come to."""

    def wer(options: SearchOptions) -> float:
        return sum((count_errors(words, decode(graph, each, options).words) for words, each in pairs), Errors()).wer

    return wer


def calibrate(graph: Graph, pairs: Dev, options: SearchOptions) -> SearchOptions:
    """Options with confidences that are frequencies on `pairs`: of words with 0.8, four in five are right there.

    A word is right or not as errors are counted. Where nothing is heard, options stay as they are.
    """
    found: list[float] = []
    right: list[bool] = []
    for words, each in pairs:
        best, lattice = search_lattice(graph, each, options)
        found += shares(lattice, best)
        right += [said == heard for said, heard in align_words(words, best.words) if heard != GAP]
    if not found:
        return options
    slope, offset = fit_odds(log_odds(np.array(found)), np.array(right))
    return dataclasses.replace(options, confidence_slope=slope, confidence_offset=offset)


def fit_odds(odds: Float[np.ndarray, " words"], right: Bool[np.ndarray, " words"]) -> tuple[float, float]:
    """Slope (0 or more) and offset of the line over log odds that makes what was right, and wrong, the most probable.

    As in Platt (1999), of n right words each counts as (n + 1) / (n + 2) right, and of n wrong ones as 1 / (n + 2), so
    that a few words, or none wrong, make nothing certain.
    """
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(line: Float[np.ndarray, " 2"]) -> float:
        z = line[0] * odds + line[1]
        return float((np.logaddexp(0, z) - target * z).sum())

    slope, offset = scipy.optimize.minimize(loss, (1.0, 0.0), bounds=((0, None), (None, None))).x
    return round(float(slope), 4), round(float(offset), 4)


def _thinned(pairs: Dev) -> Dev:
    return pairs[:: max(1, sum(len(words) for words, _ in pairs) // TUNING_WORDS)]


def sweep(
    graph: Graph, pairs: Dev, options: SearchOptions, step_samples: int, beams: Sequence[float] = BEAMS
) -> list[Trial]:
    """Word errors and time at each beam, from the narrowest; retries, which widen it, cost their time."""
    audio_s = sum(len(each) for _, each in pairs) * step_samples / RATE_HZ
    wer, trials = wer_on(graph, pairs), []
    decode(graph, pairs[0][1], options)  # what is prepared once, such as a graph with penalties, is no part of the time
    for beam in track(sorted(beams), desc="beams", unit="beam"):
        changed, begin = dataclasses.replace(options, beam=beam), process_time()
        rate = wer(changed)
        trials.append(Trial(changed, rate, (process_time() - begin) / audio_s))
    return trials


def narrowest(trials: Sequence[Trial], tolerance: float = TOLERANCE) -> Trial:
    """The trial of the smallest beam from which on none is worse than the widest by more than `tolerance` points."""
    by_beam = sorted(trials, key=lambda trial: trial.options.beam)
    good = [trial.wer <= by_beam[-1].wer + tolerance for trial in by_beam]
    return next(trial for i, trial in enumerate(by_beam) if all(good[i:]))
