"""Recipes: what happens to one utterance, drawn once, printed, stored and replayed (§3, Fig. 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.codec import Codec, encode_decode
from mdasr.perturb.room import (
    PAPER_ROOMS,
    TRAINING_ROOMS,
    NoiseSource,
    Position,
    Room,
    RoomRanges,
    add_room,
    draw_room,
)
from mdasr.perturb.streams import stream

VERSION = 1  # of recipes: raised when the same recipe would no longer give the same samples


@dataclass(frozen=True)
class Recipe:
    """Everything that is done to one utterance, in this order: room and noise, bandwidth, codec, and then `warp`.

    The last is the front end's (`frontend.log_mel`): it stretches the spectrum as another speaker's vocal tract would,
    which the paper does not do; 1 leaves it alone.
    """

    room: Room | None = None
    narrowband: bool = False
    codec: Codec | None = None
    warp: float = 1.0
    version: int = VERSION

    def to_json(self) -> str:
        """One line of JSON, from which `from_json` makes an equal recipe."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote; ValueError names the field that is missing, unknown or wrong."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ValueError(f"recipe: not JSON ({error})") from error
        if not isinstance(given, dict):
            raise ValueError(f"recipe: a JSON object is needed, not {type(given).__name__}")
        if given.get("version") != VERSION:
            raise ValueError(
                f"recipe: version {given.get('version')!r} cannot be replayed by this release, which writes "
                f"{VERSION}; use the release that wrote it"
            )
        values = _checked(cls, given, "recipe")
        if not isinstance(values["narrowband"], bool):
            raise ValueError(f"recipe: narrowband must be true or false, not {values['narrowband']!r}")
        if not isinstance(values["warp"], int | float) or not 0.5 <= values["warp"] <= 2:
            raise ValueError(f"recipe: warp must lie between 0.5 and 2, not {values['warp']!r}")
        if values["room"] is not None:
            values["room"] = _read_room(values["room"])
        if values["codec"] is not None:
            values["codec"] = _read_codec(values["codec"])
        return cls(**values)


def _checked(kind: type, given: Any, name: str) -> dict[str, Any]:
    """A copy of `given` if it is an object with exactly the fields of the dataclass `kind`."""
    expected = {field.name for field in fields(kind)}
    if not isinstance(given, dict) or given.keys() != expected:
        found = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"{name}: needs the fields {sorted(expected)}, but has {found}")
    return dict(given)


def _read_room(given: Any) -> Room:
    values = _checked(Room, given, "recipe: room")
    if not isinstance(values["sources"], list):
        raise ValueError(f"recipe: room: sources must be a list, not {values['sources']!r}")
    sources = [_checked(NoiseSource, source, "recipe: room: sources") for source in values["sources"]]
    return Room(
        size_m=_position(values, "size_m"),
        rt60_s=_number(values, "rt60_s"),
        microphone_m=_position(values, "microphone_m"),
        target_m=_position(values, "target_m"),
        sources=tuple(
            NoiseSource(_position(s, "position_m"), _typed(s, "snippet", str, "room"), _number(s, "start"))
            for s in sources
        ),
        snr_db=_number(values, "snr_db"),
        tail_seed=_typed(values, "tail_seed", int, "room"),
    )


def _read_codec(given: Any) -> Codec:
    values = _checked(Codec, given, "recipe: codec")
    kinds = {"name": str, "kbps": int, "search": str}
    return Codec(**{name: _typed(values, name, kind, "codec") for name, kind in kinds.items()})


def _typed(values: dict[str, Any], name: str, kind: type, where: str) -> Any:
    if not isinstance(values[name], kind):
        needed = {str: "a text", int: "a whole number"}[kind]
        raise ValueError(f"recipe: {where}: {name} must be {needed}, not {values[name]!r}")
    return values[name]


def _number(values: dict[str, Any], name: str) -> float:
    if not isinstance(values[name], int | float):
        raise ValueError(f"recipe: room: {name} must be a number, not {values[name]!r}")
    return float(values[name])


def _position(values: dict[str, Any], name: str) -> Position:
    match values[name]:
        case [int() | float() as x, int() | float() as y, int() | float() as z]:
            return float(x), float(y), float(z)
    raise ValueError(f"recipe: room: {name} must be three numbers, not {values[name]!r}")


@dataclass(frozen=True)
class Policy:
    """What may happen to the utterances of one domain, and how often: recipes are drawn from it.

    `noises` are ids of snippets, `room_indices` the range [first, last) of the collection `room_seed` that
    rooms come from (§3.1); each of `codecs` is as likely as the others, None being no codec (§3.3).
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

    def __post_init__(self) -> None:
        for name in ("noise_probability", "narrowband_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"policy: {name} {getattr(self, name)} must lie between 0 and 1")
        if not 0.5 <= self.warp[0] <= self.warp[1] <= 2:
            raise ValueError(f"policy: warp {self.warp} must run from low to high between 0.5 and 2")
        if not self.codecs:
            raise ValueError("policy: codecs is empty; write (None,) for no codec")
        if not 0 <= self.room_indices[0] < self.room_indices[1]:
            raise ValueError(f"policy: room_indices {self.room_indices} must be (first, past the last)")
        if self.noise_probability and self.rooms.sources[1] and not self.noises:
            raise ValueError("policy: rooms with noise sources need noises; give the ids of the snippets")


Perturbation = Literal["room", "bandwidth", "codec", "warp"]


def substream(seed: int, utterance_key: str, visit: int, name: Perturbation) -> np.random.Generator:
    """The stream that one perturbation of one visit to one utterance ("corpus/id") is drawn from."""
    return stream("recipe", seed, utterance_key, visit, name)


def draw(policy: Policy, seed: int, utterance_key: str, visit: int) -> Recipe:
    """The recipe of a visit to an utterance: a pure function, whoever calls it and in whatever order.

    Each perturbation has a stream of its own: allowing one of them, or adding a corpus, changes no other
    draw.
    """
    rng = substream(seed, utterance_key, visit, "room")
    noisy, index = rng.random() < policy.noise_probability, int(rng.integers(*policy.room_indices))
    narrow = substream(seed, utterance_key, visit, "bandwidth").random() < policy.narrowband_probability
    choice = int(substream(seed, utterance_key, visit, "codec").integers(len(policy.codecs)))
    return Recipe(
        room=draw_room(index, policy.room_seed, policy.noises, policy.rooms) if noisy else None,
        narrowband=bool(narrow),
        codec=policy.codecs[choice],
        # Two decimals: filters are made once for each value.
        warp=round(float(substream(seed, utterance_key, visit, "warp").uniform(*policy.warp)), 2),
    )


def perturb(
    wave: Float[np.ndarray, " samples"],
    recipe: Recipe,
    noises: Mapping[str, Float[np.ndarray, " snippet"]],
) -> Float[np.ndarray, " samples"]:
    """Carry out a recipe on a 16 kHz waveform: float32 in [-1, 1), as long, and aligned within a sample.

    `noises` holds at least the snippets that the recipe names. ValueError for samples that are not finite
    numbers, and as `add_room` and `encode_decode` say.
    """
    wave = wave.astype(np.float32, copy=False)
    if not np.isfinite(wave).all():
        raise ValueError("perturb: the wave has samples that are not finite numbers; repair or leave it out")
    if recipe.room is not None:
        wave = add_room(wave, recipe.room, noises)
    if recipe.narrowband:
        wave = narrowband(wave)
    if recipe.codec is not None:
        wave = encode_decode(wave, recipe.codec)
    return np.clip(wave, -1, np.float32(32767 / 32768))
