"""Corpora in other formats: fixtures in the true format, made here, are imported as the same utterances."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from mdasr.cli.main import main
from mdasr.corpus.entries import Choice
from mdasr.corpus.importers import read_source
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import import_corpus
from mdasr.corpus.records import Corpus
from tests.manifests import lines, noise, recording, supervision

D = Choice(domain="d")


def imported(source, out, choice=D):
    report = import_corpus(source, out, "c", choice)
    return {u.id: u for u in report.corpus}, {bad.id: bad.reason for bad in report.set_aside}


# --- Lhotse


@pytest.fixture
def lhotse(tmp_path):
    whole, two = noise(2), np.stack([noise(2, seed=1), noise(2, seed=2)], 1)
    soundfile.write(tmp_path / "a.wav", whole, 16_000)
    soundfile.write(tmp_path / "two.flac", two, 16_000)
    parts = [{"type": "file", "channels": [3, 5], "source": "two.flac"}]
    recordings = [
        recording("r1", tmp_path / "a.wav"),  # Lhotse's recipes write absolute paths
        recording("r2", "", sources=parts, channel_ids=[3, 5]),
        recording("r3", "", sources=[{"type": "command", "channels": [0], "source": "cat a.wav"}]),
        recording("r4", "", sources=[{"type": "url", "channels": [0], "source": "https://example.org/a.wav"}]),
        recording("r5", "a.wav", transforms=[{"name": "Speed", "kwargs": {"factor": 1.1}}]),
        recording("r6", "../a.wav"),
    ]
    return tmp_path, whole, two, recordings


def test_lhotse_recordings_with_supervisions(lhotse, tmp_path):
    folder, whole, two, recordings = lhotse
    lines(folder / "x_recordings_dev.jsonl.gz", recordings, compress=True)
    supervisions = [
        supervision("whole", "r1", custom={"split": "dev"}),
        supervision("part", "r1", 0.5, 1.0, speaker=None),
        supervision("second", "r2", 0.25, 0.5, channel=5),
        supervision("both", "r2", channel=[3, 5]),
        supervision("command", "r3"),
        supervision("url", "r4"),
        supervision("fast", "r5"),
        supervision("outside", "r6"),
        supervision("absent", "r7"),
        supervision("noise", "r1", text="<noise>"),
        supervision("beyond", "r1", 1.5, 1.0),
    ]
    lines(folder / "x_supervisions_dev.jsonl.gz", supervisions, compress=True)
    source = Origin("lhotse", folder / "x_recordings_dev.jsonl.gz")
    good, bad = imported(source, tmp_path / "out")
    assert set(good) == {"whole", "part", "second"}
    np.testing.assert_array_equal(good["whole"].wave, whole)
    np.testing.assert_array_equal(good["part"].wave, whole[8_000:24_000])
    np.testing.assert_array_equal(good["second"].wave, two[4_000:12_000, 1])
    assert (good["whole"].text, good["whole"].speaker, good["part"].speaker) == ("good morning", "s1", "r1")
    for name, reason in {
        "both": "only those of one channel", "command": "--allow-commands", "url": "type 'url'", "fast": "transformed",
        "outside": "--root DIR", "absent": "no recording 'r7'", "noise": "mark-up", "beyond": "lasts 2 s",
    }.items():  # fmt: skip
        assert reason in bad[name], name
    allowed = Origin("lhotse", source.path, allow_commands=True)
    good, bad = imported(allowed, tmp_path / "allowed")
    np.testing.assert_array_equal(good["command"].wave, whole)
    good, _ = imported(source, tmp_path / "dev", Choice({"split": "dev"}, domain="d"))
    assert set(good) == {"whole"}


def test_lhotse_cuts(lhotse, tmp_path):
    folder, whole, _, recordings = lhotse
    two = [supervision("u1", "r1", 0.25, 0.5), supervision("u2", "r1", -0.25, 0.5)]
    fields = {"start": 0.5, "duration": 1.0, "channel": 0, "recording": recordings[0], "type": "MonoCut"}
    cuts = [
        {"id": "c1", **fields, "supervisions": two},
        {"id": "c2", **fields, "supervisions": []},
        {"id": "c3", "type": "MixedCut", "tracks": []},
    ]
    path = lines(folder / "cuts.jsonl", cuts)
    path.write_text(path.read_text() + "{\n")
    good, bad = imported(Origin("lhotse", path), tmp_path / "out")
    np.testing.assert_array_equal(good["u1"].wave, whole[12_000:20_000])
    np.testing.assert_array_equal(good["u2"].wave, whole[4_000:12_000])
    assert "MixedCut" in bad["c3"] and "without supervision" in bad["c2"] and "not JSON" in bad[""]


def test_other_manifests_of_lhotse_are_refused(lhotse):
    folder, _, _, recordings = lhotse
    with pytest.raises(ValueError, match="this file has: supervision"):
        read_source(Origin("lhotse", lines(folder / "supervisions.jsonl", [supervision("u", "r1")])))
    with pytest.raises(FileNotFoundError, match="no such Lhotse manifest"):
        read_source(Origin("lhotse", folder))
    (folder / "supervisions.jsonl").unlink()
    lines(folder / "recordings.jsonl", recordings)
    with pytest.raises(FileNotFoundError, match=r"supervisions\.jsonl"):
        read_source(Origin("lhotse", folder))
    (folder / "recordings.jsonl.gz").write_bytes(gzip.compress(b"{}" * 999)[:-9])
    with pytest.raises(ValueError, match="damaged gzip"):
        read_source(Origin("lhotse", folder))


# --- Kaldi


def kaldi(folder, **tables):
    folder.mkdir(exist_ok=True)
    for name, rows in tables.items():
        (folder / {"wav": "wav.scp"}.get(name, name)).write_text("".join(f"{row}\n" for row in rows))
    return folder


def test_a_kaldi_directory_with_segments(tmp_path):
    audio, first, both = tmp_path / "audio", noise(2, 8_000), np.stack([noise(2, seed=1), noise(2, seed=2)], 1)
    audio.mkdir()
    soundfile.write(audio / "a.wav", first, 8_000)
    soundfile.write(audio / "b.flac", both, 16_000)
    folder = kaldi(
        tmp_path / "data",
        wav=[f"rec1 {audio}/a.wav", "rec2-B b.flac", "pipe cat b |", "ark x.ark:17", "out ../a.wav", "gone no.wav"],
        segments=[
            "u1 rec1 0.5 1.5", "u2 rec1 1.0 -1", "u3 rec2-B 0.5 1.0", "u4 pipe 0 1", "u5 ark 0 1", "u6 out 0 1",
            "u7 gone 0 1", "u8 rec1 x 1", "u9 recx 0 1",
        ],
        text=[*(f"u{i} GOOD MORNING" for i in range(1, 11)), "v1 [LAUGHTER] HELLO"],
        utt2spk=[*(f"u{i} s{i % 2}" for i in range(1, 10)), "v1 s1"],
        reco2file_and_channel=["rec1 a A", "rec2-B rec2 B"],
    )  # fmt: skip
    source = Origin("kaldi", folder, root=audio)
    good, bad = imported(source, tmp_path / "out")
    assert set(good) == {"u1", "u2", "u3"}
    assert [(good[u].seconds, good[u].source_rate_hz, good[u].speaker) for u in ("u1", "u2")] == [
        (1.0, 8_000, "s1"),
        (1.0, 8_000, "s0"),
    ]
    np.testing.assert_array_equal(good["u3"].wave, both[8_000:16_000, 1])
    for name, reason in {
        "u4": "is a command", "u5": "place in an archive", "u6": "--root DIR", "u7": "no such file",
        "u8": "recording start end", "u9": "wav.scp: there is no 'recx'", "u10": "segments: there is no 'u10'",
        "v1": "segments: there is no 'v1'",
    }.items():  # fmt: skip
        assert reason in bad[name], name


def test_kaldis_lines_end_at_line_feeds_alone(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1), 16_000)
    folder = kaldi(tmp_path / "data", wav=[f"u1 {tmp_path}/a.wav"], text=["u1 good\u2028morning"], utt2spk=["u1 s"])
    good, bad = imported(Origin("kaldi", folder, root=tmp_path), tmp_path / "out")
    assert (set(good), [*bad.values()]) == ({"u1"}, [])


def test_commands_of_kaldi_run_only_where_they_are_allowed(tmp_path):
    folder = kaldi(
        tmp_path / "data",
        wav=["u1 cat a.wav | tee ran |", "u2 echo oh no >&2; false |"],
        text=["u1 <COMMA> hello", "u2 hello"],
        utt2spk=["u1 s", "u2 s"],
    )
    soundfile.write(folder / "a.wav", noise(1), 16_000)
    with pytest.raises(ValueError, match=r"none of the 2 .*is a command; read what it does"):
        imported(Origin("kaldi", folder), tmp_path / "refused")
    assert not (folder / "ran").exists()
    arguments = ["import", "kaldi", str(folder), "--corpus", "c", "--domain", "d", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--allow-commands", "--drop", "<COMMA>"]) == 3
    (only,) = Corpus(tmp_path / "out")
    np.testing.assert_array_equal(only.wave, noise(1))
    assert only.text == "hello"
    assert "status 1: oh no" in (tmp_path / "out" / "set_aside.jsonl").read_text()


def test_kaldi_directories_that_are_none(tmp_path):
    folder = kaldi(tmp_path / "data", wav=["u1 a.wav", "u1 b.wav"], text=["u1 hello"])
    with pytest.raises(ValueError, match=r"wav\.scp: line 2: the key occurs twice"):
        read_source(Origin("kaldi", folder))
    kaldi(folder, wav=["u1 a.wav"])
    with pytest.raises(FileNotFoundError, match="utt2spk: no such file; a Kaldi"):
        read_source(Origin("kaldi", folder))


# --- NeMo


def test_a_nemo_manifest(tmp_path):
    (tmp_path / "sub").mkdir()
    soundfile.write(tmp_path / "sub" / "a.wav", noise(2), 16_000)
    base = {"audio_filepath": "sub/a.wav", "text": "good morning", "duration": 2.0}
    rows = [
        base,
        {**base, "audio_filepath": str(tmp_path / "sub" / "a.wav"), "offset": 0.5, "duration": 1.0, "speaker": "s7"},
        {**base, "duration": 1.0, "id": "short"},
        {**base, "audio_filepath": None},
        {**base, "audio_filepath": "/etc/hosts"},
        {**base, "offset": "0.5", "id": "odd"},
    ]
    good, bad = imported(Origin("nemo", lines(tmp_path / "m.json", rows)), tmp_path / "out")
    assert {name: u.speaker for name, u in good.items()} == {"sub/a": "sub/a", "sub/a-00000500": "s7"}
    np.testing.assert_array_equal(good["sub/a-00000500"].wave, noise(2)[8_000:24_000])
    assert "duration_s is 1 s" in bad["short"] and "--root DIR" in bad["/etc/hosts"] and "in seconds" in bad["odd"]
    assert "audio_filepath" in bad[""]


# --- Common Voice


def test_a_split_of_common_voice(tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    for name in ("common_voice_en_1.mp3", "common_voice_en_2.mp3"):
        soundfile.write(tmp_path / "clips" / name, noise(1.5, 32_000), 32_000)
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\n"
    rows = [
        'abc\tcommon_voice_en_1.mp3\tx\t"Hello," she said.\t2\t0\t\t\t',
        "abc\tcommon_voice_en_2\tx\tIt’s “fine”\t3\t0\t\tmale\tIreland",
        "abc\tcommon_voice_en_3.mp3\tx\t3 mice\t2\t0\t\t\t",
        "abc\tcommon_voice_en_4.mp3\tx",
        "abc\tcommon_voice_en_5.mp3\tx\tNobody here\t2\t0\t\t\t",
    ]
    (tmp_path / "dev.tsv").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    good, bad = imported(Origin("commonvoice", tmp_path, split="dev"), tmp_path / "out")
    assert [u.text for u in good.values()] == ["hello she said", "it's fine"]
    assert {(u.speaker, u.source_rate_hz) for u in good.values()} == {("abc", 32_000)}
    assert "--spell-numbers" in bad["common_voice_en_3"] and "no such file" in bad["common_voice_en_5"]
    assert "cells than columns" in bad[""]
    good, _ = imported(
        Origin("commonvoice", tmp_path, split="dev"), tmp_path / "m", Choice({"gender": "male"}, {}, "d")
    )
    assert set(good) == {"common_voice_en_2"}
    arguments = ["import", "commonvoice", str(tmp_path), "--corpus", "c", "--out", str(tmp_path / "no")]
    assert main(arguments) == 2
    assert "give a --split; there are dev" in capsys.readouterr().err
    assert main([*arguments, "--split", "dev"]) == 2
    assert "give --domain NAME" in capsys.readouterr().err


# --- Hugging Face


@pytest.fixture
def table(tmp_path):
    """Return five rows in the form in which `datasets` stores its feature Audio: a struct of bytes and path."""
    cells = []
    for i in range(5):
        path = tmp_path / f"{i}.flac"
        soundfile.write(path, noise(1, seed=i), 16_000)
        cells.append({"bytes": path.read_bytes(), "path": path.name})
    cells[3] = {"bytes": None, "path": "3.flac"}
    columns = {
        "audio": pyarrow.array(cells, pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})),
        "sentence": ["Good morning"] * 4 + ["[oops]"],
        "speaker_id": [7, 7, 8, 8, 8],
        "options": [["a"]] * 5,
    }
    return pyarrow.table(columns)


NAMED = Choice(fields={"text": "sentence", "speaker": "speaker_id"}, domain="d")


def saved_to_disk(folder, table, split):
    folder.mkdir(parents=True)
    names = []
    for i, part in enumerate((table.slice(0, 2), table.slice(2))):
        names.append({"filename": f"data-{i:05d}-of-00002.arrow"})
        with pyarrow.ipc.new_stream(folder / names[-1]["filename"], table.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": names, "_fingerprint": "1f", "_split": split}))
    (folder / "dataset_info.json").write_text("{}")


def check_rows(good, bad, prefix):
    assert [(u.id, u.text, u.speaker) for u in good.values()] == [
        (f"{prefix}-{i:08d}", "good morning", s) for i, s in enumerate("778")
    ]
    for i, utterance in enumerate(good.values()):
        np.testing.assert_array_equal(utterance.wave, noise(1, seed=i))
    assert "holds no audio" in bad[f"{prefix}-00000003"] and "mark-up" in bad[f"{prefix}-00000004"]


def test_rows_without_an_id_are_numbered(tmp_path, table):
    saved_to_disk(tmp_path / "set" / "train", table.append_column("id", pyarrow.array([None] * 5, "string")), "train")
    check_rows(*imported(Origin("huggingface", tmp_path / "set" / "train"), tmp_path / "out", NAMED), "train")


def test_a_data_set_saved_to_disk(tmp_path, table):
    saved_to_disk(tmp_path / "set" / "train", table, "train")
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    whole, alone = Origin("huggingface", tmp_path / "set", split="train"), Origin("huggingface", tmp_path / "set/train")
    check_rows(*imported(whole, tmp_path / "out", NAMED), "train")
    check_rows(*imported(alone, tmp_path / "alone", NAMED), "train")
    with pytest.raises(ValueError, match=r"no split 'dev'; give a --split: train, test"):
        read_source(Origin("huggingface", tmp_path / "set", split="dev"))
    state = tmp_path / "set" / "train" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": "../../x.arrow"}], "_split": "train"}))
    with pytest.raises(ValueError, match="is outside the folder"):
        read_source(alone)
    state.write_text(json.dumps({"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}))
    with pytest.raises(ValueError, match="flatten_indices"):
        read_source(alone)


def test_a_folder_of_parquet_files(tmp_path, table):
    (tmp_path / "set" / "data").mkdir(parents=True)
    for name, part in (("train-00000-of-00002", table.slice(0, 1)), ("train-00001-of-00002", table.slice(1))):
        pyarrow.parquet.write_table(part, tmp_path / "set" / "data" / f"{name}.parquet", row_group_size=2)
    (tmp_path / "set" / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    source = Origin("huggingface", tmp_path / "set", split="train")
    check_rows(*imported(source, tmp_path / "out", NAMED), "train")
    with pytest.raises(ValueError, match=r"give a --split: test, train"):
        read_source(Origin("huggingface", tmp_path / "set"))
    with pytest.raises(ValueError, match="not a valid Parquet file"):
        read_source(Origin("huggingface", tmp_path / "set", split="test"))
    with pytest.raises(FileNotFoundError, match="Parquet files"):
        read_source(Origin("huggingface", tmp_path))


def test_what_needs_pyarrow_says_so_where_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow is missing; install it with pip install 'mdasr\[huggingface\]'"):
        read_source(Origin("huggingface", tmp_path))


def test_splits_and_formats_that_are_not_there():
    with pytest.raises(ValueError, match="only commonvoice and huggingface have splits"):
        read_source(Origin("nemo", Path("m.json"), split="train"))
    with pytest.raises(ValueError, match="unknown format 'wav'"):
        read_source(Origin("wav", Path("m.json")))
