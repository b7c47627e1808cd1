"""Phones with times for recordings that have nothing but transcripts, and how good such times are (§3.5).

Alignments become a sidecar of each corpus. They are made on unperturbed speech; perturbations keep time, so
that the labels stay valid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import kaldialign
import numpy as np
from jaxtyping import Float, Float32, Int

from mdasr import frontend
from mdasr.align.hmm import SILENT, UtteranceGraph
from mdasr.align.monophones import Aligner, AlignerOptions, train_monophones, transcript_graph
from mdasr.core.digests import digest
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Alignment, Alignments, Corpus, Utterance, write_alignments
from mdasr.language.lexicon import SILENCE, Lexicon

VERSION = 1  # raise it where the same options would give other alignments
_BOUNDARY = (frontend.WINDOW - frontend.HOP) // 2  # from a frame's start to halfway from the centre before to its own

Features: TypeAlias = Callable[[Utterance], Float32[np.ndarray, "frames dim"]]


@dataclass(frozen=True)
class AlignReport:
    """What `align` did; `name` is the sidecar's, `failed` holds (utterance's key, reason).

    `log_likelihoods` are those of the best paths a frame, one an iteration of the training; empty where the
    sidecars were there already.
    """

    name: str
    aligned: int
    failed: tuple[tuple[str, str], ...]
    log_likelihoods: tuple[float, ...] = ()

    def __str__(self) -> str:
        lines = [f"alignment {self.name}: {self.aligned} utterances aligned, {len(self.failed)} not"]
        lines += [f"  {key}: {reason}" for key, reason in self.failed[:10]]
        return "\n".join(lines + ["  ..."] * (len(self.failed) > 10))


def align(corpora: Sequence[Corpus], lexicon: Lexicon, options: AlignerOptions | None = None) -> AlignReport:
    """Train an aligner on `corpora` together and write each corpus' sidecar, named `AlignReport.name`.

    The name stands for the corpora, the options and the words' pronunciations; sidecars of that name are not
    made again. An utterance that cannot be aligned gets an empty alignment with the reason: words without
    pronunciation, too few frames, words that do not fit the sound. The same call gives the same bits.
    Raises ValueError where nothing can be aligned at all.
    """
    options = options or AlignerOptions()
    words = {word for corpus in corpora for utterance in corpus for word in utterance.text.split()}
    lexicon = Lexicon({word: lexicon.entries[word] for word in words if word in lexicon})
    shas = sorted(corpus.info["sha256"] for corpus in corpora)
    name = digest([VERSION, asdict(options), lexicon.text, shas])
    log_likelihoods: tuple[float, ...] = ()
    try:
        sidecars = [corpus.alignments(name) for corpus in corpora]
    except FileNotFoundError:
        features = make_features(corpora, options)
        aligner, log_likelihoods = train_monophones(_training_set(corpora, features, options), lexicon, options)
        sidecars = [
            write_alignments(corpus, name, (alignment(u, aligner, features) for u in corpus)) for corpus in corpora
        ]
    return alignment_report(name, corpora, sidecars, log_likelihoods)


def make_features(corpora: Sequence[Corpus], options: AlignerOptions) -> Features:
    """The aligner's features of an utterance, as a function: cepstra normalised by speaker, and derivatives.

    Bands above what the narrowest recording holds are left out of all of them, so that one model can align 8
    and 16 kHz recordings. Reads every recording once, for the speakers' means and deviations.
    """
    narrowest_hz = min(utterance.source_rate_hz for corpus in corpora for utterance in corpus)
    bands = usable_bands(narrowest_hz)

    def cepstra(utterance: Utterance) -> Float32[np.ndarray, "frames cepstra"]:
        log_mel = frontend.log_mel(utterance.samples)[:, :bands]
        return frontend.cepstra(log_mel, options.cepstra)

    sums: dict[tuple[str, str], np.ndarray] = {}
    for utterance in itertools.chain.from_iterable(corpora):
        x = cepstra(utterance).astype(np.float64)
        total = np.stack([np.full(x.shape[1], len(x)), x.sum(axis=0), (x**2).sum(axis=0)])
        speaker = (utterance.corpus, utterance.speaker)
        sums[speaker] = sums.get(speaker, 0) + total

    def features(utterance: Utterance) -> Float32[np.ndarray, "frames dim"]:
        count, total, squares = sums[utterance.corpus, utterance.speaker]
        mean = total / np.maximum(count, 1)
        deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 1e-4))
        normal = (cepstra(utterance) - mean) / deviation
        return frontend.add_deltas(normal.astype(np.float32)).astype(np.float32)

    return features


def usable_bands(rate_hz: int) -> int:
    """How many mel bands, from the lowest, lie wholly within what a recording at `rate_hz` can hold."""
    highest_bin = 0.45 * rate_hz * frontend.FFT_SIZE / RATE_HZ
    reach = frontend.FFT_SIZE // 2 - np.argmax(frontend.mel_filters()[::-1] > 0, axis=0)
    return int((reach <= highest_bin).sum())


def _training_set(
    corpora: Sequence[Corpus], features: Features, options: AlignerOptions
) -> Iterator[tuple[np.ndarray, str]]:
    hours = sum(int(corpus.num_samples.sum()) for corpus in corpora) / RATE_HZ / 3600
    stride = int(np.ceil(max(1.0, hours / options.train_hours)))
    for corpus in corpora:
        for i in range(0, len(corpus), stride):
            utterance = corpus[i]
            yield features(utterance), utterance.text


def alignment(utterance: Utterance, aligner: Aligner, features: Features) -> Alignment:
    """Align one utterance; where that fails, no phones and the reason."""
    try:
        graph = transcript_graph(utterance.text, aligner.lexicon, aligner.options)
        path, _ = aligner.best_path(x := features(utterance), graph)
    except ValueError as error:
        return Alignment(utterance.id, (), (), reason=str(error))
    if (misfit := aligner.misfit(x, graph, path)) > aligner.most_misfit:
        reason = f"the words do not fit the sound: misfit {misfit:.1f}, at most {aligner.most_misfit:.1f}"
        return Alignment(utterance.id, (), (), reason=reason)
    return alignment_of_path(path, graph, utterance, np.arange(len(path)) * frontend.HOP + _BOUNDARY)


def alignment_of_path(
    path: Int[np.ndarray, " frames"], graph: UtteranceGraph, utterance: Utterance, begins: Int[np.ndarray, " frames"]
) -> Alignment:
    """The phones along a path, whose frames begin at samples `begins`: halfway between the centres around that."""
    of_frame = graph.segment_of[path]
    starts = np.flatnonzero(np.diff(of_frame, prepend=-1))
    chosen = [graph.segments[i] for i in of_frame[starts]]
    ends = [*begins[starts[1:]], len(utterance.wave)]
    spans: dict[int, tuple[int, int]] = {}
    for i, segment in enumerate(chosen):
        if segment.word != SILENT:
            spans[segment.word] = (spans.get(segment.word, (i, i))[0], i + 1)
    text = utterance.text.split()
    words = tuple((text[word], first, last) for word, (first, last) in spans.items())
    phones = tuple(segment.phone for segment in chosen)
    return Alignment(utterance.id, phones, tuple(round(end / RATE_HZ, 5) for end in ends), words)


def boundary_errors(reference: Alignment, hypothesis: Alignment) -> Float[np.ndarray, " boundaries"]:
    """Seconds by which the hypothesis' boundaries come later, one for each boundary of the reference.

    Boundaries are the starts of all phones but silence, and the ends of those before a silence. Phones are
    paired by edit distance, silences apart; a boundary of a phone without partner is infinitely wrong.
    """
    ours, theirs = _spoken(reference), _spoken(hypothesis)
    pairs = kaldialign.align([p for p, *_ in ours], [p for p, *_ in theirs], "")
    mine, other, errors = iter(ours), iter(theirs), []
    for left, right in pairs:
        a = next(mine) if left else None
        b = next(other) if right else None
        if a:
            errors.append(b[1] - a[1] if b else np.inf)
            if a[3]:
                errors.append(b[2] - a[2] if b else np.inf)
    return np.asarray(errors, np.float64)


def agreement(
    references: Iterable[Alignment],
    hypotheses: Iterable[Alignment],
    tolerances_s: Sequence[float] = (0.02, 0.05),
) -> tuple[float, ...]:
    """The share of the references' boundaries that the hypotheses have within each tolerance."""
    pairs = zip(references, hypotheses, strict=True)
    errors = np.abs(np.concatenate([boundary_errors(*pair) for pair in pairs]))
    return tuple(float((errors <= tolerance).mean()) for tolerance in tolerances_s)


def _spoken(alignment: Alignment) -> list[tuple[str, float, float, bool]]:
    """(phone, start, end, whether silence follows) of every phone but silence."""
    starts, following = (0.0, *alignment.ends_s), (*alignment.phones[1:], SILENCE)
    rows = zip(alignment.phones, starts, alignment.ends_s, following)
    return [(p, start, end, after == SILENCE) for p, start, end, after in rows if p != SILENCE]


def alignment_report(
    name: str,
    corpora: Sequence[Corpus],
    sidecars: Sequence[Alignments],
    log_likelihoods: tuple[float, ...] = (),
) -> AlignReport:
    """What the corpora's sidecars hold, and whose alignment failed, with the reason."""
    failed = [
        (corpus[int(i)].key, sidecar[int(i)].reason)
        for corpus, sidecar in zip(corpora, sidecars)
        for i in np.flatnonzero(~sidecar.usable)
    ]
    aligned = sum(map(len, corpora)) - len(failed)
    return AlignReport(name, aligned, tuple(failed), log_likelihoods)
