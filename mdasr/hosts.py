"""Several hosts at one job (§3.7): how they find each other, who does what must be done once, and barriers.

Every host runs the same command, on a directory that all of them see. What is made once is made by the primary host
(`once`); what is made together is made by `acoustic.train`.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

Made = TypeVar("Made")

LONGEST_WAIT_S = 7 * 24 * 3600  # for what the primary host makes; a host that dies is noticed within two minutes
_GRACE_S = 15.0  # how much longer those who have come wait to be told who has not
_barriers = itertools.count()


class Place(NamedTuple):
    """One process of a job: `process` of `processes`, which meet at `coordinator` ("HOST:PORT", of process 0)."""

    coordinator: str
    processes: int
    process: int


def place_of(chosen: argparse.Namespace) -> Place | None:
    """Where the command line, or the cluster, puts this process; None where there is but one.

    With --distributed, a TPU pod, SLURM or Kubernetes are asked. ValueError where no cluster is found, or
    --coordinator, --processes and --process are not all given or contradict each other.
    """
    given = (chosen.coordinator, chosen.processes, chosen.process)
    if any(each is not None for each in given):
        if None in given:
            raise ValueError("give --coordinator HOST:PORT, --processes N and --process I, all three")
        place = Place(*given)
    elif chosen.distributed:
        place = _detected(chosen.wait_s)
    else:
        return None
    if not 0 <= place.process < place.processes:
        raise ValueError(f"--process {place.process}: {place.processes} processes are numbered from 0")
    host, colon, port = place.coordinator.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ValueError(f"--coordinator {place.coordinator}: not of the form HOST:PORT")
    return place if place.processes > 1 else None


def _detected(wait_s: float) -> Place:
    # jax finds them too, but tells nobody, and its `initialize` aborts the process where a host is missing.
    from jax._src.clusters import ClusterEnv

    address, processes, process, _ = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, int(wait_s)
    )
    if address is None or processes is None or process is None:
        raise ValueError(
            "--distributed: neither a TPU pod, nor SLURM, nor Kubernetes (which needs the package kubernetes) is to be "
            "seen here; start each process with --coordinator HOST:PORT --processes N --process I"
        )
    return Place(address, processes, process)


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


def meet(place: Place, wait_s: float) -> None:
    """Wait until every process is at the coordinator; TimeoutError, in all that are, names those that are not."""
    missing = _receive(place, wait_s) if place.process == 0 else _present(place, wait_s)
    if missing:
        raise TimeoutError(
            f"process {missing} of {place.processes} has not come to {place.coordinator} within {wait_s:.0f} s; see "
            "what became of it, and start all of them again"
        )


def _receive(place: Place, wait_s: float) -> str:
    """The coordinator's part: hear every process say its number, then tell all who is missing ("" is nobody)."""
    deadline, come = time.monotonic() + wait_s, dict[int, socket.socket]()
    with socket.create_server(("", int(place.coordinator.rpartition(":")[2]))) as server:
        while len(come) < place.processes - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                connection, _ = server.accept()
                connection.settimeout(5)
                number = int(connection.makefile().readline() or -1)
            except (TimeoutError, ValueError, ConnectionError):
                continue
            if 0 < number < place.processes:
                if number in come:  # and was started again since
                    come[number].close()
                come[number] = connection
            else:
                connection.close()  # a stranger
        missing = ", ".join(str(i) for i in range(1, place.processes) if i not in come)
        for connection in come.values():
            with connection, suppress(OSError):
                connection.sendall(f"missing {missing}\n".encode())
    return missing


def _present(place: Place, wait_s: float) -> str:
    """The others' part: say one's number, and hear who is missing."""
    deadline, (host, _, port) = time.monotonic() + wait_s, place.coordinator.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, int(port)), timeout=left) as connection:
                connection.sendall(f"{place.process}\n".encode())
                connection.settimeout(wait_s + _GRACE_S)
                answer = connection.makefile().readline().split(maxsplit=1)
                if answer[:1] == ["missing"]:
                    return answer[1].strip() if len(answer) > 1 else ""
        except OSError:
            pass
        time.sleep(0.2)
    return "0"


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
