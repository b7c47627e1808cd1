"""Checks of the entries of a corpus in any format, field by field, before any audio is read.

An entry has `id`, `audio` (a path inside the manifest's folder), `text`, `speaker` (a text, or a whole number that
becomes one) and `domain`. It may have `sample_rate` and `duration_s`, which are compared with the audio, and `start_s`,
`end_s` and `channel` (from 0). A file without a header needs `sample_rate` and `encoding`
(`libsndfile_reader.ENCODINGS`). The `licence` of each is counted. Other fields can be used to choose lines, and are not
kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from mdasr.corpus.audio_files import MEAN, Channel
from mdasr.corpus.libsndfile_reader import ENCODINGS
from mdasr.corpus.listing import Entry, Listing, located
from mdasr.language.text import normalize_text

# The fields that describe audio. All of them are optional.
OF_AUDIO = frozenset({"sample_rate", "duration_s", "start_s", "end_s", "channel", "encoding"})
_LONGEST_S = 1e9  # thirty years: no recording is longer


@dataclass(frozen=True)
class Row:
    """An entry with checked fields and normalised text. `audio` is relative to the listing's root."""

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
    channel: Channel = None
    kind: str = "file"
    encoding: str | None = None
    licence: str = ""


@dataclass(frozen=True)
class Choice:
    """The choice of entries, and how to read their fields.

    `where` keeps only entries with these values in these fields. `fields` maps a field of ours to the entry's field
    that holds it. `domain` replaces the entries' own. `drop` holds tokens of transcripts that are not words, such as
    "<COMMA>". `channel` is for entries that name none: a number from 0, or `MEAN`, the mean of all channels. With
    `allow_empty`, a transcript may be without words, as that of a noise is.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    domain: str | None = None
    spell_numbers: bool = False
    drop: frozenset[str] = frozenset()
    channel: Channel = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        if self.channel != MEAN:
            _whole({"channel": self.channel}, "channel", 0)


@dataclass(frozen=True)
class SetAside:
    """A line that was not imported, and the reason. `id` and `audio` are empty where the line lacks them."""

    line: int
    id: str
    audio: str
    reason: str


def read_rows(listing: Listing, choice: Choice) -> tuple[list[Row], list[SetAside]]:
    """Check the entries of `choice`: return the good ones, and those set aside.

    A value that is not a string is compared in its JSON form. An entry without fields cannot be chosen, so it is always
    set aside. Raises ValueError where no entry is chosen, where the chosen ones have several domains, and where neither
    the entries nor `choice` give a domain.
    """
    rows, bad = [], []
    lines: dict[str, int] = {}
    values: Counter[str] = Counter()
    for entry in listing.entries:
        if not entry.fields:
            bad.append(SetAside(entry.line, "", "", entry.problem))
            continue
        fields = _renamed(entry.fields, choice.fields)
        values.update(f"{key}={_as_text(fields.get(key))}" for key in choice.where)
        if any(_as_text(fields.get(key)) != value for key, value in choice.where.items()):
            continue
        try:
            row = _row(entry, fields, listing, choice)
            if row.id in lines:
                raise ValueError(f"field id: {row.id!r} is also the id of line {lines[row.id]}; make ids unique")
        except ValueError as error:
            bad.append(SetAside(entry.line, str(fields.get("id", "")), str(fields.get("audio", "")), str(error)))
        else:
            lines[row.id] = entry.line
            rows.append(row)
    if not rows and not bad:
        seen = ", ".join(f"{value} ({count})" for value, count in values.most_common(10))
        raise ValueError(f"{listing.path}: no line has {dict(choice.where)}; the file has {seen or 'no lines at all'}")
    _check_domains(listing, choice, rows)
    return rows, bad


def _renamed(fields: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    """Take some fields from others, as `names` says. Numbers become texts in fields of text, such as `speaker`."""
    taken = {name: fields.get(other) for name, other in names.items()}
    numbers = {name: str(value) for name, value in taken.items() if type(value) is int and name not in OF_AUDIO}
    return {**fields, **taken, **numbers}


def _check_domains(listing: Listing, choice: Choice, rows: list[Row]) -> None:
    if not choice.domain and not any("domain" in _renamed(e.fields, choice.fields) for e in listing.entries):
        raise ValueError(f"{listing.path}: no line has a domain; give --domain NAME, or --field domain=FIELD")
    domains = sorted({row.domain for row in rows})
    if len(domains) > 1:
        raise ValueError(
            f"{listing.path}: field domain: the chosen lines have {len(domains)} domains ({', '.join(domains)}), but a "
            f"corpus has one; choose one (--where domain={domains[0]}) or rename them all (--domain NAME)"
        )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _row(entry: Entry, fields: Mapping[str, object], listing: Listing, choice: Choice) -> Row:
    """Check the fields of one entry. Raises ValueError, which names the field and says what to do."""
    if entry.problem:
        raise ValueError(entry.problem)
    text, audio = _text(fields, choice), _string(fields, "audio")
    if entry.kind == "file":
        audio = located(audio, listing.root, listing.folder)
    fields = {name: value for name, value in fields.items() if name not in entry.own - choice.fields.keys()}
    channel = _whole(fields, "channel", 0)
    return Row(
        line=entry.line,
        id=_identifier(fields),
        audio=audio,
        text=text,
        speaker=_string(_renamed(fields, {"speaker": "speaker"}), "speaker"),
        domain=choice.domain or _string(fields, "domain"),
        sample_rate=_whole(fields, "sample_rate", 1),
        duration_s=_number(fields, "duration_s"),
        start_s=_number(fields, "start_s"),
        end_s=_number(fields, "end_s"),
        channel=choice.channel if channel is None else channel,
        kind=entry.kind,
        encoding=_encoding(fields),
        licence="" if fields.get("licence") is None else _string(fields, "licence"),
    )


def _text(fields: Mapping[str, object], choice: Choice) -> str:
    """The normalised transcript. A missing one or null is never an empty one: the words may just be unknown."""
    transcript = fields.get("text")
    if not isinstance(transcript, str):
        raise ValueError(f"field text: must be a text, not {json.dumps(transcript)}")
    try:
        text = normalize_text(" ".join(t for t in transcript.split() if t not in choice.drop), choice.spell_numbers)
    except ValueError as error:
        raise ValueError(f"field text: {error}") from None
    if not text and not choice.allow_empty:
        raise ValueError(
            f"field text: there are no words in {transcript!r}; transcribe it, drop the line, or use --allow-empty for "
            "noise without speech"
        )
    return text


def _identifier(fields: Mapping[str, object]) -> str:
    """The id. Files such as TextGrids get it as a name, so as a path it must stay inside its folder."""
    name = _string(fields, "id")
    if "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"field id: {name!r} as a file name would leave its folder; give it another id")
    return name


def _string(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"field {name}: must be a text, not {json.dumps(value)}")
    return value


def _number(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if not is_seconds(value):
        raise ValueError(f"field {name}: must be a number of seconds, 0 or more, not {json.dumps(value)}")
    return float(value)


def is_seconds(value: object) -> TypeGuard[int | float]:
    """Whether a field is a number that can be a time or a duration."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST_S


def _encoding(fields: Mapping[str, object]) -> str | None:
    value = fields.get("encoding")
    if value is None:
        return None
    if value not in ENCODINGS:
        raise ValueError(f"field encoding: must be one of {', '.join(ENCODINGS)}, not {json.dumps(value)}")
    if fields.get("sample_rate") is None:
        raise ValueError("field encoding: a file without a header needs its rate, too; give sample_rate in Hz")
    return str(value)


def _whole(fields: Mapping[str, object], name: str, least: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"field {name}: must be a whole number, {least} or more, not {json.dumps(value)}")
    return value
