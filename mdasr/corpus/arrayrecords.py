"""Shards in ArrayRecord's format (§3.7), written under a temporary name, and read as one sequence of records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from mdasr.core.files import replacing

Decoded = TypeVar("Decoded")


def shard_path(directory: Path, kind: str, index: int, count: int) -> Path:
    return directory / f"{kind}-{index:05d}-of-{count:05d}.array_record"


def write_shard(path: Path, records: Iterable[bytes]) -> int:
    """Write one shard, which gets its name only when it is complete. Return the number of records.

    Raises OSError where it cannot be written, as on a full disk.
    """

    def told(call: Callable[..., object], *arguments: bytes) -> None:
        try:
            call(*arguments)
        except RuntimeError as error:  # of the writer, which has no other
            raise OSError(f"{path} could not be written ({str(error).partition(';')[0]})") from None

    count = 0
    with replacing(path) as partial:
        # With groups of one record, random access reads only what it needs (16 was 8 times slower).
        writer = ArrayRecordWriter(str(partial), "group_size:1")
        try:
            for record in records:
                told(writer.write, record)
                count += 1
        finally:
            told(writer.close)
    return count


class Shards:
    """The records of several shards as one sequence. Raises ValueError, which names a damaged shard.

    `count` is the expected number of records, if it is known.
    """

    def __init__(self, paths: Sequence[Path], count: int | None = None):
        self._paths = [str(path) for path in paths]
        try:
            self._source = ArrayRecordDataSource(self._paths)
        except (RuntimeError, ValueError) as error:
            raise self._damaged(error) from None
        if count not in (None, len(self._source)):
            raise ValueError(
                f"{', '.join(self._paths[:3])}: {len(self._source)} records, but there should be {count}; copy the "
                "corpus again, or import again"
            )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> bytes:
        return self.decoded(index, bytes)

    def decoded(self, index: int, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Decode one record. Raises IndexError for an index outside the sequence."""
        if not 0 <= index < len(self._source):
            raise IndexError(f"there is no record {index}; the shards have {len(self._source)}")
        try:
            return decode(self._source[index])
        except (RuntimeError, ValueError) as error:
            raise self._damaged(error, index) from None

    def _damaged(self, error: Exception, index: int | None = None) -> ValueError:
        """The error that names the damaged shard: that of a record, or the first one that cannot be opened."""
        for path in self._paths:
            try:
                size = len(ArrayRecordDataSource([path]))
            except (RuntimeError, ValueError):
                break
            if index is not None and index < size:
                path = f"{path}: record {index}"
                break
            index = None if index is None else index - size
        why = str(error).partition(";")[0][:200]
        return ValueError(f"{path}: damaged ({why}); copy the corpus again, or import again")
