"""Several hosts at one job (§3.7): the work of the primary host, and barriers.

Every host runs the same command, on a directory that all of them see. The primary host makes everything that must be
made once (`once`). All hosts together do the training in `acoustic.train`.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from mdasr.core.processes import keep_freed_memory
from mdasr.core.rendezvous import meet, place_of
from mdasr.core.requirements import check_jax

check_jax()

Made = TypeVar("Made")

LONGEST_WAIT_S = 7 * 24 * 3600  # for the work of the primary host; a host that dies is noticed within two minutes
_barriers = itertools.count()


def join(chosen: argparse.Namespace) -> None:
    """Become one of several hosts if the command line says so. Call this before anything asks jax for its devices.

    From here on, this process keeps the memory that it frees (`keep_freed_memory`).
    Raises TimeoutError, which names the processes that did not arrive within `wait_s`.
    """
    keep_freed_memory()
    place = place_of(chosen)
    if place is None:
        return
    meet(place, chosen.wait_s)
    # jax's own detection gives each process of a SLURM job one device; here a process uses all devices of its host.
    jax.distributed.initialize(*place, initialization_timeout=int(chosen.wait_s), cluster_detection_method="deactivate")


def primary() -> bool:
    """Whether this process is the primary host (number 0)."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait for the other hosts."""
    if wait := multihost.get_barrier_sync_fn():
        wait(key=f"mdasr_{name}_{next(_barriers)}", timeout_ms=LONGEST_WAIT_S * 1000)


@contextmanager
def primary_first(name: str) -> Iterator[None]:
    """Let the primary host run this block first; the other hosts wait until it has finished."""
    if not primary():
        barrier(name)
    yield
    if primary():
        barrier(name)


def once(name: str, make: Callable[[], Made], read: Callable[[], Made]) -> Made:
    """Return a value that the primary host makes with `make`; the other hosts then `read` it."""
    with primary_first(name):
        return make() if primary() else read()


def agreed(value: np.ndarray) -> np.ndarray:
    """Return the primary host's value on all hosts, so that they decide by exactly the same bits."""
    return np.asarray(multihost_utils.broadcast_one_to_all(value))


@contextmanager
def asked_to_end(steps: int) -> Iterator[Callable[[int], bool]]:
    """Yield a function that says after a step whether SIGTERM has arrived. Several hosts agree on the step."""
    if jax.process_count() > 1:
        yield lambda done: done < steps and multihost.reached_preemption(done)
        return
    arrived = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda done: False
        return
    before = signal.signal(signal.SIGTERM, lambda *_: arrived.set())
    try:
        yield lambda done: done < steps and arrived.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
