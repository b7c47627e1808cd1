"""This machine: one process for each node; if one process fails, the others are stopped."""

from __future__ import annotations

import shlex

from experiments.launch.cluster_job import ClusterJob

NEEDS = "bash"
PROGRAM = ("bash",)


def render(job: ClusterJob) -> str:
    """Return a shell script; all processes see the same devices, so set CUDA_VISIBLE_DEVICES first on a GPU machine."""
    go_there = f"cd {shlex.quote(job.directory)}\n" if job.directory else ""
    place = job.line("--coordinator", f"localhost:{job.port}", "--processes", str(job.nodes), "--process")
    return f"""#!/bin/bash
{go_there}processes=()
for process in $(seq 0 {job.nodes - 1}); do
  {place} "$process" &
  processes+=($!)
done
trap 'kill -TERM "${{processes[@]}}" 2>/dev/null; wait; exit 143' TERM INT  # wait until each has saved
for _ in "${{processes[@]}}"; do
  wait -n
  status=$?
  if [ "$status" != 0 ]; then
    sleep 5  # so that the others can end in order
    kill -KILL "${{processes[@]}}" 2>/dev/null
    exit "$status"
  fi
done
"""
