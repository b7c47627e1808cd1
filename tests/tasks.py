"""Toy tasks for several tests of training, and the tree without contexts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import grain.python as grain
import numpy as np

from mdasr.acoustic.row_schedule import Piece, RowOptions, RowPlan
from mdasr.align.tree import Tree
from mdasr.frontend import BANDS


def monophone_tree(phones: Sequence[str]) -> Tree:
    """Return the context-independent tree: one leaf for each phone, numbered in the given order."""
    return Tree(tuple(phones), (), tuple(range(len(phones))))


def rows_of(plan: RowPlan, epoch: int) -> list[tuple[Piece, ...]]:
    """The pieces of every row of an epoch."""
    before = sum(plan.rows_in_epoch(each) for each in range(epoch))
    return [plan.locate(before + row)[1] for row in range(plan.rows_in_epoch(epoch))]


@dataclass
class SignsRowMaker(grain.MapTransform):
    """Make rows whose labels are the signs of two numbers of a step's label frame; a few dozen steps learn them."""

    options: RowOptions = field(default_factory=lambda: RowOptions(20))

    def map(self, row):
        options, rng = self.options, np.random.Generator(np.random.Philox(key=[7, int(row)]))
        frames = rng.standard_normal((options.frames, BANDS)).astype(np.float32)
        heard = frames[options.subsampling.label_frame :: options.subsampling.stride][: options.steps]
        labels = ((heard[:, 0] > 0) + 2 * (heard[:, 1] > 0)).astype(np.int32)
        weights, segments = np.ones(options.steps, np.float32), np.ones(options.frames, np.int32)
        weights[: int(row) % 5] = 0  # rows of unequal frame counts, so that a mean of means would show
        return {"frames": frames, "segments": segments, "labels": labels, "weights": weights}
