"""Noises: each split, seed and process makes its own bits, and a folder of recordings is read or refused by name."""

from __future__ import annotations

import copy
import gc
import hashlib
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import soundfile

from mdasr.core.random_streams import random_stream
from mdasr.perturb import NoiseSource, noises, recorded_noises
from mdasr.perturb.loudness import active_power, audible_power
from mdasr.perturb.noises import SoundSource, make_noises, read_noises, read_responses
from mdasr.perturb.room import excerpt


@pytest.fixture(scope="module")
def test_split() -> dict[str, np.ndarray]:
    return make_noises("test", seed=3)


def test_snippets_are_audio_of_many_kinds(test_split):
    assert {name.split("-")[0] for name in test_split} == set(noises.KINDS)
    assert len(noises.KINDS) >= 8
    for name, wave in test_split.items():
        assert wave.dtype == np.float32 and wave.shape == (160_000,), name
        assert np.isfinite(wave).all() and np.abs(wave).max() < 1, name
        assert 0.01 < np.sqrt(np.mean(wave**2)) <= 0.1001, name
        # No stretch of half a second is silent: an SNR set on any part of it would be met by nothing.
        assert np.sqrt(np.mean(wave.reshape(20, -1) ** 2, axis=1)).min() > 1e-4, name


def test_kinds_differ_in_spectrum_and_in_time(test_split):
    def low_share(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        return power[: len(power) // 16].sum() / power.sum()  # below 500 Hz

    def peakiness(wave):
        return np.mean(wave**4) / np.mean(wave**2) ** 2  # 3 for a Gaussian

    kind = {k: [w for name, w in test_split.items() if name.startswith(k)] for k in noises.KINDS}
    assert min(map(low_share, kind["traffic"] + kind["wind"])) > 0.5
    assert max(map(low_share, kind["rain"])) < 0.3
    assert min(map(peakiness, kind["typing"])) > 10
    assert max(map(peakiness, kind["fan"])) < 3.5


def test_splits_share_no_snippet_and_each_depends_on_seed_and_id_alone(test_split):
    dev = make_noises("dev", seed=3)
    assert not dev.keys() & test_split.keys()
    for kind in noises.KINDS:
        waves = [wave for wave in (*dev.items(), *test_split.items()) if wave[0].startswith(kind)]
        spectra = np.stack([scipy.fft.rfft(wave) for _, wave in waves])
        spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)
        for i, spectrum in enumerate(spectra[:-1]):
            # Circular cross-correlation: no snippet is a shifted copy of another.
            others = scipy.fft.irfft(spectrum * spectra[i + 1 :].conj(), axis=1) * 80_000
            assert np.abs(others).max() < 0.9, waves[i][0]
        assert not np.array_equal(noises.KINDS[kind](random_stream("a")), noises.KINDS[kind](random_stream("b")))


@pytest.mark.slow
def test_another_process_makes_the_same_bits(test_split):
    code = (
        "import hashlib, sys; from mdasr.perturb.noises import make_noises\n"
        "samples = b''.join(wave.tobytes() for wave in make_noises('test', 3).values())\n"
        "sys.stdout.write(hashlib.sha256(samples).hexdigest())"
    )
    theirs = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert theirs == hashlib.sha256(b"".join(w.tobytes() for w in test_split.values())).hexdigest()


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="noise split 'eval': use one of train, dev, test"):
        make_noises("eval")


def test_a_users_folder_is_read_at_any_rate_and_depth(tmp_path):
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)
    (tmp_path / "street").mkdir()
    soundfile.write(tmp_path / "street" / "a.wav", np.stack([tone, 0.5 * tone], axis=1), 48_000)
    soundfile.write(tmp_path / "a.flac", tone, 16_000)
    (tmp_path / "notes.txt").write_text("not audio, and not looked at")
    snippets = read_noises(tmp_path)
    assert list(snippets) == ["a.flac", "street/a.wav"]
    assert len(snippets["a.flac"]) == 48_000
    resampled = snippets["street/a.wav"]
    assert resampled.dtype == np.float32 and len(resampled) == 16_000
    inner, time_s = resampled[2_000:-2_000], np.arange(2_000, 14_000) / 16_000
    assert np.sqrt(np.mean(inner**2)) == pytest.approx(0.1, rel=0.02)
    spectrum = np.mean(inner * np.exp(-2j * np.pi * 440 * time_s))
    assert np.sqrt(2) * abs(spectrum) == pytest.approx(np.sqrt(np.mean(inner**2)), rel=1e-3)  # it is the tone, alone


def recording(folder: Path, name: str, wave: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, wave, 16_000, subtype="FLOAT")


def hiss(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.05 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds))


def test_all_recordings_become_equally_loud(tmp_path):
    for i, gain_db in enumerate((-42, -20, 0, 10)):
        silent = np.arange(80_000) < 16_000 * i  # so much of it
        recording(tmp_path, f"{i}.wav", np.where(silent, 0, hiss(5, i)) * 10 ** (gain_db / 20))
    snippets = read_noises(tmp_path)
    levels_db = [10 * np.log10(active_power(snippets[name])) for name in snippets]
    assert len(levels_db) == 4 and levels_db == pytest.approx([-20] * 4, abs=0.1)


def test_dc_and_rumble_do_not_enter(tmp_path):
    rumble = 0.3 * np.sin(2 * np.pi * 5 * np.arange(80_000) / 16_000)
    recording(tmp_path, "plain.wav", hiss(5))
    recording(tmp_path, "dc.wav", hiss(5) + 0.3)
    recording(tmp_path, "rumble.wav", hiss(5) + rumble - 0.2)
    plain, *others = (read_noises(tmp_path)[name] for name in ("plain.wav", "dc.wav", "rumble.wav"))
    for other in others:
        assert abs(other.mean()) < 1e-4
        assert 10 * np.log10(np.mean((other - plain) ** 2) / np.mean(plain**2)) < -40
    recording(tmp_path / "flat", "flat.wav", np.full(16_000, 0.2))
    recording(tmp_path / "deep", "deep.wav", rumble)
    for folder in ("flat", "deep"):
        with pytest.raises(ValueError, match=rf"{folder}\.wav: is digital silence .*above 50 Hz"):
            read_noises(tmp_path / folder)


@pytest.mark.parametrize("floor", [0, 1e-5])
@pytest.mark.parametrize("taps", [0, 3_000])
def test_no_recipe_draws_silence(tmp_path, floor, taps):
    """A bark of 0.35 s and one of 50 ms in a minute: wherever a noise starts, an utterance of 0.3 s has some of it."""
    wave = floor * hiss(60)
    wave[123_456:129_056] += hiss(0.35, 1)
    wave[700_000:700_800] += 0.3 * hiss(0.05, 2)
    recording(tmp_path, "dog.wav", wave)
    snippets = read_noises(tmp_path)
    starts, barks = set(), [0, 0]
    for share in np.arange(0, 1, 0.0101):
        playing = excerpt(snippets, NoiseSource((1.0, 1.0, 1.0), "dog.wav", float(share)), taps, 4_800)
        assert playing.dtype == np.float32 and len(playing) == taps + 4_800
        assert audible_power(playing[taps:]) > 1e-4 * 0.1**2, share
        begin = snippets.begin("dog.wav", share)
        starts.add(begin)
        barks[begin > 400_000] += 1
    assert len(starts) > 90 and min(barks) > 5


def test_every_sound_of_a_recording_is_drawn(tmp_path):
    recording(tmp_path, "a.wav", hiss(3))
    snippets = read_noises(tmp_path)
    begins = np.array([snippets.begin("a.wav", share) for share in np.arange(0, 1, 1e-4)])
    assert (np.abs(np.diff(begins)) < 3_300).all() and begins.min() < 0 and begins.max() >= 48_000 - 3_300
    assert len(set(begins)) > 9_000


def test_a_looped_snippet_is_a_periodic_one(tmp_path):
    """The stretch that is cut out is that of the whole loop, wherever it starts."""
    wave = hiss(0.5).astype(np.float32)
    fade = 800
    rise = np.sqrt((np.arange(fade) + 0.5) / fade).astype(np.float32)
    loop = wave[:-fade].copy()
    loop[:fade] = rise * loop[:fade] + rise[::-1] * wave[-fade:]
    for share, before in ((0.0, 0), (0.3, 100), (0.99, 5_000), (0.1, 20_000)):
        expected = np.resize(np.roll(loop, -((int(share * 8_000) - before) % 7_200)), before + 30_000)
        playing = excerpt({"a": wave}, NoiseSource((1.0, 1.0, 1.0), "a", share), before, 30_000)
        np.testing.assert_array_equal(playing, expected)


def test_workers_get_a_name_and_not_the_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for i in range(4):
        recording(tmp_path / "noises", f"{i}.wav", hiss(10, i))
    snippets = read_noises(tmp_path / "noises")
    (file,) = tmp_path.glob("mdasr-noises-*")
    assert file.stat().st_size == 4 * 4 * 160_000
    sent = pickle.dumps(snippets)
    assert len(sent) < 2_000  # of 2.56 MB
    received = pickle.loads(sent)
    assert list(received) == list(snippets) and received.begin("1.wav", 0.7) == snippets.begin("1.wav", 0.7)
    np.testing.assert_array_equal(received["2.wav"], snippets["2.wav"])
    assert not received["2.wav"].flags.writeable
    del received
    assert file.exists() and copy.deepcopy({"noises": snippets})["noises"] is snippets
    del snippets
    gc.collect()
    assert not file.exists()


def test_the_file_of_noises_goes_with_its_process(tmp_path):
    recording(tmp_path / "noises", "a.wav", hiss(1))
    code = f"from mdasr.perturb.noises import read_noises; kept = read_noises({str(tmp_path / 'noises')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert not [*tmp_path.glob("mdasr-noises-*")]


def test_a_bad_file_or_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recording(tmp_path / "noises", "a.wav", hiss(1))
    (tmp_path / "noises" / "b.wav").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"b\.wav: cannot be read as audio"):
        read_noises(tmp_path / "noises")
    assert not [*tmp_path.glob("mdasr-noises-*")]
    (tmp_path / "noises" / "b.wav").unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(ValueError, match=r"noises: cannot copy the noises to .*File too large.*TMPDIR"):
            read_noises(tmp_path / "noises")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not [*tmp_path.glob("mdasr-noises-*")]


def test_the_digest_of_a_folder_depends_on_names_contents_and_version(tmp_path, monkeypatch):
    for folder in ("one", "same", "renamed", "louder", "more"):
        recording(tmp_path / folder, "b.wav" if folder == "renamed" else "a.wav", hiss(1) * (1 + (folder == "louder")))
    recording(tmp_path / "more", "c.wav", hiss(1))
    (tmp_path / "same" / "notes.txt").write_text("not audio")
    digests = {f: SoundSource(tmp_path / f).made_of["noises"] for f in ("one", "same", "renamed", "louder", "more")}
    assert digests["one"] == digests["same"] and len(set(digests.values())) == 4
    monkeypatch.setattr(recorded_noises, "VERSION", 99)
    assert SoundSource(tmp_path / "one").made_of["noises"] not in digests.values()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is text", "cannot be read as audio"),
        (b"", "cannot be read as audio"),
        (np.zeros(0, np.float32), "has no samples"),
        (np.zeros(800, np.float32), "digital silence"),
        (np.array([0.1, np.nan, 0.1], np.float32), "not finite"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=rf"bad\.wav: .*{message}"):
        read_noises(tmp_path)


def test_what_is_used_of_several_channels_must_be_sound(tmp_path):
    tone = np.sin(np.arange(4800) / 7).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([0 * tone, tone], axis=1), 16_000)
    assert len(read_noises(tmp_path)["a.wav"]) == 4800
    with pytest.raises(ValueError, match=r"a\.wav: is digital silence \(in the channels that are used"):
        read_responses(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1), 48_000)
    assert len(read_responses(tmp_path)["a.wav"]) == 1600
    with pytest.raises(ValueError, match=r"a\.wav: is digital silence"):
        read_noises(tmp_path)
    soundfile.write(tmp_path / "a.wav", tone[:1], 48_000)
    with pytest.raises(ValueError, match=r"a\.wav: has no samples"):
        read_noises(tmp_path)


def test_a_folder_that_is_missing_or_holds_no_audio_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere: not a folder"):
        read_noises(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no WAV, FLAC or Ogg"):
        read_noises(tmp_path)


def test_a_flac_that_does_not_know_its_length_is_refused_by_name(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.sin(np.arange(16_000)) / 4, 16_000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21:26] = bytes([content[21] & 0xF0]) + bytes(4)
    (tmp_path / "a.flac").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.flac: cannot be read as audio .*; replace or remove it"):
        read_noises(tmp_path)
