"""The paper's questions put to anybody's corpora: each domain alone, pooled, pooled with noise and with codecs.

python -m experiments matrix --corpora my.toml --scale small --workdir runs

Models by test sets in four conditions; the last domain of the map is then held out, and adapted to. Which of the
paper's claims hold here is judged as in `claims.py`, under ids that begin with R. They are not quite the paper's: R3.a
and R4.c ask of the pooled model what T3.a and T4.c say of one of two alike domains (of the multidomain model the paper
says T6.d and T6.e), R6.a compares with the domain's own model alone, and R7.a adapts to a tenth, not to 1/70.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.claims import Claim, That, about_equal, better, better_or_equal, models_on, worse
from experiments.nouns import Model, Table, TestSet
from experiments.testsets import coded, name, narrow, noisy

SHARES = (0.1, 1.0)  # of the held-out domain's speech, to adapt to


@dataclass(frozen=True)
class Matrix:
    """The models and test sets over `domains`, of which the last is the one that is held out; two or more."""

    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.domains) < 2:
            raise ValueError(f"a matrix needs two domains or more to pool, and the map has {list(self.domains)}")

    @property
    def alone(self) -> dict[str, Model]:
        return {domain: Model(domain, (domain,)) for domain in self.domains}

    @property
    def pooled(self) -> Model:
        return Model("Pooled", self.domains)

    @property
    def with_noise(self) -> Model:
        return Model("Pooled + Noise", self.domains, noise_on=self.domains)

    @property
    def with_codec(self) -> Model:
        return Model("Pooled + Codec", self.domains, codecs=True)

    @property
    def rest(self) -> Model:
        return Model(f"without {self.domains[-1]}", self.domains[:-1])

    @property
    def adapted(self) -> list[Model]:
        return [Model(f"{self.rest.name} + {s:.0%}", self.domains[-1:], share=s, parent=self.rest) for s in SHARES]

    def test_sets(self) -> list[TestSet]:
        clean = [TestSet(domain) for domain in self.domains]
        return [each for c in clean for each in (c, noisy(c), coded(c, "mp3", 23), narrow(c))]

    def tables(self) -> tuple[Table, Table]:
        """All models in all conditions; and what adaptation to the last domain brings it and takes from the others."""
        models = [*self.alone.values(), self.pooled, self.with_noise, self.with_codec]
        adaptation = [self.rest, *self.adapted, self.alone[self.domains[-1]]]
        everything = Table(
            0, "Models by test sets", {m.name: m for m in models}, {name(t): t for t in self.test_sets()}, {}
        )
        cost = Table(
            0, f"{self.domains[-1]} held out, and adapted to", {m.name: m for m in adaptation},
            {domain: TestSet(domain) for domain in self.domains}, {},
        )  # fmt: skip
        return everything, cost

    def claims(self) -> tuple[Claim, ...]:
        """Those of T3, T4, T6 and T7 that can be asked of any corpora."""
        clean = [TestSet(domain) for domain in self.domains]
        last, others = clean[-1], clean[:-1]
        scratch, (tenth, whole) = self.alone[self.domains[-1]], self.adapted
        return (
            Claim("R3.a", 0, "Noise training leaves clean speech about equal",
                  models_on(about_equal, self.pooled, self.with_noise, *clean)),
            Claim("R3.b", 0, "Noise training makes noisy speech better",
                  models_on(better, self.pooled, self.with_noise, *map(noisy, clean))),
            Claim("R4.c", 0, "Codec training makes MP3 at 23 kbit/s better",
                  models_on(better, self.pooled, self.with_codec, *(coded(c, "mp3", 23) for c in clean))),
            Claim("R6.a", 0, "The pooled model is better than or about equal to the domain's own everywhere",
                  tuple(That(better_or_equal, (self.alone[c.domain], c), (self.pooled, c)) for c in clean)),
            Claim("R7.a", 0, "Adapted to a tenth of the data, at least as good as training on all of it from scratch",
                  models_on(better_or_equal, scratch, tenth, last)),
            Claim("R7.b", 0, "Adapted to all of it, better than from scratch, and better than on a tenth",
                  (*models_on(better, scratch, whole, last), *models_on(better, tenth, whole, last))),
            Claim("R7.f", 0, "Adaptation makes the other domains worse", models_on(worse, self.rest, whole, *others)),
        )  # fmt: skip
