"""Which utterances an epoch shows, how often, and in which rows (§3.7).

Of row r that is a function of the seed and r alone: neither workers, devices nor hosts enter it.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from mdasr import frontend
from mdasr.data.records import Corpus, Utterance
from mdasr.perturb import Policy, stream
from mdasr.spec import RATE_HZ


@dataclass(frozen=True)
class Source:
    """One corpus of the training pool: its shards, the name of its alignment, and what may happen to its utterances.

    An epoch shows each utterance `repeats` times on average, as evenly over the epochs as whole numbers allow.
    """

    corpus: Corpus
    alignment: str
    policy: Policy
    indices: tuple[int, ...] | None = None  # a subset of the utterances; None is all that were aligned
    repeats: float = 1.0

    def __post_init__(self) -> None:
        if not self.repeats > 0:
            raise ValueError(f"repeats is {self.repeats}; an utterance is shown more often than never")

    def usable(self) -> Int[np.ndarray, " utterances"]:
        aligned = np.flatnonzero(self.corpus.alignments(self.alignment).usable)
        return aligned if self.indices is None else np.intersect1d(aligned, np.asarray(self.indices, np.int64))

    def __iter__(self) -> Iterator[Utterance]:
        """The utterances that were chosen, aligned or not."""
        chosen = range(len(self.corpus)) if self.indices is None else self.indices
        return (self.corpus[i] for i in chosen)

    def seconds(self) -> float:
        """How much audio it has to train on."""
        return float(self.corpus.num_samples[self.usable()].sum()) / RATE_HZ


def subset(source: Source, share: float) -> Source:
    """A share of a source's utterances by duration: the first of an order that never changes, so shares are nested."""
    if not 0 < share <= 1:
        raise ValueError(f"a share of {share}; it must lie above 0 and at most be 1")
    if share == 1:
        return source
    usable = source.usable()
    order = usable[np.random.Generator(np.random.Philox(key=[0, 2**34])).permutation(len(usable))]
    length = np.cumsum(source.corpus.num_samples[order])
    count = int(np.searchsorted(length, share * length[-1])) + 1
    return dataclasses.replace(source, indices=tuple(sorted(order[:count].tolist())))


def balanced(sources: Sequence[Source], exponent: float) -> list[Source]:
    """The sources, repeated so that each domain's share of an epoch goes as its hours to the power `exponent`.

    1 leaves all as they are, 0 makes domains equal; an epoch stays as long as it was. Utterances are shown more often
    or seldom, not cut. The rule is that of multilingual models (Conneau and Lample, 2019, §3.1). ValueError for an
    exponent below 0.
    """
    if exponent < 0:
        raise ValueError(f"an exponent of {exponent}; it must be 0 (equal shares) or more")
    seconds: dict[str, float] = defaultdict(float)
    for source in sources:
        seconds[source.corpus.domain] += source.seconds()
    known = {domain: length for domain, length in seconds.items() if length > 0}
    per_power = sum(known.values()) / sum(length**exponent for length in known.values())
    repeats = {domain: per_power * length ** (exponent - 1) for domain, length in known.items()}
    return [dataclasses.replace(source, repeats=repeats.get(source.corpus.domain, 1.0)) for source in sources]


@dataclass(frozen=True)
class RowOptions:
    """The shape of a row: its steps (30 ms each) and by how many the network's output lags its input.

    `forget_steps` makes the network forget what it heard at random moments, on average that many steps apart, so that
    it does not learn the few sentences of a small corpus by heart; 0 leaves its state alone. `pieces` is the most
    utterances that a row may hold; 0 sets no bound. Over the first `curriculum_rows` rows of a training, noise and
    codecs become more likely, from never to what policies say. Rows say of every step which of `domains` is heard
    there, and what the network is told: nothing of an `untold_share` of the visits.
    """

    steps: int
    output_delay: int = 0
    forget_steps: int = 0
    pieces: int = 0
    curriculum_rows: int = 0
    domains: tuple[str, ...] = ()
    untold_share: float = 0.0

    def __post_init__(self) -> None:
        if self.output_delay < 0 or self.steps <= self.output_delay:
            raise ValueError(f"rows of {self.steps} steps cannot hold an output delay of {self.output_delay}")
        if self.forget_steps < 0:
            raise ValueError(f"forget_steps is {self.forget_steps}; it must be 0 (never) or a number of steps")

    def strength(self, row: int) -> float:
        """The factor on the probabilities of noise and codecs in row number `row`, counted from the start."""
        return 1.0 if row >= self.curriculum_rows else row / self.curriculum_rows


@dataclass(frozen=True)
class Piece:
    """Steps [first, first + steps) of a visit to an utterance, and the slot of the row at which they begin."""

    source: int
    utterance: int
    visit: int
    first: int
    steps: int
    slot: int


def _pieces(num_steps: int, room: int) -> list[tuple[int, int]]:
    """Cut an utterance longer than a row into nearly equal parts (first, steps)."""
    edges = np.linspace(0, num_steps, -(-num_steps // room) + 1).astype(int)
    return [(int(a), int(b - a)) for a, b in itertools.pairwise(edges)]


@dataclass
class RowPlan:
    """Which pieces stand in which row, epoch after epoch.

    An utterance that is shown is visited; an epoch visits each once, or as often as its source's `repeats` says.
    """

    sources: Sequence[Source]
    options: RowOptions
    seed: int
    _starts: list[int] = field(default_factory=list)  # first row of each epoch planned so far, and of the one after
    _epoch: tuple[int, list[tuple[Piece, ...]]] = (-1, [])

    def __post_init__(self) -> None:
        pool = [(s, int(u)) for s, source in enumerate(self.sources) for u in source.usable()]
        if not pool:
            raise ValueError("nothing to train on: no utterance of these corpora is aligned and selected")
        self._pool = np.array(pool, np.int64)
        lengths = [source.corpus.num_samples for source in self.sources]
        self._steps = np.array([frontend.num_steps(int(lengths[s][u])) for s, u in pool])
        self._repeats = np.array([self.sources[s].repeats for s, _ in pool])
        # In single precision: a phase added to a whole number in double precision stays below the next.
        names = [source.corpus.info["corpus"] for source in self.sources]
        phases = [stream("phase", self.seed, n).random(len(x), np.float32) for n, x in zip(names, lengths)]
        self._phases = np.array([phases[s][u] for s, u in pool], np.float64)
        self._starts = [0]

    def _visits(self, epoch: int) -> tuple[Int[np.ndarray, " visits"], Int[np.ndarray, " visits"]]:
        """Places in the pool that an epoch visits, and the number of each visit from the start of training.

        After e epochs an utterance has been visited floor(e repeats + phase) times, its phase in [0, 1) its own.
        """
        before, after = (np.floor(e * self._repeats + self._phases).astype(int) for e in (epoch, epoch + 1))
        counts = after - before
        places = np.repeat(np.arange(len(counts)), counts)
        again = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, before[places] + again

    def _plan(self, epoch: int) -> list[tuple[Piece, ...]]:
        """First-fit packing of a shuffled epoch: a row is closed when ten later pieces did not fit it."""
        places, visits = self._visits(epoch)
        order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(len(places))
        delay, capacity = self.options.output_delay, self.options.steps
        most = self.options.pieces or capacity
        rows: list[list[Piece]] = []
        opened: list[list[int]] = []  # [row, slots used, misses]
        for place, visit in zip(places[order], visits[order]):
            (source, utterance), total = self._pool[place], int(self._steps[place])
            for first, steps in _pieces(total, capacity - delay) if total > 0 else []:
                fit = next((p for p in opened if p[1] + steps + delay <= capacity and len(rows[p[0]]) < most), None)
                for row in opened[: opened.index(fit) if fit else len(opened)]:
                    row[2] += 1
                if fit is None:
                    fit = [len(rows), 0, 0]
                    opened.append(fit)
                    rows.append([])
                rows[fit[0]].append(Piece(int(source), int(utterance), int(visit), first, steps, fit[1]))
                fit[1] += steps + delay
                opened = [row for row in opened if row[2] < 10]
        return [tuple(row) for row in rows]

    def locate(self, row: int) -> tuple[int, tuple[Piece, ...]]:
        """(epoch, pieces) of row number `row`, counted from the start of training."""
        while self._starts[-1] <= row:
            epoch = len(self._starts) - 1
            self._epoch = (epoch, self._plan(epoch))
            self._starts.append(self._starts[-1] + len(self._epoch[1]))
        epoch = bisect.bisect_right(self._starts, row) - 1
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._plan(epoch))
        return epoch, self._epoch[1][row - self._starts[epoch]]

    def rows_in_epoch(self, epoch: int = 0) -> int:
        return len(self._plan(epoch))
