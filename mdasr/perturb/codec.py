"""§3.3: encoding and decoding with lossy codecs, in memory.

Two libraries code: FFmpeg's through PyAV, and libsndfile through soundfile. PyAV's wheels carry GPL code, so it is an
optional dependency: `pip install av`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import soxr
from jaxtyping import Bool, Float, Int16

from mdasr.core.random_streams import random_stream
from mdasr.core.requirements import optional
from mdasr.core.waveforms import RATE_HZ, checked

Search = Literal["default", "fast"]


@dataclass(frozen=True)
class PacketLoss:
    """Packets of 20 ms that never arrive: the share of them, and the mean length of a burst of losses, in packets.

    A two-state Markov chain (Gilbert, 1960) whose draws come from `seed`. ValueError for what no chain can do.
    """

    share: float
    burst: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"packet loss: share {self.share} must lie between 0 and 1")
        if not 1 <= self.burst <= 100 or self.share > self.burst * (1 - self.share):
            raise ValueError(
                f"packet loss: burst {self.burst} must lie between 1 and 100, and be at least share / (1 - share)"
            )

    def lost(self, packets: int) -> Bool[np.ndarray, " packets"]:
        """Which of the packets are lost."""
        rng = random_stream("packet loss", self.seed)
        uniform = rng.random(packets)
        lost, now = np.zeros(packets, bool), bool(rng.random() < self.share)
        for i, u in enumerate(uniform):
            lost[i] = now
            now = u >= 1 / self.burst if now else u < self.share / (self.burst * (1 - self.share))
        return lost


@dataclass(frozen=True)
class Codec:
    """A codec and its bit rate: `name` is one of `CODERS`, `kbps` one of the rates that it has.

    `search` "fast" makes MP3's and AAC's encoders choose less carefully, two to six times as fast; "default" is
    FFmpeg's own choice. SBC has 16 blocks and 8 subbands, so that a bitpool b is 8 + 2 b kbps. Vorbis' rate is that
    which libvorbis aims at on average; on speech it takes about two thirds of it. Opus alone can have packet `loss`,
    which its decoder conceals. ValueError for any other value.
    """

    name: str
    kbps: int | float
    search: Search = "default"
    loss: PacketLoss | None = None

    def __post_init__(self) -> None:
        if self.name not in CODERS:
            raise ValueError(f"codec: name {self.name!r} must be one of {', '.join(CODERS)}")
        rates = CODERS[self.name].kbps
        if self.kbps not in rates:
            said = (
                f"a whole number from {rates.start} to {rates.stop - 1}"
                if isinstance(rates, range) and rates.step == 1
                else f"8 + 2 bitpool, from {rates.start} to {rates.stop - 2}"
                if isinstance(rates, range)
                else " or ".join(f"{rate:g}" for rate in rates)
            )
            raise ValueError(f"codec: kbps {self.kbps!r} of {self.name} must be {said}")
        if self.search not in ("default", "fast"):
            raise ValueError(f"codec: search {self.search!r} must be 'default' or 'fast'")
        if self.loss is not None and self.name != "opus":
            raise ValueError(f"codec: {self.name} has no packet loss here; only opus has")

    def __str__(self) -> str:
        loss = f", {self.loss.share:.0%} lost" if self.loss else ""
        return f"{self.name} {self.kbps:g}k" + (" (fast)" if self.search == "fast" else "") + loss


def encode_decode(wave: Float[np.ndarray, " samples"], codec: Codec) -> Float[np.ndarray, " samples"]:
    """What is left of `wave` after `codec`: float32 at 16 kHz, of the same length, its delay taken out.

    The encoder gets 16 bits a sample, as recordings have them, at its own rate. ImportError where its library is not
    installed, ValueError where that lacks the codec (`require` says so beforehand), and as `waveforms.checked` says.
    """
    wave = checked(wave)
    if not len(wave):
        return np.zeros(0, np.float32)
    coder = CODERS[codec.name]
    sent = wave if coder.rate_hz == RATE_HZ else soxr.resample(wave, RATE_HZ, coder.rate_hz)
    samples = np.rint(sent * 32768).clip(-32768, 32767).astype(np.int16)
    # A codec takes whole frames and lags: silence after the wave lets its end come out.
    padded = np.pad(samples, (0, coder.frame + -len(samples) % coder.frame))
    decoded, rate_hz = coder.run(padded, codec)
    if rate_hz != RATE_HZ:
        decoded = soxr.resample(decoded, rate_hz, RATE_HZ)
    heard = decoded[coder.delay :]
    return np.pad(heard, (0, max(0, len(wave) - len(heard))))[: len(wave)]


def available(codec: Codec) -> bool:
    """Whether what is installed here can encode and decode `codec`; ImportError where its library is missing."""
    return CODERS[codec.name].available()


def require(codecs: Iterable[Codec | None]) -> None:
    """Check before a long job that every codec will work: ImportError names those that this machine lacks."""
    lacking = sorted({str(codec) for codec in codecs if codec is not None and not available(codec)})
    if lacking:
        raise ImportError(
            f"this build of PyAV or libsndfile lacks {', '.join(lacking)}: install the wheels from PyPI "
            "(pip install --force-reinstall --only-binary :all: 'av<19' soundfile) or leave these codecs out"
        )


def _pyav() -> ModuleType:
    return optional("av", "mdasr[codecs]")


def _soundfile() -> ModuleType:
    return optional("soundfile", "soundfile")


Coded = tuple[Float[np.ndarray, " _"], int]  # decoded samples, and the rate that they come at


class FFmpeg(NamedTuple):
    """How to run one codec in FFmpeg's libraries."""

    encoder: str
    decoder: str
    sample_format: str  # what the encoder takes
    fast: dict[str, str] = {}  # noqa: RUF012  options of a quicker search

    def available(self) -> bool:
        codec = _pyav().codec.Codec
        try:
            codec(self.encoder, "w"), codec(self.decoder, "r")
        except ValueError:
            return False
        return True

    def run(self, samples: Int16[np.ndarray, " samples"], codec: Codec, rate_hz: int) -> Coded:
        packets, extradata = self.encode(samples, codec, rate_hz)
        if codec.loss:
            packets = _lose(packets, codec.loss)
        decoder = _pyav().CodecContext.create(self.decoder, "r")
        decoder.thread_count, decoder.sample_rate, decoder.layout = 1, rate_hz, "mono"
        if extradata:
            decoder.extradata = extradata
        frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
        decoded = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
        if decoded.dtype == np.int16:
            decoded = decoded.astype(np.float32) / 32768
        return decoded, decoder.sample_rate

    def encode(
        self, samples: Int16[np.ndarray, " samples"], codec: Codec, rate_hz: int
    ) -> tuple[list[Any], bytes | None]:
        """Packets of the encoded samples, and what a decoder must know beforehand."""
        av = _pyav()
        encoder = av.CodecContext.create(self.encoder, "w")
        encoder.sample_rate, encoder.layout, encoder.format = rate_hz, "mono", self.sample_format
        encoder.time_base, encoder.thread_count = Fraction(1, rate_hz), 1
        encoder.bit_rate = round(codec.kbps * 1000)
        options = dict(self.fast) if codec.search == "fast" else {}
        if codec.name == "sbc":  # FFmpeg takes the bitpool in units of its quality scale
            options["global_quality"] = str((int(codec.kbps) - 8) // 2 * 118)
        encoder.options = options
        encoder.open()
        planar = samples[None] if self.sample_format != "fltp" else (samples[None] / np.float32(32768))
        packets = []
        for first in range(0, len(samples), encoder.frame_size):
            block = np.ascontiguousarray(planar[:, first : first + encoder.frame_size])
            frame = av.AudioFrame.from_ndarray(block, format=self.sample_format, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, first, encoder.time_base
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        return packets, encoder.extradata


def _lose(packets: Sequence[Any], loss: PacketLoss) -> list[Any]:
    """Opus packets, the lost ones cut to their first byte, which makes libopus conceal a loss (RFC 6716, §4.4)."""
    av, kept = _pyav(), []
    for packet, lost in zip(packets, loss.lost(len(packets))):
        if lost:
            stub = av.Packet(bytes(packet)[:1])
            stub.pts, stub.dts, stub.time_base = packet.pts, packet.dts, packet.time_base
        kept.append(stub if lost else packet)
    return kept


class Sndfile(NamedTuple):
    """How to run one codec in libsndfile, as a file in memory."""

    format: str
    subtype: str

    def available(self) -> bool:
        return self.subtype in _soundfile().available_subtypes(self.format)

    def run(self, samples: Int16[np.ndarray, " samples"], codec: Codec, rate_hz: int) -> Coded:
        soundfile, file = _soundfile(), io.BytesIO()
        quality = {"compression_level": 1 - _vorbis_quality(codec.kbps)} if codec.name == "vorbis" else {}
        soundfile.write(file, samples, rate_hz, self.subtype, format=self.format, **quality)
        file.seek(0)
        return soundfile.read(file, dtype="float32")


def _vorbis_quality(kbps: int | float) -> float:
    """libvorbis' quality for mono at 16 kHz from the rates that its tables name."""
    return float(np.interp(kbps, (28, 64, 100), (0.05, 0.5, 1.0)))


class Coder(NamedTuple):
    """A codec as this module runs it: its library, its rates, and by how many samples at 16 kHz it lags.

    `frame` is what it takes at once, in samples at `rate_hz`. LAME, Opus and libvorbis say their delays, and the
    libraries skip them.
    """

    library: FFmpeg | Sndfile
    kbps: range | tuple[int | float, ...]
    rate_hz: int = RATE_HZ
    frame: int = 1
    delay: int = 0

    @property
    def run(self) -> Callable[[Int16[np.ndarray, " samples"], Codec], Coded]:
        return partial(self.library.run, rate_hz=self.rate_hz)

    def available(self) -> bool:
        return self.library.available()


CODERS = {
    "mp3": Coder(FFmpeg("libmp3lame", "mp3float", "s16p", {"compression_level": "7"}), range(8, 161)),
    "aac": Coder(FFmpeg("aac", "aac", "fltp", {"aac_coder": "fast"}), range(8, 161), delay=1024),
    "opus": Coder(FFmpeg("libopus", "libopus", "s16"), range(6, 257)),
    "sbc": Coder(FFmpeg("sbc", "sbc", "s16"), range(12, 265, 2), frame=128, delay=73),
    "vorbis": Coder(Sndfile("OGG", "VORBIS"), range(28, 101)),
    # Telephones'
    "mulaw": Coder(Sndfile("WAV", "ULAW"), (64,), 8000),
    "alaw": Coder(Sndfile("WAV", "ALAW"), (64,), 8000),
    "gsm": Coder(Sndfile("WAV", "GSM610"), (13,), 8000, frame=320),
    "amr": Coder(
        FFmpeg("libopencore_amrnb", "libopencore_amrnb", "s16"),
        (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2),
        8000,
        frame=160,
        delay=79,
    ),
    "g722": Coder(FFmpeg("g722", "g722", "s16"), (64,), frame=320, delay=22),
}

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
# Beyond the paper: what a telephone, a conference or a game leaves of speech.
FURTHER_CODECS = (
    Codec("mulaw", 64),
    Codec("alaw", 64),
    Codec("gsm", 13),
    Codec("amr", 4.75),
    Codec("amr", 12.2),
    Codec("g722", 64),
    Codec("vorbis", 32),
    Codec("opus", 24, loss=PacketLoss(0.1, burst=2.0)),
)
