"""The pages of docs/contributing: their code runs as it stands there, and does what the page says."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
import soundfile

import experiments.__main__ as registry
from experiments.models import VSD, VSD_NOISE
from mdasr.acoustic.criteria import CRITERIA, read_criterion
from mdasr.acoustic.criteria.interface import Criterion
from mdasr.acoustic.encoders import ENCODERS, read_encoder
from mdasr.acoustic.encoders.interface import Encoder, PackedFrames
from mdasr.acoustic.network import ModelConfig, init_params, log_posteriors
from mdasr.corpus.importers import FORMATS, read_source
from mdasr.corpus.listing import Origin
from mdasr.perturb import codec

PAGES = Path(__file__).parent.parent / "docs" / "contributing"
TABLES = {
    "CODERS": codec.CODERS,
    "FORMATS": FORMATS,
    "ENCODERS": ENCODERS,
    "CRITERIA": CRITERIA,
    "BEYOND": registry.BEYOND,
}


@pytest.fixture
def follow(monkeypatch):
    """Run all Python of a page, in order, as one module that knows the tables; what it adds to them is undone."""

    def run(page: str) -> dict[str, object]:
        module = ModuleType("followed")
        monkeypatch.setitem(sys.modules, "followed", module)
        vars(module).update(TABLES | {"Coder": codec.Coder, "Sndfile": codec.Sndfile})
        blocks = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        assert len(blocks) == 2
        for block in blocks:
            exec(compile(block, page, "exec", dont_inherit=True), vars(module))
        return vars(module)

    with ExitStack() as stack:
        for table in TABLES.values():
            stack.enter_context(patch.dict(table))
        yield run


def test_the_codec_lies_on_its_input_at_the_quality_of_32_kbps(follow, capsys):
    space = follow("codec.md")
    assert capsys.readouterr().out == "0\n"
    wave, coded = space["wave"], space["coded"]
    assert 0.003 < np.sum((coded - wave) ** 2) / np.sum(wave**2) < 0.05


def test_the_importer_lists_recordings_and_says_what_is_wrong_with_a_line(follow, tmp_path):
    follow("importer.md")
    (tmp_path / "metadata.csv").write_text("LJ-1|No. 1|number one\nLJ-2|two cells\n", encoding="utf-8")
    listing = read_source(Origin("ljspeech", tmp_path))
    good, bad = listing.entries
    assert good.fields == {"id": "LJ-1", "audio": "wavs/LJ-1.wav", "text": "number one", "speaker": "reader"}
    assert "2 cells" in bad.problem
    with pytest.raises(FileNotFoundError, match=r"metadata\.csv"):
        read_source(Origin("ljspeech", tmp_path / "elsewhere"))


def test_what_the_importer_lists_becomes_a_corpus(follow, tmp_path):
    from mdasr.cli.main import main

    follow("importer.md")
    (tmp_path / "wavs").mkdir()
    (tmp_path / "metadata.csv").write_text("LJ-1|No. 1|number one\nLJ-2|two cells\n", encoding="utf-8")
    noise = np.random.default_rng(0).standard_normal(16_000) / 10
    soundfile.write(tmp_path / "wavs" / "LJ-1.wav", noise, 16_000)
    arguments = ["import", "ljspeech", str(tmp_path), "--corpus", "lj", "--domain", "Dictation"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 3  # a line was set aside
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["utterances"] == 1


def test_the_encoder_keeps_the_interface_and_its_three_rules(follow):
    made = follow("encoder.md")["GRU"]((6, 5))
    assert isinstance(made, Encoder)
    assert read_encoder(json.loads(json.dumps(dataclasses.asdict(made))), "field encoder") == made
    config = ModelConfig(made, 4)
    params = init_params(config, 0)
    frames = np.random.default_rng(0).standard_normal((2, made.subsampling.num_frames(12), 128)).astype(np.float32)
    whole, _ = log_posteriors(config, params, PackedFrames(frames, np.ones(frames.shape[:2], np.int32)))
    later = np.concatenate([frames[:, :16], frames[:, 16:] + 1], axis=1)
    other, _ = log_posteriors(config, params, PackedFrames(later, np.ones(frames.shape[:2], np.int32)))
    np.testing.assert_array_equal(whole[:, :5], other[:, :5])
    assert np.abs(whole - other)[:, 5:].max() > 1e-3
    segments = np.repeat([[1] * 15 + [2] * (frames.shape[1] - 15)], 2, axis=0).astype(np.int32)
    packed, _ = log_posteriors(config, params, PackedFrames(frames, segments))
    alone, _ = log_posteriors(config, params, PackedFrames(frames[:, 15:], segments[:, 15:] - 1))
    np.testing.assert_allclose(packed[:, 5:], alone, atol=1e-5)


def test_the_criterion_is_cross_entropy_less_entropy(follow):
    made = follow("criterion.md")["ConfidencePenalty"](0.5)
    assert isinstance(made, Criterion)
    assert read_criterion({"name": "confidence_penalty", "share": 0.5}, "field criterion") == made
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]], np.float32))
    batch = {"labels": np.array([[0, 1]]), "weights": np.array([[1.0, 0.0]], np.float32)}
    assert float(made.loss(logits, batch).total) == pytest.approx(np.log(2) - 0.5 * 1.5 * np.log(2), rel=1e-5)
    assert float(made.watched(logits, batch)) == pytest.approx(np.log(2), rel=1e-5)


def test_the_table_needs_models_that_are_trained_already(follow):
    (table,) = follow("table.md")["BEYOND"]["noisecodecs"]
    assert {model for model, _ in table.pairs().values()} == {VSD, VSD_NOISE}
    assert len(table.pairs()) == 6
