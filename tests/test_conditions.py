"""Conditions given in words, and their effect on a recording."""

from collections import Counter

import numpy as np
import pytest
import scipy.signal

from mdasr.core.digests import digest
from mdasr.core.waveforms import RATE_HZ
from mdasr.perturb import PacketLoss, draw, perturb
from mdasr.perturb.conditions import ROBUSTNESS, condition

RNG = np.random.default_rng(0)
# Below 1 kHz, where it does not matter that sound may travel half a sample further.
LOW = scipy.signal.butter(6, 1000, fs=RATE_HZ, output="sos")
SPEECH = (0.3 * scipy.signal.sosfilt(LOW, RNG.standard_normal(2 * RATE_HZ))).astype(np.float32)
NOISES = {"hum": np.sin(2 * np.pi * 100 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)}


def heard(text: str) -> np.ndarray:
    return perturb(SPEECH, draw(condition(text, NOISES), 0, "corpus/u", 0), NOISES)


def test_clean_leaves_a_recording_as_it_is():
    np.testing.assert_array_equal(heard("clean"), SPEECH)


def test_a_level_is_a_gain():
    np.testing.assert_allclose(heard("level:-20"), SPEECH / 10, rtol=1e-6)


def test_noise_comes_at_the_ratio_asked_for():
    with_noise = heard("noise:10")
    # Noise far from speech: fit what of the speech is there, and take the rest.
    level = with_noise @ SPEECH / (SPEECH @ SPEECH)
    rest = with_noise - level * SPEECH
    assert 10 * np.log10((level**2 * SPEECH @ SPEECH) / (rest @ rest)) == pytest.approx(10, abs=0.5)
    assert np.abs(heard("noise:60") - heard("room:60")).max() > 0.01, "a room reverberates"


def test_8khz_leaves_nothing_above_4_khz():
    hiss = (0.1 * RNG.standard_normal(2 * RATE_HZ)).astype(np.float32)
    power = np.abs(np.fft.rfft(perturb(hiss, draw(condition("8khz"), 0, "corpus/u", 0), {}))) ** 2
    cut = len(power) * 17 // 32
    assert power[cut:].sum() < 1e-5 * power.sum()


def test_reverberation_has_the_rt60_asked_for_and_no_noise():
    room = draw(condition("reverb:0.6", NOISES), 0, "corpus/u", 0).room
    assert (room.rt60_s, room.sources) == (0.6, ())
    click = np.zeros(2 * RATE_HZ, np.float32)
    click[1000] = 0.5
    heard = perturb(click, draw(condition("reverb:0.6"), 0, "corpus/u", 0), {}).astype(np.float64)
    decay_db = 10 * np.log10(np.cumsum(heard[::-1] ** 2)[::-1] / np.sum(heard**2) + 1e-20)
    first, last = (int(np.argmax(decay_db < level_db)) for level_db in (-5, -25))
    assert 3 * (last - first) / RATE_HZ == pytest.approx(0.6, rel=0.15), "Schroeder's backward integration"


def test_lost_packets():
    assert condition("loss:5").codecs[0].loss == PacketLoss(0.05, burst=2.0)


def test_the_suite_is_complete_and_every_condition_stands_for_a_policy():
    kinds = Counter(ROBUSTNESS.conditions.values())
    assert next(iter(ROBUSTNESS.conditions)) == "clean" and kinds["noise"] == 4 and kinds["room"] == 3
    assert {"level", "codec", "telephone", "packet loss", "bandwidth"} < kinds.keys()
    policies = [condition(words, NOISES) for words in ROBUSTNESS.conditions]
    assert len({str(policy) for policy in policies}) == len(policies)
    # A change of the conditions is a new version: give this digest with it.
    assert (str(ROBUSTNESS), digest(dict(ROBUSTNESS.kinds))) == ("robustness 1", "7449fdca9d19")


def test_a_codec_by_name_and_rate():
    assert condition("opus:24").codecs[0].name == "opus"
    assert condition("amr:4.75").codecs[0].kbps == 4.75


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loud", "write clean, 8khz, level:GAIN_DB, noise:SNR_DB"),
        ("level:low", "'low' is not a number"),
        ("level:-99", "gain_db"),
        ("noise", "'' is not a number"),
        ("mp3:fast", "'fast' is not a number"),
        ("mp3:1", "kbps"),
        ("noise:10", "noises"),
        ("reverb:-1", r"condition 'reverb:-1': .*rt60_s"),
        ("loss:0", r"condition 'loss:0': packet loss: share 0"),
    ],
)
def test_words_that_are_no_condition_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        condition(text)
