"""Speech from text by eSpeak NG, with the time of every phone, and pronunciations of words that no lexicon
has.

eSpeak NG (GPL-3) is reached through the optional package espeakng_loader, by ctypes. Its C library keeps
one voice for the whole process and is not thread-safe: use processes. The same text said twice in one
process differs by some milliseconds; what a fresh process says, in the same order, does not.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from mdasr.language.espeak_phones import to_arpabet
from mdasr.language.lexicon import SILENCE, VOWELS

ESPEAK_RATE_HZ = 22_050
ACCENTS = (
    *("gmw/en-US", "gmw/en-US-nyc", "gmw/en", "gmw/en-GB-x-rp", "gmw/en-GB-scotland"),
    *("gmw/en-029", "gmw/en-GB-x-gbclan", "gmw/en-GB-x-gbcwmd"),
)

# From eSpeak NG's speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT, _UTF8 = 2, 0x0001, 0x8000, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_LIST_END, _WORD, _PHONEME = 0, 1, 7
_ERRORS = {-1: "internal error", 1: "buffer full", 2: "not found"}

_STOPS = {"p", "t", "t2", "t[", "k", "tS"}
_LIQUIDS = {"l", "r"}
_FINAL_LIQUID_S = 0.025
_FIRST_CLOSURE_S = 0.03
_SHORTEST_S = 0.005


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how: an accent, one of eSpeak's voice variants ("" for its own), words a minute, pitch.

    `pitch` and `pitch_range` are eSpeak's 0-100, 50 being the variant's own.
    """

    language: str = "gmw/en-US"
    variant: str = ""
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class Speech:
    """What eSpeak said: float32 [samples] at 22,050 Hz, phones as (mnemonic, first sample), words as
    (index of the first character, index of the first phone). Words that it runs together ("out of") have
    one entry."""

    wave: Float[np.ndarray, " samples"]
    phones: tuple[tuple[str, int], ...]
    words: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Segments:
    """Phones in order, without gaps, and the sample at which each ends; words as in `records.Alignment`."""

    phones: tuple[str, ...]
    ends: Int[np.ndarray, " phones"]
    words: tuple[tuple[str, int, int], ...]


def is_installed() -> bool:
    return importlib.util.find_spec("espeakng_loader") is not None


def require() -> None:
    """Raises ImportError, with the way to mend it, where eSpeak NG is not installed."""
    if not is_installed():
        raise ImportError("speech synthesis needs eSpeak NG: pip install 'mdasr[synth]'")


def speak(text: str, voice: Voice) -> Speech:
    """Say `text`, with a pause at each comma.

    Raises ValueError for a voice that eSpeak lacks, and ImportError without eSpeak.
    """
    library, buffer = _library()
    _set_voice(voice.language, voice.variant)
    # Half of eSpeak's usual volume: at the full one some variants clip.
    settings = {_RATE: voice.rate_wpm, _PITCH: voice.pitch, _RANGE: voice.pitch_range, _VOLUME: 50}
    for parameter, value in settings.items():
        _check(library.espeak_SetParameter(parameter, value, 0), f"setting {parameter} to {value}")
    buffer.clear()
    encoded = text.encode() + b"\0"
    _check(library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None), f"saying {text!r}")
    return buffer.speech()


def pronounce(words: Iterable[str], language: str = "gmw/en-US") -> dict[str, tuple[str, ...]]:
    """ARPAbet of each word by eSpeak's rules and exceptions; a single letter is read as its name.

    Raises ValueError for words in which it finds nothing to say, or a sound that ARPAbet lacks, and
    ImportError without eSpeak.
    """
    library, _ = _library()
    _set_voice(language, "")
    pronunciations = {}
    for word in words:
        encoded = ctypes.c_char_p(word.encode())
        spoken = []
        while encoded.value:  # a clause a call
            # Mnemonics, with line feeds (10) between them.
            found = library.espeak_TextToPhonemes(ctypes.byref(encoded), _UTF8, 10 << 8)
            spoken += re.split(r"\s+", found.decode())
        phones = [phone for group in to_arpabet(spoken, language) for phone in group if phone != SILENCE]
        if not phones:
            raise ValueError(
                f"eSpeak NG finds nothing to pronounce in {word!r}; drop it or add it to the lexicon"
            )
        pronunciations[word] = tuple(phones)
    return pronunciations


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
    starts = np.asarray([start for _, start in speech.phones])
    ends = np.append(starts[1:], len(speech.wave))
    corrected = starts.copy()
    for i, (mnemonic, start) in enumerate(speech.phones):
        after_pause = i == 0 or groups[i - 1] == (SILENCE,)
        if mnemonic in _STOPS and after_pause:
            previous = starts[i - 1] if i else 0
            corrected[i] = max(previous, start - int(_FIRST_CLOSURE_S * ESPEAK_RATE_HZ))
        elif mnemonic in _STOPS:
            corrected[i] = _end_of_sound(speech.wave, starts[i - 1], start)
        elif mnemonic in _LIQUIDS and i and groups[i - 1][-1:] and groups[i - 1][-1] in VOWELS:
            sounding = _end_of_sound(speech.wave, start, ends[i]) - start
            if sounding < _FINAL_LIQUID_S * ESPEAK_RATE_HZ:
                corrected[i] = (corrected[i - 1] + start) // 2
    shortest = int(_SHORTEST_S * ESPEAK_RATE_HZ)
    for i in range(len(corrected) - 2, -1, -1):
        corrected[i] = min(corrected[i], corrected[i + 1] - shortest)
    return np.maximum(corrected, 0)


def _end_of_sound(wave: Float[np.ndarray, " samples"], start: int, end: int) -> int:
    """Where, between two samples, the level falls 35 dB below its maximum for good (to within 3 ms)."""
    hop = 64
    level = [float(np.max(np.abs(wave[i : min(i + hop, end)]))) for i in range(start, end, hop)]
    if not any(level):
        return start
    loud = np.flatnonzero(np.asarray(level) > max(level) * 10 ** (-35 / 20))
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
    if 0 not in events:
        raise ValueError(f"eSpeak NG reported no word where {text!r} begins")
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
        return sum(
            _edits(phones[a:b], said_apart[name]) for name, (a, b) in zip(names, division, strict=True)
        )

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


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Buffer:
    """What the C library calls with each stretch of sound; kept alive as long as the library is."""

    def __init__(self) -> None:
        self.callback = _CALLBACK(self._receive)
        self.clear()

    def clear(self) -> None:
        self.sound: list[bytes] = []
        self.phones: list[tuple[str, int]] = []
        self.words: list[tuple[int, int]] = []

    def _receive(self, sound, samples: int, events) -> int:
        if sound and samples:
            self.sound.append(ctypes.string_at(sound, 2 * samples))
        for event in itertools.takewhile(lambda event: event.type != _LIST_END, events):
            # `sample` is exact; `audio_position` is rounded to milliseconds.
            if event.type == _PHONEME:
                self.phones.append((event.id.string.decode(), event.sample))
            elif event.type == _WORD:
                self.words.append((event.text_position - 1, len(self.phones)))
        return 0

    def speech(self) -> Speech:
        wave = np.frombuffer(b"".join(self.sound), "<i2").astype(np.float32) / 32768
        phones = [(mnemonic.strip("',%=|"), start) for mnemonic, start in self.phones]
        return Speech(wave, tuple(phones), tuple(self.words))


@functools.cache
def _library() -> tuple[ctypes.CDLL, _Buffer]:
    require()
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    data = espeakng_loader.get_data_path().encode()
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DONT_EXIT)
    if rate_hz != ESPEAK_RATE_HZ:
        raise RuntimeError(
            f"eSpeak NG answered {rate_hz} Hz instead of {ESPEAK_RATE_HZ}: is {data.decode()} whole?"
        )
    buffer = _Buffer()
    library.espeak_SetSynthCallback(buffer.callback)
    return library, buffer


def _set_voice(language: str, variant: str) -> None:
    import espeakng_loader

    # eSpeak takes an unknown variant in silence, and an alias such as en-gb for an error.
    if variant and not (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file():
        raise ValueError(f"eSpeak NG has no voice variant {variant!r}")
    library, _ = _library()
    name = f"{language}+{variant}" if variant else language
    _check(library.espeak_SetVoiceByName(name.encode()), f"voice {name!r}")


def _check(code: int, action: str) -> None:
    if code:
        raise ValueError(f"eSpeak NG: {action}: {_ERRORS.get(code, f'error {code}')}")
