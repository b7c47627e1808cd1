"""Single-pass beam search over a decoding graph (§3.6); only this module uses kaldi-decoder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import kaldi_decoder
import kaldifst
import numpy as np
from jaxtyping import Float

from mdasr.decode.graph import Graph
from mdasr.language.lexicon import SILENCE

LARGEST = 1e6  # a larger beam, scale or penalty is a mistake, and loses every path to rounding


@dataclass(frozen=True)
class SearchOptions:
    """The options of a search; costs are -log p, so `beam` is in nats after scaling.

    - At each step, at most `max_active` states are followed, and at least `min_active` whatever the beam.
    - Scores are multiplied by `acoustic_scale`, and every word costs `insertion_penalty` (negative: a bonus).
    - Where no end of a sentence is within the beam, the search is repeated, up to `retries` times. Each time, the beam
      and `max_active` are doubled.
    - The log odds that a word is right are `confidence_slope` times those from the lattice, plus `confidence_offset`
      (`tune.calibrate`).
    """

    beam: float = 10.0
    max_active: int = 1000
    min_active: int = 20
    acoustic_scale: float = 0.5
    insertion_penalty: float = 0.0
    retries: int = 2
    confidence_slope: float = 1.0
    confidence_offset: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.beam <= LARGEST and 0 < self.acoustic_scale <= LARGEST):
            raise ValueError(f"beam and acoustic_scale must be above 0, and at most {LARGEST:g}: {self}")
        if not abs(self.insertion_penalty) <= LARGEST:
            raise ValueError(f"insertion_penalty must lie within ±{LARGEST:g}: {self}")
        if not (0 <= self.confidence_slope <= LARGEST and abs(self.confidence_offset) <= LARGEST):
            raise ValueError(
                f"confidence_slope must lie between 0 and {LARGEST:g}, confidence_offset within ±{LARGEST:g}: {self}"
            )
        if not (0 <= self.min_active < self.max_active and 0 <= self.retries <= 20):
            raise ValueError(f"min_active must be 0 or more and below max_active, retries between 0 and 20: {self}")
        if self.max_active * 2**self.retries >= 2**31:
            raise ValueError(f"max_active, doubled {self.retries} times, must be below 2**31: {self}")


@dataclass(frozen=True)
class Hypothesis:
    """The words that were recognised: word i lies in steps [starts[i], ends[i]), with silence in between.

    `graph_cost` (words, pronunciations, silence, penalties) and `acoustic_cost` (scaled) add up to `cost`. Without
    `reached_final` the words are the likeliest beginning of a sentence, cut off by the end of the scores. `beam` is the
    one that the search ended with.
    """

    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    graph_cost: float
    acoustic_cost: float
    reached_final: bool
    beam: float

    @property
    def cost(self) -> float:
        return self.graph_cost + self.acoustic_cost

    @property
    def text(self) -> str:
        return " ".join(self.words)


def decode(graph: Graph, scores: Float[np.ndarray, "steps outputs"], options: SearchOptions) -> Hypothesis:
    """The likeliest words for `scores`, which are log posteriors minus log priors.

    Raises ValueError as `check_scores` does.
    """
    check_scores(graph, scores)
    graph = priced(graph, options.insertion_penalty)
    decodable = kaldi_decoder.DecodableCtc(_label_scores(graph, scores, options.acoustic_scale))
    for attempt in range(options.retries + 1):
        wider = widened(options, attempt)
        settings = kaldi_decoder.FasterDecoderOptions(
            beam=wider.beam, max_active=wider.max_active, min_active=wider.min_active
        )
        # The decoder borrows the transducer; `graph` outlives it here (otherwise it crashes).
        decoder = kaldi_decoder.FasterDecoder(graph.fst, settings)
        decoder.decode(decodable)
        if decoder.reached_final():
            break
    return _hypothesis(graph, decoder, settings.beam)


def check_scores(graph: Graph, scores: Float[np.ndarray, "steps outputs"]) -> None:
    """Check that scores fit the graph; raises ValueError where they are empty, not finite, or of another model."""
    if scores.shape[1] != graph.num_outputs:
        raise ValueError(
            f"scores of {scores.shape[1]} outputs, but the graph was built for {graph.num_outputs}: "
            "it belongs to another model, or to another tree"
        )
    if not len(scores):
        raise ValueError("no steps to decode: the recording is shorter than one step (62 ms)")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; perhaps a prior is 0, or the training diverged")


def widened(options: SearchOptions, attempt: int) -> SearchOptions:
    """The options of a repeated search, where attempt 0 is the first: beam and `max_active` are doubled each time."""
    beam, most = min(options.beam * 2**attempt, LARGEST), options.max_active * 2**attempt
    return replace(options, beam=beam, max_active=most, retries=0)


def lost(beam: float) -> ValueError:
    return ValueError(
        f"the search lost every path with a beam of {beam:g}: give the model a wider one with `mdasr tune`, or in the "
        "search of its model.json"
    )


def _label_scores(
    graph: Graph, scores: Float[np.ndarray, "steps outputs"], scale: float
) -> Float[np.ndarray, "steps labels"]:
    """The scores with one column for each input label, as the decoder needs them; several labels share an output."""
    return np.ascontiguousarray(scores[:, graph.outputs] * np.float32(scale), np.float32)


def _hypothesis(graph: Graph, decoder: kaldi_decoder.FasterDecoder, beam: float) -> Hypothesis:
    reached_final = decoder.reached_final()
    alive, path = decoder.get_best_path()
    if not alive:
        raise lost(beam)
    linear, inputs, words, weight = kaldifst.get_linear_symbol_sequence(path)
    if not linear or len(inputs) != decoder.num_frames_decoded():
        raise RuntimeError(f"the best path has {len(inputs)} steps, not {decoder.num_frames_decoded()}")
    return hypothesis_of(graph, inputs, words, weight.value1, weight.value2, reached_final, beam)


def hypothesis_of(
    graph: Graph,
    inputs: Sequence[int],
    words: Sequence[int],
    graph_cost: float,
    acoustic_cost: float,
    reached_final: bool,
    beam: float,
) -> Hypothesis:
    """The words of a path through the graph: `inputs` are its input labels, one a step, `words` its output labels."""
    starts, ends = _spans(graph, inputs)
    if reached_final and len(starts) != len(words):
        raise RuntimeError(f"the best path starts {len(starts)} words and names {len(words)}")
    # Where the scores end early, a word may have started and have no name yet, or have a name and not have started.
    count = min(len(starts), len(words))
    return Hypothesis(
        words=tuple(graph.words[label - 1] for label in words[:count]),
        starts=tuple(starts[:count]),
        ends=tuple(ends[:count]),
        graph_cost=graph_cost,
        acoustic_cost=acoustic_cost,
        reached_final=reached_final,
        beam=beam,
    )


def _spans(graph: Graph, inputs: Sequence[int]) -> tuple[list[int], list[int]]:
    """The first step of each word, and the step past its last one; `inputs` are input labels, one a step."""
    starts: list[int] = []
    ends: list[int] = []
    for step, number in enumerate(inputs):
        label = graph.labels[number - 1]
        if label.starts:
            starts.append(step)
            ends.append(step + 1)
        elif label.phone != SILENCE:
            ends[-1] = step + 1
    return starts, ends


@functools.lru_cache(maxsize=2)
def priced(graph: Graph, penalty: float) -> Graph:
    """The graph with `penalty` on every arc that names a word; it takes as long as a copy, so the result is kept."""
    if not penalty:
        return graph
    arcs = [f"0 0 {i} {i} {penalty}" for i in range(1, 1 + len(graph.words))]
    prices = kaldifst.compile("\n".join([*arcs, "0"]) + "\n")
    kaldifst.arcsort(prices, "ilabel")
    # `match_side` must be the sorted side: with the other one, compose silently loses arcs.
    priced = kaldifst.compose(graph.fst, prices, match_side="right")
    return Graph(kaldifst.StdConstFst(priced), graph.labels, graph.words, graph.num_outputs)
