"""How a training may depart from the paper's."""

from __future__ import annotations

from dataclasses import dataclass


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
