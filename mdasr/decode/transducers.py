"""The transducers that make up a decoding graph: L of pronunciations, H of steps, and one that renames labels."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import kaldifst

from mdasr.language.lexicon import SILENCE, Lexicon, Phones


@runtime_checkable
class Tying(Protocol):
    """The part of a tree of CDPhones (`mdasr.align.tree.Tree`) that a graph needs; SIL also stands for the edges."""

    @property
    def phones(self) -> Sequence[str]: ...

    @property
    def num_leaves(self) -> int: ...

    def leaf(self, left: str, centre: str, right: str) -> int: ...


@dataclass(frozen=True)
class Label:
    """The meaning of a graph's input label: a step of `phone`, scored by the network output `output`.

    `starts` marks the first step of a word; the steps that follow it have the same label with `starts` false.
    """

    output: int
    phone: str
    starts: bool


def disambiguated(lexicon: Lexicon) -> tuple[list[tuple[str, Phones, float, int]], int]:
    """Every pronunciation as (word, phones, cost, k), and the highest k.

    The mark #k must follow the phones; 0 is no mark. A pronunciation needs a mark where another word sounds the same or
    begins with it, because determinisation could not tell them apart.
    """
    rows = [(word, *variant) for word, variants in lexicon.entries.items() for variant in variants]
    longer = {phones[:n] for _, phones, _ in rows for n in range(1, len(phones))}
    times = Counter(phones for _, phones, _ in rows)
    used: Counter[Phones] = Counter()
    marked = []
    for word, phones, probability in rows:
        if times[phones] > 1 or phones in longer:
            used[phones] += 1
        cost = math.log(lexicon.entries[word][0][1] / probability)
        marked.append((word, phones, cost, used[phones]))
    return marked, max(used.values(), default=0)


def pronouncer(
    pronunciations: Iterable[tuple[str, Phones, float, int]],
    words: Sequence[str],
    phones: Phones,
    marks: Sequence[int],
    silence_probability: float,
) -> kaldifst.StdVectorFst:
    """L, closed over word sequences: state 0 lies between words before the silence, state 1 after it.

    Phone p has the input label p + 1, or len(phones) + p + 1 where a word starts with it; #k has `marks[k]`.
    """
    plain = {phone: 1 + i for i, phone in enumerate(phones)}
    number = {word: 1 + i for i, word in enumerate(words)}
    arcs = [
        f"0 1 0 0 {-math.log1p(-silence_probability)}",
        f"0 1 {plain[SILENCE]} 0 {-math.log(silence_probability)}",
        f"1 1 {marks[0]} {len(words) + 1}",  # back-off
    ]
    fresh = itertools.count(2)
    for word, spoken, cost, k in pronunciations:
        inputs = [
            len(phones) + plain[spoken[0]],
            *(plain[phone] for phone in spoken[1:]),
            *([marks[k]] if k else []),
        ]
        nodes = [1, *itertools.islice(fresh, len(inputs) - 1), 0]
        carried = [f"{number[word]} {cost}", *["0"] * (len(inputs) - 1)]
        arcs += [f"{nodes[i]} {nodes[i + 1]} {label} {carried[i]}" for i, label in enumerate(inputs)]
    return kaldifst.compile("\n".join([*arcs, "1"]) + "\n")


def labels_of(windows: Sequence[Sequence[int]], phones: Phones, tree: Tying) -> tuple[tuple[Label, ...], list[int]]:
    """The labels in use, and the label of every window; marks have numbers above all labels.

    A window is (left, centre, right) in L's input labels, with 0 for an edge. The window of a mark is a single number.
    """
    names = (SILENCE, *phones, *phones)

    @functools.cache
    def label(left: str, centre: str, right: str, starts: bool) -> Label:
        return Label(tree.leaf(left, centre, right), centre, starts)

    of_windows = [
        label(names[w[0]], names[w[1]], names[w[2]], w[1] > len(phones)) if len(w) == 3 else None for w in windows
    ]
    used = {one for one in of_windows if one}
    # A word's start is one step long; the steps after it have the label without `starts`.
    used |= {dataclasses.replace(one, starts=False) for one in used}
    labels = tuple(sorted(used, key=_order))
    number = {one: 1 + i for i, one in enumerate(labels)}
    above = itertools.count(1 + len(labels))
    return labels, [number[one] if one else next(above) if len(w) else 0 for one, w in zip(of_windows, windows)]


def relabeller(renumbered: Sequence[int]) -> kaldifst.StdVectorFst:
    """A transducer with one state that reads the new label where it writes the old one."""
    arcs = [f"0 0 {new} {old}" for old, new in enumerate(renumbered) if old]
    return kaldifst.compile("\n".join([*arcs, "0"]) + "\n")


TOPOLOGIES = {"one-state": 1, "three-state": 3}
"""The kinds of H by name: the number of states of a CDPhone, each with an output of its own.

They say what the outputs of an acoustic model stand for (`acoustic.criteria.interface.Outputs`).
"""


def states_of(topology: str) -> int:
    """The states of each CDPhone; raises ValueError, with the names that exist, for an unknown topology."""
    if topology not in TOPOLOGIES:
        raise ValueError(f"no HMM topology is called {topology!r}; there are {', '.join(TOPOLOGIES)}")
    return TOPOLOGIES[topology]


def hmms(labels: Sequence[Label], highest: int, states: int) -> tuple[kaldifst.StdVectorFst, tuple[Label, ...]]:
    """H with a chain of `states` for each label, and the meaning of H's input labels.

    State k of CDPhone c has the output `states` c + k, and lasts a step or more. Marks (labels up to `highest`) pass
    without a step.
    """

    def step(label: Label, k: int) -> Label:
        return Label(states * label.output + k, label.phone, label.starts and k == 0)

    steps = tuple(sorted({step(label, k) for label in labels for k in range(states)}, key=_order))
    number = {one: 1 + i for i, one in enumerate(steps)}
    arcs = [f"0 0 0 {mark}" for mark in range(1 + len(labels), 1 + highest)]
    fresh = itertools.count(1)
    for i, label in enumerate(labels, start=1):
        before, written = 0, i
        for k in range(states):
            state, again = next(fresh), number[step(dataclasses.replace(label, starts=False), k)]
            arcs += [f"{before} {state} {number[step(label, k)]} {written}", f"{state} {state} {again} 0"]
            before, written = state, 0
        arcs.append(f"{before} 0 0 0")
    return kaldifst.compile("\n".join([*arcs, "0"]) + "\n"), steps


def _order(label: Label) -> tuple[bool, int, str]:
    return label.starts, label.output, label.phone


def compose(left: kaldifst.StdVectorFst, right: kaldifst.StdVectorFst) -> kaldifst.StdVectorFst:
    """The composition, which reads as `left` does and writes as `right` does; sorts the arcs of `left`."""
    kaldifst.arcsort(left, "olabel")
    # `match_side` must be the sorted side: with the other one, compose silently loses arcs.
    return kaldifst.compose(left, right, match_side="left")
