"""Listings of the utterances of a corpus: unchecked, and in the same form for every format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """The place of a corpus and its format (`importers.FORMATS`).

    Audio must be inside `root`, and relative paths start there; by default it is the folder of `path`. `split` is the
    part of the corpus to read. Shell commands in place of files run only with `allow_commands`.
    """

    format: str
    path: Path
    root: Path | None = None
    split: str = ""
    allow_commands: bool = False


@dataclass(frozen=True)
class Entry:
    """One utterance: the fields of a manifest's line (see `mdasr.corpus.entries`), and the number of its line or row.

    `problem` says why it cannot be used. `kind` says how to read the field `audio`. For a "file", it is a path. For a
    "record", it is the path of an Arrow or Parquet file, a column and a row, separated by colons. For a "command", it
    is a shell command that writes audio.
    """

    line: int
    fields: Mapping[str, object]
    problem: str = ""
    kind: str = "file"


@dataclass(frozen=True)
class Listing:
    """All entries of a source, the folder of their audio, and a digest of the source's files or entries."""

    path: Path
    root: Path
    entries: Sequence[Entry]
    sha256: str


def list_entries(source: Origin, entries: Iterable[Entry]) -> Listing:
    """Make a listing with the digest of its entries, including the texts of their problems."""
    kept, digest = [], hashlib.sha256()
    for entry in entries:
        kept.append(entry)
        digest.update(json.dumps([entry.fields, entry.kind, entry.problem], sort_keys=True).encode())
    folder = source.path if source.path.is_dir() else source.path.parent
    return Listing(source.path, source.root or folder, kept, digest.hexdigest())


def json_objects(content: str) -> Iterator[tuple[int, dict[str, object] | str]]:
    """Yield the number (from 1) of each line that is not blank, with its JSON object or the text of its error."""
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if "\\ud" in line.lower():  # half of a surrogate pair cannot be written to a file
                json.dumps(fields, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            yield number, f"not JSON ({error.msg} at column {error.colno}); write one JSON object a line"
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON that can be used ({error}); write one JSON object a line"
        else:
            good = isinstance(fields, dict)
            yield number, fields if good else 'not a JSON object; write one a line, as {"id": ..., ...}'


def relative(audio: str, root: Path) -> str:
    """Return `audio` relative to `root` if its name lies inside it. Otherwise return it as it is."""
    path, root = Path(audio), root.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else audio
