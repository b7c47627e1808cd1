"""Features against librosa and hand-worked frames, their statistics, and the same features under jit."""

from __future__ import annotations

import json

import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.signal

from mdasr import frontend
from mdasr.acoustic.encoders.interface import PackedFrames, steps_of
from mdasr.frontend import BANDS, PAPER_STEPS, FeatureStats, feature_stats, log_mel, num_frames, num_samples


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pulses = np.zeros(samples, np.float32)
    pulses[::131] = 1
    wave = scipy.signal.lfilter([1], [1, -1.6, 0.9], pulses) * 0.05 + 0.003 * rng.standard_normal(samples)
    return wave.astype(np.float32)


def stacked(frames: np.ndarray) -> np.ndarray:
    """Stack the frames of one utterance into the paper's steps."""
    return np.asarray(steps_of(PackedFrames(frames[None], np.ones((1, len(frames)), np.int32)), PAPER_STEPS)[0])[0]


def test_filters_are_those_of_librosa_and_none_is_empty():
    theirs = librosa.filters.mel(
        sr=16_000, n_fft=1024, n_mels=128, fmin=125, fmax=7500, htk=True, norm=None, dtype=np.float64
    )
    np.testing.assert_allclose(frontend.mel_filters(), theirs.T, atol=1e-6)
    assert (frontend.mel_filters().max(axis=0) > 0.2).all()


@pytest.mark.parametrize("samples", [512, 671, 672, 16_000, 70_001])
def test_log_mel_is_librosas(samples):
    wave = speechlike(samples)
    # librosa centres a short window in the transform's frame: 256 zeros on either side undo it.
    power = librosa.feature.melspectrogram(
        y=np.pad(wave, 256).astype(np.float64), sr=16_000, n_fft=1024, win_length=512, hop_length=160,
        window="hann", center=False, power=2.0, n_mels=128, fmin=125, fmax=7500, htk=True, norm=None,
    )  # fmt: skip
    ours = log_mel(wave)
    assert ours.dtype == np.float32
    assert ours.shape == (num_frames(samples), 128)
    np.testing.assert_allclose(ours, np.log(power.T + 1e-8), atol=5e-4)


def test_a_tone_lands_in_its_band():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    centres = librosa.mel_frequencies(n_mels=130, fmin=125, fmax=7500, htk=True)[1:-1]
    assert abs(centres[log_mel(tone)[50].argmax()] - 1000) < 30


@pytest.mark.parametrize("samples", [0, 1, 511])
def test_too_short_a_wave_has_no_frames(samples):
    assert log_mel(np.zeros(samples, np.float32)).shape == (0, 128)
    assert PAPER_STEPS.steps_in(samples) == 0
    assert frontend.add_deltas(frontend.cepstra(log_mel(np.zeros(samples, np.float32)))).shape == (0, 39)


def test_a_warp_hears_a_tone_where_another_tract_would_have_had_it():
    """Below 4.8 kHz, a tone at f with filters warped by w peaks at the same band as a tone at f / w without warping."""
    time_s = np.arange(16_000) / 16_000
    for hz, warp in ((600, 1.1), (2000, 0.9), (4000, 1.05)):
        heard, wanted = (
            log_mel((0.1 * np.sin(2 * np.pi * tone_hz * time_s)).astype(np.float32), w).mean(axis=0).argmax()
            for tone_hz, w in ((hz, warp), (hz / warp, 1.0))
        )
        assert abs(heard - wanted) <= 1
    assert frontend.mel_filters(1.2).any(axis=0).all(), "no band is empty"
    np.testing.assert_array_equal(frontend.mel_filters(1.0), frontend.mel_filters())


def test_silence_is_the_floor():
    np.testing.assert_allclose(log_mel(np.zeros(2000, np.float32)), np.log(1e-8), rtol=1e-6)
    np.testing.assert_allclose(log_mel(np.zeros(2000, np.float32), floor=1e-6), np.log(1e-6), rtol=1e-6)
    wave = speechlike(4000)
    np.testing.assert_allclose(
        np.exp(log_mel(wave, floor=1e-3)) - np.exp(log_mel(wave, floor=1e-5)), 1e-3 - 1e-5, rtol=1e-2
    )


def test_the_floor_lies_where_rounding_to_16_bits_does():
    """In every band, the noise of rounding is above the floor; in the quietest one, it is below twice the floor."""
    wave = 3e-3 * np.random.default_rng(0).standard_normal(160_000)
    noise = (np.rint(wave * 32768) / 32768 - wave).astype(np.float32)
    power = np.exp(log_mel(noise).astype(np.float64)).mean(axis=0) - frontend.FLOOR
    expected = 2.0**-30 / 12 * (frontend.hann().astype(float) ** 2).sum() * frontend.mel_filters().sum(axis=0)
    np.testing.assert_allclose(power, expected, rtol=0.15)
    assert frontend.FLOOR < power.min() < 2 * frontend.FLOOR


def test_a_model_keeps_the_floor_that_it_was_trained_with(tmp_path):
    made, path = feature_stats([log_mel(speechlike(4000))]), tmp_path / "stats.json"
    made.write(path)
    assert FeatureStats.read(path, BANDS).floor == frontend.FLOOR
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({name: fields[name] for name in ("mean", "std")}))
    assert FeatureStats.read(path, BANDS).floor == 1e-6, "statistics of 0.2.0 name no floor, and had this one"
    for wrong in (0, -1, 2, float("nan"), "low", None):
        path.write_text(json.dumps(fields | {"floor": wrong}))
        with pytest.raises(ValueError, match=r"stats\.json.*train"):
            FeatureStats.read(path, BANDS)


def test_frames_and_steps_count_whole_windows_only():
    for samples in (*range(500, 3000, 61), 511, 512, 671, 672, 991, 992, 1471, 1472):
        windows = [i for i in range(30) if 160 * i + 512 <= samples]
        steps = [t for t in range(30) if 160 * (3 * t + 3) + 512 <= samples]
        assert num_frames(samples) == len(windows)
        assert PAPER_STEPS.steps_in(samples) == PAPER_STEPS.num_steps(len(windows)) == len(steps)
        if steps:
            assert stacked(log_mel(np.zeros(samples, np.float32))).shape == (len(steps), 512)
        assert PAPER_STEPS.num_frames(len(steps)) <= len(windows) < PAPER_STEPS.num_frames(len(steps) + 1)
        if windows:
            assert samples - 160 < num_samples(len(windows)) <= samples


def test_a_step_is_four_frames_labelled_by_the_second():
    features = np.arange(11 * 128, dtype=np.float32).reshape(11, 128)
    steps = stacked(features)
    assert steps.shape == (3, 512)
    np.testing.assert_array_equal(steps[2].reshape(4, 128), features[6:10])
    # An impulse at the centre of step 5's label frame is seen at its strongest by frame 3 * 5 + 1.
    wave = np.zeros(16_000, np.float32)
    wave[PAPER_STEPS.label_centres(6)[5]] = 1
    assert log_mel(wave).sum(axis=1).argmax() == 3 * 5 + 1


def test_stats_are_those_of_all_frames_at_once_and_survive_the_disk(tmp_path):
    arrays = [log_mel(speechlike(n, seed=n)) for n in (400, 5000, 16_000, 777)]
    stats = feature_stats(iter(arrays))
    together = np.concatenate(arrays).astype(np.float64)
    np.testing.assert_allclose(stats.mean, together.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats.std, together.std(axis=0), rtol=1e-4)
    stats.write(tmp_path / "stats.json")
    again = FeatureStats.read(tmp_path / "stats.json", BANDS)
    np.testing.assert_array_equal(again.mean, stats.mean)
    np.testing.assert_array_equal(again.std, stats.std)
    normal = frontend.normalize(np.concatenate(arrays), again)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=1e-3)


def test_stats_of_a_constant_band_do_not_divide_by_zero():
    stats = feature_stats([log_mel(np.zeros(4000, np.float32))])
    np.testing.assert_array_equal(stats.std, 1)


def test_stats_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="shorter than 32 ms"):
        feature_stats([np.empty((0, 128), np.float32)])
    path = tmp_path / "stats.json"
    for content in ("not json", "{}", '{"mean": [0], "std": [1]}', "[]"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"stats\.json"):
            FeatureStats.read(path, BANDS)


def test_cepstra_and_deltas_are_librosas():
    features = log_mel(speechlike(16_000))
    ours = frontend.cepstra(features)
    theirs = librosa.feature.mfcc(S=features.T, n_mfcc=13, dct_type=2, norm="ortho").T
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    deltas = frontend.add_deltas(ours)
    assert deltas.shape == (len(features), 39)
    # Savitzky-Golay of order 1 is the same fitted slope; only the edges are treated otherwise.
    slope = librosa.feature.delta(ours.T, width=5, order=1, mode="nearest").T
    np.testing.assert_allclose(deltas[:, 13:26], slope, atol=1e-3)
    np.testing.assert_allclose(deltas[4:-4, 26:], librosa.feature.delta(slope.T, width=5).T[4:-4], atol=1e-3)


def test_cepstra_for_a_network_have_slopes_and_are_the_same_in_windows_and_under_jax():
    mel, kind = log_mel(speechlike(16_000)), frontend.feature_kind("cepstra")
    whole = frontend.frames_of(mel, "cepstra")
    assert whole.shape == (len(mel), kind.width) and whole.dtype == np.float32
    # Beyond an edge the log-mel frames are repeated, which the aligner's features do to each derivative.
    inside = slice(kind.margin, -kind.margin)
    wanted = frontend.add_deltas(frontend.cepstra(mel, frontend.CEPSTRA))
    np.testing.assert_allclose(whole[inside], wanted[inside], atol=1e-4)
    np.testing.assert_allclose(whole[:, :20], wanted[:, :20], atol=1e-5)
    np.testing.assert_allclose(frontend.frames_between(mel, kind, 0, len(mel), jnp), whole, atol=2e-4)
    for first, end in ((0, 30), (20, 50), (80, len(mel))):
        window = np.full((end - first + 2 * kind.margin, BANDS), 99, np.float32)  # outside the utterance: ignored
        before, after = max(0, first - kind.margin), min(len(mel), end + kind.margin)
        begin = before - first + kind.margin
        window[begin : begin + after - before] = mel[before:after]
        for xp, atol in ((np, 1e-5), (jnp, 2e-4)):
            frames = frontend.frames_between(window, kind, begin, begin + after - before, xp)
            np.testing.assert_allclose(frames[inside], whole[first:end], atol=atol)
    assert frontend.frames_of(mel[:0], "cepstra").shape == (0, kind.width)
    np.testing.assert_array_equal(frontend.frames_of(mel, "log_mel"), mel)
