"""A table's results, as JSON and as text beside the paper's."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.nouns import Model, Table, TestSet
from mdasr.core.tables import aligned
from mdasr.recognize.report import wer_cell, wer_text
from mdasr.score.wer import Scored


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


def table_json(
    table: Table, runs: Sequence[Mapping[tuple[Model, TestSet], Sequence[Scored]]], **facts: Any
) -> dict[str, Any]:
    """A table's results in the format that every table shares; `facts` are scale, seed, commit and device."""
    columns = list(table.columns)
    return {
        "table": table.number,
        "title": table.title,
        **facts,
        "cells": [
            {
                "row": row,
                "column": column,
                **wer_cell(*(run[pair] for run in runs)),
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
        return [wer_text(one), f"{one['paper']:.1f}"] if beside else [wer_text(one)]

    header = ["", *(text for c in table.columns for text in ((f"{c}, ours", "paper's") if beside else (c,)))]
    rows = [[row, *(text for column in table.columns for text in cells(row, column))] for row in table.rows]
    number = f"Table {table.number}. " if table.number else ""
    return f"{number}{table.title} (word error rate in % [95% interval])\n\n" + aligned([header, *rows])
