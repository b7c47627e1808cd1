"""Recipes: what happens to one utterance, drawn once, printed, stored and replayed (§3, Fig. 1)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from mdasr.core import schema
from mdasr.core.random_streams import random_stream
from mdasr.core.waveforms import checked
from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.codec import Codec, encode_decode
from mdasr.perturb.loudness import clipped
from mdasr.perturb.room import (
    PAPER_ROOMS,
    TRAINING_ROOMS,
    MeasuredRoom,
    Room,
    RoomRanges,
    Sounds,
    add_room,
    draw_measured_room,
    draw_room,
)

LEAST_WARP, LARGEST_WARP = 0.8, 1.5  # beyond, filters of the front end have no bin of the spectrum to themselves
VERSION = 2  # of recipes: raised when the same recipe would no longer give the same samples


@dataclass(frozen=True)
class Recipe:
    """Everything that is done to one utterance, in this order: room and noise, bandwidth, codec, and then `warp`.

    The last is the front end's (`frontend.log_mel`): it stretches the spectrum as another speaker's vocal tract would,
    which the paper does not do; 1 leaves it alone.
    """

    room: Room | MeasuredRoom | None = None
    narrowband: bool = False
    codec: Codec | None = None
    warp: float = 1.0
    version: int = VERSION

    def __post_init__(self) -> None:
        if not LEAST_WARP <= self.warp <= LARGEST_WARP:
            raise ValueError(f"recipe: warp must lie between {LEAST_WARP} and {LARGEST_WARP}, not {self.warp!r}")

    def to_json(self) -> str:
        """One line of JSON, from which `from_json` makes an equal recipe."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote; ValueError names the field that is missing, unknown or wrong."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"recipe: not JSON ({error})") from error
        if not isinstance(given, dict):
            raise ValueError(f"recipe: a JSON object is needed, not {type(given).__name__}")
        if given.get("version") != VERSION:
            said = f"version {given['version']!r}" if "version" in given else "no version"
            raise ValueError(
                f"recipe: {said}, but this release replays version {VERSION} alone, lest the samples be others: use "
                "the release that wrote it, or draw the recipe anew"
            )
        return schema.read(cls, given, "recipe")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of recipes, for those who write or check them elsewhere."""
        found = schema.schema(cls)
        found["properties"]["version"] = {"const": VERSION}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mdasr recipe", **found}


@dataclass(frozen=True)
class Policy:
    """What may happen to the utterances of one domain, and how often: recipes are drawn from it.

    `noises` are ids of snippets, `room_indices` the range [first, last) of the collection `room_seed` that
    rooms come from (§3.1); each of `codecs` is as likely as the others, None being no codec (§3.3). Where ids of
    `measured` responses are given, rooms are made of those instead of being simulated. With `clean_probability` nothing
    at all happens, and a codec that was drawn is used with `codec_probability`; the paper has neither.
    ValueError for a probability outside [0, 1], no codec condition at all, or noise sources without
    snippets.
    """

    noise_probability: float = 0.0
    rooms: RoomRanges = PAPER_ROOMS
    noises: tuple[str, ...] = ()
    narrowband_probability: float = 0.5
    codecs: tuple[Codec | None, ...] = (None,)
    warp: tuple[float, float] = (1.0, 1.0)
    room_indices: tuple[int, int] = TRAINING_ROOMS
    room_seed: int = 0
    measured: tuple[str, ...] = ()
    codec_probability: float = 1.0
    clean_probability: float = 0.0

    def __post_init__(self) -> None:
        for name in ("noise_probability", "narrowband_probability", "codec_probability", "clean_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"policy: {name} {getattr(self, name)} must lie between 0 and 1")
        if not LEAST_WARP <= self.warp[0] <= self.warp[1] <= LARGEST_WARP:
            raise ValueError(f"policy: warp {self.warp} must run from low to high, {LEAST_WARP} to {LARGEST_WARP}")
        if not self.codecs:
            raise ValueError("policy: codecs is empty; write (None,) for no codec")
        if not 0 <= self.room_indices[0] < self.room_indices[1]:
            raise ValueError(f"policy: room_indices {self.room_indices} must be (first, past the last)")
        if self.noise_probability and self.rooms.sources[1] and not self.noises:
            raise ValueError("policy: rooms with noise sources need noises; give the ids of the snippets")


Perturbation = Literal["room", "bandwidth", "codec", "warp", "clean"]


def substream(seed: int, utterance_key: str, visit: int, name: Perturbation) -> np.random.Generator:
    """The stream that one perturbation of one visit to one utterance ("corpus/id") is drawn from."""
    return random_stream("recipe", seed, utterance_key, visit, name)


def draw(policy: Policy, seed: int, utterance_key: str, visit: int) -> Recipe:
    """The recipe of a visit to an utterance: a pure function, whoever calls it and in whatever order.

    Each perturbation has a stream of its own: allowing one of them, or adding a corpus, changes no other
    draw.
    """
    if policy.clean_probability > substream(seed, utterance_key, visit, "clean").random():
        return Recipe()
    rng = substream(seed, utterance_key, visit, "room")
    noisy, index = rng.random() < policy.noise_probability, int(rng.integers(*policy.room_indices))
    narrow = substream(seed, utterance_key, visit, "bandwidth").random() < policy.narrowband_probability
    rng = substream(seed, utterance_key, visit, "codec")
    codec = policy.codecs[int(rng.integers(len(policy.codecs)))]
    if codec and codec.loss:
        codec = dataclasses.replace(codec, loss=dataclasses.replace(codec.loss, seed=int(rng.integers(2**32))))
    used = rng.random() < policy.codec_probability
    return Recipe(
        room=_draw_room(policy, index) if noisy else None,
        narrowband=bool(narrow),
        codec=codec if used else None,
        # Two decimals: filters are made once for each value.
        warp=round(float(substream(seed, utterance_key, visit, "warp").uniform(*policy.warp)), 2),
    )


def eased(policy: Policy, strength: float) -> Policy:
    """A policy by which noise and codecs are `strength` (0 to 1) times as likely: a step of a curriculum.

    What is distorted at one strength is distorted alike at every higher one.
    """
    return dataclasses.replace(
        policy,
        noise_probability=strength * policy.noise_probability,
        codec_probability=strength * policy.codec_probability,
    )


def _draw_room(policy: Policy, index: int) -> Room | MeasuredRoom:
    if policy.measured:
        return draw_measured_room(index, policy.room_seed, policy.measured, policy.noises, policy.rooms)
    return draw_room(index, policy.room_seed, policy.noises, policy.rooms)


def perturb(
    wave: Float[np.ndarray, " samples"], recipe: Recipe, noises: Sounds, measured: Sounds | None = None
) -> Float[np.ndarray, " samples"]:
    """Carry out a recipe on a 16 kHz waveform: float32 in [-1, 1), as long, and aligned within a sample.

    `noises` holds at least the snippets that the recipe names, and `measured` the room responses. ValueError as
    `waveforms.checked`, `add_room` and `encode_decode` say.
    """
    wave = checked(wave)
    if recipe.room is not None:
        wave = add_room(wave, recipe.room, noises, measured)
    if recipe.narrowband:
        wave = narrowband(wave)
    if recipe.codec is not None:
        wave = encode_decode(wave, recipe.codec)
    return clipped(wave)
