"""Exact phone alignments of what eSpeak NG said, from its events."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mdasr.language.espeak import ESPEAK_RATE_HZ, Speech, pronounce
from mdasr.language.espeak_phones import to_arpabet
from mdasr.language.lexicon import SILENCE, VOWELS

_STOPS = {"p", "t", "t2", "t[", "k", "tS"}
_LIQUIDS = {"l", "r"}
_FINAL_LIQUID_S = 0.025
_FIRST_CLOSURE_S = 0.03
_SHORTEST_S = 0.005


@dataclass(frozen=True)
class Segments:
    """Phones in order, without gaps, and the sample at which each ends; words as in `records.Alignment`."""

    phones: tuple[str, ...]
    ends: Int[np.ndarray, " phones"]
    words: tuple[tuple[str, int, int], ...]


def segment(speech: Speech, text: str, language: str) -> Segments:
    """Phones with exact ends, from eSpeak's events.

    Two corrections. Events of voiceless stops sit at the burst: the closure before it is made part of the
    stop. Events of l and r after a vowel come when their sound is over: they are given the second half of
    the vowel's.
    """
    mnemonics = [mnemonic for mnemonic, _ in speech.phones]
    groups = to_arpabet(mnemonics, language)
    starts = _phone_starts(speech, groups)
    bounds = np.append(starts, len(speech.wave))
    phones, ends, first_phone = [SILENCE], [int(bounds[0])], []
    for group, start, end in zip(groups, bounds[:-1], bounds[1:], strict=True):
        first_phone.append(len(phones))
        if not group or group == (SILENCE,) == (phones[-1],):  # prolongs the one before it
            ends[-1] = int(end)
            continue
        phones += group
        ends += [int(start + (end - start) * (k + 1) / len(group)) for k in range(len(group))]
    first_phone.append(len(phones))
    words = _words(speech, text, language, tuple(phones), first_phone)
    return Segments(tuple(phones), np.asarray(ends), words)


def _phone_starts(speech: Speech, groups: list[tuple[str, ...]]) -> Int[np.ndarray, " events"]:
    """The events' samples, corrected as `segment` says, at least 5 ms apart."""
    starts = [start for _, start in speech.phones]
    ends = [*starts[1:], len(speech.wave)]
    corrected = starts.copy()
    for i, (mnemonic, start) in enumerate(speech.phones):
        before = groups[i - 1][-1:] if i else (SILENCE,)
        if mnemonic in _STOPS and before == (SILENCE,):
            closure = int(_FIRST_CLOSURE_S * ESPEAK_RATE_HZ)
            corrected[i] = max(starts[i - 1] if i else 0, start - closure)
        elif mnemonic in _STOPS:
            corrected[i] = _end_of_sound(speech.wave, starts[i - 1], start)
        elif mnemonic in _LIQUIDS and before and before[0] in VOWELS:
            sounding = _end_of_sound(speech.wave, start, ends[i]) - start
            if sounding < _FINAL_LIQUID_S * ESPEAK_RATE_HZ:
                corrected[i] = (corrected[i - 1] + start) // 2
    shortest = int(_SHORTEST_S * ESPEAK_RATE_HZ)
    for i in range(len(corrected) - 2, -1, -1):
        corrected[i] = max(0, min(corrected[i], corrected[i + 1] - shortest))
    return np.asarray(corrected)


def _end_of_sound(wave: Float[np.ndarray, " samples"], start: int, end: int) -> int:
    """Where, between two samples, the level falls 35 dB below its maximum for good (to within 3 ms)."""
    hop = 64
    sound = np.abs(wave[start:end])
    level = np.pad(sound, (0, -len(sound) % hop)).reshape(-1, hop).max(axis=1)
    if not level.any():
        return start
    loud = np.flatnonzero(level > level.max() * 10 ** (-35 / 20))
    return min(end, start + (int(loud[-1]) + 1) * hop)


def _words(
    speech: Speech, text: str, language: str, phones: tuple[str, ...], first_phone: list[int]
) -> tuple[tuple[str, int, int], ...]:
    """(word, first phone, past its last) for each word of `text`, pauses left out."""
    spans = [(match.group(), match.start()) for match in re.finditer(r"[\w']+", text)]
    offsets = np.asarray([offset for _, offset in spans])
    # The word that each event begins; a contraction's second event begins none.
    events: dict[int, int] = {}
    for offset, event in speech.words:
        events.setdefault(int(np.searchsorted(offsets, offset, side="right")) - 1, first_phone[event])
    # An event falls with the sound that it would come with, as the h of New York's "houston" does. Such a
    # word is told from the one before it as words run together are; before the first there is nothing.
    events[0] = 0
    words = []
    firsts = sorted(events)
    for word, following in zip(firsts, [*firsts[1:], len(spans)], strict=True):
        last = events[following] if following < len(spans) else len(phones)
        names = [name for name, _ in spans[word:following]]
        for name, (first, past) in zip(names, _share_out(names, phones, (events[word], last), language)):
            while past > first and phones[past - 1] == SILENCE:
                past -= 1
            while first < past and phones[first] == SILENCE:
                first += 1
            if first == past:
                raise ValueError(f"eSpeak NG said nothing for {name!r} in {text!r}")
            words.append((name, first, past))
    return tuple(words)


def _share_out(
    names: list[str], phones: tuple[str, ...], span: tuple[int, int], language: str
) -> list[tuple[int, int]]:
    """Divide the phones of words that eSpeak runs together: as near as can be to how they are said apart."""
    first, last = span
    if len(names) == 1:
        return [(first, last)]
    said_apart = pronounce(names, language)
    options = itertools.combinations(range(first + 1, last), len(names) - 1)
    divisions = [list(itertools.pairwise((first, *cuts, last))) for cuts in options]
    if not divisions:
        raise ValueError(f"eSpeak NG says {' '.join(names)!r} with too few phones: {phones[first:last]}")

    def distance(division: list[tuple[int, int]]) -> int:
        return sum(_edits(phones[a:b], said_apart[name]) for name, (a, b) in zip(names, division, strict=True))

    # Of equal ones the last: a linking r belongs to the word before it.
    return min(reversed(divisions), key=distance)


def _edits(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        previous, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            previous, row[j + 1] = row[j + 1], min(row[j + 1] + 1, row[j] + 1, previous + (x != y))
    return row[-1]
