"""The commands that make models: train, adapt, tune, graph."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdasr.core.files import write_atomically
from mdasr.core.rendezvous import host_options
from mdasr.corpus.records import Corpus
from mdasr.training.regimes import AS_PUBLISHED, Regime

if TYPE_CHECKING:
    from mdasr.acoustic.network import ModelConfig
    from mdasr.training.ingredients import Training
    from mdasr.training.scales import Scale

# What is imported inside a command takes seconds to load, and worker processes import this module again.


def training_asked_for(chosen: argparse.Namespace, regime: Regime = AS_PUBLISHED) -> Training:
    """What `train` and `adapt` are asked to train; ValueError for options that do not go together."""
    from mdasr.core.digests import Named
    from mdasr.perturb.noises import SoundSource
    from mdasr.training.ingredients import Training
    from mdasr.training.scales import find_scale, override
    from mdasr.training.speech_split import DomainSpeech
    from mdasr.training.word_models import Wording

    noise, corpora = chosen.noise or bool(chosen.noise_on), [Corpus(directory) for directory in chosen.corpora]
    if regime.curriculum and not (noise or chosen.codec):
        raise ValueError("a curriculum makes noise and codecs more frequent: ask for some (--noise, --codec)")
    if (sounds := chosen.noises or chosen.responses) and not noise:
        raise ValueError(f"{sounds}: sounds to add in training, but no noise is asked for (--noise)")
    settings = [*chosen.set, *([f"epochs={chosen.epochs}"] if chosen.epochs else [])]
    alignment = [corpus.alignments(chosen.alignment).digest for corpus in corpora if chosen.alignment]
    return Training(
        speech=tuple(DomainSpeech.of(corpus, chosen.seed) for corpus in corpora),
        scale=override(find_scale(chosen.scale), settings),
        seed=chosen.seed,
        noise_on=tuple(chosen.noise_on or dict.fromkeys(corpus.domain for corpus in corpora if noise)),
        codecs=chosen.codec,
        warp=chosen.warp,
        sounds=SoundSource(chosen.noises, chosen.responses),
        words=Wording(
            lexicon=chosen.lexicon,
            questions=chosen.questions,
            tree_on=tuple(chosen.tree_on),
            alignment=Named(alignment, lambda: chosen.alignment) if alignment else None,
        ),
        regime=regime,
        features_on=chosen.features_on,
    )


def print_training(directory: Path, facts: Mapping[str, Any]) -> None:
    # `mdasr graph` strikes out the WER where it gives the model another language.
    wer = f", WER {facts['dev_wer']:.1f} % on held-out speech" if "dev_wer" in facts else ""
    print(
        f"{directory}: {facts['steps']} steps in {facts['seconds']:.0f} s ({facts['waited_for_input']:.0%} of it "
        f"waiting for input), {facts['frame_accuracy']:.1%} of frames right{wer}"
    )


def train_command(chosen: argparse.Namespace) -> int:
    """Align, grow the tree, train the language model and the network on corpora, and write a model directory."""
    from mdasr.core import hosts
    from mdasr.training.pipeline import train_recognizer

    hosts.join(chosen)
    regime = Regime(chosen.sampling_exponent, chosen.curriculum, chosen.clean_share)
    facts = train_recognizer(training_asked_for(chosen, regime), chosen.out, workers=chosen.workers).facts
    if hosts.primary():
        print_training(chosen.out, facts)
    return 0


def adapt_command(chosen: argparse.Namespace) -> int:
    """Fine-tune a model on a new domain (§4.4); with --report, print and draw what how much of its speech buys."""
    from mdasr.core import hosts
    from mdasr.model.directory import Recognizer
    from mdasr.training.ingredients import adapting
    from mdasr.training.pipeline import train_recognizer

    if strange := [share for share in chosen.share if not 0 < share <= 1]:
        raise ValueError(f"--share {strange[0]}: it must lie above 0 and at most be 1")
    if (len(chosen.share) > 1 or chosen.test) and not chosen.report:
        raise ValueError("--test, and --share more than once, are for a report: give --report, too")
    hosts.join(chosen)
    training = training_asked_for(chosen)
    if not chosen.report:
        parent = Recognizer.read(chosen.model)
        check_network(chosen, training.scale, parent.config)
        training = dataclasses.replace(adapting(training, parent), share=(*chosen.share, 1.0)[0])
        adapted = train_recognizer(training, chosen.out, workers=chosen.workers)
        if hosts.primary():
            print_training(chosen.out, adapted.facts)
        return 0
    from mdasr.analysis.pictures import draw_adaptation
    from mdasr.training.adaptation_curve import SHARES, adaptation_curve, curve_text

    if not chosen.test:
        raise ValueError("--report needs test speech: --test DIR, the new domain's first, others to see what they lose")
    tests, shares = [Corpus(directory) for directory in chosen.test], sorted({*chosen.share}) or SHARES
    seen = {corpus.info["sha256"] for corpus in training.corpora()}
    for test in tests:
        if test.info["sha256"] in seen:
            print(
                f"{test.directory}: what is trained on is tested on; that says little of other speech", file=sys.stderr
            )
    curve = adaptation_curve(training, chosen.model, chosen.out, tests, shares, chosen.workers)
    if not hosts.primary():
        return 0
    print(curve_text(curve))
    write_atomically(chosen.out / "curve.json", json.dumps(curve, indent=1) + "\n")
    draw_adaptation(chosen.out / "curve.png", curve)
    print(f"{chosen.out / 'curve.png'}, {chosen.out / 'curve.json'}")
    return 0


def check_network(chosen: argparse.Namespace, scale: Scale, config: ModelConfig) -> None:
    """ValueError where --set asks for another network than that of the model that is adapted."""
    from mdasr.training.scales import NETWORK

    for setting in chosen.set:
        name = setting.partition("=")[0].partition(".")[0]
        if name in NETWORK and getattr(scale, name) != getattr(config, name):
            raise ValueError(
                f"--set {setting}: {chosen.model} has {name} {getattr(config, name)}, which a model keeps when it is "
                "adapted; leave the setting out, or train from scratch"
            )


def tune_command(chosen: argparse.Namespace) -> int:
    """Tune acoustic scale, insertion penalty, beam and confidences on development speech, and write them down."""
    from mdasr.analysis.pictures import draw_trials
    from mdasr.decode.paths import calibrated
    from mdasr.decode.search import SearchOptions
    from mdasr.model.directory import Recognizer
    from mdasr.recognize.report import trials_text
    from mdasr.recognize.tune import calibrate, climb, dev_scores, narrowest, sweep, wer_on

    if not chosen.tolerance >= 0:  # NaN, too
        raise ValueError(f"--tolerance {chosen.tolerance:g}: give 0 points or more")
    recognizer = Recognizer.read(chosen.model)
    corpora = [Corpus(directory) for directory in chosen.corpora]
    if chosen.picture:
        chosen.picture.parent.mkdir(parents=True, exist_ok=True)
    graph, pairs = recognizer.language.graph, dev_scores(recognizer, [u for corpus in corpora for u in corpus])
    # With the usual beam, not one that an earlier tuning narrowed for that time's scale and penalty.
    start = dataclasses.replace(recognizer.search, beam=SearchOptions.beam)
    trials = sweep(graph, pairs, climb(start, wer_on(graph, pairs)), recognizer.subsampling.step_samples)
    best = narrowest(trials, chosen.tolerance)
    print(trials_text(trials, best))
    search = calibrate(graph, pairs, best.options)
    shares = np.array([0.3, 0.5, 0.7, 0.9, 0.99])
    print("share in the lattice: " + " ".join(f"{each:.2f}" for each in shares))
    print("         confidence: " + " ".join(f"{each:.2f}" for each in calibrated(shares, search)))
    if not chosen.dry_run:
        facts = {"tuned_on": [corpus.info["corpus"] for corpus in corpora], "dev_wer": round(best.wer, 2)}
        tuned = dataclasses.replace(recognizer, search=search, facts={**recognizer.facts, **facts})
        tuned.describe(chosen.model)
    if chosen.picture:
        draw_trials(chosen.picture, trials, best, chosen.tolerance)
    return 0


def graph_command(chosen: argparse.Namespace) -> int:
    """Compose a model's decoding graph anew (§3.6), with another language model or other pronunciations."""
    from mdasr.model.regraph import regraph

    out = chosen.out or chosen.model
    graph = regraph(chosen.model, out, chosen.lm, chosen.lexicon, chosen.cache).graph
    print(
        f"{out}: {len(graph.words):,} words, a graph of {graph.fst.num_states:,} states; "
        "scale, penalty and beam are as they were tuned"
    )
    return 0


def train_options(sub: ArgumentParser) -> None:
    _training_options(sub)
    group = sub.add_argument_group("beyond the paper", "what they did is in docs/results.md")
    group.add_argument(
        "--curriculum", type=float, default=0.0, metavar="SHARE",
        help="over so much of the training, noise and codecs rise from never to as often as asked for (such as 0.5)",
    )  # fmt: skip
    group.add_argument(
        "--sampling-exponent", type=float, default=1.0, metavar="X",
        help="a domain is heard as its hours to this power (1: as they are; 0: all alike)",
    )  # fmt: skip
    group.add_argument(
        "--clean-share", type=float, default=0.0, metavar="SHARE", help="of the visits, leave so many as recorded"
    )


def _training_options(sub: ArgumentParser) -> None:
    """For training from scratch and for fine-tuning."""
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="corpora made by `mdasr import`")
    sub.add_argument("--out", type=Path, required=True, metavar="MODEL")
    sub.add_argument("--noise", action="store_true", help="simulate rooms and noise (§3.1) on every domain")
    sub.add_argument(
        "--noise-on", action="append", default=[], metavar="DOMAIN", help="or on this one; may be repeated"
    )
    sub.add_argument("--codec", action="store_true", help="simulate codecs (§3.3)")
    sub.add_argument(
        "--warp", action="store_true", help="imitate other vocal tracts (not in the paper; for few speakers)"
    )
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace eSpeak's")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="noise snippets to use instead of the embedded ones")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses in the simulator's place")
    sub.add_argument("--alignment", default="", metavar="NAME", help="use this alignment (`mdasr align`), make none")
    sub.add_argument("--tree-on", action="append", default=[], metavar="DOMAIN", help="grow the tree on this one alone")
    sub.add_argument("--questions", type=Path, metavar="FILE", help="phonetic questions: phones, a set a line")
    sub.add_argument("--epochs", type=float, help="how often to see the data (with noise, more often)")
    sub.add_argument("--scale", default="small", metavar="NAME", help="mini, small (the default), base or paper")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--workers", type=int, default=1, help="processes that make features; 0 makes them in a thread")
    sub.add_argument(
        "--features-on",
        default="host",
        choices=["host", "accelerator"],
        help="where rooms, bandwidth and features are made; codecs need the host",
    )
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the scale")
    host_options(sub)


def adapt_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help="what to start from")
    _training_options(sub)
    sub.add_argument(
        "--share", type=float, action="append", default=[],
        help="of the data, by duration (1); may be given more than once for a report (1/8, 1/4, 1/2, 1)",
    )  # fmt: skip
    sub.add_argument("--report", action="store_true", help="adapt to every share, train on every one from scratch")
    sub.add_argument(
        "--test", type=Path, action="append", default=[], metavar="DIR",
        help="test speech for the report: the new domain's, then other domains', to see what they lose",
    )  # fmt: skip


def tune_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="development speech, seen by no training")
    sub.add_argument(
        "--tolerance", type=float, default=0.1, metavar="POINTS", help="what the WER may lose to the widest beam's"
    )
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw word error rate against real-time factor")
    sub.add_argument("--dry-run", action="store_true", help="leave model.json as it is")


def graph_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("--lm", type=Path, metavar="FILE", help="an n-gram model (ARPA) in place of the model's own")
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace the model's")
    sub.add_argument("--out", type=Path, metavar="MODEL", help="write a model there, and leave this one as it is")
    sub.add_argument("--cache", type=Path, metavar="DIR", help="keep the stages, for other trees over the same words")
