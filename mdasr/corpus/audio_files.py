"""Recordings in any format and at any rate, read as one channel of float32 at 16 kHz (§3.2)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from mdasr.core.files import existing
from mdasr.core.requirements import optional
from mdasr.core.waveforms import RATE_HZ

Channel: TypeAlias = int | Literal["mean"] | None  # a number from 0, MEAN, or None where a file has only one
MEAN: Final = "mean"  # the mean of all channels

_OF_LIBSNDFILE = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au")
SLACK_S = 0.05  # a file may be this much shorter than its header says, since codecs such as MP3 have frames
SLOWEST_HZ, FASTEST_HZ = 1000, 1_000_000  # a damaged header may give any rate: a minute could become a year at 16 kHz
_LOUDEST = 1.5  # lossy decoders exceed full scale a little; integers stored as floats exceed it a lot
_BLOCK = 1 << 20  # samples read at a time: some headers do not say how many there are
_STREAMED = 0x7FFF0000  # a WAV header written before the length was known says this many bytes or more


def read_audio(
    path: Path | str, channel: Channel = None, start_s: float | None = None, end_s: float | None = None
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """Read one channel of a recording, or of its part from start to end, at 16 kHz. Return also the file's rate in Hz.

    The samples lie in [-1, 1). libsndfile reads WAV, FLAC, OGG, MP3, SPHERE and more. If PyAV is installed, it reads
    other formats (AAC, M4A, ...). A recording with several channels needs `channel`, counted from 0, or `MEAN`.

    Raises FileNotFoundError, and ImportError where PyAV is needed. Raises ValueError for audio that is empty,
    truncated, all zeros or not finite, and for a file without audio. Raises it, too, for a channel or a part that the
    file lacks. The message names the file and says what to do.
    """
    path = Path(path)
    existing(path, "file; a recording should be there (WAV, FLAC, MP3, Ogg, ...)")
    return decode_audio(path, str(path), channel, start_s, end_s)


def decode_audio(
    content: Path | bytes,
    name: str,
    channel: Channel = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """Decode a file or its bytes, as `read_audio` does. Errors call it `name`."""
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
    name: str, samples: Float32[np.ndarray, "samples channels"], channel: Channel
) -> Float32[np.ndarray, " samples"]:
    channels = samples.shape[1]
    if isinstance(channel, str):
        return samples.mean(axis=1)
    if channel is None and channels > 1:
        raise ValueError(
            f"{name}: {channels} channels; say which one with `channel` (0 to {channels - 1}) or --channel N; an "
            "import can also take their mean with --downmix"
        )
    number = channel or 0
    if not 0 <= number < channels:
        raise ValueError(f"{name}: there is no channel {channel}; the file has {channels}, counted from 0")
    return np.ascontiguousarray(samples[:, number])


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
    """Read samples and rate with libsndfile. Return None where it does not know the format."""
    try:
        file = soundfile.SoundFile(_opened(content))
    except soundfile.LibsndfileError as error:
        if "not recognised" in str(error):
            return None
        raise ValueError(f"{name}: {error.error_string} Copy or download it again") from None
    with file:
        if (file.format, file.subtype) == ("RAW", "ULAW"):  # what libsndfile takes any bytes for that are called .au
            return None
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
        # If the header of a stream has no length, libsndfile reports 2**63 - 1 samples.
        if total < 2**62 and len(samples) < min(last, total) - first - SLACK_S * rate_hz:
            actual_s, stated_s = len(samples) / rate_hz, (min(last, total) - first) / rate_hz
            raise ValueError(f"{name}: truncated: {actual_s:.2f} s of {stated_s:.2f} s; copy or download it again")
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
    """Raise ValueError for a truncated WAV, AIFF, AU or OGG. libsndfile reports this only in its log."""
    if "Junk after the last page" in info or "File ended unexpectedly" in info:
        raise ValueError(f"{name}: truncated (its last page is missing); copy or download it again")
    if match := re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", info, re.MULTILINE):
        stated, actual = int(match[1]), int(match[2])
        if actual < stated < _STREAMED:
            raise ValueError(f"{name}: truncated: {actual} bytes of {stated}; copy or download it again")


def _read_av(
    content: Path | bytes, name: str, start_s: float, end_s: float | None
) -> tuple[Float32[np.ndarray, "samples channels"], int]:
    """Read samples and rate with FFmpeg, for formats that libsndfile does not know."""
    try:
        av: Any = optional("av", "mdasr[codecs]")
    except ImportError as error:
        if name.lower().endswith(_OF_LIBSNDFILE):
            raise ValueError(f"{name}: libsndfile cannot read it; it is damaged, or not an audio file") from None
        raise ImportError(f"{name}: libsndfile cannot read this file, and {error}") from None
    try:
        with av.open(_opened(content)) as container:
            if not container.streams.audio:
                raise ValueError(f"{name}: this file has no audio stream; is it the right file?")
            samples, rate_hz = _decode(container, name)
    except (av.error.FFmpegError, UnicodeDecodeError, LookupError, AttributeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{name}: damaged, or not a format that libsndfile or FFmpeg knows ({why}); is it really an audio file?"
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
        raise ValueError(
            f"{name}: a rate of {rate_hz} Hz is not between {SLOWEST_HZ:,} and {FASTEST_HZ:,}; export it again"
        )
    return rate_hz


def _beyond(name: str, start_s: float, end_s: float | None, seconds: float) -> ValueError:
    end = "its end" if end_s is None else f"{end_s:g} s"
    return ValueError(f"{name}: start_s, end_s: {start_s:g} s to {end}, but the recording lasts {seconds:g} s")


def to_int16(wave: Float32[np.ndarray, " samples"]) -> Int16[np.ndarray, " samples"]:
    """Round a waveform in [-1, 1) to 16-bit samples. A waveform made from 16-bit samples gives the same samples."""
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
