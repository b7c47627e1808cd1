"""From records to batches (§3.7, Fig. 1): records -> recipes -> features and labels -> rows of fixed length.

A row packs utterances one after another. Which utterances stand in row r, and how each is distorted, is a function of
the seed and r alone: neither workers, devices nor hosts enter it, and the iterator's whole state is one row number.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import grain.python as grain
import numpy as np
from absl import flags
from jaxtyping import Float, Int

from mdasr import frontend
from mdasr.data.records import Alignment, Corpus, Utterance
from mdasr.language.lexicon import SILENCE
from mdasr.perturb import Policy, Recipe, draw, perturb, stream
from mdasr.perturb.packed import Shapes, pack
from mdasr.perturb.room import Sounds
from mdasr.spec import RATE_HZ

Batch = dict[str, np.ndarray]


@runtime_checkable
class PhoneTree(Protocol):
    """What labels need of a state-tying tree (`mdasr.acoustic.tying.Tree`)."""

    def leaves(self, phones: Sequence[str]) -> Int[np.ndarray, " phones"]: ...


@dataclass(frozen=True)
class Source:
    """One corpus of the training pool: its shards, the name of its alignment, and what may happen to its utterances."""

    corpus: Corpus
    alignment: str
    policy: Policy
    indices: tuple[int, ...] | None = None  # a subset of the utterances; None is all that were aligned

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


@dataclass(frozen=True)
class RowOptions:
    """The shape of a row: its steps (30 ms each) and by how many the network's output lags its input.

    `forget_steps` makes the network forget what it heard at random moments, on average that many steps apart, so that
    it does not learn the few sentences of a small corpus by heart; 0 leaves its state alone. `pieces` is the most
    utterances that a row may hold; 0 sets no bound.
    """

    steps: int
    output_delay: int = 0
    forget_steps: int = 0
    pieces: int = 0

    def __post_init__(self) -> None:
        if self.output_delay < 0 or self.steps <= self.output_delay:
            raise ValueError(f"rows of {self.steps} steps cannot hold an output delay of {self.output_delay}")
        if self.forget_steps < 0:
            raise ValueError(f"forget_steps is {self.forget_steps}; it must be 0 (never) or a number of steps")


@dataclass(frozen=True)
class Piece:
    """Steps [first, first + steps) of an utterance, and the slot of the row at which they begin."""

    source: int
    utterance: int
    first: int
    steps: int
    slot: int


def step_labels(alignment: Alignment, tree: PhoneTree, steps: int) -> Int[np.ndarray, " steps"]:
    """CDPhone of every step: the phone at the centre of the step's label frame, in its context.

    What lies past the last phone is silence.
    """
    leaves = tree.leaves((*alignment.phones, SILENCE))
    ends = np.asarray(alignment.ends_s) * RATE_HZ
    return leaves[np.searchsorted(ends, frontend.step_centres(steps), side="right")]


def _pieces(num_steps: int, room: int) -> list[tuple[int, int]]:
    """Cut an utterance longer than a row into nearly equal parts (first, steps)."""
    edges = np.linspace(0, num_steps, -(-num_steps // room) + 1).astype(int)
    return [(int(a), int(b - a)) for a, b in itertools.pairwise(edges)]


@dataclass
class RowPlan:
    """Which pieces stand in which row, epoch after epoch (an epoch shows every utterance once: a visit)."""

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
        self._starts = [0]

    def _plan(self, epoch: int) -> list[tuple[Piece, ...]]:
        """First-fit packing of a shuffled epoch: a row is closed when ten later pieces did not fit it."""
        order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(len(self._pool))
        delay, capacity = self.options.output_delay, self.options.steps
        most = self.options.pieces or capacity
        rows: list[list[Piece]] = []
        opened: list[list[int]] = []  # [row, slots used, misses]
        for i in order:
            (source, utterance), total = self._pool[i], int(self._steps[i])
            for first, steps in _pieces(total, capacity - delay) if total > 0 else []:
                place = next((p for p in opened if p[1] + steps + delay <= capacity and len(rows[p[0]]) < most), None)
                for row in opened[: opened.index(place) if place else len(opened)]:
                    row[2] += 1
                if place is None:
                    place = [len(rows), 0, 0]
                    opened.append(place)
                    rows.append([])
                rows[place[0]].append(Piece(int(source), int(utterance), first, steps, place[1]))
                place[1] += steps + delay
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


@runtime_checkable
class MakesRows(Protocol):
    """What training asks for rows: a `grain.MapTransform` from row number to arrays of `options.steps`."""

    options: RowOptions

    def map(self, row: int) -> Batch: ...


@dataclass
class RowMaker(grain.MapTransform):
    """Row number -> features, labels, weights and keep flags; runs in a loader's worker, without jax."""

    sources: Sequence[Source]
    tree: PhoneTree
    stats: frontend.FeatureStats
    noises: Sounds
    options: RowOptions
    seed: int
    measured: Sounds = field(default_factory=dict)  # room responses, where policies name some

    def __post_init__(self) -> None:
        self._plan = RowPlan(self.sources, self.options, self.seed)
        self._alignments = [source.corpus.alignments(source.alignment) for source in self.sources]

    def map(self, row: int) -> Batch:
        """Arrays of `options.steps`: features [steps, 512], labels, weights (1 where a label counts), keep."""
        features = np.zeros((self.options.steps, frontend.STACK * frontend.BANDS), np.float32)
        visit, pieces = self._plan.locate(int(row))
        for piece in pieces:
            x = self.features(piece.source, piece.utterance, visit)
            features[piece.slot : piece.slot + piece.steps] = x[piece.first : piece.first + piece.steps]
        return {"features": features, **self.targets(row)}

    def targets(self, row: int) -> Batch:
        """A row's labels, weights and keep, without its features."""
        steps, delay = self.options.steps, self.options.output_delay
        labels, weights = np.zeros(steps, np.int32), np.zeros(steps, np.float32)
        keep = np.ones(steps, np.float32)
        for piece in self._plan.locate(int(row))[1]:
            y = self.labels(piece.source, piece.utterance)
            part, slot = slice(piece.first, piece.first + piece.steps), piece.slot
            labels[slot + delay : slot + delay + piece.steps] = y[part]
            weights[slot + delay : slot + delay + piece.steps] = 1
            keep[slot] = 0
        if self.options.forget_steps:
            moments = stream("forget", self.seed, int(row)).random(steps) < 1 / self.options.forget_steps
            keep[moments] = 0
            # What lies before such a moment and was still to be answered has been forgotten with it.
            lost = np.convolve(moments, np.ones(delay))[:steps] > 0 if delay else np.zeros(steps, bool)
            weights[lost] = 0
        return {"labels": labels, "weights": weights, "keep": keep}

    def features(self, source: int, utterance: int, visit: int) -> Float[np.ndarray, "steps 512"]:
        """Features of one utterance as distorted on this visit."""
        spoken = self.sources[source].corpus[utterance]
        recipe = draw(self.sources[source].policy, self.seed, spoken.key, visit)
        wave = perturb(spoken.samples, recipe, self.noises, self.measured)
        return frontend.stack(frontend.normalize(frontend.log_mel(wave, recipe.warp), self.stats))

    def labels(self, source: int, utterance: int) -> Int[np.ndarray, " steps"]:
        """Labels of one utterance, from its undistorted alignment."""
        steps = frontend.num_steps(int(self.sources[source].corpus.num_samples[utterance]))
        return step_labels(self._alignments[source][utterance], self.tree, steps)


@dataclass
class PackedRowMaker(RowMaker):
    """The same rows with waves and recipes in the place of features, for `mdasr.accelerated` to distort and transform.

    ValueError for policies with codecs, warps or measured rooms, and for utterances longer than a row.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.options.pieces:
            raise ValueError("rows of packed waves need a bound: set RowOptions.pieces")
        for source in self.sources:
            policy = source.policy
            if policy.codecs != (None,) or policy.warp != (1.0, 1.0) or policy.measured:
                raise ValueError("features on the accelerator: codecs, warps and measured rooms need the host's")
            usable = source.usable()
            longest = int(source.corpus.num_samples[usable].max()) if len(usable) else 0
            if frontend.num_steps(longest) > self.options.steps - self.options.output_delay:
                raise ValueError(
                    f"features on the accelerator: {source.corpus.info['corpus']} has an utterance of "
                    f"{longest / RATE_HZ:.1f} s, which is longer than a row; set row_steps higher"
                )
        ranges = [source.policy.rooms for source in self.sources]
        if any(each != ranges[0] for each in ranges):
            raise ValueError("features on the accelerator: all corpora need the same ranges of rooms")
        samples = frontend.HOP * frontend.STRIDE * (self.options.steps + 1) + frontend.WINDOW
        self.shapes = Shapes.of(samples, ranges[0])

    def map(self, row: int) -> Batch:
        """Labels, weights and keep of a row; the fields of `Packed` for its utterances, and the slots they begin at."""
        visit, pieces = self._plan.locate(int(row))
        spoken = [self.sources[piece.source].corpus[piece.utterance] for piece in pieces]
        recipes = [draw(self.sources[p.source].policy, self.seed, u.key, visit) for p, u in zip(pieces, spoken)]
        empty = self.options.pieces - len(pieces)
        waves = [u.wave for u in spoken] + [np.zeros(0, np.int16)] * empty
        packed = pack(waves, recipes + [Recipe()] * empty, self.noises, self.shapes)
        slots = np.array([piece.slot for piece in pieces] + [0] * empty, np.int32)
        return {**packed._asdict(), "slots": slots, **self.targets(row)}


def measure_stats(
    sources: Sequence[Source], noises: Sounds, seed: int, measured: Sounds | None = None, limit: int = 400
) -> frontend.FeatureStats:
    """Global mean and variance (§3.4) over at most `limit` utterances of the pool, distorted as in training."""
    pool = [(source, int(u)) for source in sources for u in source.usable()]
    order = np.random.Generator(np.random.Philox(key=[seed, 2**32])).permutation(len(pool))[:limit]

    def features() -> Iterator[Float[np.ndarray, "frames 128"]]:
        for source, u in (pool[i] for i in order):
            spoken = source.corpus[u]
            recipe = draw(source.policy, seed, spoken.key, 0)
            yield frontend.log_mel(perturb(spoken.samples, recipe, noises, measured))

    return frontend.feature_stats(features())


@dataclass(frozen=True)
class Share:
    """Which rows of each global batch this host reads: rows [first, first + count) of `batch`."""

    batch: int
    first: int
    count: int

    def row(self, local: int) -> int:
        return local // self.count * self.batch + self.first + local % self.count


def _outlive_sigterm(_worker: int, _workers: int) -> None:
    """A cluster sends SIGTERM to every process; the one that trains has yet to save, and kills its workers then."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Batches(Iterator[Batch]):
    """Batches from step `start` to step `stop`, made ahead by worker processes; counts the time spent waiting for them.

    `workers` 0 makes the rows in threads of this process.
    """

    def __init__(self, maker: MakesRows, share: Share, start: int, stop: int, workers: int):
        rows = grain.MapDataset.range(start * share.count, stop * share.count).map(share.row).map(maker)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2 * share.count)
        dataset = rows.to_iter_dataset(options)
        if workers:
            # Grain's workers read absl's flags, which no one has parsed in a notebook or under pytest.
            flags.FLAGS.mark_as_parsed()
            ahead = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2 * share.count)
            dataset = dataset.mp_prefetch(ahead, _outlive_sigterm)
        self._iterator = iter(dataset.batch(share.count))
        self.waited_s = 0.0

    def __next__(self) -> Batch:
        began = time.perf_counter()
        batch = next(self._iterator)
        self.waited_s += time.perf_counter() - began
        return batch

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close:
            close()
