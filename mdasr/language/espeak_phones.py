"""eSpeak NG's phoneme mnemonics, of all its English accents, as ARPAbet.

The names are those of eSpeak NG 1.52 (as listed in its compiled `phontab`). The sound of each in each accent was
measured (first three formants), so that a label means about the same sound in all accents.
"""

from __future__ import annotations

from collections.abc import Sequence

from mdasr.language.lexicon import SILENCE

_PLAIN = """
    a AE    aa AE   a/ AE   A: AA   A# AA   a: AA   0 AA    0# AA   02 AA   O2 AO   O: AO   O AO    o OW    o: OW
    V AH    @ AH    @2 AH   @5 AH   @- AH   @# AH   a# AH   a2 AH   a#2 AH  3 AH    3: ER   VR ER   IR ER
    E EH    E2 EH   E# EH   e# EH   e: EY   e EY    eI EY   aI AY   aI2 AY  aU AW   OI OY   oU OW   oU# OW
    I IH    I2 IH   I# IH   I2# IH  i IY    i: IY   i:: IY   U UH    U# UH   u UW    u: UW
    aI@ AY+AH   aI3 AY+AH   aU@ AW+AH   @L AH+L     A~ AA+N     O~ AO+N
    b B     d D     d# D    D DH    dZ JH   f F     g G     h HH    j Y     k K     x K     l L     l# L
    l/2 L   m M     n N     n- N    N NG    p P     r R     r- R    r/ R    s S     S SH    t T     t2 T
    t# T    t[ T    ? T     tS CH   T TH    v V     w W     w# W    z Z     z# Z    z/2 Z   Z ZH
"""
_ARPABET = {
    mnemonic: tuple(phones.split("+"))
    for mnemonic, phones in zip(_PLAIN.split()[::2], _PLAIN.split()[1::2], strict=True)
}

# The first phone of vowels that glide to schwa or, in a rhotic accent, to r.
_CENTRING = {"A@": "AA", "O@": "AO", "o@": "AO", "e@": "EH", "i@": "IH", "i@3": "IH", "U@": "UH"}
_SOUNDED_R = {"r", "r-", "r/"}

# Differences between accents. Only en-US colours vowels by r (third formant below 2 kHz); in Scotland, the r is a phone
# of its own.
_RHOTIC = {"gmw/en-US"}
_ACCENT: dict[str, dict[str, tuple[str, ...]]] = {
    "gmw/en-US": {"3": ("ER",), "aI3": ("AY", "ER")},
    "gmw/en-GB-x-rp": {"aa": ("AA",)},
}


def to_arpabet(mnemonics: Sequence[str], language: str = "gmw/en-US") -> list[tuple[str, ...]]:
    """The ARPAbet phones (or SIL) of each mnemonic; () for one that only lengthens the phone before it.

    Stress marks are ignored. Give a whole word or utterance: a vowel that glides to r gets no r of its own if a spoken
    r follows. Raises ValueError for a mnemonic that this table lacks.
    """
    bare = [mnemonic.strip("',%=|!") for mnemonic in mnemonics]
    accent = _ACCENT.get(language, {})
    phones: list[tuple[str, ...]] = []
    for i, name in enumerate(bare):
        if name in ("", ";"):
            phones.append(())
        elif name.startswith("_"):
            phones.append((SILENCE,))
        elif name in _CENTRING:
            before_r = i + 1 < len(bare) and bare[i + 1] in _SOUNDED_R
            phones.append(_centring(name, before_r, language))
        elif name in accent or name in _ARPABET:
            phones.append(accent.get(name) or _ARPABET[name])
        else:
            raise ValueError(
                f"eSpeak NG's phoneme {mnemonics[i]!r} (voice {language}, in {' '.join(mnemonics)}) has no "
                "ARPAbet equivalent here; add the word to a lexicon of your own"
            )
    return phones


def _centring(name: str, before_r: bool, language: str) -> tuple[str, ...]:
    first = _CENTRING[name]
    if before_r:
        return (first,)
    if language in _RHOTIC:
        return ("IY", "AH") if name == "i@" else (first, "R")  # "boolean", "near"
    return (first,) if first in ("AA", "AO") else (first, "AH")
