"""Hidden Markov models of utterances: left-to-right graphs of states, their best paths, and state probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from mdasr.language.lexicon import SILENCE, Lexicon

_NEGLIGIBLE = 36.0  # nats: a difference at which the smaller number does not change a float64 sum
MOST_CELLS = 1 << 28  # of a trellis; each is two bytes of memory
_BLOCK_CELLS = 1 << 22  # of the forward pass that are kept; each is eight bytes of memory
_LEAST_WIDTH = 1000  # of a band of states: longer than any pause between words needs, and than any word
SILENT = -1  # in place of a word's place in the transcript: the segment belongs to no word


@dataclass(frozen=True)
class Segment:
    """One phone of the graph. `word` is the place of its word in the transcript; it is `SILENT` for a pause."""

    phone: str
    word: int


@dataclass(frozen=True, eq=False)
class UtteranceGraph:
    """States in topological order, each with a loop, and arcs that lead only to later states.

    State s has the scores of column `outputs[s]`, and belongs to `segments[segment_of[s]]`. Arcs lead to it from
    `sources[first_arc[s]:first_arc[s + 1]]`, with the log probabilities `weights`. `entry` and `final` [states] are the
    log probabilities to start and to end in a state.
    """

    outputs: Int[np.ndarray, " states"]
    segment_of: Int[np.ndarray, " states"]
    segments: tuple[Segment, ...]
    first_arc: Int[np.ndarray, " states_and_one"]
    sources: Int[np.ndarray, " arcs"]
    weights: Float[np.ndarray, " arcs"]
    entry: Float[np.ndarray, " states"]
    final: Float[np.ndarray, " states"]

    @cached_property
    def frames_to_end(self) -> Int[np.ndarray, " states"]:
        """The length in frames of the shortest path from each state, which is included, to a final state."""
        return _frames_to_end(self.first_arc, self.sources, self.final)

    @property
    def fewest_frames(self) -> int:
        """The length in frames of the shortest path from an entry to a final state."""
        return int(self.frames_to_end[np.isfinite(self.entry)].min())


def utterance_graph(
    words: Sequence[str],
    lexicon: Lexicon,
    first_output: Mapping[str, int],
    states_per_phone: int,
    silence_probability: float,
) -> UtteranceGraph:
    """Make the graph of all pronunciations of `words`, with an optional pause between words and at both ends.

    State k of a phone has the output `first_output[phone] + k`. Raises KeyError for a word without pronunciation.
    """
    outputs: list[int] = []
    segment_of: list[int] = []
    segments: list[Segment] = []
    arcs: list[list[tuple[int, float]]] = []
    entry: dict[int, float] = {}

    def add_phone(phone: str, word: int, arrivals: Mapping[int | None, float]) -> int:
        """Add a chain of states with arcs from `arrivals` (None is the start), and return its last state."""
        for k in range(states_per_phone):
            state = len(outputs)
            outputs.append(first_output[phone] + k)
            segment_of.append(len(segments))
            arcs.append([(s, w) for s, w in arrivals.items() if s is not None])
            if None in arrivals:
                entry[state] = arrivals[None]
            arrivals = {state: 0.0}
        segments.append(Segment(phone, word))
        return len(outputs) - 1

    def add_pause(ends: Mapping[int | None, float]) -> dict[int | None, float]:
        pause = add_phone(SILENCE, SILENT, {s: w + np.log(silence_probability) for s, w in ends.items()})
        return {pause: 0.0, **{s: w + np.log1p(-silence_probability) for s, w in ends.items()}}

    ends: dict[int | None, float] = {None: 0.0}
    for i, word in enumerate(words):
        ends, starts = {}, add_pause(ends)
        for phones, probability in lexicon.entries[word]:
            arrivals = {s: w + np.log(probability) for s, w in starts.items()}
            for phone in phones:
                arrivals = {add_phone(phone, i, arrivals): 0.0}
            ends |= arrivals
    ends = add_pause(ends)
    return _assemble(outputs, segment_of, segments, arcs, entry, ends)


def _assemble(
    outputs: list[int],
    segment_of: list[int],
    segments: list[Segment],
    arcs: list[list[tuple[int, float]]],
    entry: Mapping[int, float],
    ends: Mapping[int | None, float],
) -> UtteranceGraph:
    count = len(outputs)
    start, final = np.full(count, -np.inf), np.full(count, -np.inf)
    for state, weight in entry.items():
        start[state] = weight
    for end, weight in ends.items():
        if end is not None:
            final[end] = weight
    return UtteranceGraph(
        outputs=np.asarray(outputs, np.int32),
        segment_of=np.asarray(segment_of, np.int32),
        segments=tuple(segments),
        first_arc=np.cumsum([0, *(len(into) for into in arcs)]).astype(np.int32),
        sources=np.asarray([s for into in arcs for s, _ in into], np.int32),
        weights=np.asarray([w for into in arcs for _, w in into], np.float64),
        entry=start,
        final=final,
    )


def viterbi(
    log_likelihood: Float[np.ndarray, "frames outputs"],
    graph: UtteranceGraph,
    stay: Float[np.ndarray, " outputs"] | None = None,
    most_cells: int = MOST_CELLS,
) -> tuple[Int[np.ndarray, " frames"], float]:
    """Find the best path. Return the state in every frame, and the path's log likelihood.

    `stay` is the probability of each output's loop; without it, loops and arcs cost nothing. If several ways into a
    state are equally good, the loop wins, then the first arc.

    A trellis of more than `most_cells` (frames times states) is cut to a band with that many cells. The band follows
    the state that is best so far, and the end stays in reach. So the memory is bounded, and the time grows with the
    length. Raises ValueError where there are fewer frames than states in the shortest path.
    """
    path = np.empty(len(log_likelihood), np.int32)
    arguments = _kernel_arguments(log_likelihood, graph, stay)
    score = _best_path(*arguments, graph.frames_to_end, _width(graph, len(path), most_cells), path)
    return path, float(score)


def output_posteriors(
    log_likelihood: Float[np.ndarray, "frames outputs"],
    graph: UtteranceGraph,
    stay: Float[np.ndarray, " outputs"] | None = None,
    most_cells: int = MOST_CELLS,
) -> Float[np.ndarray, "frames outputs"]:
    """The probability of each output in each frame, over all paths (the forward-backward algorithm).

    The probabilities of a frame add up to 1. `stay` and the errors are as in `viterbi`. Where the trellis is cut to a
    band, the band follows the diagonal from the first state to the last.
    """
    frames, states = len(log_likelihood), len(graph.outputs)
    width = _width(graph, frames, most_cells)
    diagonal = np.arange(frames) * states // max(frames, 1) - width // 2
    low = np.clip(diagonal, 0, states - width).astype(np.int32)
    result = np.zeros(log_likelihood.shape)
    block = max(2, _BLOCK_CELLS // width, int(np.sqrt(frames)))
    _forward_backward(*_kernel_arguments(log_likelihood, graph, stay), low, width, block, result)
    return result


def _width(graph: UtteranceGraph, frames: int, most_cells: int) -> int:
    """The number of states in each frame's band: all, or as many as `most_cells` allow."""
    return min(len(graph.outputs), max(most_cells // max(frames, 1), _LEAST_WIDTH))


def _kernel_arguments(
    log_likelihood: Float[np.ndarray, "frames outputs"],
    graph: UtteranceGraph,
    stay: Float[np.ndarray, " outputs"] | None,
) -> tuple[Any, ...]:
    if len(log_likelihood) < graph.fewest_frames:
        raise ValueError(f"{len(log_likelihood)} frames for at least {graph.fewest_frames} states")
    columns = log_likelihood.shape[1]
    loops, leave = np.zeros(columns), np.zeros(columns)
    if stay is not None:
        loops, leave = np.log(stay).astype(np.float64), np.log1p(-stay).astype(np.float64)
    outputs, scores = graph.outputs, np.ascontiguousarray(log_likelihood)
    arcs = (graph.first_arc, graph.sources, graph.weights, graph.entry, graph.final)
    return scores, outputs, loops[outputs], leave[outputs], *arcs


# no_type_check: the tests' import hook would wrap these functions, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _frames_to_end(first_arc, sources, final):
    states = len(final)
    frames = np.where(np.isfinite(final), 1, states + 1)
    for s in range(states - 1, -1, -1):
        for a in range(first_arc[s], first_arc[s + 1]):
            frames[sources[a]] = min(frames[sources[a]], frames[s] + 1)
    return frames


@numba.njit(cache=True)
@no_type_check
def _best_path(
    scores, outputs, loops, leave, first_arc, sources, weights, entry, final, frames_to_end, width, path
):  # fmt: skip
    frames, states = len(scores), len(outputs)
    arcs_taken = np.zeros((frames, width), np.uint16)  # the place among the state's arcs, from 1; 0 is the loop
    low = np.zeros(frames, np.int32)  # the first state of each frame's band
    before, now = entry.copy(), np.empty(states)
    for s in range(width):
        before[s] += scores[0, outputs[s]]
    reaching = 0  # the first state from which the end can be reached
    for t in range(1, frames):
        first, end = low[t - 1], low[t - 1] + width
        if width < states:
            while frames_to_end[reaching] > frames - t:
                reaching += 1
            middle = first + np.argmax(before[first:end])
            low[t] = min(max(first, middle - width // 2, reaching + 1 - width), states - width)
        for s in range(low[t], low[t] + width):
            best, taken = before[s] + loops[s] if s < end else -np.inf, 0
            for a in range(first_arc[s], first_arc[s + 1]):
                if first <= sources[a] < end:
                    candidate = before[sources[a]] + leave[sources[a]] + weights[a]
                    if candidate > best:
                        best, taken = candidate, a - first_arc[s] + 1
            now[s] = best + scores[t, outputs[s]]
            arcs_taken[t, s - low[t]] = taken
        before, now = now, before
    last = before[low[-1] : low[-1] + width] + final[low[-1] : low[-1] + width]
    state = low[-1] + np.argmax(last)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        taken = arcs_taken[t, state - low[t]]
        if taken:
            state = sources[first_arc[state] + taken - 1]
    return last.max()


@numba.njit(cache=True)
@no_type_check
def _log_add(a, b):
    if a < b:
        a, b = b, a
    return a if a - b > _NEGLIGIBLE or b == -np.inf else a + np.log1p(np.exp(b - a))


@numba.njit(cache=True)
@no_type_check
def _forward(row, low, before, low_before, outputs, loops, leave, first_arc, sources, weights, now):
    """One frame of the forward pass: `before` and `now` hold the bands that begin at the states `low_before`, `low`."""
    width = len(now)
    for s in range(low, low + width):
        total = before[s - low_before] + loops[s] if s < low_before + width else -np.inf
        for a in range(first_arc[s], first_arc[s + 1]):
            source = sources[a] - low_before
            if 0 <= source < width:
                total = _log_add(total, before[source] + leave[sources[a]] + weights[a])
        now[s - low] = total + row[outputs[s]]


@numba.njit(cache=True)
@no_type_check
def _forward_backward(
    scores, outputs, loops, leave, first_arc, sources, weights, entry, final, low, width, block, result
):
    frames = len(scores)
    # Only each block's first row of the forward pass is kept; the others are computed again, block by block.
    starts = np.empty(((frames - 1) // block + 1, width))
    rows, arcs = np.empty((max(2, min(block, frames)), width)), (outputs, loops, leave, first_arc, sources, weights)
    rows[0] = entry[:width]
    for s in range(width):
        rows[0, s] += scores[0, outputs[s]]
    starts[0] = rows[0]
    for t in range(1, (len(starts) - 1) * block + 1):
        _forward(scores[t], low[t], rows[0], low[t - 1], *arcs, rows[1])
        rows[0] = rows[1]
        if t % block == 0:
            starts[t // block] = rows[0]
    ahead, backward = np.empty(width), np.empty(width)
    for b in range(len(starts) - 1, -1, -1):
        rows[0] = starts[b]
        end = min(frames, (b + 1) * block)
        for t in range(b * block + 1, end):
            _forward(scores[t], low[t], rows[t - b * block - 1], low[t - 1], *arcs, rows[t - b * block])
        for t in range(end - 1, b * block - 1, -1):
            if t == frames - 1:
                backward[:] = final[low[t] : low[t] + width]
            else:
                ahead, backward = backward, ahead
                _backward(scores[t + 1], low[t + 1], ahead, low[t], *arcs, backward)
            joint = rows[t - b * block] + backward
            top, total = joint.max(), 0.0
            for s in range(width):
                joint[s] = np.exp(joint[s] - top)
                total += joint[s]
            for s in range(width):
                result[t, outputs[low[t] + s]] += joint[s] / total


@numba.njit(cache=True)
@no_type_check
def _backward(row, low_after, after, low, outputs, loops, leave, first_arc, sources, weights, now):
    """One frame of the backward pass, from the band `after` of the next frame to `now`."""
    width = len(now)
    now[:] = -np.inf
    for s in range(low_after, low_after + width):
        ahead = after[s - low_after] + row[outputs[s]]
        if s < low + width:
            now[s - low] = _log_add(now[s - low], ahead + loops[s])
        for a in range(first_arc[s], first_arc[s + 1]):
            source = sources[a] - low
            if 0 <= source < width:
                now[source] = _log_add(now[source], ahead + leave[sources[a]] + weights[a])
