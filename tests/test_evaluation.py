"""`mdasr evaluate`: the suite of conditions, word error rates by length, and normalised texts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mdasr.cli.main import main
from mdasr.corpus.records import Utterance
from mdasr.decode.search import Hypothesis
from mdasr.perturb.conditions import Suite
from mdasr.recognize.report import degradation, lengths_text, suite_text, wer_by_length
from mdasr.recognize.words import scored_as
from mdasr.score.normalizers import NORMALIZERS
from mdasr.score.wer import Errors, Scored
from tests.toy_speech import toy_corpus

SMALL = Suite("small", 3, {"noise": ("noise:10", "noise:0"), "bandwidth": ("8khz",)})


def cells(clean: float) -> list[dict]:
    wers = {"clean": clean, "noise:10": 15.0, "noise:0": 30.0, "8khz": 9.0}
    return [{"label": "toy", "condition": words, "wer": wer, "ci95": None} for words, wer in wers.items()]


def test_degradation_hand_worked():
    """From 10 %: noise rises by 50 and 200 %, so by 125; bandwidth by -10. The mean over both kinds is 57.5."""
    found = degradation(cells(10.0), SMALL)
    assert found["relative"] == {"noise:10": 50.0, "noise:0": 200.0, "8khz": -10.0}
    assert found["kinds"] == {"noise": 125.0, "bandwidth": -10.0} and found["mean"] == 57.5
    lines = suite_text(cells(10.0), SMALL).splitlines()
    assert "| noise     |   noise:0 |     30.0 |        +200 |" in lines
    assert lines[-1] == "small 3: the WER changes by +58 % on average over 2 kinds"


def test_nothing_is_relative_to_no_errors():
    found = degradation(cells(0.0), SMALL)
    assert found["mean"] is None and {*found["relative"].values(), *found["kinds"].values()} == {None}
    assert "changes by - % on average" in suite_text(cells(0.0), SMALL)


def test_lengths_hand_worked():
    errors = [Errors(1, 0, 0, 2), Errors(0, 1, 0, 2), Errors(0, 0, 1, 4), Errors(ref_words=9), Errors(ins=1)]
    scored = [Scored(str(i), "anna", "", "", each) for i, each in enumerate(errors)]
    found = wer_by_length(scored, [1.0, 1.99, 2.0, 60.0, 7.0])
    assert [(cell["from_s"], cell["to_s"], cell["wer"], cell["utterances"]) for cell in found] == [
        *((0, 2, 50.0, 2), (2, 5, 25.0, 1), (20, None, 0.0, 1))
    ]
    assert lengths_text(found) == "0-2 s 50.0 % (4 words), 2-5 s 25.0 % (4 words), 20 s and more 0.0 % (9 words)"


def test_the_suite_is_run_printed_written_and_drawn(untrained, tmp_path, capsys, few_noises, drawn, monkeypatch):
    monkeypatch.setattr("mdasr.cli.evaluation.ROBUSTNESS", SMALL)
    few = toy_corpus(tmp_path / "few", [0.5, 0.6, 2.5])
    untrained.write(tmp_path / "model")
    given = ["evaluate", str(tmp_path / "model"), str(few.directory), "--json", str(tmp_path / "new" / "r.json")]
    assert main([*given, "--suite", "--picture", str(tmp_path / "new" / "r.png")]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "new" / "r.json").read_text())
    assert (result["suite"]["name"], result["suite"]["version"]) == ("small", 3)
    assert [cell["condition"] for cell in result["cells"]] == ["clean", "noise:10", "noise:0", "8khz"]
    assert result["degradation"]["toy (Toy)"] == degradation(result["cells"], SMALL)
    assert suite_text(result["cells"], SMALL) in printed
    assert [cell["to_s"] for cell in result["cells"][0]["by_length"]] == [2, 5]
    (axes,) = drawn["r.png"].axes
    assert [bar.get_width() for bar in axes.patches] == [cell["wer"] for cell in result["cells"]]
    assert main([*given, "--condition", "noise:0"]) == 0
    alone = json.loads((tmp_path / "new" / "r.json").read_text())
    assert alone["utterances"] == result["cells"][2]["utterances"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "--condition", "clean"], "--suite has its own conditions"),
        (["--suite", "--against", "x.json"], "one corpus in one condition"),
        (["--picture", "x.png"], "give --suite, too"),
        (["--normalize", "english", "--oracle"], "leave --normalize out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message, untrained, tmp_path, capsys):
    few = toy_corpus(tmp_path / "few", [0.5])
    untrained.write(tmp_path / "model")
    assert main(["evaluate", str(tmp_path / "model"), str(few.directory), *options]) == 2
    assert message in capsys.readouterr().err


def test_english_spellings_are_no_errors():
    """The rules are those of Whisper's paper, so that the rates can be compared with those of leaderboards."""
    said = "um mister smith's colour isn't two hundred and five dollars"
    heard = Hypothesis(("mr", "smith's", "color", "is", "not", "$205"), (), (), 0.0, 0.0, True, 10.0)
    utterance = Utterance("u", "toy", "Toy", "anna", said, np.zeros(9, np.int16))
    (plain,), (normal,) = (scored_as([utterance], [heard], NORMALIZERS[name]()) for name in NORMALIZERS)
    assert plain.errors.total > 5
    assert normal.errors == Errors(ref_words=7)
    assert normal.reference == normal.hypothesis == "mister smith is color is not $205"


def test_a_result_with_other_spellings_is_not_compared(untrained, tmp_path, capsys):
    few = toy_corpus(tmp_path / "few", [0.5, 0.6])
    untrained.write(tmp_path / "model")
    given = ["evaluate", str(tmp_path / "model"), str(few.directory)]
    assert main([*given, "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["normalize"] == "none"
    (tmp_path / "r.json").write_text(json.dumps(result | {"normalize": "english"}))
    assert main([*given, "--against", str(tmp_path / "r.json")]) == 2
    assert "--normalize english" in capsys.readouterr().err
