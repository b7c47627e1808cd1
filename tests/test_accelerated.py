"""Functions under jit against the host's functions, which other tests compare with independent references."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import scipy.signal

from mdasr import frontend
from mdasr.acoustic import accelerated
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.loader import PackedRowMaker, RowMaker, measure_stats
from mdasr.acoustic.network import ModelConfig
from mdasr.acoustic.row_schedule import RowOptions, Source
from mdasr.acoustic.train import TrainOptions, train
from mdasr.perturb import (
    KIM_ROOMS,
    Codec,
    MeasuredRoom,
    NoiseAlone,
    Policy,
    Recipe,
    Room,
    RoomRanges,
    draw_room,
    impulse_responses,
    loudness,
    perturb,
)
from mdasr.perturb import narrowband as soxr_narrowband
from mdasr.perturb.masks import BandMask, MaskRanges
from mdasr.perturb.noises import make_noises
from mdasr.perturb.packed import Shapes, pack
from mdasr.perturb.responses import tail_noise
from tests.toy_speech import TREE, toy_corpus

RANGES = RoomRanges(rt60_s=(0.0, 0.5), distance_m=(1.0, 5.0), floor_m=(3.0, 8.0))
SHAPES = Shapes.of(24_000, RANGES)


@pytest.fixture(scope="module")
def noises() -> dict[str, np.ndarray]:
    return make_noises("dev")


def speech(samples: int, seed: int) -> np.ndarray:
    """Make syllables of a buzz through drifting resonances, with pauses, over a hiss, in samples of 16 bits."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / 16_000
    buzz = scipy.signal.sawtooth(2 * np.pi * (120 + 20 * np.sin(3 * time_s)) * time_s)
    loud = np.maximum(0, np.sin(2 * np.pi * 3 * time_s + rng.uniform(0, 6)))
    wave = 0.1 * loud * buzz + 0.002 * rng.standard_normal(samples)
    return np.rint(wave * 32768).astype(np.int16)


def recipes(noises: dict[str, np.ndarray], count: int) -> list[Recipe]:
    rooms = [draw_room(i, 7, sorted(noises), RANGES) for i in range(count)]
    rooms[1] = dataclasses.replace(rooms[1], rt60_s=0.0)
    gains_db = [0.0, -30.0, 10.0, 60.0]
    return [
        Recipe(None if i % 5 == 0 else rooms[i], narrowband=i % 3 == 0, gain_db=gains_db[i % 4]) for i in range(count)
    ]


def test_features_are_those_of_the_host(noises):
    lengths = [24_000, 23_999, 20_001, 16_000, 9_000, 24_000, 22_222, 24_000, 12_345, 24_000]
    waves = [speech(samples, i) for i, samples in enumerate(lengths)]
    waves[3] += 3_277  # DC of 0.1
    drawn = recipes(noises, len(waves))
    drawn[7] = dataclasses.replace(drawn[7], noise_alone=NoiseAlone(sorted(noises)[0], 0.3))
    stats = frontend.FeatureStats(np.full(128, -8, np.float32), np.full(128, 3, np.float32), floor=1e-7)
    found = jax.jit(accelerated.features, static_argnums=(1, 2, 3))(
        pack(waves, drawn, noises, SHAPES), frontend.feature_kind("log_mel"), stats, SHAPES
    )
    for i, (wave, recipe) in enumerate(zip(waves, drawn)):
        host = frontend.log_mel(perturb(wave.astype(np.float32) / 32768, recipe, noises), floor=stats.floor)
        expected = frontend.normalize(host, stats)
        ours = np.asarray(found)[i, : len(expected)]
        audible = host > host.max() - np.log(1e4)  # within 40 dB of the loudest
        assert audible.mean() > 0.2
        rounded = recipe.noise_alone is not None  # to 16 bits, as it is sent
        assert np.abs(ours - expected)[audible].max() < (1e-2 if rounded else 1e-3), (i, recipe)


def test_impulse_responses_are_those_of_the_host(noises):
    for room in [recipe.room for recipe in recipes(noises, 8) if isinstance(recipe.room, Room)]:
        packed = pack([np.zeros(600, np.int16)], [Recipe(room)], noises, SHAPES)
        row = jax.tree.map(lambda x: x[0], packed)
        found = jax.jit(accelerated.impulse_responses, static_argnums=1)(row, SHAPES)
        host = impulse_responses(room)
        taps = min(found.shape[1], host.shape[1])
        error = np.asarray(found)[: len(host), :taps] - host[:, :taps]
        assert 10 * np.log10((error**2).sum(1) / (host**2).sum(1)).max() < -50


def test_the_rooms_of_kim_fit_the_planned_shapes(noises):
    shapes = Shapes.of(1000, KIM_ROOMS)
    for i in range(4):
        room = draw_room(i, 0, sorted(noises), KIM_ROOMS)
        packed = pack([np.zeros(600, np.int16)], [Recipe(room)], noises, shapes)
        found = accelerated.impulse_responses(jax.tree.map(lambda x: x[0], packed), shapes)
        host = impulse_responses(room)
        taps = min(found.shape[1], host.shape[1])
        error = np.asarray(found)[: len(host), :taps] - host[:, :taps]
        assert 10 * np.log10((error**2).sum(1) / (host**2).sum(1)).max() < -50


def test_the_low_pass_is_soxrs():
    wave = speech(30_000, 3).astype(np.float32) / 32768
    error = np.asarray(accelerated.low_passed(wave)) - soxr_narrowband(wave)
    assert 10 * np.log10((error**2).sum() / (wave**2).sum()) < -65


def test_tail_noise_is_white_and_the_same_in_both_namespaces():
    host = tail_noise(np.uint32(77), 3, 20_000)
    np.testing.assert_array_equal(host, tail_noise(np.uint32(77), 3, 20_000, jax.numpy))
    np.testing.assert_array_equal(host[:2, :500], tail_noise(np.uint32(77), 2, 500))
    assert abs(host.mean()) < 0.01 and host.std() == pytest.approx(1, abs=0.01)
    other = tail_noise(np.uint32(78), 1, 20_000)
    for a, b in ((host[0], host[1]), (host[0], other[0]), (host[0, 1:], host[0, :-1]), (host[0, 7:], host[0, :-7])):
        assert abs(np.corrcoef(a[:19_000], b[:19_000])[0, 1]) < 0.03
    power = np.abs(np.fft.rfft(host[0])[1:-1]) ** 2
    assert power.std() / power.mean() == pytest.approx(1, abs=0.05)  # an exponential distribution, as for white noise
    blocks = power[:9_900].reshape(99, 100).mean(1) / power.mean()
    assert blocks.min() > 0.6 and blocks.max() < 1.4


@pytest.mark.parametrize("xp", [np, jax.numpy])
def test_gains_set_levels_and_leave_silence_alone(xp):
    """The expected values are worked out by hand: 20 dB are a factor of 10 in amplitude."""
    one, hundredth, silence = (xp.float32(power) for power in (1, 0.01, 0))
    assert loudness.level_gain(hundredth, one, xp) == pytest.approx(0.1)
    assert loudness.level_gain(hundredth, silence, xp) == 1
    assert loudness.noise_gain(hundredth, one, 20.0, xp) == pytest.approx(0.01)
    assert loudness.noise_gain(hundredth, silence, 20.0, xp) == 0
    # From silence, the envelope needs one frame to reach the threshold; then all frames are active.
    assert loudness.active_mean(xp.ones(100), 100, xp) == pytest.approx(100 / 99)
    # Of two frames in five hundred, both and the 200 ms after the last that is loud enough: 4 frames of decay.
    powers = xp.array([0.0] * 50 + [1.0] * 100 + [0.0] * 350)
    assert 100 / 114 < loudness.active_mean(powers, 500, xp) < 100 / 110
    assert loudness.active_mean(powers, 150, xp) == pytest.approx(100 / 99)  # what comes later is not there
    assert loudness.active_mean(xp.zeros(30), 30, xp) == 0
    wave = xp.array([0.5, -2.0, 1.0], xp.float32)
    np.testing.assert_allclose(loudness.limited(wave, xp), [0.24975, -0.999, 0.4995], rtol=1e-6)
    np.testing.assert_array_equal(loudness.limited(wave / 4, xp), wave / 4)
    np.testing.assert_array_equal(loudness.clipped(wave, xp), np.float32([0.5, -1, 32767 / 32768]))


def test_what_the_accelerator_cannot_do_is_refused(noises):
    wave = np.zeros(1000, np.int16)
    room = draw_room(0, 0, sorted(noises), RANGES)
    for recipe in (
        Recipe(codec=Codec("mp3", 32)),
        Recipe(warp=0.9),
        Recipe(speed=1.1),
        Recipe(clipped_share=0.1),
        Recipe(band_masks=(BandMask(3, 4),)),
        Recipe(MeasuredRoom("hall", (), 10.0)),
        Recipe(dataclasses.replace(room, tail_cut_db=20.0)),
    ):
        with pytest.raises(ValueError, match="features on the accelerator"):
            pack([wave], [recipe], noises, SHAPES)
    with pytest.raises(ValueError, match="longer than the planned"):
        pack([np.zeros(24_001, np.int16)], [Recipe()], noises, SHAPES)


def test_packed_rows_hold_what_the_hosts_rows_hold(tmp_path, noises):
    corpus = toy_corpus(tmp_path, np.random.default_rng(1).uniform(0.4, 1.3, 15).round(2).tolist())
    policy = Policy(
        0.7, RANGES, tuple(noises), narrowband_probability=0.5, gain_db=(-30.0, 10.0), noise_alone_probability=0.2
    )
    sources = [Source(corpus, "exact", policy)]
    stats, options = measure_stats(sources, "log_mel", noises, 0), RowOptions(60, 3, pieces=3)
    host, packed = (make(sources, TREE, "log_mel", stats, noises, options, 2) for make in (RowMaker, PackedRowMaker))
    featurize = jax.jit(accelerated.featurizer(options, "log_mel", stats, packed.shapes))
    rows = [packed.map(row) for row in range(4)]
    found = np.asarray(featurize({name: np.stack([row[name] for row in rows]) for name in rows[0]}))
    for i, row in enumerate(rows):
        expected = host.map(i)
        for name in ("labels", "weights", "segments"):
            np.testing.assert_array_equal(row[name], expected[name])
        level = expected["frames"] * stats.std + stats.mean
        audible = (level > level.max() - np.log(1e4)) & (expected["frames"] != 0)
        assert audible.mean() > 0.1
        assert np.abs(found[i] - expected["frames"])[audible].max() < 1e-3
        np.testing.assert_array_equal(found[i][expected["segments"] == 0], 0)


@pytest.mark.slow
def test_the_network_trains_on_packed_rows(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus", [0.6, 0.9, 1.1, 0.8, 1.0, 0.7])
    sources = [Source(corpus, "exact", Policy())]
    stats, options = measure_stats(sources, "log_mel", {}, 0), RowOptions(60, 3, pieces=3)
    maker = PackedRowMaker(sources, TREE, "log_mel", stats, {}, options, 2)
    featurize = accelerated.featurizer(options, "log_mel", stats, maker.shapes)
    config, how = ModelConfig(LSTM((8,)), 3), TrainOptions(40, 2, 2e-2)
    trained = train(config, how, maker, tmp_path / "run", workers=0, featurize=featurize)
    assert trained.frame_accuracy > 0.7  # silence, a tone and a hiss, a third each


def test_corpora_that_the_accelerator_cannot_take_are_refused(tmp_path):
    corpus = toy_corpus(tmp_path, [0.6, 2.5])
    stats = frontend.FeatureStats(np.zeros(128, np.float32), np.ones(128, np.float32))
    cases = [
        (Policy(codecs=(Codec("mp3", 32),)), RowOptions(100, 3, pieces=2), "codecs, warps, measured rooms, speeds"),
        (Policy(speeds=(0.9, 1.0)), RowOptions(100, 3, pieces=2), "speeds, equalisers, clipping and masks"),
        (Policy(masks=MaskRanges(times=1)), RowOptions(100, 3, pieces=2), "clipping and masks need features"),
        (Policy(), RowOptions(100, 3), "set RowOptions.pieces"),
        (Policy(), RowOptions(60, 3, pieces=2), "an utterance of 2.5 s, which is longer than a row"),
    ]
    for policy, options, message in cases:
        with pytest.raises(ValueError, match=message):
            PackedRowMaker([Source(corpus, "exact", policy)], TREE, "log_mel", stats, {}, options, 0)
