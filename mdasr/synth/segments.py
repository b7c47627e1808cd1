"""Exact phone alignments of eSpeak NG's speech, from its events."""

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
    """Phones in order, without gaps, and the sample at which each ends. Words are as in `records.Alignment`."""

    phones: tuple[str, ...]
    ends: Int[np.ndarray, " phones"]
    words: tuple[tuple[str, int, int], ...]


def segment(speech: Speech, text: str, language: str) -> Segments:
    """Make phones with exact ends from eSpeak's events, with two corrections.

    The event of a voiceless stop is at the burst: the closure before it is added to the stop. The event of an l or r
    after a vowel comes when its sound is over: it gets the second half of the vowel.
    """
    mnemonics = [mnemonic for mnemonic, _ in speech.phones]
    groups = to_arpabet(mnemonics, language)
    starts = _phone_starts(speech, groups)
    bounds = np.append(starts, len(speech.wave))
    phones, ends, first_phone = [SILENCE], [int(bounds[0])], []
    for group, start, end in zip(groups, bounds[:-1], bounds[1:], strict=True):
        first_phone.append(len(phones))
        if not group or group == (SILENCE,) == (phones[-1],):  # only lengthens the phone before it
            ends[-1] = int(end)
            continue
        phones += group
        ends += [int(start + (end - start) * (k + 1) / len(group)) for k in range(len(group))]
    first_phone.append(len(phones))
    words = _words(speech, text, language, tuple(phones), first_phone)
    return Segments(tuple(phones), np.asarray(ends), words)


def _phone_starts(speech: Speech, groups: list[tuple[str, ...]]) -> Int[np.ndarray, " events"]:
    """The samples of the events, corrected as in `segment`, at least 5 ms apart."""
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
    """The sample between `start` and `end` after which the level stays 35 dB below its maximum (to within 3 ms)."""
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
    """The (word, first phone, last phone + 1) of each word of `text`, without pauses."""
    spans = [(match.group(), match.start()) for match in re.finditer(r"[\w']+", text)]
    offsets = np.asarray([offset for _, offset in spans])
    # The event at which each word begins; the second event of a contraction begins no word.
    events: dict[int, int] = {}
    for offset, event in speech.words:
        events.setdefault(int(np.searchsorted(offsets, offset, side="right")) - 1, first_phone[event])
    # A word lacks its event where its first sound is dropped, such as the h of "houston" in New York's accent. Such a
    # word is separated from the word before it like joined words; before the first word there is nothing.
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
                raise ValueError(f"eSpeak NG made no sound for {name!r} in {text!r}")
            words.append((name, first, past))
    return tuple(words)


def _share_out(
    names: list[str], phones: tuple[str, ...], span: tuple[int, int], language: str
) -> list[tuple[int, int]]:
    """Divide the phones of words that eSpeak joins, as close as possible to the words spoken alone."""
    first, last = span
    if len(names) == 1:
        return [(first, last)]
    spoken_alone = dict.fromkeys(names, ()) | pronounce(names, language)
    options = itertools.combinations(range(first + 1, last), len(names) - 1)
    divisions = [list(itertools.pairwise((first, *cuts, last))) for cuts in options]
    if not divisions:
        raise ValueError(f"eSpeak NG speaks {' '.join(names)!r} with too few phones: {phones[first:last]}")

    def distance(division: list[tuple[int, int]]) -> int:
        return sum(_edits(phones[a:b], spoken_alone[name]) for name, (a, b) in zip(names, division, strict=True))

    # Among equal divisions, take the last: a linking r belongs to the word before it.
    return min(reversed(divisions), key=distance)


def _edits(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """The Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        previous, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            previous, row[j + 1] = row[j + 1], min(row[j + 1] + 1, row[j] + 1, previous + (x != y))
    return row[-1]
