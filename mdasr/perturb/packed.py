"""Waves and recipes as arrays of fixed shape. A host sends them to an accelerator, which perturbs the waves itself.

`mdasr.acoustic.accelerated` holds the accelerator's side. This module does not use jax, so that a loader's workers can
use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int16, Int32, UInt32

from mdasr.perturb.recipe import Policy, Recipe
from mdasr.perturb.responses import images_reach, num_early, num_mirrors, num_taps
from mdasr.perturb.room import Room, RoomRanges, Sounds, excerpt, noise_instead

ON_HOST = "codecs, warps, measured rooms, speeds, equalisers, clipping and masks"
AnyArray = Any  # numpy's on the host, jax's on the accelerator


def needs_host(policy: Policy) -> bool:
    """Whether a policy has recipes that the accelerator cannot carry out: `ON_HOST` lists the reasons."""
    names = (
        "codecs", "warp", "measured", "speeds", "equaliser_probability", "clipping_probability", "masks",
    )  # fmt: skip
    return any(getattr(policy, name) != getattr(Policy(), name) for name in names)


@dataclass(frozen=True)
class Shapes:
    """The sizes of the arrays: samples of a wave, taps of a response, noise sources, and the extent of the images.

    `early` is the number of samples that images are placed in, `mirrors` the number of reflections at a pair of walls.
    """

    samples: int
    taps: int
    sources: int
    early: int
    mirrors: int

    @classmethod
    def of(cls, samples: int, ranges: RoomRanges) -> Shapes:
        """Return shapes that hold every wave of up to `samples` and every room drawn from `ranges`."""
        far_m = ranges.distance_m[1] + 1.3  # `draw_room` makes a room large enough for the distance
        sides_m = np.maximum(ranges.sides_m[:, 1], far_m)
        reach_m = float(images_reach(sides_m, np.linalg.norm(sides_m)))
        early, smallest_m = num_early(reach_m), float(ranges.sides_m[:, 0].min())
        taps = num_taps(early, ranges.rt60_s[1])
        return cls(samples, taps, ranges.sources[1], early, num_mirrors(reach_m, smallest_m))


class Packed(NamedTuple):
    """A batch of waves with their recipes, as it is sent. The room of wave i is used where `reverberant[i]`."""

    waves: Int16[AnyArray, "batch samples"]
    lengths: Int32[AnyArray, " batch"]
    gain_db: Float[AnyArray, " batch"]
    narrowband: Bool[AnyArray, " batch"]
    reverberant: Bool[AnyArray, " batch"]
    size_m: Float[AnyArray, "batch 3"]
    rt60_s: Float[AnyArray, " batch"]
    microphone_m: Float[AnyArray, "batch 3"]
    places_m: Float[AnyArray, "batch places 3"]
    present: Bool[AnyArray, "batch places"]
    snr_db: Float[AnyArray, " batch"]
    tail_seed: UInt32[AnyArray, " batch"]
    noises: Int16[AnyArray, "batch sources playing"]  # each as loud as 16 bits allow
    loudness: Float[AnyArray, "batch sources"]  # what to multiply them by


def pack(waves: Sequence[Int16[np.ndarray, " _"]], recipes: Sequence[Recipe], noises: Sounds, shapes: Shapes) -> Packed:
    """Pack waves and their recipes. Raises ValueError for a recipe that the accelerator cannot carry out."""
    batch, places = len(waves), 1 + shapes.sources
    packed = Packed(
        waves=np.zeros((batch, shapes.samples), np.int16),
        lengths=np.array([len(wave) for wave in waves], np.int32),
        gain_db=np.array([recipe.gain_db for recipe in recipes], np.float32),
        narrowband=np.array([recipe.narrowband for recipe in recipes], bool),
        reverberant=np.array([recipe.room is not None for recipe in recipes], bool),
        size_m=np.full((batch, 3), 5, np.float32),
        rt60_s=np.zeros(batch, np.float32),
        microphone_m=np.full((batch, 3), 1, np.float32),
        places_m=np.full((batch, places, 3), 2, np.float32),
        present=np.zeros((batch, places), bool),
        snr_db=np.zeros(batch, np.float32),
        tail_seed=np.zeros(batch, np.uint32),
        noises=np.zeros((batch, shapes.sources, shapes.taps + shapes.samples), np.int16),
        loudness=np.zeros((batch, shapes.sources), np.float32),
    )
    for i, (wave, recipe) in enumerate(zip(waves, recipes, strict=True)):
        possible = Recipe(recipe.room, recipe.narrowband, gain_db=recipe.gain_db, noise_alone=recipe.noise_alone)
        if recipe != possible or not isinstance(recipe.room, Room | None):
            raise ValueError(f"features on the accelerator: {ON_HOST} need features made on the host")
        if len(wave) > shapes.samples:
            raise ValueError(f"a wave of {len(wave)} samples is longer than the planned {shapes.samples}")
        if recipe.noise_alone:
            wave = np.rint(32768 * noise_instead(wave / np.float32(32768), recipe.noise_alone, noises)).astype(np.int16)
        packed.waves[i, : len(wave)] = wave
        if recipe.room is not None:
            _pack_room(packed, i, recipe.room, noises, shapes)
    return packed


def _pack_room(packed: Packed, i: int, room: Room, noises: Sounds, shapes: Shapes) -> None:
    if room.tail_cut_db is not None or len(room.sources) > shapes.sources:
        raise ValueError(
            "features on the accelerator: rooms with tail_cut_db, or more sources than planned, need features on the "
            "host"
        )
    packed.size_m[i], packed.rt60_s[i], packed.microphone_m[i] = room.size_m, room.rt60_s, room.microphone_m
    packed.snr_db[i], packed.tail_seed[i] = room.snr_db, room.tail_seed
    packed.places_m[i, 0], packed.present[i, : 1 + len(room.sources)] = room.target_m, True
    for k, source in enumerate(room.sources):
        packed.places_m[i, 1 + k] = source.position_m
        playing = excerpt(noises, source, shapes.taps, shapes.samples)
        packed.loudness[i, k] = max(float(np.abs(playing).max()), 1e-9) / 32767
        packed.noises[i, k] = np.rint(playing / packed.loudness[i, k])
