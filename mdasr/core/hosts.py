"""Several hosts at one job (§3.7): who does what must be done once, and barriers.

Every host runs the same command, on a directory that all of them see. What is made once is made by the primary host
(`once`); what is made together is made by `acoustic.train`.
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

from mdasr.core.rendezvous import meet, place_of
from mdasr.core.requirements import check_jax

check_jax()

Made = TypeVar("Made")

LONGEST_WAIT_S = 7 * 24 * 3600  # for what the primary host makes; a host that dies is noticed within two minutes
_barriers = itertools.count()


def join(chosen: argparse.Namespace) -> None:
    """Become one of several hosts if the command line says so; before anything else asks jax for its devices.

    TimeoutError names the processes that have not come within `wait_s`.
    """
    place = place_of(chosen)
    if place is None:
        return
    meet(place, chosen.wait_s)
    # With its detection jax gives a process of a SLURM job one device; a process here has all those of its host.
    jax.distributed.initialize(*place, initialization_timeout=int(chosen.wait_s), cluster_detection_method="deactivate")


def primary() -> bool:
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait for the other hosts."""
    if wait := multihost.get_barrier_sync_fn():
        wait(key=f"mdasr_{name}_{next(_barriers)}", timeout_ms=LONGEST_WAIT_S * 1000)


@contextmanager
def primary_first(name: str) -> Iterator[None]:
    """The primary host goes through this block first, and the others when it has left it."""
    if not primary():
        barrier(name)
    yield
    if primary():
        barrier(name)


def once(name: str, make: Callable[[], Made], read: Callable[[], Made]) -> Made:
    """What the primary host makes, and the others then read."""
    with primary_first(name):
        return make() if primary() else read()


def agreed(value: np.ndarray) -> np.ndarray:
    """The primary host's value, on all hosts: what they decide by must be the same bits."""
    return np.asarray(multihost_utils.broadcast_one_to_all(value))


@contextmanager
def asked_to_end(steps: int) -> Iterator[Callable[[int], bool]]:
    """Yields what tells, after a step, whether SIGTERM has come; several hosts agree on the step."""
    if jax.process_count() > 1:
        yield lambda done: done < steps and multihost.reached_preemption(done)
        return
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield lambda done: False
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield lambda done: done < steps and came.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
