"""Results of the experiments: tables and verdicts as JSON files, and as text beside the paper's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import table2_similarity
from experiments.claims import CLAIMS, Claim
from experiments.laboratory import Laboratory, Results
from experiments.nouns import Table
from experiments.results import commit, table_json, table_text
from mdasr.acoustic.devices import device
from mdasr.analysis.similarity import similarity_text
from mdasr.core.files import write_atomically

Verdicts = list[dict[str, str]]


def facts(laboratories: Sequence[Laboratory]) -> dict[str, Any]:
    """Return the facts that go into a table's file: scale, settings, seeds, commit and device.

    There is one laboratory for each seed.
    """
    seeds = [laboratory.seed for laboratory in laboratories]
    return {
        "scale": laboratories[0].scale.name,
        "settings": dataclasses.asdict(laboratories[0].scale),
        "seed": seeds[0] if len(seeds) == 1 else seeds,
        "commit": commit(Path(__file__).parent),
        "device": device(),
    }


def write_tables(
    name: str,
    tables: Sequence[Table],
    runs: Sequence[Results],
    laboratories: Sequence[Laboratory],
    further: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Write the tables of one name as one JSON file, and return each as text.

    The first table is the top level of the file, and the others go under "more". `further` are tables that were
    computed from these; they come last.
    """
    if not tables:
        return []
    made = [table_json(table, runs, **facts(laboratories)) for table in tables]
    more = [*made[1:], *further]
    content = made[0] | ({"more": more} if more else {})
    write_atomically(laboratories[0].results_folder / f"{name}.json", json.dumps(content, indent=1) + "\n")
    return [table_text(table, each) for table, each in zip(tables, made)]


def write_similarity(laboratory: Laboratory) -> tuple[str, Verdicts]:
    """Measure Table 2 on the training corpora, write it with its pictures, and return its text and verdicts."""
    domains = (*table2_similarity.PAPER, table2_similarity.REFERENCE)
    corpora = {domain: laboratory.corpus(domain, "train") for domain in domains}
    folder = laboratory.results_folder
    found = table2_similarity.similarity_table(corpora, seed=laboratory.seed, pictures=folder)
    verdicts = found.pop("claims")
    at_8_khz = found["heard_at_8_khz"]
    write_atomically(folder / "table2.json", json.dumps(found | facts([laboratory]), indent=1) + "\n")
    texts = [found["title"], similarity_text(found["cells"], found["reference"])]
    texts += ["Heard at 8 kHz", similarity_text(at_8_khz["cells"], found["reference"])]
    return "\n\n".join([f"Table 2. {texts[0]}", *texts[1:]]), verdicts


def why_not_similar(laboratory: Laboratory) -> Verdicts:
    """Return the verdict on the hypothesis about why claim T2.b fails."""
    corpora = {d: laboratory.corpus(d, "train") for d in (*table2_similarity.PAPER, table2_similarity.REFERENCE)}
    return [table2_similarity.in_rooms(corpora, laboratory.collection.sounds("train").noises, laboratory.seed)]


def judged(laboratories: Sequence[Laboratory], claims: Sequence[Claim] = CLAIMS) -> Verdicts:
    """Return the verdicts on all claims whose models have been evaluated with every seed; each names the seeds."""
    wanted = dict.fromkeys(pair for claim in claims for each in claim.statements for pair in each.pairs())
    runs = [laboratory.known(wanted) for laboratory in laboratories]
    seeds = {"seeds": ", ".join(str(laboratory.seed) for laboratory in laboratories)}
    return [
        claim.verdict(runs) | seeds
        for claim in claims
        if all(pair in run for run in runs for each in claim.statements for pair in each.pairs())
    ]


def write_claims(verdicts: Verdicts, folder: Path) -> None:
    """Write claims.json; verdicts in the file that are not in `verdicts` stay as they are."""
    path = folder / "claims.json"
    earlier = {claim["id"]: claim for claim in (json.loads(path.read_text()) if path.exists() else [])}
    together = sorted((earlier | {claim["id"]: claim for claim in verdicts}).values(), key=lambda claim: claim["id"])
    write_atomically(path, json.dumps(together, indent=1, ensure_ascii=False) + "\n")
