"""The same command on many hosts: a script for a TPU pod, SLURM, Kubernetes or this machine, shown before it runs.

    python -m experiments table6 --scale paper --workdir /nfs/r --launch slurm --nodes 4 --set-up directory=/nfs/mdasr

Each module renders text from a command; nothing but `launch` runs anything. Every host runs the command with
--distributed, or with its place in the job; killed or preempted, the same launch goes on where it was.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence

from experiments.launch import kubernetes, local, slurm, tpu
from experiments.launch.cluster_job import ClusterJob

KINDS = {"tpu": tpu, "slurm": slurm, "kubernetes": kubernetes, "local": local}


def launch(kind: str, job: ClusterJob, go: bool) -> None:
    """Print what would run, and with `go` run it; OSError where there is no such cluster or it refuses."""
    module = KINDS[kind]
    text = module.render(job)
    print(text, end="", flush=True)
    if not go:
        print(f"--launch {kind}: nothing has been started; add --go to start it", file=sys.stderr)
        return
    if not shutil.which(module.NEEDS):
        raise OSError(
            f"--launch {kind}: there is no {module.NEEDS} on this machine, so nothing has been started. Run the "
            "command on one from which the cluster can be reached, or take there what is printed above"
        )
    if status := subprocess.run([*module.PROGRAM], input=text, text=True).returncode:
        raise OSError(f"--launch {kind}: {module.PROGRAM[0]} ended with status {status}")


def without(arguments: Sequence[str], options: dict[str, int]) -> list[str]:
    """`arguments` without the options named, which take so many values each ("--name value" or "--name=value")."""
    kept, skip = [], 0
    for argument in arguments:
        if skip:
            skip -= 1
        elif argument in options:
            skip = options[argument]
        elif argument.split("=", 1)[0] not in options:
            kept.append(argument)
    return kept
