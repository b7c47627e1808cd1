"""Importer of Hugging Face data sets on disk: Arrow streams of `save_to_disk`, or Parquet files (needs pyarrow)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdasr.core.files import read_json
from mdasr.corpus.columns import batches, require_pyarrow, table_schema
from mdasr.corpus.entries import OF_AUDIO
from mdasr.corpus.listing import Entry, Listing, Origin, list_entries

# The hub's own Parquet files are [config]/[split]/0000.parquet; data sets have train-00000-of-00002.parquet and others.
_LAYOUTS = ("*.parquet", "data/*.parquet", "*/*.parquet", "*/*/[0-9]*.parquet")


def read_huggingface(source: Origin) -> Listing:
    """List a `Dataset` or a split of a `DatasetDict` on disk, or the Parquet files of a split in a folder.

    The audio is the column with bytes and path, or else the column `audio` with a path. All plain columns are fields.
    But a column such as `channel` or `start_s` counts only where `--field` names it. It may be about a longer recording
    that the audio was cut from. An entry without `id` is named by split and row, and an entry without `speaker` gets a
    speaker of its own. Raises FileNotFoundError, ImportError without pyarrow, and ValueError for a missing split or
    tables without audio.
    """
    require_pyarrow()
    files = _arrow_files(source) or _parquet_files(source)
    return list_entries(source, _entries(source, files))


def _entries(source: Origin, files: list[Path]) -> Iterator[Entry]:
    line = 0
    root, folder = (source.root or source.path).resolve(), source.path.resolve()
    for file in files:
        column, plain, embedded = _columns(file)
        place, row = Path(os.path.relpath(folder / file.relative_to(source.path), root)).as_posix(), 0
        for rows in batches(file, [*plain, *([] if embedded else [column])]):
            for fields in rows:
                name = f"{source.split or source.path.name}-{line:08d}"
                speaker = name if fields.get("speaker") in (None, "") else fields["speaker"]
                known = fields | {"speaker": speaker, "id": name if fields.get("id") is None else str(fields["id"])}
                known["audio"] = f"{place}:{column}:{row}" if embedded else fields[column]
                line, row = line + 1, row + 1
                yield Entry(line, known, kind="record" if embedded else "file", own=OF_AUDIO)


def _columns(file: Path) -> tuple[str, list[str], bool]:
    """Return the audio's column, the columns with plain values, and whether the audio itself is in its column."""
    import pyarrow.types as types

    fields: Any = table_schema(file)
    simple = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    plain = [f.name for f in fields if any(is_of(f.type) for is_of in simple)]
    structs = [f for f in fields if types.is_struct(f.type)]
    held = [f.name for f in structs if {"bytes", "path"} <= {f.type.field(i).name for i in range(f.type.num_fields)}]
    if len(held) == 1:
        return held[0], plain, True
    if not held and "audio" in plain:
        return "audio", [name for name in plain if name != "audio"], False
    raise ValueError(
        f"{file}: {len(held)} columns hold audio ({', '.join(held) or 'columns: ' + ', '.join(fields.names)}); keep one"
    )


def _arrow_files(source: Origin) -> list[Path]:
    """The Arrow streams that state.json names. There are none where `save_to_disk` did not write the folder."""
    folder = source.path
    splits = folder / "dataset_dict.json"
    if splits.exists():
        names = read_json(splits, "description of a Hugging Face data set").get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{splits}: field splits: must be names, not {names!r}; save the data set again")
        if source.split not in names:
            raise ValueError(f"{folder}: no split {source.split!r}; give a --split: {', '.join(names)}")
        folder = folder / source.split
    state = folder / "state.json"
    if not state.exists():
        return []
    facts = read_json(state, "state of a Hugging Face data set")
    if source.split and folder == source.path and source.split != facts.get("_split"):
        raise ValueError(f"{folder}: this is the split {facts.get('_split')!r}, not {source.split!r}")
    if facts.get("_indices_data_files"):
        raise ValueError(f"{folder}: saved with an indices mapping; save it again after flatten_indices()")
    try:
        return [_inside(folder, part["filename"]) for part in facts["_data_files"]]
    except (KeyError, TypeError, UnicodeError):
        raise ValueError(f"{state}: field _data_files has no file names; save the data set again") from None


def _inside(folder: Path, name: str) -> Path:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder / 'state.json'}: {name!r} is outside the folder; save the data set again")
    return folder / name


def _parquet_files(source: Origin) -> list[Path]:
    """The Parquet files of a split, in order: those of the first of `_LAYOUTS` that the folder has."""
    files = next((files for layout in _LAYOUTS if (files := sorted(source.path.glob(layout)))), [])
    if not files:
        raise FileNotFoundError(
            f"{source.path}: no dataset_dict.json, state.json or Parquet files here; give the folder of a data set"
        )
    splits = defaultdict(list)
    for file in files:
        splits[_split(file.relative_to(source.path), source.path.resolve().name)].append(file)
    chosen = [name for name in splits if not source.split or source.split in (name, name.rpartition("/")[2])]
    if len(chosen) != 1:
        count = len(chosen) if source.split else 0
        problem = f"{count} splits are called {source.split!r}" if count else f"no split {source.split!r}"
        raise ValueError(f"{source.path}: {problem}; give a --split: {', '.join(splits)}")
    return splits[chosen[0]]


def _split(file: Path, folder: str) -> str:
    """The split of a Parquet file: [CONFIG/]SPLIT. Files with numbers for names are parts of their folder's split."""
    above = [name for name in file.parts[:-1] if name != "data"]
    if not file.stem.isdigit():
        return "/".join([*above, file.stem.split("-")[0]])
    return "/".join(above) or folder
