"""Single-pass beam search over a decoding graph (§3.6): the one place that touches kaldi-decoder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import kaldi_decoder
import kaldifst
import numpy as np
from jaxtyping import Float

from mdasr.decode.graph import Graph
from mdasr.language.lexicon import SILENCE

LARGEST = 1e6  # of a beam, a scale or a penalty: what is larger is a mistake, and loses every path to rounding


@dataclass(frozen=True)
class SearchOptions:
    """How to search: costs are -log p, so `beam` is in nats after scaling.

    At each step at most `max_active` states are followed and, whatever the beam, at least `min_active`.
    Scores are multiplied by `acoustic_scale`; every word costs `insertion_penalty` (negative: a bonus). Where
    no end of a sentence is within the beam, the search is repeated up to `retries` times with beam and
    `max_active` doubled. The log odds that a word is right are `confidence_slope` times those that the lattice
    gives it, plus `confidence_offset` (`tune.calibrate`).
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
                f"confidence_slope must be 0 or more, it and confidence_offset at most {LARGEST:g}: {self}"
            )
        if not (0 <= self.min_active < self.max_active and 0 <= self.retries <= 20):
            raise ValueError(f"min_active must be below max_active, it and retries 0 or more, retries up to 20: {self}")
        if self.max_active * 2**self.retries >= 2**31:
            raise ValueError(f"max_active, doubled {self.retries} times, must be below 2**31: {self}")


@dataclass(frozen=True)
class Hypothesis:
    """What was heard: word i lies in steps [starts[i], ends[i]); silence is between them.

    `graph_cost` (words, pronunciations, silence, penalties) and `acoustic_cost` (scaled) add up to `cost`.
    Without `reached_final` the words are the likeliest beginning of a sentence, cut off by the end of the
    scores. `beam` is the one that the search ended with.
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
    """The likeliest words for `scores`, which are log posteriors less log priors; ValueError as `check_scores`."""
    check_scores(graph, scores)
    graph = priced(graph, options.insertion_penalty)
    decodable = kaldi_decoder.DecodableCtc(_label_scores(graph, scores, options.acoustic_scale))
    for attempt in range(options.retries + 1):
        settings = kaldi_decoder.FasterDecoderOptions(
            beam=options.beam * 2**attempt,
            max_active=min(options.max_active * 2**attempt, 2**31 - 1),
            min_active=options.min_active,
        )
        # The decoder borrows the transducer; `graph` outlives it here (otherwise it crashes).
        decoder = kaldi_decoder.FasterDecoder(graph.fst, settings)
        decoder.decode(decodable)
        if decoder.reached_final():
            break
    return _hypothesis(graph, decoder, settings.beam)


def check_scores(graph: Graph, scores: Float[np.ndarray, "steps outputs"]) -> None:
    """ValueError where scores are empty, not finite, or not those of the model that the graph was built for."""
    if scores.shape[1] != graph.num_outputs:
        raise ValueError(
            f"scores of {scores.shape[1]} outputs, but the graph was built for {graph.num_outputs}: "
            "it belongs to another model, or to another tree"
        )
    if not len(scores):
        raise ValueError("no steps to decode: the recording is shorter than one step (62 ms)")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; a prior of 0 does this, or a training that diverged")


class Search:
    """A search that is fed scores as they come, with the words so far at any time; at the end the words of `decode`."""

    def __init__(self, graph: Graph, options: SearchOptions) -> None:
        self._whole = graph
        self._graph, self._options = priced(graph, options.insertion_penalty), options
        settings = kaldi_decoder.FasterDecoderOptions(
            beam=options.beam, max_active=options.max_active, min_active=options.min_active
        )
        self._decoder = kaldi_decoder.FasterDecoder(self._graph.fst, settings)
        self._decoder.init_decoding()
        self._heard: list[Float[np.ndarray, "_ outputs"]] = []
        self.steps = 0  # that have been heard

    def accept(self, scores: Float[np.ndarray, "_ outputs"]) -> None:
        """Go on over more steps, as `decode` takes them."""
        if not len(scores):
            return
        labels = _label_scores(self._graph, scores, self._options.acoustic_scale)
        self._decoder.advance_decoding(kaldi_decoder.DecodableCtc(labels, offset=self.steps))
        self._heard.append(scores)
        self.steps += len(scores)

    def best(self) -> Hypothesis:
        """The likeliest words so far; ValueError before the first step."""
        if not self._heard:
            raise ValueError("no steps to decode yet")
        return _hypothesis(self._graph, self._decoder, self._options.beam)

    def since(self, step: int) -> Search:
        """A search that begins anew at `step` and has heard what this one has since."""
        search = Search(self._whole, self._options)
        if step < self.steps:
            search.accept(np.concatenate(self._heard)[step:])
        return search

    def finish(self) -> Hypothesis:
        """The words of all that was heard, searched anew with a wider beam where no end of a sentence was found."""
        if self._heard and self._decoder.reached_final():
            return self.best()
        return decode(
            self._whole, np.concatenate(self._heard or [np.empty((0, self._whole.num_outputs))]), self._options
        )


def _label_scores(
    graph: Graph, scores: Float[np.ndarray, "steps outputs"], scale: float
) -> Float[np.ndarray, "steps labels"]:
    """One column an input label, as the decoder wants them; several labels share an output."""
    return np.ascontiguousarray(scores[:, graph.outputs] * np.float32(scale), np.float32)


def _hypothesis(graph: Graph, decoder: kaldi_decoder.FasterDecoder, beam: float) -> Hypothesis:
    reached_final = decoder.reached_final()
    alive, path = decoder.get_best_path()
    if not alive:
        raise RuntimeError("the search lost every path; the graph has a state that leads nowhere")
    linear, inputs, words, weight = kaldifst.get_linear_symbol_sequence(path)
    if not linear or len(inputs) != decoder.num_frames_decoded():
        raise RuntimeError(f"the best path has {len(inputs)} steps of {decoder.num_frames_decoded()}")
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
    """The words of a path through the graph, whose input labels, one a step, are `inputs` and output labels `words`."""
    starts, ends = _spans(graph, inputs)
    if reached_final and len(starts) != len(words):
        raise RuntimeError(f"the best path starts {len(starts)} words and names {len(words)}")
    # Where the scores break off, a word may have started and not be named yet, or be named and not have started.
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
    """First step of each word, and the step past its last; `inputs` are input labels, one a step."""
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
    """The graph with `penalty` on every arc that names a word; takes as long as copying it, so it is kept."""
    if not penalty:
        return graph
    arcs = [f"0 0 {i} {i} {penalty}" for i in range(1, 1 + len(graph.words))]
    prices = kaldifst.compile("\n".join([*arcs, "0"]) + "\n")
    kaldifst.arcsort(prices, "ilabel")
    # Must name the side that is sorted: with the other one, compose loses arcs and says nothing.
    priced = kaldifst.compose(graph.fst, prices, match_side="right")
    return Graph(kaldifst.StdConstFst(priced), graph.labels, graph.words, graph.num_outputs)
