"""Frozen dataclasses from JSON, and their JSON schema.

Their fields are numbers, texts, truth values, tuples, choices of these, or further dataclasses.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any, str], Any]
_NAMES = {str: ("string", "a text"), bool: ("boolean", "true or false"), int: ("integer", "a whole number")}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def read(kind: type[T], value: Any, where: str, readers: Mapping[str, Reader] | None = None) -> T:
    """Make a dataclass from parsed JSON; `readers` read the fields whose type alone does not say how.

    Raises ValueError, which names the field that is missing, unknown or of another type.
    """
    expected = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(value, dict) or value.keys() != expected:
        actual = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{where}: needs the fields {sorted(expected)}, but has {actual}")
    own = readers or {}
    hints = {name: hint for name, hint in _hints(kind).items() if name in expected}  # type: ignore[arg-type]
    values = {
        name: own[name](value[name], f"{where}: {name}")
        if name in own
        else _value(hint, value[name], f"{where}: {name}")
        for name, hint in hints.items()
    }
    return kind(**values)


def completed(kind: Any, value: Any) -> Any:
    """Add the defaults of missing fields to `value`. Older versions wrote it without those fields."""
    known = {
        f.name: [*f.default] if isinstance(f.default, tuple) else f.default
        for f in fields(kind)
        if f.default is not MISSING
    }
    return known | value if isinstance(value, dict) else value


def choose(kinds: Mapping[str, type[Any]], value: Any, where: str) -> Any:
    """Make the dataclass that the field `name` of parsed JSON names. Raises ValueError, which lists the known names."""
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"{where}: no {name!r}; there are {', '.join(kinds)}")
    return read(kinds[name], completed(kinds[name], value), where)


def require_within(name: str, value: int | float, least: int | float, most: int | float) -> None:
    """Raise ValueError where a setting lies outside its bounds or is NaN."""
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; it must lie between {least} and {most}")


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type `hint`, or raise ValueError."""
    if is_dataclass(hint):
        return read(hint, value, where)  # type: ignore[arg-type]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, where)
    if origin is tuple:
        kinds = (inner[0],) * len(value) if inner[-1] is ... and isinstance(value, list) else inner
        if not isinstance(value, list) or len(value) != len(kinds):
            raise ValueError(f"{where} must be a list{'' if inner[-1] is ... else f' of {len(inner)}'}, not {value!r}")
        return tuple(_value(kind, part, f"{where}[{i}]") for i, (kind, part) in enumerate(zip(kinds, value)))
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{where} must be {' or '.join(map(repr, inner))}, not {value!r}")
        return value
    if hint is float:
        # The bound refuses NaN, infinity, and whole numbers that are too large for a float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise ValueError(f"{where} must be a number, not {value!r}")
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where} must be {_NAMES[hint][1]}, not {value!r}")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Return `value` as the first type that accepts it. Among dataclasses, choose the one with its fields."""
    if value is None and types.NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    if isinstance(value, dict):
        same = [kind for kind in kinds if is_dataclass(kind) and value.keys() == {field.name for field in fields(kind)}]
        return _value((same or kinds)[0], value, where)
    for kind in kinds[:-1]:
        try:
            return _value(kind, value, where)
        except ValueError:
            continue
    return _value(kinds[-1], value, where)


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the values that `read` accepts for `kind`, without ranges of numbers."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        properties = {name: schema(hint) for name, hint in _hints(kind).items()}  # type: ignore[arg-type]
        summary = (kind.__doc__ or "").strip().split("\n")[0]
        return {
            "type": "object",
            "description": summary,
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(option) for option in inner]}
    if origin is tuple:
        if inner[-1] is ...:
            return {"type": "array", "items": schema(inner[0])}
        return {"type": "array", "prefixItems": [schema(item) for item in inner], "items": False}
    if origin is Literal:
        return {"enum": list(inner)}
    if kind is types.NoneType:
        return {"type": "null"}
    return {"type": "number" if kind is float else _NAMES[kind][0]}
