"""What a launch needs to know of the job and of the cluster."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClusterJob:
    """`command` on `nodes` hosts; the rest is the cluster's, and an empty text is a thing not known.

    `directory` is the checkout on every host, `python` the interpreter there (that of `make env`; in a container the
    image's own); the working directory must lie on a file system that all hosts share. `gpus` and `cpus` are a host's.
    `name` is the TPU's, or that of the job.
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
    mount: str = "/shared"  # Kubernetes: where it is to be found

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"--nodes {self.nodes}: give 1 or more")

    def require(self, *names: str) -> None:
        """ValueError naming the settings that are empty."""
        if missing := [name for name in names if not getattr(self, name)]:
            raise ValueError(f"this launch needs to be told: {' '.join(f'--set-up {name}=...' for name in missing)}")

    def line(self, *more: str, python: str = ".venv/bin/python") -> str:
        """The command as a shell takes it, run by `python` unless the job has another."""
        return shlex.join([self.python or python, "-m", "experiments", *self.command, *more])


def set_up(command: Sequence[str], nodes: int, settings: Iterable[str]) -> ClusterJob:
    """A job with settings such as "partition=gpu"; ValueError naming what there is to set."""
    fields = {field.name: field for field in dataclasses.fields(ClusterJob) if field.name not in ("command", "nodes")}
    chosen: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in fields or not text:
            raise ValueError(f"--set-up {setting}: not of the form NAME=VALUE with a NAME among {', '.join(fields)}")
        number = isinstance(fields[name].default, int)
        if number and not text.isdigit():
            raise ValueError(f"--set-up {setting}: {name} wants a number")
        chosen[name] = int(text) if number else text
    return ClusterJob(tuple(command), nodes, **chosen)
