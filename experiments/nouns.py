"""The paper's nouns: models, test sets, and the tables that they meet in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mdasr.training.regimes import AS_PUBLISHED, Regime


@dataclass(frozen=True)
class Model:
    """A column of the paper's tables: which domains it trains on and what happens to their utterances.

    `noise_on` are the domains that get simulated rooms and noise; `codecs` says whether codecs are simulated. Mixed
    bandwidth is always on (§4.3). It trains on a `share` of its domains' utterances (smaller shares lie within larger
    ones), from scratch or, fine-tuned, from what `parent` learnt (§4.4), under a `regime` that is the paper's unless it
    says otherwise.
    """

    name: str
    domains: tuple[str, ...]
    noise_on: tuple[str, ...] = ()
    codecs: bool = False
    share: float = 1.0
    parent: Model | None = None
    regime: Regime = AS_PUBLISHED

    def __post_init__(self) -> None:
        strange = set(self.noise_on) - set(self.domains)
        if strange:
            raise ValueError(f"model {self.name!r}: noise on {sorted(strange)}, which it does not train on")
        if not 0 < self.share <= 1:
            raise ValueError(f"model {self.name!r}: a share of {self.share}; it must lie above 0 and at most be 1")


@dataclass(frozen=True)
class TestSet:
    """A row of the paper's tables: a domain's test utterances and the condition that they are heard in.

    `codec` is empty for none; a `telephone` line narrows the band to 300-3400 Hz, and compands. The domain is `told` to
    models that have parameters of its own.
    """

    __test__ = False  # not a test case of pytest's

    domain: str
    noise: bool = False
    codec: str = ""
    kbps: int = 0
    narrowband: bool = False
    telephone: bool = False
    told: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the paper, with rows and columns named as there: models against test sets, either way round.

    `paper[row]` are the paper's numbers; it has none of a row that is not in it. A table that the paper has not is
    number 0.
    """

    number: int
    title: str
    columns: Mapping[str, Model] | Mapping[str, TestSet]
    rows: Mapping[str, TestSet] | Mapping[str, Model]
    paper: Mapping[str, tuple[float, ...]]

    def pairs(self) -> dict[tuple[str, str], tuple[Model, TestSet]]:
        """What stands in each cell, by row and column; ValueError where models meet models or test sets test sets."""
        return {(row, column): _pair(r, c) for row, r in self.rows.items() for column, c in self.columns.items()}


def _pair(one: Model | TestSet, other: Model | TestSet) -> tuple[Model, TestSet]:
    match one, other:
        case (Model(), TestSet()):
            return one, other
        case (TestSet(), Model()):
            return other, one
    raise ValueError(f"a cell of a table is a model on a test set, not {one} on {other}")
