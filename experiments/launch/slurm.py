"""SLURM: one process for each node; SIGTERM before the end of the time, or at preemption, saves the training."""

from __future__ import annotations

import shlex

from experiments.launch.cluster_job import ClusterJob

NEEDS = "sbatch"
PROGRAM = ("sbatch",)


def render(job: ClusterJob) -> str:
    """Return a batch script; ValueError if the directory is not known."""
    job.require("directory")
    options = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": job.cpus,
        "time": f"{job.hours}:00:00",
        "signal": "TERM@180",
        "output": f"{job.name}-%j.log",
        "open-mode": "append",
    }
    options |= {"gpus-per-node": job.gpus} if job.gpus else {}
    options |= {"partition": job.partition} if job.partition else {}
    lines = "".join(f"#SBATCH --{name}={value}\n" for name, value in options.items())
    return f"""#!/bin/bash
{lines}#SBATCH --requeue
set -euo pipefail
cd {shlex.quote(job.directory)}
exec srun --kill-on-bad-exit=1 --cpus-per-task={job.cpus} {job.line("--distributed")}
"""
