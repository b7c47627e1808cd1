"""Recordings of every container, cut at many places and damaged in many ways, and what an import makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdasr.corpus.records import Corpus
from tests.damage import Damage, flipped, swapped, with_garbage, zeroed
from tests.recordings import write

DAMAGES: Sequence[Damage] = (flipped, zeroed, with_garbage, swapped)


class Result(NamedTuple):
    """A damaged file: the name of the whole one, the damage ("cut" or another), and how the import took it.

    `seconds` is None where the import set the file aside, and `same` says whether all samples are those of the whole
    file.
    """

    of: str
    damage: str
    path: Path
    seconds: float | None
    whole_s: float
    same: bool
    reason: str


def damaged(whole: bytes, cuts: int, mutations: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the name of a damage and the damaged content: cuts at equal distances, then seeded mutations."""
    for i in range(cuts):
        yield f"cut{i:03d}", whole[: len(whole) * (2 * i + 1) // (2 * cuts)]
    for i in range(mutations):
        rng = np.random.default_rng([seed, i, len(whole)])
        damage, content = DAMAGES[i % len(DAMAGES)], whole
        while content == whole:
            content = damage(whole, rng)
        yield f"{damage.__name__}{i:03d}", content


def imported(folder: Path, names: Sequence[str], cuts: int, mutations: int, timeout_s: float) -> list[Result]:
    """Damage recordings of 1 s, import all of them by the command line, and compare with the whole ones."""
    rows, made = [], []
    for name in names:
        (folder / "whole").mkdir(exist_ok=True)
        whole = write(folder / "whole" / name, 1.0)
        rows.append((f"whole/{name}", whole))
        for damage, content in damaged(whole.read_bytes(), cuts, mutations):
            path = folder / damage / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            rows.append((f"{damage}/{name}", path))
            made.append((name, damage.rstrip("0123456789"), path))
    lines = [{"id": key, "audio": key, "text": "yes", "speaker": "s", "domain": "d"} for key, _ in rows]
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "mdasr.cli.main", "import", "manifest", str(folder / "m.jsonl")]
    options = ["--corpus", "c", "--workers", "1", "--out", str(folder / "out")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 3, done.stderr[-3000:]
    kept = {u.id: u.samples for u in Corpus(folder / "out")}
    aside = {row["id"]: row for row in map(json.loads, (folder / "out" / "set_aside.jsonl").read_text().splitlines())}
    results = []
    for name, damage, path in made:
        key, whole = path.relative_to(folder).as_posix(), kept[f"whole/{name}"]
        found = kept.get(key)
        same = found is not None and len(found) == len(whole) and bool(np.abs(found - whole).max() < 1e-3)
        reason = "" if found is not None else aside[key]["reason"]
        seconds = None if found is None else len(found) / 16_000
        results.append(Result(name, damage, path, seconds, len(whole) / 16_000, same, reason))
    return results
