"""eSpeak NG: pronunciations beside ones written by hand, and alignments beside the sound itself."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from mdasr.language import espeak_phones
from mdasr.language.espeak import ACCENTS, ESPEAK_RATE_HZ, Voice, pronounce, speak
from mdasr.language.espeak_phones import to_arpabet
from mdasr.language.lexicon import ARPABET, SILENCE
from mdasr.synth.segments import segment

BY_HAND = {
    "hello": "HH AH L OW",
    "church": "CH ER CH",
    "water": "W AO T ER",
    "fire": "F AY ER",
    "where": "W EH R",
    "car": "K AA R",
    "little": "L IH T AH L",
    "judge": "JH AH JH",
    "thing": "TH IH NG",
    "this": "DH IH S",
    "boys": "B OY Z",
    "beige": "B EY ZH",
    "house": "HH AW S",
    "you": "Y UW",
    "put": "P UH T",
    "don't": "D OW N T",
    "x": "EH K S",
    "hero": "HH IH R OW",
    "boolean": "B UW L IY AH N",
}
SENTENCE = "take the pack of purple chalk out of the back, and keep it for a week to call the world"


def test_american_pronunciations_are_as_written_by_hand():
    found = pronounce(BY_HAND)
    assert {word: " ".join(phones) for word, phones in found.items()} == BY_HAND
    assert {phone for phones in BY_HAND.values() for phone in phones.split()} <= {*ARPABET}


def test_accents_differ_where_they_should():
    assert pronounce(["car", "class"], "gmw/en-GB-x-rp") == {
        "car": ("K", "AA"),
        "class": ("K", "L", "AA", "S"),
    }
    assert pronounce(["car"], "gmw/en-GB-scotland")["car"] == ("K", "AA", "R")
    assert pronounce(["this"], "gmw/en-029")["this"] == ("D", "IH", "S")
    assert pronounce(["house"], "gmw/en-GB-x-gbcwmd")["house"] == ("AW", "S")
    # An r that is sounded anyway is not written twice.
    assert pronounce(["story"])["story"] == ("S", "T", "AO", "R", "IY")


def test_an_unknown_phoneme_is_named():
    with pytest.raises(ValueError, match=r"'q#'.*k q#"):
        to_arpabet(["k", "q#"])


def test_words_that_cannot_be_said_are_left_out(monkeypatch):
    assert pronounce(["", "'", "?!", "boys"]) == {"boys": ("B", "OY", "Z")}
    monkeypatch.delitem(espeak_phones._ARPABET, "OI")
    assert [*pronounce(["boys", "hello"])] == ["hello"]


def test_foreign_vowels_get_their_nearest_phone():
    found = {word: " ".join(phones) for word, phones in pronounce(["atelier", "tolkien", "wii"]).items()}
    assert found == {"atelier": "AE T AH L Y EY", "tolkien": "T OW L K IY N", "wii": "W IY"}


@pytest.mark.parametrize(
    ("voice", "message"),
    [(Voice("en-gb"), "'en-gb': not found"), (Voice(variant="nobody"), "no voice variant 'nobody'")],
)
def test_a_voice_that_does_not_exist_is_an_error(voice, message):
    # eSpeak itself would go on with the voice that spoke last.
    speak("one two", Voice())
    with pytest.raises(ValueError, match=message):
        speak("one two", voice)


def test_without_espeak_the_error_says_what_to_install(monkeypatch):
    from mdasr.language import espeak

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert not espeak.is_installed()
    with pytest.raises(ImportError, match=r"eSpeak NG is missing; install it with pip install 'mdasr\[synth\]'"):
        espeak.require_espeak()


def test_words_of_another_script_are_left_out_and_none_is_spelt_out():
    assert [*pronounce(["go", "москва", "привет", "日本", "élève"])] == ["go", "élève"]


@pytest.mark.parametrize("language", ACCENTS)
def test_segments_cover_the_sound_and_every_word(language):
    speech = speak(SENTENCE, Voice(language))
    segments = segment(speech, SENTENCE, language)
    assert (np.diff(segments.ends, prepend=0) > 0).all()
    assert segments.ends[-1] == len(speech.wave)
    assert {*segments.phones} <= {*ARPABET, SILENCE}
    assert [word for word, _, _ in segments.words] == SENTENCE.replace(",", "").split()
    for (_, first, last), (_, following, _) in itertools.pairwise(segments.words):
        assert first < last <= following
        # Between two words there is nothing but silence, and in a word there is none.
        assert {*segments.phones[last:following]} <= {SILENCE}
        assert SILENCE not in segments.phones[first:last]


def test_words_run_together_are_told_apart():
    # eSpeak reports "out of" and "for a" as one word each.
    segments = segment(speak(SENTENCE, Voice()), SENTENCE, "gmw/en-US")
    said = [(word, " ".join(segments.phones[a:b])) for word, a, b in segments.words]
    assert ("out", "AW T") in said
    assert ("of", "AH V") in said
    assert said[said.index(("a", "AH")) - 1][0] == "for"


def test_a_word_whose_event_is_lost_is_found():
    # eSpeak drops this h in New York, and with it the event of the word.
    for text, place in (("houston beat berlin", 0), ("they saw houston", 2)):
        segments = segment(speak(text, Voice("gmw/en-US-nyc")), text, "gmw/en-US-nyc")
        said = [(word, " ".join(segments.phones[a:b])) for word, a, b in segments.words]
        assert said[place] == ("houston", "Y UW S T AH N")


def rms(wave, start, end) -> float:
    return float(np.sqrt(np.mean(wave[start:end] ** 2)))


@pytest.mark.parametrize("variant", ["", "m3", "steph", "klatt2"])
def test_voiceless_stops_begin_with_their_closure(variant):
    text = "he took a cap to pat the cat and a copy of the top paper"
    speech = speak(text, Voice(variant=variant))
    segments = segment(speech, text, "gmw/en-US")
    starts = [0, *segments.ends[:-1]]
    closed = []
    for i in range(2, len(starts)):
        follows_sound = segments.phones[i - 1] not in (SILENCE, "S", "T", "K", "P", "CH")
        if segments.phones[i] in ("P", "K") and follows_sound:
            before = rms(speech.wave, segments.ends[i - 1] - 600, segments.ends[i - 1])
            closed.append(rms(speech.wave, starts[i] + 64, starts[i] + 300) < before / 10)
    assert len(closed) >= 8
    assert all(closed)


@pytest.mark.parametrize("word", ["feel", "call", "world", "school", "tall"])
def test_a_final_l_gets_its_share_of_the_vowel(word):
    text = f"we {word} people"
    segments = segment(speak(text, Voice()), text, "gmw/en-US")
    lengths = np.diff(segments.ends, prepend=0) / ESPEAK_RATE_HZ
    _, first, last = segments.words[1]
    place = first + segments.phones[first:last].index("L")
    assert lengths[place] > 0.04
    assert lengths[place - 1] > 0.04


def test_a_comma_is_a_silence():
    paused, fluent = (segment(speak(t, Voice()), t, "gmw/en-US") for t in ("red, blue", "red blue"))
    assert SILENCE in paused.phones[1:-1]
    assert SILENCE not in fluent.phones[1:-1]
