"""Room configurations (§3.1) as a Parquet table for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mdasr.core.files import replacing
from mdasr.core.requirements import optional
from mdasr.perturb import Room

_BATCH = 10_000  # rooms held in memory at a time


def write_rooms(path: Path, rooms: Iterable[tuple[int, Room]]) -> int:
    """Write (index, room) pairs as the rows of a Parquet file, and return their number.

    `path` is replaced only at the end. The columns are the fields of `Room`, `index`, and `distance_m` (from the talker
    to the microphone). Raises ImportError without pyarrow.
    """
    optional("pyarrow", "mdasr[rooms]")
    import pyarrow
    import pyarrow.parquet

    place = pyarrow.list_(pyarrow.float32(), 3)
    source = pyarrow.struct({"position_m": place, "snippet": pyarrow.string(), "start": pyarrow.float32()})
    schema = pyarrow.schema(
        {
            "index": pyarrow.int64(),
            "size_m": place,
            "rt60_s": pyarrow.float32(),
            "microphone_m": place,
            "target_m": place,
            "distance_m": pyarrow.float32(),
            "sources": pyarrow.list_(source),
            "snr_db": pyarrow.float32(),
            "tail_seed": pyarrow.int64(),
            "tail_cut_db": pyarrow.float32(),
        }
    )
    count = 0
    with replacing(path) as partial, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
        for batch in _batches(rooms):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _batches(rooms: Iterable[tuple[int, Room]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for index, room in rooms:
        batch.append({"index": index, "distance_m": distance_m(room), **asdict(room)})
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def distance_m(room: Room) -> float:
    """The distance from the talker to the microphone in metres."""
    return float(np.linalg.norm(np.subtract(room.target_m, room.microphone_m)))
