"""The lexicon: its formats, the ways to make one, and what it refuses."""

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
@pytest.mark.parametrize(("word", "transcribed"), [("Cafe\u0301", "café"), ("DON’T", "don't")])
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
        ("a 0.99 0.15 EY\n", r"lexicon\.txt:1: 2 numbers after the word: give none, a probability, or the four of MFA"),
        ("a\tmany\tAH\n", r"lexicon\.txt:1: 'many' is not a probability"),
        ("a\t0\tAH\n", r"lexicon\.txt:1: 'a' has the probability 0; it must be above 0"),
        ("a\tnan\tAH\n", r"lexicon\.txt:1: 'a' has the probability nan"),
        ("a\t0.5\tAH\na\t0.2\tAH\n", r"lexicon\.txt:2: 'a' has the same pronunciation"),
        ("a\t0.5\tAH\na  EY\n", r"lexicon\.txt:2: 'a' has a probability on one line and none on another"),
        ("#0 AH\n", r"lexicon\.txt: no pronunciations .*; 1 lines .* line 1: no transcript has the word '#0'"),
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
    with pytest.raises(ValueError, match=r"no pronunciations .*; 1 lines .* line 1: not UTF-8"):
        Lexicon.read(tmp_path / "lexicon.txt")


YES, NO = ("Y", "EH", "S"), ("N", "OW")


@pytest.mark.parametrize(
    ("content", "entries", "aside"),
    [
        (  # CMUdict 0.7b: Latin-1, and names of signs
            b";;; # CMUdict\n!EXCLAMATION-POINT  EH2 K S\n#HASH-MARK  HH AE1 M\n%PERCENT  P ER0 S EH1 N T\nYES  Y EH1 S"
            b"\nD\xc9J\xc0  D EY2 ZH AA1\nNO  N OW1\nNO(1)  N OW2\n",
            {"yes": {YES: 1}, "no": {NO: 1}},
            (4, "line 2: no transcript has the word '!exclamation-point'"),
        ),
        (  # Kaldi's lexicon.txt
            b"!SIL SIL\n<SPOKEN_NOISE> SPN\n<UNK> SPN\nYES Y EH1 S\nNO N OW1\n",
            {"yes": {YES: 1}, "no": {NO: 1}},
            (3, "line 1: no transcript has the word '!sil'"),
        ),
        (  # Kaldi's lexiconp.txt, in the three ways that its scripts write it; the likeliest variant has 1
            b"YES 1.0 Y EH1 S\nNO\t1.0\tN OW1\nNO 0.25\tN AH0\n",
            {"yes": {YES: 1}, "no": {NO: 0.8, ("N", "AH"): 0.2}},
            None,
        ),
        (  # Kaldi's lexiconp_silprob.txt
            b"YES 1.0 0.31 1.02 0.98 Y EH1 S\nNO 1.0 0.2 1.0 1.0 N OW1\n",
            {"yes": {YES: 1}, "no": {NO: 1}},
            None,
        ),
        (  # MFA 3: four numbers; MFA 2: the probability alone
            "yes\t0.99\t0.14\t1.0\t1.0\tj ɛ s\nno\t0.5\t0.2\t1.0\t1.0\tn oʊ\nno\t1.0\t0.2\t1.0\t1.0\tn əw\n"
            "go\t0.99\tɡ oʊ\n<unk>\tspn\n[bracketed]\tspn\n".encode(),
            {"yes": {("j", "ɛ", "s"): 0.99}, "no": {("n", "əw"): 2 / 3, ("n", "oʊ"): 1 / 3}, "go": {("ɡ", "oʊ"): 0.99}},
            (2, "line 5: no transcript has the word '<unk>'"),
        ),
        # Variants that differ in stress alone become one.
        (b"no\t0.5\tN OW1\nno\t0.25\tN OW2\nno\t0.25\tN AH0\n", {"no": {NO: 0.75, ("N", "AH"): 0.25}}, None),
    ],
    ids=["CMUdict 0.7b", "Kaldi", "lexiconp", "silprob", "MFA", "stress"],
)  # fmt: skip
def test_lexicons_of_other_tools_are_read_whole(tmp_path, content, entries, aside, capsys):
    path = tmp_path / "lexicon.txt"
    path.write_bytes(content)
    read = Lexicon.read(path)
    assert {word: dict(variants) for word, variants in read.entries.items()} == {
        word: pytest.approx(variants) for word, variants in entries.items()
    }
    assert capsys.readouterr().err == (f"{path}: {aside[0]} lines are set aside, such as {aside[1]}\n" if aside else "")


def test_lines_of_words_that_nobody_needs_are_not_checked(tmp_path, capsys):
    path = write(tmp_path / "lexicon.txt", "<unk> SPN\nyes Y EH1 S\nbroken\nodd QQ\n\ufffd Q\n")
    assert Lexicon.read(path, ARPABET, {"yes", "absent"}).entries == {"yes": ((YES, 1.0),)}
    assert f"{path}: 2 lines are set aside, such as line 1: no transcript has" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"lexicon\.txt:3: 'broken' has no phones"):
        Lexicon.read(path, words={"broken"})
    with pytest.raises(ValueError, match=r"lexicon\.txt:4: 'odd' has the unknown phone 'QQ'"):
        Lexicon.read(path, ARPABET, {"odd"})


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
