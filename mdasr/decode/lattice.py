"""Word lattices: everything that could have been said within a beam, and the times of words (§3.6)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mdasr.core.waveforms import RATE_HZ
from mdasr.decode.graph import Graph
from mdasr.decode.search import Hypothesis, SearchOptions
from mdasr.decode.token_links import StateLattice, state_lattice
from mdasr.decode.tokens import best_path, pass_tokens
from mdasr.frontend import Subsampling
from mdasr.language.lexicon import SILENCE

LATTICE_BEAM = 6.0  # nats
ROUNDING = 1e-6  # sums in another order differ in their last digits, and the best path must stay


@dataclass(frozen=True, eq=False)
class Lattice:
    """Sequences of words with costs and times: paths from node 0 to the last node, with an arc for each word.

    Nodes are sorted, so that arcs lead to later ones; arcs are sorted by source. Arc i says `words[labels[i] - 1]`;
    label 0 says nothing, as for the silence before the first word. The word lasts from the step of its source,
    `steps[sources[i]]`, to the step `ends[i]`. Then there is silence until the step of its target.

    No two arcs have the same source, target and word. Still, a sequence of words can have several paths, because a word
    may start at several steps. A node also stands for what the graph knows there: the words before, as far as the
    grammar looks back.

    Costs, `beam` and `reached_final` are those of `Hypothesis`. A path costs at most `lattice_beam` more than the best
    one.
    """

    words: tuple[str, ...]
    steps: Int[np.ndarray, " nodes"]
    sources: Int[np.ndarray, " arcs"]
    targets: Int[np.ndarray, " arcs"]
    labels: Int[np.ndarray, " arcs"]
    ends: Int[np.ndarray, " arcs"]
    graph_costs: Float[np.ndarray, " arcs"]
    acoustic_costs: Float[np.ndarray, " arcs"]
    reached_final: bool
    beam: float
    lattice_beam: float

    @property
    def costs(self) -> Float[np.ndarray, " arcs"]:
        return self.graph_costs + self.acoustic_costs

    @property
    def first(self) -> Int[np.ndarray, " bounds"]:
        """The first arc that leaves each node, and one past the last."""
        return np.searchsorted(self.sources, np.arange(len(self.steps) + 1))


def search_lattice(
    graph: Graph,
    scores: Float[np.ndarray, "steps outputs"],
    options: SearchOptions,
    lattice_beam: float = LATTICE_BEAM,
) -> tuple[Hypothesis, Lattice]:
    """The words that `search.decode` finds, and a lattice of everything that `scores` may say at little more cost.

    The lattice holds all paths between the states that the search followed, if they cost at most `lattice_beam` more
    than the cheapest one. The cheapest path may cost less than the words: the search can cut off a path that becomes
    good later. Each sequence of words keeps its cheapest path, and so its exact cost.

    The beam is narrowed where nothing is likelier than anything else, as in noise; `Lattice.lattice_beam` is the beam
    that was used. Raises ValueError as `decode` does, and for a beam that is not above 0.
    """
    tokens = pass_tokens(graph, scores, options)
    states = state_lattice(tokens, lattice_beam)
    lattice = pruned(_assembled(graph, states, _words_of(graph, states)), states.lattice_beam)
    return best_path(graph, tokens), lattice


def best_costs(lattice: Lattice) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """The cost of the best path from the start to each node, and from each node to the end."""
    to, onward = np.full(len(lattice.steps), np.inf), np.full(len(lattice.steps), np.inf)
    to[0] = onward[-1] = 0.0
    costs, first = lattice.costs, lattice.first
    for node in range(len(to)):
        arcs = slice(first[node], first[node + 1])
        np.minimum.at(to, lattice.targets[arcs], to[node] + costs[arcs])
    for node in range(len(to) - 2, -1, -1):
        arcs = slice(first[node], first[node + 1])
        onward[node] = (costs[arcs] + onward[lattice.targets[arcs]]).min(initial=np.inf)
    return to, onward


def pruned(lattice: Lattice, beam: float) -> Lattice:
    """Keep only the arcs on paths that cost at most `beam` more than the best one, with their nodes and words."""
    to, onward = best_costs(lattice)
    kept = to[lattice.sources] + lattice.costs + onward[lattice.targets] <= to[-1] + beam + ROUNDING
    sources, targets, labels = lattice.sources[kept], lattice.targets[kept], lattice.labels[kept]
    nodes = np.unique(np.concatenate([[0, len(to) - 1], sources, targets]))
    used = np.unique(labels[labels > 0])
    return replace(
        lattice,
        words=tuple(lattice.words[label - 1] for label in used),
        steps=lattice.steps[nodes],
        sources=np.searchsorted(nodes, sources),
        targets=np.searchsorted(nodes, targets),
        labels=np.where(labels > 0, np.searchsorted(used, labels) + 1, 0),
        ends=lattice.ends[kept],
        graph_costs=lattice.graph_costs[kept],
        acoustic_costs=lattice.acoustic_costs[kept],
    )


class _Node(NamedTuple):
    """A place where a word may start: a token, with the words named ahead of their start.

    If the link at the start names the last word, the place is that `link`.
    """

    token: int
    ahead: tuple[int, ...] = ()
    link: int = -1


class _Word(NamedTuple):
    """A word in progress: where it started, its label (-1: not named yet), and words named ahead of their start."""

    node: _Node
    label: int
    ahead: tuple[int, ...] = ()


class _Price(NamedTuple):
    """The cost of the best path so far, the last word's part of it, and the step past the last one with speech."""

    total: float
    graph: float
    acoustic: float
    end: int

    def plus(self, graph: float, acoustic: float, end: int) -> _Price:
        return _Price(self.total + graph + acoustic, self.graph + graph, self.acoustic + acoustic, end)


_Arcs = dict[tuple[_Node, _Node, int], _Price]


def _words_of(graph: Graph, states: StateLattice) -> _Arcs:
    """Make word arcs from states: the cheapest way from a word's first step to that of the next word becomes an arc.

    The graph names words earlier or later than it starts them. Both happen in the same order, by which they are
    matched.
    """
    starts = np.array([False, *(label.starts for label in graph.labels)])[states.inputs].tolist()
    speech = np.array([False, *(label.phone != SILENCE for label in graph.labels)])[states.inputs].tolist()
    steps, outputs, targets = states.steps.tolist(), states.outputs.tolist(), states.targets.tolist()
    prices = list(zip(states.graph_costs.tolist(), states.acoustic_costs.tolist(), strict=True))
    first = np.searchsorted(states.sources, np.arange(len(steps) + 1)).tolist()
    highest = (states.onward_costs[0] + states.lattice_beam + ROUNDING - states.onward_costs).tolist()
    waiting: list[dict[_Word, _Price]] = [{} for _ in steps]
    waiting[0][_Word(_Node(-1), 0)] = _Price(0.0, 0.0, 0.0, 0)
    arcs: _Arcs = {}
    for token, everything in enumerate(waiting):
        here = [(word, price) for word, price in everything.items() if price.total <= highest[token]]
        everything.clear()
        for link, (word, price) in itertools.product(range(first[token], first[token + 1]), here):
            if starts[link] or outputs[link]:
                word, closed = _advance(word, _Node(token, link=link), starts[link], outputs[link])
                if closed:
                    _keep(arcs, closed, price)
                    price = _Price(price.total, 0.0, 0.0, steps[token])
            end = steps[token] + 1 if speech[link] else price.end
            _keep(waiting[targets[link]], word, price.plus(*prices[link], end))
        if (final := float(states.final_costs[token])) < np.inf:
            for word, price in here:
                if states.reached_final and (word.label < 0 or word.ahead):
                    raise RuntimeError("a path that ends has words without a name, or without a start")
                closed = (word.node, _Node(len(steps)), max(word.label, 0))
                _keep(arcs, closed, price.plus(final, 0.0, price.end))
    return arcs


def _advance(word: _Word, at: _Node, starts: bool, output: int) -> tuple[_Word, tuple[_Node, _Node, int] | None]:
    """The word after a link that starts or names one, or both, and the arc of the word that ends there, if one does."""
    node, label, ahead = word
    named = output if label < 0 else 0
    if named:
        label = named
    elif output:
        ahead = (*ahead, output)
    if not starts:
        return _Word(node, label, ahead), None
    if label < 0:
        raise RuntimeError("a path starts a word before the last one has a name")
    here = at if named else _Node(at.token, word.ahead)
    return _Word(here, ahead[0] if ahead else -1, ahead[1:]), (node, here, label)


def _keep(prices: dict[Any, _Price], key: Any, price: _Price) -> None:
    """Keep the cheaper of two ways."""
    if key not in prices or price.total < prices[key].total:
        prices[key] = price


def _assembled(graph: Graph, states: StateLattice, arcs: _Arcs) -> Lattice:
    """The arcs as arrays, over all words of the graph."""
    nodes = sorted({node for source, target, _ in arcs for node in (source, target)})
    number = {node: i for i, node in enumerate(nodes)}
    rows = sorted((number[source], number[target], label, price) for (source, target, label), price in arcs.items())
    sources, targets, labels = np.array([row[:3] for row in rows], np.int64).T
    prices = [row[3] for row in rows]
    starts = [0, *states.steps[[node.token for node in nodes[1:-1]]].tolist(), int(states.steps[-1])]
    return Lattice(
        graph.words,
        np.array(starts),
        sources,
        targets,
        labels,
        np.array([price.end for price in prices]),
        np.array([price.graph for price in prices]),
        np.array([price.acoustic for price in prices]),
        states.reached_final,
        states.beam,
        states.lattice_beam,
    )


def word_times(hypothesis: Hypothesis, subsampling: Subsampling) -> list[tuple[str, float, float]]:
    """The (word, start, end) of each word of a hypothesis, in seconds.

    A step covers half of its length on either side of the centre of its label frame.
    """
    centres, half = subsampling.label_centres(max(hypothesis.ends, default=0)), subsampling.step_samples // 2
    first, last = (centres - half) / RATE_HZ, (centres + half) / RATE_HZ
    return [
        (word, float(first[start]), float(last[end - 1]))
        for word, start, end in zip(hypothesis.words, hypothesis.starts, hypothesis.ends)
    ]
