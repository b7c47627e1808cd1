"""A long construction in stages, each kept under the name of all that it depends on, with a bar that shows the way."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import kaldifst

from mdasr.core.digests import digest
from mdasr.core.files import read_json, replacing, sha256_of, write_atomically
from mdasr.core.progress import track

VERSION = 2  # to be raised with every change of what a stage holds


class Made(NamedTuple):
    """What a stage leaves to the next: a transducer, and `notes` about its labels that JSON can hold."""

    fst: kaldifst.StdVectorFst
    notes: Any = None


@dataclass(frozen=True)
class Stage:
    """`make` turns what the stage before has left (the first gets an empty transducer) into what this one leaves.

    `depends` is all else that the result depends on: dataclasses and what JSON can hold.
    """

    name: str
    depends: object
    make: Callable[[Made], Made]


class Progress:
    """One bar over all steps, as long as they are expected to take; quiet while that is less than two seconds.

    `seconds` are the steps in their order.
    """

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._ends = dict(zip(seconds, itertools.accumulate(seconds.values())))
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self._bar = track(total=sum(seconds.values()), desc="graph", bar_format=form, delay=2)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def done(self, step: str, fst: kaldifst.StdFst) -> None:
        """Say how large the transducer is that `step` has made; the steps before it are done, too."""
        arcs = sum(map(fst.num_arcs, range(fst.num_states)))
        self._bar.set_postfix_str(f"{step}: {fst.num_states:,} states, {arcs:,} arcs", refresh=False)
        self._bar.update(self._ends[step] - self._bar.n)

    def found(self, step: str) -> None:
        """Begin after `step`, whose result was there: the time left is reckoned from what is done now alone."""
        self._bar.initial = self._bar.n = self._ends[step]


def run_stages(stages: Sequence[Stage], progress: Progress, cache: Path | None = None) -> Made:
    """What the last of the stages leaves, each made from what the one before it left.

    With `cache`, a directory, every result is written there, and the work begins after the last stage whose result
    is there. Raises ValueError naming a file of the cache that cannot be read, OSError for one that cannot be written.
    """
    paths: list[Path] = []
    key = str(VERSION)
    for stage in stages:
        key = digest([key, stage.name, stage.depends])
        paths.append((cache or Path()) / f"{stage.name}-{key}.fst")
    first = next((i + 1 for i in reversed(range(len(stages))) if cache and paths[i].exists()), 0)
    made = Made(kaldifst.StdVectorFst())
    if first:
        made = _read(paths[first - 1])
        progress.found(stages[first - 1].name)
    for stage, path in zip(stages[first:], paths[first:]):
        made = stage.make(made)
        if cache:
            _write(made, path)
        progress.done(stage.name, made.fst)
    return made


def _read(path: Path) -> Made:
    try:
        told = read_json(path.with_suffix(".json"), "notes of a stage")
        # OpenFst believes what it reads, and a damaged transducer would take the process with it.
        fst = kaldifst.StdVectorFst.read(str(path)) if told["sha256"] == sha256_of(path) else None
        notes = told["notes"]
    except (OSError, ValueError, KeyError):
        fst = None
    if fst is None:
        raise ValueError(f"{path}: a stage of a graph that cannot be read; delete the file, and it is made again")
    return Made(fst, notes)


def _write(made: Made, path: Path) -> None:
    """Write the notes, then the transducer, each in one step: a stage that has its transducer is complete."""
    with replacing(path) as partial:
        if not made.fst.write(str(partial)):
            raise OSError(f"{partial} could not be written; is the disk full?")
        notes = {"sha256": sha256_of(partial), "notes": made.notes}
        write_atomically(path.with_suffix(".json"), json.dumps(notes))
