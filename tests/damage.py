"""Damages to a file, drawn from a seeded generator."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable

import numpy as np

Damage = Callable[[bytes, np.random.Generator], bytes]


class Bomb:
    """An object that makes a folder of this name when it is unpickled."""

    def __init__(self, folder: str):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def _span(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(len(content) + 1))
    return first, min(len(content), first + int(2 ** rng.uniform(0, 8)))


def cut_off(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bits changed, half of the time near the beginning, where headers are."""
    changed = np.frombuffer(content, np.uint8).copy()
    reach = len(changed) if rng.random() < 0.5 else min(len(changed), 100)
    for place in rng.integers(reach, size=int(rng.integers(1, 5))) if reach else ():
        changed[place] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def swapped(content: bytes, rng: np.random.Generator) -> bytes:
    """Two neighbouring blocks in each other's place."""
    a, b, c = sorted(rng.integers(len(content) + 1, size=3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def with_garbage(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = _span(content, rng)
    return content[:first] + rng.bytes(last - first + 1) + content[first:]


def zeroed(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = _span(content, rng)
    return content[:first] + bytes(last - first) + content[last:]


def emptied(content: bytes, rng: np.random.Generator) -> bytes:
    return b""


def of_something_else(content: bytes, rng: np.random.Generator) -> bytes:
    return [b"<html>404</html>\n", b"\x89PNG\r\n\x1a\n" + rng.bytes(300), b"PK\x03\x04" + rng.bytes(200)][
        rng.integers(3)
    ]


def line_twice(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    i = int(rng.integers(len(lines)))
    return b"".join([*lines[: i + 1], *lines[i:]])


def line_lost(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[int(rng.integers(len(lines)))]
    return b"".join(lines)


def field_lost(content: bytes, rng: np.random.Generator) -> bytes:
    """One of the fields between white space, or of a JSON object, is gone."""
    lines = content.splitlines(keepends=True)
    i = int(rng.integers(len(lines)))
    if found := _changed_json(lines[i] if len(lines) > 1 else content, rng, lost=True):
        return found if len(lines) == 1 else b"".join([*lines[:i], found + b"\n", *lines[i + 1 :]])
    fields = re.findall(rb"\S+\s*", lines[i]) or [b""]
    del fields[int(rng.integers(len(fields)))]
    return b"".join([*lines[:i], *fields, *lines[i + 1 :]])


STRANGE = (
    "NaN",
    "-Infinity",
    "1e400",
    "-1",
    "1" + 400 * "0",
    5000 * "9",
    "0",
    "null",
    '"\\ud800"',
    "[]",
    "{}",
    "1e308",
)


def strange_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A number, if there is one, is another one that few expect."""
    places = [*re.finditer(rb"-?\d+(\.\d+)?", content)]
    if not places:
        return strange_value(content, rng)
    chosen = places[rng.integers(len(places))]
    return content[: chosen.start()] + STRANGE[rng.integers(len(STRANGE))].encode() + content[chosen.end() :]


def strange_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Any value of JSON, if that it is, of another kind."""
    lines = content.splitlines(keepends=True)
    i = int(rng.integers(len(lines)))
    whole = len(lines) == 1 or (content[:1] == b"{" and lines[0].strip() == b"{")
    found = _changed_json(content if whole else lines[i], rng)
    if not found:
        return with_garbage(content, rng)
    return found if whole else b"".join([*lines[:i], found + b"\n", *lines[i + 1 :]])


def _changed_json(text: bytes, rng: np.random.Generator, lost: bool = False) -> bytes | None:
    """JSON with one value, however deep, lost or replaced; None where the text is no JSON with values in it."""
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(root, dict | list):
        return None
    holders: list = [root]
    for holder in holders:  # which grows meanwhile
        inner = holder.values() if isinstance(holder, dict) else holder
        holders += [value for value in inner if isinstance(value, dict | list)][:20] if len(holders) < 200 else []
    if not (holders := [holder for holder in holders if holder]):
        return None
    holder = holders[rng.integers(len(holders))]
    key = [*holder][rng.integers(len(holder))] if isinstance(holder, dict) else int(rng.integers(len(holder)))
    if lost:
        del holder[key]
        return json.dumps(root).encode()
    holder[key] = "STRANGE"
    return json.dumps(root).replace('"STRANGE"', STRANGE[rng.integers(len(STRANGE))]).encode()


def nested(content: bytes, rng: np.random.Generator) -> bytes:
    return b'{"a": ' * 30_000 + content


BOMB = "unpickled"


def pickled(content: bytes, rng: np.random.Generator) -> bytes:
    """A pickle that makes a folder called `BOMB` where it is loaded."""
    return pickle.dumps(Bomb(BOMB), protocol=int(rng.integers(6)))


OF_BYTES: tuple[Damage, ...] = (
    cut_off, flipped, flipped, swapped, with_garbage, zeroed, emptied, of_something_else, pickled
)  # fmt: skip
OF_TEXT: tuple[Damage, ...] = (
    cut_off, flipped, swapped, with_garbage, zeroed, emptied, of_something_else, line_twice, line_lost, field_lost,
    field_lost, strange_number, strange_number, strange_value, strange_value, nested, pickled,
)  # fmt: skip
