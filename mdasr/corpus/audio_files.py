"""Recordings in any format and at any rate, read as one channel of float32 at 16 kHz (§3.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import soxr
from jaxtyping import Float32, Int16

from mdasr.core.files import existing
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.containers import Content, Facts, facts
from mdasr.corpus.ffmpeg_reader import by_ffmpeg
from mdasr.corpus.libsndfile_reader import ENCODINGS, NotReadable, Raw, Recording, by_encoding, by_libsndfile
from mdasr.corpus.recent_recording import part_of

Channel: TypeAlias = int | Literal["mean"] | None  # a number from 0, MEAN, or None where a file has only one
MEAN: Final = "mean"  # the mean of all channels
_EVERY: Final = "every"  # all channels, each for itself

_LOUDEST = 1.5  # lossy decoders exceed full scale a little; integers stored as floats exceed it a lot
# The usual endings of files that hold samples alone.
_HEADERLESS = (".raw", ".pcm", ".sw", ".ul", ".al", ".ulaw", ".alaw", ".s16", ".sln", ".vox", ".gsm", ".g722", ".g729")


def read_audio(
    path: Path | str,
    channel: Channel = None,
    start_s: float | None = None,
    end_s: float | None = None,
    raw: Raw | None = None,
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """Read one channel of a recording, or of its part from start to end, at 16 kHz. Return also the file's rate in Hz.

    The samples lie in [-1, 1). libsndfile reads WAV, FLAC, OGG, MP3, SPHERE and more. If PyAV is installed, it reads
    other formats (AAC, M4A, WebM, ...), and gaps in their time stamps become silence. A recording with several channels
    needs `channel`, counted from 0, or `MEAN`. A file without a header needs `raw`.

    Raises FileNotFoundError, and ImportError where PyAV is needed. Raises ValueError for audio that is empty, all zeros
    or not finite, and for a file without audio. Raises it, too, for a channel or a part that the file lacks, and for a
    file that contradicts its own lengths or checksums. The message names the file and says what to do.
    """
    path = Path(path)
    existing(path, "file; a recording should be there (WAV, FLAC, MP3, Ogg, ...)")
    return decode_audio(path, str(path), channel, start_s, end_s, raw)


def read_channels(path: Path) -> list[Float32[np.ndarray, " samples"]]:
    """Read every channel of a recording at 16 kHz, as `read_audio` reads one. Only one of them needs a sound."""
    existing(path, "file; a recording should be there (WAV, FLAC, MP3, Ogg, ...)")
    waves, _ = _decoded(path, str(path), _EVERY)
    return [np.ascontiguousarray(wave) for wave in waves.T]


def decode_audio(
    content: Path | bytes,
    name: str,
    channel: Channel = None,
    start_s: float | None = None,
    end_s: float | None = None,
    raw: Raw | None = None,
) -> tuple[Float32[np.ndarray, " samples"], int]:
    """Decode a file or its bytes, as `read_audio` does. Errors call it `name`."""
    waves, rate_hz = _decoded(content, name, channel, start_s, end_s, raw)
    return waves[:, 0], rate_hz


def _decoded(
    content: Path | bytes,
    name: str,
    channel: Channel | Literal["every"],
    start_s: float | None = None,
    end_s: float | None = None,
    raw: Raw | None = None,
) -> tuple[Float32[np.ndarray, "samples channels"], int]:
    """Decode one channel of a file, or every channel."""
    if not (len(content) if isinstance(content, bytes) else content.stat().st_size):
        raise ValueError(f"{name}: the file is empty (0 bytes); copy or download it again")
    first_s = 0.0 if start_s is None else start_s
    if not 0 <= first_s < (np.inf if end_s is None else end_s):
        raise ValueError(f"{name}: start_s {start_s}, end_s {end_s}: a part starts at 0 or later and ends after that")
    with _mapped(content) as held:
        if raw:
            recording, known = by_encoding(content, held, raw, name, first_s, end_s), Facts()
        else:
            known = _facts(content, _stamp(content), name)
            if start_s or end_s is not None:
                recording, known = _part(content, held, known, name, first_s, end_s), replace(known, md5=b"")
            else:
                recording = _whole(content, held, known, name)
        waves = _at_16_khz(name, recording, channel, known)
    return np.clip(waves, -1, 1 - 2.0**-15, out=waves), recording.rate_hz


@contextmanager
def _mapped(content: Path | bytes) -> Iterator[Content]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as held:
        yield held


def _stamp(content: Path | bytes) -> object:
    """A value that changes when the file does."""
    if isinstance(content, bytes):
        return None
    status = content.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


@lru_cache(maxsize=2)
def _facts(content: Path | bytes, stamp: object, name: str) -> Facts:
    """The facts of a file, kept for its next part."""
    with _mapped(content) as held:
        return facts(held, name)


def _part(
    content: Path | bytes, held: Content, known: Facts, name: str, start_s: float, end_s: float | None
) -> Recording:
    """Open a part of a recording. Compressed ones are decoded from their beginning on, and the others can seek."""
    if not (known.ogg or known.mpeg):
        with suppress(NotReadable):
            return by_libsndfile(content, held, known, name, start_s, end_s)
    key = content, _stamp(content)
    return part_of(key, lambda: _whole(content, held, known, name), name, start_s, end_s)


def _whole(content: Path | bytes, held: Content, known: Facts, name: str) -> Recording:
    """Open a recording with libsndfile, or with FFmpeg where libsndfile cannot."""
    try:
        return by_libsndfile(content, held, known, name)
    except NotReadable as refusal:
        libsndfile_says = str(refusal)
    start = held[:4096]
    if (
        start.isascii()
        and start[:4] != b"NIST"
        and start.decode().translate({9: None, 10: None, 13: None}).isprintable()
    ):
        raise ValueError(f"{name}: this is text, not sound; is it really an audio file? Give the recording")
    if name.lower().endswith(_HEADERLESS):
        raise ValueError(
            f"{name}: it has no header. Give its sample_rate and encoding ({', '.join(ENCODINGS)}) in a manifest, or "
            "write it as a WAV file"
        )
    try:
        return by_ffmpeg(content, known, name)
    except NotReadable as refusal:
        raise ValueError(
            f"{name}: damaged, or not a format that libsndfile or FFmpeg knows; is it really an audio file? libsndfile "
            f"says: {libsndfile_says}. FFmpeg says: {refusal}"
        ) from None
    except ImportError as error:
        raise ImportError(f"{name}: libsndfile cannot read this file ({libsndfile_says}), and {error}") from None


def _at_16_khz(
    name: str, recording: Recording, channel: Channel | Literal["every"], known: Facts
) -> Float32[np.ndarray, "samples channels"]:
    """Check a recording block by block, and resample its channel or channels. So only the result is in memory."""
    if channel != _EVERY:
        _check_channel(name, recording.channels, channel)
    picked = [*range(recording.channels)] if channel == _EVERY else [0 if channel == MEAN else channel or 0]
    resampler = soxr.ResampleStream(recording.rate_hz, RATE_HZ, len(picked), dtype="float32")
    done, peak, found, digest = 0, 0.0, [], hashlib.md5(usedforsecurity=False)
    for block in recording.blocks:
        if known.md5:
            digest.update(_as_stored(block, known.bits))
        taken = block.mean(axis=1, keepdims=True) if channel == MEAN else np.ascontiguousarray(block[:, picked])
        if not (finite := np.isfinite(taken)).all():
            bad, place = (int(where[0]) for where in np.nonzero(~finite))
            raise ValueError(
                f"{name}: sample {done + bad} is {taken[bad, place]}, not a finite number; export it again"
            )
        done, peak = done + len(taken), max(peak, float(np.abs(taken).max(initial=0)))
        found.append(taken if recording.rate_hz == RATE_HZ else resampler.resample_chunk(taken))
    if known.md5 and digest.digest() != known.md5:
        raise ValueError(f"{name}: damaged: its samples do not have the MD5 that it states; copy or download it again")
    if not done:
        raise ValueError(f"{name}: no samples (zero-length audio); record or export it again")
    if not peak:
        raise ValueError(f"{name}: every sample is zero; the channel is dead, or the recording failed")
    if peak > _LOUDEST:
        raise ValueError(f"{name}: samples reach {peak:g}; scale floating-point audio to between -1 and 1")
    if recording.rate_hz != RATE_HZ:
        found.append(resampler.resample_chunk(np.empty((0, len(picked)), np.float32), last=True))
    return np.concatenate(found)


def _check_channel(name: str, channels: int, channel: Channel) -> None:
    if channel is None and channels > 1:
        raise ValueError(
            f"{name}: {channels} channels; say which one with `channel` (0 to {channels - 1}) or --channel N; an "
            "import can also take their mean with --downmix"
        )
    if channel != MEAN and not 0 <= (channel or 0) < channels:
        raise ValueError(f"{name}: there is no channel {channel}; the file has {channels}, counted from 0")


def _as_stored(block: Float32[np.ndarray, "samples channels"], bits: int) -> bytes:
    """The samples as FLAC's MD5 covers them: integers of whole bytes, little-endian."""
    width = -(-bits // 8)
    integers = np.ascontiguousarray((block * np.float32(2 ** (bits - 1))).astype("<i4"))
    return integers.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def to_int16(wave: Float32[np.ndarray, " samples"]) -> Int16[np.ndarray, " samples"]:
    """Round a waveform in [-1, 1) to 16-bit samples. A waveform made from 16-bit samples gives the same samples."""
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
