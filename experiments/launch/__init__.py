"""Scripts that run an experiment on many hosts: a TPU pod, SLURM, Kubernetes or this machine.

    python -m experiments table6 --scale paper --workdir /nfs/r --launch slurm --nodes 4 --set-up directory=/nfs/mdasr

Each module turns a command into the text of a script; only `launch` runs anything. Every host runs the command with
--distributed, or with its number in the job. If the job is killed or preempted, the same launch continues it.
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
    """Print the script, and run it if `go` is set; OSError if the cluster's program is missing or fails."""
    module = KINDS[kind]
    text = module.render(job)
    print(text, end="", flush=True)
    if not go:
        print(f"--launch {kind}: nothing has been started; add --go to start it", file=sys.stderr)
        return
    if not shutil.which(module.NEEDS):
        raise OSError(
            f"--launch {kind}: there is no {module.NEEDS} on this machine, so nothing has been started. Run the "
            "command on a machine that can reach the cluster, or copy the script above to one"
        )
    if status := subprocess.run([*module.PROGRAM], input=text, text=True).returncode:
        raise OSError(f"--launch {kind}: {module.PROGRAM[0]} ended with status {status}")


def without(arguments: Sequence[str], options: dict[str, int]) -> list[str]:
    """Return `arguments` without some options ("--name value" or "--name=value").

    `options` maps each option's name to the number of its values.
    """
    kept, skip = [], 0
    for argument in arguments:
        if skip:
            skip -= 1
        elif argument in options:
            skip = options[argument]
        elif argument.split("=", 1)[0] not in options:
            kept.append(argument)
    return kept
