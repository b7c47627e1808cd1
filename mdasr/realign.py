"""Forced alignment by a trained network: for speech of a new domain, of which there may be too little to start flat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import scipy.special
from jaxtyping import Float
from tqdm import tqdm

from mdasr import frontend
from mdasr.acoustic.align import segments
from mdasr.acoustic.hmm import utterance_graph, viterbi
from mdasr.acoustic.tying import Tree, leaves_below
from mdasr.data.records import Alignment, Corpus, Utterance, write_alignments
from mdasr.language.lexicon import Lexicon, listed
from mdasr.recognizer import Recognizer, params_digest, score_blocks
from mdasr.spec import digest

VERSION = 1
SILENCE_PROBABILITY = 0.5


def realign(recognizer: Recognizer, corpus: Corpus, lexicon: Lexicon) -> str:
    """Align a corpus by the network's phones and write the sidecar; returns its name, which stands for all of that.

    Boundaries are those of steps (30 ms). An utterance that cannot be aligned gets an empty alignment with the reason.
    Raises ValueError for phones of the lexicon that the network does not know.
    """
    if strange := sorted({*lexicon.phones} - {*recognizer.language.tree.phones}):
        raise ValueError(f"the model does not know the phones {listed(strange)}; give a lexicon in its own phones")
    name = digest([VERSION, params_digest(recognizer.params), lexicon.text, corpus.info["sha256"]])
    try:
        corpus.alignments(name)
    except FileNotFoundError:
        write_alignments(corpus, name, _alignments(recognizer, corpus, lexicon))
    return name


def phone_scores(
    tree: Tree, found: Float[np.ndarray, "steps outputs"], log_priors: Float[np.ndarray, " outputs"]
) -> Float[np.ndarray, "steps phones"]:
    """Log posterior less log prior of every phone: those of its CDPhones added up. `found` is `recognizer.scores`'."""
    columns = []
    for root in tree.roots:
        leaves = [*leaves_below(root)]
        prior = scipy.special.logsumexp(log_priors[leaves])
        columns.append(scipy.special.logsumexp(found[:, leaves] + log_priors[leaves], axis=1) - prior)
    return np.stack(columns, axis=1)


def _alignments(recognizer: Recognizer, corpus: Corpus, lexicon: Lexicon) -> Iterator[Alignment]:
    outputs = {phone: i for i, phone in enumerate(recognizer.language.tree.phones)}
    heard = itertools.chain.from_iterable(score_blocks(recognizer, (utterance.samples for utterance in corpus)))
    # Read a second time, as that costs less than to hold a block of them.
    for utterance, found in zip(tqdm(corpus, desc="aligning", unit="utt", delay=2), heard):
        of_phones = phone_scores(recognizer.language.tree, found, recognizer.log_priors)
        yield _alignment(utterance, of_phones, lexicon, outputs)


def _alignment(
    utterance: Utterance, of_phones: Float[np.ndarray, "steps phones"], lexicon: Lexicon, outputs: dict[str, int]
) -> Alignment:
    words = utterance.text.split()
    try:
        if unknown := [word for word in dict.fromkeys(words) if word not in lexicon]:
            raise ValueError(f"no pronunciation for {listed(unknown)}; add it to the lexicon")
        graph = utterance_graph(words, lexicon, outputs, 1, SILENCE_PROBABILITY)
        path, _ = viterbi(of_phones, graph)
    except ValueError as error:
        return Alignment(utterance.id, (), (), reason=str(error))
    half_a_step = frontend.STRIDE * frontend.HOP // 2
    return segments(path, graph, utterance, frontend.step_centres(len(path)) - half_a_step)
