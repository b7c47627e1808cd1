"""The choice of beam, scale and penalty, and the command that makes it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression

from mdasr.cli.main import main
from mdasr.decode.paths import log_odds
from mdasr.decode.search import SearchOptions
from mdasr.language import ngram
from mdasr.model.directory import Recognizer
from mdasr.recognize.tune import GRIDS, Trial, calibrate, climb, dev_scores, fit_odds, narrowest, sweep, wer_on
from mdasr.recognize.words import check_rescoring
from tests.toy_speech import toy_corpus


def trials(*wers: float) -> list[Trial]:
    return [Trial(SearchOptions(beam=4.0 + i), wer, 0.001 * (i + 1)) for i, wer in enumerate(wers)]


@pytest.mark.parametrize(
    ("wers", "tolerance", "chosen"),
    [
        ((30.0, 20.0, 15.0, 15.0), 0.1, 2),
        ((30.0, 20.0, 15.05, 15.0), 0.1, 2),
        ((30.0, 20.0, 15.05, 15.0), 0.0, 3),
        ((14.0, 20.0, 15.0, 15.0), 0.1, 2),  # better by luck, then worse: do not trust the narrow beam
        ((14.0, 14.5, 14.9, 15.0), 0.0, 0),
        ((15.0,), 0.0, 0),
    ],
)
def test_the_narrowest_beam_that_loses_nothing_is_chosen(wers, tolerance, chosen):
    found = trials(*wers)
    assert narrowest(found, tolerance) is found[chosen]
    assert narrowest(found[::-1], tolerance) is found[chosen]


def test_climbing_finds_the_bottom_of_a_bowl_from_anywhere():
    def wer(options: SearchOptions) -> float:
        return (options.acoustic_scale - 0.85) ** 2 + (options.insertion_penalty + 1) ** 2

    for scale in (*GRIDS["acoustic_scale"], 0.45, 2.0):
        found = climb(SearchOptions(acoustic_scale=scale, insertion_penalty=1.0), wer)
        assert (found.acoustic_scale, found.insertion_penalty) == (0.85, -1.0)
    assert climb(SearchOptions(), lambda options: 10.0) == SearchOptions()


def test_a_sweep_goes_from_narrow_to_wide_and_takes_time(untrained, corpus):
    pairs = dev_scores(untrained, list(corpus)[:4])
    found = sweep(untrained.language.graph, pairs, SearchOptions(acoustic_scale=0.3), 480, (8.0, 2.0))
    assert [trial.options for trial in found] == [SearchOptions(acoustic_scale=0.3, beam=beam) for beam in (2.0, 8.0)]
    assert sum(trial.rtf for trial in found) > 0  # of a single one the clock may not see
    wer = wer_on(untrained.language.graph, pairs)
    assert [trial.wer for trial in found] == [wer(trial.options) for trial in found]
    with pytest.raises(ValueError, match="hold no words"):
        dev_scores(untrained, [dataclasses.replace(u, text="") for u in list(corpus)[:2]])


@pytest.mark.slow
def test_the_command_writes_what_it_chose(untrained, tmp_path, capsys, drawn):
    few = toy_corpus(tmp_path / "few", [0.5, 0.6, 0.4, 0.5])
    untrained.write(tmp_path / "model")
    before = (tmp_path / "model" / "model.json").read_text()
    command = ["tune", str(tmp_path / "model"), str(few.directory), "--picture", str(tmp_path / "pics" / "t.png")]
    assert main([*command, "--dry-run"]) == 0
    assert (tmp_path / "model" / "model.json").read_text() == before
    assert "chosen" in capsys.readouterr().out
    assert main(command) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "chosen" in line]
    tuned = Recognizer.read(tmp_path / "model")
    assert line.split("|")[1].strip() == f"{tuned.search.beam:g}"
    assert tuned.search == calibrate(tuned.graph, dev_scores(tuned, list(few)), tuned.search)
    (axes,), picture = drawn["t.png"].axes, tmp_path / "pics" / "t.png"
    assert axes.get_legend().texts[-1].get_text() == f"beam {tuned.search.beam:g}, chosen" and picture.is_file()
    assert f"{tuned.facts['dev_wer']:.2f}" in line and tuned.facts["tuned_on"] == [few.info["corpus"]]
    changed = json.loads((tmp_path / "model" / "model.json").read_text())
    assert {k for k, v in changed.items() if v != json.loads(before).get(k)} <= {"search", "tuned_on", "dev_wer"}


def test_confidences_are_fitted_as_logistic_regression_does():
    rng = np.random.default_rng(0)
    odds = log_odds(rng.uniform(0, 1, 20_000))
    right = rng.uniform(size=len(odds)) < 1 / (1 + np.exp(-(0.6 * odds - 0.8)))
    reference = LogisticRegression(C=np.inf).fit(odds[:, None], right)
    expected = (reference.coef_[0, 0], reference.intercept_[0])
    assert fit_odds(odds, right) == pytest.approx(expected, abs=2e-3)
    assert fit_odds(odds, right) == pytest.approx((0.6, -0.8), abs=0.05)


def test_a_few_words_make_no_confidence_certain():
    """By Platt's targets, three of three right count as four of five; the best line gives that for any odds."""
    for odds in ([4.0, 4.0, 4.0], [0.0, 0.0, 0.0]):
        slope, offset = fit_odds(np.array(odds), np.ones(3, bool))
        assert slope * odds[0] + offset == pytest.approx(np.log(4), abs=1e-3)
    slope, _ = fit_odds(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([True, True, False, False]))
    assert slope == 0  # a word with higher odds never gets a lower confidence, even if the lattice is wrong


def test_confidences_stay_as_they_are_where_nothing_is_heard(untrained):
    assert calibrate(untrained.graph, [], SearchOptions(confidence_slope=0.5)) == SearchOptions(confidence_slope=0.5)


@pytest.mark.parametrize("tolerance", ["-1", "nan"])
def test_a_tolerance_that_no_beam_meets_is_refused_before_the_sweep(tolerance, tmp_path, capsys):
    assert main(["tune", str(tmp_path / "no"), str(tmp_path), "--tolerance", tolerance]) == 2
    assert f"--tolerance {tolerance}: give 0 points or more" in capsys.readouterr().err


def test_what_is_tuned_is_written_though_it_cannot_be_drawn(untrained, tmp_path, capsys):
    few = toy_corpus(tmp_path / "few", [0.5, 0.6])
    untrained.write(tmp_path / "model")
    assert main(["tune", str(tmp_path / "model"), str(few.directory), "--picture", str(tmp_path / "t.what")]) == 2
    assert "tuned_on" in Recognizer.read(tmp_path / "model").facts


def test_evaluate_prints_what_the_lattices_hold(untrained, tmp_path, capsys):
    few = toy_corpus(tmp_path / "few", [0.5, 0.6, 0.4, 0.5])
    untrained.write(tmp_path / "model")
    arguments = ["evaluate", str(tmp_path / "model"), str(few.directory), "--json", str(tmp_path / "r.json")]
    assert main([*arguments, "--oracle"]) == 0
    assert "lattices: oracle WER" in capsys.readouterr().out
    result = json.loads((tmp_path / "r.json").read_text())
    assert 0 <= result["oracle_wer"] <= result["wer"] and result["arcs_per_word"] > 0
    assert main([*arguments, "--rescore", str(tmp_path / "model" / "lm.arpa")]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["wer"] == pytest.approx(result["wer"], abs=0.01)
    assert main([*arguments, "--rescore", str(tmp_path / "no.arpa")]) == 2


@pytest.mark.parametrize("words", [["oh", "x"], ["oh", "x", "<unk>"], ["ah", "x"]])
def test_a_model_to_rescore_with_is_checked_before_recognising(words, untrained, tmp_path, capsys, monkeypatch):
    few = toy_corpus(tmp_path / "few", [0.5, 0.6])
    untrained.write(tmp_path / "model")
    other = ngram.train_ngrams([words[:2]], 2, words)
    other.write_arpa(tmp_path / "other.arpa")
    soundfile.write(tmp_path / "in.wav", np.zeros(8000), 16_000)
    monkeypatch.setattr("mdasr.recognize.network_scores.scores", None)
    for command, given in (("evaluate", few.directory), ("transcribe", tmp_path / "in.wav")):
        rescored = [command, str(tmp_path / "model"), str(given), "--rescore", str(tmp_path / "other.arpa")]
        assert main(rescored) == 2
        lacking = "1 of the model's 2 words: 's'" if "ah" in words else "2 of the model's 2 words: 'ah', 's'"
        assert f"other.arpa: lacks {lacking}" in capsys.readouterr().err
    check_rescoring(untrained, untrained.language.directory / "lm.arpa")
    ngram.train_ngrams([["ah", "x"]], 2, ["ah", "x", "<unk>"]).write_arpa(tmp_path / "open.arpa")
    check_rescoring(untrained, tmp_path / "open.arpa")  # where <unk> stands for `s`
    ngram.train_ngrams([["AH", "S"]], 2).write_arpa(tmp_path / "upper.arpa")
    check_rescoring(untrained, tmp_path / "upper.arpa")  # case is folded
