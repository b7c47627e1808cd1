"""The paper's comparisons on your own corpora: each domain alone, pooled, pooled with noise, with codecs, with both.

python -m experiments matrix --corpora my.toml --scale small --workdir runs

The first table has every model on every domain as it was recorded (Table 5). The second has the pooled models in four
conditions (Tables 3, 4 and 6). Then follows a table for each domain that is adapted to (Table 7). It has a pooled model
that never heard the domain, the same after some minutes of it, and models of these minutes alone.

The verdicts are made as in `claims.py`, under ids that begin with R. Test sets of a single speaker have none. These
claims differ from the paper's:

* R3.a and R4.c are about the pooled model. T3.a and T4.c are about a model of two similar domains, and T6.d and T6.e
  are the paper's claims about the multidomain model.
* R6.a compares with the domain's own model only, and R6.f is about noise and codecs together, with a curriculum.
* R7.a and R7.b are about the minutes that the map names, not about 10 and 700 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from experiments.claims import Claim, That, about_equal, better, better_or_equal, models_on, worse
from experiments.nouns import Model, Table, TestSet
from experiments.testsets import coded, name, narrow, noisy
from mdasr.training.regimes import Regime

CURRICULUM = Regime(curriculum=0.5)  # of the training, over which noise and codecs become as frequent as they will be


class Domains(Protocol):
    """The part of a collection that a matrix needs."""

    def pooled(self) -> tuple[str, ...]: ...

    def unheard(self) -> tuple[str, ...]: ...

    def amounts(self) -> Mapping[str, Mapping[str, float]]: ...

    def speakers(self, domain: str) -> int: ...


@dataclass(frozen=True)
class Matrix:
    """The models and test sets of a collection's domains.

    `amounts` has, for each domain that is adapted to, the shares of its training speech, by name. Only domains among
    `judged` have verdicts. Raises ValueError with fewer than two pooled domains.
    """

    pooled: tuple[str, ...]
    unheard: tuple[str, ...] = ()
    amounts: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    judged: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pooled) < 2:
            raise ValueError(f"a matrix needs two pooled domains or more, but the map has only {[*self.pooled]}")

    @classmethod
    def of(cls, domains: Domains) -> Matrix:
        every = (*domains.pooled(), *domains.unheard())
        amounts = tuple((domain, tuple(shares.items())) for domain, shares in domains.amounts().items())
        return cls(domains.pooled(), domains.unheard(), amounts, tuple(d for d in every if domains.speakers(d) > 1))

    @property
    def domains(self) -> tuple[str, ...]:
        return (*self.pooled, *self.unheard)

    @property
    def alone(self) -> dict[str, Model]:
        return {domain: Model(domain, (domain,)) for domain in self.pooled}

    @property
    def plain(self) -> Model:
        return Model("Pooled", self.pooled)

    @property
    def with_noise(self) -> Model:
        return Model("Pooled + Noise", self.pooled, noise_on=self.pooled)

    @property
    def with_codec(self) -> Model:
        return Model("Pooled + Codec", self.pooled, codecs=True)

    @property
    def with_both(self) -> Model:
        return Model("Pooled + Both, curriculum", self.pooled, self.pooled, codecs=True, regime=CURRICULUM)

    @property
    def in_conditions(self) -> list[Model]:
        return [self.plain, self.with_noise, self.with_codec, self.with_both]

    def parent(self, domain: str) -> Model:
        """The pooled model that never heard `domain`."""
        rest = tuple(each for each in self.pooled if each != domain)
        return self.plain if rest == self.pooled else Model(f"Pooled without {domain}", rest)

    def adapted(self, domain: str) -> list[Model]:
        """The parent, fine-tuned on each amount of `domain`, from the smallest."""
        parent, shares = self.parent(domain), dict(self.amounts)[domain]
        return [Model(f"{parent.name} + {named}", (domain,), share=share, parent=parent) for named, share in shares]

    def scratch(self, domain: str) -> list[Model]:
        """A model of each amount of `domain` alone, from the smallest."""
        return [
            Model(f"{domain} alone, {named}" if share < 1 else domain, (domain,), share=share)
            for named, share in dict(self.amounts)[domain]
        ]

    def tables(self) -> tuple[Table, ...]:
        """The tables of the module's description, in their order."""
        clean = {domain: TestSet(domain) for domain in self.domains}
        heard = [test for each in clean.values() for test in (each, noisy(each), coded(each, "mp3", 23), narrow(each))]
        pooled = {model.name: model for model in self.in_conditions}
        alone = {model.name: model for model in self.alone.values()}
        return (
            Table(0, "Models by domains", alone | pooled, clean, {}),
            Table(0, "Pooled models in conditions", pooled, {name(test): test for test in heard}, {}),
            *(self.adaptation(domain) for domain, _ in self.amounts),
        )

    def adaptation(self, domain: str) -> Table:
        models = [self.parent(domain), *self.adapted(domain), *self.scratch(domain)]
        tests = {each: TestSet(each) for each in dict.fromkeys((domain, *self.pooled))}
        return Table(0, f"{domain} unheard, and adapted to", {m.name: m for m in models}, tests, {})

    def claims(self) -> tuple[Claim, ...]:
        """The claims of Tables 3, 4, 6 and 7 that make sense for any corpora."""
        clean = [TestSet(domain) for domain in self.pooled if domain in self.judged]
        mp3 = [coded(each, "mp3", 23) for each in clean]
        both = [each for test in clean for each in (noisy(test), coded(test, "mp3", 23))]
        claims = [
            Claim("R3.a", 0, "Noise training leaves clean speech about equal",
                  models_on(about_equal, self.plain, self.with_noise, *clean)),
            Claim("R3.b", 0, "Noise training makes noisy speech better",
                  models_on(better, self.plain, self.with_noise, *map(noisy, clean))),
            Claim("R4.c", 0, "Codec training makes MP3 at 23 kbit/s better",
                  models_on(better, self.plain, self.with_codec, *mp3)),
            Claim("R6.a", 0, "On every domain the pooled model is better than the domain's own, or about equal",
                  tuple(That(better_or_equal, (self.alone[c.domain], c), (self.plain, c)) for c in clean)),
            Claim("R6.f", 0, "With noise and codecs together, both are better than with neither",
                  models_on(better, self.plain, self.with_both, *both)),
        ]  # fmt: skip
        for domain, shares in self.amounts:
            if domain in self.judged and len(shares) > 1:
                claims += self._of_adaptation(domain)
        return tuple(claim for claim in claims if claim.statements)

    def _of_adaptation(self, domain: str) -> list[Claim]:
        (*_, some, whole), scratch, own = self.adapted(domain), self.scratch(domain)[-1], TestSet(domain)
        others = [TestSet(each) for each in self.parent(domain).domains if each in self.judged]
        (some_named, _), (most_named, _) = dict(self.amounts)[domain][-2:]
        return [
            Claim(f"R7.a {domain}", 0, f"Adapted to {some_named}, a model is at least as good as one trained from "
                  f"scratch on {most_named}", models_on(better_or_equal, scratch, some, own)),
            Claim(f"R7.b {domain}", 0, f"The model adapted to {most_named} is better than one trained from scratch, "
                  f"and better than the one adapted to {some_named}",
                  (*models_on(better, scratch, whole, own), *models_on(better, some, whole, own))),
            Claim(f"R7.f {domain}", 0, "Adaptation makes the other domains worse",
                  models_on(worse, self.parent(domain), whole, *others)),
        ]  # fmt: skip
