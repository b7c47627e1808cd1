"""Recipes: all perturbations of one utterance, drawn once, then printed, stored and replayed (§3, Fig. 1)."""

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
from mdasr.perturb.gain import amplified
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

LARGEST_GAIN_DB = 60  # in either direction
LEAST_WARP, LARGEST_WARP = 0.8, 1.5  # beyond these, some filters of the front end have no bin of their own
VERSION = 3  # of recipes: raise it with a change after which a recipe gives other samples


@dataclass(frozen=True)
class Recipe:
    """All perturbations of one utterance, in this order: room and noise, gain, bandwidth, codec, and then `warp`.

    `gain_db` is the volume of a recorder (`gain.amplified`). The front end applies `warp` (`frontend.log_mel`): it
    stretches the spectrum as another speaker's vocal tract would. The paper does neither. A gain of 0 and a warp of 1
    change nothing.
    """

    room: Room | MeasuredRoom | None = None
    narrowband: bool = False
    codec: Codec | None = None
    warp: float = 1.0
    gain_db: float = 0.0
    version: int = VERSION

    def __post_init__(self) -> None:
        if not abs(self.gain_db) <= LARGEST_GAIN_DB:
            raise ValueError(
                f"recipe: gain_db must lie between -{LARGEST_GAIN_DB} and {LARGEST_GAIN_DB}, not {self.gain_db!r}"
            )
        if not LEAST_WARP <= self.warp <= LARGEST_WARP:
            raise ValueError(f"recipe: warp must lie between {LEAST_WARP} and {LARGEST_WARP}, not {self.warp!r}")

    def to_json(self) -> str:
        """Write the recipe as one line of JSON, from which `from_json` makes an equal recipe."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe from the JSON of `to_json`. Raises ValueError, which names a missing, unknown or bad field."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"recipe: not JSON ({error})") from error
        if not isinstance(given, dict):
            raise ValueError(f"recipe: must be a JSON object, not {type(given).__name__}")
        if given.get("version") != VERSION:
            version = f"has version {given['version']!r}" if "version" in given else "has no version"
            raise ValueError(
                f"recipe: {version}, but this release replays only version {VERSION}, as other versions give other "
                "samples; use the release that wrote it, or draw the recipe again"
            )
        return schema.read(cls, given, "recipe")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of recipes, for other programs that write or check them."""
        described = schema.schema(cls)
        described["properties"]["version"] = {"const": VERSION}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mdasr recipe", **described}


@dataclass(frozen=True)
class Policy:
    """The perturbations of one domain and their probabilities. `draw` draws recipes from it.

    `noises` are ids of snippets. `room_indices` is the range [first, last) of rooms in the collection `room_seed`
    (§3.1). All `codecs` are equally likely, and None means no codec (§3.3). `warp` and `gain_db` are drawn uniformly
    between their two ends. With ids of `measured` responses, rooms are made of these instead of simulated. With
    `clean_probability` nothing is changed at all, and with `codec_probability` the drawn codec is used; the paper has
    neither. Raises ValueError for a probability outside [0, 1], for ranges that no recipe can have, for empty `codecs`,
    and for noise sources without snippets.
    """

    noise_probability: float = 0.0
    rooms: RoomRanges = PAPER_ROOMS
    noises: tuple[str, ...] = ()
    narrowband_probability: float = 0.5
    codecs: tuple[Codec | None, ...] = (None,)
    warp: tuple[float, float] = (1.0, 1.0)
    gain_db: tuple[float, float] = (0.0, 0.0)
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
        if not -LARGEST_GAIN_DB <= self.gain_db[0] <= self.gain_db[1] <= LARGEST_GAIN_DB:
            raise ValueError(f"policy: gain_db {self.gain_db} must run from low to high, within {LARGEST_GAIN_DB} dB")
        if not self.codecs:
            raise ValueError("policy: codecs is empty; write (None,) for no codec")
        if not 0 <= self.room_indices[0] < self.room_indices[1]:
            raise ValueError(f"policy: room_indices {self.room_indices} must be (first, last + 1), 0 <= first <= last")
        if self.noise_probability and self.rooms.sources[1] and not self.noises:
            raise ValueError("policy: noises is empty, but rooms have noise sources; give the ids of noise snippets")


Perturbation = Literal["room", "bandwidth", "codec", "warp", "gain", "clean"]


def substream(seed: int, utterance_key: str, visit: int, name: Perturbation) -> np.random.Generator:
    """The random stream for one perturbation of one visit to one utterance ("corpus/id")."""
    return random_stream("recipe", seed, utterance_key, visit, name)


def draw(policy: Policy, seed: int, utterance_key: str, visit: int) -> Recipe:
    """Draw the recipe of one visit to an utterance. It depends on the arguments only, not on earlier draws.

    Each perturbation has a random stream of its own. So to allow one more perturbation, or to add a corpus, changes no
    other draw.
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
    gain_db = substream(seed, utterance_key, visit, "gain").uniform(*policy.gain_db)
    return Recipe(
        room=_draw_room(policy, index) if noisy else None,
        narrowband=bool(narrow),
        codec=codec if used else None,
        # Two decimals: filters are made once for each value.
        warp=round(float(substream(seed, utterance_key, visit, "warp").uniform(*policy.warp)), 2),
        gain_db=round(float(gain_db), 2),
    )


def eased(policy: Policy, strength: float) -> Policy:
    """Return a policy with noise and codecs `strength` (0 to 1) times as likely: one step of a curriculum.

    A perturbation that is drawn at one strength is drawn in the same way at every higher one.
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
    """Perturb a 16 kHz waveform as a recipe says: float32 in [-1, 1), of the same length, aligned within a sample.

    `noises` must hold the snippets that the recipe names, and `measured` the room responses. The front end applies the
    recipe's warp, not this function. Raises ValueError as `waveforms.checked`, `add_room` and `encode_decode`.
    """
    wave = checked(wave)
    if recipe.room is not None:
        wave = add_room(wave, recipe.room, noises, measured)
    wave = amplified(wave, recipe.gain_db)
    if recipe.narrowband:
        wave = narrowband(wave)
    if recipe.codec is not None:
        wave = encode_decode(wave, recipe.codec)
    return clipped(wave)
