"""The settings of a launch: the job and the cluster."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClusterJob:
    """A `command` to run on `nodes` hosts, and the properties of the cluster; an empty text means "not known".

    `directory` is the checkout on every host. `python` is the interpreter there: by default that of `make env`, or the
    image's own in a container. The working directory must lie on a file system that all hosts share. `gpus` and `cpus`
    are numbers for each host. `name` is the name of the TPU or of the job.
    """

    command: tuple[str, ...]
    nodes: int
    name: str = "mdasr"
    directory: str = ""
    python: str = ""
    gpus: int = 8
    cpus: int = 16
    hours: int = 48
    port: int = 8476
    partition: str = ""  # SLURM
    zone: str = ""  # TPU
    image: str = ""  # Kubernetes: the container, with mdasr in it
    claim: str = ""  # Kubernetes: the volume claim that holds the working directory
    mount: str = "/shared"  # Kubernetes: the path of that volume in the container

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"--nodes {self.nodes}: give 1 or more")

    def require(self, *names: str) -> None:
        """Raise ValueError that names the settings that are empty."""
        if missing := [name for name in names if not getattr(self, name)]:
            raise ValueError(f"this launch needs more settings: {' '.join(f'--set-up {name}=...' for name in missing)}")

    def line(self, *more: str, python: str = ".venv/bin/python") -> str:
        """Return the command as a line for a shell; `python` runs it unless the job names another interpreter."""
        return shlex.join([self.python or python, "-m", "experiments", *self.command, *more])


def set_up(command: Sequence[str], nodes: int, settings: Iterable[str]) -> ClusterJob:
    """Return a job with settings such as "partition=gpu"; ValueError lists the settings that exist."""
    fields = {field.name: field for field in dataclasses.fields(ClusterJob) if field.name not in ("command", "nodes")}
    chosen: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in fields or not text:
            raise ValueError(f"--set-up {setting}: not of the form NAME=VALUE with a NAME among {', '.join(fields)}")
        number = isinstance(fields[name].default, int)
        if number and not text.isdigit():
            raise ValueError(f"--set-up {setting}: {name} must be a number")
        chosen[name] = int(text) if number else text
    return ClusterJob(tuple(command), nodes, **chosen)
