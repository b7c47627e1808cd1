"""The lines of a manifest: a JSON object each, checked field by field before any audio is read.

A line has `id`, `audio` (a path inside the manifest's folder), `text`, `speaker` and `domain`; it may have
`sample_rate`, `duration_s` (both compared with the audio), `start_s`, `end_s` and `channel` (from 0). Other
fields serve to choose lines and are not kept.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mdasr.language.text import normalize


@dataclass(frozen=True)
class Row:
    """A line of a manifest, its fields checked, its text normalised; `audio` is relative to the manifest."""

    line: int
    id: str
    audio: str
    text: str
    speaker: str
    domain: str
    sample_rate: int | None = None
    duration_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    channel: int | None = None


@dataclass(frozen=True)
class SetAside:
    """A line that was not imported, and why; `id` and `audio` are empty where the line does not tell them."""

    line: int
    id: str
    audio: str
    reason: str


def read_rows(
    path: Path,
    content: str,
    where: Mapping[str, str],
    domain: str | None = None,
    spell_numbers: bool = False,
) -> tuple[list[Row], list[SetAside]]:
    """The lines of a manifest that `where` chooses (field equals value), and those of them that are no good.

    `path` gives the manifest's folder and stands in the messages; `content` is its text. A value that is no
    string is compared as JSON writes it. A line that is not JSON cannot be chosen, so it always is set aside.
    Raises ValueError where nothing is chosen.
    """
    rows, bad = [], []
    lines: dict[str, int] = {}
    values: Counter[str] = Counter()
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        fields = _object(line)
        if isinstance(fields, str):
            bad.append(SetAside(number, "", "", fields))
            continue
        values.update(f"{key}={_as_text(fields.get(key))}" for key in where)
        if any(_as_text(fields.get(key)) != value for key, value in where.items()):
            continue
        try:
            row = _row(number, fields, path.parent, domain, spell_numbers)
            if row.id in lines:
                raise ValueError(f"field id: {row.id!r} is the id of line {lines[row.id]} too; make ids unique")
        except ValueError as error:
            bad.append(SetAside(number, str(fields.get("id", "")), str(fields.get("audio", "")), str(error)))
        else:
            lines[row.id] = number
            rows.append(row)
    if not rows and not bad:
        seen = ", ".join(f"{value} ({count})" for value, count in values.most_common(10))
        raise ValueError(f"{path}: no line is chosen by {dict(where)}; there are {seen or 'no lines at all'}")
    return rows, bad


def _object(line: str) -> dict[str, object] | str:
    """A line's JSON object, or what is wrong with it."""
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno}); write one JSON object a line"
    return fields if isinstance(fields, dict) else 'not a JSON object; write one a line, as {"id": ..., ...}'


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _row(line: int, fields: Mapping[str, object], folder: Path, domain: str | None, spell_numbers: bool) -> Row:
    """Check the fields of one line; ValueError names the field and the mend."""
    said = _string(fields, "text")
    try:
        text = normalize(said, spell_numbers)
    except ValueError as error:
        raise ValueError(f"field text: {error}") from None
    if not text:
        raise ValueError(f"field text: there are no words in {said!r}; transcribe it, or drop the line")
    return Row(
        line=line,
        id=_string(fields, "id"),
        audio=_inside(folder, _string(fields, "audio")),
        text=text,
        speaker=_string(fields, "speaker"),
        domain=domain or _string(fields, "domain"),
        sample_rate=_whole(fields, "sample_rate", 1),
        duration_s=_number(fields, "duration_s"),
        start_s=_number(fields, "start_s"),
        end_s=_number(fields, "end_s"),
        channel=_whole(fields, "channel", 0),
    )


def _inside(folder: Path, audio: str) -> str:
    """`audio`, which must stay inside the folder, links followed: a manifest may come from a stranger."""
    if "\0" in audio:
        raise ValueError(f"field audio: {audio!r} is no path; there is a null character in it")
    if not (folder / audio).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"field audio: {audio!r} leaves the manifest's folder; move the file into it")
    return audio


def _string(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"field {name}: {json.dumps(value)} where a text should be; give one")
    return value


def _number(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"field {name}: {json.dumps(value)} where seconds (0 or more) should be")
    return float(value)


def _whole(fields: Mapping[str, object], name: str, least: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"field {name}: {json.dumps(value)} where a whole number of {least} or more should be")
    return value
