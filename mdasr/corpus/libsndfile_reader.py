"""Recordings read by libsndfile: WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, SPHERE, and samples without a header."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32

from mdasr.corpus.containers import Content, Facts, cut_short
from mdasr.corpus.mpeg_frames import decodable

SLACK_S = 0.05  # a file may be this much shorter than its header says, since codecs such as MP3 have frames
SLOWEST_HZ, FASTEST_HZ = 1000, 1_000_000  # a damaged header may give any rate: a minute could become a year at 16 kHz
BLOCK = 1 << 20  # samples, of all channels together, that are read at a time
# How samples without a header may be stored: libsndfile's names, and the bytes of a sample.
ENCODINGS = {
    "s16le": ("PCM_16", "LITTLE", 2),
    "s16be": ("PCM_16", "BIG", 2),
    "s24le": ("PCM_24", "LITTLE", 3),
    "s32le": ("PCM_32", "LITTLE", 4),
    "f32le": ("FLOAT", "LITTLE", 4),
    "s8": ("PCM_S8", "FILE", 1),
    "u8": ("PCM_U8", "FILE", 1),
    "mulaw": ("ULAW", "FILE", 1),
    "alaw": ("ALAW", "FILE", 1),
}
_MAGIC = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b".snd", b"caff", b"NIST", b"ID3", b"\x1a\x45\xdf\xa3", b"#!AMR")
_ENDLESS = 1 << 62  # libsndfile reports about twice as many samples where it does not know the length


class Raw(NamedTuple):
    """The encoding (of `ENCODINGS`) and the rate of a file without a header. It has one channel."""

    encoding: str
    rate_hz: int


class Recording(NamedTuple):
    """The samples of a recording or of a part of it, in blocks that are read when they are needed."""

    rate_hz: int
    channels: int
    blocks: Iterator[Float32[np.ndarray, "samples channels"]]


class NotReadable(Exception):
    """A decoder cannot read a file, for the reason in the argument. Another decoder may."""


def by_libsndfile(
    source: Path | bytes, content: Content, facts: Facts, name: str, start_s: float = 0.0, end_s: float | None = None
) -> Recording:
    """Open a recording or a part of it.

    Raises NotReadable, and ValueError where the file is damaged or ends before the part does.
    """
    files = []
    try:
        for joined, drop in _joined(source, content, facts):
            files.append((soundfile.SoundFile(joined, closefd=True), drop))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise NotReadable(getattr(error, "error_string", str(error)).strip().rstrip(".")) from None
    first = files[0][0]
    if any((file.samplerate, file.channels) != (first.samplerate, first.channels) for file, _ in files):
        raise ValueError(f"{name}: holds recordings of different rates or channels, one after the other; separate them")
    total = _total(files)
    if total >= _ENDLESS or (facts.open_ended and not total) or total < (facts.samples or 0):
        raise NotReadable("it does not know the file's length")
    if first.format == "MP3" and not (facts.mpeg or facts.samples):
        raise ValueError(f"{name}: damaged: its first bytes are not an MPEG frame; copy it again, or encode it anew")
    if first.format == "VOC":
        raise NotReadable("it takes the headers of blocks for samples")
    _check_log(name, first)
    return _part(files, name, start_s, end_s, facts.samples)


def _total(files: Sequence[tuple[soundfile.SoundFile, int]]) -> int:
    return sum(file.frames - drop for file, drop in files)


def _part(
    files: Sequence[tuple[soundfile.SoundFile, int]],
    name: str,
    start_s: float,
    end_s: float | None,
    stated: int | None = None,
) -> Recording:
    rate_hz, total = checked_rate(name, files[0][0].samplerate), stated or _total(files)
    begin = round(start_s * rate_hz)
    end = total if end_s is None else round(end_s * rate_hz)
    if end > total + SLACK_S * rate_hz or begin >= max(total, 1):
        raise beyond(name, start_s, end_s, total / rate_hz)
    return Recording(rate_hz, files[0][0].channels, _blocks(files, name, begin, min(end, total)))


def by_encoding(
    source: Path | bytes, content: Content, raw: Raw, name: str, start_s: float, end_s: float | None
) -> Recording:
    """Open a file without a header. Raises ValueError where it has one, is text, or has half a sample at its end."""
    subtype, endian, width = ENCODINGS[raw.encoding]
    rate_hz = checked_rate(name, raw.rate_hz)
    if content[:4].startswith(_MAGIC):
        raise ValueError(f"{name}: field encoding: the file has a header ({content[:4]!r}); remove the field")
    if content[:4096].isascii():
        raise ValueError(f"{name}: field encoding: the file is text, not {raw.encoding} samples; give the recording")
    if len(content) % width:
        raise ValueError(
            f"{name}: field encoding: {len(content):,} bytes are not a whole number of {raw.encoding} samples; correct "
            "the field, or copy the file again"
        )
    file = soundfile.SoundFile(
        nameless(source), samplerate=rate_hz, channels=1, format="RAW", subtype=subtype, endian=endian, closefd=True
    )
    return _part([(file, 0)], name, start_s, end_s)


def nameless(source: Path | bytes) -> int | io.BytesIO:
    """Open a file so that decoders see its content alone: they would take any bytes for sound by the file's name."""
    return io.BytesIO(source) if isinstance(source, bytes) else os.open(source, os.O_RDONLY)


def checked_rate(name: str, rate_hz: int) -> int:
    if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise ValueError(
            f"{name}: a rate of {rate_hz} Hz is not between {SLOWEST_HZ:,} and {FASTEST_HZ:,}; export it again"
        )
    return rate_hz


def beyond(name: str, start_s: float, end_s: float | None, seconds: float) -> ValueError:
    end = "its end" if end_s is None else f"{end_s:g} s"
    return ValueError(f"{name}: start_s, end_s: {start_s:g} s to {end}, but the recording lasts {seconds:g} s")


def _joined(source: Path | bytes, content: Content, facts: Facts) -> Iterator[tuple[Any, int]]:
    """Yield the files that are joined in this one, and the samples to drop from the beginning of each."""
    if len(facts.ogg) > 1:
        yield from ((io.BytesIO(content[first:last]), 0) for first, last in facts.ogg)
    elif len(facts.mpeg) > 1 or any(not part.stated for part in facts.mpeg):
        for part in facts.mpeg:
            held, drop = decodable(content, part)
            yield io.BytesIO(held), drop
    elif facts.mended:
        at, value = facts.mended
        yield io.BytesIO(content[:at] + value + content[at + len(value) :]), 0
    else:
        yield nameless(source), 0


def _blocks(
    files: Sequence[tuple[soundfile.SoundFile, int]], name: str, begin: int, end: int
) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """Yield the samples from `begin` to `end` of files that lie one after the other."""
    done, place = 0, 0  # samples that were read, and samples of the files so far
    try:
        for file, drop in files:
            first, last = max(begin - place, 0), min(end - place, file.frames - drop)
            place += file.frames - drop
            if drop:
                file.read(drop)
            if first and first < last:
                file.seek(first + drop)
            while first < last and len(block := file.read(min(BLOCK // file.channels, last - first), "float32", True)):
                first, done = first + len(block), done + len(block)
                yield block
    except soundfile.LibsndfileError as error:
        why = error.error_string.rstrip(".")
        raise ValueError(f"{name}: truncated or damaged ({why}); copy or download it again") from None
    finally:
        for file, _ in files:
            file.close()
    rate_hz = files[0][0].samplerate
    if done < end - begin - SLACK_S * rate_hz:
        raise cut_short(name, f"{done / rate_hz:.2f} s", f"{(end - begin) / rate_hz:.2f}")


def _check_log(name: str, file: soundfile.SoundFile) -> None:
    """Raise ValueError for what libsndfile reports only in its log."""
    info = file.extra_info
    if "File ended unexpectedly" in info:
        raise ValueError(f"{name}: truncated (its end is missing); copy or download it again")
    if match := re.search(r"^ *riff *: (\d+) \(should be (\d+)\)", info, re.MULTILINE):  # Sony's W64
        raise cut_short(name, f"{match[2]} bytes", match[1])
    pattern = r"^ *(Bytes/sec|Block Align) *: (\d+) \(should be (\d+)\)"
    if file.subtype.startswith("PCM") and (match := re.search(pattern, info, re.MULTILINE)):
        raise ValueError(
            f"{name}: damaged: its header states {match[1]} {match[2]}, but its rate, channels and bits make "
            f"{match[3]}; copy it again, or write the header anew"
        )
