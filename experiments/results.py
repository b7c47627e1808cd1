"""The results of a table, as JSON and as text beside the paper's."""

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
    """Return the commit of the code, with a plus if tracked files differ from it; "unknown" outside a checkout."""
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
    """Return a table's results in the common JSON format; `facts` are scale, seed, commit, device and the like."""
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
    """Return a table as aligned text, with our numbers beside the paper's if the paper has them."""
    cell_at = {(cell["row"], cell["column"]): cell for cell in results["cells"]}
    beside = bool(table.paper)

    def cells(row: str, column: str) -> list[str]:
        cell = cell_at[row, column]
        return [wer_text(cell), f"{cell['paper']:.1f}"] if beside else [wer_text(cell)]

    header = ["", *(text for c in table.columns for text in ((f"{c}, ours", "paper's") if beside else (c,)))]
    rows = [[row, *(text for column in table.columns for text in cells(row, column))] for row in table.rows]
    number = f"Table {table.number}. " if table.number else ""
    return f"{number}{table.title} (word error rate in % [95% interval])\n\n" + aligned([header, *rows])
