"""The sources of an experiment's speech: the embedded corpus, or directories of shards that a map names."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from mdasr.core.digests import Named
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus
from mdasr.language.lexicon import ARPABET, SILENCE, Lexicon
from mdasr.perturb.noises import SoundSource
from mdasr.synth import embedded
from mdasr.training.ingredients import Training, share_words
from mdasr.training.scales import Scale
from mdasr.training.speech_split import DomainSpeech, Indices
from mdasr.training.word_models import Shared, Wording

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
TREE_DOMAINS = ("Voicesearch", "Dictation", "Other search")  # §3.5: "a subset of the application domains"
# The seed of the embedded corpus' test sets: sentences, speakers, noises and conditions. Take a new one whenever
# settings change after a look at test results.
TEST_SEED = 3


class Collection(Protocol):
    """Corpora by domain and split, the words that all models over them share, and the sounds that distort them.

    `trainable` lists the domains that have speech to train on. `made` says whether a corpus exists, without making it.
    `chosen` gives the indices of the utterances that belong to a split, or None for all.
    """

    def domains(self) -> tuple[str, ...]: ...

    def trainable(self) -> tuple[str, ...]: ...

    def corpus(self, domain: str, split: Split) -> Corpus: ...

    def chosen(self, domain: str, split: Split) -> Indices: ...

    def made(self, domain: str, split: Split) -> bool: ...

    def speech(self, domain: str) -> DomainSpeech: ...

    def words(self, scale: Scale) -> Shared: ...

    def sounds(self, split: Split) -> SoundSource: ...


@dataclass(frozen=True)
class Embedded:
    """Seven domains of synthetic speech with exact alignments, made on demand under `root`."""

    root: Path
    scale: Scale
    workers: int = 2

    def domains(self) -> tuple[str, ...]:
        return tuple(embedded.DOMAINS)

    trainable = domains

    def corpus(self, domain: str, split: Split) -> Corpus:
        return self._named(domain, split).get()

    def _named(self, domain: str, split: Split) -> Named[Corpus]:
        words = {"train": None, "dev": self.scale.dev_words, "test": self.scale.test_words}[split]
        directory, seed = self._directory(domain, split), TEST_SEED if split == "test" else 0
        return Named(
            {"domain": domain, **embedded.recipe_of(domain, split, seed, words=words)},
            lambda: embedded.make(directory, domain, split, seed, words=words, workers=self.workers),
        )

    def _directory(self, domain: str, split: Split) -> Path:
        return self.root / "corpus" / f"{embedded.DOMAINS[domain].slug}-{split}"

    def chosen(self, domain: str, split: Split) -> Indices:
        return None

    def made(self, domain: str, split: Split) -> bool:
        return (self._directory(domain, split) / "corpus.json").exists()

    def speech(self, domain: str) -> DomainSpeech:
        return DomainSpeech(domain, self._named(domain, "train"), self._named(domain, "dev"))

    def words(self, scale: Scale) -> Shared:
        """Return lexicon, tree and n-gram model, which are the same in all experiments (§3.6)."""
        made, spoken = f"embedded {embedded.VERSION}", tuple(map(self.speech, TREE_DOMAINS))
        corpora = [each.train for each in spoken]
        wording = Wording(
            lexicon=Named(made, lambda: Lexicon.from_counts(pronunciations([corpus.get() for corpus in corpora]))),
            phones=(*ARPABET, SILENCE),
            text=Named([made, scale.lm_sentences], lambda: lm_sentences(scale)),
            alignment=Named(embedded.ALIGNMENT, lambda: embedded.ALIGNMENT),
        )
        return share_words(Training(spoken, scale, words=wording), self.root / "language")

    def sounds(self, split: Split) -> SoundSource:
        return SoundSource(split=split, seed=TEST_SEED if split == "test" else 0)


def pronunciations(corpora: list[Corpus]) -> dict[str, Counter]:
    """Count the pronunciations of each word: those heard in `corpora`, and one for each accent's dictionary entry."""
    counts = embedded.dictionary_pronunciations()
    for corpus in corpora:
        for word, seen in embedded.observed_pronunciations(corpus).items():
            counts[word].update(seen)
    return counts


def lm_sentences(scale: Scale) -> Iterator[str]:
    """Yield sentences of every domain for the language model; no test set contains them."""
    for domain in embedded.DOMAINS:
        yield from embedded.lm_text(domain, scale.lm_sentences // len(embedded.DOMAINS), seed=0)


@dataclass(frozen=True)
class Mapped:
    """Corpora that a TOML file names for each domain; `mdasr import` made them, and they are aligned from a flat start.

        [domains.Voicesearch]
        train = "an4/train"
        dev = "an4/dev"
        test = "an4/valid"

        unheard = ["digits"]  # for the matrix: domains that no pooled model trains on; above all brackets

        [adapt]               # for the matrix: minutes of the training speech of a domain
        digits = [1, 8]

        [noises]            # folders of recordings; without them, the embedded ones
        train = "noise/train"
        test = "noise/test"

        [responses]         # measured room responses; without them, simulated ones
        test = "rir/test"

    Paths are relative to the file. The paper's tables need the paper's domain names; `matrix` takes any names. If a
    domain has no dev, some speakers of its train are held out instead. A domain without train is unheard. Without
    [adapt], the matrix adapts to the last domain that has train, to a tenth of it and to all.
    """

    path: Path
    root: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content of the map; FileNotFoundError if there is no such file, ValueError if it is not a map."""
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such map; --corpora takes a TOML file (docs/experiments.md)")
        try:
            found = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{self.path}: not TOML: {error}") from None
        if strange := set(found) - {"domains", "noises", "responses", "unheard", "adapt"}:
            raise ValueError(
                f"{self.path}: unknown {sorted(strange)[0]!r}; a map has domains, noises, responses, unheard and adapt"
            )
        named = {f"domains.{name}": value for name, value in found.get("domains", {}).items()}
        named |= {name: found[name] for name in ("noises", "responses") if name in found}
        for name, splits in named.items():
            if not isinstance(splits, dict) or set(splits) - {*SPLITS} or not all(map(_is_text, splits.values())):
                raise ValueError(f"{self.path}: [{name}] takes train, dev and test, each the path of a directory")
        if not found.get("domains"):
            raise ValueError(f"{self.path}: no domains; write [domains.NAME] with train, dev and test")
        self._check_uses(found)
        return found

    def _check_uses(self, found: dict[str, Any]) -> None:
        """Check `unheard` and [adapt]; raises ValueError where they have no known domains, or no minutes."""
        unheard, adapt = found.get("unheard", []), found.get("adapt", {})
        if not isinstance(unheard, list) or not all(map(_is_text, unheard)):
            raise ValueError(f'{self.path}: unheard is a list of domains, such as ["digits"]')
        if not isinstance(adapt, dict) or not all(map(_are_minutes, adapt.values())):
            raise ValueError(f"{self.path}: [adapt] has a list of minutes for each domain, such as digits = [1, 8]")
        for domain in (*unheard, *adapt):
            if domain not in found["domains"] or (domain in adapt and "train" not in found["domains"][domain]):
                use = "adapt to" if domain in adapt else "test"
                raise ValueError(f"{self.path}: no [domains.{domain}] with speech to {use}")

    def domains(self) -> tuple[str, ...]:
        return tuple(self.content["domains"])

    def trainable(self) -> tuple[str, ...]:
        return tuple(domain for domain, splits in self.content["domains"].items() if "train" in splits)

    def unheard(self) -> tuple[str, ...]:
        named = self.content.get("unheard", [])
        return tuple(domain for domain in self.domains() if domain in named or domain not in self.trainable())

    def pooled(self) -> tuple[str, ...]:
        return tuple(domain for domain in self.trainable() if domain not in self.unheard())

    def amounts(self) -> dict[str, dict[str, float]]:
        """The shares of the training speech of each domain that is adapted to, by name and from the smallest."""
        if "adapt" not in self.content:
            return {domain: {"10%": 0.1, "100%": 1.0} for domain in self.trainable()[-1:]}

        def shares(domain: str, minutes: list[float]) -> dict[str, float]:
            whole = float(self.corpus(domain, "train").num_samples.sum()) / RATE_HZ / 60
            return {f"{each:g} min": min(1.0, each / whole) for each in sorted(minutes)}

        return {domain: shares(domain, minutes) for domain, minutes in self.content["adapt"].items()}

    def speakers(self, domain: str) -> int:
        """The number of speakers in a domain's test set."""
        return self.corpus(domain, "test").info["speakers"]

    def directory(self, domain: str, split: Split) -> Path:
        """Return the directory of a domain's split; ValueError if the map has none."""
        found = self.content["domains"].get(domain, {}).get(split)
        if found is None:
            raise ValueError(f"{self.path}: [domains.{domain}] has no {split!r}, which this table needs")
        return self.path.parent / found

    def corpus(self, domain: str, split: Split) -> Corpus:
        return Corpus(self.directory(domain, "train" if split == "dev" and self._holds_out(domain) else split))

    def chosen(self, domain: str, split: Split) -> Indices:
        if split == "test" or not self._holds_out(domain):
            return None
        return self.speech(domain).chosen[0 if split == "train" else 1]

    def made(self, domain: str, split: Split) -> bool:
        given = self.content["domains"].get(domain, {})
        return split in given or (split == "dev" and "train" in given)

    def _holds_out(self, domain: str) -> bool:
        return "dev" not in self.content["domains"].get(domain, {})

    @cached_property
    def _speech(self) -> dict[str, DomainSpeech]:
        def opened(domain: str, split: Split) -> Named[Corpus]:
            corpus = self.corpus(domain, split)
            return Named(corpus.info["sha256"], lambda: corpus)

        return {
            domain: DomainSpeech(
                domain, opened(domain, "train"), None if self._holds_out(domain) else opened(domain, "dev")
            )
            for domain in self.trainable()
        }

    def speech(self, domain: str) -> DomainSpeech:
        """Return a domain's corpora; ValueError if the map has no training speech for it."""
        self.directory(domain, "train")
        return self._speech[domain]

    def words(self, scale: Scale) -> Shared:
        """Return alignment, lexicon, tree and n-gram model over the training speech of all domains."""
        return share_words(Training(tuple(self._speech.values()), scale), self.root / "language")

    def sounds(self, split: Split) -> SoundSource:
        noises, responses = (self.content.get(kind, {}).get(split) for kind in ("noises", "responses"))
        return SoundSource(noises and self.path.parent / noises, responses and self.path.parent / responses, split)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_minutes(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, int | float) and x > 0 for x in value)
