"""Training criteria (§3.7): the losses that training minimises. Each has a file, and a line here."""

from __future__ import annotations

from typing import Any

from mdasr.acoustic.criteria.cross_entropy import CrossEntropy
from mdasr.acoustic.criteria.interface import Criterion
from mdasr.acoustic.criteria.label_smoothing import LabelSmoothing
from mdasr.acoustic.criteria.mmi import MMI
from mdasr.core import schema

CRITERIA: dict[str, type[Any]] = {"cross_entropy": CrossEntropy, "label_smoothing": LabelSmoothing, "mmi": MMI}


def read_criterion(value: Any, where: str) -> Criterion:
    """Read a criterion's settings from parsed JSON, as `dataclasses.asdict` writes them.

    Raises ValueError as `schema.choose` does.
    """
    return schema.choose(CRITERIA, value, where)
