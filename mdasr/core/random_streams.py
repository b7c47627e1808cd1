"""Random streams named by a key. They make a draw independent of workers, devices and every other draw."""

from __future__ import annotations

import hashlib

import numpy as np


def random_stream(*key: str | int | np.integer) -> np.random.Generator:
    """Return a generator that depends on `key` alone: the same in every process and on every machine.

    The hash of the key (BLAKE2b, 128 bits) is the key of a counter-based generator (Philox). So streams of different
    keys are independent, and no stream has to be stored.
    """
    # int() so that numpy's integers name the same stream as Python's.
    text = repr([part if isinstance(part, str) else int(part) for part in key])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
