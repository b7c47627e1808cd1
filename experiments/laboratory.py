"""The laboratory fills the cells of tables; it makes corpora, language, models and test sets once and keeps them."""

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
from tqdm import tqdm

from experiments.collection import TEST_SEED, Collection, Embedded, Mapped, Split
from experiments.nouns import Model, Table, TestSet
from mdasr.core import hosts
from mdasr.core.digests import Named, digest
from mdasr.core.files import write_atomically
from mdasr.core.processes import Task, cores, side_by_side
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

DEV_SEED = 1_000  # seed of the rooms and noises of development sets
Pair = tuple[Model, TestSet]
Results = Mapping[Pair, Sequence[Scored]]


@dataclass(frozen=True)
class Laboratory:
    """The folder of one scale in a working directory, where everything that an experiment needs is made on demand.

    On CPUs, each of the `workers` processes trains or recognises on a core of its own. With an accelerator, one model
    trains at a time, and the workers make its batches and run the search.
    """

    workdir: Path
    scale: Scale
    seed: int = 0
    workers: int = field(default_factory=cores)
    map: Path | None = None  # TOML file that names other corpora than the embedded one
    split: Split = "test"  # "dev" while settings are still being chosen

    @cached_property
    def root(self) -> Path:
        return (self.workdir / self.map.stem if self.map else self.workdir) / self.scale.name

    @property
    def variant(self) -> str:
        """The suffix of results with changed settings or on development sets: "-a1b2c3", "-dev", both, or empty."""
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
        """Return all that a model is made of in this laboratory."""
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
        """Return a model's directory; its name depends on all that the model is made of."""
        label = re.sub(r"[^a-z0-9_]+", "-", model.name.lower()).strip("-")
        return self.root / "models" / f"{label}-{self.training(model).name}"

    def has_data_for(self, model: Model, test_set: TestSet | None = None) -> bool:
        """Return whether the collection has the domains of a model, of its ancestors, and of a test set."""
        domains = {domain for each in (model, *ancestors(model)) for domain in each.domains}
        tested = {test_set.domain} if test_set else set()
        return domains <= {*self.collection.trainable()} and tested <= {*self.collection.domains()}

    def trained(self, model: Model) -> bool:
        return self.has_data_for(model) and (self.directory(model) / "model.json").exists()

    def known(self, pairs: Iterable[Pair]) -> Results:
        """Return the results for `pairs` that are on disk, from this run or earlier ones."""
        made = [(m, t) for m, t in pairs if self.collection.made(t.domain, self.split) and self.trained(m)]
        paths = {pair: self.scored_path(*pair) for pair in made}
        return {pair: read_scored(path) for pair, path in paths.items() if path.exists()}

    def recognizer(self, model: Model) -> Recognizer:
        """Return a trained model; it is trained now if it was not before."""
        train_models([(self, model)])
        return Recognizer.read(self.directory(model))

    def prepare(self, model: Model) -> None:
        """Make the files that several trainings share: a model's corpora, their alignments, and the language."""
        training, alignment_of = self.training(model), self.words.alignment_of
        _ = self.words.language(), training.to_train_on(alignment_of), training.to_tune_on(alignment_of)

    def train(self, model: Model, loaders: int) -> None:
        """Train a model with `loaders` processes that make its batches; its parent must be trained already."""
        train_recognizer(self.training(model), self.directory(model), workers=loaders, label=model.name)

    def utterances(self, test_set: TestSet) -> list[Utterance]:
        """Return the utterances of a test set; if they are held out of a training corpus, only the held-out ones."""
        corpus, chosen = self.corpus(test_set.domain, self.split), self.collection.chosen(test_set.domain, self.split)
        return [*corpus] if chosen is None else [corpus[i] for i in chosen]

    def waves(self, test_set: TestSet) -> list[np.ndarray]:
        """Return a test set's recordings in its condition, with rooms and noise snippets that training never uses."""
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
        """Return the file that keeps a model's words for a test set."""
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
        """Make or open all corpora that models and test sets need; ValueError names every corpus that is missing."""
        self.collection.domains()  # an invalid map gives one error here, not one for each corpus
        wanted: dict[tuple[str, Split], None] = {}
        for model, test_set in pairs:
            wanted[test_set.domain, self.split] = None
            for each in (model, *ancestors(model)):
                wanted |= {(domain, split): None for domain in each.domains for split in ("train", "dev")}
        errors: dict[str, None] = {}
        for domain, split in wanted:
            try:
                self.corpus(domain, split)
            except (ValueError, FileNotFoundError) as error:
                errors[str(error)] = None
        if errors:
            raise ValueError("corpora are missing:\n  " + "\n  ".join(errors))

    def missing(self, tables: Iterable[Table]) -> list[Pair]:
        """Return the cells of the tables that are not recognised yet; makes the corpora and the language first."""
        pairs = _pairs(tables)
        with hosts.primary_first("corpora"):
            self.gather(pairs)
            missing = [pair for pair in pairs if not self.scored_path(*pair).exists()]
            if missing:
                self.words.language()
        return missing

    def results(self, tables: Iterable[Table]) -> Results:
        """Return the recognised words of every cell of the tables; trains models and makes test sets where needed.

        Several hosts train together. The primary host recognises, and the others return an empty mapping.
        """
        tables = [*tables]
        missing = self.missing(tables)
        train_models((self, model) for model, _ in missing)
        if not hosts.primary():
            return {}
        self._recognise_all(missing)
        return {pair: read_scored(self.scored_path(*pair)) for pair in _pairs(tables)}

    def _recognise_all(self, pairs: Iterable[Pair]) -> None:
        models_of: dict[TestSet, list[Model]] = {}
        for model, test_set in pairs:
            models_of.setdefault(test_set, []).append(model)
        if one_core_each():
            fresh = dataclasses.replace(self)  # without the corpora that this process keeps in memory
            longest_first = sorted(models_of.items(), key=lambda item: len(item[1]), reverse=True)
            jobs = {test_set: Task(partial(fresh.recognise, models, test_set)) for test_set, models in longest_first}
            side_by_side(jobs, self.workers, "test sets")
        else:
            with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
                for test_set, models in tqdm(models_of.items(), desc="test sets", unit="set", delay=1):
                    self.recognise(models, test_set, pool)

    def recognise(self, models: Sequence[Model], test_set: TestSet, pool: Executor | None = None) -> None:
        """Recognise a test set in its condition with trained models, and keep their words; `pool` runs the search."""
        utterances, waves = self.utterances(test_set), self.waves(test_set)
        for model in models:
            recognizer = Recognizer.read(self.directory(model))
            recognizer = recognizer.told(test_set.domain) if test_set.told else recognizer
            scored = [dataclasses.asdict(one) for one in evaluate(recognizer, utterances, waves, pool)]
            write_atomically(self.scored_path(model, test_set), json.dumps(scored, indent=0))


def _pairs(tables: Iterable[Table]) -> list[Pair]:
    return list(dict.fromkeys(pair for table in tables for pair in table.pairs().values()))


def one_core_each() -> bool:
    """Return whether models train side by side, each on one core; this is so on the CPUs of a single host."""
    return jax.default_backend() == "cpu" and jax.process_count() == 1


def train_models(wanted: Iterable[tuple[Laboratory, Model]]) -> None:
    """Train models that are not trained yet, and their ancestors."""
    lines = [(where, each) for where, model in wanted for each in (*reversed([*ancestors(model)]), model)]
    todo = dict.fromkeys((where, model) for where, model in lines if not where.trained(model))
    if not todo:
        return
    with hosts.primary_first("data"):
        for where, model in todo:
            where.prepare(model)
    if one_core_each():
        longest_first = sorted(todo, key=lambda item: effort(item[1]), reverse=True)
        jobs = {
            (where, model): Task(partial(dataclasses.replace(where).train, model, loaders=0), [(where, model.parent)])
            for where, model in longest_first
        }
        side_by_side(jobs, max(where.workers for where, _ in todo), "models")
    else:
        for where, model in tqdm(todo, desc="models", unit="model", delay=1):
            where.train(model, loaders=max(1, where.workers - 1))


def effort(model: Model) -> tuple[bool, bool, float]:
    """Return a key that sorts models by how long they train."""
    return model.codecs, bool(model.noise_on), model.regime.longer * model.share * len(model.domains)


def read_scored(path: Path) -> list[Scored]:
    return [Scored(**row | {"errors": Errors(**row["errors"])}) for row in json.loads(path.read_text())]


def ancestors(model: Model) -> Iterator[Model]:
    """Yield the models that a model starts from: its parent first, then the parent's parent."""
    if model.parent:
        yield model.parent
        yield from ancestors(model.parent)


def trained_in(laboratory: Laboratory, tables: Iterable[Table]) -> dict[Model, bool]:
    """Return the models that tables need, parents first, and whether each is trained already."""
    models = [model for table in tables for model, _ in table.pairs().values()]
    lines = [each for model in models for each in (*reversed([*ancestors(model)]), model)]
    return {model: laboratory.trained(model) for model in dict.fromkeys(lines)}
