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
    ROOMS,
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
from mdasr.perturb.gain import TRAINING_GAIN_DB

# `perturb` needs the packages of perturbations alone; the other commands import the rest inside.


def perturb_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr perturb`: write 16 kHz WAV or FLAC, and print the recipe."""
    from mdasr.perturb.noises import make_noises, read_noises, read_responses

    if chosen.schema:
        print(json.dumps(Recipe.json_schema(), indent=1))
        return 0
    if not (chosen.input and chosen.output):
        raise ValueError("give a recording IN and a file OUT to write, or --schema alone")
    if (kind := chosen.output.suffix[1:].upper()) not in soundfile.available_formats():
        raise ValueError(
            f"{chosen.output}: libsndfile cannot write the format {kind or 'without a name'}; give a file .wav or .flac"
        )
    recipe = read_recipe(chosen.recipe) if chosen.recipe else None
    wave, _ = read_audio(chosen.input, chosen.channel)
    noises = read_noises(chosen.noises) if chosen.noises else make_noises("train")
    measured = read_responses(chosen.responses) if chosen.responses else {}
    if recipe is None:
        policy = Policy(
            1.0, RoomRanges(), tuple(sorted(noises)), codecs=TRAINING_CODECS, measured=tuple(sorted(measured)),
            gain_db=TRAINING_GAIN_DB,
        )  # fmt: skip
        recipe = draw(policy, chosen.seed, chosen.input.name, 0)
    require([recipe.codec])
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(chosen.output, to_int16(perturb(wave, recipe, noises, measured)), RATE_HZ)
    print(recipe.to_json())
    return 0


def read_recipe(given: str) -> Recipe:
    """Read the recipe of `--recipe`: JSON, or the name of a file with JSON."""
    if given.lstrip().startswith("{"):
        return Recipe.from_json(given)
    text = read_text(given, "recipe (give the JSON that `mdasr perturb` prints, or a file with it)")
    try:
        return Recipe.from_json(text)
    except ValueError as error:
        raise ValueError(f"{given}: {error}") from None


def rooms_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr rooms`: configurations of rooms (§3.1) as Parquet."""
    from mdasr.core.progress import track
    from mdasr.perturb.noises import make_noises, read_noises
    from mdasr.perturb.room_table import write_rooms

    if chosen.first < 0 or chosen.count < 1:
        raise ValueError(f"--first {chosen.first} --count {chosen.count}: --first takes 0 or more, --count 1 or more")
    snippets = sorted(read_noises(chosen.noises) if chosen.noises else make_noises("train"))
    indices = track(range(chosen.first, chosen.first + chosen.count), desc="rooms", unit="room")
    ranges = dataclasses.replace(ROOMS[chosen.rooms], tail_cut_db=chosen.tail_cut_db)
    rooms = ((i, draw_room(i, chosen.seed, snippets, ranges)) for i in indices)
    _make_folders(chosen.out, chosen.picture)
    count = write_rooms(chosen.out, rooms)
    print(f"{chosen.out}: {count} rooms")
    if chosen.picture:
        from mdasr.analysis.pictures import draw_rooms

        shown = range(chosen.first, chosen.first + min(chosen.count, 20_000))
        draw_rooms(chosen.picture, [draw_room(i, chosen.seed, snippets, ranges) for i in shown], ranges)
    return 0


def similarity_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr similarity` (§4.2): silhouette and cluster similarity of i-vectors, the nearest domain first."""
    from mdasr.analysis.domain_ivectors import AnalysisOptions, by_domain, domain_ivectors
    from mdasr.analysis.ivectors import ExtractorOptions
    from mdasr.analysis.similarity import resemblances, similarity_cells, similarity_text
    from mdasr.analysis.ubm import UbmOptions
    from mdasr.corpus.records import Corpus

    corpora = by_domain([Corpus(directory) for directory in chosen.corpora])
    reference = chosen.to or [*corpora][-1]
    if reference not in corpora or len(corpora) < 2:
        names = ", ".join(corpora)
        raise ValueError(
            f"cannot compare with {reference}: the corpora have the domains {names}; give two or more, and one as --to"
        )
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
    """Make the folders of output files, so that an error comes before the work."""
    for path in paths:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)


def similarity_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="corpora to compare, by their domains")
    sub.add_argument("--to", metavar="DOMAIN", help="domain to compare the others with (default: the last)")
    sub.add_argument("--utterances", type=int, default=50, help="utterances of each domain to measure")
    sub.add_argument(
        "--training", type=int, default=150, help="most utterances of each domain that train the i-vectors"
    )
    sub.add_argument(
        "--components", type=int, default=64, help="Gaussians of the background model (thousands of hours: 2048)"
    )
    sub.add_argument(
        "--dimensions", type=int, default=32, help="dimensions of the i-vectors; fewer for less than 300 utterances"
    )
    sub.add_argument("--narrowband", action="store_true", help="compare at 8 kHz, so that sample rates do not count")
    sub.add_argument("--seed", type=int, default=0, help="seed of the choice of utterances and of the training")
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the utterances as points in a plane")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures with their intervals to this file")


def perturb_options(sub: ArgumentParser) -> None:
    sub.add_argument("input", type=Path, metavar="IN", nargs="?")
    sub.add_argument("output", type=Path, metavar="OUT", nargs="?")
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--recipe", metavar="JSON", help="a recipe as printed, or a file with one")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="recordings of noise (default: the embedded ones)")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses (default: simulated ones)")
    sub.add_argument("--channel", type=int, help="channel to use of several, counted from 0")
    sub.add_argument("--schema", action="store_true", help="print the JSON schema of recipes, and stop")


def rooms_options(sub: ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write, one row a room")
    sub.add_argument("--first", type=int, default=TRAINING_ROOMS[0], metavar="INDEX")
    training, test = TRAINING_ROOMS[1], EVALUATION_ROOMS[1] - EVALUATION_ROOMS[0]
    rooms = f"number of rooms; training uses the first {training:,}, tests use the {test:,} after them"
    sub.add_argument("--count", type=int, default=10_000, help=rooms)
    sub.add_argument("--seed", type=int, default=0, help="seed of the collection")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="recordings of noise (default: the embedded ones)")
    sub.add_argument(
        "--rooms", default="uniform", choices=[*ROOMS],
        help="distribution: uniform within the paper's ranges (the default), or that of Kim et al. (2017)",
    )  # fmt: skip
    sub.add_argument("--tail-cut-db", type=float, help="end responses so far below their maximum (Google: 20)")
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the distributions of the first 20,000 rooms")
