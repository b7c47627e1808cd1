"""CDPhones: triphones tied by a decision tree over phonetic questions (§3.5).

A CDPhone is an integer below `tree.num_leaves`. The tree has one root for each phone. Each split asks whether the left
or the right neighbour belongs to a set of phones. So a triphone without any data gets a leaf, too (Young, Odell and
Woodland, 1994). Silence also stands for the edge of an utterance. It is one leaf, whatever its neighbours are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from mdasr.core.files import read_text, write_atomically
from mdasr.language.lexicon import SILENCE

HEADER = "mdasr-tree 1"


@dataclass(frozen=True)
class Branch:
    """A node that asks whether the neighbour on `side` is in the set of question number `question`."""

    side: Literal["left", "right"]
    question: int
    yes: Node
    no: Node


Node = Branch | int
"""A split, or the number of a leaf."""


@dataclass(frozen=True)
class Tree:
    """The map from triphones to CDPhones.

    `questions` are sets of phones. `roots` are the nodes of the `phones`, in the same order. Leaves are numbered from 0
    without gaps. Raises ValueError where this does not hold, or where silence is missing or split.
    """

    phones: tuple[str, ...]
    questions: tuple[tuple[str, ...], ...]
    roots: tuple[Node, ...]

    def __post_init__(self) -> None:
        check_phone_set(self.phones)
        if len(self.roots) != len(self.phones):
            raise ValueError(f"tree: {len(self.roots)} roots for {len(self.phones)} phones")
        membership(self.questions, self.phones)
        leaves = sorted(leaf for root in self.roots for leaf in leaves_below(root))
        if leaves != list(range(len(leaves))):
            raise ValueError(f"tree: its {len(leaves)} leaves must be numbered 0 to {len(leaves) - 1}")
        if not isinstance(self.roots[self.phones.index(SILENCE)], int):
            raise ValueError(f"tree: {SILENCE} must be a single leaf")

    @cached_property
    def num_leaves(self) -> int:
        return sum(1 for root in self.roots for _ in leaves_below(root))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {phone: i for i, phone in enumerate(self.phones)}

    @cached_property
    def table(self) -> Int[np.ndarray, "left centre right"]:
        """The leaf of every triphone, by the indices of its phones."""
        members = membership(self.questions, self.phones)
        table = np.empty((len(self.phones),) * 3, np.int32)
        everything = np.ones(len(self.phones), bool)
        for centre, root in enumerate(self.roots):
            _fill(table[:, centre], root, members, everything, everything)
        return table

    def leaf(self, left: str, centre: str, right: str) -> int:
        """The CDPhone of `centre` between `left` and `right` (silence at an utterance's edge).

        Raises ValueError for a phone that the tree does not know.
        """
        try:
            return int(self.table[self._index[left], self._index[centre], self._index[right]])
        except KeyError as error:
            raise ValueError(_unknown(error.args[0], self.phones)) from None

    def leaves(self, phones: Sequence[str]) -> Int[np.ndarray, " phones"]:
        """The CDPhones of an utterance's phones, in order. Before the first and after the last phone is silence.

        Raises ValueError for a phone that the tree does not know.
        """
        try:
            ids = np.array([self._index[phone] for phone in (SILENCE, *phones, SILENCE)])
        except KeyError as error:
            raise ValueError(_unknown(error.args[0], self.phones)) from None
        return self.table[ids[:-2], ids[1:-1], ids[2:]]

    def walk(self, left: str, centre: str, right: str) -> Iterator[str]:
        """Yield the path from a triphone's root to its leaf, with one line of text for each question.

        Raises ValueError for an unknown phone.
        """
        for phone in (left, centre, right):
            if phone not in self._index:
                raise ValueError(f"the tree has no phone {phone!r}; it has {' '.join(self.phones)}")
        node, neighbours = self.roots[self._index[centre]], {"left": left, "right": right}
        while isinstance(node, Branch):
            question = self.questions[node.question]
            yes = neighbours[node.side] in question
            yield f"{node.side} neighbour {neighbours[node.side]} in {{{' '.join(question)}}}? {'yes' if yes else 'no'}"
            node = node.yes if yes else node.no
        yield f"CDPhone {node}"

    def write(self, path: Path | str) -> None:
        """Write the tree as readable text: one line for each node, the yes branch before the no branch."""
        lines = [HEADER, " ".join(("phones", *self.phones))]
        lines += [" ".join((f"question {i}", *question)) for i, question in enumerate(self.questions)]
        for phone, root in zip(self.phones, self.roots):
            lines += [f"root {phone}", *_node_lines(root, 1)]
        write_atomically(Path(path), "\n".join(lines) + "\n")

    @classmethod
    def read(cls, path: Path | str) -> Tree:
        """Read a file of `write`. Raises ValueError, which names the file and the line, for anything else."""
        path = Path(path)
        content = read_text(path, "tree of CDPhones (`mdasr train` writes a model's tree.txt)")
        try:
            return _parse(content.splitlines())
        except ValueError as error:
            raise ValueError(f"{path}:{error}; write the tree again, or grow a new one") from None
        except RecursionError:
            raise ValueError(f"{path}: questions nested too deeply; write the tree again, or grow a new one") from None

    def __getstate__(self) -> dict:
        # Cached values are cheap to make again, and expensive to send to a loader's workers.
        return {"phones": self.phones, "questions": self.questions, "roots": self.roots}


def check_phone_set(phones: Sequence[str]) -> None:
    """Raise ValueError unless `phones` are distinct, have no white space and include silence."""
    if len(set(phones)) != len(phones):
        raise ValueError(f"phone set: {sorted({p for p in phones if phones.count(p) > 1})} occur twice")
    if any(not phone or phone.split() != [phone] for phone in phones):
        raise ValueError("phone set: a phone's name must be non-empty and without white space")
    if SILENCE not in phones:
        raise ValueError(f"phone set: {SILENCE} is missing; it stands for pauses and for utterances' edges")


def leaves_below(node: Node) -> Iterator[int]:
    """Yield the leaves under `node`, the yes branch first."""
    if isinstance(node, int):
        yield node
    else:
        yield from leaves_below(node.yes)
        yield from leaves_below(node.no)


def _parse(lines: Sequence[str]) -> Tree:
    """Read a tree from the lines of its file. Raises ValueError that begins with a line's number."""
    phones: tuple[str, ...] = ()
    questions: list[tuple[str, ...]] = []
    roots: dict[str, Node] = {}
    rest = iter(enumerate((*lines, ""), start=1))  # the empty line means the end of the file
    if next(rest, (1, ""))[1] != HEADER:
        raise ValueError(f"1: not a tree of this version, which begins with {HEADER!r}")
    for number, line in rest:
        match line.split():
            case ["phones", *names] if not phones:
                phones = tuple(names)
            case ["question", index, *names] if index == str(len(questions)):
                questions.append(tuple(names))
            case ["root", phone] if phone in phones and phone not in roots:
                roots[phone] = _parse_node(rest, len(questions))
            case [_, *_]:
                raise ValueError(f"{number}: unexpected {line.strip()!r}")
    missing = [phone for phone in phones if phone not in roots]
    if missing:
        raise ValueError(f"{len(lines)}: the file ends before the roots of {', '.join(missing)}")
    try:
        return Tree(phones, tuple(questions), tuple(roots[phone] for phone in phones))
    except ValueError as error:
        raise ValueError(f"1: {error}") from None


def _parse_node(lines: Iterator[tuple[int, str]], num_questions: int) -> Node:
    number, line = next(lines)
    match line.split():
        case ["leaf", leaf] if leaf.isdecimal():
            return int(leaf)
        case ["left" | "right" as side, question] if question.isdecimal() and int(question) < num_questions:
            yes = _parse_node(lines, num_questions)
            no = _parse_node(lines, num_questions)
            return Branch("left" if side == "left" else "right", int(question), yes, no)
    raise ValueError(f"{number}: {line.strip()!r} is neither a leaf nor a split by a question named above")


def _node_lines(node: Node, depth: int) -> Iterator[str]:
    if isinstance(node, int):
        yield f"{'  ' * depth}leaf {node}"
    else:
        yield f"{'  ' * depth}{node.side} {node.question}"
        yield from _node_lines(node.yes, depth + 1)
        yield from _node_lines(node.no, depth + 1)


def membership(questions: Sequence[Sequence[str]], phones: Sequence[str]) -> Bool[np.ndarray, "questions phones"]:
    """Whether each question includes each phone. Raises ValueError for a question with a phone not in `phones`."""
    index = {phone: i for i, phone in enumerate(phones)}
    members = np.zeros((len(questions), len(phones)), bool)
    for row, question in zip(members, questions):
        for phone in question:
            if phone not in index:
                raise ValueError(_unknown(phone, phones))
            row[index[phone]] = True
    return members


def _fill(
    table: Int[np.ndarray, "left right"],
    node: Node,
    members: Bool[np.ndarray, "questions phones"],
    left: Bool[np.ndarray, " left"],
    right: Bool[np.ndarray, " right"],
) -> None:
    """Write the leaves under `node` to the cells of the `left` and `right` neighbours that lead to it."""
    if isinstance(node, int):
        table[np.ix_(left, right)] = node
    elif node.side == "left":
        _fill(table, node.yes, members, left & members[node.question], right)
        _fill(table, node.no, members, left & ~members[node.question], right)
    else:
        _fill(table, node.yes, members, left, right & members[node.question])
        _fill(table, node.no, members, left, right & ~members[node.question])


def _unknown(phone: str, phones: Sequence[str]) -> str:
    return f"phone {phone!r} is not one of the tree's {len(phones)}; grow the tree with this lexicon's phones"
