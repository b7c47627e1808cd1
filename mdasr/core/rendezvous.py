"""How several hosts find each other before one job (§3.7), and who of them is missing."""

from __future__ import annotations

import argparse
import socket
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import NamedTuple

_GRACE_S = 15.0  # how much longer those who have come wait to be told who has not


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


def host_options(sub: ArgumentParser) -> None:
    """For commands that several hosts may carry out together (`mdasr.core.hosts`)."""
    group = sub.add_argument_group("several hosts", "the same command on each, on directories that all of them see")
    group.add_argument("--distributed", action="store_true", help="ask the TPU pod, SLURM or Kubernetes who takes part")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="without such: where process 0 is to be found")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which this is, from 0")
    group.add_argument("--wait-s", type=float, default=300.0, help="how long to wait for the others at the start")
