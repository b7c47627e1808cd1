"""Encoders (§3.5): from frames of features to a vector at every output step. Each has a file, and a line here."""

from __future__ import annotations

from typing import Any

from mdasr.acoustic.encoders.interface import Encoder
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.encoders.tdnn import TDNN
from mdasr.core import schema

ENCODERS: dict[str, type[Any]] = {"lstm": LSTM, "tdnn": TDNN}


def read_encoder(value: Any, where: str) -> Encoder:
    """Read an encoder's configuration from parsed JSON, as `dataclasses.asdict` writes it.

    Raises ValueError as `schema.choose` does.
    """
    return schema.choose(ENCODERS, value, where)
