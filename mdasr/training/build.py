"""From corpora to a model directory: alignment, tree, language, training, priors, tuning."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float32

from mdasr import frontend
from mdasr.acoustic import accelerated
from mdasr.acoustic.adapters import widened
from mdasr.acoustic.adversary import Adversary
from mdasr.acoustic.loader import PackedRowMaker, RowMaker, measure_stats, step_labels
from mdasr.acoustic.network import ModelConfig, network
from mdasr.acoustic.schedule import RowOptions, RowPlan, Source, balanced
from mdasr.acoustic.train import EarlyStopping, Featurize, TrainOptions, frame_loss, train
from mdasr.align import tree_growth
from mdasr.align.tree import Tree
from mdasr.core import hosts
from mdasr.core.digests import digest
from mdasr.corpus.records import Utterance
from mdasr.decode.graph import Graph, ingredients
from mdasr.decode.search import SearchOptions
from mdasr.language import ngram
from mdasr.language.backoff import NGram
from mdasr.language.lexicon import Lexicon
from mdasr.model.directory import Language, Recognizer, compose_language, params_digest
from mdasr.perturb import TRAINING_CODECS, RoomRanges
from mdasr.perturb.noises import sounds_digest
from mdasr.perturb.room import Sounds
from mdasr.recognize.tune import tune, wer_with
from mdasr.training.regimes import AS_PUBLISHED, OWN_ALONE, Regime
from mdasr.training.scales import Scale

FeaturesOn = Literal["host", "accelerator"]
OWN_RATE = 3.0  # times that of training: parameters of a domain's own are few, and begin at no change
DEV_ROWS = 128  # of the development set go through the network at once
ROW_PIECES = 4  # utterances that a row of packed waves may hold
# Training hears the encoders' fast search, two to six times as fast; test sets hear FFmpeg's default.
FAST_CODECS = tuple(codec and dataclasses.replace(codec, search="fast") for codec in TRAINING_CODECS)


def train_ngram(sentences: Iterable[str], order: int, lexicon: Lexicon) -> NGram:
    """An n-gram model of sentences over the lexicon's words."""
    return ngram.train((sentence.split() for sentence in sentences), order, vocabulary=lexicon.words)


def make_language(directory: Path, lexicon: Lexicon, tree: Tree, model: NGram) -> Language:
    """Compose the graph of an n-gram model over the lexicon's words, and write all to `directory`.

    A graph that is there and made of the same is taken, so that a training that was killed need not compose it again.
    """
    arpa = model.to_arpa()
    if (directory / "graph" / "graph.json").exists():
        graph = Graph.read(directory / "graph")
        if graph.made_of == ingredients(lexicon, arpa, tree, graph.words):
            return Language(lexicon, tree, graph, arpa, directory)
    return compose_language(directory, lexicon, tree, arpa)


def grow_tree(
    sources: Sequence[Source],
    phones: Sequence[str],
    leaves: int,
    questions: Sequence[Sequence[str]] | None = None,
) -> Tree:
    """A state-tying tree from the cepstra of what sources have to train on (§3.5).

    Questions are derived from the data where none are given.
    """

    def utterances() -> Iterator[tuple[Sequence[str], np.ndarray, np.ndarray]]:
        for source in sources:
            alignments = source.corpus.alignments(source.alignment)
            for i in source.usable():
                alignment, samples = alignments[i], source.corpus[i].samples
                x = frontend.add_deltas(frontend.cepstra(frontend.log_mel(samples)), order=1)
                yield alignment.phones, tree_growth.frame_ends(alignment.ends_s, len(x)), x

    return tree_growth.grow(tree_growth.accumulate(utterances(), phones), leaves, questions=questions)


def room_ranges(scale: Scale) -> RoomRanges:
    return RoomRanges(snr_db=scale.snr_db, rt60_s=scale.rt60_s, distance_m=scale.distance_m)


def model_config(scale: Scale, num_outputs: int) -> ModelConfig:
    return ModelConfig(scale.cells, num_outputs, scale.dropout, scale.compute_dtype, scale.members, unroll=scale.unroll)


def train_options(scale: Scale, rows_in_epoch: int, noisy: bool, seed: int) -> TrainOptions:
    """Steps from the scale's epochs (more with noise, which makes the task harder), within its bounds."""
    epochs = scale.epochs * (scale.noise_factor if noisy else 1)
    steps = math.ceil(epochs * rows_in_epoch / scale.batch)
    factor = scale.noise_factor if noisy else 1
    steps = int(np.clip(steps, factor * scale.min_steps, scale.max_steps))
    return TrainOptions(steps, scale.batch, scale.learning_rate, seed=seed)


def log_priors(sources: Sequence[Source], tree: Tree) -> Float32[np.ndarray, " outputs"]:
    """Log relative frequency of every CDPhone among the labels of an epoch; an unseen one counts as seen once."""
    counts = np.zeros(tree.num_leaves)
    for source in sources:
        alignments, lengths = source.corpus.alignments(source.alignment), source.corpus.num_samples
        for u in source.usable():
            labels = step_labels(alignments[u], tree, frontend.num_steps(int(lengths[u])))
            counts += source.repeats * np.bincount(labels, minlength=tree.num_leaves)
    counts = np.maximum(counts, 1)
    return np.log(counts / counts.sum()).astype(np.float32)


def adapt_options(scale: Scale, seed: int) -> TrainOptions:
    """Fine-tuning: a lower rate, and a look at the development set every 20 steps (§4.4)."""
    return TrainOptions(scale.adapt_steps, scale.batch, scale.adapt_rate, seed=seed, checkpoint_every=20)


def dev_loss(config: ModelConfig, maker: RowMaker) -> Callable[[Any], float]:
    """Mean cross-entropy of a frame over one epoch of `maker`'s rows, as a function of the network's parameters."""
    count = RowPlan(maker.sources, maker.options, maker.seed).rows_in_epoch()
    rows = [maker.map(row) for row in range(count)]
    parts = [rows[first : first + DEV_ROWS] for first in range(0, count, DEV_ROWS)]
    batches = [{name: np.stack([row[name] for row in part]) for name in part[0]} for part in parts]
    frames = sum(float(batch["weights"].sum()) for batch in batches)

    @jax.jit
    def loss(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        logits, _ = network(config).apply({"params": params}, batch["features"], batch["keep"], told=batch.get("told"))
        return frame_loss(logits, batch["labels"], batch["weights"])[0]

    return lambda params: sum(float(loss(params, batch)) for batch in batches) / frames


@dataclass(frozen=True)
class Pool:
    """What a model is made of: utterances to train on, utterances held out, and the sounds that distort the first."""

    sources: tuple[Source, ...]
    dev: tuple[Source, ...]
    noises: Sounds
    measured: Sounds
    share: float = 1.0  # of the utterances there were to train on
    choices: Mapping[str, Any] = field(default_factory=dict)  # what else the language over it was made by

    def sentences(self) -> list[str]:
        return [utterance.text for source in self.sources for utterance in source]

    def dev_utterances(self) -> list[Utterance]:
        return [utterance for source in self.dev for utterance in source]

    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source.corpus.domain for source in self.sources))

    def under(self, regime: Regime) -> Pool:
        """The pool whose domains are balanced, and whose visits are left clean, as a regime asks."""

        def spared(source: Source) -> Source:
            return dataclasses.replace(
                source, policy=dataclasses.replace(source.policy, clean_probability=regime.clean_share)
            )

        sources = balanced(self.sources, regime.sampling_exponent)
        return dataclasses.replace(self, sources=tuple(map(spared, sources)))


@dataclass(frozen=True)
class Plan:
    """How a network is trained: sizes, steps, rows, the features' statistics, its start, and when to stop early."""

    config: ModelConfig
    options: TrainOptions
    rows: RowOptions
    stats: frontend.FeatureStats
    start_from: Mapping[str, Any] | None = None
    stopping: EarlyStopping | None = None


def plan_training(pool: Pool, tree: Tree, scale: Scale, rows: RowOptions, seed: int, regime: Regime) -> Plan:
    """From scratch, as the scale and the regime say."""
    noisy = any(source.policy.noise_probability > 0 for source in pool.sources)
    options = train_options(scale, RowPlan(pool.sources, rows, seed).rows_in_epoch(), noisy, seed)
    options = dataclasses.replace(options, steps=max(1, round(regime.longer * options.steps)))
    config, domains = model_config(scale, tree.num_leaves), pool.domains()
    rows = dataclasses.replace(rows, curriculum_rows=round(regime.curriculum * options.steps * options.batch))
    if regime.adapters or regime.adversary:
        rows = dataclasses.replace(rows, domains=domains, untold_share=regime.untold_share)
    if regime.adapters:
        config = dataclasses.replace(config, domains=domains)
    if regime.adversary:
        options = dataclasses.replace(options, adversary=Adversary(len(domains), regime.adversary))
    stats = measure_stats(pool.sources, pool.noises, seed, pool.measured)
    return Plan(config, options, rows, stats)


def plan_adaptation(pool: Pool, parent: Recognizer, scale: Scale, rows: RowOptions, seed: int, regime: Regime) -> Plan:
    """From a parent, whose sizes and statistics are kept, until the frames held out say stop (§4.4).

    All of its parameters are fine-tuned, or those of the new domains' own alone, which are added to it.
    """
    config, params, options = parent.config, parent.params, adapt_options(scale, seed)
    rows = dataclasses.replace(rows, output_delay=parent.output_delay)
    if regime == OWN_ALONE:
        if len(pool.domains()) > 1:
            raise ValueError(
                f"{', '.join(pool.domains())}: adapt to one domain at a time, which gets its own parameters"
            )
        config, params = widened(config, params, pool.domains())
        rows = dataclasses.replace(rows, domains=config.domains)
        options = dataclasses.replace(options, own_alone=True, learning_rate=OWN_RATE * scale.learning_rate)
    still = dataclasses.replace(rows, forget_steps=0)
    held_out = RowMaker(pool.dev, parent.language.tree, parent.stats, {}, still, seed)
    return Plan(config, options, rows, parent.stats, params, EarlyStopping(dev_loss(config, held_out)))


def make_rows(
    pool: Pool, tree: Tree, plan: Plan, seed: int, features_on: FeaturesOn
) -> tuple[RowMaker, Featurize | None]:
    """What makes rows in the loader's workers, and what makes their features on the accelerator, if that does."""
    if features_on == "host":
        return RowMaker(pool.sources, tree, plan.stats, pool.noises, plan.rows, seed, pool.measured), None
    maker = PackedRowMaker(pool.sources, tree, plan.stats, pool.noises, plan.rows, seed)
    return maker, accelerated.featurizer(plan.rows.steps, plan.stats.mean, plan.stats.std, maker.shapes)


def describe(pool: Pool, tree: Tree, parent: Recognizer | None) -> dict[str, Any]:
    """What a training depends on besides its settings, as run.json and model.json have it."""
    return {
        "domains": [source.corpus.domain for source in pool.sources],
        "data": [source.corpus.info["sha256"] for source in pool.sources],
        "seconds_of_audio": [round(source.seconds(), 1) for source in pool.sources],
        "dev_seconds_of_audio": [round(source.seconds(), 1) for source in pool.dev],
        "dev_data": [source.corpus.info["sha256"] for source in pool.dev],
        "share": pool.share,
        "alignments": [source.corpus.alignments(source.alignment).digest for source in pool.sources],
        "policies": [digest(source.policy) for source in pool.sources],
        "sounds": [sounds_digest(pool.noises), sounds_digest(pool.measured)],
        "tree": digest(tree),
        "parent": params_digest(parent.params) if parent else "",
        **pool.choices,
    }


def check_hosts(pool: Pool) -> None:
    """ValueError where there are more hosts than utterances to train on: what some of them do could help nobody."""
    utterances = sum(len(source.usable()) for source in pool.sources)
    if (count := jax.process_count()) > utterances:
        raise ValueError(
            f"{count} hosts, but {utterances} utterances to train on: start fewer hosts, or give more speech"
        )


def check_corpora(pool: Pool) -> None:
    """ValueError where a corpus of the pool is no longer the one that was opened."""
    for source in (*pool.sources, *pool.dev):
        source.corpus.require_unchanged()


def check_parent(directory: Path, parent: Recognizer, tree: Tree, regime: Regime) -> None:
    """ValueError for a model to start from that has other CDPhones, or a regime that is none of fine-tuning."""
    if digest(parent.language.tree) != digest(tree):
        raise ValueError(f"{directory}: the model to start from has another tree of CDPhones; adapt with its own")
    if regime not in (AS_PUBLISHED, OWN_ALONE):
        raise ValueError(f"{directory}: a model that starts from another is fine-tuned, and takes no such regime")


def done(directory: Path, **asked: Any) -> Recognizer | None:
    """The finished model of a directory; ValueError where its facts are not those that are asked for now."""
    if not (directory / "model.json").exists():
        return None
    found = Recognizer.read(directory)
    for name, value in json.loads(json.dumps(asked)).items():
        if (was := found.facts.get(name, value)) != value:
            raise ValueError(
                f"{directory} holds a model that was made otherwise: {name} was {was!r} and is now {value!r}. Train to "
                "another directory, or delete this one."
            )
    return found


def train_recognizer(
    directory: Path,
    pool: Pool,
    language: Language,
    scale: Scale,
    *,
    parent: Recognizer | None = None,
    regime: Regime = AS_PUBLISHED,
    seed: int = 0,
    workers: int = 1,
    features_on: FeaturesOn = "host",
    label: str = "train",
) -> Recognizer:
    """Train on a pool, tune the search on what it holds out, write the model directory; returns at once what is there.

    With a `parent` all its layers are fine-tuned (§4.4), or, under `OWN_ALONE`, parameters of the domain's own that are
    added to it; other regimes are for training from scratch. Killed, it goes on from its last checkpoint. Several hosts
    train together, and the primary one tunes and writes (`mdasr.core.hosts`). Raises ValueError where `directory` holds
    another training, where the parent has other CDPhones or is given with another regime, and where features are to be
    made on the accelerator and a policy asks for what it cannot do.
    """
    pool, tree = pool.under(regime), language.tree
    described = {"regime": dataclasses.asdict(regime), **describe(pool, tree, parent)}
    if found := done(directory, scale=dataclasses.asdict(scale), seed=seed, **described):
        return found
    check_hosts(pool)
    if parent:
        check_parent(directory, parent, tree, regime)
    directory.mkdir(parents=True, exist_ok=True)
    pieces = ROW_PIECES if features_on == "accelerator" else 0
    rows = RowOptions(scale.row_steps, scale.output_delay, scale.forget_steps, pieces)
    plan = (
        plan_adaptation(pool, parent, scale, rows, seed, regime)
        if parent
        else plan_training(pool, tree, scale, rows, seed, regime)
    )
    maker, featurize = make_rows(pool, tree, plan, seed, features_on)
    trained = train(
        plan.config, plan.options, maker, directory, workers=workers, start_from=plan.start_from,
        stopping=plan.stopping, described=described, featurize=featurize, check=partial(check_corpora, pool),
        label=label,
    )  # fmt: skip

    def finished() -> Recognizer:
        priors = parent.log_priors if parent else log_priors(pool.sources, tree)
        facts = {"scale": dataclasses.asdict(scale), "seed": seed, **trained.facts(), **described}
        untuned = Recognizer(
            plan.config, plan.rows.output_delay, trained.params, plan.stats, priors, language, SearchOptions(), facts
        )
        made = tuned(untuned, pool, parent.search if parent and regime == OWN_ALONE else None)
        made.write(directory)
        return made

    return hosts.once("tuned", finished, lambda: Recognizer.read(directory))


def tuned(untuned: Recognizer, pool: Pool, kept: SearchOptions | None) -> Recognizer:
    """With the search tuned on what the pool holds out, or `kept` as other domains know it; with the WER there."""
    if kept:
        search, dev_wer = kept, wer_with(kept, untuned.told(*pool.domains()), pool.dev_utterances())
    else:
        search, dev_wer = tune(untuned, pool.dev_utterances())
    return dataclasses.replace(untuned, search=search, facts={**untuned.facts, "dev_wer": round(dev_wer, 2)})
