"""A study of the number of CDPhones (§3.5): the multidomain model with monophones and with more and more leaves.

python -m experiments phones --scale mini --workdir runs

The number is chosen on the development sets; the test sets are then recognised with monophones and with that number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from experiments.laboratory import Laboratory, train_models
from experiments.models import MULTI
from experiments.table6_multidomain import TABLE
from mdasr.core import hosts
from mdasr.core.tables import aligned
from mdasr.language.lexicon import ARPABET
from mdasr.recognize.report import wer_cell, wer_text

MONOPHONES = len(ARPABET) + 1  # with silence
ONE = dataclasses.replace(TABLE, columns={MULTI.name: MULTI})
LEAVES = (MONOPHONES, 100, 150, 220)


def with_leaves(laboratory: Laboratory, leaves: int) -> Laboratory:
    return dataclasses.replace(laboratory, scale=dataclasses.replace(laboratory.scale, leaves=leaves))


def best_leaves(laboratory: Laboratory, counts: Iterable[int]) -> tuple[int, dict[int, float]]:
    """Return the number of leaves with the lowest WER on the development sets, and the WER (%) of each number."""
    candidates = {count: with_leaves(laboratory, count) for count in counts}
    train_models([(candidate, MULTI) for candidate in candidates.values()])
    wers = {count: each.recognizer(MULTI).facts["dev_wer"] for count, each in candidates.items()}
    return min(wers, key=lambda count: wers[count]), wers


def study(laboratory: Laboratory) -> str:
    """Choose the number of leaves, compare it with monophones on every test set, and return both tables as text."""
    best, wers = best_leaves(laboratory, LEAVES)
    chosen = [[str(count), f"{wer:.1f}"] for count, wer in wers.items()]
    counts = list(dict.fromkeys((MONOPHONES, best)))
    results = [with_leaves(laboratory, count).results([ONE]) for count in counts]
    if not hosts.primary():
        return ""
    rows = [[row, *(wer_text(wer_cell(each[pair])) for each in results)] for (row, _), pair in ONE.pairs().items()]
    return "\n\n".join(
        (
            "Development sets\n\n" + aligned([["leaves", "WER"], *chosen]),
            "Test sets\n\n" + aligned([["", *(f"{count} leaves" for count in counts)], *rows]),
        )
    )
