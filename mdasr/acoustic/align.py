"""Phones with times for recordings that have nothing but transcripts: flat start, Viterbi training, alignment (§3.5).

Monophones of a few states with growing Gaussian mixtures over cepstra, 10 ms apart. Alignments become a sidecar of
each corpus, on unperturbed speech; perturbations keep time, so the labels stay valid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import kaldialign
import numpy as np
from jaxtyping import Float, Float32, Int
from tqdm import tqdm

from mdasr import frontend
from mdasr.acoustic import gmm
from mdasr.acoustic.gmm import Mixtures
from mdasr.acoustic.hmm import SILENT, Graph, utterance_graph, viterbi
from mdasr.data.records import Alignment, Alignments, Corpus, Utterance, write_alignments
from mdasr.language.lexicon import SILENCE, Lexicon, listed
from mdasr.spec import RATE_HZ, digest

VERSION = 1  # raise it where the same options would give other alignments
_VARIANCE_FLOOR = 0.01  # of the variance of all frames
_BOUNDARY = (
    frontend.WINDOW - frontend.HOP
) // 2  # samples from a frame's start to halfway from the centre before


@dataclass(frozen=True)
class AlignerOptions:
    """How to train the aligner.

    `silence_probability` is that of a pause wherever there may be one. From iteration `grow_from` on, mixtures may
    double every `grow_every` iterations, up to `components` and as far as `frames_per_component` allow. No more than
    `train_hours` of speech, spread evenly over the corpora, are trained on; everything is aligned.
    """

    states_per_phone: int = 3
    silence_probability: float = 0.3
    iterations: int = 24
    grow_from: int = 6
    grow_every: int = 3
    components: int = 16
    frames_per_component: int = 40
    cepstra: int = 13
    train_hours: float = 2.0


@dataclass(frozen=True, eq=False)
class Aligner:
    """Trained monophones; `stay` [outputs] is the probability of each state's loop."""

    options: AlignerOptions
    lexicon: Lexicon
    mixtures: Mixtures
    stay: Float[np.ndarray, " outputs"]

    def path(
        self, features: Float32[np.ndarray, "frames dim"], graph: Graph
    ) -> tuple[Int[np.ndarray, " frames"], float]:
        """The best path through `graph` and its log likelihood; ValueError where the frames are too few."""
        used, columns = np.unique(graph.outputs, return_inverse=True)
        scores = self.mixtures.log_likelihood(features, used)
        return viterbi(scores, replace(graph, outputs=columns), self.stay[used])


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

    The name stands for the corpora, the options and the words' pronunciations; sidecars of that name are not made
    again. An utterance that cannot be aligned gets an empty alignment with the reason. Deterministic.
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
        aligner, log_likelihoods = train(_training_set(corpora, features, options), lexicon, options)
        sidecars = [
            write_alignments(corpus, name, (alignment(u, aligner, features) for u in corpus))
            for corpus in corpora
        ]
    return _report(name, corpora, sidecars, log_likelihoods)


# --- features

Features = Callable[[Utterance], Float32[np.ndarray, "frames dim"]]


def make_features(corpora: Sequence[Corpus], options: AlignerOptions) -> Features:
    """The aligner's features as a function of an utterance: cepstra, normalised by speaker, and two derivatives.

    Bands above what the narrowest recording holds are left out of all of them, so that 8 and 16 kHz recordings can
    be aligned by one model. Reads every recording once, for the speakers' means and deviations.
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


# --- training


def first_outputs(lexicon: Lexicon, options: AlignerOptions) -> dict[str, int]:
    """The output of each phone's first state; the others follow it."""
    return {phone: options.states_per_phone * i for i, phone in enumerate(lexicon.phones)}


def transcript_graph(text: str, lexicon: Lexicon, options: AlignerOptions) -> Graph:
    """Every way to say a transcript; raises ValueError for words without pronunciation."""
    words = text.split()
    if unknown := [word for word in dict.fromkeys(words) if word not in lexicon]:
        raise ValueError(f"no pronunciation for {listed(unknown)}; add it to the lexicon")
    outputs = first_outputs(lexicon, options)
    return utterance_graph(words, lexicon, outputs, options.states_per_phone, options.silence_probability)


def train(
    utterances: Iterable[tuple[Float32[np.ndarray, "frames dim"], str]],
    lexicon: Lexicon,
    options: AlignerOptions,
) -> tuple[Aligner, tuple[float, ...]]:
    """Monophones from a flat start: (features, transcript) to an aligner, and log likelihoods a frame.

    Every state starts with the Gaussian of all frames; the first labels divide each utterance's loud part equally
    among its states. Then best paths and re-estimation in turn. Utterances that cannot be aligned are left out.
    Raises ValueError where that leaves none.
    """
    examples, labels, reasons = [], [], []
    for features, text in utterances:
        try:
            graph = transcript_graph(text, lexicon, options)
            labels.append(flat_labels(features, text, lexicon, options))
            examples.append((features, graph))
        except ValueError as error:
            reasons.append(str(error))
    if not examples:
        raise ValueError(f"none of {len(reasons)} utterances can be aligned; the first: {reasons[:1]}")
    outputs = options.states_per_phone * len(lexicon.phones)
    frames = np.concatenate([features for features, _ in examples])
    aligner = Aligner(options, lexicon, gmm.one_gaussian_each(frames, outputs), np.full(outputs, 0.5))
    floor = _VARIANCE_FLOOR * frames.var(axis=0)
    log_likelihoods = []
    for i in tqdm(range(options.iterations), desc="aligner", unit="iteration", disable=None):
        aligner = _improved(aligner, frames, np.concatenate(labels), floor, i)
        paths = [aligner.path(features, graph) for features, graph in examples]
        log_likelihoods.append(sum(score for _, score in paths) / len(frames))
        labels = [graph.outputs[path] for (path, _), (_, graph) in zip(paths, examples)]
        aligner = replace(aligner, stay=_stay([path for path, _ in paths], labels, outputs))
    return aligner, tuple(log_likelihoods)


def flat_labels(
    features: Float32[np.ndarray, "frames dim"], text: str, lexicon: Lexicon, options: AlignerOptions
) -> Int[np.ndarray, " frames"]:
    """An output for every frame: the likeliest pronunciations' states in equal shares, silence around them.

    The first feature, the energy, tells where speech begins and ends: it passes the middle between its 5th and
    95th percentile. Raises ValueError where there are more states than frames.
    """
    outputs, k = first_outputs(lexicon, options), np.arange(options.states_per_phone)
    phones = [phone for word in text.split() for phone in lexicon.entries[word][0][0]]
    states = np.concatenate([outputs[phone] + k for phone in phones])
    if len(states) > len(features):
        raise ValueError(f"{len(features)} frames for at least {len(states)} states")
    energy = features[:, 0]
    loud = np.flatnonzero(energy > np.percentile(energy, [5, 95]).mean())
    first, last = (loud[0], loud[-1] + 1) if len(loud) else (0, len(energy))
    if last - first < len(states):
        first, last = 0, len(energy)
    silence = outputs[SILENCE] + k
    parts = ((silence, first), (states, last - first), (silence, len(energy) - last))
    return np.concatenate([part[np.arange(size) * len(part) // max(size, 1)] for part, size in parts])


def _improved(
    aligner: Aligner,
    frames: Float32[np.ndarray, "frames dim"],
    labels: Int[np.ndarray, " frames"],
    floor: Float32[np.ndarray, " dim"],
    iteration: int,
) -> Aligner:
    """One iteration's re-estimation; where it is time, components are split first."""
    options, mixtures = aligner.options, aligner.mixtures
    late = iteration - options.grow_from
    if late >= 0 and late % options.grow_every == 0:
        most = min(options.components, 2 ** (late // options.grow_every + 1))
        counts = np.bincount(labels, minlength=len(aligner.stay))
        mixtures = gmm.split(mixtures, counts, most, options.frames_per_component)
    return replace(aligner, mixtures=gmm.reestimate(mixtures, frames, labels, floor))


def _stay(
    paths: Sequence[Int[np.ndarray, " frames"]], labels: Sequence[Int[np.ndarray, " frames"]], outputs: int
) -> Float[np.ndarray, " outputs"]:
    """Relative frequency of the loops, one visit of two frames added to each state's."""
    frames, visits = np.full(outputs, 2.0), np.ones(outputs)
    for path, label in zip(paths, labels):
        frames += np.bincount(label, minlength=outputs)
        entered = np.flatnonzero(np.diff(path, prepend=-1))
        visits += np.bincount(label[entered], minlength=outputs)
    return 1 - visits / frames


# --- alignments


def alignment(utterance: Utterance, aligner: Aligner, features: Features) -> Alignment:
    """Align one utterance; where that fails, no phones and the reason."""
    try:
        graph = transcript_graph(utterance.text, aligner.lexicon, aligner.options)
        path, _ = aligner.path(features(utterance), graph)
    except ValueError as error:
        return Alignment(utterance.id, (), (), reason=str(error))
    return segments(path, graph, utterance)


def segments(path: Int[np.ndarray, " frames"], graph: Graph, utterance: Utterance) -> Alignment:
    """The phones along a path; a boundary lies halfway between the centres of the frames around it."""
    of_frame = graph.segment_of[path]
    starts = np.flatnonzero(np.diff(of_frame, prepend=-1))
    chosen = [graph.segments[i] for i in of_frame[starts]]
    ends = [*(starts[1:] * frontend.HOP + _BOUNDARY), len(utterance.wave)]
    spans: dict[int, tuple[int, int]] = {}
    for i, segment in enumerate(chosen):
        if segment.word != SILENT:
            spans[segment.word] = (spans.get(segment.word, (i, i))[0], i + 1)
    text = utterance.text.split()
    words = tuple((text[word], first, last) for word, (first, last) in spans.items())
    phones = tuple(segment.phone for segment in chosen)
    return Alignment(utterance.id, phones, tuple(round(end / RATE_HZ, 5) for end in ends), words)


def boundary_errors(reference: Alignment, hypothesis: Alignment) -> Float[np.ndarray, " boundaries"]:
    """Seconds by which the hypothesis' boundaries come later, one for each boundary of the reference's phones.

    Boundaries are the starts of all phones but silence, and the ends of those before a silence. Phones are paired by
    edit distance, silences apart; a boundary of a phone without partner is infinitely wrong.
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


def _report(
    name: str,
    corpora: Sequence[Corpus],
    sidecars: Sequence[Alignments],
    log_likelihoods: tuple[float, ...],
) -> AlignReport:
    failed = [
        (corpus[int(i)].key, sidecar[int(i)].reason)
        for corpus, sidecar in zip(corpora, sidecars)
        for i in np.flatnonzero(~sidecar.usable)
    ]
    aligned = sum(map(len, corpora)) - len(failed)
    return AlignReport(name, aligned, tuple(failed), log_likelihoods)
