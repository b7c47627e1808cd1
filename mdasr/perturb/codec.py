"""§3.3: encoding and decoding with lossy codecs, in memory.

The codecs come from three libraries: LAME, through lameenc, FFmpeg, through PyAV, and libsndfile, through soundfile.
PyAV's wheels contain GPL code, so PyAV is an optional dependency: `pip install av`.
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
    """Loss of packets of 20 ms: the `share` of lost packets, and the mean length of a `burst` of losses, in packets.

    A two-state Markov chain (Gilbert, 1960), drawn from `seed`, decides which packets are lost. Raises ValueError for
    values that no such chain can have.
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
        """Draw for each packet whether it is lost."""
        rng = random_stream("packet loss", self.seed)
        uniform = rng.random(packets)
        lost, now = np.zeros(packets, bool), bool(rng.random() < self.share)
        for i, u in enumerate(uniform):
            lost[i] = now
            now = u >= 1 / self.burst if now else u < self.share / (self.burst * (1 - self.share))
        return lost


@dataclass(frozen=True)
class Codec:
    """A codec and its bit rate: `name` is one of `CODERS`, and `kbps` is one of its rates.

    With `search` "fast", the encoders of MP3 and AAC choose less carefully and are two to six times as fast; "default"
    is FFmpeg's own choice. AAC takes at most 6144 bits a frame: at 16 kHz, rates above 96 are the same as 96. SBC has
    16 blocks and 8 subbands, so a bitpool b means 8 + 2 b kbps. Vorbis' rate is the target of libvorbis; speech takes
    about two thirds of it. Only Opus can have packet `loss`, which its decoder conceals. Raises ValueError for any
    other value.
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
            allowed = (
                f"a whole number from {rates.start} to {rates.stop - 1}"
                if isinstance(rates, range) and rates.step == 1
                else f"8 + 2 bitpool, from {rates.start} to {rates.stop - 2}"
                if isinstance(rates, range)
                else " or ".join(f"{rate:g}" for rate in rates)
            )
            raise ValueError(f"codec: kbps {self.kbps!r} of {self.name} must be {allowed}")
        if self.search not in ("default", "fast"):
            raise ValueError(f"codec: search {self.search!r} must be 'default' or 'fast'")
        if self.loss is not None and self.name != "opus":
            raise ValueError(f"codec: {self.name} cannot have packet loss here; only opus can")

    def __str__(self) -> str:
        loss = f", {self.loss.share:.0%} lost" if self.loss else ""
        return f"{self.name} {self.kbps:g}k" + (" (fast)" if self.search == "fast" else "") + loss


def encode_decode(wave: Float[np.ndarray, " samples"], codec: Codec) -> Float[np.ndarray, " samples"]:
    """Encode and decode `wave` with `codec`: float32 at 16 kHz, of the same length, with the codec's delay removed.

    The encoder gets 16-bit samples, as in recordings, at its own rate. Raises ImportError where its library is not
    installed. Raises ValueError where the library lacks the codec (`require` checks this in advance), and as
    `waveforms.checked`.
    """
    wave = checked(wave)
    if not len(wave):
        return np.zeros(0, np.float32)
    coder = CODERS[codec.name]
    resampled = wave if coder.rate_hz == RATE_HZ else soxr.resample(wave, RATE_HZ, coder.rate_hz)
    samples = np.rint(resampled * 32768).clip(-32768, 32767).astype(np.int16)
    # A codec takes whole frames and has a delay: silence after the wave brings out its end.
    padded = np.pad(samples, (0, coder.frame + -len(samples) % coder.frame))
    decoded, rate_hz = coder.run(padded, codec)
    if rate_hz != RATE_HZ:
        decoded = soxr.resample(decoded, rate_hz, RATE_HZ)
    aligned = decoded[coder.delay :]
    return np.pad(aligned, (0, max(0, len(wave) - len(aligned))))[: len(wave)]


def available(codec: Codec) -> bool:
    """Whether this installation can encode and decode `codec`. Raises ImportError where its library is missing."""
    return CODERS[codec.name].available()


def require(codecs: Iterable[Codec | None]) -> None:
    """Check before a long job that every codec works here. Raises ImportError, which names those that do not."""
    lacking = sorted({str(codec) for codec in codecs if codec is not None and not available(codec)})
    if lacking:
        raise ImportError(
            f"this build of PyAV or libsndfile lacks {', '.join(lacking)}: install the wheels from PyPI "
            "(pip install --force-reinstall --only-binary :all: 'av<19' soundfile) or leave these codecs out"
        )


def _pyav() -> ModuleType:
    return optional("av", "mdasr[codecs]")


def _lameenc() -> ModuleType:
    return optional("lameenc", "lameenc")


def _soundfile() -> ModuleType:
    return optional("soundfile", "soundfile")


Coded = tuple[Float[np.ndarray, " _"], int]  # decoded samples, and their rate in Hz


class FFmpeg(NamedTuple):
    """The settings of one codec in FFmpeg's libraries."""

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
        """Encode the samples into packets. Return these, and the header that a decoder needs first (or None)."""
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
        frame = av.AudioFrame.from_ndarray(planar, format=self.sample_format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, encoder.time_base
        # PyAV cuts the wave into the encoder's frames.
        return encoder.encode(frame) + encoder.encode(None), encoder.extradata


def _lose(packets: Sequence[Any], loss: PacketLoss) -> list[Any]:
    """Cut each lost Opus packet to its first byte, which makes libopus conceal the loss (RFC 6716, §4.4)."""
    av, kept = _pyav(), []
    for packet, lost in zip(packets, loss.lost(len(packets))):
        if lost:
            stub = av.Packet(bytes(packet)[:1])
            stub.pts, stub.dts, stub.time_base = packet.pts, packet.dts, packet.time_base
        kept.append(stub if lost else packet)
    return kept


class Sndfile(NamedTuple):
    """The settings of one codec in libsndfile, which writes and reads a file in memory."""

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
    """The quality setting of libvorbis for a rate, interpolated in its own table for mono at 16 kHz."""
    return float(np.interp(kbps, (28, 64, 100), (0.05, 0.5, 1.0)))


class Lame(NamedTuple):
    """LAME's settings of quality for MP3, from 0 (slowest) to 9, by `Codec.search`.

    FFmpeg's "default" is the default of LAME 3.100, which is 3. "fast" is FFmpeg's `compression_level` 7.
    """

    quality: tuple[tuple[Search, int], ...] = (("default", 3), ("fast", 7))

    def available(self) -> bool:
        return bool(_lameenc()) and "MP3" in _soundfile().available_formats()

    def run(self, samples: Int16[np.ndarray, " samples"], codec: Codec, rate_hz: int) -> Coded:
        return _soundfile().read(io.BytesIO(self.encode(samples, codec, rate_hz)), dtype="float32")

    def encode(self, samples: Int16[np.ndarray, " samples"], codec: Codec, rate_hz: int) -> bytes:
        """Encode the samples into the frames of an MP3 file of constant bit rate."""
        encoder = _lameenc().Encoder()
        encoder.silence()  # it would print its settings
        encoder.set_channels(1)
        encoder.set_in_sample_rate(rate_hz)
        encoder.set_out_sample_rate(rate_hz)
        encoder.set_bit_rate(int(codec.kbps))
        encoder.set_quality(dict(self.quality)[codec.search])
        return bytes(encoder.encode(samples.tobytes()) + encoder.flush())


class Coder(NamedTuple):
    """A codec as this module runs it: its library, its rates, and its `delay` in samples at 16 kHz.

    `frame` is the length of its frames, in samples at `rate_hz`. The delay is 0 where the library itself skips it: for
    Opus and libvorbis. MP3's delay is 576 samples of LAME and 529 of the decoder.
    """

    library: FFmpeg | Lame | Sndfile
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
    "mp3": Coder(Lame(), range(8, 161), delay=576 + 529),
    "aac": Coder(FFmpeg("aac", "aac", "fltp", {"aac_coder": "fast"}), range(8, 161), delay=1024),
    "opus": Coder(FFmpeg("libopus", "libopus", "s16"), range(6, 257)),
    "sbc": Coder(FFmpeg("sbc", "sbc", "s16"), range(12, 265, 2), frame=128, delay=73),
    "vorbis": Coder(Sndfile("OGG", "VORBIS"), range(28, 101)),
    # Telephone codecs
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

# §3.3's seven conditions. At 16 kHz, MP3 at 23 kbps becomes 24, since MP3 has no 23. FFmpeg clamps AAC at 96 kbps; of
# these, its default search uses about 70, and the fast one about 80. AAC at 64 kbps is not clamped, and uses 67.
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
# Beyond the paper: codecs of telephones, conferences and games.
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
