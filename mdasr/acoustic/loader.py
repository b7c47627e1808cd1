"""From records to batches (§3.7, Fig. 1): records -> recipes -> features and labels -> rows of fixed length.

A row packs utterances one after another. The seed and the row number r alone decide which utterances row r holds and
how each is distorted. Workers, devices and hosts have no influence, and the iterator's whole state is one row number.
A worker makes the same lanes of every batch (`row_schedule`), so that it distorts a long utterance once.
"""

from __future__ import annotations

import math
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

import grain.python as grain
import numpy as np
from absl import flags
from jaxtyping import Float, Int

from mdasr import frontend
from mdasr.acoustic.row_schedule import Piece, RowOptions, RowPlan, Source
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Alignment, Utterance
from mdasr.frontend import Subsampling
from mdasr.language.lexicon import SILENCE
from mdasr.perturb import Policy, Recipe, draw, draw_noise_alone, eased, perturb, random_stream
from mdasr.perturb.masks import masked
from mdasr.perturb.packed import ON_HOST, Shapes, needs_host, pack
from mdasr.perturb.room import Sounds
from mdasr.perturb.speed import num_samples_at

Batch = dict[str, np.ndarray]
MOST_KEPT = 1 << 20  # frames (2.9 hours; 0.5 GB of log-mel) that a maker of rows keeps for later rows


@runtime_checkable
class PhoneTree(Protocol):
    """The part of a state-tying tree (`mdasr.align.tree.Tree`) that labels need."""

    def leaves(self, phones: Sequence[str]) -> Int[np.ndarray, " phones"]: ...


def step_labels(
    alignment: Alignment, tree: PhoneTree, steps: int, subsampling: Subsampling, speed: float = 1.0
) -> Int[np.ndarray, " steps"]:
    """The CDPhone of every step: the phone at the centre of the step's label frame, in its context.

    The speech is played at `speed`, which divides the alignment's times. Steps past the last phone are silence.
    """
    leaves = tree.leaves((*alignment.phones, SILENCE))
    ends = np.asarray(alignment.ends_s) * RATE_HZ / speed
    return leaves[np.searchsorted(ends, subsampling.label_centres(steps), side="right")]


def frames_heard(
    wave: Float[np.ndarray, " samples"], recipe: Recipe, features: str, floor: float
) -> Float[np.ndarray, "frames width"]:
    """Make features of a perturbed wave, with the rest of its recipe: the warp and the masks."""
    mel = masked(frontend.log_mel(wave, recipe.warp, floor), recipe.time_masks, recipe.band_masks)
    return frontend.frames_of(mel, features)


@runtime_checkable
class MakesRows(Protocol):
    """The rows that training reads: a `grain.MapTransform` from a row number to arrays of `options.steps`."""

    options: RowOptions

    def map(self, row: int) -> Batch: ...


@dataclass
class Kept:
    """The frames of visits that later rows show, for a maker that makes rows in rising order.

    In any other order, and beyond `MOST_KEPT` frames, they are made again.
    """

    row: int = -1
    frames: dict[tuple[int, int, int], tuple[int, np.ndarray]] = field(default_factory=dict)

    def forward(self, row: int) -> None:
        """Forget the frames that `row` and later rows do not need."""
        held = list(self.frames.items()) if row >= self.row else []
        self.row, self.frames = row, {visit: kept for visit, kept in held if kept[0] >= row}

    def frames_of(self, piece: Piece, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The frames of a piece's visit, made only if they are not here."""
        visit = piece.source, piece.utterance, piece.visit
        if found := self.frames.get(visit):
            return found[1]
        frames = make()
        if piece.until > self.row and sum(len(kept) for _, kept in [*self.frames.values()]) + len(frames) <= MOST_KEPT:
            self.frames[visit] = piece.until, frames
        return frames


@dataclass
class RowMaker(grain.MapTransform):
    """Make a row from its number: frames of features, the places of utterances, and labels.

    It runs in a loader's worker process, without jax.
    """

    sources: Sequence[Source]
    tree: PhoneTree
    features: str
    stats: frontend.FeatureStats
    noises: Sounds
    options: RowOptions
    seed: int
    measured: Sounds = field(default_factory=dict)  # room responses, for policies that use some

    def __post_init__(self) -> None:
        self._plan = RowPlan(self.sources, self.options, self.seed)
        self._alignments = [source.corpus.alignments(source.alignment) for source in self.sources]
        self._kept = Kept()

    def map(self, row: int) -> Batch:
        """The row's features, `frames` [frames, width], and its `targets`."""
        frames = np.zeros((self.options.frames, frontend.feature_kind(self.features).width), np.float32)
        self._kept.forward(int(row))
        for piece in self._plan.locate(int(row))[1]:
            features = self._kept.frames_of(piece, partial(self._features_of, piece))
            first, place = self.options.subsampling.stride * piece.first, self._place(piece)
            frames[place] = features[first : first + place.stop - place.start]
        return {"frames": frames, **self.targets(row)}

    def _features_of(self, piece: Piece) -> Float[np.ndarray, "frames width"]:
        return self.features_of(piece.source, piece.utterance, piece.visit, piece.since)

    def _place(self, piece: Piece) -> slice:
        """The frames of a row that a piece takes."""
        first = self.options.subsampling.stride * piece.slot
        return slice(first, first + self.options.subsampling.num_frames(piece.steps))

    def targets(self, row: int) -> Batch:
        """Everything in a row but its frames: the utterance of each frame, and the labels of the steps.

        - `segments` [frames] numbers the pieces of utterances from 1; 0 is no utterance.
        - `labels` [steps] are CDPhones, and `weights` [steps] is 1 where a label counts.
        - `forget` [steps], if the options ask for it, is true where the network forgets its state.
        - `domain` and `told`, if the options name domains: see `domains`.
        """
        steps, delay = self.options.steps, self.options.output_delay
        labels, weights = np.zeros(steps, np.int32), np.zeros(steps, np.float32)
        segments = np.zeros(self.options.frames, np.int32)
        for number, piece in enumerate(self._plan.locate(int(row))[1], start=1):
            answers = slice(piece.slot + delay, piece.slot + delay + piece.steps)
            whole = self.labels(piece.source, piece.utterance, piece.visit, piece.since)
            labels[answers] = whole[piece.first : piece.first + piece.steps]
            weights[answers] = 1
            segments[self._place(piece)] = number
        targets = {"segments": segments, "labels": labels, "weights": weights, **self.domains(row)}
        if self.options.forget_steps:
            moments = random_stream("forget", self.seed, int(row)).random(steps) < 1 / self.options.forget_steps
            # Answers that are still due for steps before such a moment are lost: the network has forgotten them.
            lost = np.convolve(moments, np.ones(delay))[:steps] > 0 if delay else np.zeros(steps, bool)
            weights[lost] = 0
            targets["forget"] = moments
        return targets

    def domains(self, row: int) -> Batch:
        """The `domain` of every step of a row, and the one that the network is `told`; numbered from 1, 0 is none.

        Empty where the options name no domains.
        """
        if not self.options.domains:
            return {}
        domain, told = np.zeros(self.options.steps, np.int32), np.zeros(self.options.steps, np.int32)
        for piece in self._plan.locate(int(row))[1]:
            corpus = self.sources[piece.source].corpus
            part = slice(piece.slot, piece.slot + piece.steps + self.options.output_delay)
            domain[part] = 1 + self.options.domains.index(corpus.domain)
            chance = random_stream("told", self.seed, corpus.info["corpus"], piece.utterance, piece.visit).random()
            told[part] = domain[part] if chance >= self.options.untold_share else 0
        return {"domain": domain, "told": told}

    def policy(self, source: int, since: int | float) -> Policy:
        """The policy of a source for visits that begin in row `since`, counted from the start of training."""
        policy = eased(self.sources[source].policy, self.options.strength(since))
        return policy if since >= self.options.speech_rows else replace(policy, noise_alone_probability=0.0)

    def recipe(self, source: int, spoken: Utterance, visit: int, since: int | float, speed: float = 1.0) -> Recipe:
        return draw(self.policy(source, since), self.seed, spoken.key, visit, speed)

    def features_of(
        self, source: int, utterance: int, visit: int, since: int | float = math.inf
    ) -> Float[np.ndarray, "frames width"]:
        """Normalised frames of one utterance, distorted as on this visit, which begins in row `since`."""
        spoken = self.sources[source].corpus[utterance]
        recipe = self.recipe(source, spoken, visit, since, self._plan.speed(source, utterance, visit))
        wave = perturb(spoken.samples, recipe, self.noises, self.measured)
        return frontend.normalize(frames_heard(wave, recipe, self.features, self.stats.floor), self.stats)

    def labels(
        self, source: int, utterance: int, visit: int, since: int | float = math.inf
    ) -> Int[np.ndarray, " steps"]:
        """The labels of one visit: from the alignment of the undistorted speech, or silence for noise alone."""
        corpus, policy, subsampling = self.sources[source].corpus, self.policy(source, since), self.options.subsampling
        alignment, speed = self._alignments[source][utterance], self._plan.speed(source, utterance, visit)
        if draw_noise_alone(policy, self.seed, f"{corpus.info['corpus']}/{alignment.id}", visit):
            alignment = Alignment(alignment.id, (), (), ())
        steps = subsampling.steps_in(int(num_samples_at(corpus.num_samples[utterance], speed)))
        return step_labels(alignment, self.tree, steps, subsampling, speed)


@dataclass
class PackedRowMaker(RowMaker):
    """Rows of waves and recipes instead of features, which `acoustic.accelerated` computes from them.

    Raises ValueError for policies that need the host (`packed.needs_host`), and for utterances longer than a row.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.options.pieces:
            raise ValueError("rows of packed waves need a limit on the number of utterances: set RowOptions.pieces")
        for source in self.sources:
            if needs_host(source.policy):
                raise ValueError(f"features on the accelerator: {ON_HOST} need features made on the host")
            usable = source.usable()
            longest = int(source.corpus.num_samples[usable].max()) if len(usable) else 0
            if self.options.subsampling.steps_in(longest) > self.options.steps - self.options.gap:
                raise ValueError(
                    f"features on the accelerator: {source.corpus.info['corpus']} has an utterance of "
                    f"{longest / RATE_HZ:.1f} s, which is longer than a row; set row_steps higher"
                )
        ranges = [source.policy.rooms for source in self.sources]
        if any(rooms != ranges[0] for rooms in ranges):
            raise ValueError("features on the accelerator: all corpora need the same ranges of rooms")
        samples = self.options.subsampling.step_samples * (self.options.steps + 1) + frontend.WINDOW
        self.shapes = Shapes.of(samples, ranges[0])

    def map(self, row: int) -> Batch:
        """The row's `targets`, the fields of `Packed` for its utterances, and `slots`, the steps where they begin."""
        pieces = self._plan.locate(int(row))[1]
        spoken = [self.sources[piece.source].corpus[piece.utterance] for piece in pieces]
        recipes = [self.recipe(p.source, u, p.visit, p.since) for p, u in zip(pieces, spoken)]
        empty = self.options.pieces - len(pieces)
        waves = [u.wave for u in spoken] + [np.zeros(0, np.int16)] * empty
        packed = pack(waves, recipes + [Recipe()] * empty, self.noises, self.shapes)
        slots = np.array([piece.slot for piece in pieces] + [0] * empty, np.int32)
        return {**packed._asdict(), "slots": slots, **self.targets(row)}


def measure_stats(
    sources: Sequence[Source],
    features: str,
    noises: Sounds,
    seed: int,
    measured: Sounds | None = None,
    limit: int = 400,
) -> frontend.FeatureStats:
    """Global mean and variance (§3.4) over at most `limit` utterances of the pool, distorted as in training."""
    pool = [(source, int(u)) for source in sources for u in source.usable()]
    order = np.random.Generator(np.random.Philox(key=[seed, 2**32])).permutation(len(pool))[:limit]

    def frames() -> Iterator[Float[np.ndarray, "frames width"]]:
        for source, u in (pool[i] for i in order):
            spoken = source.corpus[u]
            recipe = draw(source.policy, seed, spoken.key, 0)
            yield frames_heard(perturb(spoken.samples, recipe, noises, measured), recipe, features, frontend.FLOOR)

    return frontend.feature_stats(frames())


@dataclass(frozen=True)
class Share:
    """The rows of each global batch that this host reads: rows [first, first + count) of `batch`."""

    batch: int
    first: int
    count: int

    def rows(self, step: int) -> range:
        begin = step * self.batch + self.first
        return range(begin, begin + self.count)


@dataclass
class PartMaker(grain.MapTransform):
    """Make one of the `parts` of a host's share of a batch; part p of step s has the number s `parts` + p."""

    maker: MakesRows
    share: Share
    parts: int

    def map(self, number: int) -> Batch:
        step, part = divmod(int(number), self.parts)
        first, end = (each * self.share.count // self.parts for each in (part, part + 1))
        rows = [self.maker.map(row) for row in self.share.rows(step)[first:end]]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _outlive_sigterm(_worker: int, _workers: int) -> None:
    """Ignore SIGTERM, which a cluster sends to every process: the training process still has to save.

    It ends its workers after that.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _allow_open_files() -> None:
    """Raise the limit on open files: every array of a waiting part of a batch is a file in shared memory."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Batches(Iterator[Batch]):
    """Batches from step `start` to step `stop`, made ahead by worker processes; `waited_s` is the time spent waiting.

    Each worker makes the same part of every batch. Where there are more workers than rows in this host's share, they
    take turns, and each of them distorts a long utterance for itself. With 0 `workers`, a thread of this process makes
    the rows. Two batches are made ahead, for any number of workers.
    """

    def __init__(self, maker: MakesRows, share: Share, start: int, stop: int, workers: int):
        self._parts = min(max(1, workers), share.count)
        numbers = grain.MapDataset.range(start * self._parts, stop * self._parts)
        # One thread, because only rows in rising order are made without doing anything twice.
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        dataset = numbers.map(PartMaker(maker, share, self._parts)).to_iter_dataset(options)
        if workers:
            _allow_open_files()
            # Grain's workers read absl's flags, which no one has parsed in a notebook or under pytest.
            flags.FLAGS.mark_as_parsed()
            ahead = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
            dataset = dataset.mp_prefetch(ahead, _outlive_sigterm)
        self._iterator = iter(dataset)
        self.waited_s = 0.0

    def __next__(self) -> Batch:
        began = time.perf_counter()
        parts = [next(self._iterator) for _ in range(self._parts)]
        batch = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self.waited_s += time.perf_counter() - began
        return batch

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close:
            close()
