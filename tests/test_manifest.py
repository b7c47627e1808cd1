"""Importing recordings with a manifest: every kind of good file, and every kind of bad one."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mdasr.corpus import shards
from mdasr.corpus.audio_files import read_audio
from mdasr.corpus.entries import Choice
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import SET_ASIDE, export_manifest, import_corpus, import_manifest, to_int16
from mdasr.corpus.records import Corpus

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech" / "manifest.jsonl"


def tone(seconds, rate_hz, hz=440.0, peak=0.5):
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def write_manifest(folder, rows):
    path = folder / "manifest.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(name, **fields):
    base = {"id": name, "audio": f"{name}.wav", "text": "good morning", "speaker": "s1", "domain": "d"}
    return {**base, **fields}


# --- read_audio


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
def test_any_rate_becomes_16_khz_in_time_and_pitch(tmp_path, rate_hz, extension):
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, tone(1.5, rate_hz), rate_hz)
    wave, source_rate_hz = read_audio(path)
    assert (wave.dtype, source_rate_hz) == (np.float32, rate_hz)
    assert len(wave) in (24000, 24001)  # 1.5 s are no whole number of samples at 11,025 Hz
    middle = slice(4000, 20000)
    expected = tone(1.5, 16000)
    assert np.corrcoef(wave[middle], expected[middle])[0, 1] > 0.999
    assert np.sqrt(np.mean((wave[middle] - expected[middle]) ** 2)) < 0.02


def test_16_bit_samples_come_back_bit_for_bit(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000, np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    assert np.array_equal(to_int16(read_audio(tmp_path / "a.flac")[0]), samples)


def test_mp3_and_a_format_that_only_ffmpeg_knows(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed (extra `codecs`)")
    soundfile.write(tmp_path / "a.mp3", tone(2, 16000), 16000)
    assert abs(len(read_audio(tmp_path / "a.mp3")[0]) - 32000) < 2400
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=22050, layout="stereo")
        both = np.stack([tone(2, 22050), tone(2, 22050, hz=880)])
        for first in range(0, both.shape[1], 1024):
            block = np.ascontiguousarray(both[:, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(block, "fltp", "stereo")
            frame.sample_rate = 22050
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for channel, hz in ((0, 440), (1, 880)):
        wave, rate_hz = read_audio(tmp_path / "a.m4a", channel=channel)
        assert rate_hz == 22050
        assert abs(len(wave) - 32000) < 2400
        assert abs(np.argmax(np.abs(np.fft.rfft(wave))) * 16000 / len(wave) - hz) < 2
    part, _ = read_audio(tmp_path / "a.m4a", channel=1, start_s=0.5, end_s=1.25)
    assert len(part) == 12000
    with pytest.raises(ValueError, match=r"a\.m4a: start_s, end_s: 0 s to 5 s"):
        read_audio(tmp_path / "a.m4a", channel=1, end_s=5.0)


def test_what_needs_pyav_says_so_where_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x0cftypM4A \0\0\0\x08moov")
    with pytest.raises(ImportError, match=r"a\.m4a.*PyAV is missing; install it with pip install 'mdasr\[codecs\]'"):
        read_audio(tmp_path / "a.m4a")
    (tmp_path / "a.wav").write_bytes(b"<html>not found</html>")  # which PyAV would not read either
    with pytest.raises(ValueError, match=r"a\.wav: this is text, not sound"):
        read_audio(tmp_path / "a.wav")


def test_a_channel_and_a_part(tmp_path):
    left, right = tone(2, 8000), tone(2, 8000, hz=300, peak=0.25)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    whole, _ = read_audio(tmp_path / "s.wav", channel=1)
    part, _ = read_audio(tmp_path / "s.wav", channel=1, start_s=0.5, end_s=1.5)
    assert len(part) == 16000
    # Compare away from the edges: there the resampler does not know the samples outside the part.
    assert np.abs(part[400:-400] - whole[8000:24000][400:-400]).max() < 1e-3
    tail, _ = read_audio(tmp_path / "s.wav", channel=0, start_s=1.75)
    assert len(tail) == 4000
    with pytest.raises(ValueError, match=r"s\.wav: 2 channels; say which one with `channel` \(0 to 1\)"):
        read_audio(tmp_path / "s.wav")
    for channel in (-1, 2):
        with pytest.raises(ValueError, match=rf"no channel {channel}; the file has 2"):
            read_audio(tmp_path / "s.wav", channel=channel)
    for start_s, end_s in ((1.0, 2.5), (2.5, 3.0), (2.5, None)):
        with pytest.raises(ValueError, match=r"s\.wav: start_s, end_s: .* lasts 2 s"):
            read_audio(tmp_path / "s.wav", channel=0, start_s=start_s, end_s=end_s)
    for start_s, end_s in ((1.0, 1.0), (1.5, 1.0), (-1.0, 1.0), (float("nan"), None)):
        with pytest.raises(ValueError, match="a part starts at 0 or later"):
            read_audio(tmp_path / "s.wav", channel=0, start_s=start_s, end_s=end_s)


def _truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("share", [0.2, 0.55, 0.9])
@pytest.mark.parametrize("extension", ["flac", "wav", "mp3", "ogg"])
def test_a_truncated_file_is_no_shorter_recording(tmp_path, extension, share):
    path = tmp_path / f"cut.{extension}"
    noise = 0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    soundfile.write(path, noise, 16000)
    read_audio(path)
    _truncate(path, share)
    with pytest.raises(ValueError, match=rf"cut\.{extension}: .*(again|channels)"):
        read_audio(path)


def test_a_wav_streamed_before_its_length_was_known_is_whole(tmp_path):
    path = tmp_path / "streamed.wav"
    soundfile.write(path, tone(1, 16000), 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(content))
    assert len(read_audio(path)[0]) == 16000


def _bad_files(folder):
    """The name of a file, and the text that its error must have."""
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "nothing.wav", np.zeros(0, np.float32), 16000)
    (folder / "text.wav").write_text("These are the words of a transcript, saved under the wrong name.\n" * 9)
    wave = tone(1, 16000)
    wave[777] = np.nan
    soundfile.write(folder / "nan.wav", wave, 16000, subtype="FLOAT")
    wave[777] = np.inf
    soundfile.write(folder / "inf.wav", wave, 16000, subtype="FLOAT")
    soundfile.write(folder / "loud.wav", 32768 * tone(1, 16000), 16000, subtype="FLOAT")
    soundfile.write(folder / "dead.wav", np.zeros(16000, np.float32), 16000)
    soundfile.write(folder / "short.wav", tone(0.06, 16000), 16000)
    soundfile.write(folder / "stereo.wav", np.stack([tone(1, 16000)] * 2, 1), 16000)
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    _truncate(folder / "cut.flac", 0.7)
    return {
        "empty.wav": "empty (0 bytes)",
        "nothing.wav": "zero-length",
        "text.wav": "is it really an audio file?",
        "nan.wav": "sample 777 is nan",
        "inf.wav": "sample 777 is inf",
        "loud.wav": "between -1 and 1",
        "dead.wav": "every sample is zero",
        "short.wav": "less than one step",
        "stereo.wav": "say which one with `channel`",
        "cut.flac": "truncated",
        "absent.wav": "no such file",
    }


# --- import_manifest


def test_bad_recordings_are_set_aside_and_the_good_ones_kept(tmp_path):
    soundfile.write(tmp_path / "good.wav", tone(1, 8000), 8000)
    expected = _bad_files(tmp_path)
    rows = [
        row("good"),
        *(row(name, audio=name) for name in expected),
        row("stereo2", audio="stereo.wav", channel=1),
    ]
    report = import_manifest(write_manifest(tmp_path, rows), tmp_path / "out", "mine")
    assert {bad.id: bad.line for bad in report.set_aside} == {name: i for i, name in enumerate(expected, 2)}
    for bad in report.set_aside:
        assert expected[bad.id] in bad.reason
        assert bad.audio in bad.reason
    assert report.exit_status == 3
    assert report.kept == 2
    assert f"{len(expected)} lines set aside" in str(report)
    stored = [json.loads(line) for line in (tmp_path / "out" / SET_ASIDE).read_text().splitlines()]
    assert [bad["id"] for bad in stored] == list(expected)
    good, stereo = Corpus(tmp_path / "out")
    assert (good.key, good.domain, good.speaker, good.text) == ("mine/good", "d", "s1", "good morning")
    assert (good.source_rate_hz, len(good.wave), stereo.source_rate_hz) == (8000, 16000, 16000)


BAD_ROWS = [
    ("not json at all", "not JSON"),
    ('["a", "list"]', "not a JSON object"),
    ({"audio": "a.wav"}, "field text"),
    (row("a1", audio="a.wav", text=None), "field text: must be a text, not null"),
    (row("a2", audio="a.wav", text=17), "field text: must be a text, not 17"),
    (row("a3", audio="a.wav", text="  "), "field text"),
    (row("a4", audio="a.wav", text="?!"), "field text: there are no words"),
    (row("a5", audio="a.wav", text="room 12"), "--spell-numbers"),
    (row("a6", audio="a.wav", text="[cough]"), "mark-up"),
    (row("", audio="a.wav"), "field id"),
    (row(3, audio="a.wav"), "field id: must be a text, not 3"),
    (row("../a4", audio="a.wav"), "field id: '../a4' as a file name would leave its folder"),
    (row("/tmp/a4", audio="a.wav"), "as a file name would leave its folder"),
    (row("a9", audio="a.wav", speaker=None), "field speaker"),
    (row("a10", audio="a.wav", domain=None), "field domain"),
    (row("a11", audio="../outside.wav"), "is outside the manifest's folder"),
    (row("a12", audio="/etc/passwd"), "is outside the manifest's folder"),
    (row("a13", audio="link.wav"), "is outside the manifest's folder"),
    (row("a14", audio="nul\0.wav"), "field audio"),
    (row("a15", audio="a.wav", sample_rate="16k"), "field sample_rate"),
    (row("a16", audio="a.wav", sample_rate=0), "field sample_rate"),
    (row("a17", audio="a.wav", sample_rate=8000), "field sample_rate is 8000 Hz, but the file has 16000"),
    (row("a18", audio="a.wav", duration_s=1.4), "field duration_s is 1.4 s, but the audio lasts 1.000"),
    (row("a19", audio="a.wav", duration_s=-1), "field duration_s"),
    ('{"id":"a","audio":"a.wav","text":"x","speaker":"s","domain":"d","end_s":NaN}', "field end_s"),
    (row("a20", audio="a.wav", start_s=True), "field start_s"),
    (row("a21", audio="a.wav", start_s=0.5, end_s=3), "lasts 1 s"),
    (row("a22", audio="a.wav", channel=1.5), "field channel"),
    (row("a23", audio="a.wav", channel=1), "no channel 1"),
    (row("a24", audio="no\u2028such\x85file.wav"), "no such file"),
    (row("good"), "field id: 'good' is also the id of line 1"),
]


def test_bad_rows_are_set_aside_with_the_field(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for path in (folder / "a.wav", folder / "good.wav", tmp_path / "outside.wav"):
        soundfile.write(path, tone(1, 16000), 16000)
    (folder / "link.wav").symlink_to(tmp_path / "outside.wav")
    path = write_manifest(folder, [row("good"), *(bad for bad, _ in BAD_ROWS)])
    report = import_manifest(path, tmp_path / "out", "mine")
    assert report.kept == 1
    for (_, expected), bad in zip(BAD_ROWS, report.set_aside, strict=True):
        assert expected in bad.reason
    assert [bad.line for bad in report.set_aside] == [*range(2, len(BAD_ROWS) + 2)]
    assert import_manifest(path, tmp_path / "out", "mine").set_aside == report.set_aside


def test_text_is_normalised_and_numbers_spelt_when_asked(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 16000), 16000)
    path = write_manifest(tmp_path, [row("a", text="Room 12, please!")])
    report = import_manifest(path, tmp_path / "out", "mine", spell_numbers=True)
    assert (report.corpus[0].text, report.exit_status) == ("room twelve please", 0)


def test_lines_are_chosen_and_domains_kept_apart(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 16000), 16000)
    rows = [
        row("one", audio="a.wav", split="train", sample_rate=16000),
        row("two", audio="a.wav", split="valid", sample_rate=16000),
        row("three", audio="a.wav", split="train", domain="e", sample_rate=16000),
    ]
    path = write_manifest(tmp_path, rows)

    def ids(name, **options):
        return [u.id for u in import_manifest(path, tmp_path / name, "mine", **options).corpus]

    assert ids("a", where={"split": "train", "domain": "d"}) == ["one"]
    assert ids("b", where={"sample_rate": "16000", "domain": "e"}) == ["three"]
    assert ids("c", domain="all") == ["one", "two", "three"]
    assert Corpus(tmp_path / "c").domain == "all"
    with pytest.raises(ValueError, match=r"2 domains \(d, e\).*--where domain=d"):
        ids("d")
    with pytest.raises(ValueError, match=r"no line has .*split=train \(2\), split=valid \(1\)"):
        ids("d", where={"split": "test"})
    assert not (tmp_path / "d").exists()


def test_nothing_any_good_is_an_error_and_no_corpus(tmp_path):
    path = write_manifest(tmp_path, [row("a"), row("b", text="4")])
    with pytest.raises(ValueError, match=r"none of the 2 chosen lines.*line 1 \(a\.wav\).*no such file"):
        import_manifest(path, tmp_path / "out", "mine")
    assert not (tmp_path / "out" / "corpus.json").exists()
    assert len((tmp_path / "out" / SET_ASIDE).read_text().splitlines()) == 2


@pytest.mark.parametrize("content", [None, b"\xff\xfe{}", b""])
def test_a_manifest_that_is_none(tmp_path, content):
    path = tmp_path / "manifest.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=r"manifest\.jsonl: (no such|not UTF-8|no line)"):
        import_manifest(path, tmp_path / "out", "mine")


def test_killed_midway_it_runs_again_to_the_same_bits(tmp_path, monkeypatch):
    for i in range(10):
        soundfile.write(tmp_path / f"u{i}.wav", tone(0.2 + 0.1 * i, 16000), 16000)
    path = write_manifest(tmp_path, [row(f"u{i}") for i in range(10)] + [row("absent")])
    source = Origin("manifest", path)
    whole = import_corpus(source, tmp_path / "whole", "mine", rows_per_shard=4)

    def killed(row, *_):
        if row.id == "u6":
            raise KeyboardInterrupt
        return original(row, *_)

    original = shards.utterance
    monkeypatch.setattr(shards, "utterance", killed)
    with pytest.raises(KeyboardInterrupt):
        import_corpus(source, tmp_path / "killed", "mine", rows_per_shard=4)
    with pytest.raises(FileNotFoundError, match="run the same command again"):
        Corpus(tmp_path / "killed")
    monkeypatch.setattr(shards, "utterance", original)
    # A shard of an earlier attempt over another number of rows must not be taken for one of ours.
    stale = tmp_path / "killed" / "audio-00000-of-00009.array_record"
    (tmp_path / "killed" / "audio-00000-of-00003.array_record").rename(stale)
    again = import_corpus(source, tmp_path / "killed", "mine", rows_per_shard=4)
    assert again.corpus.info == whole.corpus.info
    assert not stale.exists()
    assert again.set_aside == whole.set_aside


def test_done_it_only_reports_and_never_overwrites_another(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 16000), 16000)
    path = write_manifest(tmp_path, [row("a"), row("b")])
    first = import_manifest(path, tmp_path / "out", "mine")
    (tmp_path / "a.wav").unlink()
    again = import_manifest(path, tmp_path / "out", "mine")
    assert (again.kept, again.set_aside, again.exit_status) == (first.kept, first.set_aside, 3)
    for changed in (
        {"corpus": "other"},
        {"domain": "e"},
        {"spell_numbers": True},
        {"where": {"domain": "d"}},
    ):
        with pytest.raises(FileExistsError, match="holds another corpus"):
            import_manifest(**{"path": path, "directory": tmp_path / "out", "corpus": "mine", **changed})


def test_the_same_manifest_with_audio_elsewhere_is_another_corpus(tmp_path):
    """The current folder does not matter; the path from the manifest to its audio does."""
    for name, hz in (("a", 440.0), ("b", 220.0)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "u.wav", tone(1, 16_000, hz), 16_000)
    path, choice = write_manifest(tmp_path / "a", [row("u")]), Choice()
    there = Origin("manifest", path, root=tmp_path / "b")
    first = import_corpus(there, tmp_path / "out", "c", choice).corpus
    for other in (Origin("manifest", path), Origin("manifest", path, root=tmp_path / "a")):
        with pytest.raises(FileExistsError, match="holds another corpus"):
            import_corpus(other, tmp_path / "out", "c", choice)
    again = import_corpus(Origin("manifest", path, root=tmp_path / "a" / ".." / "b"), tmp_path / "out", "c", choice)
    assert again.corpus.info == first.info and first.info["made_by"]["root"] == "../b"
    by_default = import_corpus(Origin("manifest", path), tmp_path / "own", "c", choice).corpus
    assert "root" not in by_default.info["made_by"] and by_default.info["sha256"] != first.info["sha256"]


@pytest.mark.slow
def test_workers_change_nothing(tmp_path):
    for i in range(10):
        soundfile.write(tmp_path / f"u{i}.wav", tone(0.2 + 0.1 * i, 16000), 16000)
    path = write_manifest(tmp_path, [row(f"u{i}") for i in range(10)] + [row("absent")])
    reports = [import_corpus(Origin("manifest", path), tmp_path / f"w{n}", "mine", None, n, 4) for n in (1, 2)]
    assert reports[0].corpus.info == reports[1].corpus.info
    assert [bad.id for bad in reports[0].set_aside] == [bad.id for bad in reports[1].set_aside] == ["absent"]


@pytest.mark.skipif(not SPEECH.exists(), reason="no real recordings beside the project (../shared/speech)")
def test_real_recordings(tmp_path):
    where = {"domain": "read_lj_22k", "split": "valid"}
    report = import_manifest(SPEECH, tmp_path / "lj", "lj", where)
    assert (report.kept, report.set_aside, report.exit_status) == (6, (), 0)
    for utterance in report.corpus:
        assert utterance.source_rate_hz == 22050
        assert 0.01 < np.sqrt(np.mean(utterance.samples**2)) < 0.5
        assert utterance.text == " ".join(utterance.text.lower().split())


# --- export_manifest


def test_an_exported_corpus_comes_back_bit_for_bit(tmp_path):
    noise = np.random.default_rng(0).integers(-32768, 32768, 4000, np.int16)
    for name, ids in (("a", ["one", "talk/2"]), ("b", ["three"])):
        (tmp_path / name / "talk").mkdir(parents=True)
        for each in ids:
            soundfile.write(tmp_path / name / f"{each}.wav", noise + np.int16(len(each)), 16000)
        import_manifest(write_manifest(tmp_path / name, [row(each) for each in ids]), tmp_path / f"{name}-in", "mine")
    given = {"train": Corpus(tmp_path / "a-in"), "test": Corpus(tmp_path / "b-in")}
    path = export_manifest(given, tmp_path / "out")
    for split, corpus in given.items():
        again = import_manifest(path, tmp_path / f"again-{split}", "mine", where={"split": split})
        assert again.kept == len(corpus)
        assert [(u.id, u.text, u.speaker, u.domain) for u in again.corpus] == [
            (u.id, u.text, u.speaker, u.domain) for u in corpus
        ]
        assert all(np.array_equal(one.wave, other.wave) for one, other in zip(again.corpus, corpus))


def test_two_utterances_of_one_id_are_not_exported_over_each_other(tmp_path):
    soundfile.write(tmp_path / "one.wav", tone(0.5, 16000), 16000)
    corpus = import_manifest(write_manifest(tmp_path, [row("one")]), tmp_path / "in", "mine").corpus
    with pytest.raises(ValueError, match="'one' is also the id of another utterance"):
        export_manifest({"train": corpus, "test": corpus}, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
