"""Scripts for clusters: complete, printed before they run, and with the command unchanged."""

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from experiments.__main__ import main
from experiments.launch import kubernetes, local, slurm, tpu, without
from experiments.launch.cluster_job import ClusterJob, set_up

COMMAND = ("table6", "--scale", "paper", "--workdir", "/shared/it's here", "--set", "batch=512")
JOB = ClusterJob(
    COMMAND, 4, directory="/home/a b/mdasr", zone="us-central2-b", image="example.org/mdasr:1", claim="runs"
)


def assert_bash(script: str) -> None:
    found = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def stand_ins(folder: Path, programs: str) -> dict[str, str]:
    """Return an environment whose `programs` write down their arguments, one on each line, and stop."""
    for program in programs.split():
        path = folder / program
        path.write_text(
            f'#!/bin/bash\nprintf "%s\\n" {program} "$@" >> {folder}/said\n[ "$4" = describe ] && echo 4\ntrue\n'
        )
        path.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_slurm_starts_one_process_a_node_and_hears_sigterm_in_time(tmp_path):
    job = set_up(COMMAND, 4, [f"directory={tmp_path}", "partition=gpu", "gpus=4"])
    script = slurm.render(job)
    assert_bash(script)
    options = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"nodes=4", "ntasks-per-node=1", "gpus-per-node=4", "partition=gpu", "requeue", "signal=TERM@180"} <= {
        *options
    }
    subprocess.run(["bash"], input=script, text=True, env=stand_ins(tmp_path, "srun"), check=True)
    wanted = [
        "srun",
        "--kill-on-bad-exit=1",
        "--cpus-per-task=16",
        ".venv/bin/python",
        "-m",
        "experiments",
        *COMMAND,
        "--distributed",
    ]
    assert (tmp_path / "said").read_text().splitlines() == wanted


def test_a_tpu_pod_runs_it_on_all_workers_if_there_are_so_many(tmp_path):
    script = tpu.render(JOB)
    assert_bash(script)
    subprocess.run(["bash"], input=script, text=True, env=stand_ins(tmp_path, "gcloud"), check=True)
    said = (tmp_path / "said").read_text().splitlines()
    assert said[-4:-1] == ["mdasr", "--zone=us-central2-b", "--worker=all"]
    there, _, remote = said[-1].removeprefix("--command=").partition(" && exec ")
    assert shlex.split(there) == ["cd", "/home/a b/mdasr"]
    assert shlex.split(remote) == [".venv/bin/python", "-m", "experiments", *COMMAND, "--distributed"]
    fewer = tpu.render(ClusterJob(COMMAND, 2, directory="/x", zone="z"))
    found = subprocess.run(["bash"], input=fewer, env=stand_ins(tmp_path, "gcloud"), capture_output=True, text=True)
    assert found.returncode == 2 and "has 4 workers, not 2" in found.stderr


def test_kubernetes_gets_an_indexed_job_whose_pods_know_their_place():
    manifest = yaml.safe_load(kubernetes.render(JOB))
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = manifest["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["completionMode"], job["backoffLimit"]) == (4, 4, "Indexed", 0)
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    shell, flag, script = container["command"]
    assert (shell, flag) == ("bash", "-c")
    assert shlex.split(script.removeprefix("exec "))[3:] == [
        *COMMAND, "--coordinator", "mdasr-hosts-0-0.mdasr:8476", "--processes", "4",
        "--process", "$JOB_COMPLETION_INDEX",
    ]  # fmt: skip
    assert replicated["name"] == "hosts" and replicated["replicas"] == 1
    assert container["resources"] == {"requests": {"cpu": 16}, "limits": {"nvidia.com/gpu": 8}}
    assert shlex.split(script)[1] == "python", "the container's own"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"shared": "/shared", "memory": "/dev/shm"}
    assert {volume["name"] for volume in pod["volumes"]} == mounted.keys()
    bare = yaml.safe_load(kubernetes.render(ClusterJob(COMMAND, 1, image="i", claim="c", gpus=0)))
    assert "nvidia.com/gpu" not in str(bare)


@pytest.mark.parametrize(("failing", "status"), [("", 0), ("2", 3)])
def test_local_processes_are_numbered_and_stopped_when_one_fails(tmp_path, failing, status):
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/bash\necho "${{@: -1}}" >> {tmp_path}/came\n'
        f'[ "${{@: -1}}" = "{failing}" ] && exit 3\n[ -n "{failing}" ] && exec sleep 100\ntrue\n'
    )
    program.chmod(0o755)
    script = local.render(ClusterJob(COMMAND, 3, python=str(program)))
    assert_bash(script)
    found = subprocess.run(["bash"], input=script, text=True, timeout=60)
    assert found.returncode == status
    assert sorted((tmp_path / "came").read_text().split()) == ["0", "1", "2"]


def test_local_processes_have_the_time_to_save_when_they_are_asked_to_end(tmp_path):
    program, saved = tmp_path / "python", [tmp_path / f"saved-{i}" for i in range(2)]
    program.write_text(
        f"#!/bin/bash\ntrap 'sleep 6; touch {tmp_path}/saved-${{@: -1}}; exit 1' TERM\n"
        f'touch {tmp_path}/came-"${{@: -1}}"\nwhile true; do sleep 0.1; done\n'
    )
    program.chmod(0o755)
    (tmp_path / "script").write_text(local.render(ClusterJob(COMMAND, 2, python=str(program))))
    process = subprocess.Popen(["bash", str(tmp_path / "script")])
    while len([*tmp_path.glob("came-*")]) < 2:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert all(path.exists() for path in saved)


def test_what_is_not_known_is_asked_for():
    with pytest.raises(ValueError, match=r"needs more settings: --set-up zone=\.\.\. --set-up directory=\.\.\."):
        tpu.render(ClusterJob(COMMAND, 1))
    with pytest.raises(ValueError, match="NAME among name, directory, python, gpus"):
        set_up(COMMAND, 1, ["nodes=3"])
    with pytest.raises(ValueError, match="gpus must be a number"):
        set_up(COMMAND, 1, ["gpus=many"])
    with pytest.raises(ValueError, match="--nodes 0"):
        set_up(COMMAND, 0, [])


def test_the_command_is_handed_on_without_what_is_for_the_launch():
    arguments = [
        "table3",
        "--launch",
        "slurm",
        "--seed",
        "3",
        "--nodes=4",
        "--set-up",
        "gpus=1",
        "--go",
        "--set",
        "batch=8",
    ]
    options = {"--launch": 1, "--nodes": 1, "--set-up": 1, "--go": 0}
    assert without(arguments, options) == ["table3", "--seed", "3", "--set", "batch=8"]


def test_a_launch_is_shown_and_one_without_its_cluster_says_so(capsys, monkeypatch, tmp_path):
    arguments = ["table3", "--scale", "paper", "--launch", "slurm", "--nodes", "4", "--set-up", "directory=/mdasr"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "experiments table3 --scale paper --distributed" in shown.out
    assert "nothing has been started; add --go" in shown.err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*arguments, "--go"]) == 2
    refused = capsys.readouterr()
    assert refused.out == shown.out
    assert "there is no sbatch on this machine, so nothing has been started" in refused.err
    assert main(["table3", "--launch", "kubernetes"]) == 2
    assert "--set-up image=... --set-up claim=..." in capsys.readouterr().err
