"""Kubernetes: a JobSet with one pod for each node; if one pod fails, all start again."""

from __future__ import annotations

import json

from experiments.launch.cluster_job import ClusterJob

NEEDS = "kubectl"
PROGRAM = ("kubectl", "apply", "-f", "-")


def render(job: ClusterJob) -> str:
    """Return a manifest in YAML; ValueError if image or claim is not known.

    The pods find each other by the JobSet's host names, so they need no access rights to the cluster. The manifest
    makes /dev/shm larger than the usual 64 MB, because the loader's processes pass batches through it.
    """
    job.require("image", "claim")
    coordinator = f"{job.name}-hosts-0-0.{job.name}:{job.port}"
    place = job.line("--coordinator", coordinator, "--processes", str(job.nodes), "--process", python="python")
    command = json.dumps(["bash", "-c", f'exec {place} "$JOB_COMPLETION_INDEX"'])
    limits = json.dumps({"nvidia.com/gpu": job.gpus} if job.gpus else {})
    return f"""apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {job.name}
spec:
  failurePolicy:
    maxRestarts: 100
  replicatedJobs:
    - name: hosts
      replicas: 1
      template:
        spec:
          parallelism: {job.nodes}
          completions: {job.nodes}
          completionMode: Indexed
          backoffLimit: 0
          activeDeadlineSeconds: {job.hours * 3600}
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 180
              containers:
                - name: mdasr
                  image: {json.dumps(job.image)}
                  command: {command}
                  workingDir: {json.dumps(job.directory or job.mount)}
                  ports:
                    - containerPort: {job.port}
                  resources:
                    requests:
                      cpu: {job.cpus}
                    limits: {limits}
                  volumeMounts:
                    - name: shared
                      mountPath: {json.dumps(job.mount)}
                    - name: memory
                      mountPath: /dev/shm
              volumes:
                - name: memory
                  emptyDir:
                    medium: Memory
                - name: shared
                  persistentVolumeClaim:
                    claimName: {json.dumps(job.claim)}
"""
