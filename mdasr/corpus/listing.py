"""What the files of a corpus tell about its utterances, before any of it is checked: the same for every format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Where a corpus lies and in which format (`importers.FORMATS`).

    Audio must lie inside `root`, which is the folder of `path` unless given, and relative paths start there.
    `split` is the part of the corpus to read. Shell commands in the place of files run only where `allow_commands`.
    """

    format: str
    path: Path
    root: Path | None = None
    split: str = ""
    allow_commands: bool = False


@dataclass(frozen=True)
class Entry:
    """One utterance: the fields of a manifest's line (`mdasr.corpus.entries`), and the line or row that tells them.

    `problem` says why it cannot be used. `kind` is what the field `audio` is: the path of a "file"; for a "record" the
    path of an Arrow or Parquet file, a column and a row, parted by colons; a "command" for the shell that writes audio.
    """

    line: int
    fields: Mapping[str, object]
    problem: str = ""
    kind: str = "file"


@dataclass(frozen=True)
class Listing:
    """All entries of a source, the folder that their audio lies in, and a digest of what the files said."""

    path: Path
    root: Path
    entries: Sequence[Entry]
    sha256: str


def list_entries(source: Origin, entries: Iterable[Entry]) -> Listing:
    """A listing whose digest is that of its entries."""
    kept, digest = [], hashlib.sha256()
    for entry in entries:
        kept.append(entry)
        digest.update(json.dumps([entry.fields, entry.kind, entry.problem], sort_keys=True).encode())
    folder = source.path if source.path.is_dir() else source.path.parent
    return Listing(source.path, source.root or folder, kept, digest.hexdigest())


def json_objects(content: str) -> Iterator[tuple[int, dict[str, object] | str]]:
    """The lines that are not blank, numbered from 1: a line's JSON object, or what is wrong with it."""
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if "\\ud" in line.lower():  # half of a pair of surrogates can be written in no file
                json.dumps(fields, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            yield number, f"not JSON ({error.msg} at column {error.colno}); write one JSON object a line"
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON that can be used ({error}); write one JSON object a line"
        else:
            good = isinstance(fields, dict)
            yield number, fields if good else 'not a JSON object; write one a line, as {"id": ..., ...}'


def relative(audio: str, root: Path) -> str:
    """`audio` as seen from `root` where it lies in it by its name, else as it is."""
    path, root = Path(audio), root.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else audio
