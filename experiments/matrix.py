"""The paper's comparisons on your own corpora: each domain alone, pooled, pooled with noise, and with codecs.

python -m experiments matrix --corpora my.toml --scale small --workdir runs

The first table has these models against test sets in four conditions. The second table holds out the last domain of
the map and adapts a model to it. The verdicts are made as in `claims.py`, under ids that begin with R.
These claims differ from the paper's in three ways:

* R3.a and R4.c are about the pooled model. T3.a and T4.c are about a model of two similar domains, and T6.d and T6.e
  are the paper's claims about the multidomain model.
* R6.a compares with the domain's own model only.
* R7.a adapts to a tenth of the data, not to 1/70.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.claims import Claim, That, about_equal, better, better_or_equal, models_on, worse
from experiments.nouns import Model, Table, TestSet
from experiments.testsets import coded, name, narrow, noisy

SHARES = (0.1, 1.0)  # shares of the held-out domain's speech that a model adapts to


@dataclass(frozen=True)
class Matrix:
    """The models and test sets over two or more `domains`; the last domain is held out. ValueError with fewer."""

    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.domains) < 2:
            raise ValueError(f"a matrix needs two domains or more, but the map has only {list(self.domains)}")

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
        return [heard for c in clean for heard in (c, noisy(c), coded(c, "mp3", 23), narrow(c))]

    def tables(self) -> tuple[Table, Table]:
        """Return two tables: all models in all conditions, and adaptation to the last domain on every test set."""
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
        """Return the claims of Tables 3, 4, 6 and 7 that make sense for any corpora."""
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
            Claim("R6.a", 0, "On every domain the pooled model is better than the domain's own, or about equal",
                  tuple(That(better_or_equal, (self.alone[c.domain], c), (self.pooled, c)) for c in clean)),
            Claim("R7.a", 0, "The model adapted to a tenth of the data is at least as good as one trained from scratch "
                  "on all of it",
                  models_on(better_or_equal, scratch, tenth, last)),
            Claim("R7.b", 0, "The model adapted to all the data is better than one trained from scratch, and better "
                  "than the one adapted to a tenth",
                  (*models_on(better, scratch, whole, last), *models_on(better, tenth, whole, last))),
            Claim("R7.f", 0, "Adaptation makes the other domains worse", models_on(worse, self.rest, whole, *others)),
        )  # fmt: skip
