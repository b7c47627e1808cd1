"""Reading of Arrow streams and Parquet files with pyarrow: plain columns in batches, and the audio of one row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mdasr.core.files import existing
from mdasr.core.requirements import optional

_FORMATS = {".arrow": "Arrow stream", ".parquet": "Parquet file"}


def require_pyarrow() -> None:
    """Raise ImportError, which says what to install, where pyarrow is missing."""
    optional("pyarrow", "mdasr[huggingface]")


def table_schema(path: Path) -> Any:
    """The table's `pyarrow.Schema`. Raises ValueError where the file is not a table."""
    return _stream(path).schema if path.suffix == ".arrow" else _parquet(path).schema_arrow


def batches(path: Path, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield some columns of a table as lists of rows, in order. Raises ValueError where they are damaged."""
    with _explained(path):
        if path.suffix == ".arrow":
            record_batches = _stream(path).select(columns).to_batches()
        else:
            record_batches = _parquet(path).iter_batches(columns=columns)
        for batch in record_batches:
            batch.validate(full=True)  # damaged offsets could point anywhere in memory
            yield batch.to_pylist()


def audio_bytes(path: Path, column: str, row: int) -> bytes:
    """Read the field `bytes` of a struct column in one row. Raises ValueError where it is null."""
    with _explained(path):
        if path.suffix == ".arrow":
            cell = _stream_column(path, column)[row]
        else:
            file, group, within = _parquet(path), 0, row
            while within >= file.metadata.row_group(group).num_rows:
                within, group = within - file.metadata.row_group(group).num_rows, group + 1
            cell = _group_column(path, group, column)[within]
        content = cell["bytes"].as_py() if cell.is_valid else None
    if content is None:
        raise ValueError(f"{path}: row {row} holds no audio, at most a path; save the data set with its audio files")
    return content


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # a damaged file can make pyarrow raise anything
        if str(path) in str(error):
            raise
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path}: not a valid {_FORMATS[path.suffix]} ({why}); copy it again") from None


@lru_cache(maxsize=2)
def _stream(path: Path) -> Any:
    """The whole table, mapped to memory but not read."""
    require_pyarrow()
    import pyarrow

    with _explained(path):
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(existing(path, "Arrow stream")))).read_all()


@lru_cache(maxsize=2)
def _parquet(path: Path) -> Any:
    require_pyarrow()
    import pyarrow.parquet

    with _explained(path):
        return pyarrow.parquet.ParquetFile(existing(path, "Parquet file"))


@lru_cache(maxsize=2)
def _stream_column(path: Path, column: str) -> Any:
    chunks = _stream(path).column(column)
    chunks.validate(full=True)
    return chunks


@lru_cache(maxsize=1)
def _group_column(path: Path, group: int, column: str) -> Any:
    chunks = _parquet(path).read_row_group(group, columns=[column]).column(column)
    chunks.validate(full=True)
    return chunks
