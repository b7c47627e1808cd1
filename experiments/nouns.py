"""The paper's nouns: models, test sets, and tables of models against test sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mdasr.training.regimes import AS_PUBLISHED, Regime


@dataclass(frozen=True)
class Model:
    """A model of the paper's tables: the domains that it trains on, and what happens to their utterances.

    The domains in `noise_on` get simulated rooms and noise; `codecs` says whether codecs are simulated. Mixed bandwidth
    is always on (§4.3). The model trains on a `share` of its domains' utterances; smaller shares lie within larger
    ones. It starts from scratch, or it is fine-tuned from `parent` (§4.4). The default `regime` is the paper's.
    ValueError if `noise_on` has a domain that the model does not train on, or if `share` is not above 0 and at most 1.
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
            raise ValueError(f"model {self.name!r}: noise on {sorted(strange)}, but it does not train on these domains")
        if not 0 < self.share <= 1:
            raise ValueError(f"model {self.name!r}: a share of {self.share}; give a number above 0 and at most 1")


@dataclass(frozen=True)
class TestSet:
    """A test set of the paper's tables: a domain's test utterances, and the condition in which they are heard.

    An empty `codec` means no codec. A `telephone` line narrows the band to 300-3400 Hz and compands. If `told` is set,
    models with separate parameters for each domain are told the domain.
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
    """A table of models against test sets, either way round, with the paper's names for rows and columns.

    `paper[row]` holds the paper's numbers of a row; rows that are not in the paper are missing there. A table that is
    not in the paper has the number 0.
    """

    number: int
    title: str
    columns: Mapping[str, Model] | Mapping[str, TestSet]
    rows: Mapping[str, TestSet] | Mapping[str, Model]
    paper: Mapping[str, tuple[float, ...]]

    def pairs(self) -> dict[tuple[str, str], tuple[Model, TestSet]]:
        """Return the model and the test set of each cell, by row and column; ValueError if a cell lacks one."""
        return {(row, column): _pair(r, c) for row, r in self.rows.items() for column, c in self.columns.items()}


def _pair(one: Model | TestSet, other: Model | TestSet) -> tuple[Model, TestSet]:
    match one, other:
        case (Model(), TestSet()):
            return one, other
        case (TestSet(), Model()):
            return other, one
    raise ValueError(f"a cell of a table is a model on a test set, not {one} on {other}")
