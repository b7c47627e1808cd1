"""Rescoring of word lattices: the costs of another n-gram model replace those of the model in the graph."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mdasr.decode.lattice import Lattice, pruned
from mdasr.language.backoff import NGram
from mdasr.language.ngram_arrays import SHIFT
from mdasr.language.vocabulary import BEGIN, END, UNKNOWN

Context = tuple[int, ...]
"""The words that the grammar remembers, as places in the model's list of words."""
State = tuple[tuple[Context, float], ...]
"""Every context that the grammar may be in after the words so far, and its cost above that of the cheapest."""


class GrammarCosts:
    """The costs that G (`decode.grammar`) gives to a word after other words, state by state.

    In G a back-off arc can lead to a word even where the longer n-gram exists, and the cheapest way counts. So costs
    can be a little below -log p. All such ways are followed at once: the sum over a sentence is exactly the cost of its
    cheapest way, for any order.
    """

    def __init__(self, model: NGram) -> None:
        self._model = model
        self._places = {word: i for i, word in enumerate(model.words)}
        self._known: dict[Context, tuple[float, float] | None] = {}
        self._advanced: dict[tuple[State, str], tuple[float, State]] = {}
        self.start: State = ((self._longest((self._places[BEGIN],)), 0.0),)

    def unsayable(self, words: Sequence[str]) -> list[str]:
        """The words that cannot be rescored: those that the model lacks, if it has no <unk> or none of `words`."""
        lacking = [word for word in words if word not in self._places]
        return lacking if UNKNOWN not in self._places or len(lacking) == len(words) else []

    def advance(self, state: State, word: str) -> tuple[float, State]:
        """The cost of a word (or </s>), and the state after it; raises ValueError where the model lacks the word."""
        key = state, word
        if key not in self._advanced:
            self._advanced[key] = self._advance(state, self._place(word))
        return self._advanced[key]

    def _place(self, word: str) -> int:
        place = self._places.get(word, self._places.get(UNKNOWN))
        if place is None:
            raise ValueError(f"the language model to rescore with lacks the word {word!r}, and has no {UNKNOWN}")
        return place

    def _advance(self, state: State, word: int) -> tuple[float, State]:
        reached: dict[Context, float] = {}
        for context, cost in state:
            for shorter, price in self._backed_off(context, cost):
                if ngram := self._ngram((*shorter, word)):
                    after = self._longest((*shorter, word)[1 if len(shorter) + 1 == self._model.order else 0 :])
                    reached[after] = min(reached.get(after, math.inf), price + ngram[0])
        for context, cost in sorted(reached.items(), key=lambda item: -len(item[0])):
            for shorter, price in self._backed_off(context, cost)[1:]:
                if reached.get(shorter, -math.inf) >= price - 1e-9:
                    del reached[shorter]  # backing off later costs no more
        best = min(reached.values())
        return best, tuple(sorted((context, round(cost - best, 9)) for context, cost in reached.items()))

    def _backed_off(self, context: Context, cost: float) -> list[tuple[Context, float]]:
        """A context and all shorter ones, with the cost to reach them."""
        ways = [(context, cost)]
        while context:
            ngram = self._ngram(context)
            cost, context = cost + (ngram[1] if ngram else 0.0), context[1:]
            ways.append((context, cost))
        return ways

    def _longest(self, context: Context) -> Context:
        """The longest end of a context that the model knows."""
        while context and (len(context) >= self._model.order or self._ngram(context) is None):
            context = context[1:]
        return context

    def _ngram(self, words: Context) -> tuple[float, float] | None:
        """The cost and the back-off cost of an n-gram; None where the model does not have it."""
        if words not in self._known:
            place = words[0]
            for level, word in zip(self._model.levels[1:], words[1:]):
                key = (place << SHIFT) | word
                place = bisect_left(level.keys, key)
                if place == len(level.keys) or level.keys[place] != key:
                    self._known[words] = None
                    break
            else:
                level = self._model.levels[len(words) - 1]
                logs = level.log10_probability[place], level.log10_backoff[place]
                self._known[words] = (-math.log(10) * float(logs[0]), -math.log(10) * float(logs[1]))
        return self._known[words]


class _Place(NamedTuple):
    """A node of the old lattice, with the states of both models there."""

    node: int
    old: State
    new: State


def rescore(lattice: Lattice, old: GrammarCosts, new: GrammarCosts, beam: float = math.inf) -> Lattice:
    """Replace the costs of words in `old`, the model that the graph was made with, by those in `new`.

    The other graph costs (pronunciations, silence, penalties) stay. A node is split into one for each history that the
    models tell apart. Paths that cost at most `beam` more than the best one are kept. With an infinite beam the costs
    are those of decoding with a graph made of `new`, as far as the lattice goes. Words that `new` lacks count as its
    <unk>; raises ValueError where it has none.
    """
    end, first = len(lattice.steps) - 1, lattice.first.tolist()
    words = ["", *lattice.words]
    labels, targets, graph_costs, acoustic_costs = (
        column.tolist() for column in (lattice.labels, lattice.targets, lattice.graph_costs, lattice.acoustic_costs)
    )
    places: list[dict[_Place, float]] = [{} for _ in lattice.steps]
    places[0][_Place(0, old.start, new.start)] = 0.0
    arcs: list[tuple[_Place, _Place, int, float]] = []
    for node in range(end):
        highest = min(places[node].values(), default=0.0) + beam
        places[node] = {place: cost for place, cost in places[node].items() if cost <= highest}
        for place, cost in places[node].items():
            for arc in range(first[node], first[node + 1]):
                spoken = [words[labels[arc]]] if labels[arc] else []
                if targets[arc] == end and lattice.reached_final:
                    spoken.append(END)
                change, after = _follow(place, spoken, old, new)
                after = after._replace(node=targets[arc]) if targets[arc] < end else _Place(end, (), ())
                arcs.append((place, after, arc, graph_costs[arc] + change))
                total = cost + graph_costs[arc] + acoustic_costs[arc] + change
                if total < places[targets[arc]].get(after, math.inf):
                    places[targets[arc]][after] = total
    return pruned(_rebuilt(lattice, places, arcs), beam)


def _follow(place: _Place, words: list[str], old: GrammarCosts, new: GrammarCosts) -> tuple[float, _Place]:
    """The cost of words in the new model above that in the old one, and the place after them."""
    change = 0.0
    for word in words:
        (before, old_state), (after, new_state) = old.advance(place.old, word), new.advance(place.new, word)
        change, place = change + after - before, _Place(place.node, old_state, new_state)
    return change, place


def _rebuilt(
    lattice: Lattice, places: list[dict[_Place, float]], arcs: list[tuple[_Place, _Place, int, float]]
) -> Lattice:
    """The expanded lattice as arrays, without arcs to histories that were dropped."""
    number = {place: i for i, place in enumerate(place for level in places for place in level)}
    rows = [(number[a], number[b], arc, cost) for a, b, arc, cost in arcs if b in number]
    sources, targets, origin = (np.array([row[k] for row in rows], np.int64) for k in range(3))
    return replace(
        lattice,
        steps=lattice.steps[[place.node for place in number]],
        sources=sources,
        targets=targets,
        labels=lattice.labels[origin],
        ends=lattice.ends[origin],
        graph_costs=np.array([row[3] for row in rows]),
        acoustic_costs=lattice.acoustic_costs[origin],
    )
