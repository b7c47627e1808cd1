"""Training curves, read from the event files that `train` writes for TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

_HEADER = struct.Struct("<QI")  # length of the event, checksum of the length; the event follows, then its checksum


class Curve(NamedTuple):
    """The values of a quantity, and the number of training steps at each."""

    steps: Int64[np.ndarray, " points"]
    values: Float64[np.ndarray, " points"]


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
