"""Phones, words, and the pronunciation lexicon (§3.6)."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from mdasr.core.files import read_text, write_atomically
from mdasr.language.text import folded, is_normal

Phones: TypeAlias = tuple[str, ...]
Variants: TypeAlias = tuple[tuple[Phones, float], ...]
"""The pronunciations of one word: (phones, probability given the word)."""

LEXICON = "lexicon (in CMUdict's format: a word and its phones a line)"
LEXICON_HELP = "a lexicon (CMUdict's, Kaldi's or MFA's format), used before the pronunciations of a model and eSpeak's"
SILENCE = "SIL"
VOWELS: Phones = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS: Phones = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N"),
    *("NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
)
ARPABET: Phones = tuple(sorted(VOWELS + CONSONANTS))

_STRESSED = re.compile(rf"({'|'.join(VOWELS)})[0-2]")
_DECIMAL = re.compile(r"\d*\.\d+(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_VARIANT = re.compile(r"(.+)\(\d+\)")


@dataclass(frozen=True)
class Lexicon:
    """The pronunciations of words: `entries[word]` is a tuple of (phones, probability), the most likely first.

    A word's probabilities are conditional on the word. The phones may be any names without white space. SIL is not
    allowed, since the aligner and the graph add the pauses. Words and variants are kept sorted. Raises ValueError for
    an entry that breaks these rules.
    """

    entries: Mapping[str, Variants]

    def __post_init__(self) -> None:
        ordered = {}
        for word in sorted(self.entries):
            _check_word(word)
            variants = self.entries[word]
            if not variants:
                raise ValueError(f"lexicon: {word!r} has no pronunciation; drop the word or give it one")
            for phones, probability in variants:
                _check_pronunciation(word, phones, probability)
            if len({phones for phones, _ in variants}) < len(variants):
                raise ValueError(f"lexicon: {word!r} has the same pronunciation twice")
            if sum(probability for _, probability in variants) > 1 + 1e-3:
                raise ValueError(f"lexicon: the probabilities of {word!r} add up to more than 1")
            ordered[word] = tuple(sorted(variants, key=lambda variant: (-variant[1], variant[0])))
        object.__setattr__(self, "entries", ordered)

    def __contains__(self, word: str) -> bool:
        return word in self.entries

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def words(self) -> tuple[str, ...]:
        """Every word, sorted."""
        return tuple(self.entries)

    @cached_property
    def phones(self) -> Phones:
        """Every phone that occurs, and SIL, sorted."""
        used = {phone for variants in self.entries.values() for phones, _ in variants for phone in phones}
        return tuple(sorted(used | {SILENCE}))

    @property
    def text(self) -> str:
        """The text that `write` stores, in lines of "word TAB probability TAB phones". Its hash can name a lexicon."""
        return "".join(
            f"{word}\t{probability:.6g}\t{' '.join(phones)}\n"
            for word, variants in self.entries.items()
            for phones, probability in variants
        )

    def write(self, path: Path | str) -> None:
        """Write `text` to `path`, which is replaced in one step."""
        write_atomically(Path(path), self.text)

    @classmethod
    def read(
        cls, path: Path | str, phones: Iterable[str] | None = None, words: Container[str] | None = None
    ) -> Lexicon:
        """Read a lexicon of this program, CMUdict, Kaldi or MFA. Words are folded in the same way as transcripts.

        A line is a word and its phones. Between them may be a probability, or the four numbers of MFA and of Kaldi's
        lexiconp_silprob.txt; only the first one is used. Further variants may be "WORD(2)", and comments begin with
        ";;;" or " #". Stress digits of ARPAbet vowels are dropped. Without probabilities, all variants of a word are
        equally likely. Probabilities that add up to more than 1, as in Kaldi and MFA, are divided by their sum.

        With `words`, only these are read. If `phones` is given, any other phone is an error. Lines that are not UTF-8,
        or whose word no transcript has, are set aside, and counted on standard error. Raises ValueError, which names
        the file and the line, for other lines that cannot be read.
        """
        path, aside = Path(path), list[str]()
        allowed = None if phones is None else frozenset(phones)
        entries: dict[str, dict[Phones, float | None]] = {}
        usable = False
        for number, line in enumerate(lexicon_text(path).split("\n"), start=1):
            if (row := _parsed(line)) is None:
                continue
            word, numbers, names = row
            if "\ufffd" in line:
                aside.append(f"line {number}: not UTF-8")
            elif not (word.isalpha() or is_normal(word)):
                aside.append(f"line {number}: no transcript has the word {word!r}")
            elif (usable := True) and (words is None or word in words):
                try:
                    _add(entries, word, _probability(numbers), names, allowed)
                except ValueError as error:
                    raise ValueError(f"{path}:{number}: {error}") from None
        told = f"{len(aside)} lines are set aside, such as {aside[0]}" if aside else ""
        if not usable:
            raise ValueError(f"{path}: no pronunciations in this file; {told or 'all lines are empty or comments'}")
        if aside:
            print(f"{path}: {told}", file=sys.stderr)
        return cls({word: _variants(said) for word, said in entries.items()})

    @classmethod
    def from_counts(cls, counts: Mapping[str, Mapping[Phones, int]], min_share: float = 0.05) -> Lexicon:
        """Make a lexicon from the relative frequencies of observed pronunciations.

        `counts[word][phones]` is the count of a pronunciation. A variant with less than `min_share` of its word's total
        is dropped, but never the most common one. The shares of the others are scaled to add up to 1.
        """
        entries = {}
        for word, seen in counts.items():
            total = sum(seen.values())
            if total <= 0:
                raise ValueError(f"lexicon: {word!r} was never observed")
            kept = {phones: n for phones, n in seen.items() if n > 0 and n >= min_share * total}
            if not kept:
                best = max(sorted(seen), key=lambda phones: seen[phones])
                kept = {best: seen[best]}
            mass = sum(kept.values())
            entries[word] = tuple((tuple(phones), n / mass) for phones, n in kept.items())
        return cls(entries)

    def merged(self, other: Lexicon) -> Lexicon:
        """Merge two lexicons. Where both have a word, the pronunciations of `other` are used."""
        return Lexicon({**self.entries, **other.entries})

    def covering(
        self, words: Iterable[str], pronounce: Callable[[list[str]], Mapping[str, Phones]] | None = None
    ) -> Lexicon:
        """This lexicon, with an entry for each of `words`. `pronounce` gives pronunciations for the missing words.

        Raises ValueError, which lists the words that still have no pronunciation, and how to give them one.
        """
        missing = sorted({*words} - self.entries.keys())
        made = pronounce(missing) if missing and pronounce else {}
        without = [word for word in missing if not made.get(word)]
        if without:
            espeak = "since eSpeak NG cannot say them" if pronounce else "use eSpeak's (pip install 'mdasr[synth]')"
            raise ValueError(
                f"{len(without)} words without pronunciation: {listed(without)}. Give them in a lexicon "
                f"(--lexicon FILE), {espeak}, or drop them"
            )
        return Lexicon({**self.entries, **{word: ((tuple(made[word]), 1.0),) for word in missing}})


def listed(words: Iterable[str], limit: int = 20) -> str:
    """List the first `limit` words for a message, and the number of the others."""
    words = [*words]
    more = f", … and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(repr(word) for word in words[:limit]) + more


def origins(counts: Mapping[str, int]) -> str:
    """A message with the number of pronunciations from each source."""
    parts = ", ".join(f"{count:,} from {source}" for source, count in counts.items())
    return f"pronunciations of {sum(counts.values()):,} words: {parts}"


def without_stress(phone: str) -> str:
    """Remove the stress digit of an ARPAbet vowel; any other phone stays as it is."""
    return match[1] if (match := _STRESSED.fullmatch(phone)) else phone


def lexicon_text(path: Path) -> str:
    """The text of a lexicon. Bytes that are not UTF-8 become U+FFFD: CMUdict 0.7 has one such word."""
    return read_text(path, LEXICON, errors="replace")


def _parsed(line: str) -> tuple[str, list[str], Phones] | None:
    """Parse one line into the word, the numbers and the phones. A comment or an empty line gives None."""
    columns = line.rstrip().split("\t")
    if len(columns) in (3, 6):  # ours, Kaldi's lexiconp.txt; MFA's
        word, numbers, names = columns[0].strip(), columns[1:-1], columns[-1].split()
    else:
        word, *names = re.sub(r"(^|\s)(;;;|(?<=\s)#).*$", "", line).split() or [""]
        numbers = [*itertools.takewhile(_DECIMAL.fullmatch, names)]
        names = names[len(numbers) :]
    if match := _VARIANT.fullmatch(word):
        word = match[1]
    return (folded(word), numbers, tuple(names)) if word else None


def _probability(numbers: Sequence[str]) -> float | None:
    if len(numbers) not in (0, 1, 4):
        raise ValueError(f"{len(numbers)} numbers after the word: give none, a probability, or the four of MFA")
    try:
        return float(numbers[0]) if numbers else None
    except ValueError:
        raise ValueError(f"{numbers[0]!r} is not a probability (word TAB probability TAB phones)") from None


def _add(
    entries: dict[str, dict[Phones, float | None]],
    word: str,
    probability: float | None,
    names: Phones,
    allowed: frozenset[str] | None,
) -> None:
    """Add a pronunciation with its stress, which two variants may differ in."""
    phones = tuple(map(without_stress, names))
    _check_word(word)
    _check_pronunciation(word, phones, 1.0 if probability is None else probability)
    if allowed is not None and (unknown := sorted({*phones} - allowed)):
        raise ValueError(f"{word!r} has the unknown phone {unknown[0]!r}; known: {' '.join(sorted(allowed))}")
    said = entries.setdefault(word, {})
    if said and (probability is None) != (None in said.values()):
        raise ValueError(f"{word!r} has a probability on one line and none on another")
    if probability is not None and names in said:
        raise ValueError(f"{word!r} has the same pronunciation as on an earlier line")
    said[names] = probability


def _variants(said: Mapping[Phones, float | None]) -> Variants:
    """The pronunciations of a word without stress, with probabilities that add up to 1 or less."""
    shares: dict[Phones, float] = {}
    for names, probability in said.items():
        phones = tuple(map(without_stress, names))
        shares[phones] = 1.0 if probability is None else shares.get(phones, 0.0) + probability
    total = sum(shares.values())
    whole = total if None in said.values() or total > 1 + 1e-3 else 1.0
    return tuple((phones, share / whole) for phones, share in shares.items())


def _check_word(word: str) -> None:
    if not word or any(letter.isspace() for letter in word):
        raise ValueError(f"{word!r} is not a word: it is empty or has white space in it")
    if word[0] in "#<":
        raise ValueError(f"{word!r} is not a word: names that start with # or < are the graph's own symbols")


def _check_pronunciation(word: str, phones: Phones, probability: float) -> None:
    if not phones:
        raise ValueError(f"{word!r} has no phones")
    for phone in phones:
        if not phone or phone[0] in "#<" or not phone.isprintable() or " " in phone:
            raise ValueError(f"{word!r} has {phone!r}, which cannot be the name of a phone")
    if SILENCE in phones:
        raise ValueError(f"{word!r} has {SILENCE} among its phones; remove it, as the graph adds pauses between words")
    if not 0 < probability <= 1 + 1e-6:
        raise ValueError(f"{word!r} has the probability {probability:g}; it must be above 0 and at most 1")
