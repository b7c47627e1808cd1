"""Alignments through the files of other tools, as those tools write them."""

from __future__ import annotations

import itertools

import pytest
from praatio import textgrid

from mdasr.cli.main import main
from mdasr.corpus.alignment_files import ctm_lines, import_alignments, joined, read_ctm, read_textgrid, write_textgrid
from mdasr.corpus.records import Alignment
from mdasr.language.lexicon import Lexicon
from mdasr.training.word_models import check_phones
from tests.toy_speech import toy_corpus

SPOKEN = Alignment(
    "u1", ("SIL", "G", "OW", "SIL", "AW", "T"), (0.2, 0.31, 0.5, 0.55, 0.8, 0.9), (("go", 1, 3), ("out", 4, 6))
)

MFA = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.2
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.3
            text = ""
        intervals [2]:
            xmin = 0.3
            xmax = 0.7
            text = "go"
        intervals [3]:
            xmin = 0.7
            xmax = 1.2
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.2
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.3
            text = "sil"
        intervals [2]:
            xmin = 0.3
            xmax = 0.4
            text = "G"
        intervals [3]:
            xmin = 0.4
            xmax = 0.7
            text = "OW1"
        intervals [4]:
            xmin = 0.7
            xmax = 1.2
            text = ""
"""


def test_a_textgrid_written_is_read_back(tmp_path):
    write_textgrid(tmp_path / "a" / "u1.TextGrid", SPOKEN, 0.9)
    found = read_textgrid(tmp_path / "a" / "u1.TextGrid", "u1")
    assert (found.phones, found.words) == (SPOKEN.phones, SPOKEN.words)
    assert found.ends_s == pytest.approx(SPOKEN.ends_s)
    theirs = textgrid.openTextgrid(str(tmp_path / "a" / "u1.TextGrid"), includeEmptyIntervals=False)
    assert [entry.label for entry in theirs.getTier("words").entries] == ["go", "out"]


def test_a_textgrid_ends_with_its_recording_whatever_its_last_time_was_rounded_to(tmp_path):
    """Sidecars have 5 digits, and CTM 3: many of 60 lengths are rounded to an end after the recording's."""
    path, late = tmp_path / "u.TextGrid", 0
    for samples, digits in itertools.product(range(16000, 16060), (5, 3)):
        seconds = samples / 16000
        late += round(seconds, digits) > seconds
        spoken = Alignment("u", ("SIL", "AH"), (0.4, round(seconds, digits)), (("a", 1, 2),))
        write_textgrid(path, spoken, seconds)
        theirs = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
        assert theirs.maxTimestamp == seconds
        for tier, labels in (("words", ["", "a"]), ("phones", ["SIL", "AH"])):
            entries = theirs.getTier(tier).entries
            assert [entry.label for entry in entries] == labels
            assert (entries[0].start, entries[-1].end) == (0, seconds)
        assert read_textgrid(path, "u").phones == spoken.phones
    assert late > 40


def test_a_textgrid_of_a_tool_that_went_past_the_end_ends_with_its_recording(tmp_path):
    late = Alignment("u", ("AA", "S", "SIL"), (0.5, 1.02, 1.04), (("a", 0, 1), ("s", 1, 2)))
    write_textgrid(tmp_path / "u.TextGrid", late, 1.0)
    found = read_textgrid(tmp_path / "u.TextGrid", "u")
    assert (found.phones, found.ends_s) == (("AA", "S"), (0.5, 1.0))
    assert found.words == (("a", 0, 1), ("s", 1, 2))


def test_what_montreal_forced_aligner_writes_is_read(tmp_path):
    (tmp_path / "u.TextGrid").write_text(MFA)
    found = read_textgrid(tmp_path / "u.TextGrid", "u")
    assert found.phones == ("SIL", "G", "OW1", "SIL")
    assert found.ends_s == pytest.approx((0.3, 0.4, 0.7, 1.2)) and found.words == (("go", 1, 3),)


def test_kaldis_phone_ctm_is_read_and_ours_comes_back(tmp_path):
    path = tmp_path / "phones.ctm"
    path.write_text(";; a comment\nu1 1 0.10 0.10 G_B\nu1 1 0.20 0.30 OW1_E\nu2 1 0.00 0.40 SIL\nu1 1 0.60 0.20 SIL\n")
    found = {name: joined(name, spans, "here") for name, spans in read_ctm(path).items()}
    assert found["u1"].phones == ("SIL", "G", "OW1", "SIL")
    assert found["u1"].ends_s == pytest.approx((0.1, 0.2, 0.5, 0.8)) and found["u2"].phones == ("SIL",)
    path.write_text("\n".join(ctm_lines(SPOKEN)) + "\n")
    again = joined("u1", read_ctm(path)["u1"], "here")
    assert again.phones == SPOKEN.phones and again.ends_s == pytest.approx(SPOKEN.ends_s, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [("u1 1 0.1 x G\n", "line 1"), ("u1 1 0.1\n", "line 1"), ("u1 1 0.1 nan G\n", "line 1")],
)
def test_a_broken_ctm_names_its_line(tmp_path, content, message):
    (tmp_path / "bad.ctm").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_ctm(tmp_path / "bad.ctm")


@pytest.mark.parametrize("content", ["", "no grid", MFA.replace('"phones"', '"sounds"'), MFA[:400]])
def test_what_is_no_textgrid_is_named(tmp_path, content):
    path = tmp_path / "bad.TextGrid"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.TextGrid"):
        read_textgrid(path, "u")
    with pytest.raises(ValueError, match="not aligned"):
        write_textgrid(path, Alignment("u", (), (), reason="too short"), 1.0)


def test_a_corpus_takes_the_alignments_that_fit(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus", [0.6, 0.9, 0.7])
    exact = corpus.alignments("exact")
    for i in (0, 1):
        write_textgrid(tmp_path / "grids" / f"u{i}.TextGrid", exact[i], corpus[i].seconds)
    found = import_alignments(corpus, tmp_path / "grids", "mfa")
    assert found.usable.tolist() == [True, True, False]
    assert found[0].phones == exact[0].phones and "no such file" in found[2].reason
    ctm = tmp_path / "phones.ctm"
    ctm.write_text("u0 1 0.0 0.5 AA\nu1 1 0.0 5.0 AA\nu2 1 0.0 0.5 AA\nu2 1 0.2 0.5 S\n")
    found = import_alignments(corpus, ctm, "ctm")
    assert found.usable.tolist() == [True, False, False]
    assert "ends at 5.00 s" in found[1].reason and "overlaps" in found[2].reason
    ctm.write_text("u0 1 0.0 0.1 AA\nu1 1 0.0 0.9 spn\n")  # of another unit; a word that the aligner did not know
    with pytest.raises(ValueError, match="no alignment in it fits"):
        import_alignments(corpus, ctm, "ctm")
    assert corpus.alignments("ctm").usable.tolist() == [True, False, False], "what was there stays"


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (("g_B", "ow1_E", "SIL"), ("G", "OW", "SIL")),
        (("S", "s", "@"), ("S", "s", "@")),  # X-SAMPA, where case matters
        (("ʃ", "iː", "tʰ"), ("ʃ", "iː", "tʰ")),  # Montreal Forced Aligner's since its second version
        (("AA1", "a2"), ("AA1", "a2")),
    ],
)
def test_arpabet_alone_is_renamed(tmp_path, labels, named):
    corpus = toy_corpus(tmp_path / "corpus", [0.6])
    length = 0.6 / len(labels)
    lines = [f"u0 1 {i * length:.3f} {length:.3f} {label}\n" for i, label in enumerate(labels)]
    (tmp_path / "phones.ctm").write_text("".join(lines), encoding="utf-8")
    assert import_alignments(corpus, tmp_path / "phones.ctm", "theirs")[0].phones == named


def test_names_of_alignments_do_not_meet(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus", [0.6, 0.9])
    for i in range(2):
        write_textgrid(tmp_path / "grids" / f"u{i}.TextGrid", corpus.alignments("exact")[i], corpus[i].seconds)
    first = import_alignments(corpus, tmp_path / "grids", "mfa")
    assert first.digest
    import_alignments(corpus, tmp_path / "grids", "mfa-2")
    assert [a.phones for a in corpus.alignments("mfa")] == [a.phones for a in first]
    ctm = tmp_path / "phones.ctm"
    ctm.write_text("u0 1 0.0 0.5 AA\n")
    assert import_alignments(corpus, ctm, "mfa").digest != corpus.alignments("mfa-2").digest == first.digest
    for name in ("a/b", "v[1]", "", "../x"):
        with pytest.raises(ValueError, match="letters"):
            import_alignments(corpus, ctm, name)
    with pytest.raises(ValueError, match="white space"):
        ctm_lines(Alignment("my utt", ("AA",), (0.5,)))


def test_the_command_aligns_and_exports_and_reads_back(tmp_path, capsys):
    corpus = toy_corpus(tmp_path / "corpus", [0.6, 0.9, 0.7])
    arguments = ["align", str(corpus.directory), "--name", "exact", "--export", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"u{i}.TextGrid" for i in range(3)]
    assert main([*arguments, "--format", "ctm"]) == 0
    for name, source in (("grids", tmp_path / "out"), ("lines", tmp_path / "out" / "toy.ctm")):
        assert main(["align", str(corpus.directory), "--read", str(source), "--name", name]) == 0
        assert "3 utterances aligned, 0 not" in capsys.readouterr().out
        for mine, exact in zip(corpus.alignments(name), corpus.alignments("exact")):
            assert mine.phones == exact.phones and mine.ends_s == pytest.approx(exact.ends_s, abs=2e-3)
    assert main(["align", str(corpus.directory), "--read", str(tmp_path / "out")]) == 2
    check_phones([corpus], "grids", Lexicon({"x": ((("AA", "S"), 1.0),)}))
    with pytest.raises(ValueError, match="has the phones S, which the lexicon lacks"):
        check_phones([corpus], "grids", Lexicon({"x": ((("AA",), 1.0),)}))
