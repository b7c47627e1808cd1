"""From tables to their cells: corpora, language, models and test sets are made once and found again afterwards."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np

from experiments.collection import TEST_SEED, Collection, Embedded, Mapped, Split
from experiments.nouns import Model, Table, TestSet
from mdasr.core import hosts
from mdasr.core.digests import Named, digest
from mdasr.core.files import write_atomically
from mdasr.core.processes import Task, cores, side_by_side
from mdasr.core.progress import track
from mdasr.corpus.records import Corpus, Utterance
from mdasr.model.directory import Recognizer
from mdasr.perturb import EVALUATION_ROOMS, Codec, Policy
from mdasr.perturb.noises import SoundSource
from mdasr.recognize.words import evaluate, heard
from mdasr.score.wer import Errors, Scored
from mdasr.synth.channel import telephone
from mdasr.training.ingredients import Training
from mdasr.training.pipeline import train_recognizer
from mdasr.training.plan import room_ranges
from mdasr.training.scales import SCALES, Scale
from mdasr.training.word_models import Shared

DEV_SEED = 1_000  # of the rooms and noises that development sets are heard in
Pair = tuple[Model, TestSet]
Results = Mapping[Pair, Sequence[Scored]]


@dataclass(frozen=True)
class Laboratory:
    """One scale's corner of a working directory, where everything that an experiment needs is made on demand.

    On CPUs so many `workers` train and recognise, a core each; an accelerator trains one model at a time, and they make
    its batches and search.
    """

    workdir: Path
    scale: Scale
    seed: int = 0
    workers: int = field(default_factory=cores)
    map: Path | None = None  # of other corpora than the embedded one
    split: Split = "test"  # "dev" while settings are still being chosen

    @cached_property
    def root(self) -> Path:
        return (self.workdir / self.map.stem if self.map else self.workdir) / self.scale.name

    @property
    def variant(self) -> str:
        """What sets results apart from those on test sets with the scale as it stands: "-dev", "-a1b2c3", or both."""
        changed = "" if self.scale == SCALES.get(self.scale.name) else f"-{digest(self.scale)[:6]}"
        return changed + ("" if self.split == "test" else f"-{self.split}")

    @property
    def results_folder(self) -> Path:
        return self.root / f"results{self.variant}"

    @cached_property
    def collection(self) -> Collection:
        if self.map:
            return Mapped(self.map, self.root)
        return Embedded(self.root, self.scale, self.workers)

    def corpus(self, domain: str, split: Split) -> Corpus:
        return self.collection.corpus(domain, split)

    @cached_property
    def words(self) -> Shared:
        return self.collection.words(self.scale)

    @cached_property
    def _train_sounds(self) -> SoundSource:
        return self.collection.sounds("train")

    @cached_property
    def _test_sounds(self) -> SoundSource:
        return self.collection.sounds(self.split)

    def training(self, model: Model) -> Training:
        """All that a model is made of here."""
        parent = None
        if model.parent:
            directory = self.directory(model.parent)
            parent = Named(self.training(model.parent).name, partial(Recognizer.read, directory))
        return Training(
            speech=tuple(self.collection.speech(domain) for domain in model.domains),
            scale=self.scale,
            seed=self.seed,
            share=model.share,
            noise_on=model.noise_on,
            codecs=model.codecs,
            sounds=self._train_sounds,
            words=self.words,
            parent=parent,
            regime=model.regime,
        )

    def directory(self, model: Model) -> Path:
        """Where a model lies, named by all that it is made of."""
        label = re.sub(r"[^a-z0-9_]+", "-", model.name.lower()).strip("-")
        return self.root / "models" / f"{label}-{self.training(model).name}"

    def has_data_for(self, model: Model, test_set: TestSet | None = None) -> bool:
        """Whether the collection has the domains of a model, of what it starts from, and of a test set."""
        domains = {domain for each in (model, *ancestors(model)) for domain in each.domains}
        tested = {test_set.domain} if test_set else set()
        return domains <= {*self.collection.trainable()} and tested <= {*self.collection.domains()}

    def trained(self, model: Model) -> bool:
        return self.has_data_for(model) and (self.directory(model) / "model.json").exists()

    def known(self, pairs: Iterable[Pair]) -> Results:
        """What is on disk of pairs, from this run or earlier ones."""
        made = [(m, t) for m, t in pairs if self.collection.made(t.domain, self.split) and self.trained(m)]
        paths = {pair: self.scored_path(*pair) for pair in made}
        return {pair: read_scored(path) for pair, path in paths.items() if path.exists()}

    def recognizer(self, model: Model) -> Recognizer:
        """A model, trained now or before."""
        train_models([(self, model)])
        return Recognizer.read(self.directory(model))

    def prepare(self, model: Model) -> None:
        """Make what several trainings read: the corpora of a model, their alignments, and the language."""
        training, alignment_of = self.training(model), self.words.alignment_of
        _ = self.words.language(), training.to_train_on(alignment_of), training.to_tune_on(alignment_of)

    def train(self, model: Model, loaders: int) -> None:
        """Train a model, whose parent is trained, with so many processes that make its batches."""
        train_recognizer(
            self.training(model), self.directory(model), workers=loaders, label=f"{model.name}, seed {self.seed}"
        )

    def utterances(self, test_set: TestSet) -> list[Utterance]:
        """What a test set's models are to recognise; of a development set that is held out of training, that alone."""
        corpus, chosen = self.corpus(test_set.domain, self.split), self.collection.chosen(test_set.domain, self.split)
        return [*corpus] if chosen is None else [corpus[i] for i in chosen]

    def waves(self, test_set: TestSet) -> list[np.ndarray]:
        """A test set's recordings in its condition: rooms and noise snippets that training never uses."""
        codec = Codec(test_set.codec, test_set.kbps) if test_set.codec else None
        noises, measured = (self._test_sounds.noises, self._test_sounds.responses) if test_set.noise else ({}, {})
        policy = Policy(
            noise_probability=float(test_set.noise),
            noises=tuple(sorted(noises)),
            rooms=room_ranges(self.scale),
            room_indices=EVALUATION_ROOMS,
            narrowband_probability=float(test_set.narrowband),
            codecs=(codec,),
            measured=tuple(sorted(measured)),
        )
        seed = TEST_SEED if self.split == "test" else DEV_SEED
        waves = heard(self.utterances(test_set), policy, noises, seed, measured)
        return [telephone(wave) if test_set.telephone else wave for wave in waves]

    def scored_path(self, model: Model, test_set: TestSet) -> Path:
        """Where a model's words for a test set are kept."""
        made_of: list[object] = [
            test_set,
            self.corpus(test_set.domain, self.split).info["sha256"],
            TEST_SEED,
            self.scale,
        ]
        if chosen := self.collection.chosen(test_set.domain, self.split):
            made_of.append(chosen)
        if test_set.noise:
            made_of.append(self._test_sounds.made_of)
        return self.directory(model) / "scored" / f"{digest(made_of)}.json"

    def gather(self, pairs: Iterable[Pair]) -> None:
        """Make or find all corpora that models and test sets need; ValueError that names every one that is wanting."""
        self.collection.domains()  # a map that is none is one error, not one for each corpus
        wanted: dict[tuple[str, Split], None] = {}
        for model, test_set in pairs:
            wanted[test_set.domain, self.split] = None
            for each in (model, *ancestors(model)):
                wanted |= {(domain, split): None for domain in each.domains for split in ("train", "dev")}
        wanting: dict[str, None] = {}
        for domain, split in wanted:
            try:
                self.corpus(domain, split)
            except (ValueError, FileNotFoundError) as error:
                wanting[str(error)] = None
        if wanting:
            raise ValueError("corpora are wanting:\n  " + "\n  ".join(wanting))

    def missing(self, tables: Iterable[Table]) -> list[Pair]:
        """What of the tables is yet to be recognised; for that, corpora and language are made."""
        pairs = _pairs(tables)
        with hosts.primary_first("corpora"):
            self.gather(pairs)
            missing = [pair for pair in pairs if not self.scored_path(*pair).exists()]
            if missing:
                self.words.language()
        return missing

    def results(self, tables: Iterable[Table]) -> Results:
        """How every model of the tables recognises its test sets, each trained, made and recognised once.

        Several hosts train together; the primary one recognises, and the others return nothing.
        """
        tables = [*tables]
        missing = self.missing(tables)
        train_models((self, model) for model, _ in missing)
        if not hosts.primary():
            return {}
        self._recognise_all(missing)
        return {pair: read_scored(self.scored_path(*pair)) for pair in _pairs(tables)}

    def _recognise_all(self, pairs: Iterable[Pair]) -> None:
        wanting: dict[TestSet, list[Model]] = {}
        for model, test_set in pairs:
            wanting.setdefault(test_set, []).append(model)
        if one_core_each():
            alone = dataclasses.replace(self)  # without what this process has read
            dear_first = sorted(wanting.items(), key=lambda each: len(each[1]), reverse=True)
            jobs = {test_set: Task(partial(alone.recognise, models, test_set)) for test_set, models in dear_first}
            side_by_side(jobs, self.workers, "test sets")
        else:
            with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
                for test_set, models in track(wanting.items(), desc="test sets", unit="set", delay=1):
                    self.recognise(models, test_set, pool)

    def recognise(self, models: Sequence[Model], test_set: TestSet, pool: Executor | None = None) -> None:
        """Have trained models recognise a test set in its condition, and keep their words; a `pool` may search."""
        utterances, waves = self.utterances(test_set), self.waves(test_set)
        for model in models:
            recognizer = Recognizer.read(self.directory(model))
            recognizer = recognizer.told(test_set.domain) if test_set.told else recognizer
            found = [dataclasses.asdict(each) for each in evaluate(recognizer, utterances, waves, pool)]
            write_atomically(self.scored_path(model, test_set), json.dumps(found, indent=0))


def _pairs(tables: Iterable[Table]) -> list[Pair]:
    return list(dict.fromkeys(pair for table in tables for pair in table.pairs().values()))


def one_core_each() -> bool:
    """Whether models train side by side, a core each: on the CPUs of one host, which one alone does not fill."""
    return jax.default_backend() == "cpu" and jax.process_count() == 1


def train_models(wanted: Iterable[tuple[Laboratory, Model]]) -> None:
    """Train models that are not trained yet, and what they start from."""
    lines = [(where, each) for where, model in wanted for each in (*reversed([*ancestors(model)]), model)]
    todo = dict.fromkeys((where, model) for where, model in lines if not where.trained(model))
    if not todo:
        return
    with hosts.primary_first("data"):
        for where, model in todo:
            where.prepare(model)
    if one_core_each():
        dear_first = sorted(todo, key=lambda each: effort(each[1]), reverse=True)
        jobs = {
            (where, model): Task(partial(dataclasses.replace(where).train, model, loaders=0), [(where, model.parent)])
            for where, model in dear_first
        }
        side_by_side(jobs, max(where.workers for where, _ in todo), "models")
    else:
        for where, model in track(todo, desc="models", unit="model", delay=1):
            where.train(model, loaders=max(1, where.workers - 1))


def effort(model: Model) -> tuple[bool, bool, float]:
    """What sorts models by how long they train."""
    return model.codecs, bool(model.noise_on), model.regime.longer * model.share * len(model.domains)


def read_scored(path: Path) -> list[Scored]:
    return [Scored(**row | {"errors": Errors(**row["errors"])}) for row in json.loads(path.read_text())]


def ancestors(model: Model) -> Iterator[Model]:
    """What a model starts from, the nearest first."""
    if model.parent:
        yield model.parent
        yield from ancestors(model.parent)


def trained_in(laboratory: Laboratory, tables: Iterable[Table]) -> dict[Model, bool]:
    """The models that tables need, parents first, and whether each is trained already."""
    models = [model for table in tables for model, _ in table.pairs().values()]
    lines = [each for model in models for each in (*reversed([*ancestors(model)]), model)]
    return {model: laboratory.trained(model) for model in dict.fromkeys(lines)}
