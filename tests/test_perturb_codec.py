from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.signal

from mdasr.perturb import TRAINING_CODECS, UNSEEN_CODECS, Codec, available, encode_decode, narrowband, require
from mdasr.perturb import codec as module

CODECS = [codec for codec in (*TRAINING_CODECS, *UNSEEN_CODECS) if codec is not None]


def chirps(samples: int) -> np.ndarray:
    """Short sweeps between pauses: sharp in time, so that a shift of one sample shows."""
    rng = np.random.default_rng(7)
    time_s = np.arange(samples) / 16_000
    sweep = np.sin(2 * np.pi * (300 * time_s + 1200 * (time_s % 0.25) ** 2 * 2))
    gate = (time_s % 0.25 < 0.15).astype(np.float64)
    return (0.2 * gate * sweep + 0.003 * rng.standard_normal(samples)).astype(np.float32)


def lag(reference: np.ndarray, other: np.ndarray) -> float:
    """Samples by which `other` comes later, from the cross-correlation's interpolated maximum."""
    correlation = scipy.signal.correlate(other.astype(float), reference.astype(float), method="fft")
    k = int(correlation.argmax())
    before, peak, after = correlation[k - 1 : k + 2]
    return k - (len(reference) - 1) + 0.5 * (before - after) / (before - 2 * peak + after)


def snr_db(reference: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((other - reference) ** 2)))


def test_the_conditions_are_the_papers():
    assert [None if c is None else (c.name, c.kbps) for c in TRAINING_CODECS] == [
        None, ("mp3", 128), ("mp3", 32), ("mp3", 23), ("aac", 128), ("aac", 64), ("aac", 23),
    ]  # fmt: skip
    assert [str(c) for c in UNSEEN_CODECS] == ["mp3 64k", "opus 24k", "sbc 56k"]
    require(TRAINING_CODECS + UNSEEN_CODECS)


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_codec_keeps_length_time_and_most_of_the_sound(codec):
    wave = chirps(40_123)
    decoded = encode_decode(wave, codec)
    assert decoded.dtype == np.float32 and decoded.shape == wave.shape
    assert abs(lag(wave, decoded)) < 0.25
    assert 5 < snr_db(wave, decoded) < 60  # lossy, and yet the same sound
    # The end is there too, not cut off with the last frame.
    assert snr_db(wave[-1000:], decoded[-1000:]) > 0
    np.testing.assert_array_equal(encode_decode(wave, codec), decoded)


@pytest.mark.parametrize("codec", [Codec("mp3", 32), Codec("aac", 64), *UNSEEN_CODECS], ids=str)
@pytest.mark.parametrize("samples", [0, 1, 127, 128, 1151, 1152, 1153, 2048])
def test_any_length_comes_back(codec, samples):
    decoded = encode_decode(chirps(samples), codec)
    assert decoded.dtype == np.float32 and decoded.shape == (samples,)
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize(
    ("codec", "kbps"),
    [
        (Codec("mp3", 128), 128), (Codec("mp3", 64), 64), (Codec("mp3", 32), 32), (Codec("mp3", 23), 24),
        (Codec("aac", 64), 70), (Codec("aac", 23), 23.5), (Codec("opus", 24), 23), (Codec("sbc", 56), 56),
    ],
    ids=str,
)  # fmt: skip
def test_bit_rates_are_those_that_exist_at_16_khz(codec, kbps):
    rng = np.random.default_rng(0)
    samples = np.rint(3000 * rng.standard_normal(80_000)).clip(-32768, 32767).astype(np.int16)
    packets, _ = module._encode(samples, codec)
    assert sum(packet.size for packet in packets) * 8 / 5000 == pytest.approx(kbps, rel=0.12)


def test_sbc_frames_say_what_the_paper_asks_for():
    packets, _ = module._encode(np.zeros(16_000, np.int16), Codec("sbc", 56))
    for packet in packets:
        # A2DP's header: sync word; 16 kHz, 16 blocks, mono, loudness, 8 subbands; bitpool 24.
        assert bytes(packet)[:3] == bytes([0x9C, 0b00_11_00_0_1, 24])
        assert packet.size == 56


def band_edge_hz(wave: np.ndarray) -> float:
    """Where the spectrum of decoded white noise falls 20 dB below its middle."""
    hz, power = scipy.signal.welch(wave, 16_000, nperseg=1024)
    loud = power > np.median(power[(hz > 500) & (hz < 3000)]) / 100
    return float(hz[loud].max())


def test_low_rates_narrow_the_band():
    noise = (0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32)
    assert band_edge_hz(encode_decode(noise, Codec("mp3", 23))) == pytest.approx(5750, abs=250)
    assert band_edge_hz(encode_decode(noise, Codec("mp3", 32))) == pytest.approx(7250, abs=250)
    assert band_edge_hz(encode_decode(noise, Codec("mp3", 128))) == pytest.approx(7250, abs=250)


@pytest.mark.parametrize("name", ["mp3", "aac"])
def test_the_fast_search_is_another_encoding_of_the_same_sound(name):
    wave = chirps(32_000)
    default, fast = (encode_decode(wave, Codec(name, 32, search)) for search in ("default", "fast"))
    assert not np.array_equal(default, fast)
    assert abs(lag(wave, fast)) < 0.25
    assert snr_db(wave, fast) > snr_db(wave, default) - 6


def test_samples_beyond_full_scale_are_clipped_not_wrapped():
    loud = (1.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
    decoded = encode_decode(loud, Codec("mp3", 128))
    assert snr_db(loud.clip(-1, 1), decoded) > 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("gsm", 13), "name 'gsm' must be one of mp3, aac, opus, sbc"),
        (("mp3", 0), "kbps 0 must be a whole number from 6 to 320"),
        (("sbc", 55), "bitpool"),
        (("mp3", 32, "best"), "search 'best'"),
    ],
)
def test_a_codec_that_does_not_exist_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Codec(*fields)


def test_require_names_what_this_build_lacks(monkeypatch):
    lacking = module._CODERS["opus"]._replace(encoder="no_such_encoder")
    monkeypatch.setitem(module._CODERS, "opus", lacking)
    assert available(Codec("mp3", 32)) and not available(Codec("opus", 24))
    with pytest.raises(RuntimeError, match=r"lacks opus 24k: .*leave these codecs out"):
        require(TRAINING_CODECS + UNSEEN_CODECS)


def test_without_pyav_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"needs PyAV: pip install 'mdasr\[codecs\]'"):
        encode_decode(chirps(1000), Codec("mp3", 32))


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 999, 16_000, 40_001])
def test_narrowband_keeps_every_length(samples):
    narrow = narrowband(chirps(samples))
    assert narrow.dtype == np.float32 and narrow.shape == (samples,)


def test_narrowband_removes_the_upper_half_and_nothing_else():
    noise = (0.1 * np.random.default_rng(1).standard_normal(80_001)).astype(np.float32)
    narrow = narrowband(noise)
    assert abs(lag(noise, narrow)) < 0.01
    window = np.hanning(len(noise))
    hz = np.fft.rfftfreq(len(noise), 1 / 16_000)
    before, after = np.fft.rfft(noise * window), np.fft.rfft(narrow * window)
    kept, removed = (hz > 20) & (hz < 3600), hz > 4100
    error = np.sum(np.abs(after - before)[kept] ** 2) / np.sum(np.abs(before)[kept] ** 2)
    left = np.sum(np.abs(after)[removed] ** 2) / np.sum(np.abs(before)[removed] ** 2)
    assert 10 * np.log10(error) < -50
    assert 10 * np.log10(left) < -60
