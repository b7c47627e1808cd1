"""Token passing that keeps every token, so that one search gives the best path and all paths near it.

`token_links` makes the paths, and `live_search` searches scores as they arrive. The search makes every decision as
kaldi-decoder's FasterDecoder does. This includes the order of states, what a beam in single precision cuts off, and
which of two equal paths stays. So its best path is that of `search.decode`, which is faster and keeps no tokens.
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
from mdasr.decode.search import Hypothesis, SearchOptions, check_scores, hypothesis_of, lost, priced, widened

_HEADER = np.dtype(
    [
        ("magic", "<i4"), ("kind_length", "<i4"), ("kind", "S5"), ("arc_length", "<i4"), ("arc", "S8"),
        ("version", "<i4"), ("flags", "<i4"), ("properties", "<u8"), ("start", "<i8"), ("states", "<i8"),
        ("arcs", "<i8"),
    ]
)  # fmt: skip
_STATE = np.dtype([("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("inputs", "<u4"), ("outputs", "<u4")])
_ARC = np.dtype([("input", "<i4"), ("output", "<i4"), ("weight", "<f4"), ("target", "<i4")])

BEAM_DELTA = 0.5  # nats; FasterDecoder widens the beam by this where the number of states limits it
BUCKETS, BUCKETS_A_TOKEN = 1000, 2  # buckets of FasterDecoder's hash table: at first, and at least for each token


class GraphArrays(NamedTuple):
    """The graph as arrays: arcs by state, those without a step first; `outputs` is the output of each input label."""

    first: Int[np.ndarray, " bounds"]
    stepping: Int[np.ndarray, " states"]
    inputs: Int[np.ndarray, " arcs"]
    words: Int[np.ndarray, " arcs"]
    weights: Float32[np.ndarray, " arcs"]
    targets: Int[np.ndarray, " arcs"]
    outputs: Int[np.ndarray, " labels"]
    final: Float[np.ndarray, " states"]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Every graph state that the search reached, step by step, and the cheapest way there.

    The tokens after t steps are `first[t]` to `first[t + 1]`; token 0 is the start. Token i came from `sources[i]` over
    the graph's arc `arcs[i]`. `final_costs` are the costs to end at a token, and infinite where no path ends. Where the
    search did not reach the end of a sentence, they are 0 for all tokens of the last step. `emissions` are scaled costs
    of outputs.
    """

    network: GraphArrays
    emissions: Float32[np.ndarray, "steps outputs"]
    first: Int[np.ndarray, " bounds"]
    states: Int[np.ndarray, " tokens"]
    sources: Int[np.ndarray, " tokens"]
    arcs: Int[np.ndarray, " tokens"]
    costs: Float[np.ndarray, " tokens"]
    final_costs: Float[np.ndarray, " tokens"]
    reached_final: bool
    beam: float


class Frontier(NamedTuple):
    """A search so far: tokens as rows, their costs, the bounds of the steps, and what the next step needs.

    A row is (graph state, token and arc that it came from, next token in the list). `buckets` is the size of
    FasterDecoder's hash table, and `place` is -1 for each graph state.
    """

    rows: Int[np.ndarray, "room 4"]
    costs: Float[np.ndarray, " room"]
    first: Int[np.ndarray, " bounds"]
    place: Int[np.ndarray, " states"]
    buckets: int


def pass_tokens(graph: Graph, scores: Float[np.ndarray, "steps outputs"], options: SearchOptions) -> Tokens:
    """Search as `search.decode` does, with its retries, and keep the tokens; raises ValueError as `decode` does."""
    check_scores(graph, scores)
    network = network_of(graph, options)
    for attempt in range(options.retries + 1):
        wider = widened(options, attempt)
        frontier = advance(network, scores, start(network), wider)
        if not is_lost(frontier) and network.final[frontier.rows[slice(*frontier.first[-2:]), 0]].min() < np.inf:
            break
    return tokens_of(network, scores, frontier, wider)


def network_of(graph: Graph, options: SearchOptions) -> GraphArrays:
    """The graph as arrays, with the options' penalty."""
    return _network(priced(graph, options.insertion_penalty))


def start(network: GraphArrays) -> Frontier:
    """The search before its first step."""
    return Frontier(*_start(network))


def advance(
    network: GraphArrays, scores: Float[np.ndarray, "steps outputs"], frontier: Frontier, options: SearchOptions
) -> Frontier:
    """The search after the steps of `scores`, whatever it was before."""
    beam, most, least = np.float32(options.beam), options.max_active, options.min_active
    return Frontier(*_advance(network, _emissions(scores, options), *frontier, beam, most, least))


def is_lost(frontier: Frontier) -> bool:
    """Whether no token is left: the beam was too narrow."""
    return bool(frontier.first[-1] == frontier.first[-2])


def tokens_of(
    network: GraphArrays, scores: Float[np.ndarray, "steps outputs"], frontier: Frontier, options: SearchOptions
) -> Tokens:
    """The tokens of a search over `scores`; raises ValueError where none is left."""
    if is_lost(frontier):
        raise lost(options.beam)
    first = frontier.first
    states, sources, arcs, _ = frontier.rows[: first[-1]].T
    ends = network.final[states[first[-2] :]]
    reached = bool(np.isfinite(ends).any())
    final_costs = np.full(len(states), np.inf)
    final_costs[first[-2] :] = ends if reached else 0.0
    costs, beam = frontier.costs[: len(states)], float(np.float32(options.beam))
    return Tokens(network, _emissions(scores, options), first, states, sources, arcs, costs, final_costs, reached, beam)


def _emissions(
    scores: Float[np.ndarray, "steps outputs"], options: SearchOptions
) -> Float32[np.ndarray, "steps outputs"]:
    return np.ascontiguousarray(scores * np.float32(-options.acoustic_scale), np.float32)


def way_to(tokens: Tokens, token: int) -> Int[np.ndarray, " arcs"]:
    """The graph's arcs on the way from the start to a token."""
    return tokens.arcs[_way(tokens.sources, token)]


def shared_token(tokens: Tokens) -> int:
    """The last token that is on the way to every token of the last step."""
    return _shared(tokens.sources, tokens.first[-2])


def best_path(graph: Graph, tokens: Tokens) -> Hypothesis:
    """The words of the cheapest path, which are those of `search.decode`."""
    totals = tokens.costs + tokens.final_costs
    token = int(totals.argmin())
    arcs = way_to(tokens, token)
    inputs, words = tokens.network.inputs[arcs], tokens.network.words[arcs]
    graph_cost = float(tokens.final_costs[token]) + float(tokens.network.weights[arcs].sum(dtype=np.float64))
    return hypothesis_of(
        graph,
        inputs[inputs > 0].tolist(),
        words[words > 0].tolist(),
        graph_cost,
        float(totals[token]) - graph_cost,
        tokens.reached_final,
        tokens.beam,
    )


@functools.lru_cache(maxsize=2)
def _network(graph: Graph) -> GraphArrays:
    """The graph as arrays, read from the file of a constant transducer.

    The file holds a header, the states and the arcs, each as in memory.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "graph.fst"
        if not graph.fst.write(str(path)):
            raise OSError(f"{path} could not be written; is the disk full?")
        content = path.read_bytes()
    (header,) = np.frombuffer(content, _HEADER, 1)
    if (header["kind"], header["arc"], header["version"], header["start"]) != (b"const", b"standard", 2, 0):
        raise RuntimeError(f"the header is not that of a constant transducer of OpenFst 1.5 or later: {header}")
    table = np.frombuffer(content, _STATE, header["states"], _HEADER.itemsize)
    arcs = np.frombuffer(content, _ARC, header["arcs"], _HEADER.itemsize + table.nbytes)
    source = np.repeat(np.arange(len(table)), table["arcs"])
    arcs = arcs[np.lexsort((arcs["input"] > 0, source))]
    first = np.concatenate([[0], np.cumsum(table["arcs"], dtype=np.int64)])
    return GraphArrays(
        first,
        first[:-1] + np.bincount(source[arcs["input"] == 0], minlength=len(table)),
        np.ascontiguousarray(arcs["input"]),
        np.ascontiguousarray(arcs["output"]),
        np.ascontiguousarray(arcs["weight"]),
        np.ascontiguousarray(arcs["target"]),
        np.concatenate([[0], graph.outputs]).astype(np.int32),
        table["final"].astype(np.float64),
    )


# no_type_check: the tests' import hook would wrap these functions, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _start(network):
    """The fields of the first `Frontier`: the start, and what can be reached from there without a step."""
    rows, costs = np.empty((1024, 4), np.int32), np.empty(1024)
    place = np.full(len(network.stepping), -1, np.int32)
    tails = np.full(BUCKETS + 1, -1, np.int32)
    rows, costs, count, _, _ = _put(rows, costs, 0, place, tails, 0, 0.0, -1, -1)
    rows, costs, count = _pass_on(network, rows, costs, count, 0, place, tails, np.inf)
    for i in range(count):
        place[rows[i, 0]] = -1
    return rows, costs, np.array([0, count]), place, len(tails)


@numba.njit(cache=True)
@no_type_check
def _advance(network, emissions, rows, costs, first, place, buckets, beam, max_active, min_active):
    """The fields of the `Frontier` after more steps.

    `tails` is FasterDecoder's hash table, which orders the tokens of a step: by bucket, in the order in which buckets
    were opened. It holds the last token of each bucket and, at its end, the last token of the list.
    """
    bounds = np.empty(len(emissions), np.int64)
    begin, count, cutoff = first[-2], first[-1], np.inf
    for t in range(len(emissions)):
        buckets, end = max(buckets, BUCKETS_A_TOKEN * (count - begin) + 1), count
        tails = np.full(buckets, -1, np.int32)
        if count > begin:
            rows, costs, end, cutoff = _step(
                network, emissions[t], rows, costs, count, begin, place, tails, beam, max_active, min_active
            )
        if end > count:
            rows, costs, end = _pass_on(network, rows, costs, end, count, place, tails, cutoff)
        for i in range(count, end):
            place[rows[i, 0]] = -1
        begin, count = count, end
        bounds[t] = count
    return rows, costs, np.concatenate((first, bounds)), place, buckets


@numba.njit(cache=True)
@no_type_check
def _put(rows, costs, count, place, tails, state, cost, source, arc):
    """Add a path of `cost` to `state`; returns the tokens, the one of that state, and whether it is new or cheaper."""
    i = place[state]
    if i >= 0:
        cheaper = cost < costs[i]
        if cheaper:
            costs[i], rows[i, 1], rows[i, 2] = cost, source, arc
        return rows, costs, count, i, cheaper
    if count == len(rows):
        rows, costs = np.concatenate((rows, rows)), np.concatenate((costs, costs))
    bucket = state % (len(tails) - 1)
    before = tails[bucket] if tails[bucket] >= 0 else tails[-1]
    rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = state, source, arc, -1
    if before >= 0:
        rows[count, 3], rows[before, 3] = rows[before, 3], count
    if rows[count, 3] < 0:
        tails[-1] = count
    costs[count], place[state], tails[bucket] = cost, count, count
    return rows, costs, count + 1, count, True


@numba.njit(cache=True)
@no_type_check
def _pass_on(network, rows, costs, count, begin, place, tails, cutoff):
    """Follow arcs that take no step, from the last token of the list and from newly reached tokens first."""
    waiting, i = [begin], rows[begin, 3]
    while i >= 0:
        waiting.append(i)
        i = rows[i, 3]
    while waiting:
        i = waiting.pop()
        so_far = costs[i]
        if so_far > cutoff:
            continue
        for a in range(network.first[rows[i, 0]], network.stepping[rows[i, 0]]):
            cost = so_far + network.weights[a]
            if cost <= cutoff:
                rows, costs, count, j, better = _put(rows, costs, count, place, tails, network.targets[a], cost, i, a)
                if better:
                    waiting.append(j)
    return rows, costs, count


@numba.njit(cache=True)
@no_type_check
def _limits(costs, beam, max_active, min_active):
    """The cost below which tokens are followed, and the width of the beam for the next step's tokens."""
    best, single = costs.min(), costs.astype(np.float32)
    if len(costs) > max_active:
        highest = np.float64(np.partition(single, max_active)[max_active])
        if highest < best + beam:
            return highest, np.float64(np.float32(highest - best + BEAM_DELTA))
    if len(costs) <= min_active:
        return np.inf, np.inf
    lowest = np.float64(np.partition(single, min_active)[min_active]) if min_active else best
    if lowest > best + beam:
        return lowest, np.float64(np.float32(lowest - best + BEAM_DELTA))
    return best + beam, np.float64(beam)


@numba.njit(cache=True)
@no_type_check
def _step(network, emission, rows, costs, count, begin, place, tails, beam, max_active, min_active):
    """Follow arcs that take a step; also returns the highest cost at which the next step's tokens will be followed.

    That cost starts from the best token, and falls as cheaper paths are found.
    """
    limit, width = _limits(costs[begin:count], beam, max_active, min_active)
    ceiling = np.inf
    best = begin + np.argmin(costs[begin:count])
    for a in range(network.stepping[rows[best, 0]], network.first[rows[best, 0] + 1]):
        cost = costs[best] + network.weights[a] + emission[network.outputs[network.inputs[a]]]
        ceiling = min(ceiling, cost + width)
    i = begin
    while i >= 0:
        if costs[i] < limit:
            for a in range(network.stepping[rows[i, 0]], network.first[rows[i, 0] + 1]):
                cost = costs[i] + network.weights[a] + emission[network.outputs[network.inputs[a]]]
                if cost < ceiling:
                    ceiling = min(ceiling, cost + width)
                    rows, costs, count, _, _ = _put(rows, costs, count, place, tails, network.targets[a], cost, i, a)
        i = rows[i, 3]
    return rows, costs, count, ceiling


@numba.njit(cache=True)
@no_type_check
def _way(sources, token):
    """The tokens from the first one after the start to `token`."""
    way = [token]
    while way[-1] > 0:
        way.append(sources[way[-1]])
    return np.array(way[-2::-1])


@numba.njit(cache=True)
@no_type_check
def _shared(sources, begin):
    """The last token on the ways to all tokens from `begin` on.

    The way to the first of them is numbered from its end; each other way is followed back to a token seen before.
    """
    seen, way = np.zeros(len(sources), np.int32), [begin]
    seen[begin] = 1
    while way[-1] > 0:
        way.append(sources[way[-1]])
        seen[way[-1]] = len(way)
    farthest = 1
    for i in range(begin + 1, len(sources)):
        j = i
        while not seen[j]:
            seen[j] = -1
            j = sources[j]
        farthest = max(farthest, seen[j])
    return way[farthest - 1]
