"""Recipes: all perturbations of one utterance, drawn once, then printed, stored and replayed (§3, Fig. 1)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from mdasr.core import schema
from mdasr.core.random_streams import random_stream
from mdasr.core.waveforms import checked
from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.clipping import overdriven
from mdasr.perturb.codec import Codec, encode_decode
from mdasr.perturb.equaliser import LARGEST_DB, MICROPHONE_HZ, equalise
from mdasr.perturb.gain import amplified
from mdasr.perturb.loudness import clipped, limited
from mdasr.perturb.masks import NO_MASKS, BandMask, MaskRanges, TimeMask, draw_masks
from mdasr.perturb.room import (
    PAPER_ROOMS,
    TRAINING_ROOMS,
    MeasuredRoom,
    NoiseAlone,
    Room,
    RoomRanges,
    Sounds,
    add_room,
    draw_measured_room,
    draw_room,
    noise_instead,
)
from mdasr.perturb.speed import FASTEST, SLOWEST, at_speed

# The ends of each number that a recipe can have.
_LIMITS = {
    "warp": (0.8, 1.5),  # beyond these, some filters of the front end have no bin of their own
    "gain_db": (-60, 60),
    "speed": (SLOWEST, FASTEST),
    "clipped_share": (0, 0.9),
    "equaliser_db": (-LARGEST_DB, LARGEST_DB),
}
VERSION = 3  # of recipes: raise it with a change after which a recipe gives other samples


@dataclass(frozen=True)
class Recipe:
    """All perturbations of one utterance, each of which does nothing by default.

    They come in this order: `speed`, `noise_alone` (instead of the speech), room and noise, the microphone's
    `equaliser_db` (gains at `MICROPHONE_HZ`; empty for none), clipping, gain, bandwidth, codec. `perturb` applies
    these. The front end applies the rest to the features: `warp` (`frontend.log_mel`) stretches the spectrum as another
    speaker's vocal tract would, and then the masks hide parts of it (`masks.masked`). The paper has rooms, bandwidth
    and codecs.
    """

    room: Room | MeasuredRoom | None = None
    narrowband: bool = False
    codec: Codec | None = None
    warp: float = 1.0
    gain_db: float = 0.0
    speed: float = 1.0
    equaliser_db: tuple[float, ...] = ()
    clipped_share: float = 0.0
    time_masks: tuple[TimeMask, ...] = ()
    band_masks: tuple[BandMask, ...] = ()
    noise_alone: NoiseAlone | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        for name in ("warp", "gain_db", "speed", "clipped_share"):
            _require(name, getattr(self, name))
        for gain_db in self.equaliser_db:
            _require("equaliser_db", gain_db)
        if self.equaliser_db and len(self.equaliser_db) != len(MICROPHONE_HZ):
            raise ValueError(f"recipe: equaliser_db must hold {len(MICROPHONE_HZ)} gains, not {self.equaliser_db}")

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


def _require(name: str, value: float) -> None:
    low, high = _LIMITS[name]
    if not low <= value <= high:
        raise ValueError(f"recipe: {name} must lie between {low} and {high}, not {value!r}")


@dataclass(frozen=True)
class Policy:
    """The perturbations of one domain and their probabilities. `draw` draws recipes from it.

    `noises` are ids of snippets. `room_indices` is the range [first, last) of rooms in the collection `room_seed`
    (§3.1). All `codecs` are equally likely, or as `codec_weights` say; None means no codec (§3.3). With ids of
    `measured` responses, rooms are made of these instead of simulated. `warp`, `gain_db`, `equaliser_db` and
    `clipped_share` are drawn uniformly between their two ends. All `speeds` are equally likely.

    With `noise_alone_probability`, one of the `noises` is heard instead of the speech. With `clean_probability` nothing
    else but the speed is changed, and with `codec_probability` the drawn codec is used. The paper has none of the
    three. Raises ValueError for a probability outside [0, 1], and for ranges that no recipe can have. It
    also raises ValueError for empty `codecs` or `speeds`, and for noise sources without snippets.
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
    codec_weights: tuple[int | float, ...] = ()
    speeds: tuple[float, ...] = (1.0,)
    equaliser_probability: float = 0.0
    equaliser_db: tuple[float, float] = (-8.0, 8.0)
    clipping_probability: float = 0.0
    clipped_share: tuple[float, float] = (0.0, 0.2)
    masks: MaskRanges = NO_MASKS
    noise_alone_probability: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name.endswith("_probability") and not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"policy: {field.name} {getattr(self, field.name)} must lie between 0 and 1")
        for name in ("warp", "gain_db", "equaliser_db", "clipped_share"):
            (low, high), (least, most) = getattr(self, name), _LIMITS[name]
            if not least <= low <= high <= most:
                raise ValueError(f"policy: {name} {(low, high)} must run from low to high, {least} to {most}")
        if not self.speeds or not all(SLOWEST <= speed <= FASTEST for speed in self.speeds):
            raise ValueError(f"policy: speeds {self.speeds} must be one or more from {SLOWEST} to {FASTEST}")
        if not self.codecs:
            raise ValueError("policy: codecs is empty; write (None,) for no codec")
        _check_weights(self.codec_weights, len(self.codecs))
        if not 0 <= self.room_indices[0] < self.room_indices[1]:
            raise ValueError(f"policy: room_indices {self.room_indices} must be (first, last + 1), 0 <= first <= last")
        if self.noise_probability and self.rooms.sources[1] and not self.noises:
            raise ValueError("policy: noises is empty, but rooms have noise sources; give the ids of noise snippets")
        if self.noise_alone_probability and not self.noises:
            raise ValueError("policy: noises is empty, but some visits are noise alone; give the ids of noise snippets")


def _check_weights(weights: Sequence[int | float], codecs: int) -> None:
    if weights and not (len(weights) == codecs and min(weights) >= 0 and 0 < sum(weights) < np.inf):
        raise ValueError(f"policy: codec_weights {weights} must be {codecs} numbers, 0 or more each and not all 0")


Perturbation = Literal[
    "room", "bandwidth", "codec", "warp", "gain", "clean", "speed", "equaliser", "clipping", "masks", "noise alone",
]  # fmt: skip


def substream(seed: int, utterance_key: str, visit: int, name: Perturbation) -> np.random.Generator:
    """The random stream for one perturbation of one visit to one utterance ("corpus/id")."""
    return random_stream("recipe", seed, utterance_key, visit, name)


def draw(policy: Policy, seed: int, utterance_key: str, visit: int, speed: float | None = None) -> Recipe:
    """Draw the recipe of one visit to an utterance. It depends on the arguments only, not on earlier draws.

    Each perturbation has a random stream of its own. So to allow one more perturbation, or to add a corpus, changes no
    other draw. A training plans its rows by the `speed` of every visit, and therefore gives it.
    """
    stream = partial(substream, seed, utterance_key, visit)
    if speed is None:
        speed = policy.speeds[int(stream("speed").integers(len(policy.speeds)))]
    noise_alone = draw_noise_alone(policy, seed, utterance_key, visit)
    if policy.clean_probability > stream("clean").random():
        return Recipe(speed=speed, noise_alone=noise_alone)
    time_masks, band_masks = draw_masks(policy.masks, stream("masks"))
    return Recipe(
        room=_draw_room(policy, stream("room")),
        narrowband=bool(stream("bandwidth").random() < policy.narrowband_probability),
        codec=_draw_codec(policy, stream("codec")),
        # Two decimals: filters are made once for each value.
        warp=round(float(stream("warp").uniform(*policy.warp)), 2),
        gain_db=round(float(stream("gain").uniform(*policy.gain_db)), 2),
        speed=speed,
        equaliser_db=_draw_equaliser(policy, stream("equaliser")),
        clipped_share=_draw_clipping(policy, stream("clipping")),
        time_masks=time_masks,
        band_masks=band_masks,
        noise_alone=noise_alone,
    )


def draw_noise_alone(policy: Policy, seed: int, utterance_key: str, visit: int) -> NoiseAlone | None:
    """Draw the part of a recipe that says whether anybody speaks; the labels of a visit depend on it."""
    rng = substream(seed, utterance_key, visit, "noise alone")
    if policy.noise_alone_probability <= rng.random():
        return None
    return NoiseAlone(policy.noises[int(rng.integers(len(policy.noises)))], round(float(rng.random()), 4) % 1)


def _draw_codec(policy: Policy, rng: np.random.Generator) -> Codec | None:
    if policy.codec_weights:
        chances = np.array(policy.codec_weights) / sum(policy.codec_weights)
        codec = policy.codecs[int(rng.choice(len(chances), p=chances))]
    else:
        codec = policy.codecs[int(rng.integers(len(policy.codecs)))]
    if codec and codec.loss:
        codec = dataclasses.replace(codec, loss=dataclasses.replace(codec.loss, seed=int(rng.integers(2**32))))
    return codec if rng.random() < policy.codec_probability else None


def _draw_equaliser(policy: Policy, rng: np.random.Generator) -> tuple[float, ...]:
    used = rng.random() < policy.equaliser_probability
    gains_db = rng.uniform(*policy.equaliser_db, len(MICROPHONE_HZ))
    return tuple(round(float(gain_db), 1) for gain_db in gains_db) if used else ()


def _draw_clipping(policy: Policy, rng: np.random.Generator) -> float:
    used, share = rng.random() < policy.clipping_probability, rng.uniform(*policy.clipped_share)
    return round(float(share), 4) if used else 0.0


def eased(policy: Policy, strength: float) -> Policy:
    """Return a policy with noise and codecs `strength` (0 to 1) times as likely: one step of a curriculum.

    A perturbation that is drawn at one strength is drawn in the same way at every higher one.
    """
    return dataclasses.replace(
        policy,
        noise_probability=strength * policy.noise_probability,
        codec_probability=strength * policy.codec_probability,
    )


def _draw_room(policy: Policy, rng: np.random.Generator) -> Room | MeasuredRoom | None:
    noisy, index = rng.random() < policy.noise_probability, int(rng.integers(*policy.room_indices))
    if not noisy:
        return None
    if policy.measured:
        return draw_measured_room(index, policy.room_seed, policy.measured, policy.noises, policy.rooms)
    return draw_room(index, policy.room_seed, policy.noises, policy.rooms)


def perturb(
    wave: Float[np.ndarray, " samples"], recipe: Recipe, noises: Sounds, measured: Sounds | None = None
) -> Float[np.ndarray, " perturbed"]:
    """Perturb a 16 kHz waveform as a recipe says: float32 in [-1, 1), aligned with the wave within a sample.

    The length is that of the wave, except at another speed (`speed.num_samples_at`). `noises` must hold the snippets
    that the recipe names, and `measured` the room responses. The front end applies the recipe's warp and masks, not
    this function. Raises ValueError as `waveforms.checked`, `add_room` and `encode_decode`.
    """
    wave = at_speed(checked(wave), recipe.speed)
    if recipe.noise_alone:
        wave = noise_instead(wave, recipe.noise_alone, noises)
    if recipe.room is not None:
        wave = add_room(wave, recipe.room, noises, measured)
    if recipe.equaliser_db:
        wave = limited(equalise(wave, MICROPHONE_HZ, recipe.equaliser_db))
    if recipe.clipped_share:
        wave = overdriven(wave, recipe.clipped_share)
    wave = amplified(wave, recipe.gain_db)
    if recipe.narrowband:
        wave = narrowband(wave)
    if recipe.codec is not None:
        wave = encode_decode(wave, recipe.codec)
    return clipped(wave)
