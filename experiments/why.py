"""Ablations that test why claims fail, or stay undecided, on the embedded corpus; judged like the claims themselves.

python -m experiments why --scale mini --workdir runs

The embedded corpus has 166 minutes of six kinds of synthetic speech. The paper had 162,000 hours of people's speech.
Each hypothesis names one difference that this makes, removes it, and predicts the result. The hypotheses on T3.a,
T5.d, T6.d/3, T7.e and T7.f were written after the others had been judged with one seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from experiments.claims import Claim, That, about_equal, far_better, models_on, worse
from experiments.models import (
    CALL_CENTER,
    IN_DOMAIN,
    IN_DOMAIN_ONLY,
    MULTI,
    MULTI_NOISE,
    MULTIDOMAIN,
    POOLED,
    SEARCH_AND_DICTATION,
    VSD,
    VSD_NOISE,
    YOUTUBE,
    adapted_model,
)
from experiments.nouns import Model, Table, TestSet
from experiments.testsets import (
    CALL_CENTER_8K,
    DICTATION,
    TELEPHONY_8K,
    VOICESEARCH,
    YOUTUBE_TEST,
    name,
    narrow,
    noisy,
    telephoned,
)
from mdasr.synth.domains import DOMAINS
from mdasr.training.regimes import Regime

if TYPE_CHECKING:
    from experiments.laboratory import Laboratory

LONGER = 1.5  # models with noise train for this many times the steps (Scale.noise_factor)


def check(laboratory: Laboratory) -> None:
    """Raise ValueError if a laboratory has other corpora or another noise factor than the hypotheses assume."""
    if laboratory.map:
        raise ValueError(f"{laboratory.map}: `why` is only for the embedded corpus; leave --corpora out")
    if laboratory.scale.noise_factor != LONGER:
        raise ValueError(
            f"`why` needs models that train {LONGER} times as long with noise: --set noise_factor={LONGER}"
        )


def minutes(domains: Iterable[str]) -> float:
    return sum(DOMAINS[domain].minutes for domain in domains)


def as_much_as(domains: Iterable[str], model: Model, of: str) -> Model:
    """Return a model that trains on a share of its own speech: as many minutes as `domains` have in the corpus."""
    share = round(minutes(domains) / minutes(model.domains), 4)
    return dataclasses.replace(model, name=f"{model.name}, as much as {of}", share=share)


def longer(model: Model) -> Model:
    """Return a model that trains for as many steps as a model with noise."""
    return dataclasses.replace(model, name=f"{model.name}, {LONGER} × the steps", regime=Regime(longer=LONGER))


MULTI_NOISE_LESS = as_much_as(SEARCH_AND_DICTATION, MULTI_NOISE, "Voicesearch-Dictation")
MULTI_LESS = as_much_as([IN_DOMAIN], MULTI, IN_DOMAIN)
WITHOUT_CALLS = Model("Multidomain without Call-center", tuple(d for d in MULTIDOMAIN if d != "Call-center"))
YOUTUBE_LESS = as_much_as(["Call-center"], YOUTUBE, "Call-center")
POOLED_LESS = as_much_as(MULTIDOMAIN, POOLED, MULTI.name)
ON_DICTATION = Model(f"{MULTI.name} + Dictation", ("Dictation",), parent=MULTI)

CLEAN = (VOICESEARCH, DICTATION, CALL_CENTER_8K)
ALL_CLEAN = (*CLEAN, YOUTUBE_TEST)
NOISY = (noisy(VOICESEARCH), noisy(DICTATION))
BANDS = (DICTATION, narrow(DICTATION), telephoned(DICTATION))

HYPOTHESES = (
    Claim("T3.a/1", 3, "With the same number of training steps, noise leaves clean speech about equal",
          models_on(about_equal, longer(VSD), VSD_NOISE, VOICESEARCH, DICTATION)),
    Claim("T5.b/1", 5, "8 kHz Dictation lacks a telephone's band and companding. With both, the Call-center model is "
          "far better",
          (That(far_better, (CALL_CENTER, DICTATION), (CALL_CENTER, telephoned(DICTATION))),)),
    Claim("T5.c/1", 5, "The YouTube model is better on Call-center because it has more speech. With as much speech as "
          "Call-center has, it is worse",
          models_on(worse, CALL_CENTER, YOUTUBE_LESS, CALL_CENTER_8K)),
    Claim("T5.d/1", 5, "With 1.5 times the steps, the YouTube model is far better on YouTube than the "
          "Voicesearch-Dictation model",
          models_on(far_better, VSD, longer(YOUTUBE), YOUTUBE_TEST)),
    Claim("T6.d/1", 6, "Noise training helps clean speech because it takes more steps. As many steps without noise "
          "help as much",
          models_on(about_equal, MULTI_NOISE, longer(MULTI), *CLEAN)),
    Claim("T6.d/2", 6, "The multidomain noise model is better than the domain-specific one because it has more speech. "
          "With as much speech as that model, it is worse on the noisy sets",
          models_on(worse, VSD_NOISE, MULTI_NOISE_LESS, *NOISY)),
    Claim("T6.d/3", 6, "With the same number of training steps, noise makes clean speech worse",
          models_on(worse, longer(MULTI), MULTI_NOISE, *CLEAN)),
    Claim("T7.e/1", 7, "Pooling with Telephony helps the other domains because there is more speech. With no more "
          "speech than before, it leaves them about equal",
          models_on(about_equal, MULTI, POOLED_LESS, *ALL_CLEAN)),
    Claim("T7.f/1", 7, "Fine-tuning on Telephony spares Call-center because the two are similar. Fine-tuning on "
          "Dictation makes Call-center worse",
          models_on(worse, MULTI, ON_DICTATION, CALL_CENTER_8K)),
    Claim("T7.g/1", 7, "The multidomain model is better than training on Telephony because it has more speech. With "
          "as much speech as Telephony has, it is worse",
          models_on(worse, IN_DOMAIN_ONLY, MULTI_LESS, TELEPHONY_8K)),
    Claim("T7.g/2", 7, "The multidomain model is better because of Call-center, which is similar to Telephony. "
          "Without Call-center it is worse",
          models_on(worse, IN_DOMAIN_ONLY, WITHOUT_CALLS, TELEPHONY_8K)),
    Claim("T7.g/3", 7, "Without Call-center, the multidomain model makes more errors on Telephony than with it",
          models_on(worse, MULTI, WITHOUT_CALLS, TELEPHONY_8K)),
)  # fmt: skip


def _table(title: str, models: Iterable[Model], test_sets: Iterable[TestSet]) -> Table:
    return Table(0, title, {name(t): t for t in test_sets}, {model.name: model for model in models}, {})


TABLES = (
    _table("Longer training instead of noise", (MULTI, longer(MULTI), MULTI_NOISE), CLEAN),
    _table("Longer training instead of noise, two domains", (VSD, longer(VSD), VSD_NOISE), (VOICESEARCH, DICTATION)),
    _table("As much speech as Voicesearch-Dictation", (VSD_NOISE, MULTI_NOISE, MULTI_NOISE_LESS), NOISY),
    _table("Telephony before adaptation", (IN_DOMAIN_ONLY, MULTI, MULTI_LESS, WITHOUT_CALLS), (TELEPHONY_8K,)),
    _table("As much speech as Call-center", (CALL_CENTER, YOUTUBE, YOUTUBE_LESS), (CALL_CENTER_8K,)),
    _table("The Call-center model on Dictation in three bands", (CALL_CENTER,), BANDS),
    _table("YouTube trained longer", (VSD, YOUTUBE, longer(YOUTUBE)), (YOUTUBE_TEST,)),
    _table("Pooled with Telephony, with no more speech than before", (MULTI, POOLED, POOLED_LESS), ALL_CLEAN),
    _table("Fine-tuned on Dictation", (MULTI, adapted_model(MULTI, "700 hrs"), ON_DICTATION), ALL_CLEAN),
)
