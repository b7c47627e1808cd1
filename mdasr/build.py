"""From aligned corpora to a model directory: language, tree, training, priors, tuning."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from mdasr import frontend
from mdasr.acoustic import tying
from mdasr.acoustic.model import ModelConfig
from mdasr.acoustic.train import TrainOptions, train
from mdasr.acoustic.tying import Tree
from mdasr.data.records import Corpus
from mdasr.decode.graph import build_graph
from mdasr.decode.search import SearchOptions
from mdasr.language import ngram
from mdasr.language.lexicon import Lexicon
from mdasr.loader import RowMaker, RowOptions, RowPlan, Source, measure_stats, step_labels
from mdasr.recognizer import Language, Recognizer, tune
from mdasr.spec import Scale, digest


def make_language(lexicon: Lexicon, tree: Tree, sentences: Iterable[str], order: int) -> Language:
    """Train the n-gram model on `sentences` over the lexicon's words and compose the decoding graph."""
    model = ngram.train((sentence.split() for sentence in sentences), order, vocabulary=lexicon.words)
    arpa = model.to_arpa()
    return Language(lexicon, tree, build_graph(lexicon, arpa, tree), arpa)


def model_config(scale: Scale, num_outputs: int) -> ModelConfig:
    return ModelConfig(scale.cells, num_outputs, scale.dropout)


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
    noises: Mapping[str, np.ndarray],
    dev: Corpus,
    *,
    seed: int = 0,
    workers: int = 1,
    label: str = "train",
) -> Recognizer:
    """Train on `sources`, tune the search on `dev`, and write the model directory; returns at once what is there.

    Killed, it goes on from its last checkpoint. Raises ValueError where `directory` holds another training.
    """
    if (directory / "model.json").exists():
        return Recognizer.read(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rows = RowOptions(scale.row_steps, scale.output_delay)
    noisy = any(source.policy.noise_probability > 0 for source in sources)
    options = train_options(scale, RowPlan(sources, rows, seed).rows_in_epoch(), noisy, seed)
    config = model_config(scale, language.tree.num_leaves)
    stats = measure_stats(sources, noises, seed)
    described = {
        "domains": [source.corpus.domain for source in sources],
        "data": [source.corpus.info["sha256"] for source in sources],
        "alignments": [source.alignment for source in sources],
        "policies": [digest(source.policy) for source in sources],
        "tree": digest(language.tree.questions + language.tree.roots),
    }
    maker = RowMaker(sources, language.tree, stats, noises, rows, seed)
    trained = train(config, options, maker, directory, workers=workers, described=described, label=label)
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
