"""Several processes in one job: they find each other, train as one would, and continue after some are killed."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from mdasr.acoustic.loader import Batches, Share
from mdasr.acoustic.row_schedule import RowOptions
from mdasr.core import hosts
from mdasr.core.rendezvous import Place, host_options, meet, place_of
from mdasr.model.directory import Recognizer
from tests.signs_training import arrays
from tests.tasks import SignsRowMaker
from tests.toy_speech import LEXICON, toy_corpus

BEGIN = """
import argparse, sys, time
from pathlib import Path
from mdasr.core import hosts
from mdasr.core.rendezvous import host_options
parser = argparse.ArgumentParser()
for name in ("directory", "result"):
    parser.add_argument(name, type=Path)
host_options(parser)
chosen = parser.parse_args()
hosts.join(chosen)
import jax, numpy as np
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig
from mdasr.acoustic.train import TrainOptions, train
from tests.tasks import SignsRowMaker
config, options = ModelConfig(LSTM((16,)), 4, dropout=0.1), TrainOptions(40, 8, 1e-2, checkpoint_every=10)
"""
SCRIPT = f"""{BEGIN}
trained = train(config, options, SignsRowMaker(), chosen.directory, workers=0)
if hosts.primary():
    np.savez(chosen.result, allow_pickle=False, *jax.tree.leaves(trained.params))
"""
# The same rows, so slowly that a signal comes before the last step.
UNHURRIED = SCRIPT.replace("SignsRowMaker()", "Unhurried()").replace(
    "trained =",
    """
class Unhurried(SignsRowMaker):
    def map(self, row):
        time.sleep(0.03)
        return super().map(row)
trained =""",
)


# By what the primary host sees, 10 steps are best; all others see nothing but progress.
STOPPING = f"""{BEGIN}
from mdasr.acoustic.train import EarlyStopping
looks = iter([3, 1, 2, 2, 2] if hosts.primary() else range(9, 0, -1))
stopping = EarlyStopping(lambda params: float(next(looks)), patience=2)
trained = train(config, options, SignsRowMaker(), chosen.directory, workers=0, stopping=stopping)
assert trained.steps == 10 and next(looks) == (2 if hosts.primary() else 5), trained.steps
if hosts.primary():
    np.savez(chosen.result, allow_pickle=False, *jax.tree.leaves(trained.params))
"""


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def script(text: str, folder: Path) -> list[str]:
    return ["-c", text, str(folder / "run"), str(folder / "params.npz")]


def start(folder: Path, processes: int, command: Sequence[str] = ()) -> list[subprocess.Popen]:
    """Start the processes of one job with two devices each; each writes its standard error to a file."""
    command = command or script(SCRIPT, folder)
    coordinator = f"localhost:{free_port()}"
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    job = []
    for i in range(processes):
        place = ["--coordinator", coordinator, "--processes", str(processes), "--process", str(i)]
        with (folder / f"errors-{i}").open("w") as errors:
            whole = [sys.executable, *command, *place]
            job.append(subprocess.Popen(whole, env=env, cwd=Path(__file__).parents[1], stderr=errors))
    return job


def finish(job: list[subprocess.Popen], folder: Path) -> None:
    try:
        for i, process in enumerate(job):
            assert process.wait(timeout=300) == 0, (folder / f"errors-{i}").read_text()
    finally:
        stop(job)


def stop(job: list[subprocess.Popen]) -> None:
    """Kill with SIGKILL, because jax.distributed handles SIGTERM itself."""
    for process in job:
        process.kill()
        process.wait()


def assert_same(found: Path, wanted: list[np.ndarray]) -> None:
    for mine, theirs in zip(arrays(found), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)  # sums of floats in another order, 40 Adam steps on


def await_checkpoint(job: list[subprocess.Popen], folder: Path, step: int) -> None:
    while not (folder / "run" / "checkpoints" / str(step)).exists():
        assert all(process.poll() is None for process in job), (folder / "errors-0").read_text()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    finish(start(folder, 1), folder)
    return arrays(folder / "params.npz")


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path, alone):
    finish(start(tmp_path, 2), tmp_path)
    assert_same(tmp_path / "params.npz", alone)


@pytest.mark.slow
@pytest.mark.parametrize("after", [4, 2, 1])
def test_four_processes_of_which_one_is_killed_go_on_as_four_two_or_one(tmp_path, alone, after):
    job = start(tmp_path, 4)
    await_checkpoint(job, tmp_path, 10)
    job[2].send_signal(signal.SIGKILL)
    job[2].wait()
    time.sleep(1)
    assert not (tmp_path / "params.npz").exists()
    stop(job)
    finish(start(tmp_path, after), tmp_path)
    assert_same(tmp_path / "params.npz", alone)


@pytest.mark.slow
def test_a_preempted_job_saves_and_goes_on(tmp_path, alone):
    job = start(tmp_path, 2, script(UNHURRIED, tmp_path))
    await_checkpoint(job, tmp_path, 10)
    job[1].send_signal(signal.SIGTERM)  # one host gets it, and both stop
    for i, process in enumerate(job):
        assert process.wait(timeout=120) == 1
        assert "stopped by SIGTERM; step" in (tmp_path / f"errors-{i}").read_text()
    finish(start(tmp_path, 2), tmp_path)
    assert_same(tmp_path / "params.npz", alone)


@pytest.mark.slow
def test_the_command_trains_on_two_processes_what_it_does_on_one(tmp_path):
    corpus, lexicon = toy_corpus(tmp_path / "toy", [0.8, 1.1, 1.4, 0.9, 1.2, 1.0] * 4), tmp_path / "lexicon.txt"
    LEXICON.write(lexicon)
    settings = {"encoder.cells": 16, "leaves": 3, "batch": 4, "row_steps": 120, "min_steps": 30, "max_steps": 30}
    options = [str(corpus.directory), "--lexicon", str(lexicon), "--workers", "1"]
    options += [f"--set={name}={value}" for name, value in settings.items()]

    def by(processes: int, *command: str) -> Recognizer:
        out = tmp_path / f"{command[0]}-by-{processes}"
        finish(start(tmp_path, processes, ["-m", "mdasr.cli.main", *command, *options, "--out", str(out)]), tmp_path)
        return Recognizer.read(out)

    adapt = ("adapt", str(tmp_path / "train-by-1"), "--set=adapt_steps=60")
    for command in (("train",), adapt):
        models = by(1, *command), by(2, *command)
        for mine, theirs in zip(*(jax.tree.leaves(model.params) for model in models), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-3)
        assert models[0].facts["steps"] == models[1].facts["steps"] > 0
        assert models[0].facts["frame_accuracy"] == pytest.approx(models[1].facts["frame_accuracy"], abs=0.01)


@pytest.mark.slow
def test_all_hosts_stop_early_by_what_the_primary_sees(tmp_path):
    models = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        finish(start(folder, processes, script(STOPPING, folder)), folder)
        models.append(arrays(folder / "params.npz"))
    for one, two in zip(*models, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_hosts_make_up_the_same_global_batches(processes):
    maker, batch = SignsRowMaker(RowOptions(6)), 8
    count = batch // processes
    shares = [Batches(maker, Share(batch, i * count, count), 1, 4, workers=0) for i in range(processes)]
    for step in range(1, 4):
        parts = [next(share) for share in shares]
        rows = [maker.map(row) for row in range(step * batch, (step + 1) * batch)]
        for name in rows[0]:
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), [row[name] for row in rows])


def come(place: Place, wait_s: float) -> str:
    try:
        meet(place, wait_s)
    except TimeoutError as error:
        return str(error)
    return "all there"


@pytest.mark.parametrize(
    ("coming", "outcome"),
    [
        ((0, 1, 2, 3), "all there"),
        ((0, 2), "process 1, 3 of 4 did not reach"),
        ((1, 3), "process 0 of 4 did not reach"),
    ],
)
def test_those_who_do_not_come_are_named_by_all_who_do(coming, outcome):
    coordinator = f"localhost:{free_port()}"
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: come(Place(coordinator, 4, i), 60.0 if len(coming) == 4 else 1.5), coming)
        assert all(each.startswith(outcome) for each in found)


def test_a_process_that_was_started_again_takes_its_own_place():
    coordinator = f"localhost:{(port := free_port())}"
    with ThreadPoolExecutor(3) as pool:
        primary = pool.submit(come, Place(coordinator, 3, 0), 60.0)
        for _ in range(200):
            try:
                with socket.create_connection(("localhost", port)) as connection:
                    connection.sendall(b"1\n")  # and dies
                break
            except OSError:
                time.sleep(0.05)
        other = pool.submit(come, Place(coordinator, 3, 2), 60.0)
        time.sleep(0.3)  # process 2 arrives while nobody waits as process 1
        again = pool.submit(come, Place(coordinator, 3, 1), 60.0)
        assert [each.result() for each in (primary, other, again)] == ["all there"] * 3


def chosen(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    host_options(parser)
    return parser.parse_args(arguments)


def test_where_a_process_stands_is_said_or_detected(monkeypatch):
    assert place_of(chosen()) is None
    one = ("--coordinator", "a:1", "--processes", "1", "--process", "0")
    assert place_of(chosen(*one)) is None
    assert place_of(chosen("--coordinator", "a:1", "--processes", "3", "--process", "2")) == Place("a:1", 3, 2)
    with pytest.raises(ValueError, match="all three"):
        place_of(chosen("--process", "1"))
    with pytest.raises(ValueError, match="must lie between 0 and 2"):
        place_of(chosen("--coordinator", "a:1", "--processes", "3", "--process", "3"))
    with pytest.raises(ValueError, match="not of the form HOST:PORT"):
        place_of(chosen("--coordinator", "a", "--processes", "3", "--process", "1"))
    with pytest.raises(ValueError, match="there is no TPU pod, SLURM or Kubernetes here"):
        place_of(chosen("--distributed"))
    slurm = {"JOB_ID": "70000", "STEP_NODELIST": "node[07-09]", "NTASKS": "3", "PROCID": "1", "LOCALID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    place = place_of(chosen("--distributed"))
    assert (place.processes, place.process, place.coordinator.split(":")[0]) == (3, 1, "node07")


def test_one_host_needs_no_others():
    assert hosts.primary()
    hosts.barrier("alone")
    assert hosts.once("thing", lambda: "made", lambda: "read") == "made"
