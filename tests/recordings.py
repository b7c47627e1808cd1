"""Recordings in every container, written by libsndfile and FFmpeg, with gaps in their time stamps where wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

# The file's name, and how FFmpeg makes it: codec, rate in Hz, options of the container.
BY_FFMPEG: dict[str, tuple[str, int, dict[str, str]]] = {
    "noxing.mp3": ("libmp3lame", 16_000, {"write_xing": "0", "id3v2_version": "0"}),
    "ffmpeg.mp3": ("libmp3lame", 16_000, {}),
    "a.m4a": ("aac", 16_000, {}),
    "faststart.m4a": ("aac", 16_000, {"movflags": "faststart"}),
    "a.webm": ("libopus", 48_000, {}),
    "live.webm": ("libopus", 48_000, {"live": "1"}),
    "a.mka": ("libopus", 48_000, {}),
    "a.ts": ("aac", 16_000, {}),
    "ffmpeg.caf": ("pcm_s16be", 16_000, {}),
}
BY_LIBSNDFILE: dict[str, tuple[str, str]] = {
    "a.wav": ("WAV", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "xing.mp3": ("MP3", "MPEG_LAYER_III"),
    "a.caf": ("CAF", "PCM_16"),
    "a.au": ("AU", "PCM_16"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.sph": ("NIST", "PCM_16"),
}
ALL = (*BY_LIBSNDFILE, *BY_FFMPEG)


def sound(seconds: float, rate_hz: int = 16_000, seed: int = 0) -> np.ndarray:
    """Tones that change every 50 ms, over a little noise: 16-bit samples, each part of which is unlike the others."""
    rng = np.random.default_rng(seed)
    hz = np.repeat(rng.uniform(200, 2000, round(20 * seconds) + 1), rate_hz // 20)[: round(seconds * rate_hz)]
    wave = 0.4 * np.sin(2 * np.pi * np.cumsum(hz) / rate_hz) + 0.02 * rng.standard_normal(len(hz))
    return np.round(32767 * wave.clip(-1, 1)).astype(np.int16)


def write(path: Path, seconds: float, seed: int = 0) -> Path:
    """Write a recording of one channel in the container that the file's name has in the tables above."""
    if path.name in BY_LIBSNDFILE:
        kind, subtype = BY_LIBSNDFILE[path.name]
        soundfile.write(path, sound(seconds, seed=seed), 16_000, format=kind, subtype=subtype)
    else:
        codec, rate_hz, options = BY_FFMPEG[path.name]
        by_ffmpeg(path, sound(seconds, rate_hz, seed), rate_hz, codec, options)
    return path


def by_ffmpeg(
    path: Path,
    samples: np.ndarray,
    rate_hz: int,
    codec: str,
    container: Mapping[str, str] | None = None,
    late: Sequence[tuple[float, float]] = (),
    format: str | None = None,
    **encoder: object,
) -> Path:
    """Encode 16-bit samples [samples] or [samples, channels].

    `late` holds pairs of times in seconds: all packets after the first time are later by the second.
    """
    import av

    both = samples.reshape(len(samples), -1)
    layout = "mono" if both.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format=format, options=dict(container or {})) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout=layout, **encoder)
        frames = []
        for first in range(0, len(both), rate_hz // 10):
            block = np.ascontiguousarray(both[first : first + rate_hz // 10].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, first
            frames.append(frame)
        for packet in (packet for frame in (*frames, None) for packet in stream.encode(frame)):
            if packet.pts is not None:
                at_s = float(packet.pts * packet.time_base)
                shift = round(sum(by for since, by in late if not since or at_s >= since - 0.01) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.pts + shift
            file.mux(packet)
    return path
