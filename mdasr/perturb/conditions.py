"""Test conditions as policies in which only rooms and noises are random."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mdasr.perturb.codec import CODERS, Codec
from mdasr.perturb.recipe import Policy
from mdasr.perturb.room import EVALUATION_ROOMS, RoomRanges

FORMS = "clean, 8khz, level:GAIN_DB, noise:SNR_DB, room:SNR_DB, or CODEC:KBPS such as mp3:23"


def condition(text: str, snippets: Iterable[str] = (), measured: Iterable[str] = ()) -> Policy:
    """Make the policy of a test condition, which is given as text in one of `FORMS`.

    "level:-20" makes the recording 20 dB quieter. "noise:10" adds one noise of `snippets` at 10 dB. The talker is a
    metre from the microphone, without reverberation. "room:10" does the same in one of §3.1's rooms that training never
    uses, or with one of the `measured` responses. Raises ValueError for any other text.
    """
    name, _, amount = text.partition(":")
    snippets, measured = tuple(sorted(snippets)), tuple(sorted(measured))
    if text in ("clean", "8khz"):
        return Policy(narrowband_probability=float(text == "8khz"))
    if name in CODERS:
        try:
            return Policy(narrowband_probability=0.0, codecs=(Codec(name, _number(text, amount)),))
        except ValueError as error:
            raise ValueError(f"condition {text!r}: {error}") from None
    if name == "level":
        gain_db = float(_number(text, amount))
        return Policy(narrowband_probability=0.0, gain_db=(gain_db, gain_db))
    if name not in ("noise", "room"):
        raise ValueError(f"condition {text!r}: write {FORMS}; codecs are {', '.join(CODERS)}")
    snr_db = _number(text, amount)
    rooms = RoomRanges(snr_db=(float(snr_db), float(snr_db)), sources=(1, 1))
    if name == "noise":
        rooms = dataclasses.replace(rooms, rt60_s=(0.0, 0.0), distance_m=(1.0, 1.0))
    return Policy(
        noise_probability=1.0,
        rooms=rooms,
        noises=snippets,
        narrowband_probability=0.0,
        room_indices=EVALUATION_ROOMS,
        measured=measured if name == "room" else (),
    )


def _number(text: str, amount: str) -> int | float:
    try:
        return int(amount) if amount.lstrip("-").isdigit() else float(amount)
    except ValueError:
        raise ValueError(f"condition {text!r}: {amount!r} is not a number; write {FORMS}") from None
