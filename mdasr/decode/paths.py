"""Results from word lattices: the best sequences of words, the confidence in each word, and the fewest errors."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit

from mdasr.decode.lattice import Lattice, best_costs
from mdasr.decode.search import Hypothesis, SearchOptions


class _Step(NamedTuple):
    """The cheapest way to a node by a given sequence of words: its cost, its last arc, and the way before that arc."""

    cost: float
    arc: int
    before: _Step | None


_Reached = dict[int, _Step]
_Arcs = list[list[tuple[int, int, float, int]]]


def nbest(lattice: Lattice, count: int) -> list[Hypothesis]:
    """The `count` likeliest sequences of words, best first, each with the times of its cheapest path.

    Each sequence occurs once, and there are fewer where the lattice has no more. The search is A* over word sequences
    rather than paths: the lattice is made deterministic as far as the search gets (Mohri and Riley, 2002). Raises
    ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError(f"{count} hypotheses; ask for at least 1")
    arcs, (_, onward) = _leaving(lattice), best_costs(lattice)
    end, ties = len(lattice.steps) - 1, itertools.count()
    hypotheses: list[Hypothesis] = []
    heap: list[tuple[float, int, _Reached, _Step | None]] = []

    def push(reached: _Reached) -> None:
        _go_without_words(arcs, reached)
        if end in reached:
            whole = reached.pop(end)
            heapq.heappush(heap, (whole.cost, next(ties), {}, whole))
        if reached:
            estimate = min(step.cost + float(onward[node]) for node, step in reached.items())
            heapq.heappush(heap, (estimate, next(ties), reached, None))

    push({0: _Step(0.0, -1, None)})
    while heap and len(hypotheses) < count:
        _, _, reached, whole = heapq.heappop(heap)
        if whole is not None:
            hypotheses.append(_hypothesis(lattice, whole))
        for following in _by_word(arcs, reached).values():
            push(following)
    return hypotheses


def _leaving(lattice: Lattice) -> _Arcs:
    """The (label, target, cost, number) of the arcs that leave each node."""
    rows = zip(lattice.labels.tolist(), lattice.targets.tolist(), lattice.costs.tolist(), itertools.count())
    table, first = list(rows), lattice.first.tolist()
    return [table[begin:end] for begin, end in itertools.pairwise(first)]


def _go_without_words(arcs: _Arcs, reached: _Reached) -> None:
    """Add the nodes that can be reached from others without a word."""
    waiting = sorted(reached)
    while waiting:
        node = heapq.heappop(waiting)
        for label, target, cost, arc in arcs[node]:
            if not label:
                if target not in reached:
                    heapq.heappush(waiting, target)
                _keep(reached, target, _Step(reached[node].cost + cost, arc, reached[node]))


def _by_word(arcs: _Arcs, reached: _Reached) -> dict[int, _Reached]:
    """The nodes that one more word leads to, for each word."""
    following: dict[int, _Reached] = defaultdict(dict)
    for node, step in reached.items():
        for label, target, cost, arc in arcs[node]:
            if label:
                _keep(following[label], target, _Step(step.cost + cost, arc, step))
    return following


def _keep(reached: _Reached, node: int, step: _Step) -> None:
    """Keep the cheaper of two ways."""
    if node not in reached or step.cost < reached[node].cost:
        reached[node] = step


def _hypothesis(lattice: Lattice, last: _Step) -> Hypothesis:
    """The hypothesis of a way to the end."""
    path: list[int] = []
    step: _Step | None = last
    while step is not None and step.arc >= 0:
        path.append(step.arc)
        step = step.before
    path.reverse()
    spoken = [arc for arc in path if lattice.labels[arc]]
    return Hypothesis(
        words=tuple(lattice.words[lattice.labels[arc] - 1] for arc in spoken),
        starts=tuple(int(lattice.steps[lattice.sources[arc]]) for arc in spoken),
        ends=tuple(int(lattice.ends[arc]) for arc in spoken),
        graph_cost=float(lattice.graph_costs[path].sum()),
        acoustic_cost=float(lattice.acoustic_costs[path].sum()),
        reached_final=lattice.reached_final,
        beam=lattice.beam,
    )


def arc_posteriors(lattice: Lattice, scale: float = 1.0) -> Float[np.ndarray, " arcs"]:
    """The probability of each arc among all paths of the lattice, where a path of cost c has the weight exp(-scale c).

    Everything outside the lattice's beam counts as impossible. A `scale` below 1 makes the result less sure.
    """
    scores, first, targets = -scale * lattice.costs, lattice.first, lattice.targets
    to, onward = np.full(len(lattice.steps), -np.inf), np.full(len(lattice.steps), -np.inf)
    to[0] = onward[-1] = 0.0
    for node in range(len(to)):
        arcs = slice(first[node], first[node + 1])
        np.logaddexp.at(to, targets[arcs], to[node] + scores[arcs])
    for node in range(len(to) - 2, -1, -1):
        arcs = slice(first[node], first[node + 1])
        onward[node] = np.logaddexp.reduce(scores[arcs] + onward[targets[arcs]])
    return np.exp(to[lattice.sources] + scores + onward[targets] - to[-1])


CONFIDENCE_SCALE = 0.5  # at 1, words seem much surer than they are
SUREST = 0.99  # a word may be wrong even where the lattice holds no other one


def shares(lattice: Lattice, hypothesis: Hypothesis, scale: float = CONFIDENCE_SCALE) -> tuple[float, ...]:
    """The share of a lattice's paths, by their probability, that have each word of a hypothesis at its time.

    The posteriors of all arcs with the word are added at each of its steps. The largest sum counts (Wessel et al.,
    2001, the maximum over frames). The share is 0 for a word that the lattice does not have there. Shares rank words by
    how likely they are to be right; as probabilities they may be too high.
    """
    share = arc_posteriors(lattice, scale)
    starts, label = lattice.steps[lattice.sources], {word: i for i, word in enumerate(lattice.words, start=1)}
    results = []
    for word, start, end in zip(hypothesis.words, hypothesis.starts, hypothesis.ends, strict=True):
        same = np.flatnonzero((lattice.labels == label.get(word, -1)) & (starts < end) & (lattice.ends > start))
        change = np.zeros(end - start + 1)
        np.add.at(change, np.maximum(starts[same] - start, 0), share[same])
        np.add.at(change, np.minimum(lattice.ends[same], end) - start, -share[same])
        results.append(float(np.cumsum(change).max().clip(0.0, 1.0)))
    return tuple(results)


def log_odds(share: Float[np.ndarray, " words"]) -> Float[np.ndarray, " words"]:
    """The log odds of shares between 0 and 1, limited to those of `SUREST` on either side."""
    return logit(np.clip(share, 1 - SUREST, SUREST))


def confidences(lattice: Lattice, hypothesis: Hypothesis, options: SearchOptions) -> tuple[float, ...]:
    """The probability that each word of a hypothesis is right, from 0 to 1, as far as `options` are calibrated."""
    return tuple(map(float, calibrated(np.array(shares(lattice, hypothesis), float), options)))


def calibrated(share: Float[np.ndarray, " words"], options: SearchOptions) -> Float[np.ndarray, " words"]:
    """The confidence in words that have these shares of a lattice."""
    return expit(options.confidence_slope * log_odds(share) + options.confidence_offset)


def oracle_errors(lattice: Lattice, reference: Sequence[str]) -> int:
    """The smallest number of word errors between `reference` and any sequence of words in the lattice.

    It is exact: edit distances to all beginnings of the reference are carried along all arcs. Raises TypeError for a
    string that was not split.
    """
    if isinstance(reference, str):
        raise TypeError("oracle_errors compares sequences of words: split the string first")
    wanted, places = np.array(reference, object), np.arange(len(reference) + 1)
    fewest = np.full((len(lattice.steps), len(places)), np.inf)
    fewest[0, 0] = 0
    first = lattice.first
    for node, row in enumerate(fewest):
        row[:] = np.minimum.accumulate(row - places) + places  # words of the reference that are left out
        for arc in range(first[node], first[node + 1]):
            target = fewest[lattice.targets[arc]]
            label = lattice.labels[arc]
            np.minimum(target, row + (label > 0), out=target)
            if label:
                target[1:] = np.minimum(target[1:], row[:-1] + (wanted != lattice.words[label - 1]))
    return int(fewest[-1, -1])
