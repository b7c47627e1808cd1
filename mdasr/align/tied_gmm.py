"""A GMM as a recogniser: a mixture of Gaussians for each state of each CDPhone, trained on aligned speech.

A tree with one leaf for each phone makes it a GMM of monophones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mdasr import frontend
from mdasr.align import gmm
from mdasr.align.flat_start import sounding
from mdasr.align.gmm import Mixtures
from mdasr.align.hmm import SILENT, Segment, UtteranceGraph, viterbi
from mdasr.align.monophones import NO_SOUND, VARIANCE_FLOOR
from mdasr.align.tree import Tree
from mdasr.core.files import read_arrays, write_arrays
from mdasr.core.progress import track
from mdasr.core.schema import require_within
from mdasr.frontend import Subsampling
from mdasr.language.lexicon import SILENCE

VERSION = 1  # raise it with every change after which the same speech trains another GMM
STATES, TOPOLOGY = 3, "three-state"  # of each CDPhone, and its name in `decode.transducers.TOPOLOGIES`
FRAMES = Subsampling(stride=1, window=1, label_frame=0)  # there are scores for each frame
COMPONENTS = (2, 4, 8, 8, 8)  # the most components of a mixture, each time that the labels have changed
FRAMES_PER_COMPONENT = 40
PASSES = 2  # of re-estimation over the same labels
_LEAST_VARIANCE = 1e-6  # of a feature that never changes


class Sounds(NamedTuple):
    """The features of the frames that have sound, and whether each frame has sound."""

    features: Float32[np.ndarray, "sounding dim"]
    sounding: Bool[np.ndarray, " frames"]


class Aligned(NamedTuple):
    """An utterance to train on: its sounds, its phones, and their ends in frames."""

    sounds: Sounds
    phones: Sequence[str]
    ends: Int[np.ndarray, " phones"]


@dataclass(frozen=True)
class GmmFeatures:
    """The features of a GMM: `cepstra` of the lowest `bands` of log-mel, and two derivatives.

    The mean of a recording's cepstra is subtracted. Digital silence is no part of the mean, and has no features.
    """

    bands: int = frontend.BANDS
    cepstra: int = 13

    def __post_init__(self) -> None:
        require_within("bands", self.bands, 1, frontend.BANDS)
        require_within("cepstra", self.cepstra, 1, self.bands)

    @property
    def width(self) -> int:
        return 3 * self.cepstra

    def of(self, wave: Float[np.ndarray, " samples"]) -> Sounds:
        """Make the features of a 16 kHz waveform."""
        sound = sounding(wave)
        x = frontend.cepstra(frontend.log_mel(wave)[sound, : self.bands], self.cepstra)
        centred = x - x.mean(axis=0) if len(x) else x
        return Sounds(frontend.add_deltas(centred).astype(np.float32), sound)


@dataclass(frozen=True, eq=False)
class TiedGmm:
    """A mixture for each state of each CDPhone of `tree`: state k of CDPhone c has the output 3 c + k."""

    tree: Tree
    features: GmmFeatures
    mixtures: Mixtures

    @property
    def num_outputs(self) -> int:
        return STATES * self.tree.num_leaves

    def scores(self, wave: Float[np.ndarray, " samples"]) -> Float32[np.ndarray, "frames outputs"]:
        """The log likelihood of each frame of a 16 kHz waveform in each output."""
        return self.scores_of(self.features.of(wave), np.arange(self.num_outputs))

    def scores_of(self, sounds: Sounds, outputs: Int[np.ndarray, " chosen"]) -> Float32[np.ndarray, "frames chosen"]:
        """The log likelihoods in `outputs`. Digital silence has 0 in those of silence, and `-NO_SOUND` in others."""
        silent = outputs // STATES == self.tree.leaf(SILENCE, SILENCE, SILENCE)
        scores = np.tile(np.where(silent, 0, -NO_SOUND).astype(np.float32), (len(sounds.sounding), 1))
        scores[sounds.sounding] = self.mixtures.log_likelihood(sounds.features, outputs)
        return scores

    def write(self, path: Path) -> None:
        """Write the mixtures as an .npz file."""
        write_arrays(path, asdict(self.mixtures))

    @classmethod
    def read(cls, path: Path, tree: Tree, features: GmmFeatures) -> TiedGmm:
        """Read a file of `write`; raises ValueError for one that is damaged, or that does not fit the arguments."""
        arrays = read_arrays(path, "mixtures of a GMM (`mdasr train` writes them)")
        outputs, names = STATES * tree.num_leaves, ("log_weights", "means", "variances")
        components = arrays["log_weights"].shape[-1:] if "log_weights" in arrays else ()
        shapes = {name: (outputs, *components, *([features.width] if name != "log_weights" else [])) for name in names}
        if {name: array.shape for name, array in arrays.items()} != shapes or not components or not components[0]:
            raise ValueError(
                f"{path}: not log_weights, means and variances of {outputs} outputs with {features.width} features: "
                "it is of another model than tree.txt and model.json. Copy all three from the same model again."
            )
        log_weights, means, variances = (arrays[name] for name in names)
        sane = np.isfinite(means).all() and np.isfinite(variances).all() and (variances > 0).all()
        if any(array.dtype != np.float32 for array in arrays.values()) or not (sane and _add_up(log_weights)):
            raise ValueError(
                f"{path}: not finite float32 numbers, variances above 0, and weights that add up to 1; copy it again"
            )
        return cls(tree, features, Mixtures(log_weights, means, variances))


def _add_up(log_weights: Float32[np.ndarray, "outputs components"]) -> bool:
    """Whether the weights of each mixture add up to 1."""
    return not np.isnan(log_weights).any() and np.allclose(
        np.exp(log_weights, dtype=np.float64).sum(axis=1), 1, atol=1e-3
    )


def monophones(tree: Tree) -> Tree:
    """A tree of the same phones, with one leaf for each."""
    return Tree(tree.phones, (), tuple(range(len(tree.phones))))


def train_gmm(utterances: Iterable[Aligned], tree: Tree, features: GmmFeatures) -> TiedGmm:
    """Train a GMM on aligned utterances, whose features are `features`.

    The states of a phone first share its frames equally. Then the best path through the utterance's phones gives the
    labels, mixtures are split up to `COMPONENTS`, and they are re-estimated. Utterances with fewer frames than states
    are left out. Raises ValueError where none is left.
    """
    graphs, labels, sounds = [], [], []
    for utterance in utterances:
        graph = chain((STATES * tree.leaves(utterance.phones)[:, None] + np.arange(STATES)).reshape(-1))
        if len(utterance.sounds.sounding) >= graph.fewest_frames:
            graphs.append(graph)
            sounds.append(utterance.sounds)
            labels.append(equal_shares(graph, utterance.ends, len(utterance.sounds.sounding)))
    if not sum(len(each.features) for each in sounds):
        raise ValueError("no aligned speech to train a GMM on")
    frames = np.concatenate([each.features for each in sounds])
    floor = np.maximum(VARIANCE_FLOOR * frames.var(axis=0), _LEAST_VARIANCE)
    alike = gmm.one_gaussian_each(frames, STATES * tree.num_leaves)
    alike = replace(alike, variances=np.maximum(alike.variances, floor))
    trained = TiedGmm(tree, features, gmm.reestimate(alike, frames, _heard(labels, sounds), floor))
    for components in track(COMPONENTS, desc="GMM", unit="pass", delay=2):
        labels = [best_labels(trained, each, graph) for each, graph in zip(sounds, graphs)]
        of_frame = _heard(labels, sounds)
        counts = np.bincount(of_frame, minlength=trained.num_outputs)
        mixtures = gmm.split(trained.mixtures, counts, components, FRAMES_PER_COMPONENT)
        for _ in range(PASSES):
            mixtures = gmm.reestimate(mixtures, frames, of_frame, floor)
        trained = replace(trained, mixtures=mixtures)
    return trained


def chain(outputs: Int[np.ndarray, " states"]) -> UtteranceGraph:
    """The graph of states that follow each other, each of them for a frame or more."""
    count = len(outputs)
    entry, final = np.full(count, -np.inf), np.full(count, -np.inf)
    entry[:1], final[-1:] = 0.0, 0.0
    sources = np.arange(count - 1, dtype=np.int32)
    first_arc = np.arange(-1, count, dtype=np.int32).clip(0)
    segment_of = np.zeros(count, np.int32)
    return UtteranceGraph(
        outputs.astype(np.int32),
        segment_of,
        (Segment("", SILENT),),
        first_arc,
        sources,
        np.zeros(count - 1),
        entry,
        final,
    )


def equal_shares(graph: UtteranceGraph, ends: Int[np.ndarray, " phones"], frames: int) -> Int[np.ndarray, " frames"]:
    """The output of each frame, where the states of a phone share its frames; frames after the last end are its own."""
    lengths = np.diff([*ends[:-1], frames], prepend=0)
    states = [STATES * i + np.arange(length) * STATES // max(length, 1) for i, length in enumerate(lengths)]
    return graph.outputs[np.concatenate(states)]


def best_labels(model: TiedGmm, sounds: Sounds, graph: UtteranceGraph) -> Int[np.ndarray, " frames"]:
    """The output of each frame on the best path through a chain of states."""
    used, columns = np.unique(graph.outputs, return_inverse=True)
    path, _ = viterbi(model.scores_of(sounds, used), replace(graph, outputs=columns.astype(np.int32)))
    return graph.outputs[path]


def _heard(labels: Sequence[Int[np.ndarray, " _"]], sounds: Sequence[Sounds]) -> Int[np.ndarray, " frames"]:
    """The labels of the frames that have sound, of all utterances."""
    return np.concatenate([label[each.sounding] for label, each in zip(labels, sounds)])
