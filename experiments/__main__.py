"""Run the paper's experiments: `python -m experiments table3 --scale mini --workdir runs`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import table3_noise
from mdasr.scales import SCALES, override

if TYPE_CHECKING:
    from experiments.run import Laboratory

# Worker processes import this module again: what needs jax is imported inside the functions that need it.

TABLES = {"table3": table3_noise.TABLE}


def run(name: str, laboratory: Laboratory) -> None:
    """Make one table, print it beside the paper's with the verdicts on its claims, and write both as JSON."""
    from experiments.claims import CLAIMS
    from mdasr import report
    from mdasr.data.records import write_atomically

    table, began = TABLES[name], time.perf_counter()
    cells = laboratory.cells(table)
    results = report.table_json(
        table, cells, scale=laboratory.scale.name, seed=laboratory.seed,
        commit=report.commit(Path(__file__).parent), device=report.device(),
    )  # fmt: skip
    claims = [claim.verdict(cells) for claim in CLAIMS if claim.table == table.number]
    folder = laboratory.root / "results"
    write_atomically(folder / f"{name}.json", json.dumps(results, indent=1) + "\n")
    write_atomically(folder / "claims.json", json.dumps(claims, indent=1) + "\n")
    print(f"\n{report.table_text(table, results)}\n")
    texts = {claim.id: claim.text for claim in CLAIMS}
    for claim in claims:
        print(f"{claim['id']} {claim['verdict']}: {texts[claim['id']]}\n     {claim['evidence']}")
    print(f"\n{time.perf_counter() - began:.0f} s; {folder / (name + '.json')}")


def overview(laboratory: Laboratory) -> None:
    """Print what there is to run, what each needs, and what is done."""
    for name, table in TABLES.items():
        done = (laboratory.root / "results" / f"{name}.json").exists()
        print(f"{name}  {'done' if done else 'to do'}  Table {table.number}: {table.title}")
        for model in table.columns.values():
            print(f"    model {model.name}: {', '.join(model.domains)}")
        print(f"    test sets: {', '.join(table.rows)}")


def corpus(laboratory: Laboratory) -> None:
    """Make the whole embedded corpus and print its Table 1 and Fig. 2."""
    from mdasr.data import domains
    from mdasr.report import aligned

    corpora = {name: laboratory.corpus(name, "train") for name in domains.DOMAINS}
    print(f"Table 1. Training data of the embedded corpus (hours of the paper to the power {domains.EXPONENT})\n")
    rows = [["Domain", "minutes", "%", "paper's hours", "paper's %"]]
    for row in domains.table1(list(corpora.values())):
        numbers = (row.minutes, row.percent, row.paper_hours, row.paper_percent)
        rows.append([row.name, *(f"{x:.0f}" if x is not None else "" for x in numbers)])
    print(aligned(rows))
    held_out = corpora["Telephony"].info["hours"] * 60
    print(f"\nTelephony is held out: a pool of {held_out:.0f} minutes to adapt with.")
    print("\nFig. 2. Sub-domains of YouTube\n")
    shares = [[row.name, f"{row.minutes:.1f}", f"{row.percent:.0f}"] for row in domains.figure2(corpora["YouTube"])]
    print(aligned([["Sub-domain", "minutes", "%"], *shares]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"which to make: {', '.join(TABLES)}, or corpus; none lists them"
    )
    parser.add_argument("--scale", default="mini", choices=SCALES)
    parser.add_argument("--workdir", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the scale"
    )
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.tables if name not in (*TABLES, "corpus")]
    if unknown:
        parser.error(f"no table {unknown[0]!r}; there are {', '.join(TABLES)}")
    try:
        scale = override(SCALES[chosen.scale], chosen.set)
    except ValueError as error:
        parser.error(str(error))
    from experiments.run import Laboratory

    laboratory = Laboratory(chosen.workdir, scale, chosen.seed)
    for name in chosen.tables:
        corpus(laboratory) if name == "corpus" else run(name, laboratory)
    if not chosen.tables:
        overview(laboratory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
