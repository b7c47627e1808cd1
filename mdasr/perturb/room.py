"""§3.1: a simulated room with a distant talker and up to four noise sources.

Early reflections come from the image method of Allen and Berkley (1979); the rest of a response is noise that
decays exponentially with the energy that the images would have had on average. Everything of a room is drawn
beforehand (`draw_room`), so that `add_room` holds no randomness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float, Int

from mdasr.perturb.streams import stream
from mdasr.spec import RATE_HZ

SPEED_M_PER_S = 343.0
LEAD = 40  # samples before the direct path in a response: the band limit makes it ring on both sides
TRAINING_ROOMS = (0, 3_000_000)  # §3.1: "sampled from a collection of 3 million pre-generated configurations"
EVALUATION_ROOMS = (3_000_000, 4_000_000)  # §4.1: "configurations and noise segments not used in training"

Position = tuple[float, float, float]

_NEAREST_M = 0.1  # a source at the microphone would be infinitely loud
_IMAGES = 100  # a source; the tail follows. With more of them RT60s below 0.4 s miss what was asked for
_FADE_S = 0.01  # from images to tail
_OVERSAMPLING = 8  # with linear interpolation: delays are exact to -36 dB at 7 kHz
_LOOP_FADE_S = 0.05  # at the seam of a snippet that is shorter than the utterance


@dataclass(frozen=True)
class NoiseSource:
    """A snippet of noise played at `position_m`, from `start` (a share of its length) on."""

    position_m: Position
    snippet: str
    start: float


@dataclass(frozen=True)
class Room:
    """One configuration of §3.1: a box with equal walls, one microphone, a talker and its noise sources.

    Positions and sizes are metres from a corner. `snr_db` is the ratio of the reverberant speech, where
    somebody speaks, to the sum of the reverberant noises. `tail_seed` fixes the diffuse part of the
    responses. ValueError for what lies outside the room or the ranges that make sense.
    """

    size_m: Position
    rt60_s: float
    microphone_m: Position
    target_m: Position
    sources: tuple[NoiseSource, ...]
    snr_db: float
    tail_seed: int

    def __post_init__(self) -> None:
        if not all(0.5 <= side <= 100 for side in self.size_m):
            raise ValueError(f"room: size_m {self.size_m} must be three sides of 0.5 to 100 m")
        if not 0 <= self.rt60_s <= 10:
            raise ValueError(f"room: rt60_s {self.rt60_s} must lie between 0 and 10 s")
        if not -50 <= self.snr_db <= 100:
            raise ValueError(f"room: snr_db {self.snr_db} must lie between -50 and 100 dB")
        places = {"microphone_m": self.microphone_m, "target_m": self.target_m}
        for i, source in enumerate(self.sources):
            places[f"sources[{i}].position_m"] = source.position_m
            if not 0 <= source.start < 1:
                raise ValueError(f"room: sources[{i}].start {source.start} must be a share in [0, 1)")
        for name, place in places.items():
            if len(place) != 3 or not all(0 < x < side for x, side in zip(place, self.size_m)):
                raise ValueError(f"room: {name} {place} must lie inside the room of {self.size_m} m")


@dataclass(frozen=True)
class RoomRanges:
    """What rooms are drawn from, uniformly between two ends each; the defaults are §3.1's."""

    snr_db: tuple[float, float] = (0.0, 30.0)
    rt60_s: tuple[float, float] = (0.0, 0.9)
    distance_m: tuple[float, float] = (1.0, 10.0)
    sources: tuple[int, int] = (0, 4)
    floor_m: tuple[float, float] = (3.0, 12.0)
    height_m: tuple[float, float] = (2.4, 4.5)

    def __post_init__(self) -> None:
        for name, (low, high) in vars(self).items():
            if not low <= high:
                raise ValueError(f"room ranges: {name} ({low}, {high}) must run from low to high")
        if self.rt60_s[0] < 0 or self.sources[0] < 0 or self.distance_m[0] <= 0:
            raise ValueError("room ranges: rt60_s and sources cannot be negative, distance_m must be above 0")


PAPER_ROOMS = RoomRanges()


def draw_room(index: int, seed: int, snippets: Sequence[str], ranges: RoomRanges = PAPER_ROOMS) -> Room:
    """Configuration `index` of the collection `seed`: a pure function, so that none has to be stored.

    The distance from talker to microphone is drawn first and the room then made large enough for it.
    ValueError where noise sources are drawn and there are no snippets.
    """
    rng = stream("room", seed, index)
    distance_m, angle = rng.uniform(*ranges.distance_m), rng.uniform(0, 2 * np.pi)
    up_m = rng.uniform(-0.5, 0.5) * min(1.0, distance_m)
    along_m = np.sqrt(distance_m**2 - up_m**2)
    step_m = np.array([along_m * np.cos(angle), along_m * np.sin(angle), up_m])
    margin_m = np.array([0.3, 0.3, 0.6])
    low_m = np.array([ranges.floor_m[0], ranges.floor_m[0], ranges.height_m[0]])
    high_m = np.array([ranges.floor_m[1], ranges.floor_m[1], ranges.height_m[1]])
    low_m = np.maximum(low_m, np.abs(step_m) + 2 * margin_m + 0.1)
    size_m = rng.uniform(low_m, np.maximum(low_m, high_m))
    first_m = margin_m + np.maximum(0, -step_m)
    last_m = size_m - margin_m - np.maximum(0, step_m)
    microphone_m = rng.uniform(first_m, last_m)
    rt60_s, snr_db = rng.uniform(*ranges.rt60_s), rng.uniform(*ranges.snr_db)
    count = int(rng.integers(ranges.sources[0], ranges.sources[1] + 1))
    if count and not snippets:
        raise ValueError("a room with noise sources was drawn, but there are no noise snippets: give some")
    sources = []
    for _ in range(count):
        places_m = rng.uniform(0.2, size_m - 0.2, size=(8, 3))
        # The first of eight places that is a metre away from the microphone.
        far = np.linalg.norm(places_m - microphone_m, axis=1) >= 1
        snippet, start = snippets[int(rng.random() * len(snippets))], np.floor(rng.random() * 1e4) / 1e4
        sources.append(NoiseSource(_position(places_m[far.argmax()]), snippet, float(start)))
    return Room(
        size_m=_position(size_m),
        rt60_s=round(float(rt60_s), 3),
        microphone_m=_position(microphone_m),
        target_m=_position(microphone_m + step_m),
        sources=tuple(sources),
        snr_db=round(float(snr_db), 2),
        tail_seed=int(rng.integers(2**32)),
    )


def _position(place_m: np.ndarray) -> Position:
    """Rounded to millimetres, so that a recipe is read easily."""
    x, y, z = (round(float(v), 3) for v in place_m)
    return x, y, z


def impulse_responses(room: Room) -> Float[np.ndarray, "sources taps"]:
    """Responses from the talker (first) and from every noise source to the microphone, float32 at 16 kHz.

    The direct path of each is at sample `LEAD` with gain 1/distance (metres). Walls absorb so that Eyring's
    formula gives `rt60_s`; the tail ends where it has fallen by 60 dB.
    """
    places_m = np.array([room.target_m, *(source.position_m for source in room.sources)])
    direct_m = np.maximum(np.linalg.norm(places_m - room.microphone_m, axis=1), _NEAREST_M)
    volume_m3 = float(np.prod(room.size_m))
    reach_m = np.maximum((_IMAGES * volume_m3 * 3 / (4 * np.pi)) ** (1 / 3), direct_m + 4)
    early = _early(room, places_m, direct_m, reach_m)
    responses = np.zeros((len(places_m), LEAD + max(early.shape[1], round(room.rt60_s * RATE_HZ))), np.float32)
    if room.rt60_s > 0:
        time_s = (np.arange(responses.shape[1]) - LEAD) / RATE_HZ + direct_m[:, None] / SPEED_M_PER_S
        # Images arrive 4 pi c^3 t^2 / V times a second with energy 1/(c t)^2, less what the walls took.
        density = 4 * np.pi * SPEED_M_PER_S / (volume_m3 * RATE_HZ)
        envelope = np.sqrt(density) * np.exp(-3 * np.log(10) / room.rt60_s * np.maximum(time_s, 0))
        envelope *= np.sqrt(np.clip(1 + (time_s - reach_m[:, None] / SPEED_M_PER_S) / _FADE_S, 0, 1))
        for i, row in enumerate(responses):  # a stream each: one source more changes no other response
            stream("tail", room.tail_seed, i).standard_normal(dtype=np.float32, out=row)
        np.multiply(responses, envelope, out=responses, casting="same_kind")
    responses[:, : early.shape[1]] += early
    return responses


def _early(
    room: Room,
    places_m: Float[np.ndarray, "sources 3"],
    direct_m: Float[np.ndarray, " sources"],
    reach_m: Float[np.ndarray, " sources"],
) -> Float[np.ndarray, "sources samples"]:
    """What arrives over paths shorter than `reach_m`, by source: the images within, faded out at its end."""
    size_m = np.array(room.size_m)
    surface_m2 = 2 * (size_m[0] * size_m[1] + size_m[1] * size_m[2] + size_m[2] * size_m[0])
    # Eyring: rt60 = 24 ln 10 V / (-c S ln(1 - absorption)); a wall reflects sqrt(1 - absorption).
    nepers = 12 * np.log(10) * size_m.prod() / (SPEED_M_PER_S * surface_m2)
    wall_gain = np.exp(-nepers / room.rt60_s) if room.rt60_s else 0.0
    squares, gains = [], []
    for axis, side_m in enumerate(size_m):
        last = int(reach_m.max() / (2 * side_m)) + 1
        k = np.arange(-last, last + 1)
        place_m = places_m[:, axis, None]
        images_m = np.concatenate([2 * k * side_m + place_m, 2 * k * side_m - place_m], axis=1)
        square = (images_m - room.microphone_m[axis]) ** 2
        near = (square <= reach_m[:, None] ** 2).any(axis=0)
        squares.append(square[:, near])
        gains.append(wall_gain ** np.concatenate([np.abs(2 * k), np.abs(2 * k - 1)])[near])
    lattice = squares[0][:, :, None, None] + squares[1][:, None, :, None] + squares[2][:, None, None, :]
    lattice = lattice.reshape(len(places_m), -1)
    source, image = np.nonzero(lattice <= reach_m[:, None] ** 2)
    path_m = np.maximum(np.sqrt(lattice[source, image]), _NEAREST_M)
    gain = (gains[0][:, None, None] * gains[1][:, None] * gains[2]).ravel()[image] / path_m
    gain *= np.sqrt(np.clip((reach_m[source] - path_m) / SPEED_M_PER_S / _FADE_S, 0, 1))
    delay = (path_m - direct_m[source]) / SPEED_M_PER_S * RATE_HZ
    samples = scipy.fft.next_fast_len(2 * LEAD + int((reach_m - direct_m).max() / SPEED_M_PER_S * RATE_HZ), True)
    return _band_limited(source, delay + LEAD, gain, (len(places_m), samples))


def _band_limited(
    row: Int[np.ndarray, " impulses"],
    delay: Float[np.ndarray, " impulses"],
    gain: Float[np.ndarray, " impulses"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "rows samples"]:
    """Impulses at fractional samples, limited to the band below 7.5 kHz (falling to nothing at 8 kHz)."""
    rows, samples = shape
    position = row * (samples * _OVERSAMPLING) + delay * _OVERSAMPLING
    floor = position.astype(np.int64)
    late = gain * (position - floor)
    cells = rows * samples * _OVERSAMPLING
    fine = np.bincount(floor, gain - late, cells) + np.bincount(floor + 1, late, cells + 1)[:cells]
    spectrum = scipy.fft.rfft(fine.astype(np.float32).reshape(rows, -1))[:, : samples // 2 + 1]
    hz = np.arange(samples // 2 + 1) * RATE_HZ / samples
    spectrum *= 0.5 + 0.5 * np.cos(np.pi * np.clip((hz - 7500) / 500, 0, 1)).astype(np.float32)
    return scipy.fft.irfft(spectrum, samples)


def add_room(
    wave: Float[np.ndarray, " samples"], room: Room, noises: Mapping[str, Float[np.ndarray, " snippet"]]
) -> Float[np.ndarray, " samples"]:
    """`wave` as the room's microphone hears it, with its noises: float32 of the same length.

    Aligned with `wave` by the direct path, and the speech as loud as in `wave`, or less where it would clip.
    A noise shorter than the utterance is looped with a cross-fade; one that is silent there adds nothing.
    ValueError where a snippet is missing or empty, or where a SNR is asked for and `wave` is digital silence.
    """
    responses = impulse_responses(room)
    size = scipy.fft.next_fast_len(len(wave) + responses.shape[1], True)
    signals = np.zeros((len(responses), size), np.float32)
    signals[0, : len(wave)] = wave
    for row, source in zip(signals[1:], room.sources):
        if not len(noises.get(source.snippet, ())):
            raise ValueError(f"room: noise snippet {source.snippet!r} is missing or empty; give its noises too")
        row[:] = _excerpt(noises[source.snippet], source.start, size)
    spectra = scipy.fft.rfft(signals)
    spectra *= scipy.fft.rfft(responses, size)
    heard = scipy.fft.irfft(spectra[0], size)[LEAD : LEAD + len(wave)]
    before, after = active_power(wave), active_power(heard)
    if after > 0:
        heard *= np.sqrt(before / after)
    if room.sources:
        if not before:
            raise ValueError("room: the wave is digital silence, so no SNR can be set; leave it out")
        # The noise was there before the utterance: what wraps around falls on the samples that are cut off.
        noise = scipy.fft.irfft(spectra[1:].sum(axis=0), size)[responses.shape[1] :][: len(wave)]
        power = float(np.mean(noise**2, dtype=np.float64))
        if power > 0:
            heard += noise * np.float32(np.sqrt(before / power / 10 ** (room.snr_db / 10)))
    peak = float(np.abs(heard).max(initial=0))
    return heard * np.float32(0.999 / peak) if peak > 0.999 else heard


def active_power(wave: Float[np.ndarray, " samples"]) -> float:
    """Mean power where somebody speaks: over the 20 ms frames within 30 dB of the loudest; 0 for silence."""
    frame = min(320, max(len(wave), 1))
    frames = wave[: len(wave) // frame * frame].reshape(-1, frame)
    powers = np.einsum("ij,ij->i", frames, frames) / frame
    loud = powers[powers > 1e-3 * powers.max(initial=0)]
    return float(loud.mean(dtype=np.float64)) if len(loud) else 0.0


def _excerpt(snippet: Float[np.ndarray, " snippet"], start: float, samples: int) -> Float[np.ndarray, " samples"]:
    """`samples` of a snippet from a share of its length on, looped with a cross-fade if it ends too soon."""
    first = int(start * len(snippet))
    if first + samples <= len(snippet):
        return snippet[first : first + samples]
    fade = min(int(_LOOP_FADE_S * RATE_HZ), len(snippet) // 4)
    loop = snippet[: len(snippet) - fade].copy()
    rise = np.sqrt((np.arange(fade) + 0.5) / fade).astype(np.float32)
    loop[:fade] = rise * loop[:fade] + rise[::-1] * snippet[len(snippet) - fade :]
    return np.resize(np.roll(loop, -first), samples)
