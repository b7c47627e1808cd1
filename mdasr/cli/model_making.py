"""The commands that make models: train, adapt, tune, graph, release."""

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

from mdasr.core.files import read_json, write_atomically
from mdasr.core.rendezvous import host_options
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus
from mdasr.language.lexicon import LEXICON_HELP
from mdasr.language.phrases import BOOST
from mdasr.training.regimes import AS_PUBLISHED, Regime

if TYPE_CHECKING:
    from mdasr.acoustic.network import ModelConfig
    from mdasr.training.ingredients import Training
    from mdasr.training.scales import Scale
    from mdasr.training.speech_split import DomainSpeech

# Commands import slow packages inside, because worker processes import this module again.


def training_asked_for(chosen: argparse.Namespace, regime: Regime = AS_PUBLISHED, scale: str = "little") -> Training:
    """The training that the options of `train` and `adapt` describe; ValueError for options that contradict.

    Without the option --scale, it has the `scale` of this name.
    """
    from mdasr.core.digests import Named
    from mdasr.perturb.noises import SoundSource
    from mdasr.training.ingredients import Training
    from mdasr.training.scales import find_scale, override
    from mdasr.training.speech_split import DomainSpeech
    from mdasr.training.word_models import Wording

    noise, corpora = chosen.noise or bool(chosen.noise_on), [Corpus(directory) for directory in chosen.corpora]
    if regime.curriculum and not (noise or chosen.codec):
        raise ValueError("--curriculum makes noise and codecs more frequent: give --noise or --codec, too")
    if (sounds := chosen.noises or chosen.responses) and not noise:
        raise ValueError(f"{sounds}: these sounds are for training with noise; give --noise, too")
    settings = [*chosen.set, *([f"epochs={chosen.epochs}"] if chosen.epochs else [])]
    hours = sum(float(corpus.num_samples.sum()) for corpus in corpora) / RATE_HZ / 3600
    alignment = [corpus.alignments(chosen.alignment).digest for corpus in corpora if chosen.alignment]
    return Training(
        speech=tuple(DomainSpeech.of(corpus, chosen.seed) for corpus in corpora),
        scale=override(find_scale(chosen.scale or scale, hours), settings),
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
            arpa=getattr(chosen, "lm", None),
        ),
        regime=regime,
        features_on=chosen.features_on,
        augment=tuple(dict.fromkeys(chosen.augment)),
    )


def print_training(directory: Path, facts: Mapping[str, Any]) -> None:
    # `mdasr graph` strikes out the WER where it gives the model another language.
    wer = f", WER {facts['dev_wer']:.1f} % on held-out speech" if "dev_wer" in facts else ""
    print(
        f"{directory}: {facts['steps']} steps in {facts['seconds']:.0f} s ({facts['waited_for_input']:.0%} of it "
        f"waiting for input), {facts['frame_accuracy']:.1%} of frames right{wer}"
    )


def train_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr train`: alignment, tree, language model, network, model directory."""
    from mdasr.core import hosts
    from mdasr.training.floor import verdict
    from mdasr.training.pipeline import train_recognizer

    hosts.join(chosen)
    regime = Regime(chosen.sampling_exponent, chosen.curriculum, chosen.clean_share)
    training = training_asked_for(chosen, regime)
    facts = train_recognizer(training, chosen.out, workers=chosen.workers, floor=True).facts
    if hosts.primary():
        print_training(chosen.out, facts)
        if worse := verdict(chosen.out, facts):
            print(worse)
    return 0


def adapt_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr adapt` (§4.4); with --report, compare amounts of the new domain's speech, and write and draw them."""
    from mdasr.core import hosts
    from mdasr.model.directory import Recognizer
    from mdasr.training.ingredients import adapting, keeping
    from mdasr.training.pipeline import train_recognizer

    if strange := [part for part in chosen.part if not 0 < part <= 1]:
        raise ValueError(f"--part {strange[0]}: give a number above 0 and at most 1")
    if (len(chosen.part) > 1 or chosen.test) and not chosen.report:
        raise ValueError("--test and more than one --part need --report")
    keep = speech_to_keep(chosen)
    hosts.join(chosen)
    training = training_asked_for(chosen, scale=scale_of(chosen.model))
    if not chosen.report:
        parent = Recognizer.read(chosen.model)
        check_network(chosen, training.scale, parent.config)
        training = dataclasses.replace(adapting(training, parent), share=(*chosen.part, 1.0)[0])
        training = keeping(training, keep, chosen.share)
        adapted = train_recognizer(training, chosen.out, workers=chosen.workers)
        if hosts.primary():
            print_training(chosen.out, adapted.facts)
        return 0
    from mdasr.analysis.pictures import draw_adaptation
    from mdasr.training.adaptation_curve import SHARES, adaptation_curve, curve_text

    if not chosen.test:
        raise ValueError(
            "--report needs test speech: give --test DIR, first for the new domain, then for others that may lose"
        )
    tests, shares = [Corpus(directory) for directory in chosen.test], sorted({*chosen.part}) or SHARES
    heard = [*training.corpora(), *(corpus for speech in keep for corpus in speech.corpora())]
    seen = {corpus.info["sha256"] for corpus in heard}
    for test in tests:
        if test.info["sha256"] in seen:
            print(
                f"{test.directory}: this corpus is in the training, too; its result says little about other speech",
                file=sys.stderr,
            )
    curve = adaptation_curve(training, chosen.model, chosen.out, tests, shares, chosen.workers, keep, chosen.share)
    if not hosts.primary():
        return 0
    print(curve_text(curve))
    write_atomically(chosen.out / "curve.json", json.dumps(curve, indent=1) + "\n")
    draw_adaptation(chosen.out / "curve.png", curve)
    print(f"{chosen.out / 'curve.png'}, {chosen.out / 'curve.json'}")
    return 0


def scale_of(model: Path) -> str:
    """The name of the scale that a model was trained at; "little" for a model of another one."""
    from mdasr.model.directory import described
    from mdasr.training.scales import LITTLE, SCALES

    name = described(model).get("made_of", {}).get("scale.name")
    return name if name in SCALES else LITTLE.name


def speech_to_keep(chosen: argparse.Namespace) -> list[DomainSpeech]:
    """The corpora of --keep; sets --share where it is not given. ValueError for a share alone, or outside (0, 1)."""
    from mdasr.training.adaptation_curve import KEEP_SHARE
    from mdasr.training.speech_split import DomainSpeech

    if chosen.share is None:
        chosen.share = KEEP_SHARE
    elif not chosen.keep:
        raise ValueError(
            f"--share {chosen.share:g}: this is the share of old speech, and needs --keep DIR; for a part of the new "
            "domain's speech, give --part"
        )
    if not 0 < chosen.share < 1:
        raise ValueError(f"--share {chosen.share:g}: give a number between 0 and 1")
    return [DomainSpeech.of(Corpus(directory), chosen.seed) for directory in chosen.keep]


def check_network(chosen: argparse.Namespace, scale: Scale, config: ModelConfig) -> None:
    """Raise ValueError where --set asks for a network that differs from that of the model to adapt."""
    from mdasr.training.scales import NETWORK

    for setting in chosen.set:
        name = setting.partition("=")[0].partition(".")[0]
        if name in NETWORK and getattr(scale, name) != getattr(config, name):
            raise ValueError(
                f"--set {setting}: {chosen.model} has {name} {getattr(config, name)}, and adaptation cannot change it; "
                "leave the setting out, or train from scratch"
            )


def tune_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr tune`: acoustic scale, insertion penalty, beam and confidences, written into model.json."""
    from mdasr.analysis.pictures import draw_trials
    from mdasr.decode.paths import calibrated
    from mdasr.decode.search import SearchOptions
    from mdasr.model.gmm_directory import read_model
    from mdasr.recognize.report import trials_text
    from mdasr.recognize.tune import calibrate, climb, dev_scores, narrowest, sweep, wer_on

    if not chosen.tolerance >= 0:  # NaN, too
        raise ValueError(f"--tolerance {chosen.tolerance:g}: give 0 points or more")
    recognizer = read_model(chosen.model)
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
    """Run `mdasr graph`: compose the decoding graph of a model anew (§3.6)."""
    from mdasr.model.regraph import regraph

    if chosen.boost is not None and not chosen.phrases:
        raise ValueError(f"--boost {chosen.boost:g}: this makes phrases likelier; give --phrases FILE, too")
    boost, out = BOOST if chosen.boost is None else chosen.boost, chosen.out or chosen.model
    graph = regraph(chosen.model, out, chosen.lm, chosen.lexicon, chosen.cache, chosen.phrases, boost).graph
    print(
        f"{out}: {len(graph.words):,} words, a graph of {graph.fst.num_states:,} states; "
        "the tuned scale, penalty and beam are kept"
    )
    return 0


def release_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr release`: a model's files and its card, for others."""
    from mdasr.model.release import release
    from mdasr.recognize.report import matrix_text

    if wrong := [pair for pair in chosen.licence if "=" not in pair]:
        raise ValueError(f"--licence {wrong[0]}: write CORPUS=TEXT")
    found = read_json(chosen.results, "result of `mdasr evaluate --json`")
    cells = found.get("cells", [found])
    if not all(isinstance(cell, dict) and {"label", "condition"} <= cell.keys() for cell in cells):
        raise ValueError(f"{chosen.results}: not a result of `mdasr evaluate --json`; evaluate the model again")
    if (of := found.get("model")) != str(chosen.model):
        raise ValueError(f"{chosen.results}: the result of {of}, not of {chosen.model}; evaluate this model")
    licences = dict(pair.split("=", 1) for pair in chosen.licence)
    print(release(chosen.model, chosen.out, matrix_text(cells), licences))
    return 0


def train_options(sub: ArgumentParser) -> None:
    _training_options(sub)
    sub.add_argument(
        "--lm", type=Path, metavar="ARPA", help="n-gram model and vocabulary (default: those of the transcripts)"
    )
    group = sub.add_argument_group("beyond the paper", "docs/results.md tells their effect")
    group.add_argument(
        "--curriculum", type=float, default=0.0, metavar="SHARE",
        help="raise noise and codecs from never to their usual frequency over this share of the training, such as 0.5",
    )  # fmt: skip
    group.add_argument(
        "--sampling-exponent", type=float, default=1.0, metavar="X",
        help="a domain is visited in proportion to its hours to this power (1: as recorded; 0: all alike)",
    )  # fmt: skip
    group.add_argument(
        "--clean-share", type=float, default=0.0, metavar="SHARE", help="share of the visits without noise and codec"
    )


def _training_options(sub: ArgumentParser) -> None:
    """Add the options of training from scratch and of fine-tuning."""
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="corpora made by `mdasr import`")
    sub.add_argument("--out", type=Path, required=True, metavar="MODEL")
    sub.add_argument("--noise", action="store_true", help="simulate rooms and noise (§3.1) on every domain")
    sub.add_argument(
        "--noise-on",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="simulate them on this domain; may be repeated",
    )
    sub.add_argument("--codec", action="store_true", help="simulate codecs (§3.3)")
    sub.add_argument(
        "--warp", action="store_true", help="imitate other vocal tracts (not in the paper; helps with few speakers)"
    )
    sub.add_argument(
        "--augment",
        action="append",
        default=[],
        metavar="NAME",
        help="a further perturbation: speed, equaliser, clipping or masks; may be repeated",
    )
    sub.add_argument("--lexicon", type=Path, help=LEXICON_HELP)
    sub.add_argument("--noises", type=Path, metavar="DIR", help="recordings of noise (default: the embedded ones)")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses (default: simulated ones)")
    sub.add_argument(
        "--alignment", default="", metavar="NAME", help="use this alignment of `mdasr align`, and make none"
    )
    sub.add_argument(
        "--tree-on", action="append", default=[], metavar="DOMAIN", help="grow the tree on this domain alone"
    )
    sub.add_argument("--questions", type=Path, metavar="FILE", help="phonetic questions: one set of phones a line")
    sub.add_argument("--epochs", type=float, help="passes over the data (with noise, more)")
    sub.add_argument(
        "--scale",
        metavar="NAME",
        help="recipe and sizes: little, small, mini, base or paper (default: those of the model to adapt; for a new "
        "model little, which is for up to ten hours)",
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--workers", type=int, default=1, help="processes that make features; 0 makes them in a thread")
    sub.add_argument(
        "--features-on",
        default="host",
        choices=["host", "accelerator"],
        help="where to make rooms, bandwidth and features; codecs need the host",
    )
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the scale")
    host_options(sub)


def adapt_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help="model to start from")
    _training_options(sub)
    sub.add_argument(
        "--part", type=float, action="append", default=[], metavar="SHARE",
        help="share of the data, by duration (default: 1); a report takes several (default: 1/8, 1/4, 1/2, 1)",
    )  # fmt: skip
    sub.add_argument(
        "--keep", type=Path, action="append", default=[], metavar="DIR",
        help="a corpus that the model was trained on: mix its speech in, so that the model does not forget it",
    )  # fmt: skip
    sub.add_argument("--share", type=float, metavar="X", help="share of --keep in the training's audio (default: 0.2)")
    sub.add_argument(
        "--report", action="store_true", help="adapt to every share, and train on every share from scratch"
    )
    sub.add_argument(
        "--test", type=Path, action="append", default=[], metavar="DIR",
        help="test speech for the report: first of the new domain, then of domains that may lose",
    )  # fmt: skip


def tune_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument(
        "corpora", type=Path, nargs="+", metavar="DIR", help="development speech that no training has seen"
    )
    sub.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="POINTS",
        help="largest rise of the WER above that of the widest beam",
    )
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw word error rate against real-time factor")
    sub.add_argument("--dry-run", action="store_true", help="leave model.json as it is")


def release_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument(
        "--results", type=Path, required=True, metavar="FILE", help="what `mdasr evaluate --json` wrote for the model"
    )
    sub.add_argument(
        "--licence", action="append", default=[], metavar="CORPUS=TEXT",
        help="the licence of a corpus whose manifest has no field licence; may be repeated",
    )  # fmt: skip
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")


def graph_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument(
        "--lm", type=Path, metavar="FILE", help="an n-gram model (ARPA) that replaces the one of the model"
    )
    sub.add_argument("--lexicon", type=Path, help=LEXICON_HELP)
    sub.add_argument(
        "--phrases", type=Path, metavar="FILE",
        help="add the words of a file with a phrase a line, such as names, and make these phrases likelier",
    )  # fmt: skip
    sub.add_argument(
        "--boost", type=float, metavar="X",
        help=f"each word of --phrases weighs e^X times as much as an average word, X from 0 to 10 (default: {BOOST:g})",
    )  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="MODEL", help="write the new model here, and leave MODEL unchanged")
    sub.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the stages here, for other trees over the same words"
    )
