"""Long constructions in stages, with a progress bar; the result of each stage is kept for the next time."""

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

VERSION = 2  # raise it with every change of a stage's result


class Made(NamedTuple):
    """The result of a stage: a transducer, and `notes` about its labels that JSON can hold."""

    fst: kaldifst.StdVectorFst
    notes: Any = None


@dataclass(frozen=True)
class Stage:
    """A stage of a construction: `make` turns the result of the stage before into its own.

    The first stage gets an empty transducer. `depends` is everything else that the result depends on: dataclasses and
    what JSON can hold.
    """

    name: str
    depends: object
    make: Callable[[Made], Made]


class Progress:
    """One progress bar over all steps, by their expected duration; nothing is shown where that is below two seconds.

    `seconds` holds the duration of each step, in their order.
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
        """Show the size of the transducer that `step` has made; the steps before it count as done, too."""
        arcs = sum(map(fst.num_arcs, range(fst.num_states)))
        self._bar.set_postfix_str(f"{step}: {fst.num_states:,} states, {arcs:,} arcs", refresh=False)
        self._bar.update(self._ends[step] - self._bar.n)

    def found(self, step: str) -> None:
        """Start after `step`, whose result was there already; the time left is estimated from the later steps alone."""
        self._bar.initial = self._bar.n = self._ends[step]


def run_stages(stages: Sequence[Stage], progress: Progress, cache: Path | None = None) -> Made:
    """Run the stages, each on the result of the one before, and return the result of the last one.

    With a directory `cache`, every result is written there, and the work begins after the last stage whose result is
    there. The name of a file depends on all that the result depends on. Raises ValueError naming a file of the cache
    that cannot be read, and OSError for one that cannot be written.
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
        described = read_json(path.with_suffix(".json"), "notes of a stage")
        # OpenFst does not check what it reads, and a damaged transducer would crash the process.
        fst = kaldifst.StdVectorFst.read(str(path)) if described["sha256"] == sha256_of(path) else None
        notes = described["notes"]
    except (OSError, ValueError, KeyError):
        fst = None
    if fst is None:
        raise ValueError(f"{path}: a stage of a graph that cannot be read; delete the file, and it is made again")
    return Made(fst, notes)


def _write(made: Made, path: Path) -> None:
    """Write the notes, then the transducer, each in one step; a stage that has its transducer is complete."""
    with replacing(path) as partial:
        if not made.fst.write(str(partial)):
            raise OSError(f"{partial} could not be written; is the disk full?")
        notes = {"sha256": sha256_of(partial), "notes": made.notes}
        write_atomically(path.with_suffix(".json"), json.dumps(notes))
