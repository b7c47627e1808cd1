"""Growth of the tree of CDPhones from aligned speech (§3.5).

Every triphone is represented by a Gaussian with a diagonal covariance. A tree starts with one leaf for each phone. Each
step makes the split, anywhere in the tree, that raises the likelihood of the data most, until there are enough leaves.
This is the method of Young, Odell and Woodland (1994), with the best split first. Frames are read only once: counts,
sums and sums of squares are sufficient.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mdasr.align.tree import Branch, Node, Tree, check_phone_set, membership
from mdasr.core.waveforms import RATE_HZ
from mdasr.frontend import HOP, WINDOW
from mdasr.language.lexicon import SILENCE

VERSION = 1  # raise it with every change after which the same statistics grow another tree
VARIANCE_FLOOR = 0.01  # as a share of the variance of all data: a triphone with a few frames has almost none
COMPACT_AT = 20_000  # the number of segments held before they are added up by triphone

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TriphoneStatistics:
    """The counts, sums and sums of squares of the frames of each observed triphone.

    `triphones` are indices into `phones`: left neighbour, centre, right neighbour. `moments` holds the number of
    frames, then the sum of each feature, then the sum of its squares.
    """

    phones: tuple[str, ...]
    triphones: Int[np.ndarray, "triphones 3"]
    moments: Float[np.ndarray, "triphones moments"]


def frame_ends(ends_s: Sequence[float], num_frames: int) -> Int[np.ndarray, " phones"]:
    """The ends of an alignment's phones in frames of 10 ms: a frame belongs to the phone at its centre."""
    first_after = np.ceil((np.asarray(ends_s) * RATE_HZ - WINDOW // 2) / HOP)
    return np.clip(first_after, 0, num_frames).astype(np.int64)


def accumulate(
    utterances: Iterable[tuple[Sequence[str], Int[np.ndarray, " _"], Float[np.ndarray, "_ dims"]]],
    phones: Sequence[str],
) -> TriphoneStatistics:
    """Add up the statistics of aligned utterances, each given as its phones, their ends in frames and its features.

    Frames after the last end are left out. A phone without a frame counts only as a neighbour. `phones` is the whole
    phone set. Raises ValueError for a phone outside it, and for ends that fall or lie after the features. Raises it,
    too, for features that are not finite, and where there are no aligned frames.
    """
    check_phone_set(phones)
    index = {phone: i for i, phone in enumerate(phones)}
    held: list[TriphoneStatistics] = []
    size = 0
    for number, (names, ends, features) in enumerate(utterances):
        try:
            ids = [index[name] for name in (SILENCE, *names, SILENCE)]
            held.append(TriphoneStatistics(tuple(phones), *_segments(ids, ends, features)))
        except (KeyError, ValueError) as error:
            reason = f"unknown phone {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"utterance {number}: {reason}") from None
        size += len(held[-1].triphones)
        if size >= COMPACT_AT:
            held = [add_up(held)]
            size = 0
    if not any(len(statistics.triphones) for statistics in held):
        raise ValueError("no aligned frames to grow a tree from")
    return add_up(held)


def _segments(
    ids: list[int], ends: Int[np.ndarray, " phones"], features: Float[np.ndarray, "frames dims"]
) -> tuple[Int[np.ndarray, "segments 3"], Float[np.ndarray, "segments moments"]]:
    """The triphone and the moments of every phone that has a frame. `ids` include the silence at both edges."""
    if len(ends) != len(ids) - 2:
        raise ValueError(f"{len(ids) - 2} phones but {len(ends)} ends")
    starts = np.concatenate([[0], ends])[:-1]
    if (ends < starts).any() or (len(ends) and ends[-1] > len(features)):
        raise ValueError(f"ends must rise and lie within the {len(features)} frames")
    full = ends > starts
    triphones = np.stack([ids[:-2], ids[1:-1], ids[2:]], axis=1)[full]
    if not full.any():
        return triphones, np.zeros((0, 1 + 2 * features.shape[1]))
    used = features[: ends[-1]].astype(np.float64)
    if not np.isfinite(used).all():
        raise ValueError("features are not finite")
    sums = np.add.reduceat(np.concatenate([used, used**2], axis=1), starts[full])
    return triphones, np.concatenate([(ends - starts)[full, None], sums], axis=1)


def add_up(parts: Sequence[TriphoneStatistics]) -> TriphoneStatistics:
    """Add up the statistics of all parts. Raises ValueError where their phone sets differ."""
    phones = parts[0].phones
    if any(part.phones != phones for part in parts):
        raise ValueError("statistics over different phone sets cannot be added up")
    triphones = np.concatenate([part.triphones for part in parts])
    moments = np.concatenate([part.moments for part in parts])
    codes = np.ravel_multi_index(tuple(triphones.T), (len(phones),) * 3)
    order = np.argsort(codes, kind="stable")
    seen, first = np.unique(codes[order], return_index=True)
    sums = np.add.reduceat(moments[order], first) if len(first) else moments
    return TriphoneStatistics(phones, np.stack(np.unravel_index(seen, (len(phones),) * 3), axis=1), sums)


def grow(
    statistics: TriphoneStatistics,
    num_leaves: int,
    min_count: float = 100.0,
    questions: Sequence[Sequence[str]] | None = None,
) -> Tree:
    """Grow a tree of `num_leaves` leaves. Each has at least `min_count` frames, unless its whole phone has fewer.

    If `min_count` and the questions allow no further split, the tree has fewer leaves, and a warning is logged.
    `questions` are sets of phones; by default they are derived from the data. Raises ValueError for fewer leaves than
    phones, or a question with an unknown phone.
    """
    if num_leaves < len(statistics.phones):
        raise ValueError(f"{num_leaves} leaves for {len(statistics.phones)} phones: each needs at least one")
    used = tuple(map(tuple, derive_questions(statistics) if questions is None else questions))
    moments, floor = _centred(statistics.moments)
    search = _Search(statistics.triphones, moments, floor, membership(used, statistics.phones), min_count)
    rows = [np.flatnonzero(statistics.triphones[:, 1] == i) for i in range(len(statistics.phones))]
    splits: dict[int, tuple[_Candidate, int, int]] = {}
    queue: list[tuple[float, int, _Candidate]] = []
    for i, phone in enumerate(statistics.phones):
        if phone != SILENCE and (candidate := search.best(rows[i])):
            heapq.heappush(queue, (-candidate.gain, i, candidate))
    while queue and len(statistics.phones) + len(splits) < num_leaves:
        _, parent, split = heapq.heappop(queue)
        splits[parent] = (split, len(rows), len(rows) + 1)
        yes = search.answers(rows[parent], split)
        for child in (rows[parent][yes], rows[parent][~yes]):
            rows.append(child)
            if candidate := search.best(child):
                heapq.heappush(queue, (-candidate.gain, len(rows) - 1, candidate))
    tree = _numbered(statistics.phones, used, splits)
    if tree.num_leaves < num_leaves:
        _log.warning(
            "the tree has %d leaves, not %d: no other split leaves %g frames on both sides",
            *(tree.num_leaves, num_leaves, min_count),
        )
    return tree


@dataclass(frozen=True)
class _Candidate:
    gain: float
    on_right: bool
    question: int


@dataclass(frozen=True, eq=False)
class _Search:
    """The data for the search for a node's best split."""

    triphones: Int[np.ndarray, "triphones 3"]
    moments: Float[np.ndarray, "triphones moments"]
    floor: Float[np.ndarray, " dims"]
    members: Bool[np.ndarray, "questions phones"]
    min_count: float

    def answers(self, rows: Int[np.ndarray, " rows"], split: _Candidate) -> Bool[np.ndarray, " rows"]:
        return self.members[split.question, self.triphones[rows, 2 if split.on_right else 0]]

    def best(self, rows: Int[np.ndarray, " rows"]) -> _Candidate | None:
        """Find the split that raises the likelihood most. Ties go to the left neighbour, and to the first question."""
        total = self.moments[rows].sum(axis=0)
        if total[0] < 2 * self.min_count:
            return None
        before = log_likelihood(total[None], self.floor)
        chosen = None
        for on_right in (False, True):
            neighbours = self.triphones[rows, 2 if on_right else 0]
            member = neighbours == np.arange(self.members.shape[1])[:, None]
            yes = self.members.astype(float) @ (member.astype(float) @ self.moments[rows])
            no = total - yes
            allowed = np.flatnonzero(np.minimum(yes[:, 0], no[:, 0]) >= max(self.min_count, 1))
            if not len(allowed):
                continue
            after = log_likelihood(yes[allowed], self.floor) + log_likelihood(no[allowed], self.floor)
            # Questions that split these rows in the same way differ only by rounding, which must not decide.
            gains = np.round(after - before, 6)
            top = int(gains.argmax())
            if gains[top] > (chosen.gain if chosen else 0):
                chosen = _Candidate(float(gains[top]), on_right, int(allowed[top]))
        return chosen


def _numbered(
    phones: tuple[str, ...],
    questions: tuple[tuple[str, ...], ...],
    splits: dict[int, tuple[_Candidate, int, int]],
) -> Tree:
    """The tree with its leaves numbered from left to right."""
    numbers = itertools.count()

    def node(i: int) -> Node:
        if i not in splits:
            return next(numbers)
        split, yes, no = splits[i]
        return Branch("right" if split.on_right else "left", split.question, node(yes), node(no))

    return Tree(phones, questions, tuple(node(i) for i in range(len(phones))))


def derive_questions(statistics: TriphoneStatistics) -> tuple[tuple[str, ...], ...]:
    """Derive sets of phones that sound alike: each observed phone, and each cluster of the merging.

    The phones' Gaussians are merged in pairs, always the pair that costs the least likelihood. The sets replace the
    classes of a phonetician, for any phone set.
    """
    moments, floor = _centred(statistics.moments)
    size = len(statistics.phones)
    pooled = np.zeros((size, moments.shape[1]))
    np.add.at(pooled, statistics.triphones[:, 1], moments)
    seen = np.flatnonzero(pooled[:, 0] > 0)
    clusters: list[list[int]] = [[int(i)] for i in seen]
    questions = list(clusters)
    pooled = pooled[seen]
    cost = np.full((len(seen), len(seen)), np.inf)
    for i in range(len(seen)):
        cost[i, :i] = _merging_cost(pooled[i], pooled[:i], floor)
    alive = np.ones(len(seen), bool)
    for _ in range(len(seen) - 2):  # the last cluster would hold every phone, and be no question
        i, j = divmod(int(np.round(cost, 6).argmin()), len(seen))
        clusters[i] = sorted(clusters[i] + clusters[j])
        questions.append(clusters[i])
        pooled[i] += pooled[j]
        alive[j] = False
        cost[j, :] = cost[:, j] = np.inf
        renewed = np.where(alive, _merging_cost(pooled[i], pooled, floor), np.inf)
        cost[i, :i], cost[i + 1 :, i] = renewed[:i], renewed[i + 1 :]
    return tuple(tuple(statistics.phones[i] for i in question) for question in questions)


def _merging_cost(
    one: Float[np.ndarray, " moments"],
    others: Float[np.ndarray, "clusters moments"],
    floor: Float[np.ndarray, " dims"],
) -> Float[np.ndarray, " clusters"]:
    apart = log_likelihood(one[None], floor) + log_likelihood(others, floor)
    return apart - log_likelihood(one + others, floor)


def log_likelihood(
    moments: Float[np.ndarray, "sets moments"], floor: Float[np.ndarray, " dims"]
) -> Float[np.ndarray, " sets"]:
    """The log likelihood of sets of frames, each under the diagonal Gaussian fitted to it; 0 for an empty set.

    It is -n/2 sum(log variance), without the terms that are equal for all partitions of the same frames. Variances are
    at least `floor`.
    """
    count = np.maximum(moments[..., :1], 1e-9)
    sums, squares = np.split(moments[..., 1:], 2, axis=-1)
    variance = np.maximum(squares / count - (sums / count) ** 2, floor)
    return -0.5 * moments[..., 0] * np.log(variance).sum(axis=-1)


def _centred(
    moments: Float[np.ndarray, "triphones moments"],
) -> tuple[Float[np.ndarray, "triphones moments"], Float[np.ndarray, " dims"]]:
    """Return moments about the mean of all data, which keeps variances exact, and the floor of variances."""
    counts = moments[:, :1]
    sums, squares = np.split(moments[:, 1:], 2, axis=1)
    mean = sums.sum(axis=0) / counts.sum()
    squares = squares - 2 * mean * sums + counts * mean**2
    floor = VARIANCE_FLOOR * squares.sum(axis=0) / counts.sum()
    # A constant feature carries no information; any floor keeps its logarithm finite.
    return np.concatenate([counts, sums - counts * mean, squares], axis=1), np.where(floor > 0, floor, 1.0)
