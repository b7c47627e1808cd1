"""Recordings in any format and at any rate, read as one channel of float32 at 16 kHz (§3.2)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from mdasr.core.files import existing
from mdasr.core.requirements import optional
from mdasr.core.waveforms import RATE_HZ

_OF_LIBSNDFILE = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au")
SLACK_S = 0.05  # frames of MP3 and the like: a file may be this much shorter than it says
SLOWEST_HZ, FASTEST_HZ = 1000, 1_000_000  # a damaged header may say any rate, and a minute become a year at 16 kHz
_LOUDEST = 1.5  # lossy decoders overshoot full scale a little; integers stored as floats overshoot a lot
_BLOCK = 1 << 20  # samples read at a time: some headers do not say how many there are
_STREAMED = 0x7FFF0000  # a WAV header written before the length was known says this many bytes or more


def read_audio(
    path: Path | str, channel: int | None = None, start_s: float | None = None, end_s: float | None = None
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """One channel of a recording, or of its part from start to end, at 16 kHz; and the file's own rate in Hz.

    The samples lie in [-1, 1). libsndfile reads WAV, FLAC, OGG, MP3, SPHERE and more; PyAV, where installed,
    the rest (AAC, M4A, ...). A recording of several channels needs `channel`, counted from 0.
    Raises FileNotFoundError, ImportError where PyAV is needed, and ValueError, naming the file and the mend,
    for what is empty, truncated, no audio, all zeros, not finite, or not there (a channel, a part).
    """
    path = Path(path)
    existing(path, "file; a recording should be there (WAV, FLAC, MP3, Ogg, ...)")
    return decode_audio(path, str(path), channel, start_s, end_s)


def decode_audio(
    content: Path | bytes,
    name: str,
    channel: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """As `read_audio`, of a file or of its bytes; errors call it `name`."""
    if not (len(content) if isinstance(content, bytes) else content.stat().st_size):
        raise ValueError(f"{name}: the file is empty (0 bytes); copy or download it again")
    first_s = 0.0 if start_s is None else start_s
    if not 0 <= first_s < (np.inf if end_s is None else end_s):
        raise ValueError(f"{name}: start_s {start_s}, end_s {end_s}: a part starts at 0 or later and ends after that")
    samples, rate_hz = _read_soundfile(content, name, first_s, end_s) or _read_av(content, name, first_s, end_s)
    mono = _checked(name, _one_channel(name, samples, channel))
    if rate_hz != RATE_HZ:
        mono = soxr.resample(mono, rate_hz, RATE_HZ)
    return np.clip(mono, -1, 1 - 2.0**-15), rate_hz


def _one_channel(
    name: str, samples: Float32[np.ndarray, "samples channels"], channel: int | None
) -> Float32[np.ndarray, " samples"]:
    channels = samples.shape[1]
    if channel is None and channels > 1:
        raise ValueError(f"{name}: {channels} channels; say which one with `channel` (0 to {channels - 1})")
    if not 0 <= (channel or 0) < channels:
        raise ValueError(f"{name}: there is no channel {channel}; the file has {channels}, counted from 0")
    return np.ascontiguousarray(samples[:, channel or 0])


def _checked(name: str, mono: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
    if not len(mono):
        raise ValueError(f"{name}: no samples (zero-length audio); record or export it again")
    if not np.isfinite(mono).all():
        bad = int(np.argmin(np.isfinite(mono)))
        raise ValueError(f"{name}: sample {bad} is {mono[bad]}, not a finite number; export it again")
    peak = float(np.abs(mono).max())
    if not peak:
        raise ValueError(f"{name}: every sample is zero; the channel is dead, or the recording failed")
    if peak > _LOUDEST:
        raise ValueError(f"{name}: samples reach {peak:g}; scale floating-point audio to between -1 and 1")
    return mono


def _read_soundfile(
    content: Path | bytes, name: str, start_s: float, end_s: float | None
) -> tuple[Float32[np.ndarray, "samples channels"], int] | None:
    """Samples and rate by libsndfile; None where it does not know the format."""
    try:
        file = soundfile.SoundFile(_opened(content))
    except soundfile.LibsndfileError as error:
        if "not recognised" in str(error):
            return None
        raise ValueError(f"{name}: {error.error_string} Copy or download it again") from None
    with file:
        _check_log(name, file.extra_info)
        rate_hz, total = _checked_rate(name, file.samplerate), file.frames
        first = round(start_s * rate_hz)
        last = total if end_s is None else round(end_s * rate_hz)
        if last > total + SLACK_S * rate_hz or first >= max(total, 1):
            raise _beyond(name, start_s, end_s, total / rate_hz)
        try:
            if first:
                file.seek(first)
            blocks = [*_blocks(file, last - first)]
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{name}: truncated or damaged ({error.error_string.rstrip('.')}); copy or download it again"
            ) from None
        samples = np.concatenate([np.empty((0, file.channels), np.float32), *blocks])
        # A stream whose header does not tell the length claims 2**63 - 1 samples.
        if total < 2**62 and len(samples) < min(last, total) - first - SLACK_S * rate_hz:
            got, said = len(samples) / rate_hz, (min(last, total) - first) / rate_hz
            raise ValueError(f"{name}: truncated: {got:.2f} s of {said:.2f} s; copy or download it again")
    return samples, rate_hz


def _opened(content: Path | bytes) -> str | io.BytesIO:
    return io.BytesIO(content) if isinstance(content, bytes) else str(content)


def _blocks(file: soundfile.SoundFile, count: int) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    while count > 0:
        block = file.read(min(_BLOCK // file.channels, count), dtype="float32", always_2d=True)
        if not len(block):
            return
        count -= len(block)
        yield block


def _check_log(name: str, info: str) -> None:
    """Of a WAV or OGG that is cut off libsndfile reads what is there, and says so in its log alone."""
    if "Junk after the last page" in info or "File ended unexpectedly" in info:
        raise ValueError(f"{name}: truncated (its last page is missing); copy or download it again")
    if match := re.search(r"^data : (\d+) \(should be (\d+)\)", info, re.MULTILINE):
        said, there = int(match[1]), int(match[2])
        if there < said < _STREAMED:
            raise ValueError(f"{name}: truncated: {there} bytes of {said}; copy or download it again")


def _read_av(
    content: Path | bytes, name: str, start_s: float, end_s: float | None
) -> tuple[Float32[np.ndarray, "samples channels"], int]:
    """Samples and rate by FFmpeg, for what libsndfile does not know."""
    try:
        av: Any = optional("av", "mdasr[codecs]")
    except ImportError as error:
        if name.lower().endswith(_OF_LIBSNDFILE):
            raise ValueError(f"{name}: damaged, or no audio at all: libsndfile cannot read it") from None
        raise ImportError(f"{name}: libsndfile cannot read this file, and {error}") from None
    try:
        with av.open(_opened(content)) as container:
            if not container.streams.audio:
                raise ValueError(f"{name}: there is no sound in this file")
            samples, rate_hz = _decode(container, name)
    except (av.error.FFmpegError, UnicodeDecodeError, LookupError, AttributeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{name}: damaged, or no audio that libsndfile or FFmpeg knows ({why}); is it "
            "something else under an audio file's name?"
        ) from None
    seconds = len(samples) / rate_hz
    if start_s >= max(seconds, SLACK_S) or (end_s or 0) > seconds + SLACK_S:
        raise _beyond(name, start_s, end_s, seconds)
    last = None if end_s is None else round(end_s * rate_hz)
    return samples[round(start_s * rate_hz) : last], rate_hz


def _decode(container: Any, name: str) -> tuple[Float32[np.ndarray, "samples channels"], int]:
    import av

    stream = container.streams.audio[0]
    rate_hz = _checked_rate(name, stream.rate or 0)
    planar = av.AudioResampler(format="fltp")
    frames = [out.to_ndarray() for frame in container.decode(stream) for out in planar.resample(frame)]
    blocks = [np.empty((stream.channels, 0), np.float32), *frames]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1).T), rate_hz


def _checked_rate(name: str, rate_hz: int) -> int:
    if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise ValueError(f"{name}: {rate_hz} samples a second, which no recording of speech has; export it again")
    return rate_hz


def _beyond(name: str, start_s: float, end_s: float | None, seconds: float) -> ValueError:
    end = "its end" if end_s is None else f"{end_s:g} s"
    return ValueError(f"{name}: start_s, end_s: {start_s:g} s to {end}, but the recording lasts {seconds:g} s")


def to_int16(wave: Float32[np.ndarray, " samples"]) -> Int16[np.ndarray, " samples"]:
    """A waveform in [-1, 1) as 16-bit samples, rounded; what was 16-bit before is so again, bit for bit."""
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
