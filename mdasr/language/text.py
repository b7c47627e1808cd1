"""Normalisation of transcripts to lower-case words with single spaces between them."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4", "'"))
_DIGITS = re.compile(r"\S*\d\S*")
_NUMBER = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?(st|nd|rd|th)?", re.ASCII)
_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def normalize_text(text: str, spell_numbers: bool = False) -> str:
    """Normalise text to lower-case words with single spaces between them.

    Punctuation is removed; apostrophes inside words stay. Hyphens and dashes separate words. Typographic apostrophes
    become "'"; accents and letters of any script stay. Raises ValueError where the spoken words are unknown: for
    digits, unless `spell_numbers` (see `spell_number`), for signs that are read aloud ("%", "&", "$"), and for mark-up
    ("[noise]", "<unk>").
    """
    text = folded(text)
    if spell_numbers:
        text = _DIGITS.sub(_spelled_token, text)
    characters = []
    for i, character in enumerate(text):
        inside = 0 < i < len(text) - 1 and text[i - 1].isalpha() and text[i + 1].isalpha()
        characters.append("'" if character == "'" and inside else _kept(character, text))
    return " ".join("".join(characters).split())


def is_normal(word: str) -> bool:
    """Whether a word is in the form of `normalize_text`, so that it can occur in normalised text."""
    try:
        return normalize_text(word) == word
    except ValueError:
        return False


def folded(text: str) -> str:
    """Fold text to lower case, composed letters (NFC) and plain apostrophes. Words of all files are matched so."""
    # Letters are composed last: some have a composed form only in lower case.
    return unicodedata.normalize("NFC", text.lower()).translate(_APOSTROPHES)


def spell_number(number: int) -> str:
    """Spell a cardinal in English words, American style: 1994 is "one thousand nine hundred ninety four".

    Raises ValueError outside 0 to 10**15 - 1.
    """
    if not 0 <= number < 10**15:
        raise ValueError(f"{number} is outside 0 to 10**15 - 1; write the number in words")
    for scale, name in _SCALES:
        if number >= scale:
            rest = f" {spell_number(number % scale)}" if number % scale else ""
            return f"{spell_number(number // scale)} {name}{rest}"
    if number < len(_SMALL):
        return _SMALL[number]
    return _TENS[number // 10] + (f" {_SMALL[number % 10]}" if number % 10 else "")


def _kept(character: str, text: str) -> str:
    """Return the character itself, a space or nothing. Raises ValueError where it stands for unknown words."""
    category = unicodedata.category(character)
    if category[0] in "LM":
        return character
    if character in "<>[]{}":
        raise ValueError(f"mark-up ({character!r}) in {text!r}; remove it, or write the spoken words")
    if category[0] == "N":
        raise ValueError(f"digits ({character!r}) in {text!r}; write them in words, or use --spell-numbers (cardinals)")
    if category[0] == "S" or character in "%&@#*":
        raise ValueError(f"the sign {character!r} in {text!r}; write it as it was said")
    if category == "Cf":  # soft hyphens, joiners, byte-order marks: invisible and not spoken
        return ""
    if category[0] == "C" and not character.isspace():
        raise ValueError(f"control character {character!r} in {text!r}; is this file a text in UTF-8?")
    return " "


def _spelled_token(match: re.Match[str]) -> str:
    """Spell a number, decimal or ordinal. Raises ValueError for other tokens with digits, which have many readings."""
    # A leading point is not punctuation: ".5" is not 5.
    token = match[0].lstrip(";:!?()\"'").rstrip(".,;:!?()\"'")
    if not (number := _NUMBER.fullmatch(token)):
        raise ValueError(f"{match[0]!r} can be read in several ways; write it in words")
    whole, decimals, ordinal = number[1].replace(",", ""), number[2], number[3]
    if decimals and ordinal:
        raise ValueError(f"{match[0]!r} is not a number; write it in words")
    # "007" is not a cardinal: people read it digit by digit.
    words = _digit_by_digit(whole) if whole[0] == "0" and len(whole) > 1 else spell_number(int(whole))
    if decimals:
        words = f"{words} point {_digit_by_digit(decimals)}"
    return f" {_ordinal(words) if ordinal else words} "


def _digit_by_digit(digits: str) -> str:
    return " ".join(_SMALL[int(digit)] for digit in digits)


def _ordinal(words: str) -> str:
    *rest, last = words.split()
    return " ".join([*rest, _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last[-1] == "y" else f"{last}th")])
