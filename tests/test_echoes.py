"""Echoes: every row is shown several times, in places that depend on the row's number alone."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mdasr.acoustic.echoes import SPREAD, Echoed
from mdasr.acoustic.loader import Batches, Share
from mdasr.acoustic.row_schedule import RowOptions


class Numbers:
    """Rows that hold their own number."""

    def __init__(self, lanes):
        self.options, self.made = RowOptions(100, lanes=lanes), 0

    def map(self, row):
        self.made += 1
        return {"number": np.array(row)}


def shown(maker, rows):
    return [int(maker.map(row)["number"]) for row in rows]


@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_every_row_is_shown_so_often_and_made_once(times):
    lanes, batches = 4, 800
    numbers = Numbers(lanes)
    found = Counter(shown(Echoed(numbers, times), range(times * batches * lanes)))
    assert numbers.made == len(found) == batches * lanes and {*found} == {*range(batches * lanes)}
    edge = times * (SPREAD + lanes) * lanes  # the first rows are shown more often, and the last will be shown again
    assert {found[row] for row in range(edge, batches * lanes - edge)} == {times}


def test_rows_do_not_meet_again():
    lanes, times = 4, 3
    numbers = shown(Echoed(Numbers(lanes), times), range(2000 * lanes))
    batches = [*zip(*[iter(numbers)] * lanes)]
    met = Counter(pair for batch in batches[1000:] for pair in itertools.combinations(sorted(batch), 2))
    assert max(met.values()) == 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_rows_of_a_training_that_goes_on_are_those_of_one_that_never_stopped(workers):
    whole = shown(Echoed(Numbers(4), 3), range(4000))
    assert shown(Echoed(Numbers(4), 3), range(2500, 4000)) == whole[2500:]
    batches = Batches(Echoed(Numbers(4), 3), Share(4, 0, 4), 625, 640, workers)
    assert [int(n) for batch in batches for n in batch["number"]] == whole[2500:2560]
    batches.close()


def test_few_rows_are_kept():
    maker = Echoed(Numbers(4), 3)
    shown(maker, range(8000))
    assert len(maker._made) <= 2 * (SPREAD + 4) * 4 + 4
    late = Echoed(Numbers(4), 3)  # as after a restart: what it makes out of order does not stay
    shown(late, range(8000, 16_000))
    assert len(late._made) <= 2 * (SPREAD + 4) * 4 + 4


def test_a_row_is_shown_at_least_once():
    with pytest.raises(ValueError, match="shown 0 times"):
        Echoed(Numbers(4), 0)
