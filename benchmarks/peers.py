"""Other packages that do the same work; a peer is measured only if it is installed.

`make bench` installs all but Lhotse, which brings torch. Each function here makes a peer. It prepares the peer's input
and returns the work to be timed; the work returns how much it did. If a peer lacks a part of the work, the part is left
out, and the peer's name or docstring says so.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
import soxr

from mdasr.perturb import Recipe, Room, RoomRanges, encode_decode, impulse_responses

RATE_HZ = 16_000
Work = Callable[[], float]
Waves = Sequence[np.ndarray]


def _seconds(waves: Waves) -> float:
    return sum(map(len, waves)) / RATE_HZ


def _mix(speech: np.ndarray, noises: Sequence[np.ndarray], snr_db: float) -> np.ndarray:
    noise = np.sum(noises, axis=0)
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    return speech + np.float32(gain) * noise


def jitted_chain(waves: Waves, recipes: Sequence[Recipe], noises: Mapping[str, np.ndarray], ranges: RoomRanges) -> Work:
    """Our own code for accelerators, here on the processor: rooms, bandwidth and features under jit."""
    import jax

    from mdasr.acoustic import accelerated
    from mdasr.frontend import FeatureStats, feature_kind
    from mdasr.perturb.packed import Shapes, pack

    shapes = Shapes.of(max(map(len, waves)), ranges)
    features, kind = jax.jit(accelerated.features, static_argnums=(1, 2, 3)), feature_kind("log_mel")
    stats = FeatureStats(np.zeros(128, np.float32), np.ones(128, np.float32))
    samples = [np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16) for wave in waves]

    def work() -> float:
        jax.block_until_ready(features(pack(samples, recipes, noises, shapes), kind, stats, shapes))
        return _seconds(waves)

    return work


def kaldi_fbank(waves: Waves) -> Work:
    """kaldi-native-fbank: 128 bands from 125 to 7500 Hz, 32 ms windows of 1024 points."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither, options.frame_opts.samp_freq = 0, RATE_HZ
    options.frame_opts.frame_length_ms, options.frame_opts.window_type = 64, "hanning"
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 128, 125, 7500

    def work() -> float:
        for wave in waves:
            bank = kaldi_native_fbank.OnlineFbank(options)
            bank.accept_waveform(RATE_HZ, wave)
            bank.input_finished()
            np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
        return _seconds(waves)

    return work


def glue(waves: Waves, recipes: Sequence[Recipe], noises: Mapping[str, np.ndarray]) -> Work:
    """The obvious chain of scipy, soxr, our codec calls and kaldi-native-fbank, with stored room responses."""
    features = [kaldi_fbank([wave]) for wave in waves]
    stored = [impulse_responses(recipe.room) for recipe in recipes if isinstance(recipe.room, Room)]
    snippets = [noises[name][: len(wave)] for wave, name in zip(waves, itertools.cycle(noises))]

    def work() -> float:
        for i, (wave, recipe) in enumerate(zip(waves, recipes)):
            reverberant = [
                scipy.signal.fftconvolve(signal, response)[: len(wave)]
                for signal, response in zip((wave, snippets[i], snippets[i - 1], snippets[i - 2]), stored[i])
            ]
            heard = _mix(reverberant[0], reverberant[1:], 15.0)
            if recipe.narrowband:
                heard = soxr.resample(soxr.resample(heard, RATE_HZ, 8000), 8000, RATE_HZ)
            if recipe.codec:
                encode_decode(heard.astype(np.float32), recipe.codec)
            features[i]()
        return _seconds(waves)

    return work


def lhotse_chain(waves: Waves, recipes: Sequence[Recipe], noises: Mapping[str, np.ndarray]) -> Work:
    """Lhotse: one stored response, noises without a room, and MP3 instead of AAC, which it lacks."""
    import torch
    from lhotse import Fbank, FbankConfig
    from lhotse.augmentation import Compress, Resample
    from lhotse.augmentation.utils import convolve1d

    torch.set_num_threads(1)
    down, up = Resample(RATE_HZ, 8000), Resample(8000, RATE_HZ)
    compress, fbank = Compress("mp3", 0.8), Fbank(FbankConfig(num_filters=128))
    stored = [torch.from_numpy(impulse_responses(r.room)[0]) for r in recipes if isinstance(r.room, Room)]
    snippets = list(noises.values())

    def work() -> float:
        for i, (wave, recipe) in enumerate(zip(waves, recipes)):
            played = [snippets[(i + k) % len(snippets)][: len(wave)] for k in range(3)]
            reverberant = convolve1d(torch.from_numpy(wave), stored[i]).numpy()[: len(wave)]
            heard = _mix(reverberant, played, 15.0)[None].astype(np.float32)
            if recipe.narrowband:
                heard = np.asarray(up(np.asarray(down(heard, RATE_HZ)), 8000))
            if recipe.codec:
                heard = compress(heard, RATE_HZ)
            fbank.extract(np.ascontiguousarray(heard, np.float32), RATE_HZ)
        return _seconds(waves)

    return work


def audiomentations_chain(waves: Waves, recipes: Sequence[Recipe], noises: Mapping[str, np.ndarray]) -> Work:
    """audiomentations: stored responses, one noise, MP3 instead of AAC, and no features; it lacks AAC and features."""
    import audiomentations

    folder = Path(tempfile.mkdtemp())
    for i, recipe in enumerate(recipes):
        if isinstance(recipe.room, Room):
            (folder / "rooms").mkdir(exist_ok=True)
            soundfile.write(folder / "rooms" / f"{i}.wav", impulse_responses(recipe.room)[0], RATE_HZ)
    (folder / "noises").mkdir()
    for name, noise in noises.items():
        soundfile.write(folder / "noises" / f"{name}.wav", noise, RATE_HZ)
    room = audiomentations.ApplyImpulseResponse(folder / "rooms", p=1.0)
    noise = audiomentations.AddBackgroundNoise(folder / "noises", 0.0, 30.0, p=1.0)
    narrow = audiomentations.Resample(8000, 8000, p=1.0)
    compress = audiomentations.Mp3Compression(32, 128, backend="fast-mp3-augment", p=1.0)

    def work() -> float:
        for wave, recipe in zip(waves, recipes):
            heard = noise(room(wave, RATE_HZ), RATE_HZ)
            if recipe.narrowband:
                heard = soxr.resample(narrow(heard, RATE_HZ), 8000, RATE_HZ)
            if recipe.codec:
                compress(heard, RATE_HZ)
        return _seconds(waves)

    return work


def ffmpeg_codecs(waves: Waves, recipes: Sequence[Recipe]) -> Work:
    """FFmpeg as a subprocess, for the codecs alone; its CPU seconds are counted as ours are."""
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()
    formats = {"mp3": ("libmp3lame", "mp3"), "aac": ("aac", "adts")}

    def work() -> float:
        for wave, recipe in zip(waves, recipes):
            if recipe.codec is None:
                continue
            encoder, container = formats[recipe.codec.name]
            raw = ("-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1")
            rate = f"{recipe.codec.kbps}k"
            quiet = (program, "-v", "error", "-threads", "1")
            encode = (*quiet, *raw, "-i", "-", "-c:a", encoder, "-b:a", rate, "-f", container, "-")
            samples = (wave * 32767).astype(np.int16).tobytes()
            coded = subprocess.run(encode, input=samples, check=True, capture_output=True).stdout
            decode = (*quiet, "-f", container.replace("adts", "aac"), "-i", "-", *raw, "-")
            subprocess.run(decode, input=coded, check=True, capture_output=True)
        return _seconds(waves)

    return work


def pyroomacoustics_hybrid(rooms: Sequence[Room]) -> Work:
    """Image method up to order 3, then ray tracing; its image method alone takes seconds a response."""
    import pyroomacoustics

    room = rooms[0]
    absorption, _ = pyroomacoustics.inverse_sabine(room.rt60_s, room.size_m)

    def work() -> float:
        walls = pyroomacoustics.Material(absorption)
        theirs = pyroomacoustics.ShoeBox(room.size_m, fs=RATE_HZ, max_order=3, ray_tracing=True, materials=walls)
        theirs.add_source(room.target_m)
        theirs.add_microphone(room.microphone_m)
        theirs.compute_rir()
        return 1

    return work


def rir_generator(rooms: Sequence[Room]) -> Work:
    """rir-generator: the whole response by the image method."""
    import rir_generator

    room = rooms[0]

    def work() -> float:
        rir_generator.generate(
            343, RATE_HZ, [room.microphone_m], room.target_m, room.size_m, reverberation_time=room.rt60_s,
            nsample=round(room.rt60_s * RATE_HZ),
        )  # fmt: skip
        return 1

    return work


def lhotse_responses(rooms: Sequence[Room]) -> Work:
    """Lhotse's statistical generator, at an RT60 that it draws itself."""
    from lhotse.augmentation import FastRandomRIRGenerator

    generator = FastRandomRIRGenerator(sr=RATE_HZ)

    def work() -> float:
        for _ in range(4):
            generator(nsource=1)
        return 4

    return work


def lhotse_fbank(waves: Waves) -> Work:
    """Lhotse's filter bank, 128 bands from 512 points."""
    import torch
    from lhotse import Fbank, FbankConfig

    torch.set_num_threads(1)
    fbank = Fbank(FbankConfig(num_filters=128))

    def work() -> float:
        for wave in waves:
            fbank.extract(wave, RATE_HZ)
        return _seconds(waves)

    return work


def librosa_mel(waves: Waves) -> Work:
    """librosa with the sizes of §3.4."""
    import librosa

    def work() -> float:
        for wave in waves:
            power = librosa.feature.melspectrogram(
                y=wave, sr=RATE_HZ, n_fft=1024, win_length=512, hop_length=160, center=False, n_mels=128, fmin=125,
                fmax=7500, htk=True, norm=None,
            )  # fmt: skip
            np.log(power + 1e-6)
        return _seconds(waves)

    return work
