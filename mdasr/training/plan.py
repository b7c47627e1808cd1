"""The plan of a training on a pool: sizes, steps, rows, the start, and when to stop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from mdasr import frontend
from mdasr.acoustic import accelerated
from mdasr.acoustic.adapters import widened
from mdasr.acoustic.adversary import Adversary
from mdasr.acoustic.echoes import Echoed
from mdasr.acoustic.encoders.interface import Encoder
from mdasr.acoustic.loader import MakesRows, PackedRowMaker, RowMaker, measure_stats
from mdasr.acoustic.network import ModelConfig, init_params, network, rows_of
from mdasr.acoustic.row_schedule import RowOptions, RowPlan
from mdasr.acoustic.train import EarlyStopping, Featurize, TrainOptions
from mdasr.align.tree import Tree
from mdasr.model.directory import Recognizer
from mdasr.perturb import ROOMS, TRAINING_CODECS, RoomRanges
from mdasr.training.pool import Pool
from mdasr.training.regimes import OWN_ALONE, Regime
from mdasr.training.scales import Scale

FeaturesOn = Literal["host", "accelerator"]
OWN_RATE = 3.0  # factor on the learning rate for a domain's own parameters, which are few and start at no change
# In fine-tuning, between two checks: steps of training, and output steps that they show (16 minutes of rows).
FEWEST_STEPS, CHECKED_STEPS = 20, 32_000
DEV_ROWS = 128  # rows of the development set that go through the network at once
NOISE_ALONE_AFTER = 2 / 3  # of a training: from the beginning on, noise alone made phones harder to learn
ROW_PIECES = 4  # utterances that a row of packed waves may hold
# Training uses the encoders' fast search, which is two to six times as fast; test sets use FFmpeg's default.
FAST_CODECS = tuple(codec and dataclasses.replace(codec, search="fast") for codec in TRAINING_CODECS)


def room_ranges(scale: Scale) -> RoomRanges:
    """The ranges of rooms in a scale."""
    if scale.rooms != "uniform":
        return ROOMS[scale.rooms]
    return RoomRanges(snr_db=scale.snr_db, rt60_s=scale.rt60_s, distance_m=scale.distance_m)


def model_config(scale: Scale, num_outputs: int) -> ModelConfig:
    """The configuration of a scale's network with `num_outputs` outputs."""
    return ModelConfig(
        scale.encoder, num_outputs, scale.features, scale.criterion, scale.dropout, scale.compute_dtype, scale.members
    )


def row_options(scale: Scale, encoder: Encoder, pieces: int = 0) -> RowOptions:
    """Rows of the scale's length for an encoder, of at most `pieces` utterances (0: any number)."""
    return RowOptions(
        scale.row_steps, encoder.output_delay, encoder.forget_steps, encoder.subsampling, pieces, lanes=scale.batch
    )


def train_options(scale: Scale, rows_in_epoch: int, noisy: bool, seed: int) -> TrainOptions:
    """Steps from the scale's epochs, within its bounds; noise makes the task harder, so it adds epochs."""
    epochs = scale.epochs * (scale.noise_factor if noisy else 1)
    steps = math.ceil(epochs * rows_in_epoch / scale.batch)
    factor = scale.noise_factor if noisy else 1
    steps = int(np.clip(steps, factor * scale.min_steps, scale.max_steps))
    return TrainOptions(steps, scale.batch, scale.learning_rate, seed=seed)


def adapt_options(scale: Scale, seed: int) -> TrainOptions:
    """Fine-tuning: a lower rate, and regular checks on the development set (§4.4)."""
    every = max(FEWEST_STEPS, round(CHECKED_STEPS / (scale.batch * scale.row_steps)))
    return TrainOptions(scale.adapt_steps, scale.batch, scale.adapt_rate, seed=seed, checkpoint_every=every)


def dev_loss(config: ModelConfig, maker: RowMaker) -> Callable[[Any], float]:
    """The criterion's watched loss as a function of parameters: its mean a frame over an epoch of `maker`'s rows."""
    count = RowPlan(maker.sources, maker.options, maker.seed).rows_in_epoch()
    rows = [maker.map(row) for row in range(count)]
    parts = [rows[first : first + DEV_ROWS] for first in range(0, count, DEV_ROWS)]
    batches = [{name: np.stack([row[name] for row in part]) for name in part[0]} for part in parts]
    frames = sum(float(batch["weights"].sum()) for batch in batches)

    @jax.jit
    def loss(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        logits, _ = network(config).apply({"params": params}, rows_of(batch))
        return config.criterion.watched(logits, batch)

    return lambda params: sum(float(loss(params, batch)) for batch in batches) / frames


@dataclass(frozen=True)
class Plan:
    """The plan of a network's training: sizes, steps, rows, echoes, feature statistics, start, and early stopping."""

    config: ModelConfig
    options: TrainOptions
    rows: RowOptions
    stats: frontend.FeatureStats
    start_from: Mapping[str, Any] | None = None
    stopping: EarlyStopping | None = None
    echoes: int = 1


def plan_training(pool: Pool, tree: Tree, scale: Scale, seed: int, regime: Regime, pieces: int = 0) -> Plan:
    """Plan a training from scratch, as the scale and the regime say."""
    rows = row_options(scale, scale.encoder, pieces)
    noisy = any(source.policy.noise_probability > 0 for source in pool.sources)
    options = train_options(scale, RowPlan(pool.sources, rows, seed).rows_in_epoch(), noisy, seed)
    options = dataclasses.replace(options, steps=max(1, round(regime.longer * options.steps)))
    config, domains = model_config(scale, tree.num_leaves), pool.domains()
    new = options.steps * options.batch / scale.echoes
    rows = dataclasses.replace(
        rows, curriculum_rows=round(regime.curriculum * new), speech_rows=round(NOISE_ALONE_AFTER * new)
    )
    if regime.adapters or regime.adversary:
        rows = dataclasses.replace(rows, domains=domains, untold_share=regime.untold_share)
    if regime.adapters:
        config = dataclasses.replace(config, domains=domains)
    if regime.adversary:
        options = dataclasses.replace(options, adversary=Adversary(len(domains), regime.adversary))
    stats = measure_stats(pool.sources, config.features, pool.noises, seed, pool.measured)
    return Plan(config, options, rows, stats, echoes=scale.echoes)


def plan_adaptation(pool: Pool, parent: Recognizer, scale: Scale, seed: int, regime: Regime, pieces: int = 0) -> Plan:
    """Plan a fine-tuning of a parent, until the loss on held-out frames stops it (§4.4).

    The parent's sizes and statistics are kept. All of its parameters are trained, or only the own parameters of the new
    domain, which are added to it. Raises ValueError for own parameters of several domains at once.
    """
    config, params, options = parent.config, parent.params, adapt_options(scale, seed)
    rows = row_options(scale, config.encoder, pieces)
    if regime == OWN_ALONE:
        if len(pool.domains()) > 1:
            raise ValueError(
                f"{', '.join(pool.domains())}: adapt to one domain at a time; each gets its own parameters"
            )
        wider = tuple(dict.fromkeys((*config.domains, *pool.domains())))
        config = dataclasses.replace(config, domains=wider)
        params = widened(params, jax.eval_shape(lambda: init_params(config, 0)))
        rows = dataclasses.replace(rows, domains=config.domains)
        options = dataclasses.replace(options, own_alone=True, learning_rate=OWN_RATE * scale.learning_rate)
    still = dataclasses.replace(rows, forget_steps=0)
    held_out = RowMaker(pool.dev, parent.language.tree, config.features, parent.stats, {}, still, seed)
    return Plan(config, options, rows, parent.stats, params, EarlyStopping(dev_loss(config, held_out)), scale.echoes)


def make_rows(
    pool: Pool, tree: Tree, plan: Plan, seed: int, features_on: FeaturesOn
) -> tuple[MakesRows, Featurize | None]:
    """The maker of rows in the loader's workers, and the function that makes features on the accelerator.

    The function is None where features are made on the host. Raises ValueError for echoes of rows of packed waves,
    which are too large to keep.
    """
    if features_on == "host":
        features = plan.config.features
        maker = RowMaker(pool.shown, tree, features, plan.stats, pool.noises, plan.rows, seed, pool.measured)
        return Echoed(maker, plan.echoes) if plan.echoes > 1 else maker, None
    if plan.echoes > 1:
        raise ValueError("features on the accelerator: each row is shown once; give --set echoes=1")
    maker = PackedRowMaker(pool.shown, tree, plan.config.features, plan.stats, pool.noises, plan.rows, seed)
    return maker, accelerated.featurizer(plan.rows, plan.config.features, plan.stats, maker.shapes)
