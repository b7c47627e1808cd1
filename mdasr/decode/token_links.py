"""All paths within a beam of the best one: the links between the tokens of a search.

Tokens are those of Povey et al. (2012, section 3), but only their states and costs are needed here. Links are made from
the end backwards, where it is known which of them lie on a path within the beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from mdasr.decode.tokens import Tokens

MOST_LINKS = (5_000, 60)  # speech has about 10 a step at a lattice beam of 5, and 30 at 8
NARROWEST = 0.01  # the lattice beam is not narrowed below this


@dataclass(frozen=True, eq=False)
class StateLattice:
    """All paths within the beam as links between tokens, which are sorted so that links lead to later ones.

    Token i stands after `steps[i]` steps; token 0 is the start. `final_costs` are the costs to end at a token, infinite
    where no path ends there. `onward_costs` are those of the best path from a token to an end. A link whose `inputs` is
    0 takes no step; `outputs` are word labels, 0 for none.
    """

    steps: Int[np.ndarray, " tokens"]
    final_costs: Float[np.ndarray, " tokens"]
    onward_costs: Float[np.ndarray, " tokens"]
    sources: Int[np.ndarray, " links"]
    targets: Int[np.ndarray, " links"]
    inputs: Int[np.ndarray, " links"]
    outputs: Int[np.ndarray, " links"]
    graph_costs: Float[np.ndarray, " links"]
    acoustic_costs: Float[np.ndarray, " links"]
    reached_final: bool
    beam: float
    lattice_beam: float


def state_lattice(tokens: Tokens, lattice_beam: float) -> StateLattice:
    """Every path between `tokens` that costs at most `lattice_beam` more than the best one.

    Noise would fill the memory, because nothing in it is likelier than anything else. So the lattice beam is narrowed
    until at most `MOST_LINKS` links (a constant, plus a number for each step) are left. Raises ValueError for a beam
    that is not above 0.
    """
    if not lattice_beam > 0:
        raise ValueError(f"the lattice beam is {lattice_beam}; it must be above 0")
    network, emissions, costs, first = tokens.network, tokens.emissions, tokens.costs, tokens.first
    while True:
        betas = tokens.final_costs.copy()
        links, ranks = _backward(network, emissions, tokens.states, costs, first, betas, lattice_beam)
        if len(links) <= MOST_LINKS[0] + MOST_LINKS[1] * len(emissions) or lattice_beam < NARROWEST:
            break
        lattice_beam *= 0.7
    steps = np.repeat(np.arange(len(first) - 1), np.diff(first))
    kept = np.unique(np.concatenate([[0], links[:, 0], links[:, 1]]))
    kept = kept[np.lexsort((ranks[kept], steps[kept]))]
    place = np.full(len(costs), -1)
    place[kept] = np.arange(len(kept))
    source, target, arc = links[np.argsort(place[links[:, 0]], kind="stable")].T
    inputs = network.inputs[arc]
    acoustic, steps_on = np.zeros(len(arc)), inputs > 0
    acoustic[steps_on] = emissions[steps[source[steps_on]], network.outputs[inputs[steps_on]]]
    return StateLattice(
        steps[kept], tokens.final_costs[kept], betas[kept], place[source], place[target], inputs, network.words[arc],
        network.weights[arc].astype(np.float64), acoustic, tokens.reached_final, tokens.beam, float(lattice_beam),
    )  # fmt: skip


# no_type_check: the tests' import hook would wrap these functions, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _backward(network, emissions, states, costs, first, betas, lattice_beam):
    """Links (source, target, arc) on paths within the beam, and each token's rank among those of its step.

    `betas` are the costs to the end: they are given for the last step's tokens, and filled in for all others.
    """
    here, ahead = np.full(len(network.stepping), -1, np.int32), np.full(len(network.stepping), -1, np.int32)
    ranks = np.zeros(len(states), np.int32)
    links, made = np.empty((1024, 3), np.int64), 0
    bound = (costs + betas).min() + lattice_beam
    for t in range(len(emissions), -1, -1):
        begin, end = first[t], first[t + 1]
        emission = emissions[min(t, len(emissions) - 1)]
        for i in range(begin, end):
            here[states[i]] = i
            for a in range(network.stepping[states[i]], network.first[states[i] + 1]):
                if ahead[network.targets[a]] >= 0:
                    cost = network.weights[a] + emission[network.outputs[network.inputs[a]]]
                    betas[i] = min(betas[i], cost + betas[ahead[network.targets[a]]])
        _settle(network, states, costs, begin, end, here, betas, ranks, bound)
        for i in range(begin, end):
            if costs[i] + betas[i] > bound:
                here[states[i]] = -1
                continue
            for a in range(network.first[states[i]], network.first[states[i] + 1]):
                stays = a < network.stepping[states[i]]
                j = (here if stays else ahead)[network.targets[a]]
                if j >= 0:
                    cost = network.weights[a] + (0.0 if stays else emission[network.outputs[network.inputs[a]]])
                    if costs[i] + cost + betas[j] <= bound:
                        if made == len(links):
                            links = np.concatenate((links, links))
                        links[made, 0], links[made, 1], links[made, 2] = i, j, a
                        made += 1
        for i in range(first[t + 1], first[min(t + 2, len(first) - 1)]):
            ahead[states[i]] = -1
        here, ahead = ahead, here
    return links[:made], ranks


@numba.njit(cache=True)
@no_type_check
def _settle(network, states, costs, begin, end, here, betas, ranks, bound):
    """Lower the costs to the end over arcs that take no step; ranks rise along the arcs within `bound`."""
    changed = True
    while changed:
        changed = False
        for i in range(end - 1, begin - 1, -1):
            for a in range(network.first[states[i]], network.stepping[states[i]]):
                j = here[network.targets[a]]
                if j < 0:
                    continue
                if network.weights[a] + betas[j] < betas[i]:
                    betas[i], changed = network.weights[a] + betas[j], True
                if costs[i] + network.weights[a] + betas[j] <= bound and ranks[j] <= ranks[i]:
                    ranks[j], changed = ranks[i] + 1, True
