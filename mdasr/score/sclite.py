"""The alignment of a recognised utterance with its reference, as by NIST's sclite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Int8

SUBSTITUTION, GAP = 4, 3  # sclite's costs; a gap is an insertion or a deletion
_MOVES = "CSDI"


def sclite_steps(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """Align two sequences of words; return a letter for each step: C (correct), S, D or I (sclite's letters).

    The alignment is the cheapest one. Equal costs may differ in errors: 3 substitutions cost as much as 2 insertions
    and 2 deletions. Like `Network_dpalign` in sclite's net_dp.c, each cell prefers a pair of words to a gap, and an
    insertion to a deletion. The path is read from the end.
    """
    numbers: dict[str, int] = {}
    left, right = (
        np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
        for words in (reference, hypothesis)
    )
    return "".join(_MOVES[move] for move in _path(_best_moves(left, right)))


# no_type_check: the tests' import hook would wrap this function, and numba cannot compile the wrapper.
@numba.njit(cache=True)
@no_type_check
def _best_moves(left, right):
    """The last step, as its place in `_MOVES`, of the best alignment of each beginning of `left` and of `right`."""
    moves = np.full((len(left) + 1, len(right) + 1), 3, np.int8)
    moves[:, 0] = 2
    cost = GAP * np.arange(len(right) + 1)
    for i in range(len(left)):
        diagonal, cost[0] = cost[0], GAP * (i + 1)
        for j in range(len(right)):
            wrong = left[i] != right[j]
            pair, deletion, insertion = diagonal + wrong * SUBSTITUTION, cost[j + 1] + GAP, cost[j] + GAP
            diagonal = cost[j + 1]
            if pair <= deletion and pair <= insertion:
                cost[j + 1], moves[i + 1, j + 1] = pair, wrong
            elif deletion < insertion:
                cost[j + 1], moves[i + 1, j + 1] = deletion, 2
            else:
                cost[j + 1] = insertion
    return moves


def _path(moves: Int8[np.ndarray, "rows columns"]) -> list[int]:
    """The moves of the best alignment of everything, first to last."""
    i, j, path = moves.shape[0] - 1, moves.shape[1] - 1, []
    while i or j:
        move = int(moves[i, j])
        path.append(move)
        i, j = i - (move != 3), j - (move != 2)
    return path[::-1]
