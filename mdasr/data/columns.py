"""Tables of Arrow streams and Parquet files, read by pyarrow: plain columns in batches, and the audio of one row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any


def require() -> None:
    """Raise ImportError, which says what to install, where there is no pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError("tables of Arrow and Parquet need pyarrow: pip install pyarrow") from None


def schema(path: Path) -> Any:
    """The table's `pyarrow.Schema`; ValueError where the file is no table."""
    return _stream(path).schema if path.suffix == ".arrow" else _parquet(path).schema_arrow


def batches(path: Path, columns: list[str]) -> Iterator[Any]:
    """Some columns of a table as `pyarrow.RecordBatch`es, in order."""
    if path.suffix == ".arrow":
        yield from _stream(path).select(columns).to_batches()
    else:
        yield from _parquet(path).iter_batches(columns=columns)


def audio_bytes(path: Path, column: str, row: int) -> bytes:
    """The field `bytes` of a struct column in one row; ValueError where it is null."""
    if path.suffix == ".arrow":
        cell = _stream(path).column(column)[row]
    else:
        file, group = _parquet(path), 0
        while row >= file.metadata.row_group(group).num_rows:
            row, group = row - file.metadata.row_group(group).num_rows, group + 1
        cell = _row_group(path, group, column).column(column)[row]
    content = cell["bytes"].as_py() if cell.is_valid else None
    if content is None:
        raise ValueError(f"{path}: row {row} has no audio in it, at most a path; save the data set with its files")
    return content


@lru_cache(maxsize=2)
def _stream(path: Path) -> Any:
    """The whole table, mapped to memory and not read."""
    import pyarrow

    require()
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: no Arrow stream, or damaged ({error}); copy it again") from None


@lru_cache(maxsize=2)
def _parquet(path: Path) -> Any:
    import pyarrow.parquet

    require()
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: no Parquet file, or damaged ({error}); copy it again") from None


@lru_cache(maxsize=1)
def _row_group(path: Path, group: int, column: str) -> Any:
    return _parquet(path).read_row_group(group, columns=[column])
