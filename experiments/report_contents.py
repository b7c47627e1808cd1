"""The contents of the page of results: tables, claims, models with their training curves, and pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import table2_similarity
from experiments.claims import CLAIMS
from experiments.laboratory import Laboratory, trained_in
from experiments.nouns import Model, Table
from mdasr.acoustic.training_log import Curve, read_curves
from mdasr.core.files import write_atomically

PAPER_TABLES = tuple(f"table{number}" for number in range(2, 8))
NOT_JUDGED = "not judged yet"


@dataclass(frozen=True)
class TrainedModel:
    """A model with one seed: the facts in its `model.json` and its training curves.

    `facts` is empty if the model is not trained yet.
    """

    model: Model
    seed: int
    facts: Mapping[str, Any]
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class Contents:
    """All that the page shows.

    `tables` maps a table's name to the content of its file, or to None if it is not made yet. `claims` has the claims
    that are judged and those that are not.
    """

    scale: str
    evaluated_on: str
    tables: Mapping[str, Mapping[str, Any] | None]
    claims: Sequence[Mapping[str, str]]
    models: Sequence[TrainedModel]
    pictures: Mapping[str, bytes]  # PNG files by name; a name begins with the name of the picture's table


def write_report(laboratory: Laboratory, tables: Mapping[str, Sequence[Table]]) -> Path:
    """Write the page of all results of a laboratory so far, and return its path; ValueError if a file is damaged."""
    from experiments.report_page import page

    path = laboratory.root / f"report{laboratory.variant}.html"
    write_atomically(path, page(read_contents(laboratory, tables)))
    return path


def read_contents(laboratory: Laboratory, tables: Mapping[str, Sequence[Table]]) -> Contents:
    """Read the results for `tables` and for the paper's tables, for every seed that they were made with.

    A table that is not made yet is listed only if the laboratory's corpora suffice to make it.
    """
    folder = laboratory.results_folder
    files = {name: _read(folder / f"{name}.json") for name in dict.fromkeys((*PAPER_TABLES, *tables))}
    shown = {name: made for name, made in files.items() if made or _can_make(laboratory, name, tables.get(name, ()))}
    seeds = {seed for content in shown.values() if content for seed in _list(content["seed"])} or {laboratory.seed}
    models = [
        _trained(dataclasses.replace(laboratory, seed=seed), model)
        for model in trained_in(laboratory, [table for name in shown for table in tables.get(name, ())])
        for seed in sorted(seeds)
    ]
    pictures = {path.stem: path.read_bytes() for path in sorted(folder.glob("table*.png"))}
    return Contents(laboratory.scale.name, laboratory.split, shown, _claims(laboratory), models, pictures)


def _can_make(laboratory: Laboratory, name: str, tables: Sequence[Table]) -> bool:
    if name == "table2":
        return {*table2_similarity.PAPER, table2_similarity.REFERENCE} <= {*laboratory.collection.domains()}
    return all(laboratory.has_data_for(*pair) for table in tables for pair in table.pairs().values())


def _read(path: Path) -> Any:
    """Return the content of a JSON file, or None if there is no such file."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it and make the table again") from None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _claims(laboratory: Laboratory) -> list[Mapping[str, str]]:
    """Return the verdicts on disk, and the claims that are not judged yet."""
    waiting = {
        claim.id: {"id": claim.id, "claim": claim.text, "verdict": NOT_JUDGED}
        for claim in CLAIMS
        if all(laboratory.has_data_for(*pair) for each in claim.statements for pair in each.pairs())
    }
    judged = {claim["id"]: claim for claim in _read(laboratory.results_folder / "claims.json") or []}
    return sorted((waiting | judged).values(), key=lambda claim: claim["id"])


def _trained(laboratory: Laboratory, model: Model) -> TrainedModel:
    if not laboratory.has_data_for(model):
        return TrainedModel(model, laboratory.seed, {}, {})
    directory = laboratory.directory(model)
    facts = _read(directory / "model.json") or {}
    return TrainedModel(model, laboratory.seed, facts, read_curves(directory / "tensorboard"))
