"""Transcripts: the treatment of case, punctuation, digits and signs."""

import pytest

from mdasr.language.text import folded, is_normal, normalize_text, spell_number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Call Mum, please!", "call mum please"),
        ("  two\tlines\n\n here ", "two lines here"),
        ("It’s o'clock ‘now’ — dogs' 'em", "it's o'clock now dogs em"),
        ("rock 'n' roll", "rock n roll"),
        ("well-known, mostly up/down U.S.A.", "well known mostly up down u s a"),
        ("¿Qué? ÜBER cafe\u0301 naïve", "qué über café naïve"),
        ("don\u2032t don\u201bt don\uff07t don\u02bct", "don't don't don't don't"),
        ("soft\u00adhyphen \ufeffbyte-order\ufeffmark a\u00a0b", "softhyphen byte ordermark a b"),
        ("zero\u200bwidth space\u200b \u200b", "zero width space"),
        ("می\u200cخواهم क्\u200dष", "میخواهم क्ष"),  # a non-joiner and a joiner lie inside one word
        ("do\u00adn\u2060'\u200dt l\ufeff\u2019eau", "don't l'eau"),
        ("a\ufe0f e\u00ad\u0301 \u200fשלום\u200e", "a é שלום"),
        ("m\u0303's", "m\u0303's"),  # an accent without a composed letter, before an apostrophe
        ("Привет, мир", "привет мир"),
        ("u m n y h six", "u m n y h six"),
        ("...?!", ""),
        ("", ""),
    ],
)
def test_case_and_punctuation(text, words):
    assert normalize_text(text) == words
    assert normalize_text(words) == words  # nothing more to do


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("flight 12", "--spell-numbers"),
        ("x²", "--spell-numbers"),
        ("٣ cups", "--spell-numbers"),
        ("50 percent", "--spell-numbers"),
        ("half %", "'%'.*as it was said"),
        ("you & me", "'&'.*as it was said"),
        ("costs $", "as it was said"),
        ("hello [noise]", "mark-up"),
        ("<unk> then", "mark-up"),
        ("(laughter) yes", r"mark-up \('\('\) in '\(laughter\) yes'; remove it, or write the spoken words"),
        ("well (uh) yes", "mark-up"),
        ("f(x) is y", "mark-up"),
        ("（笑） yes", "mark-up"),
        ("yes ［noise］", "mark-up"),
        ("that is all :)", "mark-up"),
        ("in (1994)", "mark-up"),
        ("nul\x00byte", "control character"),
        ("broken \ufffd letter", "as it was said"),
    ],
)
def test_what_cannot_be_read_aloud_is_refused(text, mend):
    with pytest.raises(ValueError, match=mend):
        normalize_text(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Flight 12.", "flight twelve"),
        ("1,234 and 3.05", "one thousand two hundred thirty four and three point zero five"),
        ("the 21st, 2nd, 12th and 30th", "the twenty first second twelfth and thirtieth"),
        ("agent 007", "agent zero zero seven"),
        ('"1994"', "one thousand nine hundred ninety four"),
        ("five\u200b5", "five five"),
        ("no numbers", "no numbers"),
    ],
)
def test_numbers_are_spelt_when_asked(text, words):
    assert normalize_text(text, spell_numbers=True) == words


def test_a_number_in_parentheses_is_mark_up_as_well():
    with pytest.raises(ValueError, match="mark-up"):
        normalize_text("in (1994) it rained", spell_numbers=True)


@pytest.mark.parametrize(
    "text", ["555-1234", "10:30", "mp3", "1/2", "-5", "1990s", "$5", "1.2.3", "٣", "50%", "3.1st", ".5", ".5!", ",5"]
)
def test_what_is_read_in_several_ways_is_refused_even_then(text):
    with pytest.raises(ValueError, match=r"in words|as it was said"):
        normalize_text(text, spell_numbers=True)


def test_cardinals_follow_an_independent_grammar():
    """Reading the words back by place value gives the number, for every size of number."""
    units = {spell_number(i): i for i in range(20)} | {spell_number(i): i for i in range(20, 100, 10)}
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
    for number in [*range(0, 2500, 7), 10**6, 10**9 + 1, 999_999_999_999_999, 80_019_000_100]:
        total = group = 0
        for word in spell_number(number).split():
            if word in scales:
                total, group = total + group * scales[word], 0
            else:
                group = group * 100 if word == "hundred" else group + units[word]
        assert total + group == number
    assert spell_number(342) == "three hundred forty two"


@pytest.mark.parametrize("number", [-1, 10**15])
def test_numbers_out_of_range(number):
    with pytest.raises(ValueError, match="in words"):
        spell_number(number)


@pytest.mark.parametrize(
    "text", ["J\u030c", "Å", "\u1fef", "I\u0307x", "ΟΔΟΣ", "DON’T", "DON＇T", "E\u00ad\u0301", "A\u200bB"]
)
def test_folding_twice_is_folding_once(text):
    assert folded(folded(text)) == folded(text)


def test_words_of_normalised_text_are_told_from_others():
    assert all(map(is_normal, ["ah", "don't", "café", "привет"]))
    assert not any(map(is_normal, ["Ah", "don’t", "cafe\u0301", "well-known", "'em", "4", "<unk>", "a b "]))
