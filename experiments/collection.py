"""Where an experiment's speech comes from: the embedded corpus, or directories of shards that a map names."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mdasr.acoustic.schedule import Source
from mdasr.align.flat_start import align
from mdasr.core.digests import digest
from mdasr.corpus.records import Corpus
from mdasr.language.lexicon import ARPABET, Lexicon
from mdasr.model.directory import Language
from mdasr.perturb import Policy
from mdasr.perturb.noises import make_noises, read_noises, read_responses
from mdasr.perturb.room import Sounds
from mdasr.synth import embedded
from mdasr.training.jobs import covering_lexicon, held_out
from mdasr.training.scales import Scale
from mdasr.training.wording import grow_tree, make_language, train_ngram

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
TREE_DOMAINS = ("Voicesearch", "Dictation", "Other search")  # §3.5: "a subset of the application domains"
# What the embedded corpus' test sets are drawn from: sentences, speakers, noises and conditions. Another one whenever
# settings were changed after a look at test results.
TEST_SEED = 3
STILL = Policy(narrowband_probability=0.0)  # nothing happens to an utterance


class Collection(Protocol):
    """Corpora by domain and split, the language over them, and what distorts them; a `source` is aligned.

    `version` tells a domain's data from other data under the same name; `made` says, without making it, whether a
    corpus is there, and `chosen` which of its utterances are the split's, None being all.
    """

    def domains(self) -> tuple[str, ...]: ...

    def version(self, domain: str) -> str: ...

    def corpus(self, domain: str, split: Split) -> Corpus: ...

    def chosen(self, domain: str, split: Split) -> tuple[int, ...] | None: ...

    def made(self, domain: str, split: Split) -> bool: ...

    def source(self, domain: str, split: Split) -> Source: ...

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
        return tuple(embedded.DOMAINS)

    def version(self, domain: str) -> str:
        return f"embedded {embedded.VERSION}"

    def corpus(self, domain: str, split: Split) -> Corpus:
        words = {"train": None, "dev": self.scale.dev_words, "test": self.scale.test_words}[split]
        seed = TEST_SEED if split == "test" else 0
        return embedded.make(self._directory(domain, split), domain, split, seed, words=words, workers=self.workers)

    def _directory(self, domain: str, split: Split) -> Path:
        return self.root / "corpus" / f"{embedded.DOMAINS[domain].slug}-{split}"

    def chosen(self, domain: str, split: Split) -> tuple[int, ...] | None:
        return None

    def made(self, domain: str, split: Split) -> bool:
        return (self._directory(domain, split) / "corpus.json").exists()

    def source(self, domain: str, split: Split) -> Source:
        return Source(self.corpus(domain, split), embedded.ALIGNMENT, STILL)

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
            sources = [self.source(domain, "train") for domain in TREE_DOMAINS]
            tree = grow_tree(sources, (*ARPABET, "SIL"), scale.leaves)
            make_language(directory, lexicon, tree, train_ngram(lm_sentences(scale), scale.ngram_order, lexicon))
        return Language.read(directory)

    def noises(self, split: Split) -> Sounds:
        return make_noises(split, TEST_SEED) if split == "test" else make_noises(split)

    def responses(self, split: Split) -> Sounds:
        return {}


def pronunciations(corpora: list[Corpus]) -> dict[str, Counter]:
    """How often each word was said how: as heard in `corpora`, and once as each accent's dictionary has it."""
    counts = embedded.dictionary_pronunciations()
    for corpus in corpora:
        for word, seen in embedded.observed_pronunciations(corpus).items():
            counts[word].update(seen)
    return counts


def lm_sentences(scale: Scale) -> Iterator[str]:
    """Text of every domain's kind for the language model, none of it spoken in a test set."""
    for domain in embedded.DOMAINS:
        yield from embedded.lm_text(domain, scale.lm_sentences // len(embedded.DOMAINS), seed=0)


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

    Paths are relative to the file. Domains' names are the paper's, or your own where no table asks for them. Where a
    domain has no dev, some speakers of its train are held out instead.
    """

    path: Path
    root: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        """The map; ValueError where it is none."""
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such map; --corpora takes a TOML file (docs/experiments.md)")
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

    def version(self, domain: str) -> str:
        """That of all data of the map, of which its language is made."""
        return digest([corpus.info["sha256"] for corpus in self._to_align()])

    def directory(self, domain: str, split: Split) -> Path:
        """Where a domain's split lies; ValueError where the map has none."""
        found = self.content["domains"].get(domain, {}).get(split)
        if found is None:
            raise ValueError(f"{self.path}: [domains.{domain}] has no {split!r}, which this table needs")
        return self.path.parent / found

    def corpus(self, domain: str, split: Split) -> Corpus:
        return Corpus(self.directory(domain, "train" if split == "dev" and self._holds_out(domain) else split))

    def chosen(self, domain: str, split: Split) -> tuple[int, ...] | None:
        if split == "test" or not self._holds_out(domain):
            return None
        held = held_out(self.corpus(domain, split), 0)
        return tuple(np.flatnonzero(held if split == "dev" else ~held).tolist())

    def made(self, domain: str, split: Split) -> bool:
        given = self.content["domains"].get(domain, {})
        return split in given or (split == "dev" and "train" in given)

    def _holds_out(self, domain: str) -> bool:
        return "dev" not in self.content["domains"].get(domain, {})

    def _to_align(self) -> list[Corpus]:
        splits: tuple[Split, ...] = ("train", "dev")
        given = [(domain, split) for domain in self.domains() for split in splits]
        return [self.corpus(*each) for each in given if each[1] in self.content["domains"][each[0]]]

    @cached_property
    def _lexicon(self) -> Lexicon:
        return covering_lexicon(self._to_align(), None)

    @cached_property
    def _aligned(self) -> str:
        return align(self._to_align(), self._lexicon).name

    def source(self, domain: str, split: Split) -> Source:
        return Source(self.corpus(domain, split), self._aligned, STILL, self.chosen(domain, split))

    def language(self, scale: Scale) -> Language:
        """Lexicon, tree and n-gram model over the training transcripts of all domains."""
        # Of train and dev, in which the words are that must have pronunciations and alignments.
        data = [corpus.info["sha256"] for corpus in self._to_align()]
        described = {"leaves": scale.leaves, "order": scale.ngram_order, "data": data}
        directory = self.root / "language" / digest(described)
        if not (directory / "graph" / "graph.json").exists():
            # Of all speech for training, that which tunes the search with it.
            sources = [Source(self.corpus(domain, "train"), self._aligned, STILL) for domain in self.domains()]
            tree = grow_tree(sources, self._lexicon.phones, scale.leaves)
            texts = (utterance.text for domain in self.domains() for utterance in self.source(domain, "train"))
            make_language(directory, self._lexicon, tree, train_ngram(texts, scale.ngram_order, self._lexicon))
        return Language.read(directory)

    def noises(self, split: Split) -> Sounds:
        folder = self.content.get("noises", {}).get(split)
        if folder is None:
            return make_noises(split)
        return read_noises(self.path.parent / folder)

    def responses(self, split: Split) -> Sounds:
        folder = self.content.get("responses", {}).get(split)
        return read_responses(self.path.parent / folder) if folder else {}


def _is_text(value: object) -> bool:
    return isinstance(value, str)
