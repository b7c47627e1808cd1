"""From the description of a training to a model directory: alignment, tree, language, network, priors, tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mdasr.acoustic.train import train
from mdasr.align.tree import Tree
from mdasr.core import hosts
from mdasr.core.digests import digest
from mdasr.core.files import read_json
from mdasr.decode.search import SearchOptions
from mdasr.model.directory import Language, Recognizer
from mdasr.model.gmm_directory import GmmRecognizer
from mdasr.perturb import require
from mdasr.recognize.tune import FEWEST_WORDS, count_words, tune, wer_with
from mdasr.training.floor import make_floor
from mdasr.training.ingredients import Training
from mdasr.training.plan import ROW_PIECES, Plan, make_rows, plan_adaptation, plan_training
from mdasr.training.pool import (
    Pool,
    artefacts,
    card_facts,
    check_corpora,
    check_hosts,
    check_speech,
    label_statistics,
    log_priors,
)
from mdasr.training.regimes import AS_PUBLISHED, OWN_ALONE
from mdasr.training.scales import NETWORK
from mdasr.training.word_models import Shared, adapt_words


def check_parent(directory: Path, parent: Recognizer, tree: Tree, training: Training) -> None:
    """Check the model to start from; raises ValueError for other CDPhones, another network, or an unsuitable regime."""
    if digest(parent.language.tree) != digest(tree):
        raise ValueError(f"{directory}: the model to start from has another tree of CDPhones; use its own tree")
    for name in NETWORK:
        if (was := getattr(parent.config, name)) != (now := getattr(training.scale, name)):
            raise ValueError(
                f"{directory}: the model to start from has {name} {was}, not {now}; keep the model's own setting"
            )
    if training.regime not in (AS_PUBLISHED, OWN_ALONE):
        raise ValueError(f"{directory}: this regime is for training from scratch, not for a model to start from")


def done(directory: Path, made_of: Mapping[str, Any]) -> Recognizer | None:
    """The finished model of a directory, if there is one.

    Raises ValueError where that model, or a training that was begun there, has other ingredients.
    """
    for path in (directory / "model.json", directory / "run.json"):
        before = read_json(path, "description of a training").get("made_of", {}) if path.exists() else made_of
        for name in (*made_of, *before):
            if (was := before.get(name)) != (now := made_of.get(name)):
                raise ValueError(
                    f"{directory} holds a training that was made otherwise: {name} was {was!r} and is now {now!r}. "
                    "Train to another directory, or delete this one."
                )
    return Recognizer.read(directory) if (directory / "model.json").exists() else None


def gather(training: Training, directory: Path, parent: Recognizer | None) -> tuple[Pool, Language]:
    """Align the speech of a training where needed, hold some out, and make the words, which are written to `directory`.

    Raises ValueError for words without pronunciation, and ImportError where a codec is needed and missing.
    """
    require(codec for speech in training.speech for codec in training.policy(speech.domain).codecs)
    words = training.words
    if isinstance(words, Shared):
        check_speech(pool := training.pool(words.alignment_of))
        return pool, words.language()
    corpora = training.corpora()
    lexicon = words.pronunciations(corpora, parent.language if parent else None)
    with hosts.primary_first("alignment"):
        check_speech(pool := training.pool(words.align(corpora, lexicon, parent)))

    def language() -> Language:
        if parent:
            return adapt_words(parent, pool.sources, pool.dev, lexicon, directory)
        return words.grow(pool.sources, pool.dev, lexicon, training.scale, directory)

    return pool, hosts.once("language", language, lambda: Language.read(directory))


def train_recognizer(
    training: Training, directory: Path, *, workers: int = 1, label: str = "train", floor: bool = False
) -> Recognizer:
    """Make a training's pool and words, train, tune the search on held-out speech, and write the model directory.

    A finished model in `directory` is returned at once, and a training that was killed goes on from its last
    checkpoint. With a parent, all its layers are fine-tuned (§4.4). Under `OWN_ALONE` only the domain's own parameters
    are, which are added to it. Other regimes are for training from scratch. Several hosts train together, and the
    primary one tunes and writes (`mdasr.core.hosts`).

    With `floor`, a GMM of the same speech is trained first, in `directory`/gmm; its WER becomes the fact `gmm_wer`.

    Raises errors as `gather` does. Raises ValueError where `directory` holds another training, and where the parent has
    other CDPhones or is given with another regime. It also raises ValueError where the accelerator cannot make the
    features that a policy needs.
    """
    made_of = training.made_of()
    if finished := done(directory, made_of):
        return finished
    parent = training.parent.get() if training.parent else None
    pool, language = gather(training, directory, parent)
    check_hosts(pool)
    if parent:
        check_parent(directory, parent, language.tree, training)
    directory.mkdir(parents=True, exist_ok=True)
    plan = planned(training, pool, language.tree, parent)
    maker, featurize = make_rows(pool, language.tree, plan, training.seed, training.features_on)
    gmm_wer = {}
    if floor:
        gmm = directory / "gmm"
        made = hosts.once("floor", lambda: make_floor(pool, language, gmm), lambda: GmmRecognizer.read(gmm))
        gmm_wer = {"gmm_wer": made.facts["dev_wer"]}
    speech = [*(parent.facts.get("corpora", []) if parent else []), *map(card_facts, pool.sources)]
    facts = {"name": training.name, "made_of": made_of, "corpora": speech, **artefacts(pool, language.tree)}
    uses = plan.config.criterion.uses_transitions
    trained = train(
        plan.config, plan.options, maker, directory, workers=workers, start_from=plan.start_from,
        stopping=plan.stopping, described=facts, featurize=featurize,
        statistics=label_statistics(pool.shown, language.tree, plan.rows.subsampling) if uses else {},
        check=partial(check_corpora, pool), label=label,
    )  # fmt: skip

    def tune_and_write() -> Recognizer:
        priors = parent.log_priors if parent else log_priors(pool.sources, language.tree, plan.rows.subsampling)
        untuned = Recognizer(
            plan.config, trained.params, plan.stats, priors, language,
            SearchOptions(acoustic_scale=plan.config.criterion.outputs.acoustic_scale),
            {**trained.facts(), **facts, **gmm_wer},
        )  # fmt: skip
        keep = parent and (training.regime == OWN_ALONE or count_words(pool.dev_utterances()) < FEWEST_WORDS)
        made = tuned(untuned, pool, parent.search if parent and keep else None)
        made.write(directory)
        return made

    return hosts.once("tuned", tune_and_write, lambda: Recognizer.read(directory))


def planned(training: Training, pool: Pool, tree: Tree, parent: Recognizer | None) -> Plan:
    """The plan for training the network on its pool, from scratch or from a parent."""
    scale, seed, regime = training.scale, training.seed, training.regime
    pieces = ROW_PIECES if training.features_on == "accelerator" else 0
    if parent:
        return plan_adaptation(pool, parent, scale, seed, regime, pieces)
    return plan_training(pool, tree, scale, seed, regime, pieces)


def tuned(untuned: Recognizer, pool: Pool, kept: SearchOptions | None) -> Recognizer:
    """The model with its search tuned on the held-out speech, or with the options `kept`, and with the WER there.

    `kept` are the parent's options. They stay where its other domains use them, and where there is too little held-out
    speech to fit others.
    """
    if kept:
        search, dev_wer = kept, wer_with(kept, untuned.told(*pool.domains()), pool.dev_utterances())
    else:
        search, dev_wer = tune(untuned, pool.dev_utterances())
    return dataclasses.replace(untuned, search=search, facts={**untuned.facts, "dev_wer": round(dev_wer, 2)})
