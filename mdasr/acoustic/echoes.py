"""Echoes of rows (Choi et al., 2019): every distorted row is shown several times, for distortions that cost most.

Dropout differs each time, and so do the other rows of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import grain.python as grain

from mdasr.acoustic.loader import Batch, MakesRows
from mdasr.acoustic.row_schedule import RowOptions

SPREAD = 50  # new batches between two showings of a row


@dataclass
class Echoed(grain.MapTransform):
    """Make the rows of `maker`, each `times` times; row r depends on r alone.

    A batch has as many rows as the options have lanes. The first of every `times` batches has new rows. In
    the others, each lane has rows that it had shown before.
    """

    maker: MakesRows
    times: int
    _made: dict[int, Batch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"rows are shown {self.times} times; it must be 1 or more")

    @property
    def options(self) -> RowOptions:
        return self.maker.options

    def map(self, row: int) -> Batch:
        """The row that stands in place `row`; rows that will be shown again are kept."""
        shown, again = self.source_row(int(row))
        made = self._made.pop(shown, None) or self.maker.map(shown)
        if again:
            self._made[shown] = made
        return made

    def source_row(self, row: int) -> tuple[int, bool]:
        """The row that is shown in place `row`, a new one or one of before, and whether it will be shown again."""
        lanes = self.options.lanes
        step, lane = divmod(row, lanes)
        new, echo = divmod(step, self.times)
        # Lanes look back differently far, so that rows do not meet again. The first rows have no row to look back to.
        past = new - echo * (SPREAD + lane)
        return (past if past >= 0 else new) * lanes + lane, past < 0 or echo < self.times - 1
