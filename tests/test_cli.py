"""The command line as people use it: results on standard output, clear errors, exit statuses."""

import json

import numpy as np
import pytest
import soundfile

from mdasr.cli import main
from mdasr.perturb import Recipe


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "in.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(22_050) / 5) * (np.arange(22_050) % 4000 < 2500), 22_050)
    return path


def test_perturb_prints_a_recipe_that_replays_to_the_same_samples(recording, tmp_path, capsys):
    first, again = tmp_path / "first.wav", tmp_path / "again.flac"
    assert main(["perturb", str(recording), str(first), "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert Recipe.from_json(printed).room is not None
    assert main(["perturb", str(recording), str(again), "--recipe", printed]) == 0
    (a, rate_hz), (b, _) = (soundfile.read(path, dtype="int16") for path in (first, again))
    assert rate_hz == 16_000
    np.testing.assert_array_equal(a, b)
    assert len(a) == 16_000  # the same second


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("{", "not JSON"), ('{"version": 99}', "version 99"), ('{"version": 1, "room": null}', "needs the fields")],
)
def test_a_broken_recipe_is_explained(recording, tmp_path, capsys, recipe, message):
    assert main(["perturb", str(recording), str(tmp_path / "out.wav"), "--recipe", recipe]) == 2
    assert message in capsys.readouterr().err


def test_import_tells_what_it_set_aside(recording, tmp_path, capsys):
    rows = [
        {"id": "a", "audio": "in.wav", "text": "Yes.", "speaker": "s", "domain": "d"},
        {"id": "b", "audio": "../in.wav", "text": "no", "speaker": "s", "domain": "d"},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["import", "manifest", str(manifest), "--corpus", "c", "--out", str(tmp_path / "c")]
    assert main(arguments) == 3
    printed = capsys.readouterr().out
    assert "1 utterances" in printed
    assert "line 2 (b)" in printed
    assert main(arguments) == 3, "what is done already is reported again"


def test_a_missing_manifest_is_an_error_not_a_traceback(tmp_path, capsys):
    assert main(["import", "manifest", str(tmp_path / "no"), "--corpus", "c", "--out", str(tmp_path / "c")]) == 2
    assert "no such manifest" in capsys.readouterr().err
