"""The commands that make models: train, adapt, tune, graph."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdasr.data.records import Corpus, write_atomically
from mdasr.spec import AS_PUBLISHED, Regime

if TYPE_CHECKING:
    from mdasr.jobs import TrainRequest

# What is imported inside a command takes seconds to load, and worker processes import this module again.


def training_request(chosen: argparse.Namespace, regime: Regime = AS_PUBLISHED) -> TrainRequest:
    """What `train` and `adapt` ask for."""
    from mdasr.jobs import TrainRequest
    from mdasr.scales import SCALES, override

    settings = [*chosen.set, *([f"epochs={chosen.epochs}"] if chosen.epochs else [])]
    return TrainRequest(
        corpora=tuple(Corpus(directory) for directory in chosen.corpora),
        scale=override(SCALES[chosen.scale], settings),
        noise=chosen.noise or bool(chosen.noise_on),
        noise_on=tuple(chosen.noise_on),
        codec=chosen.codec,
        warp=chosen.warp,
        lexicon=chosen.lexicon,
        noises=chosen.noises,
        responses=chosen.responses,
        seed=chosen.seed,
        workers=chosen.workers,
        features_on=chosen.features_on,
        alignment=chosen.alignment,
        tree_on=tuple(chosen.tree_on),
        questions=chosen.questions,
        regime=regime,
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
    from mdasr import hosts
    from mdasr.jobs import train_on

    hosts.join(chosen)
    regime = Regime(chosen.sampling_exponent, chosen.curriculum, chosen.clean_share)
    facts = train_on(training_request(chosen, regime), chosen.out).facts
    if hosts.primary():
        print_training(chosen.out, facts)
    return 0


def adapt_command(chosen: argparse.Namespace) -> int:
    """Fine-tune a model on a new domain (§4.4); with --report, print and draw what how much of its speech buys."""
    from mdasr import hosts
    from mdasr.jobs import adapt_on
    from mdasr.recognizer import Recognizer

    if strange := [share for share in chosen.share if not 0 < share <= 1]:
        raise ValueError(f"--share {strange[0]}: it must lie above 0 and at most be 1")
    if (len(chosen.share) > 1 or chosen.test) and not chosen.report:
        raise ValueError("--test, and --share more than once, are for a report: give --report, too")
    hosts.join(chosen)
    request = training_request(chosen)
    if not chosen.report:
        adapted = adapt_on(request, Recognizer.read(chosen.model), chosen.out, *chosen.share)
        if hosts.primary():
            print_training(chosen.out, adapted.facts)
        return 0
    from mdasr.curve import SHARES, adaptation_curve, curve_text
    from mdasr.plots import draw_adaptation

    if not chosen.test:
        raise ValueError("--report needs test speech: --test DIR, the new domain's first, others to see what they lose")
    tests, shares = [Corpus(directory) for directory in chosen.test], sorted({*chosen.share}) or SHARES
    seen = {corpus.info["sha256"] for corpus in request.corpora}
    for test in tests:
        if test.info["sha256"] in seen:
            print(
                f"{test.directory}: what is trained on is tested on; that says little of other speech", file=sys.stderr
            )
    curve = adaptation_curve(request, chosen.model, chosen.out, tests, shares)
    if not hosts.primary():
        return 0
    print(curve_text(curve))
    write_atomically(chosen.out / "curve.json", json.dumps(curve, indent=1) + "\n")
    draw_adaptation(chosen.out / "curve.png", curve)
    print(f"{chosen.out / 'curve.png'}, {chosen.out / 'curve.json'}")
    return 0


def tune_command(chosen: argparse.Namespace) -> int:
    """Tune acoustic scale, insertion penalty, beam and confidences on development speech, and write them down."""
    from mdasr.decode.paths import calibrated
    from mdasr.decode.search import SearchOptions
    from mdasr.plots import draw_trials
    from mdasr.recognizer import Recognizer
    from mdasr.report import trials_text
    from mdasr.tuning import calibrate, climb, dev_scores, narrowest, sweep, wer_on

    if not chosen.tolerance >= 0:  # NaN, too
        raise ValueError(f"--tolerance {chosen.tolerance:g}: give 0 points or more")
    recognizer = Recognizer.read(chosen.model)
    corpora = [Corpus(directory) for directory in chosen.corpora]
    if chosen.picture:
        chosen.picture.parent.mkdir(parents=True, exist_ok=True)
    graph, pairs = recognizer.language.graph, dev_scores(recognizer, [u for corpus in corpora for u in corpus])
    # With the usual beam, not one that an earlier tuning narrowed for that time's scale and penalty.
    start = dataclasses.replace(recognizer.search, beam=SearchOptions.beam)
    trials = sweep(graph, pairs, climb(start, wer_on(graph, pairs)))
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
    from mdasr.regraph import regraph

    out = chosen.out or chosen.model
    graph = regraph(chosen.model, out, chosen.lm, chosen.lexicon, chosen.cache).graph
    print(
        f"{out}: {len(graph.words):,} words, a graph of {graph.fst.num_states:,} states; "
        "scale, penalty and beam are as they were tuned"
    )
    return 0
