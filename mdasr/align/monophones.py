"""Monophones trained only from features and transcripts: flat start, then Viterbi training (§3.5).

Each phone is a chain of a few states, with a mixture of Gaussians for each state. They align recordings that have no
alignment. Context-dependent models are then made from this alignment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mdasr.align import gmm
from mdasr.align.gmm import Mixtures
from mdasr.align.hmm import SILENT, UtteranceGraph, output_posteriors, utterance_graph, viterbi
from mdasr.core.progress import track
from mdasr.language.lexicon import SILENCE, Lexicon, listed

VARIANCE_FLOOR = 0.01  # of the variance of all frames
_LEAST_DEVIATION = 0.1  # nats a frame: without it, very similar utterances would make outliers of each other
NO_SOUND = 5.0  # nats by which each frame of digital silence is more likely in a pause than in a phone


@dataclass(frozen=True)
class AlignerOptions:
    """The settings of the aligner's training.

    `silence_probability` is the probability of a pause at each place where one is possible. The first `soft_iterations`
    re-estimate single Gaussians over all paths. They multiply scores by `flattest` at first, and by 1 at the end. So
    boundaries can move away from the flat start (deterministic annealing: Ueda and Nakano, 1998).

    Then `iterations` use the best paths. After every `grow_every` of them, mixtures may double, up to `components`, if
    each component has `frames_per_component`. Training uses at most about `train_hours` of speech, spread evenly over
    the corpora; everything is aligned. An utterance counts as failed if its `misfit` is `worst_misfit` robust standard
    deviations above the median.
    """

    states_per_phone: int = 3
    silence_probability: float = 0.2
    soft_iterations: int = 10
    flattest: float = 0.02
    iterations: int = 20
    grow_every: int = 4
    components: int = 16
    frames_per_component: int = 40
    cepstra: int = 13
    train_hours: float = 2.0
    worst_misfit: float = 8.0


@dataclass(frozen=True, eq=False)
class Aligner:
    """Trained monophones. `stay` [outputs] is the probability of each state's loop."""

    options: AlignerOptions
    lexicon: Lexicon
    mixtures: Mixtures
    stay: Float[np.ndarray, " outputs"]
    most_misfit: float = np.inf

    def best_path(
        self,
        features: Float32[np.ndarray, "frames dim"],
        graph: UtteranceGraph,
        sounding: Bool[np.ndarray, " frames_and_silent"] | None = None,
    ) -> tuple[Int[np.ndarray, " frames_and_silent"], float]:
        """Find the best path through `graph` and its log likelihood. Raises ValueError if there are too few frames.

        `features` may be those of the frames that are `sounding` alone. The other frames are digital silence.
        """
        used, columns = np.unique(graph.outputs, return_inverse=True)
        scores = self.mixtures.log_likelihood(features, used)
        if sounding is not None:
            silence = first_outputs(self.lexicon, self.options)[SILENCE]
            pauses = (used >= silence) & (used < silence + self.options.states_per_phone)
            whole = np.tile(np.where(pauses, 0, -NO_SOUND).astype(np.float32), (len(sounding), 1))
            whole[sounding] = scores
            scores = whole
        return viterbi(scores, replace(graph, outputs=columns), self.stay[used])

    def soft_labels(
        self, features: Float32[np.ndarray, "frames dim"], graph: UtteranceGraph, scale: float
    ) -> tuple[Int[np.ndarray, " used"], Float[np.ndarray, "frames used"]]:
        """The graph's outputs, and their probabilities in each frame, with scores multiplied by `scale`."""
        used, columns = np.unique(graph.outputs, return_inverse=True)
        scores = scale * self.mixtures.log_likelihood(features, used)
        return used, output_posteriors(scores, replace(graph, outputs=columns), self.stay[used])

    def misfit(
        self,
        features: Float32[np.ndarray, "frames dim"],
        graph: UtteranceGraph,
        path: Int[np.ndarray, " frames"],
    ) -> float:
        """The mean difference between the best state of any phone and the state of `path`, in nats a frame of speech.

        It is about 1 if the transcript is right, and about 10 if it belongs to another recording.
        """
        scores = self.mixtures.log_likelihood(features, np.arange(len(self.stay)))
        shortfall = scores.max(axis=1) - scores[np.arange(len(path)), graph.outputs[path]]
        words = np.asarray([segment.word for segment in graph.segments])
        return float(shortfall[words[graph.segment_of[path]] != SILENT].mean())


def first_outputs(lexicon: Lexicon, options: AlignerOptions) -> dict[str, int]:
    """The output of each phone's first state. The outputs of its other states follow."""
    return {phone: options.states_per_phone * i for i, phone in enumerate(lexicon.phones)}


def transcript_graph(text: str, lexicon: Lexicon, options: AlignerOptions) -> UtteranceGraph:
    """Make the graph of all pronunciations of a transcript. Raises ValueError for words without pronunciation."""
    words = text.split()
    if unknown := [word for word in dict.fromkeys(words) if word not in lexicon]:
        raise ValueError(f"no pronunciation for {listed(unknown)}; add it to the lexicon")
    outputs = first_outputs(lexicon, options)
    return utterance_graph(words, lexicon, outputs, options.states_per_phone, options.silence_probability)


def train_monophones(
    utterances: Iterable[tuple[Callable[[], Float32[np.ndarray, "frames dim"]], str]],
    lexicon: Lexicon,
    options: AlignerOptions,
) -> tuple[Aligner, tuple[float, ...]]:
    """Train an aligner from a flat start on pairs (features, transcript). Return also log likelihoods for each frame.

    The features are given as a function that makes them, or raises ValueError where there are none.
    Every state starts with the Gaussian of all frames, and the first labels divide each utterance's loud part equally
    among its states. Then re-estimation and paths alternate, as the options say. The log likelihoods are those of the
    best paths, one for each iteration. Utterances that cannot be aligned are left out. Raises ValueError where none is
    left.
    """
    examples, labels, reasons = [], [], []
    for make, text in utterances:
        try:
            features = make()
            graph = transcript_graph(text, lexicon, options)
            labels.append(flat_labels(features, text, lexicon, options))
            examples.append((features, graph))
        except ValueError as error:
            reasons.append(str(error))
    if not examples:
        why = f"the first: {reasons[0]}" if reasons else "none has words"
        raise ValueError(f"none of {len(reasons)} utterances with words can be aligned; {why}")
    outputs = options.states_per_phone * len(lexicon.phones)
    frames = np.concatenate([features for features, _ in examples])
    aligner = Aligner(options, lexicon, gmm.one_gaussian_each(frames, outputs), np.full(outputs, 0.5))
    floor = VARIANCE_FLOOR * frames.var(axis=0)
    started = gmm.reestimate(aligner.mixtures, frames, np.concatenate(labels), floor)
    aligner = replace(aligner, mixtures=started)
    log_likelihoods = []
    for i in track(range(-options.soft_iterations, options.iterations), desc="aligner", unit="pass", delay=2):
        if i < 0:
            aligner = _softly_improved(aligner, examples, floor, i)
            continue
        if i > 0:
            aligner = _improved(aligner, frames, np.concatenate(labels), floor, i - 1)
        paths = [aligner.best_path(features, graph) for features, graph in examples]
        log_likelihoods.append(sum(score for _, score in paths) / len(frames))
        labels = [graph.outputs[path] for (path, _), (_, graph) in zip(paths, examples)]
        aligner = replace(aligner, stay=_stay([path for path, _ in paths], labels, outputs))
    misfits = np.asarray([aligner.misfit(*example, path) for example, (path, _) in zip(examples, paths)])
    limit = outlier(misfits, options.worst_misfit)
    return replace(aligner, most_misfit=limit), tuple(log_likelihoods)


def flat_labels(
    features: Float32[np.ndarray, "frames dim"], text: str, lexicon: Lexicon, options: AlignerOptions
) -> Int[np.ndarray, " frames"]:
    """An output for every frame: equal shares for the states of the most likely pronunciations, between silences.

    Speech begins and ends where the first feature, the energy, passes the middle between its 5th percentile and a loud
    level. That is its 95th percentile. Among long pauses, it is what half as many frames reach as there are states.
    Raises ValueError where there are more states than frames.
    """
    outputs, k = first_outputs(lexicon, options), np.arange(options.states_per_phone)
    phones = [phone for word in text.split() for phone in lexicon.entries[word][0][0]]
    states = np.concatenate([outputs[phone] + k for phone in phones])
    if len(states) > len(features):
        raise ValueError(f"{len(features)} frames for at least {len(states)} states")
    energy = features[:, 0]
    loudest = max(95, 100 - 50 * len(states) / len(energy))
    loud = np.flatnonzero(energy > np.percentile(energy, [5, loudest]).mean())
    first, last = (loud[0], loud[-1] + 1) if len(loud) else (0, len(energy))
    if last - first < len(states):
        first, last = 0, len(energy)
    silence = outputs[SILENCE] + k
    parts = ((silence, first), (states, last - first), (silence, len(energy) - last))
    return np.concatenate([part[np.arange(size) * len(part) // max(size, 1)] for part, size in parts])


def outlier(values: Float[np.ndarray, " utterances"], deviations: float) -> float:
    """The value `deviations` standard deviations above the median, estimated by the median absolute deviation."""
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return median + deviations * max(deviation, _LEAST_DEVIATION)


def _softly_improved(
    aligner: Aligner,
    examples: Sequence[tuple[np.ndarray, UtteranceGraph]],
    floor: Float32[np.ndarray, " dim"],
    iteration: int,
) -> Aligner:
    """Re-estimate over all paths. `iteration` counts from -soft_iterations to -1."""
    options = aligner.options
    scales = np.linspace(options.flattest, 1.0, options.soft_iterations)
    shared = ((x, *aligner.soft_labels(x, graph, float(scales[iteration]))) for x, graph in examples)
    return replace(aligner, mixtures=gmm.reestimate_softly(aligner.mixtures, shared, floor))


def _improved(
    aligner: Aligner,
    frames: Float32[np.ndarray, "frames dim"],
    labels: Int[np.ndarray, " frames"],
    floor: Float32[np.ndarray, " dim"],
    iteration: int,
) -> Aligner:
    """Re-estimate for one iteration. In every `grow_every`-th iteration, split components first."""
    options, mixtures = aligner.options, aligner.mixtures
    if iteration % options.grow_every == 0:
        most = min(options.components, 2 ** (iteration // options.grow_every + 1))
        counts = np.bincount(labels, minlength=len(aligner.stay))
        mixtures = gmm.split(mixtures, counts, most, options.frames_per_component)
    return replace(aligner, mixtures=gmm.reestimate(mixtures, frames, labels, floor))


def _stay(
    paths: Sequence[Int[np.ndarray, " _"]], labels: Sequence[Int[np.ndarray, " _"]], outputs: int
) -> Float[np.ndarray, " outputs"]:
    """The relative frequency of the loops, after one visit of two frames is added to each state."""
    frames, visits = np.full(outputs, 2.0), np.ones(outputs)
    for path, label in zip(paths, labels):
        frames += np.bincount(label, minlength=outputs)
        entered = np.flatnonzero(np.diff(path, prepend=-1))
        visits += np.bincount(label[entered], minlength=outputs)
    return 1 - visits / frames
