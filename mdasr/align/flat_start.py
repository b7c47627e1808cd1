"""Alignment of recordings that have only transcripts, and the accuracy of such alignments (§3.5).

The alignments are a sidecar of each corpus. They are made on unperturbed speech. Perturbations do not shift times, so
the labels stay valid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeAlias

import kaldialign
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from mdasr import frontend
from mdasr.align.hmm import SILENT, UtteranceGraph
from mdasr.align.monophones import Aligner, AlignerOptions, train_monophones, transcript_graph
from mdasr.core.digests import digest
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.measures import implausible, modulation, noise_alone
from mdasr.corpus.records import Alignment, Alignments, Corpus, Utterance, write_alignments
from mdasr.language.lexicon import SILENCE, Lexicon

VERSION = 3  # raise it with a change after which the same options give other alignments
_BOUNDARY = (frontend.WINDOW - frontend.HOP) // 2  # from a frame's start to halfway between the last centre and its own
_MOST_SHORTEST, _FEW = 0.55, 6  # the largest share of phones of 30 ms (0.5 in AN4), and the fewest phones with a share
_LONG_S, _ENOUGH_S = 60.0, 120.0  # recordings up to the first train the aligner alone, if there is so much of them

Features: TypeAlias = Callable[[Utterance], Float32[np.ndarray, "frames dim"]]


@dataclass(frozen=True)
class AlignReport:
    """The result of `align`. `name` is the sidecar's name, and `failed` holds (utterance's key, reason).

    `log_likelihoods` has one value for each iteration of the training: that of the best paths, for each frame. It is
    empty where the sidecars existed before.
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
    """Train one aligner on all `corpora` and write each corpus' sidecar, named `AlignReport.name`.

    The name is a digest of the corpora, the options and the words' pronunciations. Existing sidecars of that name are
    not made again. An utterance that cannot be aligned gets an empty alignment with the reason. Reasons are words
    without pronunciation, too few frames, noise without speech, words that do not fit the sound, and phones of
    implausible length. An utterance without words is aligned with silence and trains no aligner. The same call gives
    the same bits. Raises ValueError where no utterance with words can be aligned.
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
    """Return a function from an utterance to the aligner's features: cepstra normalised by speaker, and derivatives.

    The features are those of frames with sound (`sounding`): digital silence is no part of a speaker's mean. All
    recordings use only the bands that the narrowest recording has, so that one model can align 8 and 16 kHz recordings.
    Every recording is read once here, for the speakers' means and deviations. The function raises ValueError for an
    utterance without sound, and for one that is noise alone.
    """
    narrowest_hz = min(utterance.source_rate_hz for corpus in corpora for utterance in corpus)
    bands = usable_bands(narrowest_hz)

    def cepstra(utterance: Utterance) -> Float32[np.ndarray, "frames cepstra"]:
        log_mel = frontend.log_mel(utterance.samples)[sounding(utterance.wave), :bands]
        return frontend.cepstra(log_mel, options.cepstra)

    sums: dict[tuple[str, str], np.ndarray] = {}
    for utterance in itertools.chain.from_iterable(corpora):
        x = cepstra(utterance).astype(np.float64)
        total = np.stack([np.full(x.shape[1], len(x)), x.sum(axis=0), (x**2).sum(axis=0)])
        speaker = (utterance.corpus, utterance.speaker)
        sums[speaker] = sums.get(speaker, 0) + total

    def features(utterance: Utterance) -> Float32[np.ndarray, "frames dim"]:
        if not np.ptp(utterance.wave.astype(np.int32)):
            raise ValueError("there is no sound: all samples are equal")
        if noise_alone(utterance.seconds, depth := modulation(utterance.wave)):
            raise ValueError(f"there is noise, and no speech: a modulation of {depth:.2f}; speech has about 1")
        count, total, squares = sums[utterance.corpus, utterance.speaker]
        mean = total / np.maximum(count, 1)
        deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 1e-4))
        normal = (cepstra(utterance) - mean) / deviation
        return frontend.add_deltas(normal.astype(np.float32)).astype(np.float32)

    return features


def sounding(wave: Shaped[np.ndarray, " samples"]) -> Bool[np.ndarray, " frames"]:
    """Whether each frame of a 16 kHz waveform has sound. In digital silence, all samples of a frame are equal."""
    if len(wave) < frontend.WINDOW:
        return np.zeros(0, bool)
    windows = np.lib.stride_tricks.sliding_window_view(wave, frontend.WINDOW)[:: frontend.HOP]
    return (windows != windows[:, :1]).any(axis=1)


def usable_bands(rate_hz: int) -> int:
    """The number of mel bands, from the lowest, that are completely below the limit of recordings at `rate_hz`."""
    highest_bin = 0.45 * rate_hz * frontend.FFT_SIZE / RATE_HZ
    reach = frontend.FFT_SIZE // 2 - np.argmax(frontend.mel_filters()[::-1] > 0, axis=0)
    return int((reach <= highest_bin).sum())


def _training_set(
    corpora: Sequence[Corpus], features: Features, options: AlignerOptions
) -> Iterator[tuple[Callable[[], np.ndarray], str]]:
    """The speech that trains the aligner. Long recordings are left out if there is enough other speech.

    In a long recording, the flat start is seconds away from the words, and costs most.
    """
    lengths_s = np.concatenate([corpus.num_samples for corpus in corpora]) / RATE_HZ
    longest_s = _LONG_S if lengths_s[lengths_s <= _LONG_S].sum() >= _ENOUGH_S else np.inf
    hours = lengths_s[lengths_s <= longest_s].sum() / 3600
    stride = int(np.ceil(max(1.0, hours / options.train_hours)))
    for corpus in corpora:
        for i in np.flatnonzero(corpus.num_samples <= longest_s * RATE_HZ)[::stride]:
            utterance = corpus[i]
            if utterance.text:
                yield partial(features, utterance), utterance.text


def alignment(utterance: Utterance, aligner: Aligner, features: Features) -> Alignment:
    """Align one utterance. If that fails, the result has no phones but the reason. Without words, it is silence."""
    if not utterance.text:
        return silence(utterance)
    try:
        graph, with_sound = transcript_graph(utterance.text, aligner.lexicon, aligner.options), sounding(utterance.wave)
        path, _ = aligner.best_path(x := features(utterance), graph, with_sound)
        if (misfit := aligner.misfit(x, graph, path[with_sound])) > aligner.most_misfit:
            raise ValueError(f"the words do not fit the sound: misfit {misfit:.1f}, at most {aligner.most_misfit:.1f}")
        begins = np.arange(len(path)) * frontend.HOP + _BOUNDARY
        found = alignment_of_path(path, graph, utterance, begins)
        if reason := implausible(found):
            raise ValueError(f"the words do not fit the sound: {reason}")
        if (short := shortest_share(graph, path)) > _MOST_SHORTEST:
            raise ValueError(f"the words do not fit the sound: {short:.0%} of the phones are as short as can be")
        return found
    except ValueError as error:
        return Alignment(utterance.id, (), (), reason=str(error))


def shortest_share(graph: UtteranceGraph, path: Int[np.ndarray, " frames"]) -> float:
    """The share of the phones on a path with one frame for each state, where at least `_FEW` phones have a share."""
    frames = np.bincount(graph.segment_of[path], minlength=len(graph.segments))
    states = np.bincount(graph.segment_of)
    spoken = (frames > 0) & np.array([segment.word != SILENT for segment in graph.segments])
    return float(np.mean(frames[spoken] == states[spoken])) if spoken.sum() >= _FEW else 0.0


def silence(utterance: Utterance) -> Alignment:
    """The alignment of an utterance without words, such as a noise: silence from its start to its end."""
    return Alignment(utterance.id, (SILENCE,), (round(utterance.seconds, 5),))


def alignment_of_path(
    path: Int[np.ndarray, " frames"], graph: UtteranceGraph, utterance: Utterance, begins: Int[np.ndarray, " frames"]
) -> Alignment:
    """The phones along a path. Its frames begin at samples `begins`, halfway between the centres of two frames."""
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
    """The errors of the hypothesis' boundaries in seconds (later is positive), for each boundary of the reference.

    Boundaries are the starts of all phones but silence, and the ends of phones before a silence. Phones without
    silences are paired by edit distance. A boundary of a phone without a partner has an infinite error.
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
    """The share of the references' boundaries at which the hypotheses are within each tolerance."""
    pairs = zip(references, hypotheses, strict=True)
    errors = np.abs(np.concatenate([boundary_errors(*pair) for pair in pairs]))
    return tuple(float((errors <= tolerance).mean()) for tolerance in tolerances_s)


def _spoken(alignment: Alignment) -> list[tuple[str, float, float, bool]]:
    """The (phone, start, end, whether silence follows) of every phone but silence."""
    starts, following = (0.0, *alignment.ends_s), (*alignment.phones[1:], SILENCE)
    rows = zip(alignment.phones, starts, alignment.ends_s, following)
    return [(p, start, end, after == SILENCE) for p, start, end, after in rows if p != SILENCE]


def alignment_report(
    name: str,
    corpora: Sequence[Corpus],
    sidecars: Sequence[Alignments],
    log_likelihoods: tuple[float, ...] = (),
) -> AlignReport:
    """Report the number of alignments in the corpora's sidecars, and the failed ones with their reasons."""
    failed = [
        (corpus[int(i)].key, sidecar[int(i)].reason)
        for corpus, sidecar in zip(corpora, sidecars)
        for i in np.flatnonzero(~sidecar.usable)
    ]
    aligned = sum(map(len, corpora)) - len(failed)
    return AlignReport(name, aligned, tuple(failed), log_likelihoods)
