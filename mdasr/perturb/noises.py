"""Noise snippets for §3.1: made by code, or read from a user's own folder.

The paper's noises come "from a collection of YouTube, cafeteria, and real-life noises", which is not public. The
snippets here are made: each is a pure function of (seed, id). The ids of the splits differ, so no snippet is in two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from jaxtyping import Float

from mdasr.core.digests import digest
from mdasr.core.files import sha256_of
from mdasr.core.random_streams import random_stream
from mdasr.core.waveforms import RATE_HZ
from mdasr.perturb import recorded_noises
from mdasr.perturb.bandwidth import to_16_khz
from mdasr.perturb.recorded_noises import SOFTEST, USED, Levelled, RecordedNoises, levelled
from mdasr.perturb.room import Sounds

VERSION = 1  # of the made snippets: raise it with a change that gives an id another sound
SECONDS = 10
PER_KIND = {"train": 8, "dev": 3, "test": 4}  # snippets of each kind in each split
AUDIO_SUFFIXES = (".flac", ".ogg", ".wav")
_SAMPLES = SECONDS * RATE_HZ
_RMS = 0.1


def make_noises(split: str, seed: int = 0) -> dict[str, Float[np.ndarray, " samples"]]:
    """Make the snippets of `split` ("train", "dev" or "test"): float32 samples by id, 10 s each at 16 kHz.

    Their RMS is at most 0.1. An id is "kind-split-number", with a kind of `KINDS`. The 72 snippets for training take
    about 4 s to make. Raises ValueError for any other split.
    """
    if split not in PER_KIND:
        raise ValueError(f"noise split {split!r}: use one of {', '.join(PER_KIND)}")
    return {name: _level(KINDS[kind](random_stream("noise", seed, name))) for kind, name in _ids(split)}


def _ids(split: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the id of every snippet of a split."""
    return ((kind, f"{kind}-{split}-{i:02d}") for kind in KINDS for i in range(PER_KIND[split]))


def read_noises(directory: Path | str) -> RecordedNoises:
    """Read every WAV, FLAC or Ogg file under `directory`: float32 samples at 16 kHz, by path relative to `directory`.

    Channels are averaged, and other rates are resampled. DC and rumble below 50 Hz are removed. All files become
    equally loud: an RMS of 0.1 where they are not silent. Recipes never begin to play a noise in a silent stretch. The
    samples lie in a temporary file on disk (`RecordedNoises.write`), which worker processes share.

    Raises ValueError, which names the file, where one is unreadable, empty, silent or not finite. The mean of channels
    that cancel each other out is silent, too. Raises ValueError also for a folder without audio, and where the disk is
    full.
    """
    paths = _audio_files(Path(directory), "noise recordings")
    try:
        return RecordedNoises.write((name, _read_noise(path)) for name, path in paths.items())
    except OSError as error:
        raise ValueError(
            f"{directory}: cannot copy the noises to {tempfile.gettempdir()} ({error.strerror}); free some space there,"
            " or name another folder in the variable TMPDIR"
        ) from error


def _read_noise(path: Path) -> Levelled:
    wave = _read(path, lambda channels: channels.mean(axis=1))
    try:
        return levelled(wave)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_responses(directory: Path | str) -> dict[str, Float[np.ndarray, " taps"]]:
    """Read every measured room response under `directory`, at 16 kHz: the first channel, by relative path.

    Raises ValueError as `read_noises`.
    """
    paths = _audio_files(Path(directory), "room responses")
    return {name: _read(path, lambda channels: channels[:, 0].copy()) for name, path in paths.items()}


def _audio_files(root: Path, what: str) -> dict[str, Path]:
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder; give one that holds {what} (WAV, FLAC or Ogg)")
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    if not paths:
        raise ValueError(f"{root}: holds no WAV, FLAC or Ogg file; put {what} there")
    return {path.relative_to(root).as_posix(): path for path in paths}


def _read(path: Path, one_of: Callable[[np.ndarray], np.ndarray]) -> Float[np.ndarray, " samples"]:
    """Read a file as one channel at 16 kHz; `one_of` makes it from the file's channels."""
    try:
        channels, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (
        soundfile.LibsndfileError,
        RuntimeError,
        ValueError,
        MemoryError,
    ) as error:  # ValueError: no length is stated
        raise ValueError(f"{path}: cannot be read as audio ({error}); replace or remove it") from error
    if not np.isfinite(channels).all():
        raise ValueError(f"{path}: has samples that are not finite numbers; repair or remove it")
    wave = to_16_khz(one_of(channels), rate_hz)
    if not len(wave):
        raise ValueError(f"{path}: has no samples; remove it")
    if np.abs(wave).max() < SOFTEST:
        raise ValueError(f"{path}: is digital silence {USED}, so no SNR can be set; remove it")
    return wave


def _level(wave: np.ndarray) -> Float[np.ndarray, " samples"]:
    """Scale a wave to an RMS of 0.1, or to less where its peak would be above 0.99."""
    wave = wave - wave.mean()
    gain = min(_RMS / np.sqrt(np.mean(wave**2)), 0.99 / np.abs(wave).max())
    return (gain * wave).astype(np.float32)


def _coloured(rng: np.random.Generator, slope_db: float, low_hz: float = 20.0, high_hz: float = 8000.0) -> np.ndarray:
    """Noise of RMS 1 with power that falls by `slope_db` an octave between two edges. It loops without a seam."""
    hz = np.fft.rfftfreq(_SAMPLES, 1 / RATE_HZ)
    hz[0] = hz[1]
    gain = (hz / 1000) ** (-slope_db / (20 * np.log10(2)))
    gain *= 1 / (1 + (low_hz / hz) ** 2) / (1 + (hz / high_hz) ** 2)
    spectrum = gain * (rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz)))
    wave = np.fft.irfft(spectrum, _SAMPLES)
    return wave / np.sqrt(np.mean(wave**2))


def _drift(rng: np.random.Generator, rate_per_s: float) -> np.ndarray:
    """A smooth random curve of about unit variance that changes `rate_per_s` times a second."""
    knots = rng.standard_normal(max(2, round(SECONDS * rate_per_s)) + 1)
    return np.interp(np.linspace(0, len(knots) - 1, _SAMPLES), np.arange(len(knots)), knots)


def _strikes(rng: np.random.Generator, per_s: float, ring_hz: tuple[float, float], decay_s: float) -> np.ndarray:
    """Strikes at random times, such as dishes, keys or drops: each is four resonances in `ring_hz` that decay."""
    wave = np.zeros(_SAMPLES)
    time_s = np.arange(int(6 * decay_s * RATE_HZ)) / RATE_HZ
    for start in rng.integers(0, _SAMPLES - len(time_s), rng.poisson(per_s * SECONDS) + 1):
        tones_hz = np.exp(rng.uniform(np.log(ring_hz[0]), np.log(ring_hz[1]), size=4))
        rings = np.sin(2 * np.pi * tones_hz[:, None] * time_s + rng.uniform(0, 6.28, (4, 1)))
        fall = np.exp(-time_s / (decay_s * rng.uniform(0.3, 1)))
        wave[start : start + len(time_s)] += rng.lognormal(0, 0.7) * fall * rings.sum(axis=0)
    return wave


def _voice(rng: np.random.Generator) -> np.ndarray:
    """One talker without words: a buzz with changing pitch through changing vowels, with hisses between them."""
    pitch_hz = np.exp(rng.uniform(np.log(85), np.log(240)) + 0.12 * _drift(rng, 3.0))
    phase = np.cumsum(pitch_hz) / RATE_HZ
    buzz = 2 * (phase % 1) - 1
    wave = np.zeros(_SAMPLES)
    for _ in range(3):
        formants_hz = rng.uniform([250, 900, 2200], [800, 2100, 3400])
        vowel = buzz
        for formant_hz in formants_hz:
            b, a = scipy.signal.iirpeak(formant_hz, formant_hz / 150, fs=RATE_HZ)
            vowel = scipy.signal.lfilter(b + 0.15 * a, a, vowel)
        wave += np.maximum(0, _drift(rng, 4.0)) * vowel / np.sqrt(np.mean(vowel**2))
    hiss = np.maximum(0, _drift(rng, 6.0) - 0.8) * np.diff(rng.standard_normal(_SAMPLES + 1))
    pauses = np.clip(_drift(rng, 0.7) + 0.8, 0, 1)
    return pauses * (wave + 0.35 * hiss)


def babble(rng: np.random.Generator) -> np.ndarray:
    """Some to many talkers at once, none of them intelligible."""
    murmur = rng.uniform(0.05, 0.3) * _coloured(rng, 4.0, low_hz=100.0)
    return sum((rng.lognormal(0, 0.4) * _voice(rng) for _ in range(rng.integers(3, 7))), murmur)


def cafeteria(rng: np.random.Generator) -> np.ndarray:
    """Talkers behind a murmur, with dishes and cutlery."""
    dishes = _strikes(rng, rng.uniform(1, 5), (1500.0, 7000.0), 0.06)
    return babble(rng) + rng.uniform(0.2, 0.8) * _coloured(rng, 4.0, low_hz=150.0) + rng.uniform(0.3, 1.2) * dishes


def fan(rng: np.random.Generator) -> np.ndarray:
    """A steady flow of air with the tone of the fan's blades."""
    blade_hz = rng.uniform(60, 300)
    time_s = np.arange(_SAMPLES) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * k * blade_hz * time_s + rng.uniform(0, 6.28)) / k for k in range(1, 6))
    return _coloured(rng, rng.uniform(2, 7)) + rng.uniform(0.05, 0.8) * tones


def hum(rng: np.random.Generator) -> np.ndarray:
    """Mains hum with its harmonics over hiss."""
    mains_hz = rng.choice([50.0, 60.0]) * (1 + 0.002 * rng.standard_normal())
    time_s = np.arange(_SAMPLES) / RATE_HZ
    levels = rng.uniform(0, 1, 12) / np.arange(1, 13) ** 0.7
    tones = sum(a * np.sin(2 * np.pi * k * mains_hz * time_s) for k, a in enumerate(levels, start=1))
    return tones + rng.uniform(0.05, 0.4) * _coloured(rng, rng.uniform(0, 3))


def music(rng: np.random.Generator) -> np.ndarray:
    """A music bed: four chords in turn, plucked or held, with a bass and sometimes a beat."""
    beat_s = 60 / rng.uniform(70, 140)
    time_s = np.arange(int(3 * beat_s * RATE_HZ)) / RATE_HZ
    root_hz = 110 * 2 ** (rng.integers(0, 12) / 12)
    shape = np.minimum(time_s / 0.01, 1) * np.exp(-time_s / rng.uniform(0.15, 1.5))
    partials = np.arange(1, 7)[:, None]
    chords = [rng.choice([0, 2, 4, 5, 7, 9]) + np.array([-12, 0, rng.choice([3, 4]), 7]) for _ in range(4)]
    tones = {}
    for note in np.unique(chords):
        phases = 2 * np.pi * root_hz * 2 ** (note / 12) * partials * time_s
        tones[note] = shape * (np.sin(phases) / partials**1.3).sum(axis=0)
    wave = np.zeros(_SAMPLES + len(time_s))
    for start in np.arange(0, _SAMPLES, round(beat_s * RATE_HZ)):
        chord = chords[int(start / RATE_HZ / beat_s) // 4 % 4]
        for note in rng.choice(chord, size=rng.integers(1, 4), replace=False):
            wave[start : start + len(time_s)] += tones[note]
    beat = (np.arange(_SAMPLES) / RATE_HZ % beat_s) < 0.05
    drum = rng.choice([0, 1]) * rng.uniform(0.2, 1) * beat + 0.01
    return wave[:_SAMPLES] + drum * _coloured(rng, 0.0, low_hz=2000.0)


def rain(rng: np.random.Generator) -> np.ndarray:
    """Broadband hiss with drops."""
    drops = _strikes(rng, rng.uniform(5, 30), (800.0, 6000.0), 0.008)
    return _coloured(rng, rng.uniform(-1, 2), low_hz=300.0) + rng.uniform(0, 0.5) * drops


def traffic(rng: np.random.Generator) -> np.ndarray:
    """Low rumble, with vehicles that pass."""
    wave = rng.uniform(0.3, 1.2) * _coloured(rng, rng.uniform(5, 9), high_hz=1500.0)
    time_s = np.arange(_SAMPLES) / RATE_HZ
    for _ in range(rng.integers(1, 5)):
        passing = np.exp(-(((time_s - rng.uniform(0, SECONDS)) / rng.uniform(0.5, 2)) ** 2))
        wave = wave + rng.uniform(0.5, 2) * passing * _coloured(rng, rng.uniform(2, 5), low_hz=80.0)
    return wave


def typing(rng: np.random.Generator) -> np.ndarray:
    """Keys struck in bursts in a quiet room."""
    keys = _strikes(rng, rng.uniform(4, 12), (700.0, 6500.0), 0.012) * (_drift(rng, 1.0) > -0.7)
    return keys + rng.uniform(0.02, 0.15) * _coloured(rng, rng.uniform(3, 6))


def wind(rng: np.random.Generator) -> np.ndarray:
    """Gusts in a microphone: low, strong and uneven."""
    gusts = np.exp(rng.uniform(0.3, 0.9) * _drift(rng, rng.uniform(1, 4)))
    return gusts * _coloured(rng, rng.uniform(4, 8), high_hz=rng.uniform(500, 3000))


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    make.__name__: make for make in (babble, cafeteria, fan, hum, music, rain, traffic, typing, wind)
}


def folder_digest(directory: Path | str) -> str:
    """The digest of the names and contents of the audio files under a folder, read piece by piece: 12 hex digits."""
    files = _audio_files(Path(directory), "recordings")
    return digest([recorded_noises.VERSION, {name: sha256_of(path) for name, path in files.items()}])


@dataclass(frozen=True)
class SoundSource:
    """The source of noises and room responses: folders of recordings, or made snippets and no responses.

    `split` and `seed` are those of `make_noises`. Raises ValueError as `read_noises`, when a folder is read.
    """

    noise_folder: Path | None = None
    response_folder: Path | None = None
    split: str = "train"
    seed: int = 0

    @cached_property
    def noises(self) -> Sounds:
        return read_noises(self.noise_folder) if self.noise_folder else make_noises(self.split, self.seed)

    @cached_property
    def responses(self) -> Sounds:
        return read_responses(self.response_folder) if self.response_folder else {}

    def noise_ids(self) -> tuple[str, ...]:
        """The sorted ids of the noises. This makes no snippets."""
        return tuple(sorted(self.noises if self.noise_folder else (name for _, name in _ids(self.split))))

    @cached_property
    def made_of(self) -> dict[str, str]:
        """A description of the sounds that JSON can hold. This makes no snippets."""
        made = f"made: version {VERSION}, split {self.split}, seed {self.seed}"
        return {
            "noises": folder_digest(self.noise_folder) if self.noise_folder else made,
            "responses": folder_digest(self.response_folder) if self.response_folder else "",
        }
