"""Importer of Lhotse manifests: cuts, or recordings with supervisions (JSON lines, gzipped or not)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mdasr.core.files import read_text
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.entries import OF_AUDIO, is_seconds
from mdasr.corpus.listing import Entry, Listing, Origin, json_objects, list_entries, relative

_WHOLE_S = 0.01  # a supervision this close to both ends of its recording counts as the whole recording


def read_lhotse(source: Origin) -> Listing:
    """List the supervisions of cuts or of recordings. `path` is one of these files, or a folder of recordings.jsonl.gz.

    It reads MonoCuts, MultiCuts and plain recordings of files. It reads recordings of commands only with
    `source.allow_commands`. Supervisions of several channels are set aside. So are other cuts (mixed, padded),
    transformed recordings, and audio in memory, in archives (Shar) or at URLs. A `Resample` does not count as a
    transform where it keeps all frequencies that an import keeps (see `_file_rate_hz`). Raises FileNotFoundError, and
    ValueError for other manifests.
    """
    path = source.path
    if path.is_dir():
        path = next((p for ending in ("jsonl.gz", "jsonl") if (p := path / f"recordings.{ending}").exists()), path)
    content = read_text(path, "Lhotse manifest (cuts.jsonl.gz, or recordings.jsonl.gz with supervisions.jsonl.gz)")
    objects = list(json_objects(content))
    kinds = {_kind(fields) for _, fields in objects if isinstance(fields, dict)}
    if kinds <= {"cut"} and kinds:
        return list_entries(source, _of_cuts(source, objects))
    if kinds != {"recording"}:
        kinds_here = ", ".join(sorted(kinds)) or "nothing"
        raise ValueError(f"{path}: every line must be a cut, or every line a recording; this file has: {kinds_here}")
    beside = path.with_name(path.name.replace("recordings", "supervisions"))
    if beside == path:
        raise ValueError(
            f"{path}: its name lacks the word recordings, so its supervisions cannot be found; call the files "
            "recordings.jsonl and supervisions.jsonl"
        )
    supervisions = json_objects(read_text(beside, "Lhotse manifest of supervisions"))
    recordings = {str(fields.get("id")): fields for _, fields in objects if isinstance(fields, dict)}
    return list_entries(source, _of_supervisions(source, recordings, supervisions))


def _kind(fields: Mapping[str, Any]) -> str:
    if "sources" in fields:
        return "recording"
    if "recording_id" in fields:
        return "supervision"
    return "cut" if "type" in fields or "supervisions" in fields else "something else"


def _of_supervisions(
    source: Origin, recordings: Mapping[Any, Mapping[str, Any]], supervisions: Iterator[tuple[int, Any]]
) -> Iterator[Entry]:
    for line, fields in supervisions:
        if isinstance(fields, str):
            yield Entry(line, {}, fields)
        elif str(fields.get("recording_id")) not in recordings:
            yield Entry(line, fields, f"field recording_id: no recording {fields.get('recording_id')!r}")
        else:
            yield _entry(source, line, fields, recordings[str(fields["recording_id"])], 0.0)


def _of_cuts(source: Origin, objects: Sequence[tuple[int, Any]]) -> Iterator[Entry]:
    for line, cut in objects:
        if isinstance(cut, str):
            yield Entry(line, {}, cut)
        elif cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
            reason = f"a {cut['type']}; only MonoCuts and MultiCuts are read, so save it as audio"
            yield Entry(line, {"id": cut.get("id")}, reason)
        elif not cut.get("supervisions") or not cut.get("recording"):
            yield Entry(line, {"id": cut.get("id")}, "a cut without supervision or recording; drop it")
        elif (
            not _of_dicts(cut["supervisions"]) or not _of_dicts([cut["recording"]]) or not is_seconds(cut.get("start"))
        ):
            yield Entry(line, {"id": cut.get("id")}, "fields supervisions, recording, start: is this Lhotse's format?")
        else:
            for supervision in cut["supervisions"]:
                yield _entry(source, line, supervision, cut["recording"], cut["start"])


def _of_dicts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)


def _entry(
    source: Origin, line: int, supervision: Mapping[str, Any], recording: Mapping[str, Any], begin_s: float
) -> Entry:
    """The entry of a supervision with times that are relative to `begin_s` of the recording."""
    plain = {name: supervision.get(name) for name in ("id", "text", "language", "gender")}
    noted = supervision.get("custom")
    custom = {k: v for k, v in noted.items() if isinstance(v, str | int | float)} if isinstance(noted, dict) else {}
    speaker = supervision.get("speaker")
    fields = {**custom, **plain, "speaker": recording.get("id") if speaker in (None, "") else speaker}
    try:
        located, kind = _audio(source, recording, supervision.get("channel", 0))
        start_s, seconds = max(0.0, begin_s + supervision["start"]), supervision["duration"]
        times = {"sample_rate": _file_rate_hz(recording), "duration_s": seconds}
        if start_s > _WHOLE_S or seconds < recording["duration"] - _WHOLE_S:
            times |= {"start_s": round(start_s, 6), "end_s": round(start_s + seconds, 6)}
        fields |= located | times
    except KeyError as error:
        return Entry(line, fields, f"field {error.args[0]} is missing; is this Lhotse's format?")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        return Entry(line, fields, str(error))
    return Entry(line, fields, kind=kind, own=OF_AUDIO.difference(located, times))


def _audio(source: Origin, recording: Mapping[str, Any], channel: object) -> tuple[dict[str, object], str]:
    """The fields `audio` and `channel`, and the kind of the entry. Raises ValueError for unreadable recordings."""
    chosen = channel if isinstance(channel, list) else [channel]
    if len(chosen) != 1:
        raise ValueError(f"a supervision of channels {chosen}; only those of one channel are read")
    held = next((part for part in recording["sources"] if chosen[0] in part["channels"]), None)
    if held is None:
        raise ValueError(f"recording {recording['id']} has no channel {chosen[0]}")
    located: dict[str, object] = {"channel": held["channels"].index(chosen[0])}
    if held["type"] == "file":
        return located | {"audio": relative(held["source"], source.root or source.folder)}, "file"
    if held["type"] == "command" and source.allow_commands:
        return located | {"audio": held["source"]}, "command"
    if held["type"] == "command":
        raise ValueError(f"{held['source']!r} is a command; read what it does, then use --allow-commands")
    raise ValueError(f"audio of the type {held['type']!r}; only files are read, so save the audio as such")


def _file_rate_hz(recording: Mapping[str, Any]) -> int:
    """The rate of a recording's file, which Lhotse resamples when it reads the file. Times in seconds stay the same.

    We resample every file to 16 kHz ourselves. So a `Resample` can be passed over if it keeps all frequencies that the
    file has below 8 kHz. That is true for 16 kHz or more, and for the file's own rate or more. Raises ValueError for
    other transforms.
    """
    file_rate_hz = 0
    for transform in recording.get("transforms") or ():
        rates = transform["kwargs"] if transform["name"] == "Resample" else {}
        file_rate_hz = file_rate_hz or rates.get("source_sampling_rate", 0)
        if not file_rate_hz or rates.get("target_sampling_rate", 0) < min(file_rate_hz, RATE_HZ):
            raise ValueError(f"recording {recording['id']} is transformed ({transform}); import the original")
    return file_rate_hz or recording["sampling_rate"]
