"""Test conditions as policies in which only rooms and noises are random."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mdasr.perturb.codec import CODERS, Codec, PacketLoss
from mdasr.perturb.recipe import Policy
from mdasr.perturb.room import EVALUATION_ROOMS, RoomRanges

FORMS = (
    "clean, 8khz, level:GAIN_DB, noise:SNR_DB, room:SNR_DB, reverb:RT60_S, loss:PERCENT, or CODEC:KBPS such as mp3:23"
)


@dataclass(frozen=True)
class Suite:
    """A fixed set of conditions, by kind of distortion, so that models can be compared by name and version.

    Raise `version` with every change of the conditions or of their effect.
    """

    name: str
    version: int
    kinds: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def conditions(self) -> dict[str, str]:
        """The kind of each condition. The first condition is "clean"."""
        return {"clean": "clean", **{words: kind for kind, each in self.kinds.items() for words in each}}


ROBUSTNESS = Suite(
    "robustness",
    1,
    {
        "level": ("level:10", "level:-15", "level:-30"),
        "noise": ("noise:20", "noise:10", "noise:5", "noise:0"),
        "room": ("reverb:0.3", "reverb:0.6", "reverb:0.9"),
        "codec": ("mp3:23", "aac:23", "opus:12"),
        "telephone": ("mulaw:64", "gsm:13", "amr:4.75"),
        "packet loss": ("loss:5", "loss:20"),
        "bandwidth": ("8khz",),
    },
)


def condition(text: str, snippets: Iterable[str] = (), measured: Iterable[str] = ()) -> Policy:
    """Make the policy of a test condition, which is given as text in one of `FORMS`.

    "level:-20" makes the recording 20 dB quieter. "noise:10" adds one noise of `snippets` at 10 dB. The talker is a
    metre from the microphone, without reverberation. "room:10" does the same in one of §3.1's rooms that training never
    uses, or with one of the `measured` responses. "reverb:0.6" is such a room with an RT60 of 0.6 s and without noise.
    "loss:5" loses 5% of the packets of Opus at 24 kbps, two in a row on average. Raises ValueError for any other text.
    """
    name, _, amount = text.partition(":")
    try:
        return _policy(text, name, amount, tuple(sorted(snippets)), tuple(sorted(measured)))
    except ValueError as error:
        raise ValueError(f"condition {text!r}: {error}") from None


def _policy(text: str, name: str, amount: str, snippets: tuple[str, ...], measured: tuple[str, ...]) -> Policy:
    if text in ("clean", "8khz"):
        return Policy(narrowband_probability=float(text == "8khz"))
    if name in CODERS:
        return Policy(narrowband_probability=0.0, codecs=(Codec(name, _number(amount)),))
    if name == "loss":
        codec = Codec("opus", 24, loss=PacketLoss(_number(amount) / 100, burst=2.0))
        return Policy(narrowband_probability=0.0, codecs=(codec,))
    if name == "level":
        gain_db = float(_number(amount))
        return Policy(narrowband_probability=0.0, gain_db=(gain_db, gain_db))
    if name == "reverb":
        rt60_s = float(_number(amount))
        rooms, snippets = RoomRanges(rt60_s=(rt60_s, rt60_s), sources=(0, 0)), ()
    elif name in ("noise", "room"):
        snr_db = float(_number(amount))
        rooms = RoomRanges(snr_db=(snr_db, snr_db), sources=(1, 1))
        if name == "noise":
            rooms = dataclasses.replace(rooms, rt60_s=(0.0, 0.0), distance_m=(1.0, 1.0))
    else:
        raise ValueError(f"write {FORMS}; codecs are {', '.join(CODERS)}")
    return Policy(
        noise_probability=1.0,
        rooms=rooms,
        noises=snippets,
        narrowband_probability=0.0,
        room_indices=EVALUATION_ROOMS,
        measured=measured if name == "room" else (),
    )


def _number(amount: str) -> int | float:
    try:
        return int(amount) if amount.lstrip("-").isdigit() else float(amount)
    except ValueError:
        raise ValueError(f"{amount!r} is not a number; write {FORMS}") from None
