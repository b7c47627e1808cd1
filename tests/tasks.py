"""Toy tasks that several tests train on, and the tree without contexts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import grain.python as grain
import numpy as np

from mdasr.acoustic.schedule import RowOptions
from mdasr.align.tree import Tree


def monophone_tree(phones: Sequence[str]) -> Tree:
    """The context-independent tree: one leaf a phone, numbered in the order given."""
    return Tree(tuple(phones), (), tuple(range(len(phones))))


@dataclass
class SignsRowMaker(grain.MapTransform):
    """Rows whose labels are the signs of two features: learnt within a few dozen steps."""

    options: RowOptions = field(default_factory=lambda: RowOptions(20))

    def map(self, row):
        steps = self.options.steps
        x = np.random.Generator(np.random.Philox(key=[7, int(row)])).standard_normal((steps, 512)).astype(np.float32)
        labels = ((x[:, 0] > 0) + 2 * (x[:, 1] > 0)).astype(np.int32)
        weights, keep = np.ones(steps, np.float32), np.ones(steps, np.float32)
        keep[0] = 0
        weights[: int(row) % 5] = 0  # rows of unequal frame counts, so that a mean of means would show
        return {"features": x, "labels": labels, "weights": weights, "keep": keep}
