"""Word error rates with their uncertainty: counts, intervals by speaker, paired differences and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from mdasr.score.jackknife import jackknife, variances
from mdasr.score.sclite import sclite_steps

RESAMPLES = 10_000
WORDS_BETWEEN = 2  # segments of matched pairs, as in sclite
FEWEST_DRAWN = 10  # groups: with fewer, or with a few runs, the intervals of the bootstrap are too narrow


@dataclass(frozen=True)
class Errors:
    """The word errors of one utterance, or of many as a sum: `sum(errors, Errors())`."""

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
        """The word error rate in percent, which may be above 100. Raises ValueError where references hold no word."""
        if not self.ref_words:
            raise ValueError("no word error rate, as the references hold no words; score at least one transcript")
        return 100 * self.total / self.ref_words


@dataclass(frozen=True)
class Scored:
    """One recognised utterance of a test set with its errors."""

    id: str
    speaker: str
    reference: str
    hypothesis: str
    errors: Errors


def grouped(scored: Sequence[Scored]) -> tuple[str, list[str]]:
    """Return the unit of intervals ("speakers" or "utterances"), and the group of every utterance.

    The group is the utterance's speaker. It is the utterance itself where only one speaker has words.
    """
    over = "speakers" if len({s.speaker for s in scored if s.errors.ref_words}) > 1 else "utterances"
    return over, [s.speaker if over == "speakers" else s.id for s in scored]


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """Count the word errors of one utterance.

    Both arguments are sequences of words and may be empty. The alignment is that of NIST's sclite. Raises TypeError
    for a string that is not split.
    """
    if isinstance(reference, str) or isinstance(hypothesis, str):
        raise TypeError("count_errors compares sequences of words: split the strings first")
    steps = sclite_steps(reference, hypothesis)
    return Errors(steps.count("S"), steps.count("I"), steps.count("D"), len(reference))


def wer_interval(
    errors: Sequence[Errors],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    runs: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """The interval of the word error rate, in percent, if other speakers had been drawn.

    `errors` and `groups` have one element for each utterance. The utterances of one group (a speaker) are drawn
    together, since their errors are not independent (Bisani and Ney, 2004, with speakers instead of utterances). Where
    several trainings recognised the same utterances, `runs` names the training of each element. Then the interval also
    covers other trainings. It comes from the bootstrap with `FEWEST_DRAWN` groups or more and one run. Otherwise it
    comes from the jackknife, as a bootstrap over a few groups is too narrow. Raises ValueError for fewer than two
    groups with reference words.
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
    """The interval of WER(b) - WER(a), in percentage points, on the same utterances. Below 0, b is better.

    The same speakers (and `runs`) are drawn for both systems (Bisani and Ney, 2004) or left out of both. So the
    difficulty that an utterance has for both cancels out. Raises ValueError where the two systems were not scored on
    the same references.
    """
    return _interval(_paired(errors_a, errors_b, groups, runs), _rate, rng)


def paired_variances(
    errors_a: Sequence[Errors], errors_b: Sequence[Errors], groups: Sequence[Hashable], runs: Sequence[Hashable]
) -> tuple[float, float]:
    """The variance of WER(b) - WER(a) that is due to the choice of groups, and that due to the choice of runs."""
    over_groups, over_runs = variances(*_left(_paired(errors_a, errors_b, groups, runs), _rate))
    return float(over_groups), float(over_runs)


def paired_ratio_interval(
    errors: Sequence[Sequence[Errors]],
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    runs: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """The interval of the change of a relative gap, WER(d)/WER(c) - WER(b)/WER(a).

    `errors` are those of a, b, c and d on the same utterances, drawn together as in `paired_interval`. Raises
    ValueError where a draw has no error of a or c, so that there is no ratio.
    """
    cells = _cells([[*(e.total for e in four), four[0].ref_words] for four in zip(*errors, strict=True)], groups, runs)
    return _interval(cells, _change_of_ratio, rng)


GAP = "*"  # stands for no word in an alignment


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """Align words in pairs, as in `count_errors`. A word without a partner is paired with `GAP`."""
    left, right = iter(reference), iter(hypothesis)
    steps = sclite_steps(reference, hypothesis)
    return [(GAP if step == "I" else next(left), GAP if step == "D" else next(right)) for step in steps]


def confusions(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Counter[tuple[str, str]]:
    """Count the confusions: pairs of a reference word and a wrong word. `GAP` stands for a deletion or insertion."""
    return Counter(pair for words in pairs for pair in align_words(*words) if pair[0] != pair[1])


class Mapsswe(NamedTuple):
    """A matched-pairs test: over `segments`, system b makes `difference` more errors than a. `p` is two-sided."""

    segments: int
    difference: float
    z: float
    p: float


def mapsswe(
    references: Sequence[Sequence[str]],
    hypotheses_a: Sequence[Sequence[str]],
    hypotheses_b: Sequence[Sequence[str]],
) -> Mapsswe:
    """Test whether two systems differ, by the matched-pairs sentence-segment word error test (Gillick and Cox, 1989).

    Segments are separated by `WORDS_BETWEEN` words that both systems recognised. p is from the normal distribution,
    which needs about thirty segments. If all segments differ by the same number, there is no variance, and p is that
    of the sign test. Raises ValueError where the numbers of utterances differ.
    """
    differences: list[int] = []
    for words in zip(references, hypotheses_a, hypotheses_b, strict=True):
        a, b = (_errors_by_place(words[0], hypothesis) for hypothesis in words[1:])
        differences += _segment_differences(a, b)
    values, size = np.array(differences, np.float64), len(differences)
    if not values.any():
        return Mapsswe(size, 0.0, 0.0, 1.0)
    if (values == values[0]).all():
        return Mapsswe(size, float(values.sum()), float(np.sign(values[0]) * np.inf), min(1.0, 2 * 0.5**size))
    z = float(values.mean() / (values.std(ddof=1) / np.sqrt(size)))
    return Mapsswe(size, float(values.sum()), z, float(2 * scipy.stats.norm.sf(abs(z))))


def _errors_by_place(reference: Sequence[str], hypothesis: Sequence[str]) -> list[int]:
    """The errors at every word of the reference. An insertion counts for the word before it (place 0: the start)."""
    places = [0]
    for left, right in align_words(reference, hypothesis):
        if left == GAP:
            places[-1] += 1
        else:
            places.append(int(left != right))
    return places


def _segment_differences(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """The errors of b minus those of a in each segment with errors. `WORDS_BETWEEN` right words end a segment."""
    differences, open_, right = [], False, 0
    for x, y in zip(a, b, strict=True):
        if x or y:
            if not open_:
                differences.append(0)
            open_, right = True, 0
            differences[-1] += y - x
        else:
            right += 1
            open_ = open_ and right < WORDS_BETWEEN
    return differences


def _paired(
    errors_a: Sequence[Errors],
    errors_b: Sequence[Errors],
    groups: Sequence[Hashable],
    runs: Sequence[Hashable] | None,
) -> Int[np.ndarray, "runs groups 2"]:
    """The errors of b minus those of a, and the reference words."""
    if [e.ref_words for e in errors_a] != [e.ref_words for e in errors_b]:
        raise ValueError("a paired interval needs both systems' errors on the same utterances, in the same order")
    return _cells([[b.total - a.total, b.ref_words] for a, b in zip(errors_a, errors_b)], groups, runs)


def _cells(
    rows: Sequence[Sequence[int]], groups: Sequence[Hashable], runs: Sequence[Hashable] | None
) -> Int[np.ndarray, "runs groups columns"]:
    """Sum the rows of each run and each group that has words or errors. The last column holds reference words."""
    runs = [0] * len(rows) if runs is None else runs
    if not len(rows) == len(groups) == len(runs):
        raise ValueError(
            f"there are {len(rows)} utterances, but {len(groups)} groups and {len(runs)} runs; give each utterance one"
        )
    with_words = len({group for group, row in zip(groups, rows) if row[-1]})
    if with_words < 2:
        raise ValueError(
            f"an interval needs at least two groups with reference words, but there are {with_words}; "
            "if speakers are unknown, pass the utterances' ids as groups"
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
        raise ValueError("a draw has no errors to compare with; there are too few utterances")
    return d / c - b / a


def _interval(
    cells: Int[np.ndarray, "runs groups columns"],
    statistic: Statistic,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The interval of a statistic if other groups (and runs) had been drawn, by the bootstrap or the jackknife."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    runs, groups, _ = cells.shape
    if runs > 1 or (cells[..., -1] > 0).sum() < FEWEST_DRAWN:
        (value,) = statistic(cells.sum(axis=(0, 1))[None])
        _, low, high = jackknife(float(value), *_left(cells, statistic), confidence=confidence)
        return low, high
    # Drawn 500 at a time: 10,000 resamples of 10,000 groups would take 800 MB at once.
    counts = [min(500, resamples - start) for start in range(0, resamples, 500)]
    even = np.full(groups, 1 / groups)
    sums = np.concatenate([rng.multinomial(groups, even, count) @ cells[0] for count in counts])
    sums = sums[sums[:, -1] > 0]  # a draw may hold only groups without words
    tail = 50 * (1 - confidence)
    low, high = np.percentile(statistic(sums), [tail, 100 - tail])
    return float(low), float(high)


def _left(cells: Int[np.ndarray, "runs groups columns"], statistic: Statistic) -> list[Float[np.ndarray, " _"]]:
    """The statistic without each group in turn and, if there are several runs, without each run."""
    samples = [cells.sum(axis=0), cells.sum(axis=1)][: 2 if len(cells) > 1 else 1]
    return [statistic(cells.sum(axis=(0, 1)) - sample) for sample in samples]


def _numbered(names: Sequence[Hashable]) -> Int[np.ndarray, " names"]:
    """Number names from 0 in the order of their first occurrence; equal names get equal numbers."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)
