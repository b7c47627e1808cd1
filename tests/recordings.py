"""Recordings in every container, written by libsndfile and FFmpeg, with gaps in their time stamps where wanted."""

from __future__ import annotations

import io
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


def shortened(samples: np.ndarray, rate_hz: int) -> bytes:
    """A SPHERE file compressed by `shorten` (Robinson, 1994), without prediction. It takes blocks of 256 samples."""
    bits: list[str] = []

    def put(value: int, width: int) -> None:
        """Write Rice's code: zeros for the high bits, a one, and the low bits."""
        bits.append("0" * (value >> width) + "1" + format(value & (1 << width) - 1, f"0{width}b") * bool(width))

    for number in (5, 1, 256, 0, 0, 0):  # 16 bits, channels, samples a block, and what is not used
        put(number.bit_length(), 2)
        put(number, number.bit_length())
    header = io.BytesIO()
    soundfile.write(header, np.zeros(0, np.int16), rate_hz, format="WAV", subtype="PCM_16")
    put(9, 2)  # the header of the file that was compressed
    put(44, 5)
    for byte in header.getvalue()[:44]:
        put(byte, 8)
    for first in range(0, len(samples), 256):
        put(0, 2)  # a block without prediction, whose samples have 12 low bits
        put(12, 3)
        for value in samples[first : first + 256].tolist():
            put(value << 1 if value >= 0 else ~value << 1 | 1, 13)
    put(4, 2)  # the end
    coded = "".join(bits).ljust(-(-sum(map(len, bits)) // 32) * 32, "0")
    fields = [
        f"sample_count -i {len(samples)}", f"sample_rate -i {rate_hz}", "channel_count -i 1", "sample_n_bytes -i 2",
        "sample_byte_format -s2 01", "sample_coding -s26 pcm,embedded-shorten-v2.00", "end_head",
    ]  # fmt: skip
    text = "NIST_1A\n   1024\n" + "\n".join(fields) + "\n"
    return text.ljust(1024).encode() + b"ajkg\x02" + int(coded, 2).to_bytes(len(coded) // 8)
