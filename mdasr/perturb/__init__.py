"""§3.1-3.3: room and noise, bandwidth, codec, as pure functions behind recipes; free of jax."""

from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.codec import TRAINING_CODECS, UNSEEN_CODECS, Codec, available, encode_decode, require
from mdasr.perturb.recipe import Policy, Recipe, draw, perturb, substream
from mdasr.perturb.room import (
    EVALUATION_ROOMS,
    PAPER_ROOMS,
    TRAINING_ROOMS,
    NoiseSource,
    Room,
    RoomRanges,
    add_room,
    draw_room,
    impulse_responses,
)
from mdasr.perturb.streams import stream

__all__ = [
    "EVALUATION_ROOMS",
    "PAPER_ROOMS",
    "TRAINING_CODECS",
    "TRAINING_ROOMS",
    "UNSEEN_CODECS",
    "Codec",
    "NoiseSource",
    "Policy",
    "Recipe",
    "Room",
    "RoomRanges",
    "add_room",
    "available",
    "draw",
    "draw_room",
    "encode_decode",
    "impulse_responses",
    "narrowband",
    "perturb",
    "require",
    "stream",
    "substream",
]
