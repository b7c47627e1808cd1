"""Levels and signal-to-noise ratios against a meter of ITU-T P.56, which tests/sounds.py holds."""

from __future__ import annotations

import numpy as np
import pytest

from mdasr.acoustic import accelerated
from mdasr.perturb import NoiseSource, Room, add_room, loudness
from tests.sounds import noise_level_db, speech_level_db, syllables

SAMPLES = 80_000
TIME_S = np.arange(SAMPLES) / 16_000
RUMBLE = np.sin(2 * np.pi * 5 * TIME_S).astype(np.float32)


def room(rt60_s: float, sources: int = 1) -> Room:
    places = ((1.0, 3.5, 2.0), (5.0, 0.5, 1.0))[:sources]
    playing = tuple(NoiseSource(place, "hiss", 0.1 + i / 10) for i, place in enumerate(places))
    return Room((6.0, 4.0, 3.0), rt60_s, (2.0, 1.5, 1.2), (4.5, 2.5, 1.6), playing, 10.0, 3)


def hiss(samples: int = 100_000) -> np.ndarray:
    return (0.02 * np.random.default_rng(1).standard_normal(samples)).astype(np.float32)


def decibels(power: float) -> float:
    return 10 * np.log10(power)


def test_the_meter_counts_speech_and_200_ms_after_it():
    """A tone of 1 kHz that sounds for one second in three: P.56 takes 1.2 s as active."""
    tone = 0.1 * np.sin(2 * np.pi * 1_000 * np.arange(9 * 16_000) / 16_000)
    bursts = tone * (np.arange(len(tone)) // 16_000 % 3 == 1)
    assert speech_level_db(tone) == pytest.approx(decibels(0.1**2 / 2), abs=0.05)
    # The envelope rises for some 20 ms, and needs some 90 ms to fall by 15.9 dB.
    assert speech_level_db(bursts) == pytest.approx(decibels(0.1**2 / 2 / 1.27), abs=0.1)
    assert speech_level_db(bursts + 0.1) == pytest.approx(speech_level_db(bursts), abs=0.1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gain_db", [0, -30])
def test_the_active_level_is_that_of_the_meter(seed, gain_db):
    wave = syllables(SAMPLES, seed) * np.float32(10 ** (gain_db / 20))
    expected_db = speech_level_db(10 ** (-gain_db / 20) * wave) + gain_db  # the meter's own thresholds are for 16 bits
    assert decibels(loudness.active_power(wave)) == pytest.approx(expected_db, abs=0.25)
    with_drift = wave + np.float32(0.1) + np.float32(0.1 * 10 ** (gain_db / 20)) * RUMBLE
    assert decibels(loudness.active_power(with_drift)) == pytest.approx(expected_db, abs=0.3)


def test_powers_are_those_above_50_hz():
    for hz, expected_db in ((0, -120), (5, -62), (20, -26.7), (51, -6), (60, -3.4), (101, -0.5), (1_000, 0)):
        tone = np.cos(2 * np.pi * hz * np.arange(160_000) / 16_000 + 0.3).astype(np.float32)
        left_db = decibels(loudness.audible_power(tone) / np.mean(tone.astype(float) ** 2) + 1e-15)
        assert left_db < -100 if hz == 0 else left_db == pytest.approx(expected_db, abs=0.3), hz
    assert loudness.active_power(np.zeros(1_000, np.float32)) == loudness.active_power(np.zeros(0, np.float32)) == 0
    assert loudness.active_power(np.full(100, 0.5, np.float32)) == pytest.approx(0.25)  # less than a frame


SPEECH = {"": 0, "DC": 0.1, "rumble": 0.1 * RUMBLE, "DC and rumble": 0.1 + 0.1 * RUMBLE}
NOISE = {"": 0, "DC": 0.1, "rumble": 0.2 * np.sin(2 * np.pi * 5 * np.arange(100_000) / 16_000)}


@pytest.mark.parametrize("in_noise", NOISE)
@pytest.mark.parametrize("in_speech", SPEECH)
@pytest.mark.parametrize("rt60_s", [0.0, 0.4])
def test_ten_decibels_are_ten_decibels(in_speech, in_noise, rt60_s):
    wave = (syllables(SAMPLES) + SPEECH[in_speech]).astype(np.float32)
    noises = {"hiss": (hiss() + NOISE[in_noise]).astype(np.float32)}
    speech = add_room(wave, room(rt60_s, 0), noises)
    mixture = add_room(wave, room(rt60_s), noises)
    assert np.abs(mixture).max() < loudness.LOUDEST  # not scaled down, so that the difference is the noise
    assert speech_level_db(speech) - noise_level_db(mixture - speech) == pytest.approx(10, abs=0.5)
    assert speech_level_db(speech) == pytest.approx(speech_level_db(wave), abs=0.3)
    assert abs(speech.mean()) < 1e-3 and abs(mixture.mean()) < 1e-3  # no DC


def test_a_clean_recipe_keeps_even_dc():
    from mdasr.perturb import Recipe, perturb

    wave = syllables(8_000) + np.float32(0.1)
    np.testing.assert_array_equal(perturb(wave, Recipe(), {}), wave)


@pytest.mark.parametrize("length", [300, 319, 320, 3_333, 40_000, SAMPLES])
def test_the_accelerator_measures_as_the_host_does(length):
    wave = (syllables(SAMPLES) + 0.1 + 0.1 * RUMBLE).astype(np.float32)
    inside = wave * (np.arange(SAMPLES) < length)
    host, accelerator = loudness.without_dc(wave[:length]), accelerated.without_dc(inside, np.array(length))
    np.testing.assert_allclose(accelerator[:length], host, atol=1e-6)
    assert not np.asarray(accelerator[length:]).any()
    if length >= loudness.FRAME:  # the host measures less than a frame as it is; the accelerator finds no frame
        for measured in ("active_power", "audible_power"):
            ours = float(getattr(loudness, measured)(host))
            assert float(getattr(accelerated, measured)(accelerator, np.array(length))) == pytest.approx(ours, rel=1e-4)
