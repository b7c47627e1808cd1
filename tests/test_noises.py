"""Noises: each split, seed and process makes its own bits, and a folder of recordings is read or refused by name."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.fft
import soundfile

from mdasr.core.random_streams import random_stream
from mdasr.perturb import noises
from mdasr.perturb.noises import make_noises, read_noises, read_responses


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
    expected = 0.375 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(resampled[1000:-1000], expected[1000:-1000], atol=1e-3)


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
