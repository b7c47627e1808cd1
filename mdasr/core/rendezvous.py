"""How several hosts meet before one job (§3.7), and how they learn which of them is missing."""

from __future__ import annotations

import argparse
import socket
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import NamedTuple

_GRACE_S = 15.0  # how much longer a process waits for the coordinator's answer


class Place(NamedTuple):
    """One process of a job: number `process` of `processes`. They meet at `coordinator`, "HOST:PORT" of process 0."""

    coordinator: str
    processes: int
    process: int


def place_of(chosen: argparse.Namespace) -> Place | None:
    """Return the place of this process by the command line or the cluster; None if there is only one process.

    With --distributed, the place comes from the TPU pod, SLURM or Kubernetes. Raises ValueError where no cluster is
    found. Raises it, too, where --coordinator, --processes and --process are incomplete or contradict each other.
    """
    given = (chosen.coordinator, chosen.processes, chosen.process)
    if any(option is not None for option in given):
        if None in given:
            raise ValueError("give --coordinator HOST:PORT, --processes N and --process I, all three")
        place = Place(*given)
    elif chosen.distributed:
        place = _detected(chosen.wait_s)
    else:
        return None
    if not 0 <= place.process < place.processes:
        raise ValueError(f"--process {place.process}: must lie between 0 and {place.processes - 1} (--processes - 1)")
    host, colon, port = place.coordinator.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ValueError(f"--coordinator {place.coordinator}: not of the form HOST:PORT")
    return place if place.processes > 1 else None


def _detected(wait_s: float) -> Place:
    # jax's own `initialize` detects clusters, too, but shows nothing, and aborts the process where a host is missing.
    from jax._src.clusters import ClusterEnv

    address, processes, process, _ = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, int(wait_s)
    )
    if address is None or processes is None or process is None:
        raise ValueError(
            "--distributed: there is no TPU pod, SLURM or Kubernetes here (Kubernetes needs the package kubernetes); "
            "start each process with --coordinator HOST:PORT --processes N --process I"
        )
    return Place(address, processes, process)


def meet(place: Place, wait_s: float) -> None:
    """Wait until every process has reached the coordinator. Raises TimeoutError, which names the missing ones."""
    missing = _receive(place, wait_s) if place.process == 0 else _present(place, wait_s)
    if missing:
        raise TimeoutError(
            f"process {missing} of {place.processes} did not reach {place.coordinator} within {wait_s:.0f} s; "
            "find out why it failed, then start all processes again"
        )


def _receive(place: Place, wait_s: float) -> str:
    """The coordinator's part: receive the number of every process, then send to all which are missing ("": none)."""
    deadline, present = time.monotonic() + wait_s, dict[int, socket.socket]()
    with socket.create_server(("", int(place.coordinator.rpartition(":")[2]))) as server:
        while len(present) < place.processes - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                connection, _ = server.accept()
                connection.settimeout(5)
                number = int(connection.makefile().readline() or -1)
            except (TimeoutError, ValueError, ConnectionError):
                continue
            if 0 < number < place.processes:
                if number in present:  # this process was started again
                    present[number].close()
                present[number] = connection
            else:
                connection.close()  # no process of this job
            for gone in [i for i, waiting in present.items() if not _is_open(waiting)]:
                present.pop(gone).close()
        missing = ", ".join(str(i) for i in range(1, place.processes) if i not in present)
        for connection in present.values():
            with connection, suppress(OSError):
                connection.sendall(f"missing {missing}\n".encode())
    return missing


def _is_open(connection: socket.socket) -> bool:
    """Whether the other end of a connection still waits. A process that died since then has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(5)


def _present(place: Place, wait_s: float) -> str:
    """The part of every other process: send its number, and receive the numbers of the missing ones."""
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


def host_options(sub: ArgumentParser) -> None:
    """Add the options of commands that several hosts can run together (`mdasr.core.hosts`)."""
    group = sub.add_argument_group("several hosts", "the same command on each, on directories that all of them see")
    group.add_argument("--distributed", action="store_true", help="find the hosts by the TPU pod, SLURM or Kubernetes")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="without a cluster: the address of process 0")
    group.add_argument("--processes", type=int, metavar="N", help="the number of processes")
    group.add_argument("--process", type=int, metavar="I", help="the number of this process, from 0")
    group.add_argument("--wait-s", type=float, default=300.0, help="how long to wait for the others at the start")
