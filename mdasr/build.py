"""From corpora to a model directory: alignment, tree, language, training, priors, tuning."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from mdasr import accelerated, frontend
from mdasr.acoustic import growth
from mdasr.acoustic.align import align
from mdasr.acoustic.model import ModelConfig
from mdasr.acoustic.train import TrainOptions, train
from mdasr.acoustic.tying import Tree
from mdasr.data.noises import make_noises, read_noises, read_responses
from mdasr.data.records import Corpus, Utterance
from mdasr.decode.graph import build_graph
from mdasr.decode.search import SearchOptions
from mdasr.language import espeak, ngram
from mdasr.language.lexicon import Lexicon
from mdasr.loader import PackedRowMaker, RowMaker, RowOptions, RowPlan, Source, measure_stats, step_labels
from mdasr.perturb import TRAINING_CODECS, Policy, RoomRanges, require
from mdasr.perturb.room import Sounds
from mdasr.recognizer import Language, Recognizer
from mdasr.spec import Scale, digest
from mdasr.tuning import tune

FeaturesOn = Literal["host", "accelerator"]
ROW_PIECES = 4  # utterances that a row of packed waves may hold


def make_language(directory: Path, lexicon: Lexicon, tree: Tree, sentences: Iterable[str], order: int) -> Language:
    """Train the n-gram model on `sentences` over the lexicon's words, compose the graph, write all to `directory`."""
    model = ngram.train((sentence.split() for sentence in sentences), order, vocabulary=lexicon.words)
    arpa = model.to_arpa()
    language = Language(lexicon, tree, build_graph(lexicon, arpa, tree), arpa, directory)
    language.write(directory)
    return language


def grow_tree(aligned: Sequence[tuple[Corpus, str]], phones: Sequence[str], leaves: int) -> Tree:
    """A state-tying tree from the cepstra of aligned corpora, given with the names of their alignments (§3.5)."""

    def utterances() -> Iterator[tuple[Sequence[str], np.ndarray, np.ndarray]]:
        for corpus, name in aligned:
            for utterance, alignment in zip(corpus, corpus.alignments(name)):
                if alignment.phones:
                    x = frontend.add_deltas(frontend.cepstra(frontend.log_mel(utterance.samples)), order=1)
                    yield alignment.phones, growth.frame_ends(alignment.ends_s, len(x)), x

    return growth.grow(growth.accumulate(utterances(), phones), leaves)


def room_ranges(scale: Scale) -> RoomRanges:
    return RoomRanges(snr_db=scale.snr_db, rt60_s=scale.rt60_s, distance_m=scale.distance_m)


def model_config(scale: Scale, num_outputs: int) -> ModelConfig:
    return ModelConfig(scale.cells, num_outputs, scale.dropout, members=scale.members)


def train_options(scale: Scale, rows_in_epoch: int, noisy: bool, seed: int) -> TrainOptions:
    """Steps from the scale's epochs (more with noise, which makes the task harder), within its bounds."""
    epochs = scale.epochs * (scale.noise_factor if noisy else 1)
    steps = math.ceil(epochs * rows_in_epoch / scale.batch)
    factor = scale.noise_factor if noisy else 1
    steps = int(np.clip(steps, factor * scale.min_steps, scale.max_steps))
    return TrainOptions(steps, scale.batch, scale.learning_rate, seed=seed)


def log_priors(sources: Sequence[Source], tree: Tree) -> Float32[np.ndarray, " outputs"]:
    """Log relative frequency of every CDPhone among the labels of one epoch; an unseen one counts as seen once."""
    counts = np.zeros(tree.num_leaves)
    for source in sources:
        alignments, lengths = source.corpus.alignments(source.alignment), source.corpus.num_samples
        for u in source.usable():
            labels = step_labels(alignments[u], tree, frontend.num_steps(int(lengths[u])))
            counts += np.bincount(labels, minlength=tree.num_leaves)
    counts = np.maximum(counts, 1)
    return np.log(counts / counts.sum()).astype(np.float32)


def train_recognizer(
    directory: Path,
    sources: Sequence[Source],
    language: Language,
    scale: Scale,
    noises: Sounds,
    dev: Sequence[Utterance],
    *,
    measured: Sounds | None = None,
    seed: int = 0,
    workers: int = 1,
    features_on: FeaturesOn = "host",
    label: str = "train",
) -> Recognizer:
    """Train on `sources`, tune the search on `dev`, and write the model directory; returns at once what is there.

    Killed, it goes on from its last checkpoint. Raises ValueError where `directory` holds another training, or where
    features are to be made on the accelerator and a policy asks for what it cannot do.
    """
    if (directory / "model.json").exists():
        return Recognizer.read(directory)
    directory.mkdir(parents=True, exist_ok=True)
    pieces = ROW_PIECES if features_on == "accelerator" else 0
    rows = RowOptions(scale.row_steps, scale.output_delay, scale.forget_steps, pieces)
    noisy = any(source.policy.noise_probability > 0 for source in sources)
    options = train_options(scale, RowPlan(sources, rows, seed).rows_in_epoch(), noisy, seed)
    config = model_config(scale, language.tree.num_leaves)
    measured = measured or {}
    stats = measure_stats(sources, noises, seed, measured)
    described = {
        "domains": [source.corpus.domain for source in sources],
        "data": [source.corpus.info["sha256"] for source in sources],
        "alignments": [source.alignment for source in sources],
        "policies": [digest(source.policy) for source in sources],
        "tree": digest(language.tree),
    }
    maker: RowMaker
    featurize = None
    if features_on == "accelerator":
        maker = PackedRowMaker(sources, language.tree, stats, noises, rows, seed)
        featurize = accelerated.featurizer(rows.steps, stats.mean, stats.std, maker.shapes)
    else:
        maker = RowMaker(sources, language.tree, stats, noises, rows, seed, measured)
    trained = train(
        config, options, maker, directory, workers=workers, described=described, featurize=featurize, label=label
    )
    facts = {
        "scale": dataclasses.asdict(scale),
        "seed": seed,
        "steps": options.steps,
        "seconds": round(trained.seconds, 1),
        "waited_for_input": round(trained.waited_share, 3),
        "frame_accuracy": round(trained.frame_accuracy, 4),
        **described,
    }
    priors = log_priors(sources, language.tree)
    untuned = Recognizer(config, rows.output_delay, trained.params, stats, priors, language, SearchOptions(), facts)
    search, dev_wer = tune(untuned, dev)
    tuned = dataclasses.replace(untuned, search=search, facts={**facts, "dev_wer": round(dev_wer, 2)})
    tuned.write(directory)
    return tuned


# Training hears the encoders' fast search, two to six times as fast; test sets hear FFmpeg's default.
FAST_CODECS = tuple(codec and dataclasses.replace(codec, search="fast") for codec in TRAINING_CODECS)

WARP = (0.88, 1.12)  # about the spread of adults' vocal tracts

HELD_OUT = 0.06  # the share of each corpus' utterances, by whole speakers where it can be, that the search is tuned on
FEWEST_SPEAKERS = 8  # with fewer, single utterances are held out: a speaker would be too much of the data


@dataclass(frozen=True)
class TrainRequest:
    """What `mdasr train` is asked for: corpora with transcripts alone, and which perturbations to simulate.

    Noise goes on every domain, or on those of `noise_on` alone (§4.3.4 leaves some out); `noises` and `responses` are
    folders of one's own recordings. `alignment` names one that the corpora have (`mdasr align`); without it they are
    aligned from a flat start. ValueError where `noise_on` names a domain that none of the corpora has.
    """

    corpora: tuple[Corpus, ...]
    scale: Scale
    noise: bool = False
    noise_on: tuple[str, ...] = ()
    codec: bool = False
    warp: bool = False
    lexicon: Path | None = None
    noises: Path | None = None
    responses: Path | None = None
    seed: int = 0
    workers: int = 1
    features_on: FeaturesOn = "host"
    alignment: str = ""

    def __post_init__(self) -> None:
        domains = {corpus.domain for corpus in self.corpora}
        if strange := sorted(set(self.noise_on) - domains):
            raise ValueError(f"noise on {', '.join(strange)}: the corpora's domains are {', '.join(sorted(domains))}")

    def policy(self, domain: str, snippets: Iterable[str], measured: Iterable[str]) -> Policy:
        noisy = self.noise and (not self.noise_on or domain in self.noise_on)
        return Policy(
            noise_probability=self.scale.noise_probability if noisy else 0.0,
            rooms=room_ranges(self.scale),
            noises=tuple(sorted(snippets)) if noisy else (),
            measured=tuple(sorted(measured)) if noisy else (),
            codecs=FAST_CODECS if self.codec else (None,),
            warp=WARP if self.warp else (1.0, 1.0),
        )


def train_on(request: TrainRequest, directory: Path) -> Recognizer:
    """Train a recogniser from transcribed recordings: align, hold out, grow the tree, train the language, the network.

    Raises ValueError for words without pronunciation, and ImportError where a codec or eSpeak is asked for and missing.
    """
    if (directory / "model.json").exists():
        return Recognizer.read(directory)
    noises = (read_noises(request.noises) if request.noises else make_noises("train")) if request.noise else {}
    measured = read_responses(request.responses) if request.noise and request.responses else {}
    policies = [request.policy(corpus.domain, noises, measured) for corpus in request.corpora]
    require(codec for policy in policies for codec in policy.codecs)
    lexicon = covering_lexicon(request.corpora, request.lexicon)
    if request.alignment:
        name = request.alignment
        check_phones(request.corpora, name, lexicon)
    else:
        aligned = align(request.corpora, lexicon)
        print(aligned, file=sys.stderr)
        name = aligned.name
    kept = [held_out(corpus, request.seed) for corpus in request.corpora]
    sources = [
        Source(corpus, name, policy, tuple(np.flatnonzero(~held).tolist()))
        for corpus, policy, held in zip(request.corpora, policies, kept)
    ]
    tree = grow_tree([(source.corpus, source.alignment) for source in sources], lexicon.phones, request.scale.leaves)
    sentences = [source.corpus[i].text for source in sources for i in source.indices or ()]
    language = make_language(directory, lexicon, tree, sentences, request.scale.ngram_order)
    dev = [corpus[int(i)] for corpus, held in zip(request.corpora, kept) for i in np.flatnonzero(held)]
    return train_recognizer(
        directory,
        sources,
        language,
        request.scale,
        noises,
        dev,
        measured=measured,
        seed=request.seed,
        workers=request.workers,
        features_on=request.features_on,
    )


def covering_lexicon(corpora: Iterable[Corpus], path: Path | None) -> Lexicon:
    """Pronunciations of all words of the corpora: those of a file, and eSpeak's for words that it lacks."""
    words = {word for corpus in corpora for utterance in corpus for word in utterance.text.split()}
    given = Lexicon.read(path) if path else Lexicon({})
    return Lexicon({w: v for w, v in given.entries.items() if w in words}).covering(words, espeak.pronounce)


def check_phones(corpora: Iterable[Corpus], name: str, lexicon: Lexicon) -> None:
    """ValueError where an alignment has phones that no word of the lexicon has: its tree could not answer for words."""
    found = {phone for corpus in corpora for alignment in corpus.alignments(name) for phone in alignment.phones}
    if strange := sorted(found - set(lexicon.phones)):
        raise ValueError(
            f"alignment {name!r} has the phones {', '.join(strange[:10])}, which the lexicon has not: give the lexicon "
            "that it was made with (--lexicon)"
        )


def held_out(corpus: Corpus, seed: int) -> Bool[np.ndarray, " utterances"]:
    """Which utterances to keep from training: whole speakers, drawn until they have `HELD_OUT` of the utterances."""
    speakers = [utterance.speaker for utterance in corpus]
    few = len(set(speakers)) < FEWEST_SPEAKERS
    groups = [utterance.id for utterance in corpus] if few else speakers
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.Generator(np.random.Philox(key=[seed, 2**33])).permutation(len(names))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), HELD_OUT * len(groups))) + 1
    return np.isin(groups, names[order[:enough]])
