"""Jobs that processes of their own are given, and therefore import."""

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np


def note(folder: Path, name: str, wanted: tuple[str, ...] = ()) -> None:
    missing = [each for each in wanted if not (folder / each).exists()]
    (folder / name).write_text(" ".join(missing))


def product(path: Path) -> None:
    """A product whose sums XLA shares among its threads, as bytes."""
    import jax.numpy as jnp

    a, b = (np.random.default_rng(seed).normal(size=(512, 512)).astype(np.float32) for seed in (0, 1))
    tall = np.tile(a, (4, 1))
    path.write_text(hashlib.sha256(np.asarray(jnp.asarray(tall).T @ (jnp.asarray(tall) @ b)).tobytes()).hexdigest())


def fail(message: str) -> None:
    raise ValueError(message)


def wait_for_ever(mark: Path) -> None:
    mark.write_text(str(os.getpid()))
    time.sleep(600)


def save_and_end(folder: Path, name: str) -> None:
    """As a training does: at SIGTERM it saves, and raises."""

    def asked(_number, _frame):
        (folder / f"{name}-saved").write_text("x")
        raise InterruptedError(name)

    signal.signal(signal.SIGTERM, asked)
    (folder / f"{name}-began").write_text("1")
    time.sleep(600)
