"""The paper's claims as comparisons of two WERs, each with the verdict "holds", "fails" or "undecided".

Each comparison looks at the paired 95% interval of the difference. The interval is over speakers, and over trainings
too if there are several seeds. "Better" means that it lies below zero. "About equal" means that it lies within ±15% of
the first WER. "Far better" means that it lies below minus half of the first WER. A claim holds if all its statements
hold, and fails if one fails. For an undecided statement the text says how much more data would decide it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np

from experiments.models import (
    AMOUNTS,
    CALL_CENTER,
    IN_DOMAIN_ONLY,
    MULTI,
    MULTI_CODEC,
    MULTI_NOISE,
    POOLED,
    VSD,
    VSD_CODEC,
    VSD_NOISE,
    YOUTUBE,
    adapted_model,
)
from experiments.nouns import Model, TestSet
from experiments.testsets import (
    CALL_CENTER_8K,
    DICTATION,
    TELEPHONY_8K,
    VOICESEARCH,
    YOUTUBE_TEST,
    coded,
    name,
    narrow,
    noisy,
)
from mdasr.score.wer import Errors, Scored, grouped, paired_interval, paired_ratio_interval, paired_variances

Verdict = Literal["holds", "fails", "undecided"]
Pair = tuple[Model, TestSet]
Runs = Sequence[Mapping[Pair, Sequence[Scored]]]
"""The recognised words of every model on every test set, one mapping for each training run (seed)."""

EQUAL_WITHIN = 0.15
MOST_TIMES = 30  # a difference that needs more than 30 times the data counts as one that cannot be decided


@dataclass(frozen=True)
class Comparison:
    """WERs a and b (%) on the same utterances, and the 95% interval of b - a in points."""

    name: str
    a: float
    b: float
    low: float
    high: float

    def better(self) -> Verdict:
        return self._below(0.0)

    def worse(self) -> Verdict:
        return "holds" if self.low > 0 else "fails" if self.high < 0 else "undecided"

    def far_better(self) -> Verdict:
        return self._below(-self.a / 2)

    def about_equal(self) -> Verdict:
        margin = EQUAL_WITHIN * self.a
        if -margin <= self.low and self.high <= margin:
            return "holds"
        return "fails" if self.low > margin or self.high < -margin else "undecided"

    def better_or_equal(self) -> Verdict:
        return self._below(EQUAL_WITHIN * self.a)

    def not_worse(self) -> Verdict:
        """It fails if b is worse; it holds if b is better or about equal."""
        return "fails" if self.low > 0 else self.better_or_equal()

    def _below(self, limit: float) -> Verdict:
        return "holds" if self.high < limit else "fails" if self.low > limit else "undecided"

    def __str__(self) -> str:
        relative = f" ({(self.b - self.a) / self.a:+.0%})" if self.a else ""
        return f"{self.name}: {self.a:.1f} → {self.b:.1f}{relative}, difference in [{self.low:+.2f}, {self.high:+.2f}]"


Relation = Callable[[Comparison], Verdict]


def compare(runs: Runs, a: Pair, b: Pair) -> Comparison:
    """Compare two models on one test set, or one model in two conditions, on the same utterances."""
    wer_a, wer_b = (sum((s.errors for run in runs for s in run[pair]), Errors()).wer for pair in (a, b))
    low, high = _interval(runs, a, b)
    if a[1] == b[1]:
        return Comparison(f"{name(a[1])}, {a[0].name} → {b[0].name}", wer_a, wer_b, low, high)
    return Comparison(f"{a[0].name}, {name(a[1])} → {name(b[1])}", wer_a, wer_b, low, high)


def _interval(runs: Runs, a: Pair, b: Pair) -> tuple[float, float]:
    errors, other, speakers, seeds = _side_by_side(runs, a, b)
    return paired_interval(errors, other, speakers, np.random.default_rng(0), runs=seeds)


def _side_by_side(runs: Runs, a: Pair, b: Pair) -> tuple[list[Errors], list[Errors], list[str], list[int]]:
    """Return both pairs' errors in each utterance, the utterance's speaker, and the number of the training."""
    first, second = ([s for run in runs for s in run[pair]] for pair in (a, b))
    seeds = [seed for seed, run in enumerate(runs) for _ in run[a]]
    return [s.errors for s in first], [s.errors for s in second], grouped(first)[1], seeds


def to_decide(found: Comparison, relation: Relation) -> tuple[int, Verdict] | None:
    """Return how many times the speakers and trainings would decide a relation, and the verdict that they would give.

    It assumes that the difference stays as it is, and that the interval shrinks with the square root of the data. It
    returns None if more than `MOST_TIMES` would be needed.
    """
    middle = found.b - found.a
    for times in range(1, MOST_TIMES + 1):
        low, high = (middle + (end - middle) / times**0.5 for end in (found.low, found.high))
        if (verdict := relation(replace(found, low=low, high=high))) != "undecided":
            return times, verdict
    return None


def due_to_trainings(runs: Runs, a: Pair, b: Pair) -> float:
    """Return the share of the difference's variance that comes from trainings; the rest comes from speakers."""
    over_speakers, over_trainings = paired_variances(*_side_by_side(runs, a, b))
    return over_trainings / max(over_speakers + over_trainings, 1e-12)


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Join verdicts: "holds" if all hold, "fails" if one fails, and "undecided" otherwise."""
    verdicts = list(verdicts)
    return "fails" if "fails" in verdicts else "undecided" if "undecided" in verdicts else "holds"


class Judgement(NamedTuple):
    """A verdict, the numbers behind it, and, unless it is "holds", the reason."""

    verdict: Verdict
    evidence: str
    why: str = ""


class Statement(Protocol):
    def pairs(self) -> tuple[Pair, ...]: ...

    def judge(self, runs: Runs) -> Judgement: ...


@dataclass(frozen=True)
class That:
    """The statement that b is `relation` (such as better) than a."""

    relation: Relation
    a: Pair
    b: Pair

    def pairs(self) -> tuple[Pair, ...]:
        return self.a, self.b

    def judge(self, runs: Runs) -> Judgement:
        found = compare(runs, self.a, self.b)
        verdict, wanted = self.relation(found), self.relation.__name__.replace("_", " ")
        why = ""
        if verdict != "holds":
            why = f"{found}, not {wanted}" if verdict == "fails" else self._undecided(runs, found, wanted)
        return Judgement(verdict, f"{found} ({wanted}: {verdict})", why)

    def _undecided(self, runs: Runs, found: Comparison, wanted: str) -> str:
        decided = to_decide(found, self.relation)
        more = str(decided[0]) if decided else f"not even {MOST_TIMES}"
        shown = (
            {"holds": "show that it is", "fails": "show that it is not"}[decided[1]] if decided else "decide if it is"
        )
        share = ""
        if len(runs) > 1:
            share = f" ({due_to_trainings(runs, self.a, self.b):.0%} of its variance is between trainings)"
        return (
            f"{found}: if the difference stayed the same{share}, {more} times the speakers and trainings would "
            f"{shown} {wanted}"
        )


@dataclass(frozen=True)
class Narrows:
    """The statement that the relative gap between two models on a test set is smaller `late` than `early`.

    The gap is relative to the first model of the pair.
    """

    early: tuple[Model, Model]
    late: tuple[Model, Model]
    test_set: TestSet

    def pairs(self) -> tuple[Pair, ...]:
        return tuple((model, self.test_set) for model in (*self.early, *self.late))

    def judge(self, runs: Runs) -> Judgement:
        errors = [[s.errors for run in runs for s in run[pair]] for pair in self.pairs()]
        first = [s for run in runs for s in run[self.pairs()[0]]]
        seeds = [seed for seed, run in enumerate(runs) for _ in run[self.pairs()[0]]]
        totals = [sum(each, Errors()).total for each in errors]
        try:
            low, high = paired_ratio_interval(errors, grouped(first)[1], np.random.default_rng(0), runs=seeds)
        except ValueError as error:
            return Judgement("undecided", text := f"the gap cannot be computed: {error}", text)
        gaps = totals[1] / totals[0] - 1, totals[3] / totals[2] - 1
        verdict: Verdict = "holds" if high < 0 else "fails" if low > 0 else "undecided"
        text = f"{self.early[1].name}'s gap of {gaps[0]:.0%} becomes {gaps[1]:.0%}"
        text += f", change in [{100 * low:+.0f}, {100 * high:+.0f}] points"
        return Judgement(verdict, f"{text} (narrows: {verdict})", "" if verdict == "holds" else text)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, as statements that must all hold."""

    id: str
    table: int
    text: str
    statements: tuple[Statement, ...]

    def verdict(self, runs: Runs) -> dict[str, str]:
        """Return the verdict with its evidence in the form of claims.json; KeyError if a model was not evaluated."""
        judgements = [statement.judge(runs) for statement in self.statements]
        verdict = all_of(judgement.verdict for judgement in judgements)
        return {
            "id": self.id,
            "claim": self.text,
            "verdict": verdict,
            "evidence": "; ".join(judgement.evidence for judgement in judgements),
            "why": "; ".join(judgement.why for judgement in judgements if judgement.verdict == verdict != "holds"),
        }


def models_on(relation: Relation, a: Model, b: Model, *test_sets: TestSet) -> tuple[That, ...]:
    """Return the statements that on each test set `b` is `relation` than `a`."""
    return tuple(That(relation, (a, test_set), (b, test_set)) for test_set in test_sets)


def _conditions(relation: Relation, model: Model, a: TestSet, *others: TestSet) -> tuple[That, ...]:
    """Return the statements that for one model each of `others` is `relation` than the test set `a`."""
    return tuple(That(relation, (model, a), (model, b)) for b in others)


better, worse, far_better = Comparison.better, Comparison.worse, Comparison.far_better
about_equal, better_or_equal, not_worse = Comparison.about_equal, Comparison.better_or_equal, Comparison.not_worse

_DICTATION_8K = narrow(DICTATION)
_NOISY = (noisy(VOICESEARCH), noisy(DICTATION))
_AAC_64, _AAC_23 = coded(VOICESEARCH, "aac", 64), coded(VOICESEARCH, "aac", 23)
_MP3_64, _MP3_23 = coded(VOICESEARCH, "mp3", 64), coded(VOICESEARCH, "mp3", 23)
_OPUS, _SBC = coded(VOICESEARCH, "opus", 24), coded(VOICESEARCH, "sbc", 56)
_CLEAN = (VOICESEARCH, DICTATION, CALL_CENTER_8K, YOUTUBE_TEST)
_TABLE_5 = (VOICESEARCH, DICTATION, _DICTATION_8K, CALL_CENTER_8K, YOUTUBE_TEST, TELEPHONY_8K)
_STEPS = tuple(zip(AMOUNTS, [*AMOUNTS][1:]))

CLAIMS = (
    Claim("T3.a", 3, "Noise training leaves clean Voicesearch and Dictation about equal",
          models_on(about_equal, VSD, VSD_NOISE, VOICESEARCH, DICTATION)),
    Claim("T3.b", 3, "Noise training makes both noisy sets better", models_on(better, VSD, VSD_NOISE, *_NOISY)),
    Claim("T3.c", 3, "Noise training only marginally affects Dictation at 8 kHz",
          models_on(about_equal, VSD, VSD_NOISE, _DICTATION_8K)),
    Claim("T4.a", 4, "Without codec training, WER rises as the MP3 and the AAC bit rate falls",
          (*_conditions(worse, VSD, _MP3_64, _MP3_23), *_conditions(worse, VSD, _AAC_64, _AAC_23))),
    Claim("T4.b", 4, "With codec training, every seen and unseen codec but AAC 23k is about equal to no codec",
          _conditions(about_equal, VSD_CODEC, VOICESEARCH, _AAC_64, _MP3_23, _MP3_64, _OPUS, _SBC)),
    Claim("T4.c", 4, "Codec training makes MP3 23k better", models_on(better, VSD, VSD_CODEC, _MP3_23)),
    Claim("T4.d", 4, "Codec training makes no row of Table 4 worse",
          models_on(not_worse, VSD, VSD_CODEC, VOICESEARCH, _AAC_23, _AAC_64, _MP3_23, _MP3_64, _OPUS, _SBC)),
    Claim("T5.a", 5, "On domains that it has not seen, each domain-specific model is worse than the model that has",
          (*models_on(worse, VSD, CALL_CENTER, VOICESEARCH, DICTATION, _DICTATION_8K),
           *models_on(worse, VSD, YOUTUBE, VOICESEARCH, DICTATION, _DICTATION_8K),
           *models_on(worse, CALL_CENTER, VSD, CALL_CENTER_8K),
           *models_on(worse, YOUTUBE, VSD, YOUTUBE_TEST), *models_on(worse, YOUTUBE, CALL_CENTER, YOUTUBE_TEST))),
    Claim("T5.b", 5, "The Call-center model is very bad on 16 kHz sets, and far better on Dictation at 8 kHz",
          (*models_on(far_better, CALL_CENTER, VSD, VOICESEARCH, DICTATION),
           *models_on(far_better, CALL_CENTER, YOUTUBE, YOUTUBE_TEST),
           *_conditions(far_better, CALL_CENTER, DICTATION, _DICTATION_8K))),
    Claim("T5.c", 5, "The YouTube model is best on Telephony, and about equal to the Call-center model on Call-center",
          (*models_on(better, VSD, YOUTUBE, TELEPHONY_8K), *models_on(better, CALL_CENTER, YOUTUBE, TELEPHONY_8K),
           *models_on(about_equal, CALL_CENTER, YOUTUBE, CALL_CENTER_8K))),
    Claim("T5.d", 5, "The YouTube model is far better on YouTube than either of the others",
          (*models_on(far_better, VSD, YOUTUBE, YOUTUBE_TEST),
           *models_on(far_better, CALL_CENTER, YOUTUBE, YOUTUBE_TEST))),
    Claim("T6.a", 6, "The multidomain model is better than or about equal to the best domain-specific model everywhere",
          tuple(each for model in (VSD, CALL_CENTER, YOUTUBE)
                for each in models_on(better_or_equal, model, MULTI, *_TABLE_5))),
    Claim("T6.b", 6, "The multidomain model beats the Call-center model on Call-center",
          models_on(better, CALL_CENTER, MULTI, CALL_CENTER_8K)),
    Claim("T6.c", 6, "The multidomain model beats every domain-specific model on Telephony, and the one without noise "
          "training on the noisy sets",
          (*(each for model in (VSD, CALL_CENTER, YOUTUBE) for each in models_on(better, model, MULTI, TELEPHONY_8K)),
           *models_on(better, VSD, MULTI, *_NOISY))),
    Claim("T6.d", 6, "Noise simulation makes the noisy sets better, and clean Voicesearch, Dictation and Call-center "
          "worse. On the noisy sets it does not reach the domain-specific noise model",
          (*models_on(better, MULTI, MULTI_NOISE, *_NOISY),
           *models_on(worse, MULTI, MULTI_NOISE, VOICESEARCH, DICTATION, CALL_CENTER_8K),
           *models_on(worse, VSD_NOISE, MULTI_NOISE, *_NOISY))),
    Claim("T6.e", 6, "Codec simulation makes MP3 23k better, and AAC 23k and the clean sets worse",
          (*models_on(better, MULTI, MULTI_CODEC, _MP3_23), *models_on(worse, MULTI, MULTI_CODEC, _AAC_23, *_CLEAN))),
    Claim("T7.a", 7, "Fine-tuned on 1/70 of the in-domain data, the multidomain model is at least as good as training "
          "on all of it from scratch",
          models_on(better_or_equal, IN_DOMAIN_ONLY, adapted_model(MULTI, "10 hrs"), TELEPHONY_8K)),
    Claim("T7.b", 7, "From 1/70 on, WER falls with every step of in-domain data; with 1/7 and with all of it the "
          "adapted model beats training from scratch",
          (*(each for one, more in _STEPS
             for each in models_on(better, adapted_model(MULTI, one), adapted_model(MULTI, more), TELEPHONY_8K)),
           *(each for amount in ("100 hrs", "700 hrs")
             for each in models_on(better, IN_DOMAIN_ONLY, adapted_model(MULTI, amount), TELEPHONY_8K)))),
    Claim("T7.c", 7, "Starting from the multidomain model beats starting from Voicesearch-Dictation at every amount, "
          "by a gap that narrows",
          (*(each for amount in AMOUNTS
             for each in models_on(better, adapted_model(VSD, amount), adapted_model(MULTI, amount), TELEPHONY_8K)),
           Narrows((adapted_model(MULTI, "10 hrs"), adapted_model(VSD, "10 hrs")),
                   (adapted_model(MULTI, "700 hrs"), adapted_model(VSD, "700 hrs")), TELEPHONY_8K))),
    Claim("T7.d", 7, "Voicesearch-Dictation needs about 1/7 of the in-domain data to reach training from scratch",
          (*models_on(worse, IN_DOMAIN_ONLY, adapted_model(VSD, "30 hrs"), TELEPHONY_8K),
           *models_on(better_or_equal, IN_DOMAIN_ONLY, adapted_model(VSD, "100 hrs"), TELEPHONY_8K))),
    Claim("T7.f", 7, "Fine-tuning makes the other domains worse",
          models_on(worse, MULTI, adapted_model(MULTI, "700 hrs"), *_CLEAN)),
    Claim("T7.g", 7, "The multidomain model before adaptation is worse than training on Telephony from scratch",
          models_on(worse, IN_DOMAIN_ONLY, MULTI, TELEPHONY_8K)),
    Claim("T7.e", 7, "Adding Telephony to the multidomain training set leaves the other sets about equal",
          models_on(about_equal, MULTI, POOLED, *_CLEAN)),
)  # fmt: skip
