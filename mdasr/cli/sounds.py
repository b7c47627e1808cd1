"""The commands about sound alone: perturb, rooms, similarity."""

from __future__ import annotations

import argparse
import dataclasses
import json
from argparse import ArgumentParser
from pathlib import Path

import soundfile

from mdasr.core.files import read_text
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import read_audio, to_int16
from mdasr.perturb import (
    EVALUATION_ROOMS,
    TRAINING_CODECS,
    TRAINING_ROOMS,
    Policy,
    Recipe,
    RoomRanges,
    draw,
    draw_room,
    perturb,
    require,
)

# `perturb` needs the packages of perturbations alone; the other commands import the rest inside.


def perturb_command(chosen: argparse.Namespace) -> int:
    """Distort a recording as in training, or as a recipe says; writes 16 kHz WAV or FLAC and prints the recipe."""
    from mdasr.perturb.noises import make_noises, read_noises, read_responses

    if chosen.schema:
        print(json.dumps(Recipe.json_schema(), indent=1))
        return 0
    if not (chosen.input and chosen.output):
        raise ValueError("give a recording IN and where to write OUT, or --schema alone")
    if (kind := chosen.output.suffix[1:].upper()) not in soundfile.available_formats():
        raise ValueError(f"{chosen.output}: no format is called {kind or 'nothing'}; write .wav or .flac")
    recipe = read_recipe(chosen.recipe) if chosen.recipe else None
    wave, _ = read_audio(chosen.input, chosen.channel)
    noises = read_noises(chosen.noises) if chosen.noises else make_noises("train")
    measured = read_responses(chosen.responses) if chosen.responses else {}
    if recipe is None:
        policy = Policy(
            1.0, RoomRanges(), tuple(sorted(noises)), codecs=TRAINING_CODECS, measured=tuple(sorted(measured))
        )
        recipe = draw(policy, chosen.seed, chosen.input.name, 0)
    require([recipe.codec])
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(chosen.output, to_int16(perturb(wave, recipe, noises, measured)), RATE_HZ)
    print(recipe.to_json())
    return 0


def read_recipe(given: str) -> Recipe:
    """The recipe that `--recipe` gives: JSON itself, or the file that holds it."""
    if given.lstrip().startswith("{"):
        return Recipe.from_json(given)
    text = read_text(given, "recipe (`mdasr perturb` prints one; give a file that holds it, or the JSON itself)")
    try:
        return Recipe.from_json(text)
    except ValueError as error:
        raise ValueError(f"{given}: {error}") from None


def rooms_command(chosen: argparse.Namespace) -> int:
    """Export configurations of rooms (§3.1) as Parquet, and draw their distributions."""
    from mdasr.core.progress import track
    from mdasr.perturb.noises import make_noises, read_noises
    from mdasr.perturb.room_table import write_rooms

    if chosen.first < 0 or chosen.count < 1:
        raise ValueError(f"--first {chosen.first} --count {chosen.count}: give 0 or more, and 1 or more")
    snippets = sorted(read_noises(chosen.noises) if chosen.noises else make_noises("train"))
    indices = track(range(chosen.first, chosen.first + chosen.count), desc="rooms", unit="room")
    rooms = ((i, draw_room(i, chosen.seed, snippets, RoomRanges(tail_cut_db=chosen.tail_cut_db))) for i in indices)
    _make_folders(chosen.out, chosen.picture)
    count = write_rooms(chosen.out, rooms)
    print(f"{chosen.out}: {count} rooms")
    if chosen.picture:
        from mdasr.analysis.pictures import draw_rooms

        shown = range(chosen.first, chosen.first + min(chosen.count, 20_000))
        draw_rooms(chosen.picture, [draw_room(i, chosen.seed, snippets) for i in shown])
    return 0


def similarity_command(chosen: argparse.Namespace) -> int:
    """Tell how alike domains sound (§4.2), the nearest first: silhouette and cluster similarity of their i-vectors."""
    from mdasr.analysis.domain_ivectors import AnalysisOptions, by_domain, domain_ivectors
    from mdasr.analysis.ivectors import ExtractorOptions
    from mdasr.analysis.similarity import resemblances, similarity_cells, similarity_text
    from mdasr.analysis.ubm import UbmOptions
    from mdasr.corpus.records import Corpus

    corpora = by_domain([Corpus(directory) for directory in chosen.corpora])
    reference = chosen.to or [*corpora][-1]
    if reference not in corpora or len(corpora) < 2:
        raise ValueError(f"{reference} and at least another are to be compared, and there are {', '.join(corpora)}")
    options = AnalysisOptions(
        chosen.utterances, chosen.training, chosen.narrowband,
        UbmOptions(components=chosen.components), ExtractorOptions(chosen.dimensions),
    )  # fmt: skip
    _make_folders(chosen.json, chosen.picture)
    clusters = domain_ivectors(corpora, options, chosen.seed)
    found = resemblances(clusters, reference)
    cells = similarity_cells(found, clusters)
    print(similarity_text(cells, reference))
    if chosen.json:
        settings = dataclasses.asdict(options) | {"seed": chosen.seed}
        content = {"reference": reference, "cells": cells, "settings": settings}
        chosen.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if chosen.picture:
        from mdasr.analysis.pictures import draw_domains

        draw_domains(chosen.picture, {name: cluster.points for name, cluster in clusters.items()})
    return 0


def _make_folders(*paths: Path | None) -> None:
    """Make the folders of what will be written, before the work and not after it."""
    for path in paths:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)


def similarity_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="corpora, each of which counts as a domain")
    sub.add_argument("--to", metavar="DOMAIN", help="which one the others are compared with (default: the last)")
    sub.add_argument("--utterances", type=int, default=50, help="of each domain that are measured")
    sub.add_argument("--training", type=int, default=150, help="of each domain that train the i-vectors, at most")
    sub.add_argument("--components", type=int, default=64, help="of the background model; 2048 for thousands of hours")
    sub.add_argument(
        "--dimensions", type=int, default=32, help="of the i-vectors; fewer for less than some 300 utterances"
    )
    sub.add_argument("--narrowband", action="store_true", help="hear everything at 8 kHz, so that no sample rate tells")
    sub.add_argument("--seed", type=int, default=0, help="which utterances are drawn, and all else that is random")
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the utterances in the plane of the domains")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures with their intervals")


def perturb_options(sub: ArgumentParser) -> None:
    sub.add_argument("input", type=Path, metavar="IN", nargs="?")
    sub.add_argument("output", type=Path, metavar="OUT", nargs="?")
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--recipe", metavar="JSON", help="a recipe as printed, or a file that holds one")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="noise snippets to use instead of the embedded ones")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses in the simulator's place")
    sub.add_argument("--channel", type=int, help="which channel of a recording with several, from 0")
    sub.add_argument("--schema", action="store_true", help="print the JSON schema of recipes and stop")


def rooms_options(sub: ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet, a row a room")
    sub.add_argument("--first", type=int, default=TRAINING_ROOMS[0], metavar="INDEX")
    sub.add_argument(
        "--count", type=int, default=10_000, help=f"training draws from the first {TRAINING_ROOMS[1]:,}, tests from "
        f"the {EVALUATION_ROOMS[1] - EVALUATION_ROOMS[0]:,} after them"
    )  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, help="which collection")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="noise snippets to use instead of the embedded ones")
    sub.add_argument("--tail-cut-db", type=float, help="cut responses so far below their maximum (Google's: 20)")
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the distributions of the first 20,000")
