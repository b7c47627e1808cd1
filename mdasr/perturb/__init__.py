"""§3.1-3.3: room and noise, bandwidth, and codec, as pure functions. A recipe says which of them to use; no jax."""

from mdasr.core.random_streams import random_stream
from mdasr.perturb.bandwidth import narrowband, to_16_khz
from mdasr.perturb.codec import (
    CODERS,
    FURTHER_CODECS,
    TRAINING_CODECS,
    UNSEEN_CODECS,
    Codec,
    PacketLoss,
    available,
    encode_decode,
    require,
)
from mdasr.perturb.recipe import Policy, Recipe, draw, eased, perturb, substream
from mdasr.perturb.room import (
    EVALUATION_ROOMS,
    PAPER_ROOMS,
    TRAINING_ROOMS,
    MeasuredNoise,
    MeasuredRoom,
    NoiseSource,
    Room,
    RoomRanges,
    add_room,
    draw_measured_room,
    draw_room,
    impulse_responses,
)

__all__ = [
    "CODERS",
    "EVALUATION_ROOMS",
    "FURTHER_CODECS",
    "PAPER_ROOMS",
    "TRAINING_CODECS",
    "TRAINING_ROOMS",
    "UNSEEN_CODECS",
    "Codec",
    "MeasuredNoise",
    "MeasuredRoom",
    "NoiseSource",
    "PacketLoss",
    "Policy",
    "Recipe",
    "Room",
    "RoomRanges",
    "add_room",
    "available",
    "draw",
    "draw_measured_room",
    "draw_room",
    "eased",
    "encode_decode",
    "impulse_responses",
    "narrowband",
    "perturb",
    "random_stream",
    "require",
    "substream",
    "to_16_khz",
]
