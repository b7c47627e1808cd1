"""A search that takes scores as they arrive, and knows which words can no longer change (§3.6)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mdasr.decode.graph import Graph
from mdasr.decode.search import Hypothesis, SearchOptions, check_scores, decode, widened
from mdasr.decode.tokens import Tokens, advance, best_path, is_lost, network_of, shared_token, start, tokens_of, way_to


class Search:
    """A search that takes scores as they arrive and has the best words so far; at the end, the words of `decode`."""

    def __init__(self, graph: Graph, options: SearchOptions) -> None:
        self._graph, self._options, self._attempt = graph, options, 0
        self._network = network_of(graph, options)
        self._frontier = start(self._network)
        self._scores: list[Float[np.ndarray, "_ outputs"]] = []
        self.steps = 0  # the number of steps so far

    def accept(self, scores: Float[np.ndarray, "_ outputs"]) -> None:
        """Continue the search over the scores of more steps; raises ValueError as `decode` does."""
        if not len(scores):
            return
        check_scores(self._graph, scores)
        self._scores.append(scores)
        self.steps += len(scores)
        self._frontier = advance(self._network, scores, self._frontier, widened(self._options, self._attempt))
        while is_lost(self._frontier) and self._attempt < self._options.retries:
            self._attempt += 1
            wider, whole = widened(self._options, self._attempt), np.concatenate(self._scores)
            self._frontier = advance(self._network, whole, start(self._network), wider)

    def best(self) -> Hypothesis:
        """The likeliest words so far; raises ValueError before the first step, and where no path is left."""
        if not self.steps:
            raise ValueError("no steps to decode yet")
        return best_path(self._graph, self._tokens())

    def settled(self, best: Hypothesis) -> int:
        """The number of words of `best` that have ended and are on every path that the search still follows.

        They never change, unless the search loses every path, or reaches no end of a sentence, and is repeated with a
        wider beam.
        """
        tokens = self._tokens()
        shared = way_to(tokens, shared_token(tokens))
        steps, names = (int((labels[shared] > 0).sum()) for labels in (self._network.inputs, self._network.words))
        return min(names, sum(end < steps for end in best.ends))

    def since(self, step: int) -> Search:
        """A new search over the steps from `step` on that this one has taken."""
        search = Search(self._graph, self._options)
        if step < self.steps:
            search.accept(np.concatenate(self._scores)[step:])
        return search

    def finish(self) -> Hypothesis:
        """The words of all steps; where the search reached no end of a sentence, it is repeated with a wider beam."""
        if self.steps and (best := self.best()).reached_final:
            return best
        scores = np.concatenate(self._scores or [np.empty((0, self._graph.num_outputs))])
        return decode(self._graph, scores, self._options)

    def _tokens(self) -> Tokens:
        no_scores = np.empty((0, self._graph.num_outputs))  # lattices alone need them
        return tokens_of(self._network, no_scores, self._frontier, widened(self._options, self._attempt))
