"""From a table to its cells: corpora, language, models and test sets are made once and found again afterwards."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mdasr.build import FAST_CODECS, grow_tree, make_language, room_ranges, train_recognizer
from mdasr.data import synth
from mdasr.data.noises import make_noises
from mdasr.data.records import Corpus, write_atomically
from mdasr.language.lexicon import ARPABET, Lexicon
from mdasr.loader import Source
from mdasr.perturb import EVALUATION_ROOMS, Codec, Policy
from mdasr.recognizer import Language, Recognizer, Scored, evaluate, heard
from mdasr.score.wer import Errors
from mdasr.spec import Model, Scale, Table, TestSet, digest

TREE_DOMAINS = ("Voicesearch", "Dictation", "Other search")  # §3.5: "a subset of the application domains"
# What test sets are drawn from: sentences, speakers, noises and conditions. Another one whenever settings were changed
# after a look at test results.
TEST_SEED = 2


@dataclass(frozen=True)
class Laboratory:
    """One scale's corner of a working directory, where everything that an experiment needs is made on demand."""

    workdir: Path
    scale: Scale
    seed: int = 0
    workers: int = 2

    @property
    def root(self) -> Path:
        return self.workdir / self.scale.name

    def corpus(self, domain: str, split: str) -> Corpus:
        """The embedded corpus' shards of one domain and split."""
        words = {"train": None, "dev": self.scale.dev_words, "test": self.scale.test_words}[split]
        name = domain.lower().replace(" ", "-")
        seed = TEST_SEED if split == "test" else 0
        directory = self.root / "corpus" / f"{name}-{split}"
        return synth.make(directory, domain, split, seed, words=words, workers=self.workers)

    @cached_property
    def noises(self) -> dict[str, np.ndarray]:
        return make_noises("train")

    @cached_property
    def test_noises(self) -> dict[str, np.ndarray]:
        return make_noises("test", TEST_SEED)

    @cached_property
    def language(self) -> Language:
        """Lexicon, tree and n-gram model: the same in all experiments (§3.6)."""
        described = {"domains": TREE_DOMAINS, "leaves": self.scale.leaves, "order": self.scale.ngram_order,
                     "sentences": self.scale.lm_sentences}  # fmt: skip
        corpora = [self.corpus(domain, "train") for domain in TREE_DOMAINS]
        directory = self.root / "language" / digest(described | {"data": [c.info["sha256"] for c in corpora]})
        if not (directory / "graph" / "graph.json").exists():
            lexicon = Lexicon.from_counts(pronunciations(corpora))
            tree = grow_tree([(corpus, synth.ALIGNMENT) for corpus in corpora], (*ARPABET, "SIL"), self.scale.leaves)
            make_language(directory, lexicon, tree, lm_sentences(self.scale), self.scale.ngram_order)
        return Language.read(directory)

    def sources(self, model: Model) -> list[Source]:
        return [
            Source(self.corpus(domain, "train"), synth.ALIGNMENT, self.policy(model, domain))
            for domain in model.domains
        ]

    def policy(self, model: Model, domain: str) -> Policy:
        """What may happen to an utterance of `domain` in training; noise is a domain's switch (§4.3.4)."""
        noise = self.scale.noise_probability if domain in model.noise_on else 0.0
        return Policy(
            noise_probability=noise,
            noises=tuple(sorted(self.noises)) if noise else (),
            rooms=room_ranges(self.scale),
            codecs=FAST_CODECS if model.codecs else (None,),
        )

    def recognizer(self, model: Model) -> tuple[Path, Recognizer]:
        """The model's directory and what is in it, trained now or before."""
        name = f"{model.name.lower().replace(' + ', '-').replace(' ', '-')}-{digest([model, self.scale, self.seed])}"
        directory = self.root / "models" / name
        recognizer = train_recognizer(
            directory, self.sources(model), self.language, self.scale, self.noises,
            [u for domain in model.domains for u in self.corpus(domain, "dev")],
            seed=self.seed, workers=self.workers - 1, label=model.name,
        )  # fmt: skip
        return directory, recognizer

    def waves(self, test_set: TestSet) -> list[np.ndarray]:
        """A test set's recordings in its condition: rooms and noise snippets that training never uses."""
        codec = Codec(test_set.codec, test_set.kbps) if test_set.codec else None
        policy = Policy(
            noise_probability=float(test_set.noise),
            noises=tuple(sorted(self.test_noises)) if test_set.noise else (),
            rooms=room_ranges(self.scale),
            room_indices=EVALUATION_ROOMS,
            narrowband_probability=float(test_set.narrowband),
            codecs=(codec,),
        )
        corpus = self.corpus(test_set.domain, "test")
        return list(heard(corpus, policy, self.test_noises, TEST_SEED))

    def scored(
        self, model: Model, test_set: TestSet, waves: Callable[[], list[np.ndarray]], pool: Executor
    ) -> list[Scored]:
        """How `model` recognises `test_set`, from the model's directory where that was done before."""
        directory, recognizer = self.recognizer(model)
        corpus = self.corpus(test_set.domain, "test")
        path = directory / "scored" / f"{digest([test_set, corpus.info['sha256'], self.scale])}.json"
        if not path.exists():
            found = [dataclasses.asdict(each) for each in evaluate(recognizer, corpus, waves(), pool)]
            write_atomically(path, json.dumps(found, indent=0))
        return [Scored(**row | {"errors": Errors(**row["errors"])}) for row in json.loads(path.read_text())]

    def cells(self, table: Table) -> dict[tuple[str, str], list[Scored]]:
        """Every cell of a table; a test set's recordings are made once for all models."""
        for model in table.columns.values():
            self.recognizer(model)
        cells = {}
        with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
            for row, test_set in tqdm(table.rows.items(), desc=f"Table {table.number}", unit="test set"):
                waves = cache(partial(self.waves, test_set))
                for column, model in table.columns.items():
                    cells[row, column] = self.scored(model, test_set, waves, pool)
        return cells


def pronunciations(corpora: list[Corpus]) -> dict[str, Counter]:
    """How often each word was said how: as heard in `corpora`, and once as each accent's dictionary has it."""
    counts = synth.dictionary_pronunciations()
    for corpus in corpora:
        for word, seen in synth.observed_pronunciations(corpus).items():
            counts[word].update(seen)
    return counts


def lm_sentences(scale: Scale) -> Iterator[str]:
    """Text of every domain's kind for the language model, none of it spoken in a test set."""
    for domain in synth.DOMAINS:
        yield from synth.lm_text(domain, scale.lm_sentences // len(synth.DOMAINS), seed=0)
