"""§3.3: encoding and decoding with lossy codecs, in memory through FFmpeg's libraries (PyAV).

PyAV's wheels carry GPL code, so it is an optional dependency: `pip install 'mdasr[codecs]'`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import NamedTuple

import numpy as np
import soxr
from jaxtyping import Float, Int16

from mdasr.spec import RATE_HZ


class _Coder(NamedTuple):
    encoder: str
    decoder: str
    sample_format: str  # what the encoder takes
    delay: int  # samples at 16 kHz by which the decoded wave lags; LAME and Opus say theirs, and FFmpeg skips it
    fast: dict[str, str]  # options of a quicker search


_CODERS = {
    "mp3": _Coder("libmp3lame", "mp3float", "s16p", 0, {"compression_level": "7"}),
    "aac": _Coder("aac", "aac", "fltp", 1024, {"aac_coder": "fast"}),
    "opus": _Coder("libopus", "opus", "s16", 0, {}),
    "sbc": _Coder("sbc", "sbc", "s16", 73, {}),
}


@dataclass(frozen=True)
class Codec:
    """A codec at a constant bit rate: `name` is "mp3", "aac", "opus" or "sbc".

    `search` "fast" makes MP3's and AAC's encoders choose less carefully, two to six times as fast;
    "default" is FFmpeg's own choice. SBC has 16 blocks and 8 subbands, so that a bitpool b is 8 + 2 b kbps.
    ValueError for any other value.
    """

    name: str
    kbps: int
    search: str = "default"

    def __post_init__(self) -> None:
        if self.name not in _CODERS:
            raise ValueError(f"codec: name {self.name!r} must be one of {', '.join(_CODERS)}")
        if not isinstance(self.kbps, int) or not 6 <= self.kbps <= 320:
            raise ValueError(f"codec: kbps {self.kbps!r} must be a whole number from 6 to 320")
        if self.search not in ("default", "fast"):
            raise ValueError(f"codec: search {self.search!r} must be 'default' or 'fast'")
        if self.name == "sbc" and (self.kbps % 2 or not 12 <= self.kbps <= 264):
            raise ValueError(f"codec: kbps {self.kbps} of sbc must be 8 + 2 bitpool, the bitpool from 2 to 128")

    def __str__(self) -> str:
        return f"{self.name} {self.kbps}k" + (" (fast)" if self.search == "fast" else "")


# §3.3's seven conditions. What they become at 16 kHz: MP3 at 23 kbps is 24 (there is no 23), AAC at 128 and
# at 64 comes to about 70 (128 is more than AAC takes at this rate).
TRAINING_CODECS: tuple[Codec | None, ...] = (
    None,
    Codec("mp3", 128),
    Codec("mp3", 32),
    Codec("mp3", 23),
    Codec("aac", 128),
    Codec("aac", 64),
    Codec("aac", 23),
)
# §4.3.2's codecs not seen in training; this SBC has a bitpool of 24.
UNSEEN_CODECS = (Codec("mp3", 64), Codec("opus", 24), Codec("sbc", 56))


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ImportError("codec simulation needs PyAV: pip install 'mdasr[codecs]'") from error
    return av


def available(codec: Codec) -> bool:
    """Whether this machine's PyAV can encode and decode `codec`; ImportError where there is no PyAV."""
    codecs, coder = _pyav().codec.Codec, _CODERS[codec.name]
    try:
        codecs(coder.encoder, "w"), codecs(coder.decoder, "r")
    except ValueError:
        return False
    return True


def require(codecs: Iterable[Codec | None]) -> None:
    """Check before a long job that every codec will work: RuntimeError names those that this PyAV lacks."""
    lacking = sorted({str(codec) for codec in codecs if codec is not None and not available(codec)})
    if lacking:
        raise RuntimeError(
            f"this build of PyAV lacks {', '.join(lacking)}: install the wheel from PyPI "
            "(pip install --force-reinstall --only-binary av 'mdasr[codecs]') or leave these codecs out"
        )


def encode_decode(wave: Float[np.ndarray, " samples"], codec: Codec) -> Float[np.ndarray, " samples"]:
    """What is left of `wave` after `codec`: float32 at 16 kHz, of the same length, its delay taken out.

    The encoder gets 16 bits a sample, as recordings have them. ImportError where there is no PyAV,
    ValueError where it lacks the codec (`require` says so beforehand).
    """
    if not len(wave):
        return np.zeros(0, np.float32)
    coder = _CODERS[codec.name]
    packets, extradata = _encode(np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16), codec)
    decoder = _pyav().CodecContext.create(coder.decoder, "r")
    decoder.thread_count, decoder.sample_rate, decoder.layout = 1, RATE_HZ, "mono"
    if extradata:
        decoder.extradata = extradata
    frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    decoded = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    if decoded.dtype == np.int16:
        decoded = decoded.astype(np.float32) / 32768
    if decoder.sample_rate != RATE_HZ:  # Opus is always decoded at 48 kHz
        decoded = soxr.resample(decoded, decoder.sample_rate, RATE_HZ, quality="HQ")
    whole = decoded[coder.delay :]
    return np.pad(whole, (0, max(0, len(wave) - len(whole))))[: len(wave)]


def _encode(samples: Int16[np.ndarray, " samples"], codec: Codec) -> tuple[list, bytes | None]:
    """Packets of the encoded samples, and what a decoder must know beforehand."""
    av, coder = _pyav(), _CODERS[codec.name]
    encoder = av.CodecContext.create(coder.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE_HZ, "mono", coder.sample_format
    encoder.time_base, encoder.thread_count, encoder.bit_rate = Fraction(1, RATE_HZ), 1, codec.kbps * 1000
    options = dict(coder.fast) if codec.search == "fast" else {}
    if codec.name == "sbc":
        # FFmpeg takes the bitpool in units of its quality scale; the frame is completed, and one more
        # follows it, because the decoded wave lags.
        options["global_quality"] = str((codec.kbps - 8) // 2 * 118)
        samples = np.pad(samples, (0, 128 + -len(samples) % 128))
    encoder.options = options
    encoder.open()
    planar = samples[None] if coder.sample_format != "fltp" else (samples[None] / np.float32(32768))
    packets = []
    for first in range(0, len(samples), encoder.frame_size):
        block = np.ascontiguousarray(planar[:, first : first + encoder.frame_size])
        frame = av.AudioFrame.from_ndarray(block, format=coder.sample_format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, first, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return packets, encoder.extradata
