"""§3.1: a room with a distant talker and up to four noise sources, simulated or measured.

`draw_room` and `draw_measured_room` draw all random values of a room, so that `add_room` itself is not random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
from jaxtyping import Float

from mdasr.core.random_streams import random_stream
from mdasr.core.waveforms import RATE_HZ, checked
from mdasr.perturb import responses as simulator
from mdasr.perturb.loudness import active_power, audible_power, level_gain, limited, noise_gain, without_dc
from mdasr.perturb.recorded_noises import RecordedNoises
from mdasr.perturb.responses import LEAD, Position

TRAINING_ROOMS = (0, 3_000_000)  # §3.1: "sampled from a collection of 3 million pre-generated configurations"
EVALUATION_ROOMS = (3_000_000, 4_000_000)  # §4.1: "configurations and noise segments not used in training"

_LIMITS = {
    "snr_db": (-50, 100),
    "rt60_s": (0, 10),
    "tail_cut_db": (1e-3, 200),
    "distance_m": (1e-3, 99),
    "sources": (0, 1000),
    "floor_m": (0.5, 100),
    "width_m": (0.5, 100),
    "height_m": (0.5, 100),
    "margin_m": (0.01, 0.6),
}
_MOST_ABSORPTION = 0.99  # of a wall: an RT60 that needs more is none that a room can have
_LOOP_FADE_S = 0.05  # at the seam of a snippet that is looped

Sounds = Mapping[str, Float[np.ndarray, " _"]]  # noise snippets or measured responses, by id


@dataclass(frozen=True)
class NoiseSource:
    """A noise snippet that plays at `position_m`; it begins at `start`, a share of its (active) length."""

    position_m: Position
    snippet: str
    start: float


@dataclass(frozen=True)
class Room:
    """One configuration of §3.1: a box with equal walls, one microphone, a talker and its noise sources.

    Positions are metres from a corner, and sizes are metres. `snr_db` is the ratio of the reverberant speech, where
    somebody speaks, to the sum of the reverberant noises. `tail_seed` fixes the diffuse part of the responses.
    `tail_cut_db` cuts them after the last sample within so many dB of the loudest. Google's simulator cuts at 20 dB
    (Kim et al., 2018). Raises ValueError for positions outside the room, and for values outside sensible ranges.
    """

    size_m: Position
    rt60_s: float
    microphone_m: Position
    target_m: Position
    sources: tuple[NoiseSource, ...]
    snr_db: float
    tail_seed: int
    tail_cut_db: float | None = None

    def __post_init__(self) -> None:
        if not all(0.5 <= side <= 100 for side in self.size_m):
            raise ValueError(f"room: size_m {self.size_m} must be three sides of 0.5 to 100 m")
        _check("room", rt60_s=self.rt60_s, snr_db=self.snr_db, tail_cut_db=self.tail_cut_db)
        if not 0 <= self.tail_seed < 2**32:
            raise ValueError(f"room: tail_seed {self.tail_seed} must lie between 0 and 2**32")
        places = {"microphone_m": self.microphone_m, "target_m": self.target_m}
        for i, source in enumerate(self.sources):
            places[f"sources[{i}].position_m"] = source.position_m
            if not 0 <= source.start < 1:
                raise ValueError(f"room: sources[{i}].start {source.start} must be a share in [0, 1)")
        for name, place in places.items():
            if len(place) != 3 or not all(0 < x < side for x, side in zip(place, self.size_m)):
                raise ValueError(f"room: {name} {place} must lie inside the room of {self.size_m} m")


@dataclass(frozen=True)
class MeasuredNoise:
    """A noise snippet through the measured `response`; it begins at `start`, as in `NoiseSource`."""

    response: str
    snippet: str
    start: float


@dataclass(frozen=True)
class NoiseAlone:
    """A noise snippet that is heard instead of the speech; it begins at `start`, as in `NoiseSource`."""

    snippet: str
    start: float

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise ValueError(f"noise_alone: start {self.start} must be a share in [0, 1)")


Playing = NoiseSource | MeasuredNoise | NoiseAlone


@dataclass(frozen=True)
class MeasuredRoom:
    """A room with recorded impulse responses: the ids of the talker's and of each noise source's.

    `snr_db` is as in `Room`. Raises ValueError for an SNR or a start out of range.
    """

    response: str
    sources: tuple[MeasuredNoise, ...]
    snr_db: float

    def __post_init__(self) -> None:
        _check("room", snr_db=self.snr_db)
        for i, source in enumerate(self.sources):
            if not 0 <= source.start < 1:
                raise ValueError(f"room: sources[{i}].start {source.start} must be a share in [0, 1)")


def _check(what: str, **settings: int | float | None) -> None:
    """Raise ValueError for a setting outside its limits. None means that it is not set."""
    for name, value in settings.items():
        low, high = _LIMITS[name]
        if value is not None and not low <= value <= high:
            raise ValueError(f"{what}: {name} {value} must lie between {low} and {high}")


@dataclass(frozen=True)
class RoomRanges:
    """The ranges that rooms are drawn from, each uniformly between its two ends. The defaults are those of §3.1.

    With weights, a value is one of as many as there are weights, from one end to the other in equal steps. `width_m` is
    the second side of the floor; None means as `floor_m`. Sources keep `margin_m` from the walls. `tail_cut_db` is the
    same for every room. Raises ValueError for ends in the wrong order, for values that no `Room` can have, and for
    weights that are negative or all 0.
    """

    snr_db: tuple[float, float] = (0.0, 30.0)
    rt60_s: tuple[float, float] = (0.0, 0.9)
    distance_m: tuple[float, float] = (1.0, 10.0)
    sources: tuple[int, int] = (0, 4)
    floor_m: tuple[float, float] = (3.0, 12.0)
    height_m: tuple[float, float] = (2.4, 4.5)
    tail_cut_db: float | None = None
    width_m: tuple[float, float] | None = None
    margin_m: float = 0.2
    snr_weights: tuple[int | float, ...] = ()
    rt60_weights: tuple[int | float, ...] = ()
    distance_weights: tuple[int | float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("snr_db", "rt60_s", "distance_m", "sources", "floor_m", "width_m", "height_m"):
            low, high = getattr(self, name) or self.floor_m
            if not low <= high:
                raise ValueError(f"room ranges: {name} ({low}, {high}) must run from low to high")
            _check("room ranges", **{name: low})
            _check("room ranges", **{name: high})
        for name in ("snr_weights", "rt60_weights", "distance_weights"):
            if (weights := getattr(self, name)) and not (min(weights) >= 0 and 0 < sum(weights) < np.inf):
                raise ValueError(f"room ranges: {name} {weights} must be 0 or more each, and not all 0")
        _check("room ranges", tail_cut_db=self.tail_cut_db, margin_m=self.margin_m)

    @property
    def sides_m(self) -> Float[np.ndarray, "3 2"]:
        """The lowest and the highest length, width and height."""
        return np.array([self.floor_m, self.width_m or self.floor_m, self.height_m])


PAPER_ROOMS = RoomRanges()
# Kim et al. (2017), as a public re-implementation transcribes them (entn-at/sim-rir-configuration-generator on GitHub).
# It has no SNR. Here its mean is the published one, some 12 dB; the shape of its distribution is ours.
KIM_ROOMS = RoomRanges(
    distance_m=(1.0, 7.0),
    floor_m=(3.0, 10.0),
    width_m=(3.0, 8.0),
    height_m=(2.5, 6.0),
    margin_m=0.5,
    snr_weights=(12, 18, 21, 19, 12, 6, 3),
    rt60_weights=(4, 6, 7, 10, 13, 17, 17, 13, 7, 4),
    distance_weights=(14, 22, 29, 21, 9, 2, 1),
)
ROOMS = {"uniform": PAPER_ROOMS, "kim": KIM_ROOMS}


def draw_room(index: int, seed: int, snippets: Sequence[str], ranges: RoomRanges = PAPER_ROOMS) -> Room:
    """Draw configuration `index` of the collection `seed`: a pure function, so that no room has to be stored.

    The distance from talker to microphone is drawn first; then the room is made large enough for it. The RT60 is drawn
    last, from the part of its range that the room can have: its walls absorb 99% at most. Where the whole range is
    shorter, its upper end is taken. Raises ValueError where noise sources are drawn and `snippets` is empty.
    """
    rng = random_stream("room", seed, index)
    distance_m, angle = _drawn(rng, ranges.distance_m, ranges.distance_weights), rng.uniform(0, 2 * np.pi)
    up_m = rng.uniform(-0.5, 0.5) * min(1.0, distance_m)
    along_m = np.sqrt(distance_m**2 - up_m**2)
    step_m = np.array([along_m * np.cos(angle), along_m * np.sin(angle), up_m])
    margin_m = np.maximum([0.3, 0.3, 0.6], ranges.margin_m)
    low_m, high_m = ranges.sides_m.T
    low_m = np.maximum(low_m, np.abs(step_m) + 2 * margin_m + 0.1)
    size_m = rng.uniform(low_m, np.maximum(low_m, high_m))
    first_m = margin_m + np.maximum(0, -step_m)
    last_m = size_m - margin_m - np.maximum(0, step_m)
    microphone_m = rng.uniform(first_m, last_m)
    rt60_s = _drawn(rng, ranges.rt60_s, ranges.rt60_weights, simulator.shortest_rt60(size_m, _MOST_ABSORPTION))
    snr_db = _drawn(rng, ranges.snr_db, ranges.snr_weights)
    count = int(rng.integers(ranges.sources[0], ranges.sources[1] + 1))
    if count and not snippets:
        raise ValueError("the room has noise sources, but there are no noise snippets; give the ids of some")
    sources = []
    for _ in range(count):
        places_m = rng.uniform(ranges.margin_m, size_m - ranges.margin_m, size=(8, 3))
        # Take the first of eight places that is a metre or more from the microphone.
        far = np.linalg.norm(places_m - microphone_m, axis=1) >= 1
        snippet, start = snippets[int(rng.random() * len(snippets))], np.floor(rng.random() * 1e4) / 1e4
        sources.append(NoiseSource(_position(places_m[far.argmax()]), snippet, float(start)))
    return Room(
        size_m=_position(size_m),
        rt60_s=round(rt60_s, 3),
        microphone_m=_position(microphone_m),
        target_m=_position(microphone_m + step_m),
        sources=tuple(sources),
        snr_db=round(snr_db, 2),
        tail_seed=int(rng.integers(2**32)),
        tail_cut_db=ranges.tail_cut_db,
    )


def _drawn(
    rng: np.random.Generator, ends: tuple[float, float], weights: Sequence[int | float], least: float = -np.inf
) -> float:
    """Draw a value of at least `least` between two ends, or the upper end where all are below.

    With weights, 0 is allowed, too: an RT60 of 0 is a room without walls.
    """
    low, high = ends
    if not weights:
        return float(rng.uniform(min(max(low, least), high), high))
    values = np.linspace(low, high, len(weights))
    chances = np.where((values >= least) | (values == 0), weights, 0)
    return float(rng.choice(values, p=chances / chances.sum())) if chances.any() else high


def _position(place_m: np.ndarray) -> Position:
    """Round a place to millimetres, so that a recipe is easy to read."""
    x, y, z = (round(float(v), 3) for v in place_m)
    return x, y, z


def draw_measured_room(
    index: int, seed: int, measured: Sequence[str], snippets: Sequence[str], ranges: RoomRanges = PAPER_ROOMS
) -> MeasuredRoom:
    """Draw configuration `index` of the collection `seed` that combines measured responses.

    Only the SNR and the number of sources of `ranges` are used. Raises ValueError where there are no responses, or
    noise sources are drawn and there are no snippets.
    """
    if not len(measured):
        raise ValueError("a measured room needs measured responses, but there are none; give the ids of some")
    rng = random_stream("measured room", seed, index)
    response = measured[int(rng.random() * len(measured))]
    snr_db = _drawn(rng, ranges.snr_db, ranges.snr_weights)
    count = int(rng.integers(ranges.sources[0], ranges.sources[1] + 1))
    if count and not len(snippets):
        raise ValueError("the room has noise sources, but there are no noise snippets; give the ids of some")
    sources = tuple(
        MeasuredNoise(
            measured[int(rng.random() * len(measured))],
            snippets[int(rng.random() * len(snippets))],
            float(np.floor(rng.random() * 1e4) / 1e4),
        )
        for _ in range(count)
    )
    return MeasuredRoom(response, sources, round(snr_db, 2))


def impulse_responses(room: Room, backend: Literal["fast", "reference"] = "fast") -> Float[np.ndarray, "sources taps"]:
    """Simulate the responses from the talker (first) and every noise source to the microphone, float32 at 16 kHz.

    The direct path of each is at sample `LEAD` with gain 1/distance (metres). The absorption of the walls gives
    `rt60_s` by Eyring's formula. The backend "reference" is pyroomacoustics' image method, at hundreds of times the
    cost.
    """
    places_m = np.array([room.target_m, *(source.position_m for source in room.sources)])
    box = room.size_m, room.rt60_s, room.microphone_m, places_m
    whole = simulator.simulate(*box, room.tail_seed) if backend == "fast" else simulator.reference(*box)
    return whole if room.tail_cut_db is None else simulator.cut_tails(whole, room.tail_cut_db)


def _measured_responses(room: MeasuredRoom, measured: Sounds) -> Float[np.ndarray, "sources taps"]:
    """The room's responses with their direct paths at `LEAD`. Raises ValueError where one is missing or unusable."""
    aligned = []
    for name in (room.response, *(source.response for source in room.sources)):
        if name not in measured:
            raise ValueError(f"room: the measured response {name!r} is missing; give the room's responses, too")
        try:
            aligned.append(simulator.align_measured(measured[name]))
        except ValueError as error:
            raise ValueError(f"room: response {name!r}: {error}") from None
    taps = max(map(len, aligned))
    return np.stack([np.pad(response, (0, taps - len(response))) for response in aligned])


def add_room(
    wave: Float[np.ndarray, " samples"],
    room: Room | MeasuredRoom,
    noises: Sounds,
    measured: Sounds | None = None,
    backend: Literal["fast", "reference"] = "fast",
) -> Float[np.ndarray, " samples"]:
    """Return `wave` as recorded by the room's microphone, with the room's noises: float32 of the same length.

    The direct path is aligned with `wave`. The speech is as loud as in `wave`, or softer where the mixture would clip.
    Levels and the SNR are those of the sound above about 50 Hz. DC of `wave` and of the noises is left out. A noise
    shorter than the utterance is looped with a cross-fade; a silent noise adds nothing. `measured` holds the responses
    that a `MeasuredRoom` names. Raises ValueError for a snippet or response that is missing, empty or not finite.
    Raises it, too, for noise sources where `wave` is digital silence, and as `waveforms.checked`.
    """
    wave = without_dc(checked(wave))
    if isinstance(room, MeasuredRoom):
        responses = _measured_responses(room, measured or {})
    else:
        responses = impulse_responses(room, backend)
    samples, taps = len(wave), responses.shape[1]
    speech = np.zeros((1, samples + LEAD), np.float32)
    speech[0, :samples] = wave
    heard = _convolve(speech, responses[:1])[LEAD:]
    speech_power = active_power(wave)
    heard *= level_gain(speech_power, active_power(heard))
    sources: Sequence[NoiseSource | MeasuredNoise] = room.sources
    if sources:
        if not speech_power:
            raise ValueError("room: the wave is digital silence, so no SNR can be set; leave it out")
        # The noise starts before the utterance: its first `taps` samples only fill the room.
        playing = np.stack([excerpt(noises, source, taps, samples) for source in sources])
        noise = without_dc(_convolve(playing, responses[1:])[taps:])
        noise_power = audible_power(noise)
        if not np.isfinite(noise_power):
            names = ", ".join(repr(source.snippet) for source in sources)
            raise ValueError(f"room: the noise snippets {names} have samples that are not finite numbers; repair them")
        heard += noise * noise_gain(speech_power, noise_power, room.snr_db)
    return limited(heard)


def noise_instead(
    wave: Float[np.ndarray, " samples"], noise: NoiseAlone, noises: Sounds
) -> Float[np.ndarray, " samples"]:
    """Return a noise that is as long and as loud as the speech of `wave`. Raises ValueError for a missing snippet."""
    playing = without_dc(excerpt(noises, noise, 0, len(wave)))
    return limited(playing * level_gain(active_power(wave), audible_power(playing)))


def _convolve(
    signals: Float[np.ndarray, "sources samples"], responses: Float[np.ndarray, "sources taps"]
) -> Float[np.ndarray, " samples"]:
    """Convolve each signal with its response and add up the results, cut to the length of the signals.

    Overlap-add is used where it is less work. Blocks of four times the response's length were the fastest; a signal
    that is not much longer takes one transform.
    """
    (sources, samples), taps = signals.shape, responses.shape[1]
    size = scipy.fft.next_fast_len(min(4 * taps, samples + taps), True)
    step = size - taps + 1
    blocks = -(-samples // step)
    padded = np.zeros((sources, blocks * step), np.float32)
    padded[:, :samples] = signals
    spectra = scipy.fft.rfft(padded.reshape(sources, blocks, step), size)
    spectra *= scipy.fft.rfft(responses, size)[:, None]
    parts = scipy.fft.irfft(spectra.sum(axis=0), size)
    total = np.zeros(blocks * step + taps - 1, np.float32)
    for i, part in enumerate(parts):
        total[i * step : i * step + size] += part
    return total[:samples]


def excerpt(noises: Sounds, source: Playing, before: int, samples: int) -> Float[np.ndarray, " playing"]:
    """A source's noise from `before` samples before its start to `samples` after it, float32.

    The snippet is looped: its end fades into its beginning. For recorded noises, `start` is a share of the stretches
    that are not silent. Raises ValueError where the snippet is missing or empty.
    """
    snippet = noises.get(source.snippet, np.empty(0, np.float32))
    if not len(snippet):
        raise ValueError(f"room: noise snippet {source.snippet!r} is missing or empty; give the room's noises, too")
    fade = min(int(_LOOP_FADE_S * RATE_HZ), len(snippet) // 4)
    period = len(snippet) - fade
    begin = int(source.start * len(snippet))
    if isinstance(noises, RecordedNoises):
        begin = noises.begin(source.snippet, source.start)
    first = (begin - before) % period
    if first >= fade and first + before + samples <= period:
        return snippet[first : first + before + samples]
    rise = np.sqrt((np.arange(fade) + 0.5) / fade).astype(np.float32)
    faded = rise * snippet[:fade] + rise[::-1] * snippet[period:]
    parts, missing = [], before + samples
    while missing:
        for part in (faded[first:], snippet[max(first, fade) : period]):
            parts.append(part[:missing])
            missing -= len(parts[-1])
        first = 0
    return np.concatenate(parts)
