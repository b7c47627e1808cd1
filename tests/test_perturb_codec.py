"""Codecs: the paper's conditions, what they keep of length, time and band, G.711 against FFmpeg, and lost packets."""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import scipy.signal

from mdasr.perturb import (
    FURTHER_CODECS,
    TRAINING_CODECS,
    UNSEEN_CODECS,
    Codec,
    PacketLoss,
    available,
    encode_decode,
    narrowband,
    require,
    to_16_khz,
)
from mdasr.perturb import codec as module

CODECS = [codec for codec in (*TRAINING_CODECS, *UNSEEN_CODECS) if codec is not None]


def chirps(samples: int) -> np.ndarray:
    """Make short sweeps between pauses; they are sharp in time, so that a shift of one sample shows."""
    rng = np.random.default_rng(7)
    time_s = np.arange(samples) / 16_000
    sweep = np.sin(2 * np.pi * (300 * time_s + 1200 * (time_s % 0.25) ** 2 * 2))
    gate = (time_s % 0.25 < 0.15).astype(np.float64)
    return (0.2 * gate * sweep + 0.003 * rng.standard_normal(samples)).astype(np.float32)


def lag(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the number of samples by which `other` is later: the interpolated maximum of the cross-correlation."""
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
    assert abs(lag(wave, decoded)) < (0.75 if codec.name == "opus" else 0.25)  # libopus comes 2/48000 s early
    assert 5 < snr_db(wave, decoded) < 60  # lossy, and yet the same sound
    # The end is there too, not cut off with the last frame.
    assert snr_db(wave[-1000:], decoded[-1000:]) > 0
    np.testing.assert_array_equal(encode_decode(wave, codec), decoded)


@pytest.mark.parametrize("codec", FURTHER_CODECS, ids=str)
def test_a_further_codec_keeps_length_time_and_the_spectrum(codec):
    wave = chirps(40_123)
    decoded = encode_decode(wave, codec)
    assert decoded.dtype == np.float32 and decoded.shape == wave.shape
    assert abs(lag(wave, decoded)) < 0.75
    # Those that model a voice do not keep a sweep's waveform, but where its energy lies in time and frequency.
    before, after = (scipy.signal.stft(x, 16_000, nperseg=512)[2] for x in (wave, decoded))
    ours, theirs = (np.log(np.abs(x[:100]) + 1e-3).ravel() for x in (before, after))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.8
    np.testing.assert_array_equal(encode_decode(wave, codec), decoded)


@pytest.mark.parametrize("name", ["mulaw", "alaw"])
def test_g711_is_that_of_ffmpeg(name):
    """libsndfile's tables agree with FFmpeg's, sample by sample, at 8 kHz."""
    rng = np.random.default_rng(3)
    samples = (rng.standard_normal(8_000) * 10 ** rng.uniform(0, 4.3, 8_000)).clip(-32768, 32767).astype(np.int16)
    ours, rate_hz = module.CODERS[name].run(samples, Codec(name, 64))
    encoder, decoder = (av.CodecContext.create(f"pcm_{name}", mode) for mode in "wr")
    for context in (encoder, decoder):
        context.sample_rate, context.layout, context.format = 8_000, "mono", "s16"
    encoder.time_base = Fraction(1, 8_000)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = 8_000
    packets = encoder.encode(frame) + encoder.encode(None)
    theirs = np.concatenate([f.to_ndarray().ravel() for p in packets for f in decoder.decode(p)])
    assert rate_hz == 8_000
    ours = np.rint(ours * 32768).astype(int)
    levels = np.unique(theirs)
    assert set(ours) <= {*levels, 0} and len(levels) > 200
    # The two cut between neighbouring levels at other places: FFmpeg rounds, libsndfile follows Sun's code.
    apart = np.abs(np.searchsorted(levels, ours) - np.searchsorted(levels, theirs))
    assert (apart == 0).mean() > 0.8 and apart.max() <= 1


@pytest.mark.parametrize("search", ["default", "fast"])
@pytest.mark.parametrize("kbps", [8, 23, 32, 64, 65, 128, 160])
def test_mp3_is_that_of_ffmpeg(kbps, search):
    """LAME's settings are those of FFmpeg's libmp3lame, and libsndfile decodes as FFmpeg does."""
    theirs = module.FFmpeg("libmp3lame", "mp3float", "s16p", {"compression_level": "7"})
    ours, codec = module.CODERS["mp3"], Codec("mp3", kbps, search)
    for samples in (100, 1_152, 40_001):
        wave = np.rint(chirps(samples) * 32768).astype(np.int16)
        expected, rate_hz = theirs.run(wave, codec, 16_000)  # PyAV removes the delay
        decoded, our_rate_hz = ours.run(wave, codec)
        assert rate_hz == our_rate_hz == 16_000
        np.testing.assert_allclose(decoded[ours.delay :][:samples], expected[:samples], rtol=0, atol=1e-6)


def test_mp3_needs_no_gpl_code(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert available(Codec("mp3", 32)) and encode_decode(chirps(2_000), Codec("mp3", 32)).any()
    monkeypatch.setitem(sys.modules, "lameenc", None)
    with pytest.raises(ImportError, match="lameenc is missing; install it with pip install 'lameenc'"):
        encode_decode(chirps(2_000), Codec("mp3", 32))


@pytest.mark.parametrize("name", ["aac", "opus", "sbc", "amr", "g722"])
def test_ffmpeg_cuts_a_wave_into_the_frames_that_we_would_cut(name):
    coder = module.CODERS[name]
    codec = Codec(name, coder.kbps[len(coder.kbps) // 2])
    samples = np.rint(chirps(8_000) * 32768).astype(np.int16)
    packets, _ = coder.library.encode(samples, codec, coder.rate_hz)
    encoder = av.CodecContext.create(coder.library.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = coder.rate_hz, "mono", coder.library.sample_format
    encoder.time_base, encoder.bit_rate = Fraction(1, coder.rate_hz), round(codec.kbps * 1000)
    encoder.options = {"global_quality": str((int(codec.kbps) - 8) // 2 * 118)} if name == "sbc" else {}
    encoder.open()
    planar = samples[None] / np.float32(32768) if coder.library.sample_format == "fltp" else samples[None]
    expected = []
    for first in range(0, len(samples), encoder.frame_size):
        block = np.ascontiguousarray(planar[:, first : first + encoder.frame_size])
        frame = av.AudioFrame.from_ndarray(block, format=coder.library.sample_format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = coder.rate_hz, first, encoder.time_base
        expected += encoder.encode(frame)
    expected += encoder.encode(None)
    assert len(packets) > 4 and [*map(bytes, packets)] == [*map(bytes, expected)]


def test_aac_is_clamped_at_96_kbps_and_not_at_64():
    """FFmpeg allows 6144 bits a frame of 1024 samples."""
    samples = np.rint(chirps(32_000) * 32768).astype(np.int16)

    def coded(kbps: int) -> list[bytes]:
        return [*map(bytes, module.CODERS["aac"].library.encode(samples, Codec("aac", kbps), 16_000)[0])]

    assert coded(96) == coded(128) == coded(160)
    assert len({b"".join(coded(kbps)) for kbps in (48, 64, 80, 95, 96)}) == 5


def test_telephone_codecs_keep_nothing_above_4_khz():
    noise = (0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32)
    for codec in FURTHER_CODECS:
        hz, power = scipy.signal.welch(encode_decode(noise, codec), 16_000, nperseg=1024)
        above_db = 10 * np.log10(power[hz > 4_200].max() / power[(hz > 500) & (hz < 3000)].mean())
        telephone = codec.name in ("mulaw", "alaw", "gsm", "amr")
        assert (above_db < -60) if telephone else (above_db > -20), codec


def test_packets_are_lost_as_often_and_in_such_bursts_as_asked():
    lost = np.concatenate([PacketLoss(0.1, 3.0, seed).lost(500) for seed in range(100)])
    assert lost.mean() == pytest.approx(0.1, abs=0.01)
    starts = lost & ~np.concatenate([[False], lost[:-1]])
    assert lost.sum() / starts.sum() == pytest.approx(3, rel=0.1)
    singly = PacketLoss(0.2, 1.0, 5).lost(20_000)
    assert singly.mean() == pytest.approx(0.2, abs=0.01) and not (singly[1:] & singly[:-1]).any()
    np.testing.assert_array_equal(PacketLoss(0.1, 3.0, 7).lost(100), PacketLoss(0.1, 3.0, 7).lost(100))
    for wrong in ({"share": 0.0}, {"share": 1.2}, {"share": 0.9}, {"share": 0.1, "burst": 0.5}):
        with pytest.raises(ValueError, match="packet loss: "):
            PacketLoss(**wrong)


def test_lost_packets_are_concealed_and_the_others_are_as_before():
    time_s = np.arange(32_000) / 16_000
    vowel = (0.05 * sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 30))).astype(np.float32)
    whole = encode_decode(vowel, Codec("opus", 24))
    loss = PacketLoss(0.1, 2.0, seed=4)
    patched = encode_decode(vowel, Codec("opus", 24, loss=loss))
    error = np.add.reduceat((whole - patched) ** 2, np.arange(0, 32_000, 320)) / 320
    power = np.add.reduceat(patched**2, np.arange(0, 32_000, 320)) / 320
    lost = loss.lost(101)[:100]
    assert error[lost].mean() > 1e3 * np.median(error)
    assert (power[3:-1] > 0.1 * np.median(power)).all()  # a gap would be silent: the decoder goes on with the vowel
    # A codec with memory needs some packets until it is where it would have been.
    calm = ~np.convolve(lost, np.ones(12), "full")[:100].astype(bool)
    assert calm.sum() > 10 and error[calm].max() < 0.01 * power.mean()


@pytest.mark.parametrize(
    "codec", [Codec("mp3", 32), Codec("aac", 64), *UNSEEN_CODECS, *FURTHER_CODECS[2:4], *FURTHER_CODECS[5:]], ids=str
)
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
    encoded = module.CODERS[codec.name].library.encode(samples, codec, 16_000)
    packets = [encoded] if codec.name == "mp3" else map(bytes, encoded[0])
    assert sum(map(len, packets)) * 8 / 5000 == pytest.approx(kbps, rel=0.12)


def test_sbc_frames_say_what_the_paper_asks_for():
    packets, _ = module.CODERS["sbc"].library.encode(np.zeros(16_000, np.int16), Codec("sbc", 56), 16_000)
    for packet in packets:
        # A2DP's header: sync word; 16 kHz, 16 blocks, mono, loudness, 8 subbands; bitpool 24.
        assert bytes(packet)[:3] == bytes([0x9C, 0b00_11_00_0_1, 24])
        assert packet.size == 56


def band_edge_hz(wave: np.ndarray) -> float:
    """Return the frequency where the spectrum of decoded white noise falls 20 dB below its middle."""
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
        (("speex", 13), "name 'speex' must be one of mp3, aac, opus, sbc"),
        (("mp3", 0), "kbps 0 of mp3 must be a whole number from 8 to 160"),
        (("amr", 12), "kbps 12 of amr must be 4.75 or 5.15"),
        (("mp3", 32, "default", PacketLoss(0.1)), "only opus can"),
        (("sbc", 55), "bitpool"),
    ],
)
def test_a_codec_that_does_not_exist_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Codec(*fields)


def test_require_names_what_this_build_lacks(monkeypatch):
    lacking = module.FFmpeg("no_such_encoder", "opus", "s16")
    monkeypatch.setitem(module.CODERS, "opus", module.CODERS["opus"]._replace(library=lacking))
    assert available(Codec("mp3", 32)) and not available(Codec("opus", 24))
    with pytest.raises(ImportError, match=r"lacks opus 24k: .*leave these codecs out"):
        require(TRAINING_CODECS + UNSEEN_CODECS)


def test_without_pyav_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"PyAV is missing; install it with pip install 'mdasr\[codecs\]'"):
        encode_decode(chirps(1000), Codec("aac", 32))


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


def test_any_rate_is_brought_to_16_khz_first():
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    heard = narrowband(tone, 44_100)
    assert heard.shape == (16_000,) and heard.dtype == np.float32
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(heard[500:-500], expected[500:-500], atol=2e-3)
    for rate_hz in (0, -8_000, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="what rate was the wave sampled at"):
            to_16_khz(tone, rate_hz)
