"""Each perturbation as a Grain transform, for your own data pipeline (needs grain).

Elements are dictionaries with a waveform, float32 at 16 kHz, under `key`; everything else in them stays as it is. Grain
gives each element its own random generator, so the number of workers does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdasr.core.requirements import optional
from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.codec import TRAINING_CODECS, Codec, encode_decode
from mdasr.perturb.gain import TRAINING_GAIN_DB, amplified
from mdasr.perturb.recipe import Policy, draw, perturb
from mdasr.perturb.room import PAPER_ROOMS, TRAINING_ROOMS, RoomRanges, Sounds, add_room, draw_room

grain: Any = optional("grain.python", "grain")

Element = dict[str, Any]


@dataclass(frozen=True)
class AddRoom(grain.RandomMapTransform):
    """Add a simulated room with noises (§3.1), with `probability`. Raises ValueError as `add_room`."""

    noises: Sounds
    probability: float = 1.0
    ranges: RoomRanges = PAPER_ROOMS
    key: str = "audio"

    def random_map(self, element: Element, rng: np.random.Generator) -> Element:
        if rng.random() >= self.probability:
            return element
        room = draw_room(int(rng.integers(*TRAINING_ROOMS)), 0, sorted(self.noises), self.ranges)
        return {**element, self.key: add_room(element[self.key], room, self.noises)}


@dataclass(frozen=True)
class Gain(grain.RandomMapTransform):
    """Change the level by a gain between the two ends of `gain_db`, without clipping."""

    gain_db: tuple[float, float] = TRAINING_GAIN_DB
    key: str = "audio"

    def random_map(self, element: Element, rng: np.random.Generator) -> Element:
        return {**element, self.key: amplified(element[self.key], rng.uniform(*self.gain_db))}


@dataclass(frozen=True)
class Narrowband(grain.RandomMapTransform):
    """Resample to 8 kHz and back (§3.2), with `probability`."""

    probability: float = 0.5
    key: str = "audio"

    def random_map(self, element: Element, rng: np.random.Generator) -> Element:
        if rng.random() >= self.probability:
            return element
        return {**element, self.key: narrowband(element[self.key])}


@dataclass(frozen=True)
class EncodeDecode(grain.RandomMapTransform):
    """Encode and decode with one of `codecs` (§3.3), all equally likely. None means no codec."""

    codecs: Sequence[Codec | None] = TRAINING_CODECS
    key: str = "audio"

    def random_map(self, element: Element, rng: np.random.Generator) -> Element:
        codec = self.codecs[int(rng.integers(len(self.codecs)))]
        return element if codec is None else {**element, self.key: encode_decode(element[self.key], codec)}


@dataclass(frozen=True)
class Perturb(grain.RandomMapTransform):
    """Apply all perturbations as a policy says. The recipe's JSON is put under "recipe"."""

    policy: Policy
    noises: Sounds
    measured: Sounds = field(default_factory=dict)
    key: str = "audio"

    def random_map(self, element: Element, rng: np.random.Generator) -> Element:
        recipe = draw(self.policy, int(rng.integers(2**63)), "grain", 0)
        wave = perturb(element[self.key], recipe, self.noises, self.measured)
        return {**element, self.key: wave, "recipe": recipe.to_json()}
