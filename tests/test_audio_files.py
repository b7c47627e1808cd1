"""Recordings whose length, time stamps or format decoders get wrong: each is read as it is, or refused by name."""

import json
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import soxr

from mdasr.cli.main import main
from mdasr.corpus import ffmpeg_reader, mpeg_frames, recent_recording
from mdasr.corpus.audio_files import read_audio
from mdasr.corpus.containers import _CLUSTER, _SEGMENT, _element
from mdasr.corpus.libsndfile_reader import ENCODINGS, Raw
from mdasr.corpus.manifest import import_manifest
from mdasr.corpus.records import Corpus
from tests.damaged_recordings import imported
from tests.recordings import ALL, BY_FFMPEG, by_ffmpeg, shortened, sound, write

av = pytest.importorskip("av", reason="PyAV is not installed (extra `codecs`)")

NO_XING = {"write_xing": "0"}


@pytest.fixture
def without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


# --- lengths


@pytest.mark.parametrize(
    "encoder",
    [
        {"bit_rate": 32_000},
        {"options": {"flags": "+qscale", "global_quality": "472"}},
        {"bit_rate": 32_000, "options": {"abr": "1"}},
    ],
    ids=["constant", "variable", "average"],
)
@pytest.mark.parametrize("id3", ["0", "3"])
def test_an_mp3_without_a_xing_tag_is_read_to_its_end(tmp_path, encoder, id3):
    quiet_first = np.concatenate([np.zeros(16_000, np.int16), sound(4), np.zeros(16_000, np.int16), sound(4, seed=1)])
    path = by_ffmpeg(tmp_path / "a.mp3", quiet_first, 16_000, "libmp3lame", NO_XING | {"id3v2_version": id3}, **encoder)
    wave, rate_hz = read_audio(path)
    with av.open(str(path)) as file:
        expected = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert rate_hz == 16_000 and len(wave) == len(expected) > 10 * 16_000
    assert np.abs(wave - expected).max() < 1e-4


def test_an_mp3_with_a_xing_tag_keeps_its_samples(tmp_path, without_pyav):
    path = write(tmp_path / "xing.mp3", 3)
    with soundfile.SoundFile(path) as file:
        expected = file.read(file.frames, dtype="float32")
    assert np.array_equal(read_audio(path)[0], expected)
    assert np.array_equal(read_audio(path, start_s=1.0, end_s=1.5)[0], expected[16_000:24_000])


def id3(content: bytes) -> bytes:
    return b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128) + content


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_by_ffmpeg_has_the_checksums_that_are_expected(tmp_path, rate_hz, channels):
    samples = np.stack([sound(1, rate_hz)] * channels, 1)
    path = by_ffmpeg(tmp_path / "a.mp3", samples, rate_hz, "libmp3lame", bit_rate=48_000)
    assert len(read_audio(path, channels - 1)[0]) == 16_000
    content = path.read_bytes()
    at = content.index(b"Lav", content.index(b"Xing" if b"Xing" in content else b"Info"))
    path.write_bytes(patched(content, at + 22, bytes([content[at + 22] ^ 1])))
    with pytest.raises(ValueError, match=r"a\.mp3: damaged: its LAME tag does not have its checksum"):
        read_audio(path)


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125)], ids=["", "ID3v1"])
@pytest.mark.parametrize("second", ["xing.mp3", "noxing.mp3"])
def test_joined_mp3s_are_read_one_after_the_other(tmp_path, between, second):
    parts = [write(tmp_path / "xing.mp3", 2), write(tmp_path / second, 3, seed=1)]
    if parts[0] == parts[1]:
        parts[1] = write(tmp_path / "xing.mp3", 3, seed=1).rename(tmp_path / "second.mp3")
        write(parts[0], 2)
    expected = np.concatenate([read_audio(path)[0] for path in parts])
    (tmp_path / "both.mp3").write_bytes(between.join(path.read_bytes() for path in parts))
    assert np.array_equal(read_audio(tmp_path / "both.mp3")[0], expected)
    part = read_audio(tmp_path / "both.mp3", start_s=1.5, end_s=2.5)[0]
    assert np.array_equal(part, expected[24_000:40_000])
    (tmp_path / "tagged.mp3").write_bytes(id3((tmp_path / "both.mp3").read_bytes()))
    assert np.array_equal(read_audio(tmp_path / "tagged.mp3")[0], expected)


def test_frames_that_an_mp3_lacks_are_counted(tmp_path):
    content = write(tmp_path / "xing.mp3", 2).read_bytes()
    path, at, frames = tmp_path / "a.mp3", 0, []
    while at < len(content):
        frames.append(at)
        at += mpeg_frames._frame(content[at : at + 4]).bytes
    path.write_bytes(content[: frames[-1]])
    with pytest.raises(ValueError, match=r"a\.mp3: truncated: 57 of the 58 MPEG frames that its Xing tag states"):
        read_audio(path)
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"a\.mp3: damaged: its frames do not have the checksum of its tag"):
        read_audio(path)
    damaged = bytearray(content)
    damaged[content.index(b"LAME") + 22] ^= 1  # the delay of the encoder
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"a\.mp3: damaged: its LAME tag does not have its checksum"):
        read_audio(path)
    path.write_bytes(content + write(tmp_path / "noxing.mp3", 1).read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"a\.mp3: truncated: .* bytes of its last frame"):
        read_audio(path)
    soundfile.write(tmp_path / "b.mp3", sound(1, 44_100), 44_100)
    path.write_bytes(content + (tmp_path / "b.mp3").read_bytes())
    with pytest.raises(ValueError, match=r"a\.mp3: holds recordings of different rates"):
        read_audio(path)


def test_the_checksum_of_frames_is_the_one_by_the_book():
    def by_the_book(content):
        crc = 0
        for byte in content:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        return crc

    for size in (0, 1, 63, 64, 1000, 5001):
        content = np.random.default_rng(size).bytes(size)
        assert mpeg_frames._crc16(content) == by_the_book(content)
    assert mpeg_frames._crc16(b"123456789") == 0xBB3D  # CRC-16/ARC


def patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


# The file, the place of its length, a length that says that it is not known, and whether it is read without PyAV.
OPEN = {
    "wav, all ones": ("a.wav", 40, b"\xff\xff\xff\xff", True),
    "wav, a placeholder": ("a.wav", 40, b"\xff\xff\xff\x7f", True),
    "wav, none": ("a.wav", 40, bytes(4), True),
    "au, -1": ("a.au", 8, b"\xff\xff\xff\xff", True),
    "au, none": ("a.au", 8, bytes(4), True),
    "au, a placeholder": ("a.au", 8, b"\x7f\xff\xff\xff", True),
    "caf, -1": ("ffmpeg.caf", None, b"\xff" * 8, True),
    "flac, none": ("a.flac", 21, bytes(5), False),
}


@pytest.mark.parametrize("kind", OPEN)
def test_a_file_that_does_not_know_its_length_is_whole(tmp_path, kind, monkeypatch):
    name, at, value, without_pyav = OPEN[kind]
    content = write(tmp_path / name, 2).read_bytes()
    at = content.index(b"data") + 4 if at is None else at
    if name == "a.flac":
        value = bytes([content[21] & 0xF0]) + bytes(4)  # half of the first byte belongs to the number of bits
    if name == "a.wav":
        content = patched(content, 4, value)  # the size of RIFF, too
    path = tmp_path / f"open-{name}"
    path.write_bytes(patched(content, at, value))
    expected = sound(2) / np.float32(32768)
    assert np.array_equal(read_audio(path)[0], expected)
    assert np.array_equal(read_audio(path, start_s=0.5, end_s=1.0)[0], expected[8000:16_000])
    monkeypatch.setitem(sys.modules, "av", None)
    recent_recording.kept.forget()
    if without_pyav:
        assert np.array_equal(read_audio(path)[0], expected)
    else:
        with pytest.raises(ImportError, match=rf"open-{name}.*pip install 'mdasr\[codecs\]'"):
            read_audio(path)


@pytest.mark.parametrize("bits", [16, 24])
def test_flac_is_compared_with_its_md5(tmp_path, bits):
    path = tmp_path / "a.flac"
    both = np.stack([sound(1), sound(1, seed=1)], 1).astype(np.int32) << 16 | 255 << 8
    soundfile.write(path, both, 16_000, subtype=f"PCM_{bits}")
    wave = read_audio(path, 1)[0]
    assert np.abs(wave - sound(1, seed=1) / 32768).max() < 1e-4
    content = path.read_bytes()
    path.write_bytes(patched(content, 30, bytes([content[30] ^ 1])))
    with pytest.raises(ValueError, match=r"a\.flac: damaged: its samples do not have the MD5 that it states"):
        read_audio(path, 1)
    path.write_bytes(patched(content, 26, bytes(16)))  # no MD5
    assert np.array_equal(read_audio(path, 1)[0], wave)
    path.write_bytes(patched(content, 18, (16_100 << 4).to_bytes(3)[:2]))
    with pytest.raises(ValueError, match=r"a\.flac: damaged: its header states \d+ Hz, but its first frame 16000 Hz"):
        read_audio(path, 1)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_joined_ogg_streams_are_read_one_after_the_other(tmp_path, name, without_pyav):
    first, second = (write(tmp_path / name, 1 + seed, seed).read_bytes() for seed in (0, 1))
    expected = []
    for content in (first, second):
        (tmp_path / name).write_bytes(content)
        expected.append(read_audio(tmp_path / name)[0])
    (tmp_path / name).write_bytes(first + second)
    assert np.array_equal(read_audio(tmp_path / name)[0], np.concatenate(expected))
    assert np.array_equal(read_audio(tmp_path / name, start_s=0.5, end_s=1.5)[0], np.concatenate(expected)[8000:24_000])
    pages = [at for at in range(len(first)) if first[at : at + 4] == b"OggS"]
    for content, told in (
        (first[: pages[-1]] + second, "another Ogg stream begins at byte .* before the end of the one before it"),
        (first[: pages[-1]], "truncated"),
        (first[: pages[2]] + first[pages[3] :] if len(pages) > 3 else first[: pages[1]] + first[pages[2] :], "missing"),
        (patched(first, len(first) - 5, bytes([first[-5] ^ 1])), "does not have its checksum"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: .*{told}"):
            read_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.caf", "a.au", "a.sph"])
def test_bytes_after_the_stated_samples_are_not_left_out_in_silence(tmp_path, name):
    path = write(tmp_path / name, 1)
    content, expected = path.read_bytes(), read_audio(path)[0]
    path.write_bytes(content + bytes(1000))
    assert np.array_equal(read_audio(path)[0], expected)
    path.write_bytes(content + sound(1, seed=1).tobytes())
    with pytest.raises(ValueError, match=rf"{name}: damaged: 32,000 bytes lie after the samples that its header"):
        read_audio(path)
    if name == "a.wav":
        path.write_bytes(content + b"LIST" + struct.pack("<I", 4) + b"INFO")
        assert np.array_equal(read_audio(path)[0], expected)
        path.write_bytes(patched(content, 24, struct.pack("<I", 16_100)))
        with pytest.raises(ValueError, match=r"its header states Bytes/sec 32000, but its rate, channels and bits"):
            read_audio(path)


def without_lengths(content: bytes) -> tuple[bytes, list[int]]:
    """A WebM whose segment and clusters do not state their sizes, and the places where its blocks begin."""
    at, blocks = 0, []
    while at < len(content):
        ident, size, body = _element(content, at, "")
        if ident in (_SEGMENT, _CLUSTER):
            width = body - at - len(ident)
            content = patched(content, at + len(ident), ((1 << 7 * width + 1) - 1).to_bytes(width))
            at = body
            continue
        if ident == b"\xa3":
            blocks.append(at)
        at = body + size
    return content, blocks


def test_a_webm_that_ends_before_its_time_is_truncated(tmp_path):
    path = write(tmp_path / "a.webm", 10)
    content, blocks = without_lengths(path.read_bytes())
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == 160_000
    path.write_bytes(content[: blocks[350]])  # of 500 blocks of 20 ms
    with pytest.raises(ValueError, match=r"a\.webm: truncated: \d+\.\d+ s of 10\.0"):
        read_audio(path)
    path.write_bytes(content[: blocks[350] + 30])
    with pytest.raises(ValueError, match=r"a\.webm: truncated: .* bytes"):
        read_audio(path)


def test_an_m4a_without_its_index_says_so(tmp_path):
    path = write(tmp_path / "a.m4a", 2)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(ValueError, match=r"a\.m4a: its index \(moov\) is missing; the recording was not finished"):
        read_audio(path)


# --- time stamps

TIMED = ("a.webm", "a.mka", "a.m4a", "a.ts")
GAPS = ([(2.0, 3.0)], [(0.0, 2.0)], [(0.0, 1.0), (2.0, 0.5), (4.0, 3.0)])


def late(path, times, seconds=6.0):
    codec, rate_hz, options = BY_FFMPEG[path.name]
    return by_ffmpeg(path, sound(seconds, rate_hz), rate_hz, codec, options, times)


@pytest.mark.parametrize("times", GAPS, ids=str)
@pytest.mark.parametrize("name", TIMED)
def test_gaps_and_a_late_beginning_are_silence(tmp_path, name, times):
    path = late(tmp_path / name, times)
    wave, _ = read_audio(path)
    (tmp_path / "plain").mkdir()
    plain, _ = read_audio(late(tmp_path / "plain" / name, []))
    if name == "a.ts" and not times[0][0]:
        times = times[1:]  # a transport stream begins at any time
    assert abs(len(wave) - len(plain) - 16_000 * sum(by for _, by in times)) < 320
    for since_s in np.arange(0.1, 5.7, 0.1):
        if min(abs(since_s + 0.05 - since) for since, _ in times or [(9.0, 0.0)]) < 0.15:
            continue
        at, later_s = round(16_000 * since_s), sum(by for since, by in times if since < since_s)
        expected = plain[at : at + 800]
        near = [
            wave[at + round(16_000 * later_s) + lag :][:800] for lag in range(-320, 321)
        ]  # packets have 20 to 64 ms
        assert min(np.abs(each - expected).max() for each in near) < 1e-3
    for i, (since_s, by_s) in enumerate(times):
        middle = round(16_000 * (since_s + sum(by for _, by in times[:i]) + by_s / 2))
        assert np.abs(wave[middle - 1600 : middle + 1600]).max() < 1e-3
    begin_s, end_s = 0.5, 4.25
    part = read_audio(path, start_s=begin_s, end_s=end_s)[0]
    assert np.abs(part - wave[round(16_000 * begin_s) : round(16_000 * end_s)])[400:-400].max() < 1e-3


@pytest.mark.parametrize("name", TIMED)
def test_jitter_is_no_gap(tmp_path, name):
    plain = read_audio(late(tmp_path / name, []))[0]
    shaky = [(since, by) for i, since in enumerate(np.arange(0.5, 5.5, 0.5)) for by in [0.015 * (-1) ** i]]
    assert np.array_equal(read_audio(late(tmp_path / name, shaky))[0][:90_000], plain[:90_000])


def test_time_stamps_that_make_no_sense_are_refused(tmp_path):
    path = late(tmp_path / "a.webm", [(2.0, 4000.0)])
    with pytest.raises(ValueError, match=r"a\.webm: its time stamps leave \d{4} s without sound after [12]\.\d\d s"):
        read_audio(path)
    content = write(tmp_path / "a.webm", 10).read_bytes()
    second = content.index(_CLUSTER, content.index(_CLUSTER) + 4)
    for cluster, time_ms, told in (
        (second, 3000, r"go back from \d\.\d\d to 2\.99 s"),
        (content.rindex(_CLUSTER), 19_000, r"lead to \d+\.\d\d s, but it states 10\.0\d"),
    ):
        at = content.index(b"\xe7", cluster) + 2
        path.write_bytes(patched(content, at, time_ms.to_bytes(2)))
        with pytest.raises(ValueError, match=rf"a\.webm: .*its time stamps {told}"):
            read_audio(path)


def test_a_segment_after_a_gap_is_found_where_its_times_say(tmp_path):
    """A call whose second sentence begins after 5 s without packets: an import gets the sentence, and not the rest."""
    late(tmp_path / "a.webm", [(2.0, 5.0)], seconds=4.0)
    rows = [
        {"id": key, "audio": "a.webm", "text": "yes", "speaker": "s", "domain": "d", "start_s": start, "end_s": end}
        for key, start, end in (("first", 0.5, 1.5), ("second", 7.5, 8.5))
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["import", "manifest", str(tmp_path / "m.jsonl"), "--corpus", "c", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    plain = soxr.resample(sound(4.0, 48_000) / np.float32(32768), 48_000, 16_000)
    for utterance, start_s in zip(Corpus(tmp_path / "out"), (0.5, 2.5)):
        begin = round(16_000 * start_s)
        near = [plain[begin + lag : begin + lag + 16_000] for lag in range(-20, 21)]
        assert max(np.corrcoef(utterance.samples, each)[0, 1] for each in near) > 0.99


# --- files without a header


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_samples_without_a_header_are_read_by_their_encoding(tmp_path, encoding):
    subtype, endian, _ = ENCODINGS[encoding]
    path = tmp_path / "a.raw"
    soundfile.write(path, sound(2, 8000) / 32768, 8000, format="RAW", subtype=subtype, endian=endian)
    wave, rate_hz = read_audio(path, raw=Raw(encoding, 8000))
    expected = soxr.resample(sound(2, 8000) / np.float32(32768), 8000, 16_000)
    assert rate_hz == 8000 and len(wave) == 32_000
    exact = encoding not in ("s8", "u8", "mulaw", "alaw")
    assert np.abs(wave - expected).max() < (1e-4 if exact else 0.03)
    part = read_audio(path, start_s=1.0, end_s=1.5, raw=Raw(encoding, 8000))[0]
    assert np.abs(part - wave[16_000:24_000])[400:-400].max() < 1e-3


@pytest.mark.parametrize("name", ["a.raw", "a.sw", "a.ul", "a.al", "a.au", "a.sln", "a.g722", "a.gsm"])
def test_samples_without_a_header_are_not_guessed(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_bytes(sound(1, 8000).tobytes())
    told = r"it has no header\. Give its sample_rate and encoding \(s16le, "
    with pytest.raises(ValueError, match=told if name != "a.au" else "damaged, or not a format"):
        read_audio(path)
    path.write_text("The words of a transcript, saved under the wrong name.\n" * 200)
    with pytest.raises(ValueError, match=rf"{name}: this is text, not sound"):
        read_audio(path)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=rf"{name}: this is text, not sound"):
        read_audio(path)


def test_a_wrong_encoding_is_noticed(tmp_path):
    for name, content, told in (
        ("a.raw", write(tmp_path / "a.wav", 1).read_bytes(), r"the file has a header \(b'RIFF'\); remove the field"),
        ("b.raw", b"some words\n" * 100, "the file is text, not s16le samples"),
        ("c.raw", sound(1).tobytes()[:-1], "31,999 bytes are not a whole number of s16le samples"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: field encoding: {told}"):
            read_audio(tmp_path / name, raw=Raw("s16le", 16_000))


@pytest.fixture
def mixed(tmp_path):
    """A manifest with two good recordings, one without a header, and one without a header but with an encoding."""
    for name in ("a", "d"):
        soundfile.write(tmp_path / f"{name}.wav", sound(1), 16_000)
    (tmp_path / "b.raw").write_bytes(sound(1).tobytes())
    (tmp_path / "c.raw").write_bytes(sound(1).tobytes())
    rows = [
        {"id": path.stem, "audio": path.name, "text": "yes", "speaker": "s", "domain": "d"}
        for path in sorted(tmp_path.iterdir())
    ]
    rows[2] |= {"encoding": "s16le", "sample_rate": 16_000}
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_one_bad_recording_ends_neither_import_nor_validation(mixed, capsys):
    command = ["import", "manifest", str(mixed / "m.jsonl"), "--corpus", "c", "--out", str(mixed / "out")]
    assert main(command) == 3
    assert "3 utterances" in (printed := capsys.readouterr().out) and "1 lines set aside" in printed
    assert [u.id for u in Corpus(mixed / "out")] == ["a", "c", "d"]
    assert all(np.array_equal(u.samples, sound(1) / np.float32(32768)) for u in Corpus(mixed / "out"))
    assert main(["validate", str(mixed / "m.jsonl"), "--format", "manifest", "--workers", "1"]) == 3
    assert "problem: not usable: 1\n  b: " in capsys.readouterr().out


def test_a_recording_that_needs_pyav_is_set_aside_without_it(mixed, monkeypatch):
    write(mixed / "a.webm", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with (mixed / "m.jsonl").open("a") as file:
        row = {"id": "w", "audio": "a.webm", "text": "yes", "speaker": "s", "domain": "d"}
        file.write(json.dumps(row) + "\n")
    report = import_manifest(mixed / "m.jsonl", mixed / "out", "c")
    assert report.kept == 3 and "pip install 'mdasr[codecs]'" in report.set_aside[-1].reason


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"encoding": "mp3", "sample_rate": 8000}, "field encoding: must be one of s16le, s16be"),
        ({"encoding": 7, "sample_rate": 8000}, "field encoding: must be one of s16le, s16be"),
        ({"encoding": "mulaw"}, "field encoding: a file without a header needs its rate, too"),
        ({"encoding": "mulaw", "sample_rate": 8000, "channel": 1}, "there is no channel 1; the file has 1"),
    ],
)
def test_a_wrong_field_encoding_is_named(mixed, fields, told):
    row = {"id": "x", "audio": "b.raw", "text": "yes", "speaker": "s", "domain": "d", **fields}
    with (mixed / "m.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    report = import_manifest(mixed / "m.jsonl", mixed / "out", "c")
    assert report.kept == 3 and told in report.set_aside[-1].reason


# --- formats that libsndfile does not read

OTHERS = {
    "g722.wav": ("g722", 16_000, 0.97),
    "yamaha.wav": ("adpcm_yamaha", 16_000, 0.97),
    "ac3.wav": ("ac3", 48_000, 0.97),
    "g726.wav": ("adpcm_g726", 8000, 0.97),
    "flac.ogg": ("flac", 16_000, 0.9999),
    "a.wma": ("wmav2", 44_100, 0.97),
}


@pytest.mark.parametrize("name", OTHERS)
def test_ffmpeg_reads_what_libsndfile_cannot(tmp_path, name, monkeypatch):
    codec, rate_hz, alike = OTHERS[name]
    samples = sound(2, rate_hz)
    kind = "ogg" if name.endswith("ogg") else "asf" if name.endswith("wma") else "wav"
    extra = {"adpcm_g726": {"bit_rate": 32_000}, "wmav2": {"bit_rate": 128_000}}.get(codec, {})
    path = by_ffmpeg(tmp_path / name, samples, rate_hz, codec, format=kind, **extra)
    wave, found_hz = read_audio(path)
    expected = soxr.resample(samples / np.float32(32768), rate_hz, 16_000)
    assert found_hz == rate_hz and abs(len(wave) / 16_000 - 2) < 0.15
    wave, lags = np.concatenate([np.zeros(2000, np.float32), wave]), range(6000)
    least = min(len(wave) - 4000, len(expected))
    at = int(np.argmax([np.dot(wave[lag + 8000 : lag + 12_000], expected[8000:12_000]) for lag in lags]))
    assert np.corrcoef(wave[at : at + least - 4000], expected[: least - 4000])[0, 1] > alike
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=rf"{name}: libsndfile cannot read this file .*mdasr\[codecs\]"):
        read_audio(path)
    monkeypatch.undo()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(ValueError, match=rf"{name}: (truncated|damaged)"):
        read_audio(path)


def test_a_sphere_file_compressed_by_shorten_is_read(tmp_path):
    path, samples = tmp_path / "a.sph", sound(2)
    content = shortened(samples, 16_000)
    path.write_bytes(content)
    assert np.array_equal(read_audio(path)[0], samples / np.float32(32768))
    for share in (0.01, 0.3, 0.7, 0.99):
        path.write_bytes(content[: round(share * len(content))])
        with pytest.raises(ValueError, match=r"a\.sph: (truncated: \d\.\d\d s of 2\.00|damaged)"):
            read_audio(path)


# --- cost


def test_a_compressed_recording_is_decoded_once_for_its_parts(tmp_path, monkeypatch):
    opened = []
    for module, function in ((ffmpeg_reader, "_on_time"), (mpeg_frames, "mpeg_parts")):
        original = getattr(module, function)
        monkeypatch.setattr(
            module, function, lambda *given, original=original: opened.append(original.__name__) or original(*given)
        )
    path = write(tmp_path / "a.m4a", 10)
    whole = read_audio(path)[0]
    opened.clear()

    def part(start_s):
        return read_audio(path, start_s=start_s, end_s=start_s + 1.5)[0]

    parts = [part(start_s) for start_s in np.arange(8.0).tolist()]
    assert opened == ["_on_time"]
    assert all(np.array_equal(each, whole[16_000 * i : 16_000 * i + 24_000]) for i, each in enumerate(parts))
    monkeypatch.setattr(recent_recording, "KEPT_BYTES", 100_000)  # some 1.5 s
    recent_recording.kept.forget()
    again = {start_s: part(start_s) for start_s in (0.0, 3.0, 7.0, 1.0, 2.0, 6.0)}
    assert opened == ["_on_time"] * 3  # at first, and to go back from 7 to 1
    assert all(np.array_equal(each, parts[int(start_s)]) for start_s, each in again.items())


def test_threads_do_not_share_what_they_decode(tmp_path):
    """Apache Beam's local runner writes shards in threads."""
    paths = []
    for seed, name in enumerate(("a.m4a", "a.webm", "xing.mp3", "a.ogg")):
        (tmp_path / name).mkdir()
        paths.append(write(tmp_path / name / name, 4, seed))
    wholes = [read_audio(path)[0] for path in paths]

    def parts_are_right(i):
        path, whole = paths[i % 4], wholes[i % 4]
        begin_s = 0.5 * (i // 4 % 6)
        part = read_audio(path, start_s=begin_s, end_s=begin_s + 1.0)[0]
        begin = round(16_000 * begin_s)
        return bool(np.abs(part - whole[begin : begin + 16_000])[400:-400].max() < 1e-3)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(parts_are_right, range(200)))


@pytest.mark.parametrize("name", ["a.m4a", "faststart.m4a", "a.webm", "a.mka", "a.opus", "a.ogg"])
def test_sound_begins_and_ends_where_it_did(tmp_path, name):
    """Encoders add samples before and after the sound (AAC's priming, Opus' pre-skip). They are left out."""
    wave = read_audio(write(tmp_path / name, 3))[0]
    rate_hz = BY_FFMPEG[name][1] if name in BY_FFMPEG else 16_000
    expected = soxr.resample(sound(3, rate_hz) / np.float32(32768), rate_hz, 16_000)
    assert abs(len(wave) - 48_000) <= 1
    match = [np.dot(wave[8000 + lag : 40_000 + lag], expected[8000:40_000]) for lag in range(-2000, 2001)]
    assert abs(int(np.argmax(match)) - 2000) <= 1


def test_a_changed_file_is_decoded_again(tmp_path):
    path = write(tmp_path / "a.m4a", 2)
    first = read_audio(path, start_s=0.5, end_s=1.0)[0]
    write(path, 2, seed=1)
    second = read_audio(path, start_s=0.5, end_s=1.0)[0]
    assert np.abs(first - second).max() > 0.1


def test_a_long_recording_is_read_in_blocks(tmp_path):
    """Four minutes of stereo at 44.1 kHz are 85 MB as float32, and one channel of them at 16 kHz is 15 MB."""
    part = np.stack([sound(10, 44_100), sound(10, 44_100, seed=1)], 1)
    soundfile.write(tmp_path / "a.wav", np.concatenate([part] * 24), 44_100)
    program = (
        "import resource, sys; from mdasr.corpus.audio_files import read_audio\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read_audio(sys.argv[1], 1)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.wav")], capture_output=True, text=True)
    assert float(done.stdout) < 60, done.stderr


# --- damaged files

# Cut at a place, these have no mark at their end and no length: a piece of one is one.
NO_END = {"live.webm": "between blocks", "noxing.mp3": "between frames", "a.ts": "between packets of sound"}
# Nothing contradicts another value in these places, and the recording gets another length.
NO_TRACE = {
    "a.au": "the rate",
    "a.sph": "the rate",
    "a.aiff": "the rate",
    "a.caf": "the rate",
    "ffmpeg.caf": "the rate",
}
CHECKED = ("a.flac", "a.ogg", "a.opus", "xing.mp3", "ffmpeg.mp3", "a.mka")  # checksums cover all of their samples


def check(results):
    """Every damaged file is set aside or has all of its samples, but for the damage that leaves no trace."""
    for found in results:
        told = f"{found.path}: {found.seconds} s of {found.whole_s}"
        if found.seconds is None:
            assert found.path.name in found.reason and len(found.reason) < 600
        elif found.damage == "cut":
            assert found.same or found.of in NO_END, told
        elif found.of in CHECKED and not (found.of.endswith("mp3") and found.damage == "zeroed"):
            assert found.same, told
        elif found.of in CHECKED:
            assert found.same or 0 < found.seconds - found.whole_s < 0.12, told  # the tag itself is gone
        elif found.of not in NO_TRACE:
            assert abs(found.seconds - found.whole_s) < 0.002, told
    return len(results)


def test_damaged_files_of_every_container(tmp_path):
    assert check(imported(tmp_path, ALL, 12, 8, timeout_s=120)) == 20 * len(ALL)


@pytest.mark.slow
def test_thousands_of_damaged_files_of_every_container(tmp_path):
    assert check(imported(tmp_path, ALL, 200, 200, timeout_s=600)) == 400 * len(ALL)
