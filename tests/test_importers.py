"""Corpora in other formats: fixtures in the true format, made here, are imported as the same utterances."""

import gzip
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from mdasr.cli.main import main
from mdasr.corpus.audio_files import to_int16
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


def test_lhotse_cuts_of_stereo_calls(lhotse):
    folder, _, two, recordings = lhotse
    call = {"start": 0.5, "duration": 1.0, "channel": [3, 5], "recording": recordings[1], "type": "MultiCut"}
    spoken = [
        supervision("left", "r2", 0.25, 0.5, channel=[3]),
        supervision("right", "r2", 0.25, 0.5, channel=5),
        supervision("both", "r2", 0.25, 0.5, channel=[3, 5]),
    ]
    path = lines(folder / "cuts.jsonl", [{"id": "c1", **call, "supervisions": spoken}])
    good, bad = imported(Origin("lhotse", path), folder / "out")
    np.testing.assert_array_equal(good["left"].wave, two[12_000:20_000, 0])
    np.testing.assert_array_equal(good["right"].wave, two[12_000:20_000, 1])
    assert "channels [3, 5]; only those of one channel" in bad["both"]


def resampling(*rates_hz):
    """A recording's transforms by one call of `resample` after another."""
    pairs = itertools.pairwise(rates_hz)
    return [{"name": "Resample", "kwargs": {"source_sampling_rate": a, "target_sampling_rate": b}} for a, b in pairs]


def test_resampling_is_passed_over_where_it_takes_nothing_away(lhotse):
    """The manifest has the rate after resampling, the file the one before it."""
    folder, *_ = lhotse
    soundfile.write(folder / "high.wav", noise(2, 44_100), 44_100)
    soundfile.write(folder / "low.wav", noise(2, 8_000), 8_000)
    recordings = [
        recording("as_is", "high.wav", sampling_rate=44_100),
        recording("restated", "high.wav", transforms=resampling(44_100, 16_000)),
        recording("twice", "high.wav", sampling_rate=24_000, transforms=resampling(44_100, 16_000, 24_000)),
        recording("raised", "low.wav", transforms=resampling(8_000, 16_000)),
        recording("narrowed", "high.wav", sampling_rate=8_000, transforms=resampling(44_100, 8_000)),
        recording("lost", "high.wav", transforms=resampling(44_100, 8_000, 16_000)),
        recording("faster", "high.wav", transforms=[*resampling(44_100, 16_000), {"name": "Speed", "kwargs": {}}]),
        recording("another", "low.wav", transforms=resampling(44_100, 16_000)),
    ]
    lines(folder / "recordings.jsonl", recordings)
    lines(folder / "supervisions.jsonl", [supervision(r["id"], r["id"], 0.5, 1.0) for r in recordings])
    good, bad = imported(Origin("lhotse", folder), folder / "out")
    assert {name: u.source_rate_hz for name, u in good.items()} == {
        "as_is": 44_100, "restated": 44_100, "twice": 44_100, "raised": 8_000,
    }  # fmt: skip
    np.testing.assert_array_equal(good["restated"].wave, good["as_is"].wave)
    np.testing.assert_array_equal(good["twice"].wave, good["as_is"].wave)
    assert all("is transformed" in bad[name] for name in ("narrowed", "lost", "faster"))
    assert "sample_rate is 44100 Hz, but the file has 8000" in bad["another"]


def test_lhotses_own_fields_do_not_cut_recordings(lhotse):
    """A custom field may be called like one of ours. Speakers may be numbers."""
    folder, whole, *_ = lhotse
    path = lines(folder / "recordings.jsonl", [recording("r1", "a.wav")])
    custom = {"start_s": 1.0, "end_s": 1.5, "take": 3}
    lines(folder / "supervisions.jsonl", [supervision("u", "r1", custom=custom, speaker=0)])
    good, _ = imported(Origin("lhotse", path), folder / "out", Choice({"start_s": "1.0"}, domain="d"))
    np.testing.assert_array_equal(good["u"].wave, whole)
    assert good["u"].speaker == "0"
    named = Choice(fields={"start_s": "start_s", "end_s": "end_s", "duration_s": "none"}, domain="d")
    good, _ = imported(Origin("lhotse", path), folder / "cut", named)
    np.testing.assert_array_equal(good["u"].wave, whole[16_000:24_000])


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


@pytest.fixture
def stereo(tmp_path):
    """A data directory of two channels with an utterance in each, and the samples of the channels."""
    both = np.stack([noise(2, seed=1), noise(2, seed=2)], 1)
    folder = kaldi(
        tmp_path / "data",
        wav=["L both.wav", "R both.wav", "M mono.wav"],
        segments=["l L 0.5 1.5", "r R 0.5 1.5", "m M 0.5 1.5"],
        text=["l left", "r right", "m mono"],
        utt2spk=["l a", "r b", "m c"],
    )
    soundfile.write(folder / "both.wav", both, 16_000)
    soundfile.write(folder / "mono.wav", noise(2, seed=3), 16_000)
    return folder, {"l": both[8_000:24_000, 0], "r": both[8_000:24_000, 1], "m": noise(2, seed=3)[8_000:24_000]}


@pytest.mark.parametrize("names", ["AB", "01", "12"])
def test_channels_of_kaldi_are_counted_as_the_whole_file_counts_them(stereo, tmp_path, names):
    folder, expected = stereo
    kaldi(folder, reco2file_and_channel=[f"L call {names[0]}", f"R call {names[1]}", f"M call {names[1]}"])
    good, bad = imported(Origin("kaldi", folder), tmp_path / "out")
    assert not bad
    for name, wave in expected.items():
        np.testing.assert_array_equal(good[name].wave, wave)


@pytest.mark.parametrize(("left", "right"), [("A", "1"), ("0", "B"), ("a", "b")])
def test_channels_that_are_counted_in_two_ways_are_refused(stereo, tmp_path, left, right):
    folder, _ = stereo
    kaldi(folder, reco2file_and_channel=[f"L call {left}", f"R call {right}", "M call A"])
    good, bad = imported(Origin("kaldi", folder), tmp_path / "out")
    assert set(good) == {"m"}, "a recording with one channel needs no name"
    assert "write letters (A, B) or numbers in the whole file" in bad["l"] and bad["l"].count("channel") == 2
    assert "write letters" in bad["r"]


def test_the_fifth_column_of_segments_is_the_channel(stereo, tmp_path):
    folder, expected = stereo
    segments = [
        "l L 0.5 1.5 0",
        "r L 0.5 1.5 1",
        "m M 0.5 1.5",
        "x L 0.5 1.5 2",
        "y L 0 1 B",
        "z L 0 1 0 1",
        "n L 0 1 -1",
    ]
    text = [f"{line.split()[0]} words" for line in segments]
    kaldi(folder, segments=segments, text=text, utt2spk=[f"{line.split()[0]} s" for line in segments])
    good, bad = imported(Origin("kaldi", folder), tmp_path / "out")
    assert set(good) == set(expected)
    for name, wave in expected.items():
        np.testing.assert_array_equal(good[name].wave, wave)
    assert "there is no channel 2" in bad["x"] and "field channel" in bad["n"]
    assert "and a channel (from 0)" in bad["y"] and "and a channel (from 0)" in bad["z"]
    kaldi(folder, reco2file_and_channel=["L call A"])
    good, bad = imported(Origin("kaldi", folder), tmp_path / "again")
    assert set(good) == {"l", "m"} and "names A for L; correct one of them" in bad["r"]


def test_blank_lines_of_kaldi_are_passed_over(tmp_path):
    folder = kaldi(
        tmp_path / "data",
        wav=["", "rec a.wav", ""],
        segments=["u1 rec 0 1", "  ", "u2 rec 1 2", "u3 rec 1 9"],
        text=["u1 one", "", "", "u2 two", "u3 three"],
        utt2spk=["u1 a", "\t", "u2 b", "u3 c"],
    )
    soundfile.write(folder / "a.wav", noise(2), 16_000)
    report = import_corpus(Origin("kaldi", folder), tmp_path / "out", "c", D)
    assert {u.id: (u.text, u.speaker) for u in report.corpus} == {"u1": ("one", "a"), "u2": ("two", "b")}
    assert [(bad.line, bad.id) for bad in report.set_aside] == [(5, "u3")], "lines are counted as an editor does"


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


def test_speakers_of_a_nemo_manifest_may_be_null_or_numbers(tmp_path):
    rows = []
    for i, speaker in enumerate([None, 0, 17, "", True]):
        soundfile.write(tmp_path / f"{i}.wav", noise(1, seed=i), 16_000)
        rows.append({"audio_filepath": f"{i}.wav", "text": "hello", "duration": 1.0, "speaker": speaker})
    good, bad = imported(Origin("nemo", lines(tmp_path / "m.json", rows)), tmp_path / "out")
    assert {name: u.speaker for name, u in good.items()} == {"0": "0", "1": "0", "2": "17", "3": "3"}
    assert [*bad] == ["4"] and "field speaker: must be a text, not true" in bad["4"]


# --- Paths


@pytest.mark.parametrize("form", ["manifest", "nemo", "lhotse", "kaldi"])
def test_recordings_beside_the_manifests_folder(tmp_path, form):
    """The paths lead up from the manifest. A root that holds both folders makes them good."""
    (tmp_path / "all" / "wavs").mkdir(parents=True)
    folder, path = tmp_path / "all" / "manifests", "../wavs/a.wav"
    folder.mkdir()
    soundfile.write(tmp_path / "all" / "wavs" / "a.wav", noise(2), 16_000)
    soundfile.write(tmp_path / "b.wav", noise(2), 16_000)
    if form == "kaldi":
        rows = [f"a {path}", "b ../../b.wav"]
        source = kaldi(folder, wav=rows, text=["a hello", "b hello"], utt2spk=["a s", "b s"])
    elif form == "lhotse":
        source = lines(folder / "recordings.jsonl", [recording("a", path), recording("b", "../../b.wav")])
        lines(folder / "supervisions.jsonl", [supervision(name, name) for name in "ab"])
    elif form == "nemo":
        base = {"text": "hello", "duration": 2.0}
        rows = [{**base, "audio_filepath": path, "id": "a"}, {**base, "audio_filepath": "../../b.wav", "id": "b"}]
        source = lines(folder / "m.jsonl", rows)
    else:
        base = {"text": "hello", "speaker": "s", "domain": "d"}
        source = lines(
            folder / "m.jsonl", [{"id": "a", "audio": path, **base}, {"id": "b", "audio": "../../b.wav", **base}]
        )
    with pytest.raises(
        ValueError, match="outside the manifest's folder; move it there, or give a folder that holds both"
    ):
        imported(Origin(form, source), tmp_path / "no")
    good, bad = imported(Origin(form, source, tmp_path / "all"), tmp_path / "out")
    np.testing.assert_array_equal(good["a"].wave, noise(2))
    assert [*bad] == ["b"] and "outside the manifest's folder" in bad["b"]


def test_links_as_in_the_cache_of_a_hub(tmp_path):
    """`snapshots` has links to `blobs`, both in one folder. Relative paths start at the manifest or at the root."""
    cache, base = tmp_path / "cache", {"text": "hello", "speaker": "s", "domain": "d"}
    snapshot = cache / "snapshots" / "4f2a"
    (snapshot / "wavs").mkdir(parents=True)
    (cache / "blobs").mkdir()
    soundfile.write(cache / "blobs" / "ab12", noise(1), 16_000, format="WAV")
    soundfile.write(cache / "b.wav", noise(1, seed=1), 16_000)
    (snapshot / "wavs" / "a.wav").symlink_to("../../../blobs/ab12")
    (snapshot / "out.wav").symlink_to(tmp_path / "secret.wav")
    for name in ("secret.wav", "cache/both.wav", "cache/snapshots/4f2a/both.wav"):
        soundfile.write(tmp_path / name, noise(1), 16_000)
    paths = {"a": "wavs/a.wav", "b": "b.wav", "secret": "out.wav", "both": "both.wav", "none": "none.wav"}
    source = lines(snapshot / "m.jsonl", [{"id": name, "audio": path, **base} for name, path in paths.items()])
    good, bad = imported(Origin("manifest", source, cache), tmp_path / "out")
    assert set(good) == {"a", "b"}
    np.testing.assert_array_equal(good["a"].wave, noise(1))
    assert "outside the manifest's folder" in bad["secret"] and "no such file" in bad["none"]
    assert "one file in --root DIR and another one in the manifest's folder" in bad["both"]


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


def common_voice(folder):
    """A split with a clip of one channel and one of two channels."""
    (folder / "clips").mkdir(parents=True)
    both = np.stack([noise(1, seed=1), noise(1, seed=2)], 1)
    soundfile.write(folder / "clips" / "one.mp3", noise(1), 16_000, format="WAV")
    soundfile.write(folder / "clips" / "two.mp3", both, 16_000, format="WAV")
    lines_of = ["client_id\tpath\tsentence", "a\tone.mp3\tgood morning", "b\ttwo.mp3\tgood night"]
    (folder / "dev.tsv").write_text("".join(f"{line}\n" for line in lines_of))
    return both


def test_the_channel_of_clips_is_chosen_by_an_option(tmp_path, capsys):
    both = common_voice(tmp_path / "cv")
    source = Origin("commonvoice", tmp_path / "cv", split="dev")
    good, bad = imported(source, tmp_path / "none")
    assert [*good] == ["one"] and "2 channels; say which one" in bad["two"] and "--downmix" in bad["two"]
    arguments = ["import", "commonvoice", str(tmp_path / "cv"), "--split", "dev", "--corpus", "c", "--domain", "d"]
    mean = to_int16(both.astype(np.float32).mean(axis=1) / 32768)
    for option, one, two in (
        (["--channel", "0"], noise(1), both[:, 0]),
        (["--channel", "1"], None, both[:, 1]),
        (["--downmix"], noise(1), mean),
    ):
        out = tmp_path / "".join(option)
        assert main([*arguments, *option, "--out", str(out)]) == (0 if one is not None else 3)
        good = {u.id: u.wave for u in Corpus(out)}
        np.testing.assert_array_equal(good["two"], two)
        if one is None:
            assert "there is no channel 1; the file has 1" in (out / "set_aside.jsonl").read_text()
        else:
            np.testing.assert_array_equal(good["one"], one)
        checked = ["validate", str(tmp_path / "cv"), "--format", "commonvoice", "--split", "dev", "--domain", "d"]
        capsys.readouterr()
        main([*checked, *option, "--workers", "1"])
        assert f"{len(good)} utterances" in capsys.readouterr().out
    assert main([*arguments, "--downmix", "--out", str(tmp_path / "--channel0")]) == 2
    assert "holds another corpus" in capsys.readouterr().err
    assert main([*arguments, "--channel", "-1", "--out", str(tmp_path / "no")]) == 2
    assert "field channel: must be a whole number" in capsys.readouterr().err


def test_an_interrupted_import_with_another_channel_begins_anew(tmp_path, monkeypatch):
    both = common_voice(tmp_path / "cv")
    source = Origin("commonvoice", tmp_path / "cv", split="dev")
    with monkeypatch.context() as patch:
        patch.setattr("mdasr.corpus.manifest.seal_corpus", lambda *_, **__: exit("killed"))
        with pytest.raises(SystemExit, match="killed"):
            imported(source, tmp_path / "out", Choice(domain="d", channel=0))
    good, _ = imported(source, tmp_path / "out", Choice(domain="d", channel="mean"))
    np.testing.assert_array_equal(good["two"].wave, to_int16(both.astype(np.float32).mean(axis=1) / 32768))


def test_the_channel_that_a_row_names_stays(stereo, tmp_path):
    folder, expected = stereo
    kaldi(folder, segments=["l L 0.5 1.5 0", "r R 0.5 1.5", "m M 0.5 1.5"])
    good, _ = imported(Origin("kaldi", folder), tmp_path / "out", Choice(domain="d", channel="mean"))
    np.testing.assert_array_equal(good["l"].wave, expected["l"])
    np.testing.assert_array_equal(good["m"].wave, expected["m"])
    halves = (expected["l"].astype(np.float32) + expected["r"]) / 2
    np.testing.assert_array_equal(good["r"].wave, to_int16(halves / 32768))


# --- Transcripts without words


def test_empty_transcripts_are_taken_only_where_it_is_asked(tmp_path, capsys):
    texts = {
        "words": "Hello.",
        "empty": "",
        "blank": " ",
        "signs": "...",
        "token": "[noise]",
        "null": None,
        "odd": "(uh)",
    }
    for i, name in enumerate(texts):
        soundfile.write(tmp_path / f"{name}.wav", noise(1, seed=i), 16_000)
    rows = [{"id": n, "audio": f"{n}.wav", "text": t, "speaker": "s", "domain": "d"} for n, t in texts.items()]
    source = lines(tmp_path / "m.jsonl", [*rows, {**rows[0], "id": "missing", "text": None}])
    arguments = ["import", "manifest", str(source), "--corpus", "c", "--drop", "[noise]", "--out"]
    assert main([*arguments, str(tmp_path / "strict")]) == 3
    assert [u.id for u in Corpus(tmp_path / "strict")] == ["words"]
    assert "or use --allow-empty for noise without speech" in (tmp_path / "strict" / "set_aside.jsonl").read_text()
    assert main([*arguments, str(tmp_path / "out"), "--allow-empty"]) == 3
    taken = {u.id: u.text for u in Corpus(tmp_path / "out")}
    assert taken == {"words": "hello", "empty": "", "blank": "", "signs": "", "token": ""}
    reasons = [json.loads(line) for line in (tmp_path / "out" / "set_aside.jsonl").read_text().splitlines()]
    assert [bad["id"] for bad in reasons] == ["null", "odd", "missing"], "unknown words are no silence"
    assert Corpus(tmp_path / "out").info["words"] == 1
    assert main([*arguments, str(tmp_path / "strict"), "--allow-empty"]) == 2
    assert "holds another corpus" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["kaldi", "lhotse", "nemo", "commonvoice"])
def test_every_format_has_recordings_without_words(tmp_path, form):
    (tmp_path / "clips").mkdir()
    for name in ("a.wav", "clips/a.mp3"):
        soundfile.write(tmp_path / name, noise(2), 16_000, format="WAV")
    split, path = "", tmp_path
    if form == "kaldi":
        kaldi(tmp_path, wav=["a a.wav"], text=["a"], utt2spk=["a s"])
    elif form == "lhotse":
        lines(tmp_path / "recordings.jsonl", [recording("r1", "a.wav")])
        lines(tmp_path / "supervisions.jsonl", [supervision("a", "r1", text="")])
    elif form == "nemo":
        path = lines(tmp_path / "m.json", [{"audio_filepath": "a.wav", "text": "", "duration": 2.0}])
    else:
        (tmp_path / "dev.tsv").write_text("client_id\tpath\tsentence\ns\ta.mp3\t\n")
        split = "dev"
    source = Origin(form, path, split=split)
    with pytest.raises(ValueError, match=r"there are no words in ''.* or use --allow-empty"):
        imported(source, tmp_path / "no")
    good, bad = imported(source, tmp_path / "out", Choice(domain="d", allow_empty=True))
    assert [u.text for u in good.values()] == [""] and not bad


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


def test_the_hubs_own_parquet_files_are_shards_of_one_split(tmp_path, table):
    for split, parts in {
        "clean/train.100": (table.slice(0, 2), table.slice(2)),
        "clean/test": (table.slice(4),),
        "other/test": (table.slice(0, 1),),
    }.items():
        (tmp_path / "set" / split).mkdir(parents=True)
        for i, part in enumerate(parts):
            pyarrow.parquet.write_table(part, tmp_path / "set" / split / f"{i:04d}.parquet")
    for number, (folder, split, prefix) in enumerate([
        ("", "train.100", "train.100"), ("", "clean/train.100", "clean/train.100"), ("clean", "train.100", "train.100"),
        ("clean/train.100", "", "train.100"), ("clean/train.100", "train.100", "train.100"),
    ]):  # fmt: skip
        source = Origin("huggingface", tmp_path / "set" / folder, split=split)
        check_rows(*imported(source, tmp_path / f"out{number}", NAMED), prefix)
    good, _ = imported(Origin("huggingface", tmp_path / "set", split="other/test"), tmp_path / "other", NAMED)
    assert len(good) == 1
    whole = "give a --split: clean/test, clean/train.100, other/test"
    for split, problem in {
        "test": f"2 splits are called 'test'; {whole}",
        "": whole,
        "dev": f"no split 'dev'; {whole}",
    }.items():
        with pytest.raises(ValueError, match=problem):
            read_source(Origin("huggingface", tmp_path / "set", split=split))


@pytest.mark.parametrize("root", ["", "set", "elsewhere"])
def test_a_root_does_not_matter_where_the_table_holds_the_audio(tmp_path, table, root):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "set" / "train.parquet")
    source = Origin("huggingface", tmp_path / "set", tmp_path / root, "train")
    check_rows(*imported(source, tmp_path / "out", NAMED), "train")


def stereo_cell(seed):
    """A cell of a table with audio of two channels, of which the second is noise with this seed."""
    content = io.BytesIO()
    both = np.stack([noise(1, seed=99), noise(1, seed=seed)], 1)
    soundfile.write(content, both, 16_000, format="FLAC")
    return {"bytes": content.getvalue(), "path": "x.flac"}


def test_columns_called_like_our_fields_mean_something_else(tmp_path, table):
    """A table's `channel` and times may be those of the recording that its audio was cut from."""
    (tmp_path / "set").mkdir()
    others = {"channel": ["mic", "mic", "far", "mic", "mic"], "start_s": [0.5] * 5, "end_s": [0.75] * 5}
    others |= {"sample_rate": [44_100] * 5, "duration_s": [600.0] * 5, "from_s": [0.25] * 5, "to_s": [0.5] * 5}
    others |= {"speaker": [7, None, 8, 8, 8]}
    for name, values in others.items():
        table = table.append_column(name, pyarrow.array(values))
    pyarrow.parquet.write_table(table, tmp_path / "set" / "train.parquet")
    source, text = Origin("huggingface", tmp_path / "set"), {"text": "sentence"}
    good, _ = imported(source, tmp_path / "out", Choice(fields=text, domain="d"))
    assert [u.speaker for u in good.values()] == ["7", "set-00000001", "8"]
    for i, utterance in enumerate(good.values()):
        np.testing.assert_array_equal(utterance.wave, noise(1, seed=i))
    good, _ = imported(source, tmp_path / "far", Choice({"channel": "far"}, text, "d"))
    assert [*good] == ["set-00000002"]
    part = text | {"start_s": "from_s", "end_s": "to_s"}
    good, _ = imported(source, tmp_path / "part", Choice(fields=part, domain="d"))
    np.testing.assert_array_equal(good["set-00000000"].wave, noise(1)[4_000:8_000])
    whole = text | {"channel": "one", "duration_s": "one", "sample_rate": "rate"}
    table = table.append_column("one", pyarrow.array([1] * 5)).append_column("rate", pyarrow.array([16_000] * 5))
    table = table.set_column(0, "audio", pyarrow.array([stereo_cell(i) for i in range(5)], table.schema.field(0).type))
    (tmp_path / "calls").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "calls" / "train.parquet")
    good, _ = imported(Origin("huggingface", tmp_path / "calls"), tmp_path / "whole", Choice(fields=whole, domain="d"))
    np.testing.assert_array_equal(good["calls-00000001"].wave, noise(1, seed=1))
    with pytest.raises(ValueError, match='field channel: must be a whole number, 0 or more, not "mic"'):
        imported(source, tmp_path / "no", Choice(fields=text | {"channel": "channel"}, domain="d"))


def test_what_needs_pyarrow_says_so_where_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow is missing; install it with pip install 'mdasr\[huggingface\]'"):
        read_source(Origin("huggingface", tmp_path))


def test_splits_and_formats_that_are_not_there():
    with pytest.raises(ValueError, match="only commonvoice and huggingface have splits"):
        read_source(Origin("nemo", Path("m.json"), split="train"))
    with pytest.raises(ValueError, match="unknown format 'wav'"):
        read_source(Origin("wav", Path("m.json")))
