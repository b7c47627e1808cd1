"""Manifests of JSON lines: this program's own, and NeMo's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mdasr.data.listing import Entry, Listing, Source, json_objects, list_entries, read_text, relative


def read_manifest(source: Source) -> Listing:
    """List a manifest whose lines have the fields of `mdasr.data.rows`; its digest is the file's."""
    content = read_text(source.path, "manifest (a file with one JSON object a line)")
    entries = [
        Entry(line, {}, fields) if isinstance(fields, str) else Entry(line, fields)
        for line, fields in json_objects(content)
    ]
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Listing(source.path, source.root or source.path.parent, entries, sha256)


def read_nemo(source: Source) -> Listing:
    """List a NeMo manifest: audio_filepath, text, duration, and offset where a line is a part of a recording.

    A line without `speaker` has its recording for one; ids are the paths, with the offset in ms behind them.
    """
    content = read_text(source.path, "NeMo manifest (a file with one JSON object a line)")
    return list_entries(source, _nemo_entries(content, source.root or source.path.parent))


def _nemo_entries(content: str, root: Path) -> Iterator[Entry]:
    for line, fields in json_objects(content):
        if isinstance(fields, str):
            yield Entry(line, {}, fields)
            continue
        audio, offset, duration = (fields.get(name) for name in ("audio_filepath", "offset", "duration"))
        if not isinstance(audio, str):
            yield Entry(line, fields, f"field audio_filepath: {audio!r} where a path should be; give one recording")
            continue
        audio = relative(audio, root)
        stem = Path(audio).with_suffix("").as_posix()
        known = {"audio": audio, "speaker": stem, "id": stem, **fields, "duration_s": duration}
        if offset is not None:
            numbers = [n for n in (offset, duration) if isinstance(n, int | float) and not isinstance(n, bool)]
            if len(numbers) < 2:
                yield Entry(line, known, f"fields offset, duration: {offset!r}, {duration!r}; give both in seconds")
                continue
            known = {"id": f"{stem}-{round(1000 * numbers[0]):08d}", "start_s": numbers[0], "end_s": sum(numbers)} | {
                name: value for name, value in known.items() if name != "id" or "id" in fields
            }
        yield Entry(line, known)
