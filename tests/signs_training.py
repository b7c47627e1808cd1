"""Trainings on `SignsRowMaker` in processes of their own, which can be killed; and a state that is quicker made."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = """
import sys
from pathlib import Path
import jax, numpy as np
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig
from mdasr.acoustic.train import TrainOptions, train
from tests.tasks import SignsRowMaker
options = TrainOptions(int(sys.argv[3]), 4, 1e-2, checkpoint_every=10)
trained = train(ModelConfig(LSTM((16,)), 4, dropout=0.1), options, SignsRowMaker(), Path(sys.argv[1]), workers=0)
np.savez(sys.argv[2], allow_pickle=False, *jax.tree.leaves(trained.params))
"""


def start(directory: Path, result: Path, devices: int, steps: int = 60) -> subprocess.Popen:
    env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(directory), str(result), str(steps)],
        env=env, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def arrays(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]


def state(step: int) -> dict:
    weights = np.random.default_rng(step).standard_normal((40, 50)).astype(np.float32)
    return {"params": {"w": weights, "b": np.zeros(3, np.float32)}, "step": np.asarray(step, np.int32)}
