"""From waveforms to words: recognition of many recordings, with or without lattices, and the count of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32

from mdasr.corpus.records import Utterance
from mdasr.decode.graph import Graph
from mdasr.decode.lattice import LATTICE_BEAM, Lattice, search_lattice
from mdasr.decode.paths import nbest
from mdasr.decode.rescore import GrammarCosts, rescore
from mdasr.decode.search import Hypothesis, SearchOptions, decode
from mdasr.language.lexicon import listed
from mdasr.language.respelling import read_as_in_transcripts
from mdasr.model.gmm_directory import Model
from mdasr.perturb import Policy, draw, perturb
from mdasr.perturb.room import Sounds
from mdasr.recognize.network_scores import score_blocks
from mdasr.score.wer import Scored, count_errors

T = TypeVar("T")


def recognize(
    recognizer: Model, waves: Iterable[Float[np.ndarray, " _"]], pool: Executor | None = None
) -> list[Hypothesis]:
    """The likeliest words of each 16 kHz waveform, in one pass of beam search; `waves` may be a generator.

    With a `pool` of processes, the search is divided among them, because it holds the interpreter's lock. The words are
    the same.
    """
    job = partial(_decode_here, recognizer.language.graph, recognizer.search)
    if pool:
        job = partial(_decode_elsewhere, recognizer.language.directory / "graph", recognizer.search)
    return _each(job, score_blocks(recognizer, waves), pool)


def _each(
    job: Callable[[Float32[np.ndarray, "_ outputs"]], T],
    blocks: Iterable[list[Float32[np.ndarray, "_ outputs"]]],
    pool: Executor | None,
) -> list[T]:
    """Apply `job` to all items of the blocks; a block is finished before the next one is made."""
    shared = partial(pool.map, chunksize=8) if pool else map
    return [result for block in blocks for result in shared(job, block)]


@cache
def _read_graph(directory: Path) -> Graph:
    return Graph.read(directory)


def _decode_here(graph: Graph, search: SearchOptions, scores: Float32[np.ndarray, "steps outputs"]) -> Hypothesis:
    return decode(graph, scores, search)


def _decode_elsewhere(graph: Path, search: SearchOptions, scores: Float32[np.ndarray, "steps outputs"]) -> Hypothesis:
    return decode(_read_graph(graph), scores, search)


def recognize_lattices(
    recognizer: Model,
    waves: Iterable[Float[np.ndarray, " _"]],
    pool: Executor | None = None,
    rescore_with: Path | None = None,
) -> list[tuple[Hypothesis, Lattice]]:
    """The likeliest words of each 16 kHz waveform, and a lattice of everything that may have been said.

    The words are those of `recognize`, and so is `pool`. With `rescore_with`, the ARPA file of an n-gram model, the
    costs of that model replace those of the recogniser's own in the lattice. The words are then the likeliest ones
    there.
    """
    directory, search = recognizer.language.directory, recognizer.search
    job = partial(_lattice, recognizer.language.graph, directory, search, rescore_with)
    if pool:
        job = partial(_lattice_elsewhere, directory, search, rescore_with)
    return _each(job, score_blocks(recognizer, waves), pool)


@lru_cache(maxsize=2)
def _read_grammar(arpa: Path) -> GrammarCosts:
    return GrammarCosts(read_as_in_transcripts(arpa))


def check_rescoring(recognizer: Model, arpa: Path) -> None:
    """Check the n-gram model to rescore with; raises ValueError where it is broken or lacks words of the recogniser."""
    words = recognizer.graph.words
    if strange := _read_grammar(arpa).unsayable(words):
        raise ValueError(
            f"{arpa}: lacks {len(strange)} of the model's {len(words)} words: {listed(strange)}. Make it "
            "again with `mdasr lm train` from text that has them, or with <unk> in its --vocabulary"
        )


def _lattice(
    graph: Graph,
    directory: Path,
    search: SearchOptions,
    rescore_with: Path | None,
    scores: Float32[np.ndarray, "steps outputs"],
) -> tuple[Hypothesis, Lattice]:
    best, lattice = search_lattice(graph, scores, search)
    if rescore_with is None:
        return best, lattice
    lattice = rescore(lattice, _read_grammar(directory / "lm.arpa"), _read_grammar(rescore_with), LATTICE_BEAM)
    return nbest(lattice, 1)[0], lattice


def _lattice_elsewhere(
    directory: Path, search: SearchOptions, rescore_with: Path | None, scores: Float32[np.ndarray, "steps outputs"]
) -> tuple[Hypothesis, Lattice]:
    return _lattice(_read_graph(directory / "graph"), directory, search, rescore_with, scores)


def heard(
    utterances: Iterable[Utterance], policy: Policy, noises: Sounds, seed: int, measured: Sounds | None = None
) -> Iterator[np.ndarray]:
    """The waveforms of a test set in the condition that `policy` fixes: the same ones for every model."""
    for utterance in utterances:
        yield perturb(utterance.samples, draw(policy, seed, utterance.key, 0), noises, measured)


def evaluate(
    recognizer: Model, utterances: Iterable[Utterance], waves: Iterable[np.ndarray], pool: Executor | None = None
) -> list[Scored]:
    """Recognise `waves`, the waveforms of `utterances` in any condition, and count the errors."""
    return scored_as(utterances, recognize(recognizer, waves, pool))


def scored_as(
    utterances: Iterable[Utterance], found: Sequence[Hypothesis], normalize: Callable[[str], str] = str
) -> list[Scored]:
    """Count the errors of the hypothesis `found` for each utterance, after `normalize` has rewritten both texts."""
    scored = []
    for u, h in zip(utterances, found, strict=True):
        reference, hypothesis = normalize(u.text), normalize(" ".join(h.words))
        errors = count_errors(reference.split(), hypothesis.split())
        scored.append(Scored(u.id, u.speaker, reference, hypothesis, errors))
    return scored
