"""The Apache Beam pipeline, with Beam's local runner, writes the same as local processes."""

import json

import numpy as np
import pytest
import soundfile

from mdasr.corpus.beam_shards import in_pipeline
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import import_corpus

LOCAL = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.fixture
def source(tmp_path):
    rows = []
    for i in range(11):
        name = f"u{i}"
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(i).uniform(-0.1, 0.1, 8000 + i), 8000)
        rows.append({"id": name, "audio": f"{name}.wav", "text": "good morning", "speaker": "s", "domain": "d"})
    (tmp_path / "u5.wav").write_bytes(b"RIFF")
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Origin("manifest", tmp_path / "m.jsonl")


@pytest.mark.filterwarnings("default")  # Beam's own
def test_the_pipeline_writes_the_same_files(source, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra `beam`)")
    here = import_corpus(source, tmp_path / "here", "c", rows_per_shard=3)
    there = import_corpus(source, tmp_path / "there", "c", rows_per_shard=3, run=in_pipeline([LOCAL]))
    assert there.set_aside == here.set_aside and [bad.id for bad in there.set_aside] == ["u5"]
    files = [{path.name: path.read_bytes() for path in report.corpus.directory.iterdir()} for report in (here, there)]
    assert files[0] == files[1]


def test_what_needs_beam_says_so_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"Apache Beam is missing; install it with pip install 'mdasr\[beam\]'"):
        in_pipeline([])
