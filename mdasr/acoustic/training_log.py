"""Training curves: the event files that `train` writes for TensorBoard, and reads again."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

_HEADER = struct.Struct("<QI")  # length of the event, checksum of the length; the event follows, then its checksum


class Curve(NamedTuple):
    """The values of a quantity, and the number of training steps at each."""

    steps: Int64[np.ndarray, " points"]
    values: Float64[np.ndarray, " points"]


class CurveWriter:
    """The writer of an event file in a folder, as a context; without a folder it writes nothing.

    Every value is on the disk at once. So a full disk is an OSError where it happens, which names the folder.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def __enter__(self) -> CurveWriter:
        if self._directory:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._directory / "events"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory:
            with contextlib.suppress(OSError):  # of what could not be written before
                self._events.close()

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Write the value of a quantity at a training step."""
        if not self._directory:
            return
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        try:
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            self._events.flush()
        except OSError as error:
            error.filename = str(self._directory)
            raise


def read_curves(directory: Path) -> dict[str, Curve]:
    """Read all scalars in a folder of event files, by tag; empty where the folder has none.

    Where a training was killed and went on from a checkpoint, the later file counts. Raises ValueError naming a file
    that is damaged.
    """
    points: dict[str, dict[int, float]] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):  # the name contains the time of the start
        for event in _events(path):
            for value in event.summary.value:
                points.setdefault(value.tag, {})[event.step] = value.simple_value
    return {
        tag: Curve(np.array(sorted(values), np.int64), np.array([values[step] for step in sorted(values)], np.float64))
        for tag, values in points.items()
    }


def _events(path: Path) -> Iterator[Event]:
    """The events of a file of TFRecords, without an event at the end that a killed training has cut short.

    Source: TensorFlow's record_writer.h, which gives the format of records.
    """
    content, at = path.read_bytes(), 0
    while len(content) - at >= _HEADER.size:
        length, checksum = _HEADER.unpack_from(content, at)
        start, end = at + _HEADER.size, at + _HEADER.size + length
        whole = checksum == masked_crc32c(content[at : at + 8])
        if whole and end + 4 > len(content):
            return
        if not whole or content[end : end + 4] != struct.pack("<I", masked_crc32c(content[start:end])):
            raise ValueError(f"{path}: damaged after byte {at}; delete it to read the curves without this part")
        yield Event.FromString(content[start:end])
        at = end + 4
