"""Forced alignment by a trained network, for speech of a new domain that may be too little for a flat start."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import scipy.special
from jaxtyping import Float, Int

from mdasr.align.flat_start import alignment_of_path, alignment_report, silence
from mdasr.align.hmm import UtteranceGraph, utterance_graph, viterbi
from mdasr.align.monophones import outlier
from mdasr.align.tree import Tree, leaves_below
from mdasr.core.digests import digest
from mdasr.core.progress import track
from mdasr.corpus.records import Alignment, Corpus, Utterance, write_alignments
from mdasr.frontend import Subsampling
from mdasr.language.lexicon import SILENCE, Lexicon, listed
from mdasr.model.directory import Recognizer, params_digest
from mdasr.recognize.network_scores import score_blocks

VERSION = 2
SILENCE_PROBABILITY = 0.5
# Misfits in nats a step. For speech that the network knows, right transcripts come to 0.1 in the median, 1.5 at most.
# Transcripts of other utterances of that length come to 5. On an unknown channel, right ones come to 5, too: at 8 kHz,
# only the vowel of "six" is heard. So a misfit must also lie so many robust deviations above the corpus' median.
MOST_MISFIT = 3.0
DEVIATIONS = 8.0


def realign(recognizer: Recognizer, corpus: Corpus, lexicon: Lexicon) -> str:
    """Align a corpus by the network's phones, write the sidecar, and return its name, which depends on all of this.

    Boundaries are those of steps (30 ms). An utterance that cannot be aligned gets an empty alignment with the reason.
    The same is true where `misfit` is above `MOST_MISFIT` and lies `DEVIATIONS` above what is usual in the corpus.
    These utterances are printed. Raises ValueError for phones of the lexicon that the network does not know.
    """
    if strange := sorted({*lexicon.phones} - {*recognizer.language.tree.phones}):
        raise ValueError(f"the model does not know the phones {listed(strange)}; give a lexicon in its own phones")
    name = digest([VERSION, params_digest(recognizer.params), lexicon.text, corpus.info["sha256"]])
    try:
        corpus.alignments(name)
    except FileNotFoundError:
        made = alignment_report(
            name, [corpus], [write_alignments(corpus, name, _alignments(recognizer, corpus, lexicon))]
        )
        if made.failed:
            print(made, file=sys.stderr)
    return name


def phone_scores(
    tree: Tree, log_posteriors: Float[np.ndarray, "steps outputs"], log_priors: Float[np.ndarray, " outputs"]
) -> Float[np.ndarray, "steps phones"]:
    """Log posterior minus log prior of every phone, from the sums over its CDPhones."""
    columns = []
    for root in tree.roots:
        leaves = [*leaves_below(root)]
        prior = scipy.special.logsumexp(log_priors[leaves])
        columns.append(scipy.special.logsumexp(log_posteriors[:, leaves], axis=1) - prior)
    return np.stack(columns, axis=1)


def _alignments(recognizer: Recognizer, corpus: Corpus, lexicon: Lexicon) -> Iterator[Alignment]:
    outputs = {phone: i for i, phone in enumerate(recognizer.language.tree.phones)}
    aligned: list[tuple[Alignment, float]] = []
    heard = itertools.chain.from_iterable(score_blocks(recognizer, (utterance.samples for utterance in corpus)))
    # The utterances are read a second time, which costs less than to hold a block of them.
    for utterance, of_outputs in zip(track(corpus, desc="aligning", unit="utt", delay=2), heard):
        log_posteriors = of_outputs + recognizer.score_offsets
        of_phones = phone_scores(recognizer.language.tree, log_posteriors, recognizer.log_priors)
        aligned.append(_alignment(utterance, of_phones, lexicon, outputs, recognizer.subsampling))
    misfits = np.array([short for alignment, short in aligned if alignment.words])
    limit = max(MOST_MISFIT, outlier(misfits, DEVIATIONS)) if len(misfits) else MOST_MISFIT
    for alignment, short in aligned:
        if short > limit:
            reason = f"the words do not fit the sound: misfit {short:.1f}, at most {limit:.1f}; correct the transcript"
            alignment = Alignment(alignment.id, (), (), reason=reason)
        yield alignment


def misfit(
    of_phones: Float[np.ndarray, "steps phones"],
    graph: UtteranceGraph,
    path: Int[np.ndarray, " steps"],
    silence: int,
) -> float:
    """The mean difference, in nats a step, between the likeliest phones and the phones of `path`.

    Steps that are silence in both (the phone numbered `silence`) do not count. Otherwise words that nobody says, or
    speech that has no words, could hide among them.
    """
    shortfall = of_phones.max(axis=1) - of_phones[np.arange(len(path)), graph.outputs[path]]
    speech = (graph.outputs[path] != silence) | (of_phones.argmax(axis=1) != silence)
    return float(shortfall[speech].mean()) if speech.any() else 0.0


def _alignment(
    utterance: Utterance,
    of_phones: Float[np.ndarray, "steps phones"],
    lexicon: Lexicon,
    outputs: dict[str, int],
    subsampling: Subsampling,
) -> tuple[Alignment, float]:
    """The alignment of an utterance and its misfit, which is 0 where there is no alignment, and without words."""
    words = utterance.text.split()
    if not words:
        return silence(utterance), 0.0
    try:
        if unknown := [word for word in dict.fromkeys(words) if word not in lexicon]:
            raise ValueError(f"no pronunciation for {listed(unknown)}; add it to the lexicon")
        graph = utterance_graph(words, lexicon, outputs, 1, SILENCE_PROBABILITY)
        path, _ = viterbi(of_phones, graph)
    except ValueError as error:
        return Alignment(utterance.id, (), (), reason=str(error)), 0.0
    starts = subsampling.label_centres(len(path)) - subsampling.step_samples // 2
    aligned = alignment_of_path(path, graph, utterance, starts)
    return aligned, misfit(of_phones, graph, path, outputs[SILENCE])
