"""Importers of manifests in JSON lines: this program's own, and NeMo's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mdasr.core.files import read_text
from mdasr.corpus.entries import is_seconds
from mdasr.corpus.listing import Entry, Listing, Origin, json_objects, list_entries, relative


def read_manifest(source: Origin) -> Listing:
    """List a manifest with the fields of `mdasr.corpus.entries` in its lines. The digest is that of the file."""
    content = read_text(source.path, "manifest (a file with one JSON object a line)")
    entries = [
        Entry(line, {}, fields) if isinstance(fields, str) else Entry(line, fields)
        for line, fields in json_objects(content)
    ]
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Listing(source.path, source.root or source.folder, source.folder, entries, sha256)


def read_nemo(source: Origin) -> Listing:
    """List a NeMo manifest: audio_filepath, text, duration, and offset for lines that are parts of a recording.

    A line without `speaker` gets its recording's path as speaker. Ids are the paths without "..", followed by the
    offset in ms.
    """
    content = read_text(source.path, "NeMo manifest (a file with one JSON object a line)")
    return list_entries(source, _nemo_entries(content, source.root or source.path.parent))


def _nemo_entries(content: str, root: Path) -> Iterator[Entry]:
    for line, fields in json_objects(content):
        if isinstance(fields, str):
            yield Entry(line, {}, fields)
            continue
        try:
            yield Entry(line, _nemo_fields(fields, root))
        except ValueError as error:
            yield Entry(line, fields, str(error))


def _nemo_fields(fields: Mapping[str, object], root: Path) -> dict[str, object]:
    """Add the fields of our manifest to those of a line. Raises ValueError, which names the wrong field."""
    audio, offset_s, duration_s = (fields.get(name) for name in ("audio_filepath", "offset", "duration"))
    if not isinstance(audio, str):
        raise ValueError(f"field audio_filepath: {audio!r} where a path should be; give one recording")
    audio = relative(audio, root)
    stem = Path(*(part for part in Path(audio).with_suffix("").parts if part != "..")).as_posix()
    speaker = stem if fields.get("speaker") in (None, "") else fields["speaker"]
    named = {"id": stem, **fields, "speaker": speaker, "audio": audio, "duration_s": duration_s}
    if offset_s is None:
        return named
    if not is_seconds(offset_s) or not is_seconds(duration_s):
        raise ValueError(f"fields offset, duration: {offset_s!r}, {duration_s!r}; give both in seconds")
    part = {"id": f"{stem}-{round(1000 * offset_s):08d}"} if "id" not in fields else {}
    return named | part | {"start_s": offset_s, "end_s": offset_s + duration_s}
