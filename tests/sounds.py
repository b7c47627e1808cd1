"""Sounds to distort, noises to distort them with, and a meter for both."""

import numpy as np
import scipy.signal

NOISES = {
    name: (0.1 * np.random.default_rng(i).standard_normal(60_000)).astype(np.float32)
    for i, name in enumerate(("a", "b", "c"))
}


def tone(samples: int = 24_000) -> np.ndarray:
    hiss = 0.01 * np.random.default_rng(0).standard_normal(samples)
    return (0.1 * (np.sin(2 * np.pi * 440 * np.arange(samples) / 16_000) + hiss)).astype(np.float32)


def syllables(samples: int, seed: int = 0) -> np.ndarray:
    """Make syllables of a buzz at some 120 Hz through a formant at 500 Hz, with pauses, over a faint hiss."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / 16_000
    buzz = scipy.signal.sawtooth(2 * np.pi * (120 + 20 * np.sin(3 * time_s)) * time_s)
    vowel = scipy.signal.lfilter(*scipy.signal.iirpeak(500, 2, fs=16_000), buzz)
    spoken = np.sin(2 * np.pi * 0.3 * time_s + rng.uniform(0, 6)) > -0.5
    loud = np.maximum(0, np.sin(2 * np.pi * 3 * time_s + rng.uniform(0, 6))) * rng.uniform(0.3, 1) * spoken
    return (0.2 * loud * vowel + 1e-4 * rng.standard_normal(samples)).astype(np.float32)


def above_50_hz(wave: np.ndarray) -> np.ndarray:
    """A high-pass of 50 Hz, which begins as if the wave had always been at its first value."""
    high_pass = scipy.signal.butter(4, 50, "high", fs=16_000, output="sos")
    return scipy.signal.sosfilt(high_pass, wave.astype(float), zi=scipy.signal.sosfilt_zi(high_pass) * wave[0])[0]


def speech_level_db(wave: np.ndarray) -> float:
    """Return the active speech level of ITU-T P.56 (method B), sample by sample as the standard has it, above 50 Hz."""
    wave = above_50_hz(wave)
    smooth = np.exp(-1 / (0.03 * 16_000))
    envelope = np.abs(wave)
    for _ in range(2):
        envelope = scipy.signal.lfilter([1 - smooth], [1, -smooth], envelope)
    energy, levels_db, thresholds_db = np.sum(wave**2), [], []
    for threshold in 2.0 ** np.arange(-15, 0):
        above = np.flatnonzero(envelope >= threshold)
        if not len(above):
            break
        # The hangover: activity goes on for 200 ms.
        active = np.minimum(np.diff(above, append=len(wave)), 3_200).sum()
        levels_db.append(10 * np.log10(energy / active))
        thresholds_db.append(20 * np.log10(threshold))
    # The margin of 15.9 dB, interpolated between two thresholds.
    margins_db = np.array(levels_db) - thresholds_db
    assert margins_db[0] > 15.9 > margins_db[-1]
    return float(np.interp(-15.9, -margins_db, levels_db))


def noise_level_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(above_50_hz(wave) ** 2)))
