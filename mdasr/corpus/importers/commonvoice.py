"""Importer of Common Voice: the folder of a language, with clips/ and a table for each split."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from mdasr.core.files import read_text
from mdasr.corpus.entries import OF_AUDIO
from mdasr.corpus.listing import Entry, Listing, Origin, list_entries

_COLUMNS = ("client_id", "path", "sentence")


def read_commonvoice(source: Origin) -> Listing:
    """List the table of `source.split`, such as train.tsv. All its columns can be used to choose (`--where`).

    Raises FileNotFoundError where there is no such table, and ValueError where a column is missing. Raises ValueError,
    which lists the splits, where `source.split` is empty.
    """
    if not source.split:
        splits = ", ".join(sorted(path.stem for path in source.path.glob("*.tsv"))) or "none"
        raise ValueError(f"{source.path}: give a --split; there are {splits}")
    path = source.path / f"{source.split}.tsv"
    content = read_text(path, "table of Common Voice; give the folder of a language, and a --split")
    # These tables have no quoted fields: a quotation mark is part of the sentence.
    table = csv.DictReader(io.StringIO(content, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        missing = set(_COLUMNS) - set(table.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; is this a table of Common Voice?")
        return list_entries(source, _entries(table))
    except csv.Error as error:
        raise ValueError(f"{path}: line {table.line_num}: {error}; is this a table of Common Voice?") from None


def _entries(table: Iterator[Mapping[str | None, str | None]]) -> Iterator[Entry]:
    for line, cells in enumerate(table, start=2):
        fields: dict[str, object] = {name: value for name, value in cells.items() if name}
        if None in cells or None in cells.values():
            yield Entry(line, {}, "more or fewer cells than columns; is a line broken in two?")
            continue
        name = str(cells["path"])
        clip = name if name.endswith(".mp3") else f"{name}.mp3"  # the first releases have no suffix here
        known = {"id": clip.removesuffix(".mp3"), "audio": f"clips/{clip}", "speaker": cells["client_id"]}
        yield Entry(line, fields | known | {"text": cells["sentence"]}, own=OF_AUDIO)
