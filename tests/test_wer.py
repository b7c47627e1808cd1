"""Word errors against an exhaustive reference; intervals against kaldialign's and against theory."""

import functools
from pathlib import Path

import kaldialign
import numpy as np
import pytest

from mdasr.score.sclite import sclite_steps
from mdasr.score.wer import (
    GAP,
    Errors,
    align_words,
    confusions,
    count_errors,
    mapsswe,
    paired_interval,
    paired_variances,
    wer_interval,
)

REFERENCES = Path(__file__).parent / "references"


def cheapest(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """Return sclite's alignment cost by plain recursion: 4 for a substitution, 3 for an insertion or a deletion."""

    @functools.cache
    def cost(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 3 * (i + j)
        swap = 0 if reference[i - 1] == hypothesis[j - 1] else 4
        return min(cost(i - 1, j - 1) + swap, cost(i - 1, j) + 3, cost(i, j - 1) + 3)

    return cost(len(reference), len(hypothesis))


def made_up(rng: np.random.Generator, utterances: int, error_rate: float) -> list[Errors]:
    words = rng.integers(3, 15, utterances)
    return [Errors(sub=int(rng.binomial(n, error_rate)), ref_words=int(n)) for n in words]


def test_hand_worked_case():
    reference, hypothesis = "the cat sat on the mat", "a cat sat the mat today"
    errors = count_errors(reference.split(), hypothesis.split())
    assert errors == Errors(sub=1, ins=1, dele=1, ref_words=6)
    assert errors.total == 3
    assert errors.wer == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ((), (), Errors()),
        ((), ("so",), Errors(ins=1)),
        (("so",), (), Errors(dele=1, ref_words=1)),
        (("it's",), ("its",), Errors(sub=1, ref_words=1)),
        (("naïve", "日本"), ("naïve", "日本", "日本"), Errors(ins=1, ref_words=2)),
        (("a",), ("b",) * 5, Errors(sub=1, ins=4, ref_words=1)),
    ],
)
def test_ugly_utterances(reference, hypothesis, expected):
    assert count_errors(reference, hypothesis) == expected


def test_counts_are_those_of_the_cheapest_alignment():
    rng = np.random.default_rng(0)
    for _ in range(200):
        reference, hypothesis = (tuple("abcd"[i] for i in rng.integers(0, 4, rng.integers(0, 9))) for _ in "rh")
        found = count_errors(reference, hypothesis)
        assert 4 * found.sub + 3 * (found.ins + found.dele) == cheapest(reference, hypothesis)
        assert len(reference) - found.dele + found.ins == len(hypothesis)


def test_ties_are_broken_as_sclite_breaks_them():
    """`references/sclite.py` recorded how Debian's sclite aligns 3,000 pairs; in 55 another choice counts otherwise."""
    rows = [line.split("\t") for line in (REFERENCES / "sclite.txt").read_text().splitlines()]
    assert len(rows) == 3000
    for reference, hypothesis, steps in rows:
        words = reference.split(), hypothesis.split()
        assert sclite_steps(*words) == steps
        errors = Errors(steps.count("S"), steps.count("I"), steps.count("D"), len(words[0]))
        assert count_errors(*words) == errors
        assert sum(left != right for left, right in align_words(*words)) == errors.total


def test_three_substitutions_that_cost_as_much_as_four_gaps():
    reference, hypothesis = ["a", "b", "c"], ["c", "d", "a"]
    assert sclite_steps(reference, hypothesis) == "SSS", "IICDD costs 12, too, and has four errors"


def test_a_string_is_not_a_sequence_of_words():
    with pytest.raises(TypeError, match="split the strings first"):
        count_errors("the cat", ["the", "cat"])


def test_errors_add_up_and_pass_100_percent():
    total = sum([Errors(1, 2, 3, 4), Errors(10, 20, 30, 40)], Errors())
    assert total == Errors(11, 22, 33, 44)
    assert total.wer == pytest.approx(150.0)


def test_no_rate_without_reference_words():
    with pytest.raises(ValueError, match="references hold no words"):
        _ = Errors(ins=3).wer


def test_interval_by_utterance_equals_kaldialigns():
    rng = np.random.default_rng(1)
    references = [["w"] * int(n) for n in rng.integers(3, 15, 300)]
    hypotheses = [["w" if rng.random() > 0.2 else "x" for _ in words] for words in references]
    theirs = kaldialign.bootstrap_wer_ci(references, hypotheses, replications=10_000)
    errors = [count_errors(r, h) for r, h in zip(references, hypotheses)]
    low, high = wer_interval(errors, range(300), rng)
    assert low == pytest.approx(100 * theirs["ci95min"], abs=0.15)
    assert high == pytest.approx(100 * theirs["ci95max"], abs=0.15)


def test_interval_covers_the_true_rate_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        errors = made_up(rng, 60, 0.2)
        low, high = wer_interval(errors, range(60), rng, confidence=0.9, resamples=500)
        covered += low <= 20 <= high
    assert 0.83 <= covered / 200 <= 0.96


@pytest.mark.parametrize(("speakers", "trainings", "spread"), [(4, 1, 0.0), (7, 1, 0.0), (30, 3, 0.1), (30, 2, 0.2)])
def test_intervals_hold_what_they_say_with_a_handful_of_speakers_or_trainings(speakers, trainings, spread):
    """Draw speakers and trainings of 20% on average; pairs of trainings are equally good."""
    rng = np.random.default_rng(8)
    groups, runs = np.tile(np.arange(speakers), trainings), np.repeat(np.arange(trainings), speakers)
    held, equal, times = 0, 0, 400
    for _ in range(times):
        hard = rng.beta(4, 16, speakers)
        made = [np.clip(hard * np.exp(spread * rng.standard_normal((trainings, 1))), 0, 1) for _ in range(2)]
        a, b = ([Errors(int(n), 0, 0, 100) for n in rng.binomial(100, rates).ravel()] for rates in made)
        low, high = wer_interval(a, groups.tolist(), rng, runs=runs.tolist(), resamples=1000)
        held += low <= 20 * np.exp(spread**2 / 2) <= high
        low, high = paired_interval(a, b, groups.tolist(), rng, runs=runs.tolist())
        equal += low <= 0 <= high
    assert min(held, equal) / times > 0.87  # a bootstrap's: 0.75 of the paired ones with three trainings


def test_variance_is_ascribed_to_speakers_or_to_trainings():
    rng = np.random.default_rng(9)
    groups, runs = [*range(40)] * 3, np.repeat(np.arange(3), 40).tolist()
    same = [Errors(30, 0, 0, 100)] * 120
    by_run = [Errors(20 + 10 * run, 0, 0, 100) for run in runs]
    by_group = [Errors(int(n), 0, 0, 100) for n in [*rng.integers(10, 40, 40)] * 3]
    over_groups, over_runs = paired_variances(same, by_run, groups, runs)
    assert over_groups == 0 < over_runs
    over_groups, over_runs = paired_variances(same, by_group, groups, runs)
    assert over_runs == 0 < over_groups == pytest.approx(np.var([e.wer for e in by_group[:40]], ddof=1) / 40)


def test_speakers_that_differ_widen_the_interval():
    rng = np.random.default_rng(3)
    errors = [e for rate in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6) for e in made_up(rng, 50, rate)]
    speakers = [f"speaker {i // 50}" for i in range(300)]
    by_speaker = wer_interval(errors, speakers, rng)
    by_utterance = wer_interval(errors, range(300), rng)
    assert np.ptp(by_speaker) > 3 * np.ptp(by_utterance)


def test_same_generator_same_interval():
    errors = made_up(np.random.default_rng(4), 30, 0.1)
    first, second = (wer_interval(errors, range(30), np.random.default_rng(5)) for _ in range(2))
    assert first == second


def test_pairing_cancels_what_makes_an_utterance_hard_for_both():
    rng = np.random.default_rng(6)
    a = made_up(rng, 200, 0.3)
    b = [Errors(e.sub + (i % 10 == 0), 0, 0, e.ref_words) for i, e in enumerate(a)]
    low, high = paired_interval(a, b, range(200), rng)
    difference = sum(b, Errors()).wer - sum(a, Errors()).wer
    assert 0 < low < difference < high
    assert high - low < np.ptp(wer_interval(a, range(200), rng)) / 2
    assert paired_interval(a, a, range(200), rng) == (0, 0)


def test_recordings_without_words_leave_an_interval_of_the_others():
    """A draw of only noise recordings has no rate. Intervals then use the recordings with words, and the insertions."""
    rng, spoken = np.random.default_rng(8), [Errors(i % 2, 0, 0, 5) for i in range(12)]
    noise = [Errors() for _ in range(100)]
    low, high = wer_interval(spoken + noise, range(112), rng)
    assert low < 10 < high
    assert wer_interval([*spoken, *noise[:99], Errors(ins=9)], range(112), rng)[1] > high
    assert wer_interval(spoken[:3] + noise, range(103), rng) == wer_interval(spoken[:3], range(3), rng)


def test_an_interval_that_cannot_be_is_refused():
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="two groups with reference words, but there are 1"):
        wer_interval([Errors(1, 0, 0, 5)] * 3, ["anna"] * 3, rng)
    with pytest.raises(ValueError, match="two groups with reference words, but there are 0"):
        wer_interval([], [], rng)
    with pytest.raises(ValueError, match="there are 3 utterances, but 2 groups"):
        wer_interval([Errors(1, 0, 0, 5)] * 3, ["anna", "ben"], rng)
    with pytest.raises(ValueError, match="reference words, but there are 1"):
        wer_interval([Errors(ins=1), Errors(1, 0, 0, 5)], ["anna", "ben"], rng)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        wer_interval([Errors(1, 0, 0, 5)] * 2, ["anna", "ben"], rng, confidence=95.0)
    with pytest.raises(ValueError, match="same utterances"):
        paired_interval([Errors(ref_words=3)] * 2, [Errors(ref_words=4)] * 2, ["anna", "ben"], rng)


def test_confusions_hand_worked():
    pairs = [(["the", "cat", "sat"], ["a", "cat", "sat", "down"]), (["the", "mat"], ["a"])]
    found = confusions(pairs)
    assert found["the", "a"] == 1 and found[GAP, "down"] == 1
    assert found["the", GAP] == 1 and found["mat", "a"] == 1, "sclite prints the second pair so, too"
    assert sum(found.values()) == 4
    assert align_words([], ["so"]) == [(GAP, "so")]


def test_matched_pairs_hand_worked():
    """Two right words end a segment, one does not; an insertion belongs to the word before it."""
    reference = ["a", "b", "c", "d", "e", "f", "g"]
    first = ["a", "x", "c", "d", "e", "y", "g"]  # wrong at b and f: segments {b}, {f}
    second = ["a", "b", "c", "d", "e", "f", "g", "z"]  # puts a word in after g
    found = mapsswe([reference], [first], [second])
    # b (1 against 0); f, g and what follows (1 against 1) are one segment.
    assert (found.segments, found.difference) == (2, -1)
    differences = np.array([-1, 0])
    z = differences.mean() / (differences.std(ddof=1) / np.sqrt(2))
    assert found.z == pytest.approx(z)
    same = mapsswe([reference], [first], [first])
    assert (same.difference, same.z, same.p) == (0, 0, 1)
    assert mapsswe([], [], []).p == 1
    # One segment proves nothing, and six that agree prove little.
    one = mapsswe([["a"]], [["b"]], [["a"]])
    assert (one.segments, one.difference, one.p) == (1, -1, 1)
    assert mapsswe([["a"]] * 6, [["b"]] * 6, [["a"]] * 6).p == pytest.approx(2 / 64)
    with pytest.raises(ValueError):
        mapsswe([reference], [first], [])


def test_matched_pairs_find_a_difference_as_often_as_they_should():
    """The rate of false alarms is as it should be, and a true difference of a factor of two is seen."""
    rng = np.random.default_rng(0)
    reference = [[f"w{i}" for i in range(10)] for _ in range(150)]

    def spoilt(rate: float) -> list[list[str]]:
        return [[w if rng.random() > rate else "x" for w in words] for words in reference]

    alarms = sum(mapsswe(reference, spoilt(0.1), spoilt(0.1)).p < 0.05 for _ in range(100))
    assert alarms <= 12
    found = mapsswe(reference, spoilt(0.2), spoilt(0.1))
    assert found.p < 1e-4 and found.difference < 0 and found.z < 0
