"""The lexicon: both formats, the ways to make one, and what it refuses."""

from __future__ import annotations

from collections import Counter

import pytest

from mdasr.language.lexicon import ARPABET, SILENCE, Lexicon, listed

CMUDICT = """\ufeff;;; a comment
A  AH0
A(2)  EY1

CAT  K AE1 T  # an animal
DON'T  D OW1 N T
RECORD  R AH0 K AO1 R D
RECORD(2)  R EH1 K ER0 D
RECORD(3)  R AH1 K AO0 R D\r
"""


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon({"b": ((("B", "IY"), 0.25), (("B", "AH"), 0.75)), "a": ((("AH",), 1.0),)})


def write(path, text: str):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_phone_set_is_arpabet_without_stress():
    assert len(ARPABET) == len(set(ARPABET)) == 39
    assert SILENCE not in ARPABET


def test_reads_cmudict(tmp_path):
    read = Lexicon.read(write(tmp_path / "cmudict", CMUDICT))
    assert read.words == ("a", "cat", "don't", "record")
    assert read.entries["a"] == ((("AH",), 0.5), (("EY",), 0.5))
    assert read.entries["cat"] == ((("K", "AE", "T"), 1.0),)
    # Two of the three differ in stress alone.
    said = dict(read.entries["record"])
    assert said == {("R", "AH", "K", "AO", "R", "D"): 0.5, ("R", "EH", "K", "ER", "D"): 0.5}
    assert read.phones == ("AE", "AH", "AO", "D", "EH", "ER", "EY", "K", "N", "OW", "R", "SIL", "T")


@pytest.mark.parametrize("line", ["{}  K AE1 F", "{}\t1\tK AE F"])
@pytest.mark.parametrize(("word", "transcribed"), [("Cafe\u0301", "café"), ("DON’T", "don't"), ("ah-s", "ah-s")])
def test_words_are_written_as_in_transcripts(tmp_path, line, word, transcribed):
    read = Lexicon.read(write(tmp_path / "lexicon.txt", line.format(word)))
    assert read.words == (transcribed,)


def test_digits_of_other_phone_sets_stay(tmp_path):
    read = Lexicon.read(write(tmp_path / "tones", "ma m a1\nsa s AA\n"))
    assert read.entries["ma"] == ((("m", "a1"), 1.0),)


def test_is_sorted_likeliest_variant_first(lexicon):
    assert lexicon.words == ("a", "b") and len(lexicon) == 2 and "b" in lexicon and "c" not in lexicon
    assert lexicon.entries["b"][0] == (("B", "AH"), 0.75)
    assert lexicon.phones == ("AH", "B", "IY", "SIL")


def test_what_is_written_is_read_back(lexicon, tmp_path):
    lexicon.write(tmp_path / "lexicon.txt")
    assert Lexicon.read(tmp_path / "lexicon.txt") == lexicon
    assert [path.name for path in tmp_path.iterdir()] == ["lexicon.txt"]
    assert lexicon.text == "a\t1\tAH\nb\t0.75\tB AH\nb\t0.25\tB IY\n"


def test_thirds_survive_being_written(tmp_path):
    thirds = Lexicon({"a": tuple(((phone,), 1 / 3) for phone in ("AH", "EY", "AA"))})
    thirds.write(tmp_path / "lexicon.txt")
    assert Lexicon.read(tmp_path / "lexicon.txt").words == ("a",)


def test_from_counts_drops_rare_variants_and_keeps_the_commonest():
    counts = {
        "a": Counter({("AH",): 90, ("EY",): 9, ("IY",): 1}),
        "b": Counter({("B", str(i)): 1 for i in range(9)}),
    }
    made = Lexicon.from_counts(counts, min_share=0.05)
    assert made.entries["a"] == ((("AH",), pytest.approx(90 / 99)), (("EY",), pytest.approx(9 / 99)))
    assert len(Lexicon.from_counts(counts, min_share=0.5).entries["b"]) == 1
    with pytest.raises(ValueError, match="'c' was never observed"):
        Lexicon.from_counts({"c": Counter()})


def test_merged_prefers_the_other(lexicon):
    other = Lexicon({"b": ((("B",), 1.0),), "c": ((("S", "IY"), 1.0),)})
    merged = lexicon.merged(other)
    assert merged == Lexicon.merged(lexicon, other)
    assert merged.words == ("a", "b", "c") and merged.entries["b"] == ((("B",), 1.0),)


def test_covering_asks_for_missing_words_alone(lexicon):
    asked = []

    def pronounce(words):
        asked.append(words)
        return dict.fromkeys(words, ("Z",))

    assert lexicon.covering(["a", "z", "y", "z"], pronounce).entries["z"] == ((("Z",), 1.0),)
    assert asked == [["y", "z"]]
    assert lexicon.covering(["a", "b"], pronounce) == lexicon and len(asked) == 1


def test_covering_names_words_and_mend(lexicon):
    with pytest.raises(ValueError, match=r"2 words without pronunciation: 'x', 'y'\. .*--lexicon FILE"):
        lexicon.covering(["a", "y", "x"])
    with pytest.raises(ValueError, match="1 words without pronunciation: 'y'"):
        lexicon.covering(["y", "x"], lambda words: {"x": ("K", "S"), "y": ()})


def test_long_lists_are_cut():
    assert listed("abc", limit=2) == "'a', 'b', … and 1 more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a AH\nb\n", r"lexicon\.txt:2: 'b' has no phones"),
        ("a AH\n\nb SIL B\n", r"lexicon\.txt:3: 'b' has SIL among its phones"),
        (
            "a\t0.99\t0.15\t1.42\t0.89\tEY\n",
            r"lexicon\.txt:1: '0.99' is not a phone; convert dictionaries",
        ),
        ("a\tmany\tAH\n", r"lexicon\.txt:1: 'many' is not a probability"),
        ("a\t0\tAH\n", r"lexicon\.txt:1: 'a' has the probability 0; it must be above 0"),
        ("a\tnan\tAH\n", r"lexicon\.txt:1: 'a' has the probability nan"),
        ("a\t0.5\tAH\na\t0.2\tAH\n", r"lexicon\.txt:2: 'a' has the same pronunciation"),
        ("a\t0.5\tAH\na  EY\n", r"lexicon\.txt:2: 'a' has a probability on one line and none on another"),
        ("a\t0.9\tAH\na\t0.9\tEY\n", r"lexicon\.txt: .*'a' add up to more than 1"),
        ("#0 AH\n", r"lexicon\.txt:1: '#0' is not a word"),
        ("two words\t1\tAH\n", r"lexicon\.txt:1: 'two words' is not a word: it is empty or has white space"),
        ("a #AH\n", r"lexicon\.txt:1: 'a' has no phones"),
        (";;; nothing\n", r"lexicon\.txt: no pronunciations"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        Lexicon.read(write(tmp_path / "lexicon.txt", text))


def test_unknown_phones_are_named(tmp_path):
    path = write(tmp_path / "lexicon.txt", "a AH\nb B QQ\n")
    assert Lexicon.read(path).phones == ("AH", "B", "QQ", "SIL")
    with pytest.raises(ValueError, match=r"lexicon\.txt:2: 'b' has the unknown phone 'QQ'; known: AA"):
        Lexicon.read(path, phones=ARPABET)


def test_other_encodings_are_refused(tmp_path):
    (tmp_path / "lexicon.txt").write_bytes("é  EY\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"lexicon\.txt: not UTF-8 \(byte 0\)"):
        Lexicon.read(tmp_path / "lexicon.txt")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": ()}, "'a' has no pronunciation"),
        ({"a": ((("AH",), 0.5), (("AH",), 0.5))}, "same pronunciation twice"),
        ({"": ((("AH",), 1.0),)}, "is not a word"),
        ({"a": ((("A H",), 1.0),)}, "cannot be the name of a phone"),
    ],
)
def test_bad_entries_are_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        Lexicon(entries)
