"""What there is to report of a laboratory: tables, claims, models with their curves, pictures."""

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
    """A model with one seed: what its `model.json` says and its training curves; no facts where it is yet to train."""

    model: Model
    seed: int
    facts: Mapping[str, Any]
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class Contents:
    """What there is to show: tables by name, as their files hold them or None, and the claims, judged or not yet."""

    scale: str
    evaluated_on: str
    tables: Mapping[str, Mapping[str, Any] | None]
    claims: Sequence[Mapping[str, str]]
    models: Sequence[TrainedModel]
    pictures: Mapping[str, bytes]  # PNG files by the name of the table that they belong to, and what sets them apart


def write_report(laboratory: Laboratory, tables: Mapping[str, Sequence[Table]]) -> Path:
    """Write the page of all that a laboratory has made so far; ValueError where a file of it is damaged."""
    from experiments.report_page import page

    path = laboratory.root / f"report{laboratory.variant}.html"
    write_atomically(path, page(read_contents(laboratory, tables)))
    return path


def read_contents(laboratory: Laboratory, tables: Mapping[str, Sequence[Table]]) -> Contents:
    """All that `tables` call for, as far as it is there; with the seeds that the results were made with.

    Of what is not there, only what the laboratory's corpora can give.
    """
    folder = laboratory.results_folder
    wanted = {name: _read(folder / f"{name}.json") for name in dict.fromkeys((*PAPER_TABLES, *tables))}
    found = {name: made for name, made in wanted.items() if made or _can_make(laboratory, name, tables.get(name, ()))}
    seeds = {seed for content in found.values() if content for seed in _list(content["seed"])} or {laboratory.seed}
    models = [
        _trained(dataclasses.replace(laboratory, seed=seed), model)
        for model in trained_in(laboratory, [table for name in found for table in tables.get(name, ())])
        for seed in sorted(seeds)
    ]
    pictures = {path.stem: path.read_bytes() for path in sorted(folder.glob("table*.png"))}
    return Contents(laboratory.scale.name, laboratory.split, found, _claims(laboratory), models, pictures)


def _can_make(laboratory: Laboratory, name: str, tables: Sequence[Table]) -> bool:
    if name == "table2":
        return {*table2_similarity.PAPER, table2_similarity.REFERENCE} <= {*laboratory.collection.domains()}
    return all(laboratory.has_data_for(*pair) for table in tables for pair in table.pairs().values())


def _read(path: Path) -> Any:
    """The content of a JSON file; None where there is none."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it and make the table again") from None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _claims(laboratory: Laboratory) -> list[Mapping[str, str]]:
    """The verdicts on disk, and the claims that wait for one."""
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
