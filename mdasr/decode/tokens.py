"""Token passing that keeps every path within a beam of the best one, not the best one alone.

kaldi-decoder's only lattice decoder follows as many states as the beam lets in, which on a large graph and bad speech
is without bound. This one has `max_active`, as `search.decode` has, and hands over arrays. Of the tokens of Povey et
al. (2012, section 3) only state and cost are kept; links are found again on the way back, where it is known which of
them lie on a path within the beam.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Float32, Int

from mdasr.decode.graph import Graph
from mdasr.decode.search import SearchOptions, check_scores

_HEADER = np.dtype(
    [
        ("magic", "<i4"), ("kind_length", "<i4"), ("kind", "S5"), ("arc_length", "<i4"), ("arc", "S8"),
        ("version", "<i4"), ("flags", "<i4"), ("properties", "<u8"), ("start", "<i8"), ("states", "<i8"),
        ("arcs", "<i8"),
    ]
)  # fmt: skip
_STATE = np.dtype([("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("inputs", "<u4"), ("outputs", "<u4")])
_ARC = np.dtype([("input", "<i4"), ("output", "<i4"), ("weight", "<f4"), ("target", "<i4")])

MOST_LINKS = (5_000, 60)  # speech has some 10 a step at a lattice beam of 5, and 30 at 8
NARROWEST = 0.01  # a lattice beam that is not narrowed further


@dataclass(frozen=True, eq=False)
class StateLattice:
    """All paths within the beam as links between tokens, which are sorted so that links lead to later ones.

    Token i stands after `steps[i]` steps; token 0 is the start. `final_costs` are what it costs to end there, infinite
    where no path does, and `onward_costs` the cost of the best path from there to an end. A link whose `inputs` is 0
    takes no step; `outputs` are word labels, 0 for none.
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


class _Network(NamedTuple):
    """The graph as arrays: arcs by state, those without a step first; the output that scores each input label."""

    first: Int[np.ndarray, " bounds"]
    stepping: Int[np.ndarray, " states"]
    inputs: Int[np.ndarray, " arcs"]
    weights: Float32[np.ndarray, " arcs"]
    targets: Int[np.ndarray, " arcs"]
    outputs: Int[np.ndarray, " labels"]
    final: Float[np.ndarray, " states"]


def state_lattice(
    graph: Graph, scores: Float[np.ndarray, "steps outputs"], options: SearchOptions, lattice_beam: float
) -> StateLattice:
    """Every path that the search of `options` follows and that costs at most `lattice_beam` more than the best.

    The search is repeated as in `search.decode` where no end of a sentence is found; where there is none even then,
    paths may end anywhere. Noise, of which nothing is more likely than anything else, would fill the memory, so the
    lattice beam is narrowed until at most `MOST_LINKS` (a constant, and so many a step) are left. Raises ValueError as
    `decode` does, and for a `lattice_beam` that is not above 0.
    """
    if not lattice_beam > 0:
        raise ValueError(f"the lattice beam is {lattice_beam}; it must be above 0")
    check_scores(graph, scores)
    network, words = _network(graph, options.insertion_penalty)
    emissions = np.ascontiguousarray(scores * np.float32(-options.acoustic_scale), np.float32)
    for attempt in range(options.retries + 1):
        beam, max_active = options.beam * 2**attempt, options.max_active * 2**attempt
        states, costs, first = _forward(network, emissions, beam, max_active, options.min_active)
        ends = network.final[states[first[-2] :]]
        if reached := bool(np.isfinite(ends).any()):
            break
    final_costs = np.full(len(states), np.inf)
    final_costs[first[-2] :] = ends if reached else 0.0
    while True:
        betas = final_costs.copy()
        links, ranks = _backward(network, emissions, states, costs, first, betas, lattice_beam)
        if len(links) <= MOST_LINKS[0] + MOST_LINKS[1] * len(scores) or lattice_beam < NARROWEST:
            break
        lattice_beam *= 0.7
    steps = np.repeat(np.arange(len(first) - 1), np.diff(first))
    tokens = np.unique(np.concatenate([[0], links[:, 0], links[:, 1]]))
    tokens = tokens[np.lexsort((ranks[tokens], steps[tokens]))]
    place = np.full(len(states), -1)
    place[tokens] = np.arange(len(tokens))
    source, target, arc = links[np.argsort(place[links[:, 0]], kind="stable")].T
    inputs = network.inputs[arc]
    acoustic, steps_on = np.zeros(len(arc)), inputs > 0
    acoustic[steps_on] = emissions[steps[source[steps_on]], network.outputs[inputs[steps_on]]]
    return StateLattice(
        steps[tokens], final_costs[tokens], betas[tokens], place[source], place[target], inputs, words[arc],
        network.weights[arc].astype(np.float64), acoustic, reached, float(beam), float(lattice_beam),
    )  # fmt: skip


@functools.lru_cache(maxsize=2)
def _network(graph: Graph, penalty: float) -> tuple[_Network, Int[np.ndarray, " arcs"]]:
    """The graph as arrays, with `penalty` on every arc that names a word; and which word each arc names.

    A constant transducer's file is a header, the states and the arcs, each as it lies in memory.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "graph.fst"
        if not graph.fst.write(str(path)):
            raise OSError(f"{path} could not be written; is the disk full?")
        content = path.read_bytes()
    (header,) = np.frombuffer(content, _HEADER, 1)
    if (header["kind"], header["arc"], header["version"], header["start"]) != (b"const", b"standard", 2, 0):
        raise RuntimeError(f"not the file of a constant transducer as OpenFst writes it since 1.5: {header}")
    table = np.frombuffer(content, _STATE, header["states"], _HEADER.itemsize)
    arcs = np.frombuffer(content, _ARC, header["arcs"], _HEADER.itemsize + table.nbytes)
    source = np.repeat(np.arange(len(table)), table["arcs"])
    arcs = arcs[np.lexsort((arcs["input"] > 0, source))]
    first = np.concatenate([[0], np.cumsum(table["arcs"], dtype=np.int64)])
    network = _Network(
        first,
        first[:-1] + np.bincount(source[arcs["input"] == 0], minlength=len(table)),
        np.ascontiguousarray(arcs["input"]),
        arcs["weight"] + np.float32(penalty) * (arcs["output"] > 0),
        np.ascontiguousarray(arcs["target"]),
        np.concatenate([[0], graph.outputs]).astype(np.int32),
        table["final"].astype(np.float64),
    )
    return network, np.ascontiguousarray(arcs["output"])


# no_type_check: the tests' import hook would wrap these functions, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _forward(network, emissions, beam, max_active, min_active):
    """Tokens (graph state and cost of the best path to it) and where those of each step begin."""
    states, costs, count = np.zeros(1024, np.int32), np.zeros(1024), 1
    first = np.zeros(len(emissions) + 2, np.int64)
    place = np.full(len(network.stepping), -1, np.int32)
    place[0] = 0
    for t in range(len(emissions) + 1):
        begin = first[t]
        states, costs, count = _pass_on(network, states, costs, count, begin, place, beam)
        first[t + 1] = count
        for i in range(begin, count):
            place[states[i]] = -1
        if t < len(emissions):
            limit, width = _limits(costs[begin:count], beam, max_active, min_active)
            states, costs, count = _step(network, emissions[t], states, costs, count, begin, place, limit, width)
    return states[:count], costs[:count], first


@numba.njit(cache=True)
@no_type_check
def _limits(costs, beam, max_active, min_active):
    """The highest cost that is followed, and how far the next step's may lie apart (as in Kaldi's decoders)."""
    best = costs.min()
    limit = best + beam
    if len(costs) > max_active:
        highest = np.partition(costs, max_active - 1)[max_active - 1]
        if highest < limit:
            return highest, highest - best + 0.5
    if min_active and len(costs) >= min_active:
        limit = max(limit, np.partition(costs, min_active - 1)[min_active - 1])
    elif min_active:
        limit = max(limit, costs.max())
    return limit, limit - best + (0.0 if limit == best + beam else 0.5)


@numba.njit(cache=True)
@no_type_check
def _put(states, costs, count, place, state, cost):
    """A path of `cost` has come to `state`: the tokens, and whether one is new or cheaper."""
    i = place[state]
    if i >= 0:
        cheaper = cost < costs[i]
        costs[i] = min(costs[i], cost)
        return states, costs, count, cheaper
    if count == len(states):
        states, costs = np.append(states, states), np.append(costs, costs)
    states[count], costs[count], place[state] = state, cost, count
    return states, costs, count + 1, True


@numba.njit(cache=True)
@no_type_check
def _pass_on(network, states, costs, count, begin, place, beam):
    """Follow arcs that take no step, in sweeps until nothing gets cheaper; what a sweep finds it goes on from."""
    limit = costs[begin:count].min() + beam
    changed = True
    while changed:
        changed, i = False, begin
        while i < count:
            for a in range(network.first[states[i]], network.stepping[states[i]]):
                cost = costs[i] + network.weights[a]
                if cost < limit:
                    states, costs, count, found = _put(states, costs, count, place, network.targets[a], cost)
                    changed |= found
            i += 1
    return states, costs, count


@numba.njit(cache=True)
@no_type_check
def _step(network, emission, states, costs, count, begin, place, limit, width):
    """Follow arcs that take a step from tokens that cost at most `limit`, the best of them first.

    It shows where the next step's beam will end, which falls as cheaper paths are found.
    """
    end, ceiling = count, np.inf
    best = begin + np.argmin(costs[begin:end])
    for k in range(begin - 1, end):
        i = best if k < begin else k
        if costs[i] > limit:
            continue
        for a in range(network.stepping[states[i]], network.first[states[i] + 1]):
            cost = costs[i] + network.weights[a] + emission[network.outputs[network.inputs[a]]]
            if cost < ceiling:
                ceiling = min(ceiling, cost + width)
                states, costs, count, _ = _put(states, costs, count, place, network.targets[a], cost)
    return states, costs, count


@numba.njit(cache=True)
@no_type_check
def _backward(network, emissions, states, costs, first, betas, lattice_beam):
    """Links (source, target, arc) on paths within the beam, and each token's rank among those of its step.

    `betas`, what it costs to end, are given for the last step's tokens and made for all others.
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
    """Costs to end over arcs that take no step, and ranks that rise along those that are within `bound`."""
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
