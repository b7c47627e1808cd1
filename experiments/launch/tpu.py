"""A TPU pod: gcloud starts the command on every worker, and jax finds the workers in the pod's metadata."""

from __future__ import annotations

import shlex

from experiments.launch.cluster_job import ClusterJob

NEEDS = "gcloud"
PROGRAM = ("bash",)


def render(job: ClusterJob) -> str:
    """Return a shell script; ValueError if zone or directory is not known."""
    job.require("zone", "directory")
    remote = f"cd {shlex.quote(job.directory)} && exec {job.line('--distributed')}"
    pod = f"{shlex.quote(job.name)} --zone={shlex.quote(job.zone)}"
    return f"""#!/bin/bash
set -euo pipefail
workers=$(gcloud compute tpus tpu-vm describe {pod} --format='value(networkEndpoints.len())')
if [ "$workers" != {job.nodes} ]; then
  echo "TPU {job.name} has $workers workers, not {job.nodes}" >&2
  exit 2
fi
exec gcloud compute tpus tpu-vm ssh {pod} --worker=all \\
  --command={shlex.quote(remote)}
"""
