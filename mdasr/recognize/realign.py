"""Forced alignment by a trained network, for speech of a new domain that may be too little for a flat start."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.special
from jaxtyping import Float, Int

from mdasr.align.flat_start import alignment_of_path, alignment_report, silence
from mdasr.align.hmm import UtteranceGraph, utterance_graph, viterbi
from mdasr.align.monophones import outlier
from mdasr.align.tree import Tree, leaves_below
from mdasr.core.digests import digest
from mdasr.core.progress import track
from mdasr.corpus.measures import implausible
from mdasr.corpus.records import Alignment, Corpus, Utterance, write_alignments
from mdasr.frontend import Subsampling
from mdasr.language.lexicon import SILENCE, Lexicon, listed
from mdasr.model.directory import Recognizer, params_digest
from mdasr.recognize.network_scores import score_blocks

VERSION = 3
SILENCE_PROBABILITY = 0.5
# Misfits in nats a step. For speech that the network knows, right transcripts come to 0.1 in the median, 1.5 at most.
# Transcripts of other utterances of that length come to 5. On an unknown channel, right ones come to 5, too: at 8 kHz,
# only the vowel of "six" is heard. So a misfit must also lie so many robust deviations above the corpus' median.
MOST_MISFIT = 3.0
DEVIATIONS = 8.0
# Where all transcripts are wrong, the median is wrong, too. So words compete with RIVALS other texts of about their
# length, and with their own phones from the last to the first. They fit if none of these explains the sound better.
# Tried on four real corpora and a network of synthetic speech: right words fit in 86% to 96% of the utterances, and
# words of other utterances in 9% to 19%.
RIVALS = 3
LEAST_FIT = 0.7  # a smaller share of utterances whose words fit is a reason for a warning
ABOVE_CHANCE = 0.2  # a smaller share above that of wrong words is an error in
ENOUGH = 10  # or more utterances with words


def realign(recognizer: Recognizer, corpus: Corpus, lexicon: Lexicon) -> str:
    """Align a corpus by the network's phones, write the sidecar, and return its name, which depends on all of this.

    Boundaries are those of steps (30 ms). An utterance that cannot be aligned gets an empty alignment with the reason.
    The same is true where `misfit` is above `MOST_MISFIT` and lies `DEVIATIONS` above what is usual in the corpus, and
    for phones of implausible length. These utterances are printed. So is the share of utterances whose words fit, if it
    is low. Raises ValueError for phones of the lexicon that the network does not know, and where hardly any words fit.
    """
    if strange := sorted({*lexicon.phones} - {*recognizer.language.tree.phones}):
        raise ValueError(f"the model does not know the phones {listed(strange)}; give a lexicon in its own phones")
    name = digest([VERSION, params_digest(recognizer.params), lexicon.text, corpus.info["sha256"]])
    try:
        corpus.alignments(name)
    except FileNotFoundError:
        alignments = _alignments(recognizer, corpus, lexicon)
        made = alignment_report(name, [corpus], [write_alignments(corpus, name, alignments)])
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


def _alignments(recognizer: Recognizer, corpus: Corpus, lexicon: Lexicon) -> list[Alignment]:
    outputs = {phone: i for i, phone in enumerate(recognizer.language.tree.phones)}
    aligned: list[tuple[Alignment, float]] = []
    fits: list[bool] = []
    rivals = Rivals(corpus, lexicon)
    heard = itertools.chain.from_iterable(score_blocks(recognizer, (utterance.samples for utterance in corpus)))
    # The utterances are read a second time, which costs less than to hold a block of them.
    for utterance, of_outputs in zip(track(corpus, desc="aligning", unit="utt", delay=2), heard):
        log_posteriors = of_outputs + recognizer.score_offsets
        of_phones = phone_scores(recognizer.language.tree, log_posteriors, recognizer.log_priors)
        found, misfit, score = _alignment(utterance, of_phones, lexicon, outputs, recognizer.subsampling)
        aligned.append((found, misfit))
        if found.words:
            others = (_log_likelihood(of_phones, *other, outputs) for other in rivals.of(utterance.text))
            fits.append(score >= max(others))
    check_fit(corpus, fits, rivals.chance)
    misfits = np.array([short for alignment, short in aligned if alignment.words])
    limit = max(MOST_MISFIT, outlier(misfits, DEVIATIONS)) if len(misfits) else MOST_MISFIT

    def reason(one: Alignment, misfit: float) -> str:
        if misfit > limit:
            return f"misfit {misfit:.1f}, at most {limit:.1f}; correct the transcript"
        return implausible(one)

    return [
        Alignment(one.id, (), (), reason=f"the words do not fit the sound: {why}")
        if (why := reason(one, short))
        else one
        for one, short in aligned
    ]


class Rivals:
    """Texts that compete with the transcripts of a corpus for their sounds."""

    def __init__(self, corpus: Corpus, lexicon: Lexicon) -> None:
        texts = {u.text for u in corpus if u.text and all(word in lexicon for word in u.text.split())}
        self._lexicon = lexicon
        self._backwards = Lexicon(
            {word: tuple((phones[::-1], p) for phones, p in said) for word, said in lexicon.entries.items()}
        )
        self._by_length = sorted(texts, key=lambda text: (self._length(text), text))
        self._place = {text: i for i, text in enumerate(self._by_length)}

    def _length(self, text: str) -> int:
        return sum(len(self._lexicon.entries[word][0][0]) for word in text.split())

    @property
    def chance(self) -> float:
        """The share of utterances whose words fit where all words are wrong."""
        return 1 / (2 + min(RIVALS, max(len(self._by_length) - 1, 0)))

    def of(self, text: str) -> Iterator[tuple[list[str], Lexicon]]:
        """The words and lexicons of a text's rivals: itself backwards, and other texts of about its length."""
        yield text.split()[::-1], self._backwards
        here = self._place[text]
        near = [*self._by_length[max(here - RIVALS, 0) : here], *self._by_length[here + 1 : here + 1 + RIVALS]]
        near.sort(key=lambda other: abs(self._length(other) - self._length(text)))
        yield from ((other.split(), self._lexicon) for other in near[:RIVALS])


def check_fit(corpus: Corpus, fits: Sequence[bool], chance: float) -> None:
    """Warn where the words of many utterances do not fit, and raise ValueError where hardly any do."""
    if not fits or (share := float(np.mean(fits))) >= LEAST_FIT:
        return
    said = (
        f"{corpus.directory}: the words fit the sound in {share:.0%} of {len(fits)} utterances, where wrong words fit "
        f"in some {chance:.0%}. Are the transcripts those of these recordings, and in the language of the model?"
    )
    if share < chance + ABOVE_CHANCE and len(fits) >= ENOUGH:
        raise ValueError(f"{said} Correct them, or train from scratch with `mdasr train`")
    print(said, file=sys.stderr)


def _log_likelihood(
    of_phones: Float[np.ndarray, "steps phones"], words: Sequence[str], lexicon: Lexicon, outputs: dict[str, int]
) -> float:
    """The log likelihood of the best path of some words; minus infinity where the sound is too short for them."""
    graph = utterance_graph(words, lexicon, outputs, 1, SILENCE_PROBABILITY)
    return viterbi(of_phones, graph)[1] if len(of_phones) >= graph.fewest_frames else -np.inf


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
) -> tuple[Alignment, float, float]:
    """The alignment of an utterance, its misfit and its log likelihood; 0 where there is no path, or no words."""
    words = utterance.text.split()
    if not words:
        return silence(utterance), 0.0, 0.0
    try:
        if unknown := [word for word in dict.fromkeys(words) if word not in lexicon]:
            raise ValueError(f"no pronunciation for {listed(unknown)}; add it to the lexicon")
        graph = utterance_graph(words, lexicon, outputs, 1, SILENCE_PROBABILITY)
        path, score = viterbi(of_phones, graph)
        starts = subsampling.label_centres(len(path)) - subsampling.step_samples // 2
        aligned = alignment_of_path(path, graph, utterance, starts)
    except ValueError as error:
        return Alignment(utterance.id, (), (), reason=str(error)), 0.0, 0.0
    return aligned, misfit(of_phones, graph, path, outputs[SILENCE]), score
