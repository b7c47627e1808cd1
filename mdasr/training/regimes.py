"""The ways in which a training may differ from the paper's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Regime:
    """The differences of a training from the paper's, which pools and distorts all speech alike; by default none.

    - `sampling_exponent`: a domain's share of an epoch is proportional to its hours to this power. With 1 the shares
      stay as they are; with 0 all are equal.
    - `curriculum`: noise and codecs rise from 0 to their probabilities over this share of the training.
    - `clean_share`: this share of the visits to an utterance leaves it as it was recorded.
    - `adversary`: the weight of the reversed gradient of a classifier of domains.
    - `adapters`: each domain has its own scales and biases in the network. On an `untold_share` of the visits the
      network is not told the domain, so that it also works without.
    - `longer`: a factor on the number of steps of the scale.

    Fine-tuning accepts only the regimes `AS_PUBLISHED` and `OWN_ALONE`.
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
OWN_ALONE = Regime(adapters=True, untold_share=0.0)  # for fine-tuning that changes nothing for other domains
