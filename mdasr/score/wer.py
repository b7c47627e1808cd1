"""Word error rates with their uncertainty: counts, intervals by speaker, paired differences and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import kaldialign
import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from mdasr.score.jackknife import jackknife, variances

RESAMPLES = 10_000
WORDS_BETWEEN = 2  # segments of matched pairs, as in sclite
FEWEST_DRAWN = 10  # groups: of fewer, and of a handful of runs, the bootstrap makes too narrow intervals


@dataclass(frozen=True)
class Errors:
    """Word errors of one utterance or, added up, of many: `sum(errors, Errors())`."""

    sub: int = 0
    ins: int = 0
    dele: int = 0
    ref_words: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.sub + other.sub,
            self.ins + other.ins,
            self.dele + other.dele,
            self.ref_words + other.ref_words,
        )

    @property
    def total(self) -> int:
        return self.sub + self.ins + self.dele

    @property
    def wer(self) -> float:
        """Word error rate in percent; it may pass 100. Raises ValueError where references hold no word."""
        if not self.ref_words:
            raise ValueError("no word error rate without a word in the references; score at least one transcript")
        return 100 * self.total / self.ref_words


@dataclass(frozen=True)
class Scored:
    """One utterance of a test set as recognised."""

    id: str
    speaker: str
    reference: str
    hypothesis: str
    errors: Errors


def grouped(scored: Sequence[Scored]) -> tuple[str, list[str]]:
    """What intervals are over, and the group of every utterance: its speaker or, where but one has words, itself."""
    over = "speakers" if len({s.speaker for s in scored if s.errors.ref_words}) > 1 else "utterances"
    return over, [s.speaker if over == "speakers" else s.id for s in scored]


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """Count the word errors of one utterance.

    Both are sequences of words and may be empty. As in NIST's sclite, the alignment is the one that is
    cheapest with a substitution at 4 and an insertion or a deletion at 3. Raises TypeError for a string that
    was not split.
    """
    if isinstance(reference, str) or isinstance(hypothesis, str):
        raise TypeError("count_errors compares sequences of words: split the strings first")
    found = kaldialign.edit_distance(reference, hypothesis, sclite_mode=True)
    return Errors(int(found["sub"]), int(found["ins"]), int(found["del"]), len(reference))


def wer_interval(
    errors: Sequence[Errors],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    runs: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """The interval of the word error rate, in percent, were other speakers drawn.

    `errors` and `groups` have one element an utterance; utterances of one group (a speaker) go together, since their
    errors are not independent (Bisani and Ney, 2004, with speakers for utterances). Where several trainings recognised
    the same utterances, `runs` names that of each element, and they might be others, too. By the bootstrap with
    `FEWEST_DRAWN` groups or more and one run; else by the jackknife, as a bootstrap over a handful is too narrow.
    Raises ValueError for fewer than two groups that have reference words.
    """
    cells = _cells([[e.total, e.ref_words] for e in errors], groups, runs)
    low, high = _interval(cells, _rate, rng, confidence, resamples)
    return max(0.0, low), high


def paired_interval(
    errors_a: Sequence[Errors],
    errors_b: Sequence[Errors],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    runs: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """The interval of WER(b) - WER(a), in points of percent, on the same utterances: below 0, b is better.

    The same speakers (and `runs`) are drawn for both systems (Bisani and Ney, 2004), or left out of both, so what makes
    an utterance hard for both cancels out. Raises ValueError where the two were not scored on the same references.
    """
    return _interval(_paired(errors_a, errors_b, groups, runs), _rate, rng)


def paired_variances(
    errors_a: Sequence[Errors], errors_b: Sequence[Errors], groups: Sequence[Hashable], runs: Sequence[Hashable]
) -> tuple[float, float]:
    """How much of the variance of WER(b) - WER(a) is due to other groups, and how much to other runs."""
    over_groups, over_runs = variances(*_left(_paired(errors_a, errors_b, groups, runs), _rate))
    return float(over_groups), float(over_runs)


def paired_ratio_interval(
    errors: Sequence[Sequence[Errors]],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    runs: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """The interval of how a relative gap changes, from that of b to a to that of d to c: WER(d)/WER(c) - WER(b)/WER(a).

    `errors` are those of a, b, c and d on the same utterances, drawn together as in `paired_interval`. Raises
    ValueError where a or c may come out without any error, so that there is no ratio.
    """
    cells = _cells([[*(e.total for e in four), four[0].ref_words] for four in zip(*errors, strict=True)], groups, runs)
    return _interval(cells, _change_of_ratio, rng)


GAP = "*"  # stands for no word in an alignment


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of words as in `count_errors`; a word without partner is paired with `GAP`."""
    return kaldialign.align(list(reference), list(hypothesis), GAP, sclite_mode=True)


def confusions(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Counter[tuple[str, str]]:
    """How often which word of the reference was heard as which other; `GAP` for one that was lost or put in."""
    return Counter(pair for words in pairs for pair in align_words(*words) if pair[0] != pair[1])


class Mapsswe(NamedTuple):
    """A matched-pairs test: over `segments`, system b makes `difference` errors more than a; p is two-sided."""

    segments: int
    difference: float
    z: float
    p: float


def mapsswe(
    references: Sequence[Sequence[str]],
    hypotheses_a: Sequence[Sequence[str]],
    hypotheses_b: Sequence[Sequence[str]],
) -> Mapsswe:
    """Test whether two systems differ, over segments that `WORDS_BETWEEN` words which both got right set apart.

    The matched-pairs sentence-segment word error test (Gillick and Cox, 1989). The normal distribution that p comes
    from asks for some thirty segments. Where all segments differ alike there is no variance to go by, and p is that of
    the sign test. Raises ValueError where the numbers of utterances differ.
    """
    differences: list[int] = []
    for words in zip(references, hypotheses_a, hypotheses_b, strict=True):
        a, b = (_errors_by_place(words[0], hypothesis) for hypothesis in words[1:])
        differences += _segment_differences(a, b)
    found = np.array(differences, np.float64)
    if not found.any():
        return Mapsswe(len(found), 0.0, 0.0, 1.0)
    if (found == found[0]).all():
        return Mapsswe(
            len(found), float(found.sum()), float(np.sign(found[0]) * np.inf), min(1.0, 2 * 0.5 ** len(found))
        )
    z = float(found.mean() / (found.std(ddof=1) / np.sqrt(len(found))))
    return Mapsswe(len(found), float(found.sum()), z, float(2 * scipy.stats.norm.sf(abs(z))))


def _errors_by_place(reference: Sequence[str], hypothesis: Sequence[str]) -> list[int]:
    """Errors at every word of the reference, what is put in counting for the word before it (place 0: the start)."""
    places = [0]
    for left, right in align_words(reference, hypothesis):
        if left == GAP:
            places[-1] += 1
        else:
            places.append(int(left != right))
    return places


def _segment_differences(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """Errors of b less those of a in each stretch that has errors; it ends where `WORDS_BETWEEN` words are right."""
    found, open_, quiet = [], False, 0
    for x, y in zip(a, b, strict=True):
        if x or y:
            if not open_:
                found.append(0)
            open_, quiet = True, 0
            found[-1] += y - x
        else:
            quiet += 1
            open_ = open_ and quiet < WORDS_BETWEEN
    return found


def _paired(
    errors_a: Sequence[Errors],
    errors_b: Sequence[Errors],
    groups: Sequence[Hashable],
    runs: Sequence[Hashable] | None,
) -> Int[np.ndarray, "runs groups 2"]:
    """Errors of b more than of a, and reference words."""
    if [e.ref_words for e in errors_a] != [e.ref_words for e in errors_b]:
        raise ValueError("a paired interval needs both systems' errors on the same utterances, in the same order")
    return _cells([[b.total - a.total, b.ref_words] for a, b in zip(errors_a, errors_b)], groups, runs)


def _cells(
    rows: Sequence[Sequence[int]], groups: Sequence[Hashable], runs: Sequence[Hashable] | None
) -> Int[np.ndarray, "runs groups columns"]:
    """Sums over the rows of each run and each group that has words or errors; the last column: reference words."""
    runs = [0] * len(rows) if runs is None else runs
    if not len(rows) == len(groups) == len(runs):
        raise ValueError(f"{len(rows)} utterances' errors, but {len(groups)} groups and {len(runs)} runs")
    with_words = len({group for group, row in zip(groups, rows) if row[-1]})
    if with_words < 2:
        raise ValueError(
            f"an interval needs at least two groups with reference words, and there are {with_words}; "
            "where speakers are not known, pass the utterances' ids"
        )
    group, run, table = _numbered(groups), _numbered(runs), np.array(rows, np.int64)
    cells = np.zeros((run.max() + 1, group.max() + 1, table.shape[1]), np.int64)
    np.add.at(cells, (run, group), table)
    return cells[:, cells.any(axis=(0, 2))]


Sums = Int[np.ndarray, "samples columns"]
Statistic = Callable[[Sums], Float[np.ndarray, " samples"]]


def _rate(sums: Sums) -> Float[np.ndarray, " samples"]:
    """Errors in percent of reference words."""
    return 100 * sums[:, 0] / sums[:, -1]


def _change_of_ratio(sums: Sums) -> Float[np.ndarray, " samples"]:
    a, b, c, d, _ = sums.T
    if not (a.all() and c.all()):
        raise ValueError("a resample has no errors to compare with, so there are too few utterances")
    return d / c - b / a


def _interval(
    cells: Int[np.ndarray, "runs groups columns"],
    statistic: Statistic,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """A statistic's interval, were other groups (and runs) drawn: percentiles of a bootstrap, or the jackknife's."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share between 0 and 1, not {confidence}")
    runs, groups, _ = cells.shape
    if runs > 1 or (cells[..., -1] > 0).sum() < FEWEST_DRAWN:
        (value,) = statistic(cells.sum(axis=(0, 1))[None])
        _, low, high = jackknife(float(value), *_left(cells, statistic), confidence=confidence)
        return low, high
    # Drawn 500 at a time: 10,000 resamples of 10,000 groups would take 800 MB at once.
    counts = [min(500, resamples - start) for start in range(0, resamples, 500)]
    even = np.full(groups, 1 / groups)
    sums = np.concatenate([rng.multinomial(groups, even, count) @ cells[0] for count in counts])
    sums = sums[sums[:, -1] > 0]  # a draw may hold none of the groups that have words, where others have none
    tail = 50 * (1 - confidence)
    low, high = np.percentile(statistic(sums), [tail, 100 - tail])
    return float(low), float(high)


def _left(cells: Int[np.ndarray, "runs groups columns"], statistic: Statistic) -> list[Float[np.ndarray, " _"]]:
    """A statistic without each group in turn and, where there are several, without each run."""
    samples = [cells.sum(axis=0), cells.sum(axis=1)][: 2 if len(cells) > 1 else 1]
    return [statistic(cells.sum(axis=(0, 1)) - sample) for sample in samples]


def _numbered(names: Sequence[Hashable]) -> Int[np.ndarray, " names"]:
    """Equal names as equal numbers, counted from 0 in the order in which they come."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)
