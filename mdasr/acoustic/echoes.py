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
        """The row that stands in place `row`; rows that may be shown again are kept."""
        new, shown = self.source_row(int(row))
        if shown not in self._made:
            self._made[shown] = self.maker.map(shown)
        oldest = new - (self.times - 1) * (SPREAD + self.options.lanes) * self.options.lanes
        for old in [made for made in self._made if made < oldest]:
            del self._made[old]
        return self._made[shown]

    def source_row(self, row: int) -> tuple[int, int]:
        """The newest row of the lane of row `row`, and the one that is shown there: it, or one of before."""
        lanes = self.options.lanes
        step, lane = divmod(row, lanes)
        new, echo = divmod(step, self.times)
        # Lanes look back differently far, so that rows do not meet again. The first rows have no row to look back to.
        past = new - echo * (SPREAD + lane)
        return new * lanes + lane, (past if past >= 0 else new) * lanes + lane
