"""Tables beside the paper's, as text and as JSON."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mdasr.recognizer import Scored
from mdasr.score.wer import (
    GAP,
    Errors,
    bootstrap_interval,
    confusions,
    count_errors,
    mapsswe,
    paired_interval,
)
from mdasr.spec import Model, Table, TestSet


def cell(*runs: Sequence[Scored], seed: int = 0) -> dict[str, Any]:
    """Word error rate of a test set with its 95% interval, and the counts behind it, over one or more training runs.

    The interval is over speakers (and runs); over utterances where there is a single speaker, which "ci95_over" says.
    """
    scored = [s for run in runs for s in run]
    errors = [s.errors for s in scored]
    total = sum(errors, Errors())
    over = "speakers" if len({s.speaker for s in scored}) > 1 else "utterances"
    groups = [s.speaker if over == "speakers" else s.id for s in scored]
    of_run = [i for i, run in enumerate(runs) for _ in run]
    low, high = bootstrap_interval(errors, groups, np.random.default_rng(seed), runs=of_run)
    by_run = [round(sum((s.errors for s in run), Errors()).wer, 2) for run in runs]
    return {
        "wer": round(total.wer, 2),
        "ci95": [round(low, 2), round(high, 2)],
        "ci95_over": over,
        "ref_words": total.ref_words,
        "sub": total.sub,
        "ins": total.ins,
        "del": total.dele,
        **({"wer_by_seed": by_run} if len(runs) > 1 else {}),
    }


def describe(found: Mapping[str, Any]) -> str:
    """A cell as "12.3 [11.8, 12.9]"."""
    return f"{found['wer']:.1f} [{found['ci95'][0]:.1f}, {found['ci95'][1]:.1f}]"


def compared(earlier: Mapping[str, Any], scored: Sequence[Scored], seed: int = 0) -> str:
    """How `scored` differs from an earlier result of `mdasr evaluate --json` on the same utterances, in a sentence.

    ValueError where the utterances or their references are others.
    """
    before = {each["id"]: each for each in earlier["utterances"]}
    if before.keys() != {s.id for s in scored} or any(before[s.id]["reference"] != s.reference for s in scored):
        raise ValueError("the earlier result is that of other utterances; evaluate both models on the same corpus")
    references = [s.reference.split() for s in scored]
    theirs, ours = [before[s.id]["hypothesis"].split() for s in scored], [s.hypothesis.split() for s in scored]
    old = [count_errors(*pair) for pair in zip(references, theirs)]
    speakers = len({s.speaker for s in scored}) > 1
    groups = [s.speaker if speakers else s.id for s in scored]
    low, high = paired_interval(old, [s.errors for s in scored], groups, np.random.default_rng(seed))
    test = mapsswe(references, theirs, ours)
    wer_a, wer_b = sum(old, Errors()).wer, sum((s.errors for s in scored), Errors()).wer
    return (
        f"from {wer_a:.1f} to {wer_b:.1f} %: {wer_b - wer_a:+.1f} points [{low:+.1f}, {high:+.1f}]; matched pairs over "
        f"{test.segments} segments: p = {test.p:.2g}"
    )


def most_confused(scored: Sequence[Scored], count: int) -> list[str]:
    """The most frequent word errors, a line each."""
    found = confusions((s.reference.split(), s.hypothesis.split()) for s in scored)

    def line(pair: tuple[str, str], times: int) -> str:
        said, heard = pair
        if said == GAP:
            return f"{times:5d}  {heard} put in"
        return f"{times:5d}  {said} " + ("lost" if heard == GAP else f"heard as {heard}")

    return [line(pair, times) for pair, times in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:count]]


def commit(root: Path) -> str:
    """The commit of the code that ran, with a plus where files differ from it; "unknown" outside a checkout."""
    try:
        run = [
            subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout
            for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run[0].strip() + ("+" if run[1].strip() else "")


def device() -> str:
    """What it ran on, in words."""
    devices = jax.devices()
    kind = platform.processor() or platform.machine() if devices[0].platform == "cpu" else devices[0].device_kind
    return f"{len(devices)} x {devices[0].platform} ({kind})"


def table_json(
    table: Table, runs: Sequence[Mapping[tuple[Model, TestSet], Sequence[Scored]]], **facts: Any
) -> dict[str, Any]:
    """A table's results in the format that every table shares; `facts` are scale, seed, commit and device."""
    columns = list(table.columns)
    return {
        "table": table.number,
        **facts,
        "cells": [
            {
                "row": row,
                "column": column,
                **cell(*(run[pair] for run in runs)),
                "paper": table.paper[row][columns.index(column)] if row in table.paper else None,
            }
            for (row, column), pair in table.pairs().items()
        ],
    }


def table_text(table: Table, results: Mapping[str, Any]) -> str:
    """A table as aligned text, ours beside the paper's where the paper has it."""
    found = {(each["row"], each["column"]): each for each in results["cells"]}
    beside = bool(table.paper)

    def cells(row: str, column: str) -> list[str]:
        one = found[row, column]
        return [describe(one), f"{one['paper']:.1f}"] if beside else [describe(one)]

    header = ["", *(text for c in table.columns for text in ((f"{c}, ours", "paper's") if beside else (c,)))]
    rows = [[row, *(text for column in table.columns for text in cells(row, column))] for row in table.rows]
    return f"Table {table.number}. {table.title} (word error rate in % [95% interval])\n\n" + aligned([header, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as a Markdown table whose columns line up in a terminal, too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(row, widths))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])
