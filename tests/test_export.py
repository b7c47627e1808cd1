"""An exported model gives the same words without Flax, for one stream and many; damaged ones are refused."""

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mdasr import frontend
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig, init_params
from mdasr.cli.main import main
from mdasr.recognize.export import export_model
from mdasr.recognize.network_scores import Streamed, features_of, scores
from mdasr.recognize.serve import Served
from mdasr.recognize.streaming import Listener, listen, window_samples
from mdasr.recognize.words import recognize
from tests.toy_speech import TREE


@pytest.fixture(scope="module")
def recognizer(untrained):
    config = ModelConfig(LSTM((8, 6), output_delay=5), TREE.num_leaves, members=2)
    return dataclasses.replace(untrained, config=config, params=init_params(config, 1))


@pytest.fixture(scope="module")
def exported(recognizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    export_model(recognizer, directory)
    return directory


def whole(network, wave):
    """Feed everything as one sentence, in chunks of odd sizes."""
    listener = Listener(network, np.inf)
    found = [heard for part in np.array_split(wave, 7) for heard in listener.accept(part)]
    return [*found, *listener.finish()]


def test_words_and_scores_are_those_of_the_model(recognizer, exported, corpus):
    served = Served.read(exported)
    waves = [utterance.samples for utterance in corpus][:8]
    found = [whole(served, wave) for wave in waves]
    assert [each[-1].words for each in found] == [h.words for h in recognize(recognizer, waves)]
    assert [[h.words for h in each] for each in found] == [
        [h.words for h in whole(Streamed(recognizer), w)] for w in waves
    ]
    assert any(each[-1].words for each in found)


def test_a_network_in_bfloat16_carries_its_cells_in_float32(recognizer, tmp_path, corpus):
    config = dataclasses.replace(recognizer.config, compute_dtype="bfloat16")
    export_model(dataclasses.replace(recognizer, config=config), tmp_path)
    served, wave, state, own = Served.read(tmp_path), corpus[0].samples, None, None
    window, rounded = window_samples(served), Streamed(dataclasses.replace(recognizer, config=config))
    heard = 0, frontend.num_frames(window)
    for start in range(0, len(wave) - window, served.chunk * 480):
        found, state = served.answer(wave[start : start + window], heard, state)
        wanted, own = rounded.answer(wave[start : start + window], heard, own)
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_many_streams_at_once_are_scored_as_each_alone(recognizer, exported, corpus):
    served, delay = Served.read(exported), recognizer.output_delay
    waves = [corpus[i].samples for i in range(3)]
    frames = np.array([frontend.num_frames(len(wave)) for wave in waves])
    window, advance = window_samples(served), served.chunk * 480
    chunks = -(-(served.subsampling.num_steps(frames.max()) + delay) // served.chunk)
    padded = np.zeros((3, chunks * advance + window), np.float32)
    for row, wave in zip(padded, waves):
        row[: len(wave)] = wave
    state, parts = np.zeros((3, served.state_size), np.float32), []
    for i in range(chunks):
        left = np.maximum(frames - 3 * i * served.chunk, 0)
        heard = np.stack([np.zeros_like(left), left], axis=1).astype(np.int32)
        part, state = served.answers(padded[:, i * advance : i * advance + window], heard, state)
        parts.append(np.asarray(part))
    together = np.concatenate(parts, axis=1)
    for row, wanted in zip(together, scores(recognizer, [features_of(recognizer, wave) for wave in waves])):
        np.testing.assert_allclose(row[delay : delay + len(wanted)], wanted, atol=2e-3)


SCRIPT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        refused = ("flax", "optax", "orbax", "grain", "mdasr.acoustic", "mdasr.model.directory")
        if any(f"{name}.".startswith(f"{each}.") for each in refused):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Refuse())
import jax
import numpy as np
from mdasr.recognize.serve import Served
from mdasr.recognize.streaming import listen
for heard in listen(Served.read(sys.argv[1]), np.array_split(np.load(sys.argv[2]), 9), pause_s=np.inf):
    if heard.final:
        print(" ".join(heard.words))
"""


@pytest.mark.slow
def test_a_program_without_flax_hears_the_same(recognizer, exported, corpus, tmp_path):
    np.save(tmp_path / "wave.npy", corpus[2].samples)
    command = [sys.executable, "-c", SCRIPT, str(exported), str(tmp_path / "wave.npy")]
    found = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == list(recognize(recognizer, [corpus[2].samples])[0].words)


def test_the_snippet_in_the_documentation_runs(recognizer, exported, corpus):
    import mdasr.recognize.serve

    snippet = mdasr.recognize.serve.__doc__.split("\n\n")[-1].replace('"DIR/', f'"{exported}/')
    lines = "\n".join(line[4:] for line in snippet.splitlines())
    for wave in (corpus[1].samples, corpus[2].samples[:-123], corpus[0].samples[:2000]):
        names = {"wave": wave}
        exec("import json, jax, jax.export\nimport numpy as np\nfrom pathlib import Path\n" + lines, names)
        wanted = scores(recognizer, [features_of(recognizer, wave)])[0]
        np.testing.assert_allclose(names["scores"], wanted, atol=2e-3)


def test_the_command_exports_and_compares(untrained, corpus, tmp_path, monkeypatch, capsys):
    untrained.write(tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--out", str(tmp_path / "served")]
    assert main([*arguments, "--check", str(corpus.directory)]) == 0
    assert f"the same words in {len(corpus)} of {len(corpus)} utterances" in capsys.readouterr().out
    assert (tmp_path / "served" / "graph" / "HCLG.fst").exists() and (tmp_path / "served" / "tree.txt").exists()
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(corpus[1].wave.tobytes())}))
    assert main(["transcribe", str(tmp_path / "served"), "--stream"]) == 0
    expected = [" ".join(h.words) for h in listen(Streamed(untrained), [corpus[1].samples]) if h.final]
    assert capsys.readouterr().out.splitlines() == expected
    assert main([*arguments[:-1], str(tmp_path / "model")]) == 2
    assert "is the model itself" in capsys.readouterr().err


def test_damaged_exports_are_explained(untrained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not an export: it has no serve\.json"):
        Served.read(tmp_path)
    export_model(untrained, tmp_path)
    path = tmp_path / "model.stablehlo"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.stablehlo: not the file that serve\.json describes"):
        Served.read(tmp_path)
    described = json.loads((tmp_path / "serve.json").read_text())
    (tmp_path / "serve.json").write_text(json.dumps(described | {"format": 99}))
    with pytest.raises(ValueError, match="not of format 2"):
        Served.read(tmp_path)


def test_an_export_names_the_jax_that_it_needs(untrained, tmp_path, monkeypatch, capsys):
    """A function with an operation that only a newer jax knows."""
    untrained.write(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "served")]) == 0
    assert f"needs jax {jax.__version__} or a later one" in capsys.readouterr().out
    path, described = tmp_path / "served" / "model.stablehlo", tmp_path / "served" / "serve.json"
    newer = path.read_bytes().replace(b"add_v1", b"add_v9")
    assert newer != path.read_bytes()
    path.write_bytes(newer)
    content = json.loads(described.read_text()) | {"jax": "9.8.7", "sha256": hashlib.sha256(newer).hexdigest()}
    described.write_text(json.dumps(content))
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO()}))
    assert main(["transcribe", str(tmp_path / "served"), "--stream"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "model.stablehlo: needs jax 9.8.7" in message and f"jax {jax.__version__} is installed" in message
    assert "pip install 'jax==9.8.7'" in message
