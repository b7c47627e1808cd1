"""From corpora to a model directory: alignment, tree, language, training, priors, tuning."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

from mdasr.acoustic.train import train
from mdasr.align.tree import Tree
from mdasr.core import hosts
from mdasr.core.digests import digest
from mdasr.decode.search import SearchOptions
from mdasr.model.directory import Language, Recognizer
from mdasr.recognize.tune import tune, wer_with
from mdasr.training.plan import ROW_PIECES, FeaturesOn, make_rows, plan_adaptation, plan_training
from mdasr.training.pool import Pool, check_corpora, check_hosts, describe, log_priors
from mdasr.training.regimes import AS_PUBLISHED, OWN_ALONE, Regime
from mdasr.training.scales import Scale


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
    plan = (
        plan_adaptation(pool, parent, scale, seed, regime, pieces)
        if parent
        else plan_training(pool, tree, scale, seed, regime, pieces)
    )
    maker, featurize = make_rows(pool, tree, plan, seed, features_on)
    trained = train(
        plan.config, plan.options, maker, directory, workers=workers, start_from=plan.start_from,
        stopping=plan.stopping, described=described, featurize=featurize, check=partial(check_corpora, pool),
        label=label,
    )  # fmt: skip

    def finished() -> Recognizer:
        priors = parent.log_priors if parent else log_priors(pool.sources, tree, plan.rows.subsampling)
        facts = {"scale": dataclasses.asdict(scale), "seed": seed, **trained.facts(), **described}
        untuned = Recognizer(
            plan.config, trained.params, plan.stats, priors, language,
            SearchOptions(acoustic_scale=plan.config.criterion.outputs.acoustic_scale), facts,
        )  # fmt: skip
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
