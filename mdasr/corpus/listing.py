"""Listings of the utterances of a corpus: unchecked, and in the same form for every format."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """The place of a corpus and its format (`importers.FORMATS`).

    Audio must be inside `root`; by default it is the folder of `path`. Relative paths start in one of the two (see
    `located`). `split` is the part of the corpus to read. Shell commands in place of files run only with
    `allow_commands`.
    """

    format: str
    path: Path
    root: Path | None = None
    split: str = ""
    allow_commands: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the corpus' own files."""
        return self.path if self.path.is_dir() else self.path.parent


@dataclass(frozen=True)
class Entry:
    """One utterance: the fields of a manifest's line (see `mdasr.corpus.entries`), and the number of its line or row.

    `problem` says why it cannot be used. `kind` says how to read the field `audio`. For a "file", it is a path. For a
    "record", it is the path of an Arrow or Parquet file, a column and a row, separated by colons. For a "command", it
    is a shell command that writes audio. `own` names fields that mean something else in this format than in ours: they
    can choose entries, but only `--field` makes them ours.
    """

    line: int
    fields: Mapping[str, object]
    problem: str = ""
    kind: str = "file"
    own: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Listing:
    """All entries of a source, the folder of their audio, and a digest of the source's files or entries.

    `folder` is that of the source's own files.
    """

    path: Path
    root: Path
    folder: Path
    entries: Sequence[Entry]
    sha256: str


def list_entries(source: Origin, entries: Iterable[Entry]) -> Listing:
    """Make a listing with the digest of its entries, including the texts of their problems."""
    kept, digest = [], hashlib.sha256()
    for entry in entries:
        kept.append(entry)
        own = sorted(entry.own & entry.fields.keys())
        facts = [entry.fields, entry.kind, entry.problem, *([own] if own else [])]
        digest.update(json.dumps(facts, sort_keys=True).encode())
    return Listing(source.path, source.root or source.folder, source.folder, kept, digest.hexdigest())


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


def located(audio: str, root: Path, folder: Path) -> str:
    """The path of a recording relative to `root`, inside which it must lie, with links followed.

    A relative path starts in `root` or in the source's `folder`: where a file is. Raises ValueError for a path outside
    `root`, since a manifest may come from a stranger. Raises it, too, where both places have a file.
    """
    if "\0" in audio:
        raise ValueError(f"field audio: {audio!r} is not a path; there is a null character in it")
    whole = root.resolve()
    paths = (audio,) if folder == root else (os.path.relpath(folder.resolve() / audio, whole), audio)
    targets = {(root / path).resolve(): path for path in paths}
    # Unlike Path.exists, os.path.exists never raises OSError, as for a name that is too long.
    existing = {target: path for target, path in targets.items() if os.path.exists(target)}  # noqa: PTH110
    inside = [path for target, path in (existing or targets).items() if target.is_relative_to(whole)]
    if not inside:
        raise ValueError(
            f"field audio: {audio!r} is outside the manifest's folder; move it there, or give a folder that holds "
            "both: --root DIR"
        )
    if existing and len(inside) > 1:
        raise ValueError(
            f"field audio: {audio!r} is one file in --root DIR and another one in the manifest's folder; write a path "
            "that only one of them has"
        )
    return inside[-1]
