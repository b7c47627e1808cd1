"""Names for values, even for values that are not made yet. Equal values have equal names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Named(Generic[T]):
    """A value that has a name before it exists: `made_of` (JSON) identifies it, and `get` makes or reads it."""

    made_of: Any
    get: Callable[[], T] = field(compare=False, repr=False)


def digest(value: object) -> str:
    """The name of a value, 12 hex digits: equal values have equal names.

    The value consists of dataclasses and of anything that JSON can hold.
    """
    text = json.dumps(value, sort_keys=True, default=lambda part: asdict(part))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat(value: object, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the parts of nested dictionaries and dataclasses as pairs of a name and a value.

    A name is a path such as "scale.encoder.cells". A dataclass is also a part itself, with its class name as value:
    so two classes with the same fields differ.
    """
    if is_dataclass(value):
        yield name, type(value).__name__
    elif not isinstance(value, dict):
        yield name, value
        return
    parts = value if isinstance(value, dict) else {part.name: getattr(value, part.name) for part in fields(value)}
    for part, content in parts.items():
        yield from flat(content, f"{name}.{part}" if name else part)
