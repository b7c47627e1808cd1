"""Rewriting of texts before word errors are counted, so that differences of spelling are no errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from mdasr.core.requirements import optional


@cache
def english() -> Callable[[str], str]:
    """Make Whisper's normaliser of English (Radford et al., 2022, appendix C), by the package whisper-normalizer.

    Numbers become digits, contractions are written out, British spellings become American, and hesitations are left
    out. The Open ASR Leaderboard has the same rules, apart from two: it also joins abbreviations with points, and it
    keeps "cause", "dunno", "kinda" and "sorta". Raises ImportError where the package is missing.
    """
    rewrite = optional("whisper_normalizer.english", "mdasr[scoring]").EnglishTextNormalizer()
    return lambda text: rewrite(text).strip()


NORMALIZERS: dict[str, Callable[[], Callable[[str], str]]] = {"none": lambda: str, "english": english}
