"""Speech from text by eSpeak NG, with the times of phones and words, and pronunciations for words without a lexicon.

eSpeak NG (GPL-3) comes with the optional package espeakng_loader and is called by ctypes. Its C library keeps one voice
for the whole process and is not thread-safe: use processes. The same text, spoken twice in one process, differs by some
milliseconds. Fresh processes that speak the same texts in the same order make the same sound.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import itertools
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mdasr.core.requirements import optional
from mdasr.language.espeak_phones import to_arpabet
from mdasr.language.lexicon import SILENCE

VERSION = 1  # raise it with every change that alters a pronunciation
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


@dataclass(frozen=True)
class Voice:
    """A voice: an accent, a voice variant of eSpeak ("" is the default), words a minute, and pitch.

    `pitch` and `pitch_range` are eSpeak's, from 0 to 100; 50 is the variant's own.
    """

    language: str = "gmw/en-US"
    variant: str = ""
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class Speech:
    """Speech by eSpeak: float32 [samples] at 22,050 Hz.

    A phone is (mnemonic, first sample). A word is (index of the first character, index of the first phone). Words that
    eSpeak joins ("out of") have one entry.
    """

    wave: Float[np.ndarray, " samples"]
    phones: tuple[tuple[str, int], ...]
    words: tuple[tuple[int, int], ...]


def is_installed() -> bool:
    return importlib.util.find_spec("espeakng_loader") is not None


def require_espeak() -> None:
    """Raise ImportError, which says how to install eSpeak NG, where it is missing."""
    optional("espeakng_loader", "mdasr[synth]")


def speak(text: str, voice: Voice) -> Speech:
    """Speak `text`, with a pause at each comma.

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
    """The ARPAbet phones of each word by eSpeak's rules and exceptions. A single letter is read as its name.

    Words without any sound, and words with a sound that ARPAbet lacks, are left out. So are words that are not in Latin
    script: eSpeak would name their letters one by one. Raises ImportError without eSpeak.
    """
    library, _ = _library()
    _set_voice(language, "")
    pronunciations: dict[str, tuple[str, ...]] = {}
    for word in words:
        if not all(map(_latin, word)):
            continue
        encoded = ctypes.c_char_p(word.encode())
        spoken = []
        while encoded.value:  # a clause a call
            # Mnemonics, with line feeds (10) between them.
            mnemonics = library.espeak_TextToPhonemes(ctypes.byref(encoded), _UTF8, 10 << 8)
            spoken += re.split(r"\s+", mnemonics.decode())
        with suppress(ValueError):  # a sound that ARPAbet lacks
            phones = tuple(phone for group in to_arpabet(spoken, language) for phone in group if phone != SILENCE)
            pronunciations |= {word: phones} if phones else {}
    return pronunciations


def _latin(character: str) -> bool:
    return not character.isalpha() or unicodedata.name(character, "").startswith(("LATIN", "FEMININE", "MASCULINE"))


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


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Buffer:
    """A buffer with a callback that the C library calls with each piece of sound. It lives as long as the library."""

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
    require_espeak()
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    data = espeakng_loader.get_data_path().encode()
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DONT_EXIT)
    if rate_hz != ESPEAK_RATE_HZ:
        raise RuntimeError(f"eSpeak NG answered {rate_hz} Hz instead of {ESPEAK_RATE_HZ}: is {data.decode()} whole?")
    buffer = _Buffer()
    library.espeak_SetSynthCallback(buffer.callback)
    return library, buffer


def _set_voice(language: str, variant: str) -> None:
    import espeakng_loader

    # eSpeak accepts an unknown variant without an error, and reports an alias such as en-gb as an error.
    if variant and not (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file():
        raise ValueError(f"eSpeak NG has no voice variant {variant!r}; its folder voices/!v lists them")
    library, _ = _library()
    name = f"{language}+{variant}" if variant else language
    _check(library.espeak_SetVoiceByName(name.encode()), f"voice {name!r}")


def _check(code: int, action: str) -> None:
    if code:
        raise ValueError(f"eSpeak NG: {action}: {_ERRORS.get(code, f'error {code}')}")
