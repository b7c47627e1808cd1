"""Where an experiment's speech comes from: the embedded corpus, or directories of shards that a map names."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from mdasr.acoustic.align import align
from mdasr.build import grow_tree, make_language
from mdasr.data import synth
from mdasr.data.noises import make_noises, read_noises, read_responses
from mdasr.data.records import Corpus
from mdasr.jobs import covering_lexicon
from mdasr.language.lexicon import ARPABET, Lexicon
from mdasr.perturb.room import Sounds
from mdasr.recognizer import Language
from mdasr.spec import Scale, digest

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
TREE_DOMAINS = ("Voicesearch", "Dictation", "Other search")  # §3.5: "a subset of the application domains"
# What the embedded corpus' test sets are drawn from: sentences, speakers, noises and conditions. Another one whenever
# settings were changed after a look at test results.
TEST_SEED = 2


class Collection(Protocol):
    """Corpora by domain and split with their alignment, the language over them, and what distorts them."""

    def domains(self) -> tuple[str, ...]: ...

    def corpus(self, domain: str, split: Split) -> Corpus: ...

    def alignment(self, domain: str, split: Split) -> str: ...

    def language(self, scale: Scale) -> Language: ...

    def noises(self, split: Split) -> Sounds: ...

    def responses(self, split: Split) -> Sounds: ...


@dataclass(frozen=True)
class Embedded:
    """Seven domains of synthetic speech, made on demand under `root`; its alignments are exact."""

    root: Path
    scale: Scale
    workers: int = 2

    def domains(self) -> tuple[str, ...]:
        return tuple(synth.DOMAINS)

    def corpus(self, domain: str, split: Split) -> Corpus:
        words = {"train": None, "dev": self.scale.dev_words, "test": self.scale.test_words}[split]
        directory = self.root / "corpus" / f"{synth.DOMAINS[domain].slug}-{split}"
        seed = TEST_SEED if split == "test" else 0
        return synth.make(directory, domain, split, seed, words=words, workers=self.workers)

    def alignment(self, domain: str, split: Split) -> str:
        return synth.ALIGNMENT

    def language(self, scale: Scale) -> Language:
        """Lexicon, tree and n-gram model: the same in all experiments (§3.6)."""
        described = {
            "domains": TREE_DOMAINS,
            "leaves": scale.leaves,
            "order": scale.ngram_order,
            "sentences": scale.lm_sentences,
        }
        corpora = [self.corpus(domain, "train") for domain in TREE_DOMAINS]
        directory = self.root / "language" / digest(described | {"data": [c.info["sha256"] for c in corpora]})
        if not (directory / "graph" / "graph.json").exists():
            lexicon = Lexicon.from_counts(pronunciations(corpora))
            tree = grow_tree([(corpus, synth.ALIGNMENT) for corpus in corpora], (*ARPABET, "SIL"), scale.leaves)
            make_language(directory, lexicon, tree, lm_sentences(scale), scale.ngram_order)
        return Language.read(directory)

    def noises(self, split: Split) -> Sounds:
        return make_noises("test", TEST_SEED) if split == "test" else make_noises("train")

    def responses(self, split: Split) -> Sounds:
        return {}


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


@dataclass(frozen=True)
class Mapped:
    """Corpora that a TOML file names for each domain, made by `mdasr import`; aligned from a flat start.

        [domains.Voicesearch]
        train = "an4/train"
        dev = "an4/dev"
        test = "an4/valid"

        [noises]            # folders of recordings; without them, the embedded ones
        train = "noise/train"
        test = "noise/test"

        [responses]         # measured room responses; without them, simulated ones
        test = "rir/test"

    Paths are relative to the file. Domains' names are the paper's, or your own where no table asks for them.
    """

    path: Path
    root: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        """The map; ValueError where it is none."""
        try:
            found = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{self.path}: not TOML: {error}") from None
        if strange := set(found) - {"domains", "noises", "responses"}:
            raise ValueError(f"{self.path}: unknown {sorted(strange)[0]!r}; a map has domains, noises and responses")
        named = {f"domains.{name}": value for name, value in found.get("domains", {}).items()}
        named |= {name: found[name] for name in ("noises", "responses") if name in found}
        for name, splits in named.items():
            if not isinstance(splits, dict) or set(splits) - {*SPLITS} or not all(map(_is_text, splits.values())):
                raise ValueError(f"{self.path}: [{name}] takes train, dev and test, each the path of a directory")
        if not found.get("domains"):
            raise ValueError(f"{self.path}: no domains; write [domains.NAME] with train, dev and test")
        return found

    def domains(self) -> tuple[str, ...]:
        return tuple(self.content["domains"])

    def directory(self, domain: str, split: Split) -> Path:
        """Where a domain's split lies; ValueError where the map has none."""
        found = self.content["domains"].get(domain, {}).get(split)
        if found is None:
            raise ValueError(f"{self.path}: [domains.{domain}] has no {split!r}, which this table needs")
        return self.path.parent / found

    def corpus(self, domain: str, split: Split) -> Corpus:
        return Corpus(self.directory(domain, split))

    def _lexicon(self) -> Lexicon:
        named = [(domain, split) for domain in self.domains() for split in self.content["domains"][domain]]
        return covering_lexicon([self.corpus(domain, split) for domain, split in named if split != "test"], None)

    @cached_property
    def _aligned(self) -> str:
        splits: tuple[Split, ...] = ("train", "dev")
        corpora = [
            self.corpus(domain, split)
            for domain in self.domains()
            for split in splits
            if split in self.content["domains"][domain]
        ]
        return align(corpora, self._lexicon()).name

    def alignment(self, domain: str, split: Split) -> str:
        return self._aligned

    def language(self, scale: Scale) -> Language:
        """Lexicon, tree and n-gram model over the training transcripts of all domains."""
        corpora = [self.corpus(domain, "train") for domain in self.domains()]
        described = {"leaves": scale.leaves, "order": scale.ngram_order, "data": [c.info["sha256"] for c in corpora]}
        directory = self.root / "language" / digest(described)
        if not (directory / "graph" / "graph.json").exists():
            lexicon = self._lexicon()
            tree = grow_tree([(corpus, self._aligned) for corpus in corpora], lexicon.phones, scale.leaves)
            texts = (utterance.text for corpus in corpora for utterance in corpus)
            make_language(directory, lexicon, tree, texts, scale.ngram_order)
        return Language.read(directory)

    def noises(self, split: Split) -> Sounds:
        folder = self.content.get("noises", {}).get(split)
        if folder is None:
            return make_noises("test" if split == "test" else "train")
        return read_noises(self.path.parent / folder)

    def responses(self, split: Split) -> Sounds:
        folder = self.content.get("responses", {}).get(split)
        return read_responses(self.path.parent / folder) if folder else {}


def _is_text(value: object) -> bool:
    return isinstance(value, str)
