"""Recordings read by FFmpeg (PyAV, extra `codecs`): M4A, WebM, Matroska, TS, and what libsndfile does not decode.

Time stamps count: where they leave a gap, or begin late, there is silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32

from mdasr.core.requirements import optional
from mdasr.corpus.containers import Facts, cut_short
from mdasr.corpus.libsndfile_reader import BLOCK, SLACK_S, NotReadable, Recording, checked_rate, nameless

JITTER_S = 0.05  # time stamps this close to the sound before them continue it: many are rounded
LONGEST_GAP_S = 3600.0  # of silence that is filled in: a damaged time stamp could ask for years
_RESTART_S = 1.0  # time stamps that go back to this close to the beginning belong to another file, joined to the first
_FROM_ZERO = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")  # the time stamps of these begin at 0
_TIMED = (*_FROM_ZERO, "mpegts", "mpeg", "flv")  # in other formats, FFmpeg derives the time stamps
_STATED = ("caf", "tta", "wv", "ape")  # the stated length of these is no estimate
_BATCH = 1 << 16  # samples of a channel in a block, or more

Samples: TypeAlias = Float32[np.ndarray, "samples channels"]


def by_ffmpeg(source: Path | bytes, facts: Facts, name: str) -> Recording:
    """Open a recording.

    Raises ImportError without PyAV, NotReadable where FFmpeg does not know the file, and ValueError where the file is
    cut short or damaged.
    """
    optional("av", "mdasr[codecs]")
    blocks = _blocks(source, facts, name)
    first = next(blocks, None)
    if first is None:
        raise ValueError(f"{name}: no samples (zero-length audio); record or export it again")
    rate_hz, samples = first
    rest = (block for _, block in chain([first], blocks))
    return Recording(checked_rate(name, rate_hz), samples.shape[1], rest)


def _blocks(source: Path | bytes, facts: Facts, name: str) -> Iterator[tuple[int, Samples]]:
    """Yield the rate and a block of samples, again and again."""
    import av
    from av.error import FFmpegError

    done_s, waiting = 0.0, list[np.ndarray]()
    try:
        opened = nameless(source)
        with os.fdopen(opened, "rb") if isinstance(opened, int) else opened as file, av.open(file) as container:
            for rate_hz, samples in _on_time(container, facts, name):
                waiting.append(samples)
                if sum(map(len, waiting)) >= _BATCH:
                    yield rate_hz, np.concatenate(waiting)
                    waiting.clear()
                done_s += len(samples) / rate_hz
            if waiting:
                yield rate_hz, np.concatenate(waiting)
    except (FFmpegError, UnicodeDecodeError, LookupError, AttributeError, MemoryError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        if not done_s:
            raise NotReadable(why) from None
        raise ValueError(f"{name}: damaged after {done_s:.2f} s ({why}); copy or download it again") from None


def _on_time(container: Any, facts: Facts, name: str) -> Iterator[tuple[int, Samples]]:
    """Yield the rate and samples of the first audio stream, with silence where the time stamps leave a gap."""
    if not container.streams.audio:
        raise ValueError(f"{name}: this file has no audio stream; is it the right file?")
    if container.format.name == "mp3" and not (facts.mpeg or facts.samples):
        raise ValueError(f"{name}: damaged: its first bytes are not an MPEG frame; copy it again, or encode it anew")
    timed = container.format.name in _TIMED
    origin_s = 0.0 if container.format.name in _FROM_ZERO else (container.start_time or 0) / 1e6
    kind: tuple[int, int] | None = None  # rate and channels
    place, silence, ended_s = 0, 0, 0.0
    last: Samples | None = None
    for frame in _frames(container, facts, name):
        if kind and last is not None:
            yield kind[0], last
        rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        if kind not in (None, (rate_hz, channels)):
            raise ValueError(f"{name}: its rate or its channels change after {place / rate_hz:.2f} s; export it again")
        at_s = frame.time - origin_s if timed and frame.time is not None else place / rate_hz
        if kind and at_s < ended_s - JITTER_S:
            if at_s > _RESTART_S:
                raise ValueError(
                    f"{name}: its time stamps go back from {ended_s:.2f} to {at_s:.2f} s; it is damaged, or two "
                    "recordings overlap: export it again"
                )
            origin_s, at_s = frame.time - place / rate_hz, place / rate_hz
        gap = round(at_s * rate_hz) - place
        if gap > LONGEST_GAP_S * rate_hz:
            raise ValueError(
                f"{name}: its time stamps leave {gap / rate_hz:.0f} s without sound after {place / rate_hz:.2f} s; "
                "export it again, with time stamps from 0"
            )
        if gap > JITTER_S * rate_hz:
            silence += gap
            place += gap
            size = BLOCK // channels
            yield from ((rate_hz, np.zeros((min(size, gap - at), channels), np.float32)) for at in range(0, gap, size))
        last = _floats(frame)
        kind, place, ended_s = (rate_hz, channels), place + frame.samples, at_s + frame.samples / rate_hz
    if kind and last is not None:
        stated_s = _stated_s(container, facts)
        # The last frame of an M4A is as long as any, and the container states where its sound ends.
        padding = place - round(stated_s * kind[0]) if stated_s and container.format.name == _FROM_ZERO[1] else 0
        yield kind[0], last[: len(last) - padding] if 0 < padding < len(last) else last
        slack_s = 0.0 if facts.samples else SLACK_S + 2 * len(last) / kind[0]
        _check_length(name, stated_s, place / kind[0], silence > 0, slack_s)


def _frames(container: Any, facts: Facts, name: str) -> Iterator[Any]:
    for packet in container.demux(container.streams.audio[0]):
        frames = packet.decode()
        # Where the length is open, the last packet is shorter than FFmpeg asked for, which it reports as damage.
        if (packet.is_corrupt and not facts.open_ended) or any(frame.is_corrupt for frame in frames):
            at = "" if packet.pts is None else f" at {float(packet.pts * packet.time_base):.2f} s"
            raise ValueError(f"{name}: damaged or truncated: a packet{at} is not whole; copy or download it again")
        yield from frames


def _floats(frame: Any) -> Samples:
    """The samples of a frame, as libsndfile would scale them."""
    array = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    middle = 128 if array.dtype == np.uint8 else 0
    return ((array.astype(np.float64) - middle) / 2.0 ** (8 * array.itemsize - 1)).astype(np.float32)


def _stated_s(container: Any, facts: Facts) -> float | None:
    """The length that the container states; None if it states none, or FFmpeg only estimates it."""
    stream, kind = container.streams.audio[0], container.format.name
    if facts.samples:
        return facts.samples / stream.rate
    if kind in ("matroska,webm", "flv"):
        whole_s = container.duration / 1e6 if container.duration else None
        stated_s = _clock_s(stream.metadata.get("DURATION", "")) or (whole_s if len(container.streams) == 1 else None)
        return min(stated_s, whole_s or stated_s) if stated_s else None  # a cut may have left the longer one behind
    if kind in (*_FROM_ZERO, *_STATED) and stream.duration:
        return float((max(stream.start_time or 0, 0) + stream.duration) * stream.time_base)
    return None


def _check_length(name: str, stated_s: float | None, found_s: float, gaps: bool, slack_s: float) -> None:
    if stated_s and found_s < stated_s - slack_s:
        raise cut_short(name, f"{found_s:.2f} s", f"{stated_s:.2f}")
    if stated_s and gaps and found_s > stated_s + slack_s:
        raise ValueError(
            f"{name}: damaged: its time stamps lead to {found_s:.2f} s, but it states {stated_s:.2f}; export it again"
        )


def _clock_s(text: str) -> float | None:
    """The seconds of a time such as 00:01:02.5; None for anything else."""
    try:
        hours, minutes, seconds = map(float, text.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
