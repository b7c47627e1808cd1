"""The paper's nouns as frozen values: what every other module agrees on and none of them owns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

RATE_HZ = 16_000  # §3.2: the front end is configured to operate at 16 kHz


@dataclass(frozen=True)
class Regime:
    """How a training departs from the paper's, which pools and distorts everything alike; as it stands, not at all.

    `sampling_exponent`: a domain's share of an epoch goes as its hours to that power (1: as they are; 0: all alike).
    `curriculum`: over so much of the training, noise and codecs rise from never to as often as they then come.
    `clean_share`: of the visits to an utterance, so many leave it as it was recorded. `adversary`: the weight of the
    reversed gradient of a classifier of domains. `adapters`: each domain has scales and biases of its own in the
    network, which is told nothing on an `untold_share` of visits, so that it can do without. `longer`: so many
    times the steps that the scale asks for. Fine-tuning knows the regimes `AS_PUBLISHED` and `OWN_ALONE`.
    """

    sampling_exponent: float = 1.0
    curriculum: float = 0.0
    clean_share: float = 0.0
    adversary: float = 0.0
    adapters: bool = False
    untold_share: float = 0.5
    longer: float = 1.0

    def __post_init__(self) -> None:
        for name in ("curriculum", "clean_share", "untold_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"regime: {name} is {getattr(self, name)}; it must lie between 0 and 1")
        for name in ("sampling_exponent", "adversary"):
            if getattr(self, name) < 0:
                raise ValueError(f"regime: {name} is {getattr(self, name)}; it must be 0 or more")
        if not self.longer > 0:
            raise ValueError(f"regime: longer is {self.longer}; it must be above 0")


AS_PUBLISHED = Regime()
OWN_ALONE = Regime(adapters=True, untold_share=0.0)  # of fine-tuning: what other domains hear stays as it was


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


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: the network, the targets, the training, and the embedded corpus' share.

    A model trains for `epochs` over its data, times `noise_factor` where noise is simulated, within `min_steps` and
    `max_steps`. `forget_steps` and `members` are ways to learn more from little (`loader.RowOptions`,
    `acoustic.model.ModelConfig`, which has `compute_dtype` and `unroll`, too); with 0 and 1 they do nothing. The rooms'
    ranges serve training and noisy test sets alike. `batch` is the global batch, in rows of `row_steps` steps of 30 ms.
    Adaptation (§4.4) has a lower learning rate of its own, and stops early, at the latest after `adapt_steps`.
    """

    name: str
    cells: tuple[int, ...]
    leaves: int
    batch: int
    row_steps: int
    output_delay: int
    forget_steps: int
    members: int
    compute_dtype: str
    unroll: int
    dropout: float
    learning_rate: float
    epochs: float
    noise_factor: float
    min_steps: int
    max_steps: int
    noise_probability: float
    snr_db: tuple[float, float]
    rt60_s: tuple[float, float]
    distance_m: tuple[float, float]
    ngram_order: int
    lm_sentences: int
    test_words: int
    dev_words: int
    adapt_rate: float
    adapt_steps: int


def digest(value: object) -> str:
    """Twelve hex digits that name a value made of dataclasses and what JSON can hold: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=lambda part: asdict(part))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
