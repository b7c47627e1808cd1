"""Hidden Markov models of utterances: left-to-right graphs of states, their best paths, and state probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from mdasr.language.lexicon import SILENCE, Lexicon

_NEGLIGIBLE = 36.0  # nats: a difference at which the smaller number does not change a float64 sum
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
    def fewest_frames(self) -> int:
        """The length in frames of the shortest path from an entry to a final state."""
        steps = np.where(np.isfinite(self.entry), 1, len(self.outputs) + 1)
        for s in range(len(steps)):
            before = steps[self.sources[self.first_arc[s] : self.first_arc[s + 1]]]
            steps[s] = min(steps[s], before.min(initial=len(steps)) + 1)
        return int(steps[np.isfinite(self.final)].min())


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
) -> tuple[Int[np.ndarray, " frames"], float]:
    """Find the best path. Return the state in every frame, and the path's log likelihood.

    `stay` is the probability of each output's loop; without it, loops and arcs cost nothing. If several ways into a
    state are equally good, the loop wins, then the first arc. Raises ValueError where there are fewer frames than
    states in the shortest path.
    """
    path = np.empty(len(log_likelihood), np.int32)
    score = _best_path(*_kernel_arguments(log_likelihood, graph, stay), path)
    return path, float(score)


def state_posteriors(
    log_likelihood: Float[np.ndarray, "frames outputs"],
    graph: UtteranceGraph,
    stay: Float[np.ndarray, " outputs"] | None = None,
) -> Float[np.ndarray, "frames states"]:
    """The probability of each state in each frame, over all paths (the forward-backward algorithm).

    The probabilities of a frame add up to 1. `stay` and the errors are as in `viterbi`.
    """
    result = np.zeros((len(log_likelihood), len(graph.outputs)))
    _forward_backward(*_kernel_arguments(log_likelihood, graph, stay), result)
    return result


def _kernel_arguments(
    log_likelihood: Float[np.ndarray, "frames outputs"],
    graph: UtteranceGraph,
    stay: Float[np.ndarray, " outputs"] | None,
) -> tuple[np.ndarray, ...]:
    if len(log_likelihood) < graph.fewest_frames:
        raise ValueError(f"{len(log_likelihood)} frames for at least {graph.fewest_frames} states")
    columns = log_likelihood.shape[1]
    loops, leave = np.zeros(columns), np.zeros(columns)
    if stay is not None:
        loops, leave = np.log(stay).astype(np.float64), np.log1p(-stay).astype(np.float64)
    emission = np.ascontiguousarray(log_likelihood[:, graph.outputs])
    arcs = (graph.first_arc, graph.sources, graph.weights, graph.entry, graph.final)
    return emission, loops[graph.outputs], leave[graph.outputs], *arcs


# no_type_check: the tests' import hook would wrap these functions, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _best_path(emission, loops, leave, first_arc, sources, weights, entry, final, path):
    frames, states = emission.shape
    came_from = np.empty((frames, states), np.int32)
    score = entry + emission[0]
    following = np.empty(states)
    for t in range(1, frames):
        for s in range(states):
            best, origin = score[s] + loops[s], s
            for a in range(first_arc[s], first_arc[s + 1]):
                candidate = score[sources[a]] + leave[sources[a]] + weights[a]
                if candidate > best:
                    best, origin = candidate, sources[a]
            following[s] = best + emission[t, s]
            came_from[t, s] = origin
        score, following = following, score
    score = score + final
    state = np.argmax(score)
    best = score[state]
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state = came_from[t, state] if t else state
    return best


@numba.njit(cache=True)
@no_type_check
def _log_add(a, b):
    if a < b:
        a, b = b, a
    return a if a - b > _NEGLIGIBLE or b == -np.inf else a + np.log1p(np.exp(b - a))


@numba.njit(cache=True)
@no_type_check
def _forward_backward(emission, loops, leave, first_arc, sources, weights, entry, final, result):
    frames, states = emission.shape
    forward = np.full((frames, states), -np.inf)
    backward = np.full((frames, states), -np.inf)
    forward[0] = entry + emission[0]
    for t in range(1, frames):
        for s in range(states):
            total = forward[t - 1, s] + loops[s]
            for a in range(first_arc[s], first_arc[s + 1]):
                total = _log_add(total, forward[t - 1, sources[a]] + leave[sources[a]] + weights[a])
            forward[t, s] = total + emission[t, s]
    backward[-1] = final
    for t in range(frames - 2, -1, -1):
        for s in range(states):
            ahead = backward[t + 1, s] + emission[t + 1, s]
            backward[t, s] = _log_add(backward[t, s], ahead + loops[s])
            for a in range(first_arc[s], first_arc[s + 1]):
                before = sources[a]
                backward[t, before] = _log_add(backward[t, before], ahead + leave[before] + weights[a])
    for t in range(frames):
        joint = forward[t] + backward[t]
        shares = np.exp(joint - joint.max())
        result[t] = shares / shares.sum()
