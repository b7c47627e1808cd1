"""The folder of a model for others: its files are the model, and its card says what it was made of."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from mdasr.acoustic.row_schedule import Source, subset
from mdasr.cli.main import main
from mdasr.corpus.manifest import import_manifest
from mdasr.model.directory import Recognizer
from mdasr.perturb import Policy
from mdasr.recognize.words import recognize
from mdasr.training.pool import card_facts

MADE_OF = {"scale.name": "little", "scale.speeds": [0.9, 1.1], "noise_on": ["toy"], "codecs": [], "augment": []}
MADE_OF |= {"warp": False, "parent": ""}
SPEECH = [
    {"corpus": "my", "domain": "home", "hours": 1.25, "speakers": 7, "licences": {"CC BY 4.0": 9, "CC0": 1}},
    {"corpus": "other", "domain": "call", "hours": 0.5, "speakers": 2, "licences": {}},
]
CELLS = [
    {"label": "toy (Toy)", "condition": "clean", "wer": 12.34, "ci95": [10.0, 14.25]},
    {"label": "toy (Toy)", "condition": "8khz", "wer": 20.0, "ci95": None},
]
FACTS = {"made_of": MADE_OF, "corpora": SPEECH, "steps": 12_000, "seconds": 61.4, "device": "1 x cpu"}


@pytest.fixture
def made(untrained, tmp_path):
    """The command for a model directory with a checkpoint, and a result of one corpus in two conditions."""
    dataclasses.replace(untrained, facts={**untrained.facts, **FACTS}).write(tmp_path / "model")
    (tmp_path / "model" / "checkpoints").mkdir()
    result = {"model": str(tmp_path / "model"), "cells": CELLS}
    (tmp_path / "result.json").write_text(json.dumps(result))
    return ["release", result["model"], "--results", str(tmp_path / "result.json"), "--out", str(tmp_path / "base")]


def test_a_released_model_is_the_model_with_a_card(made, corpus, tmp_path, capsys):
    assert main([*made, "--licence", "other=Apache-2.0"]) == 0
    card = (tmp_path / "base" / "README.md").read_text()
    assert capsys.readouterr().out.endswith(card + "\n")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line[:1] == "|"]
    assert ["my", "home", "1.25", "7", "CC BY 4.0; CC0"] in lines
    assert ["other", "call", "0.50", "2", "Apache-2.0"] in lines
    assert ["WER in %", "clean", "8khz"] in lines
    assert ["toy (Toy)", "12.3 [10.0, 14.2]", "20.0"] in lines
    assert "8 kHz, speeds 0.9, 1.1, rooms and noise." in card and "MP3" not in card
    assert not (tmp_path / "base" / "checkpoints").exists()
    model, released = Recognizer.read(tmp_path / "model"), Recognizer.read(tmp_path / "base")
    wave = corpus[0].samples
    assert [best.words for best in recognize(released, [wave])] == [best.words for best in recognize(model, [wave])]
    assert released.facts == model.facts
    assert main([*made, "--licence", "other=Apache-2.0"]) == 2
    assert "base holds a model already" in capsys.readouterr().err


def test_a_licence_that_is_missing_is_named(made, tmp_path, capsys):
    for options, message in (
        ([], "the licence of other is not stated. Give --licence other=TEXT"),
        (["--licence", "other"], "--licence other: write CORPUS=TEXT"),
        (["--licence", "others=CC0", "--licence", "other=CC0"], "--licence others: the model was not trained on such"),
    ):
        assert main([*made, *options]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "base").exists()


def test_results_of_another_model_and_models_without_corpora_are_refused(made, untrained, tmp_path, capsys):
    result = tmp_path / "result.json"
    found = json.loads(result.read_text())
    result.write_text(json.dumps({**found, "model": "elsewhere"}))
    assert main(made) == 2 and "the result of elsewhere, not of" in capsys.readouterr().err
    result.write_text("[]")
    assert main(made) == 2 and "result.json" in capsys.readouterr().err
    result.write_text(json.dumps(found))
    dataclasses.replace(untrained, facts={"made_of": MADE_OF}).write(tmp_path / "model")
    assert main(made) == 2 and "does not say which corpora it is made of" in capsys.readouterr().err


def test_licences_of_a_manifest_are_counted(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    row, stated = {"audio": "a.wav", "text": "yes", "speaker": "s", "domain": "d"}, ["CC0", "CC0", None, "CC BY 4.0", 4]
    rows = [{**row, "id": str(i), "licence": licence} for i, licence in enumerate(stated)]
    rows += [{**row, "id": "5", "audio": "b.wav", "licence": "CC0"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = import_manifest(tmp_path / "m.jsonl", tmp_path / "c", "c")
    assert report.corpus.info["licences"] == {"CC BY 4.0": 1, "CC0": 2}
    assert report.set_aside[0].reason == "field licence: must be a text, not 4"
    (tmp_path / "n.jsonl").write_text(json.dumps({**row, "id": "0"}))
    assert "licences" not in import_manifest(tmp_path / "n.jsonl", tmp_path / "d", "d").corpus.info


def test_the_facts_of_a_card_are_those_of_the_speech_that_trains(corpus):
    part = subset(Source(corpus, "exact", Policy()), 0.5)
    hours = round(part.seconds() / 3600, 2)
    assert card_facts(part) == {"corpus": "toy", "domain": "Toy", "speakers": 3, "hours": hours, "licences": {}}
