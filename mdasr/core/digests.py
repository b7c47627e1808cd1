"""Names of values, also of those that are not there yet: equal values, equal names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Named(Generic[T]):
    """A value that can be named before it is there: `made_of` (JSON) tells it from others, `get` makes or reads it."""

    made_of: Any
    get: Callable[[], T] = field(compare=False, repr=False)


def digest(value: object) -> str:
    """Twelve hex digits that name a value made of dataclasses and what JSON can hold: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=lambda part: asdict(part))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flat(value: object, name: str = "") -> Iterator[tuple[str, Any]]:
    """The parts of nested dictionaries and dataclasses, under names such as "scale.encoder.cells".

    A dataclass is itself a part, whose value is its class' name: two that have the same fields are told apart.
    """
    if is_dataclass(value):
        yield name, type(value).__name__
    elif not isinstance(value, dict):
        yield name, value
        return
    parts = value if isinstance(value, dict) else {part.name: getattr(value, part.name) for part in fields(value)}
    for part, content in parts.items():
        yield from flat(content, f"{name}.{part}" if name else part)
