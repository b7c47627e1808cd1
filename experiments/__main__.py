"""Run the paper's experiments: `python -m experiments table3 --scale mini --workdir runs`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import (
    open_problems,
    table3_noise,
    table4_codec,
    table5_domains,
    table6_multidomain,
    table7_adaptation,
    why,
)
from experiments.claims import CLAIMS
from experiments.launch import KINDS, launch, without
from experiments.launch.cluster_job import set_up
from experiments.nouns import Table
from mdasr.cli.main import exit_status
from mdasr.core.processes import cores
from mdasr.core.rendezvous import host_options

if TYPE_CHECKING:
    from experiments.collection import Mapped
    from experiments.laboratory import Laboratory

# Worker processes import this module again. Modules that need jax are therefore imported inside functions.

SIMILARITY = "table2"  # it compares domains, and has neither models nor test sets
TABLES: dict[str, tuple[Table, ...]] = {
    SIMILARITY: (),
    "table3": (table3_noise.TABLE,),
    "table4": (table4_codec.TABLE,),
    "table5": (table5_domains.TABLE,),
    "table6": (table6_multidomain.TABLE,),
    "table7": (table7_adaptation.TABLE, table7_adaptation.COST),
}
OPEN, WHY, MATRIX = "open", "why", "matrix"
# Tables that are not in the paper; they are not part of "all".
BEYOND: dict[str, tuple[Table, ...]] = {OPEN: open_problems.TABLES, WHY: why.TABLES}


def run_tables(names: Sequence[str], laboratories: Sequence[Laboratory]) -> None:
    """Make tables and print them beside the paper's, with the verdicts; each laboratory has a seed of its own."""
    from experiments.laboratory import train_models
    from experiments.outcome import judged, why_not_similar, write_similarity, write_tables
    from mdasr.core import hosts

    began, first = time.perf_counter(), laboratories[0]
    if WHY in names:
        why.check(first)
    claims: list[dict[str, str]] = []
    if SIMILARITY in names and hosts.primary():  # first, because it needs no model: an error comes at once
        text, claims = write_similarity(first)
        print(f"\n{text}")
    tables = {name: (TABLES | BEYOND)[name] for name in names}
    together = [table for each in tables.values() for table in each]
    train_models(
        (each, model) for each in laboratories for model, _ in each.missing(together)
    )  # all seeds side by side
    runs = [laboratory.results(together) for laboratory in laboratories]
    if not hosts.primary():
        return
    for name in names:
        further = [open_problems.distances(runs)] if name == OPEN else []
        for text in write_tables(name, tables[name], runs, laboratories, further):
            print(f"\n{text}")
        for each in further:
            print(f"\n{open_problems.distances_text(each)}")
    claims += judged(laboratories, [claim for claim in CLAIMS if f"table{claim.table}" in names])
    if WHY in names:
        claims += why_not_similar(first) + judged(laboratories, why.HYPOTHESES)
    conclude(claims, first)
    print(f"{time.perf_counter() - began:.0f} s")


def conclude(claims: list[dict[str, str]], laboratory: Laboratory) -> None:
    """Write and print verdicts, and write the report."""
    from experiments.outcome import write_claims

    write_claims(claims, laboratory.results_folder)
    print()
    for claim in claims:
        print(f"{claim['id']} {claim['verdict']}: {claim['claim']}\n     {claim['evidence']}")
    print(f"\n{laboratory.results_folder}")
    make_page(laboratory)


def overview(laboratory: Laboratory) -> None:
    """Print all tables, the models that each needs, and which are done."""
    from experiments.laboratory import trained_in

    for name, tables in TABLES.items():
        done = (laboratory.results_folder / f"{name}.json").exists()
        title = tables[0].title if tables else "how similar the domains sound"
        print(f"{name}  {'done' if done else 'to do'}  Table {name[-1]}: {title}")
        for model, trained in trained_in(laboratory, tables).items():
            share = f", {model.share:.1%} of it" if model.share < 1 else ""
            start = f", from {model.parent.name}" if model.parent else ""
            print(
                f"    {'trained ' if trained else 'to train'}  {model.name}: {', '.join(model.domains)}{share}{start}"
            )
    everything = [table for tables in TABLES.values() for table in tables]
    models = trained_in(laboratory, everything)
    print(f"{len(models)} models, {sum(models.values())} of them trained; {laboratory.root}")
    for name, tables in BEYOND.items():
        further = [model for model in trained_in(laboratory, tables) if model not in models]
        state = "done" if (laboratory.results_folder / f"{name}.json").exists() else "to do"
        print(f"{name}  {state}  beyond the paper, {len(further)} further models: {tables[0].title}")


def make_embedded_corpus(laboratory: Laboratory) -> None:
    """Make the whole embedded corpus and print its Table 1 and Fig. 2."""
    from mdasr.core.tables import aligned
    from mdasr.synth import domains

    corpora = {name: laboratory.corpus(name, "train") for name in domains.DOMAINS}
    print(f"Table 1. Training data of the embedded corpus (the paper's hours to the power of {domains.EXPONENT})\n")
    rows = [["Domain", "minutes", "%", "paper's hours", "paper's %"]]
    for row in domains.table1(list(corpora.values())):
        numbers = (row.minutes, row.percent, row.paper_hours, row.paper_percent)
        rows.append([row.name, *(f"{x:.0f}" if x is not None else "" for x in numbers)])
    print(aligned(rows))
    held_out = corpora["Telephony"].info["hours"] * 60
    print(f"\nTelephony is held out: there are {held_out:.0f} minutes for adaptation.")
    print("\nFig. 2. Sub-domains of YouTube\n")
    shares = [[row.name, f"{row.minutes:.1f}", f"{row.percent:.0f}"] for row in domains.figure2(corpora["YouTube"])]
    print(aligned([["Sub-domain", "minutes", "%"], *shares]))


def choose_leaves(laboratory: Laboratory) -> None:
    """Choose the number of CDPhones on the development sets, and print its WERs on the test sets."""
    from experiments.leaf_counts import study

    print(study(laboratory))


def make_page(laboratory: Laboratory) -> None:
    """Write the page of all results so far, and print its path."""
    from experiments.report_contents import write_report

    made = [name for name in (*BEYOND, MATRIX) if (laboratory.results_folder / f"{name}.json").exists()]
    tables = TABLES | {name: BEYOND[name] for name in made if name in BEYOND}
    if MATRIX in made:
        from experiments.matrix import Matrix

        tables[MATRIX] = Matrix.of(mapped(laboratory)).tables()
    print(write_report(laboratory, tables))


def mapped(laboratory: Laboratory) -> Mapped:
    """The corpora of the map; ValueError where there is no map."""
    from experiments.collection import Mapped

    if isinstance(laboratory.collection, Mapped):
        return laboratory.collection
    raise ValueError("the matrix needs --corpora TOML, a map of your corpora (docs/experiments.md)")


def run_matrix(laboratory: Laboratory) -> None:
    """Make the matrix over the corpora of a map: models by domains and conditions, and adaptation to some domains."""
    from experiments.matrix import Matrix
    from experiments.outcome import judged, write_tables
    from mdasr.core import hosts

    matrix = Matrix.of(mapped(laboratory))
    runs = [laboratory.results(matrix.tables())]
    if not hosts.primary():
        return
    for text in write_tables(MATRIX, matrix.tables(), runs, [laboratory]):
        print(f"\n{text}")
    conclude(judged([laboratory], matrix.claims()), laboratory)


OTHERS = {"corpus": make_embedded_corpus, "phones": choose_leaves, MATRIX: run_matrix, "report": make_page}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m experiments", description=__doc__, allow_abbrev=False)
    top.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help=f"one or more of {', '.join((*TABLES, 'all', *BEYOND, *OTHERS))}; without any, list them",
    )
    top.add_argument("--scale", default="mini", metavar="NAME", help="mini (the default), small, base or paper")
    top.add_argument("--workdir", type=Path, default=Path("runs"), help="folder for corpora, models and results (runs)")
    top.add_argument("--corpora", type=Path, metavar="TOML", help="use the corpora of this map, not the embedded one")
    top.add_argument("--seed", type=int, default=0, help="the first seed of training (0)")
    top.add_argument("--seeds", type=int, default=1, metavar="N", help="train with N seeds, starting at --seed")
    top.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one for each core)")
    top.add_argument("--dev", action="store_true", help="evaluate on the development sets instead of the test sets")
    top.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the scale")
    host_options(top)
    elsewhere = top.add_argument_group("on a cluster", "print a script that runs the same command there")
    elsewhere.add_argument("--launch", choices=KINDS, help="the kind of cluster")
    elsewhere.add_argument("--nodes", type=int, default=1, metavar="N", help="number of hosts (1)")
    elsewhere.add_argument(
        "--set-up", action="append", default=[], metavar="NAME=VALUE", help="a property of the cluster or the job"
    )
    elsewhere.add_argument("--go", action="store_true", help="run the script, too")
    return top


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status("python -m experiments", lambda: run(parser().parse_args(given), given))


def run(chosen: argparse.Namespace, given: Sequence[str]) -> int:
    known = (*TABLES, "all", *BEYOND, *OTHERS)
    if unknown := [name for name in chosen.tables if name not in known]:
        parser().error(f"no table {unknown[0]!r}; there are {', '.join(known)}")
    for name in ("seeds", "workers"):
        if (number := getattr(chosen, name)) is not None and number < 1:
            parser().error(f"--{name} {number}: give 1 or more")
    from mdasr.training.scales import find_scale, override

    try:
        scale = override(find_scale(chosen.scale), chosen.set)
    except ValueError as error:
        parser().error(str(error))
    if chosen.launch:
        command = without(given, {"--launch": 1, "--nodes": 1, "--set-up": 1, "--go": 0})
        launch(chosen.launch, set_up(command, chosen.nodes, chosen.set_up), chosen.go)
        return 0
    from experiments.laboratory import Laboratory
    from mdasr.core import hosts

    workers = chosen.workers or cores()
    laboratories = [
        Laboratory(chosen.workdir, scale, seed, workers, chosen.corpora, "dev" if chosen.dev else "test")
        for seed in range(chosen.seed, chosen.seed + chosen.seeds)
    ]
    wanted = {*chosen.tables} | ({*TABLES} if "all" in chosen.tables else set())
    names = [name for name in (*TABLES, *BEYOND) if name in wanted]
    if chosen.seeds > 1 and (alone := [name for name in chosen.tables if name in OTHERS]):
        raise ValueError(f"{alone[0]} is made with one seed: leave --seeds out")
    hosts.join(chosen)
    for name, job in OTHERS.items():
        if name in chosen.tables:
            job(laboratories[0])
    if names:
        run_tables(names, laboratories)
    if not chosen.tables:
        overview(laboratories[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
