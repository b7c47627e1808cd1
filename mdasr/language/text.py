"""Normalisation of transcripts to lower-case words with single spaces between them."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u2032\uff07\u02bc\u0060\u00b4", "'"))
# Unicode's property Default_Ignorable_Code_Point: soft hyphens, joiners, byte-order marks, variation selectors. Nothing
# is seen of them, and a word goes on after them (UAX 29, rule WB4). U+200B has the property but is left out here. It
# separates words in scripts without spaces.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ZERO_WIDTH_SPACE = "\u200b"
_MARK_UP = re.compile(r"[][<>{}()（）［］｛｝＜＞﹙﹚﹛﹜﹤﹥⁽⁾₍₎︵︶︷︸﹇﹈]")  # wide and small forms, too
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

    Punctuation is removed; apostrophes inside words stay. Hyphens, dashes and zero-width spaces separate words.
    Typographic apostrophes become "'"; accents and letters of any script stay. Raises ValueError where the spoken words
    are unknown: for digits, unless `spell_numbers` (see `spell_number`), and for signs that are read aloud ("%", "&",
    "$"). Raises it, too, for mark-up in brackets or parentheses ("[noise]", "<unk>", "(laughter)").
    """
    text = folded(text).replace(_ZERO_WIDTH_SPACE, " ")
    if mark := _MARK_UP.search(text):
        raise ValueError(f"mark-up ({mark[0]!r}) in {text!r}; remove it, or write the spoken words")
    if spell_numbers:
        text = _DIGITS.sub(_spelled_token, text)
    characters = []
    for i, character in enumerate(text):
        inside = 0 < i < len(text) - 1 and _in_words(text[i - 1]) and _in_words(text[i + 1])
        characters.append("'" if character == "'" and inside else _kept(character, text))
    return " ".join("".join(characters).split())


def is_normal(word: str) -> bool:
    """Whether a word is in the form of `normalize_text`, so that it can occur in normalised text."""
    try:
        return normalize_text(word) == word
    except ValueError:
        return False


def folded(text: str) -> str:
    """Fold text to lower case, composed letters (NFC), plain apostrophes, and no invisible characters.

    Words of all files are matched so. Zero-width spaces stay, as they separate words.
    """
    # Letters are composed last: some have a composed form only in lower case.
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text.lower())).translate(_APOSTROPHES)


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


def _in_words(character: str) -> bool:
    """Whether a character is a letter or a mark on one, such as an accent without a composed letter."""
    return unicodedata.category(character)[0] in "LM"


def _kept(character: str, text: str) -> str:
    """Return the character itself or a space. Raises ValueError where it stands for unknown words."""
    if _in_words(character):
        return character
    category = unicodedata.category(character)
    if category[0] == "N":
        raise ValueError(f"digits ({character!r}) in {text!r}; write them in words, or use --spell-numbers (cardinals)")
    if category[0] == "S" or character in "%&@#*":
        raise ValueError(f"the sign {character!r} in {text!r}; write it as it was said")
    if category[0] == "C" and category != "Cf" and not character.isspace():  # Cf: signs of a script, such as U+06DD
        raise ValueError(f"control character {character!r} in {text!r}; is this file a text in UTF-8?")
    return " "


def _spelled_token(match: re.Match[str]) -> str:
    """Spell a number, decimal or ordinal. Raises ValueError for other tokens with digits, which have many readings."""
    # A leading point is not punctuation: ".5" is not 5.
    token = match[0].lstrip(";:!?\"'").rstrip(".,;:!?\"'")
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
