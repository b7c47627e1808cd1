"""The utterances that an epoch shows, how often, and in which rows (§3.7).

An utterance longer than a row is cut into pieces, which fill whole rows, and a rest, which shares a row with others.
The rows r, r + `lanes`, r + 2 `lanes`, ... are a lane, and all pieces of a visit stand near each other in one lane.
Whoever makes the rows of a lane therefore distorts an utterance once for all its pieces. A batch has as many rows as
there are lanes, so it holds one piece of a visit. The exceptions are the few utterances at the ends of lanes.

The contents of row r depend on the options, the seed and r alone, not on workers, devices or hosts.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus, Utterance
from mdasr.frontend import PAPER_STEPS, Subsampling
from mdasr.perturb import Policy, random_stream
from mdasr.perturb.speed import num_samples_at

BLOCK = 8192  # pieces of a shuffled epoch that are packed together
MISSES = 10  # a row is closed after so many later pieces that did not fit it
SHORTEST = 33  # steps: cutting an utterance leaves no shorter piece, but in rows of less than three times as many
WINDOW = 1 << 16  # steps (33 minutes): each lane is shuffled in stretches; one stretch of every lane comes to so many


@dataclass(frozen=True)
class Source:
    """One corpus of the training pool: its shards, the name of its alignment, and the distortions of its utterances.

    An epoch shows each utterance `repeats` times on average, as evenly over the epochs as whole numbers allow.
    """

    corpus: Corpus
    alignment: str
    policy: Policy
    indices: tuple[int, ...] | None = None  # a subset of the utterances; None: all that were aligned
    repeats: float = 1.0

    def __post_init__(self) -> None:
        if not self.repeats > 0:
            raise ValueError(f"repeats is {self.repeats}; it must be above 0")

    def usable(self) -> Int[np.ndarray, " utterances"]:
        """The indices of the utterances to train on: those that are aligned and, if there are `indices`, among them."""
        aligned = np.flatnonzero(self.corpus.alignments(self.alignment).usable)
        return aligned if self.indices is None else np.intersect1d(aligned, np.asarray(self.indices, np.int64))

    def __iter__(self) -> Iterator[Utterance]:
        """The chosen utterances, aligned or not."""
        chosen = range(len(self.corpus)) if self.indices is None else self.indices
        return (self.corpus[i] for i in chosen)

    def seconds(self) -> float:
        """The duration of the audio to train on, in seconds."""
        return float(self.corpus.num_samples[self.usable()].sum()) / RATE_HZ


def subset(source: Source, share: float) -> Source:
    """A share of a source's utterances, by duration; a larger share contains every smaller one.

    The utterances are the first ones of an order that never changes. Raises ValueError for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of {share}; it must be above 0, and at most 1")
    if share == 1:
        return source
    usable = source.usable()
    if not len(usable):
        return source  # nothing to share; `RowPlan` says what is missing
    order = usable[np.random.Generator(np.random.Philox(key=[0, 2**34])).permutation(len(usable))]
    length = np.cumsum(source.corpus.num_samples[order])
    count = int(np.searchsorted(length, share * length[-1])) + 1
    return dataclasses.replace(source, indices=tuple(sorted(order[:count].tolist())))


def balanced(sources: Sequence[Source], exponent: float) -> list[Source]:
    """Repeat sources so that each domain's share of an epoch is proportional to its hours to the power `exponent`.

    1 leaves everything as it is, and 0 makes all domains equal; the length of an epoch stays. Utterances are shown more
    or less often, but not cut. The rule is that of multilingual models (Conneau and Lample, 2019, §3.1). Raises
    ValueError for an exponent below 0.
    """
    if exponent < 0:
        raise ValueError(f"an exponent of {exponent}; it must be 0 (equal shares) or more")
    seconds: dict[str, float] = defaultdict(float)
    for source in sources:
        seconds[source.corpus.domain] += source.seconds()
    known = {domain: length for domain, length in seconds.items() if length > 0}
    per_power = sum(known.values()) / max(sum(length**exponent for length in known.values()), 1e-9)
    repeats = {domain: per_power * length ** (exponent - 1) for domain, length in known.items()}
    return [dataclasses.replace(source, repeats=repeats.get(source.corpus.domain, 1.0)) for source in sources]


@dataclass(frozen=True)
class RowOptions:
    """The shape of a row: its steps, its frames, and the delay of the network's output, in steps.

    - `forget_steps`: the network forgets its state at random moments, on average that many steps apart; 0 is never.
      Then it does not learn the few sentences of a small corpus by heart.
    - `pieces`: the largest number of utterances in a row; 0 sets no limit.
    - `curriculum_rows`: over the first rows of a training, the probabilities of noise and codecs rise from 0 to those
      of the policies.
    - `speech_rows`: over the first rows of a training, no visit is noise alone.
    - `lanes`: the pieces of a visit stand in rows whose numbers differ by multiples of it. It is the size of a batch.
    - `domains`: each step of a row has the domain that is heard there, and the one that the network is told. For an
      `untold_share` of the visits it is told none.
    """

    steps: int
    output_delay: int = 0
    forget_steps: int = 0
    subsampling: Subsampling = PAPER_STEPS
    pieces: int = 0
    curriculum_rows: int = 0
    speech_rows: int = 0
    domains: tuple[str, ...] = ()
    untold_share: float = 0.0
    lanes: int = 1

    def __post_init__(self) -> None:
        if self.output_delay < 0 or self.steps <= self.gap:
            raise ValueError(f"rows of {self.steps} steps cannot hold an output delay of {self.output_delay}")
        if self.forget_steps < 0:
            raise ValueError(f"forget_steps is {self.forget_steps}; it must be 0 (never) or a number of steps")
        if self.lanes < 1:
            raise ValueError(f"lanes is {self.lanes}; it must be 1 or more, as a rule the rows of a batch")

    @property
    def frames(self) -> int:
        """The number of frames in a row."""
        return self.subsampling.num_frames(self.steps)

    @property
    def gap(self) -> int:
        """Steps left free after an utterance, for answers that come late and for frames that its last step shares."""
        return max(
            self.output_delay, -(-(self.subsampling.window - self.subsampling.stride) // self.subsampling.stride)
        )

    def strength(self, row: int | float) -> float:
        """The factor on the probabilities of noise and codecs in row number `row`, counted from the start."""
        return 1.0 if row >= self.curriculum_rows else row / self.curriculum_rows


@dataclass(frozen=True)
class Piece:
    """Steps [first, first + steps) of a visit to an utterance, and the slot of the row at which they begin.

    Rows `since` and `until` are the first and the last one that show a part of the visit.
    """

    source: int
    utterance: int
    visit: int
    first: int
    steps: int
    slot: int
    since: int
    until: int


class Placed(NamedTuple):
    """The places of an epoch's pieces: the row of each, the slot at which it begins there, and the number of rows."""

    row: Int[np.ndarray, " pieces"]
    slot: Int[np.ndarray, " pieces"]
    rows: int


def pack_rows(lengths: Int[np.ndarray, " pieces"], capacity: int, most: int) -> Placed:
    """Pack pieces of `lengths` slots (1 to `capacity`) into rows of at most `most` pieces each, by first fit.

    A row is closed when `MISSES` later pieces did not fit it. Each block of `BLOCK` pieces is packed by itself, so that
    the loop handles all blocks at once: it goes over places in a block.
    """
    blocks = -(-len(lengths) // BLOCK)
    padded = np.zeros((blocks, BLOCK), np.int64)
    padded.ravel()[: len(lengths)] = lengths
    row, slot = np.zeros_like(padded), np.zeros_like(padded)
    # Opening a row is a miss for all open rows, so row r - MISSES is closed when row r is opened. The open rows of a
    # block therefore lie in a ring, row r in place r % MISSES.
    used, held = (np.zeros((blocks, MISSES), np.int64) for _ in range(2))
    misses = np.full((blocks, MISSES), MISSES)
    opened = np.zeros(blocks, np.int64)
    ring = np.arange(MISSES)
    for i in range(min(BLOCK, len(lengths))):
        now = slice(0, blocks if padded[-1, i] else blocks - 1)  # the last block may be shorter
        length, block = padded[now, i], np.arange(now.stop)
        age = (ring - opened[now, None]) % MISSES  # 0 is the row that was opened first
        fits = (used[now] + length[:, None] <= capacity) & (held[now] < most) & (misses[now] < MISSES)
        first = np.where(fits, age, MISSES).min(1)  # MISSES where a row must be opened
        misses[now] += age < first[:, None]
        place, new = (opened[now] + first) % MISSES, first == MISSES
        for state in (used, held, misses):
            state[block[new], place[new]] = 0
        row[now, i], slot[now, i] = opened[now] - MISSES + first, used[block, place]
        used[block, place] += length
        held[block, place] += 1
        opened[now] += new
    before = np.cumsum(opened) - opened
    row += before[:, None]
    return Placed(row.ravel()[: len(lengths)], slot.ravel()[: len(lengths)], int(opened.sum()))


class Cuts(NamedTuple):
    """The pieces of utterances, one utterance after another: the utterance of each, its first step, its steps."""

    of: Int[np.ndarray, " pieces"]
    first: Int[np.ndarray, " pieces"]
    steps: Int[np.ndarray, " pieces"]


def cut(total: Int[np.ndarray, " utterances"], longest: int, generator: np.random.Generator) -> Cuts:
    """Cut utterances of `total` steps (1 or more) into pieces of `longest` steps and one rest, at a random place each.

    A rest below `SHORTEST` steps (or a third of `longest`) gets the missing steps from a piece beside it.
    """
    parts = -(-total // longest)
    rest = total - (parts - 1) * longest
    missing = np.where(parts > 1, np.maximum(min(SHORTEST, longest // 3) - rest, 0), 0)
    begin, place = np.cumsum(parts) - parts, generator.integers(0, parts)
    steps = np.full(parts.sum(), longest)
    steps[begin + place] = rest + missing
    steps[begin + (place + 1) % parts] -= missing
    before = np.cumsum(steps) - steps
    return Cuts(np.repeat(np.arange(len(total)), parts), before - np.repeat(before[begin], parts), steps)


def place_pieces(steps: Int[np.ndarray, " pieces"], options: RowOptions) -> Placed:
    """Give each piece that fills a row a row of its own, and pack the others; rows are in the order of their openings.

    So the pieces of an utterance stand in rows near each other.
    """
    full = steps == options.steps - options.gap
    packed = pack_rows(steps[~full] + options.gap, options.steps, options.pieces or options.steps)
    opens = full.copy()
    opens[~full] = packed.slot == 0
    row, slot = np.cumsum(opens) - 1, np.zeros_like(steps)
    row[~full], slot[~full] = row[~full][packed.slot == 0][packed.row], packed.slot
    return Placed(row, slot, int(opens.sum()))


def lane_numbers(rows: int, lanes: int, stretch: int, generator: np.random.Generator) -> Int[np.ndarray, " rows"]:
    """The number of each of `rows` successive rows, when every lane takes an equal part of them.

    A lane's rows are shuffled within each `stretch` of them.
    """
    sizes = rows // lanes + (np.arange(lanes) < rows % lanes)
    lane, time = np.repeat(np.arange(lanes), sizes), _counted(sizes)
    numbers = np.empty(rows, np.int64)
    numbers[np.lexsort((generator.random(rows), time // stretch, lane))] = time * lanes + lane
    return numbers


class Epoch(NamedTuple):
    """The pieces of an epoch, row after row; those of row r stand at [starts[r], starts[r + 1])."""

    place: Int[np.ndarray, " pieces"]  # the utterance's place in the pool
    visit: Int[np.ndarray, " pieces"]
    first: Int[np.ndarray, " pieces"]
    steps: Int[np.ndarray, " pieces"]
    slot: Int[np.ndarray, " pieces"]
    since: Int[np.ndarray, " pieces"]  # the visit's first row, counted in this epoch, and its last
    until: Int[np.ndarray, " pieces"]
    starts: Int[np.ndarray, " rows_and_end"]

    @property
    def rows(self) -> int:
        return len(self.starts) - 1


@dataclass
class RowPlan:
    """The plan that says which pieces stand in which row, epoch after epoch.

    A visit is one showing of an utterance. An epoch visits each utterance once, or as often as its source's `repeats`
    says.
    """

    sources: Sequence[Source]
    options: RowOptions
    seed: int
    _starts: list[int] = field(default_factory=list)  # first row of each epoch planned so far, and of the next one
    _planned: tuple[int, Epoch] | None = None  # the epoch that was used last

    def __post_init__(self) -> None:
        usable = [source.usable() for source in self.sources]
        self._source = np.repeat(np.arange(len(usable)), [len(indices) for indices in usable])
        self._utterance = np.concatenate(usable) if usable else np.zeros(0, np.int64)
        if not len(self._source):
            raise ValueError("nothing to train on: no utterance of these corpora is aligned and selected")
        corpora = [source.corpus for source in self.sources]
        samples = [corpus.num_samples[chosen] for corpus, chosen in zip(corpora, usable)]
        self._steps = self._steps_at_speeds(np.concatenate(samples).astype(np.int64))
        turns = [random_stream("speed", self.seed, c.info["corpus"]).integers(1 << 16, size=len(c)) for c in corpora]
        self._turns, self._first_turn = turns, np.concatenate([each[chosen] for each, chosen in zip(turns, usable)])
        if not self._steps.any():
            raise ValueError("nothing to train on: every utterance is shorter than a step of 30 ms")
        self._repeats = np.array([source.repeats for source in self.sources])[self._source]
        # Phases have single precision: added to a whole number in double precision, they stay below the next one.
        phases = [random_stream("phase", self.seed, c.info["corpus"]).random(len(c), np.float32) for c in corpora]
        self._phases = np.concatenate([values[chosen] for values, chosen in zip(phases, usable)]).astype(np.float64)
        self._starts = [0]

    def _steps_at_speeds(self, samples: Int[np.ndarray, " pool"]) -> Int[np.ndarray, "speeds pool"]:
        """The steps of every utterance at each speed of its source. After the last speed, the first one comes again."""
        speeds = [source.policy.speeds for source in self.sources]
        steps = []
        for turn in range(max(map(len, speeds))):
            speed = np.array([each[turn % len(each)] for each in speeds])[self._source]
            steps.append(self.options.subsampling.steps_in(num_samples_at(samples, speed)))
        return np.stack(steps)

    def speed(self, source: int, utterance: int, visit: int) -> float:
        """The speed of a visit. The visits to an utterance take the speeds of its source in turn, from a random one."""
        speeds = self.sources[source].policy.speeds
        return speeds[int(self._turns[source][utterance] + visit) % len(speeds)]

    def _steps_of(
        self, places: Int[np.ndarray, " visits"], visits: Int[np.ndarray, " visits"]
    ) -> Int[np.ndarray, " visits"]:
        """The steps of each visit at its speed."""
        count = np.array([len(source.policy.speeds) for source in self.sources])[self._source[places]]
        return self._steps[(self._first_turn[places] + visits) % count, places]

    def _visits(self, epoch: int) -> tuple[Int[np.ndarray, " visits"], Int[np.ndarray, " visits"]]:
        """The places in the pool that an epoch visits, and the number of each visit from the start of training.

        After e epochs an utterance has been visited floor(e repeats + phase) times, with its own phase in [0, 1).
        """
        before, after = (np.floor(e * self._repeats + self._phases).astype(int) for e in (epoch, epoch + 1))
        counts = after - before
        places = np.repeat(np.arange(len(counts)), counts)
        return places, before[places] + _counted(counts)

    def epoch(self, number: int) -> Epoch:
        """The rows of a shuffled epoch."""
        options, generator = self.options, np.random.Generator(np.random.Philox(key=[self.seed, number]))
        places, visits = self._visits(number)
        order, steps = generator.permutation(len(places)), self._steps_of(places, visits)
        order = order[steps[order] > 0]
        pieces = cut(steps[order], options.steps - options.gap, generator)
        placed = place_pieces(pieces.steps, options)
        stretch = max(1, WINDOW // (options.steps * options.lanes))
        rows = lane_numbers(placed.rows, options.lanes, stretch, generator)[placed.row]
        begins = np.flatnonzero(pieces.first == 0)
        since, until = (extreme.reduceat(rows, begins)[pieces.of] for extreme in (np.minimum, np.maximum))
        by_row, shown = np.argsort(rows, kind="stable"), order[pieces.of]
        columns = (places[shown], visits[shown], pieces.first, pieces.steps, placed.slot, since, until)
        place, visit, first, steps, slot, since, until = (column.astype(np.int32)[by_row] for column in columns)
        starts = np.searchsorted(rows[by_row], np.arange(placed.rows + 1))
        return Epoch(place, visit, first, steps, slot, since, until, starts)

    def locate(self, row: int) -> tuple[int, tuple[Piece, ...]]:
        """The (epoch, pieces) of row number `row`, counted from the start of training."""
        while self._starts[-1] <= row:
            epoch = self._at(len(self._starts) - 1)
            self._starts.append(self._starts[-1] + epoch.rows)
        number = bisect.bisect_right(self._starts, row) - 1
        epoch, before = self._at(number), self._starts[number]
        begin, end = epoch.starts[row - before :][:2]
        return number, tuple(
            Piece(
                int(self._source[epoch.place[i]]), int(self._utterance[epoch.place[i]]), int(epoch.visit[i]),
                int(epoch.first[i]), int(epoch.steps[i]), int(epoch.slot[i]),
                before + int(epoch.since[i]), before + int(epoch.until[i]),
            )
            for i in range(begin, end)
        )  # fmt: skip

    def _at(self, number: int) -> Epoch:
        if self._planned is None or self._planned[0] != number:
            self._planned = number, self.epoch(number)
        return self._planned[1]

    def rows_in_epoch(self, epoch: int = 0) -> int:
        return self._at(epoch).rows


def _counted(counts: Int[np.ndarray, " groups"]) -> Int[np.ndarray, " members"]:
    """The numbers 0, 1, ... within each group of the given size, one group after another."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
