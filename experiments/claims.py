"""The paper's claims as functions over a table's cells, with verdicts holds, fails or undecided.

"Better" means that the paired 95% interval of the difference, over speakers, lies below zero; "about equal" that it
lies within ±15% of the WER it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mdasr.recognizer import Scored
from mdasr.score.similarity import Resemblance, difference
from mdasr.score.wer import Errors, paired_interval

Verdict = Literal["holds", "fails", "undecided"]
Cells = Mapping[tuple[str, str], list[Scored]]  # by row and column of a table

EQUAL_WITHIN = 0.15


@dataclass(frozen=True)
class Comparison:
    """WERs a and b on the same utterances, and the 95% interval of b - a in points."""

    name: str
    a: float
    b: float
    low: float
    high: float

    def better(self) -> Verdict:
        return "holds" if self.high < 0 else "fails" if self.low > 0 else "undecided"

    def about_equal(self) -> Verdict:
        margin = EQUAL_WITHIN * self.a
        if -margin <= self.low and self.high <= margin:
            return "holds"
        return "fails" if self.low > margin or self.high < -margin else "undecided"

    def __str__(self) -> str:
        relative = (self.b - self.a) / self.a if self.a else float("nan")
        interval = f"[{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.name}: {self.a:.1f} → {self.b:.1f} ({relative:+.0%}), difference in {interval}"


def compare(cells: Cells, row: str, a: str, b: str) -> Comparison:
    """Compare columns `a` and `b` of a table on one row."""
    first, second = cells[row, a], cells[row, b]
    rng = np.random.default_rng(0)
    low, high = paired_interval([s.errors for s in first], [s.errors for s in second], [s.speaker for s in first], rng)
    wer_a, wer_b = (sum((s.errors for s in scored), Errors()).wer for scored in (first, second))
    return Comparison(row, wer_a, wer_b, low, high)


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """A claim over several cells holds if all hold, fails if any fails, and is undecided otherwise."""
    verdicts = list(verdicts)
    return "fails" if "fails" in verdicts else "undecided" if "undecided" in verdicts else "holds"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper's about one table: the rows that it compares, and how b should relate to a."""

    id: str
    table: int
    text: str
    rows: tuple[str, ...]
    columns: tuple[str, str]
    judge: Callable[[Comparison], Verdict]

    def verdict(self, cells: Cells) -> dict[str, str]:
        found = [compare(cells, row, *self.columns) for row in self.rows]
        evidence = "; ".join(str(each) for each in found)
        return {"id": self.id, "verdict": all_of(map(self.judge, found)), "evidence": evidence}


_NOISE = ("w/o Noise", "w/ Noise")

CLAIMS = (
    Claim(
        "T3.a",
        3,
        "Noise training leaves clean Voicesearch and Dictation about equal",
        ("Voicesearch", "Dictation"),
        _NOISE,
        Comparison.about_equal,
    ),
    Claim(
        "T3.b",
        3,
        "Noise training makes both noisy sets better",
        ("Voicesearch + Noise", "Dictation + Noise"),
        _NOISE,
        Comparison.better,
    ),
    Claim(
        "T3.c",
        3,
        "Noise training only marginally affects Dictation at 8 kHz",
        ("Dictation 8 kHz",),
        _NOISE,
        Comparison.about_equal,
    ),
)


@dataclass(frozen=True)
class SimilarityClaim:
    """A statement of §4.2's: by both measures `domain` is the nearest to the reference of all, or the farthest.

    A smaller silhouette and a larger similarity are nearer; intervals of differences are paired in the reference.
    """

    id: str
    text: str
    domain: str
    nearest: bool
    table: int = 2

    def verdict(self, found: Mapping[str, Resemblance]) -> dict[str, str]:
        verdicts: list[Verdict] = []
        evidence = []
        for other in (name for name in found if name != self.domain):
            parts = []
            for measure, digits, nearer in (("silhouette", 4, -1), ("similarity", 2, 1)):
                value, low, high = difference(found[self.domain], found[other], measure)
                above = (nearer > 0) == self.nearest
                right, wrong = (low > 0, high < 0) if above else (high < 0, low > 0)
                verdicts.append("holds" if right else "fails" if wrong else "undecided")
                parts.append(f"{measure} {value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
            evidence.append(f"against {other}: {', '.join(parts)}")
        return {"id": self.id, "verdict": all_of(verdicts), "evidence": "; ".join(evidence)}


SIMILARITY_CLAIMS = (
    SimilarityClaim(
        "T2.a", "Call-center is the domain nearest to Telephony by both measures", "Call-center", nearest=True
    ),
    SimilarityClaim("T2.b", "Voicesearch is the farthest by both measures", "Voicesearch", nearest=False),
)
