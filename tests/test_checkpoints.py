"""Checkpoints: damaged ones are passed over and kept, a full disk loses nothing."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from mdasr.acoustic.checkpoints import Checkpoints, digest_of
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig
from mdasr.acoustic.train import TrainOptions, train
from tests.signs_training import state
from tests.tasks import SignsRowMaker

CONFIG = ModelConfig(LSTM((16,)), 4, dropout=0.1)


def same(found: dict, wanted: dict) -> bool:
    return digest_of(found) == digest_of(wanted)


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.restore(state(0)) is None
    for step in (10, 20, 30):
        checkpoints.save(step, state(step))
    checkpoints.wait()
    checkpoints.close()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["20", "30"]
    return tmp_path / "checkpoints"


def restored(directory: Path) -> dict | None:
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.restore(state(0))
    finally:
        checkpoints.close()


def largest(directory: Path) -> Path:
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut(directory: Path) -> None:
    path = largest(directory)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(directory: Path) -> None:
    path = largest(directory)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def swap(directory: Path) -> None:
    """The file holds a whole state of another step, so its own checksum is right."""
    shutil.rmtree(directory / "state")
    shutil.copytree(directory.parent / "20" / "state", directory / "state")


DAMAGE = {
    "a file cut off": cut,
    "a byte changed": flip,
    "a file missing": lambda directory: largest(directory).unlink(),
    "the seal missing": lambda directory: shutil.rmtree(directory / "seal"),
    "nothing but the folder": lambda directory: [shutil.rmtree(p) for p in directory.iterdir() if p.is_dir()],
    "the state of another step": swap,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_kept(saved, kind):
    assert same(restored(saved), state(30))
    DAMAGE[kind](saved / "30")
    with pytest.warns(UserWarning, match=r"30 is damaged .* training goes on from step 20"):
        assert same(restored(saved), state(20))
    assert (saved.parent / "damaged" / "30").is_dir() and not (saved / "30").exists()
    checkpoints = Checkpoints(saved)
    checkpoints.save(30, state(31))
    checkpoints.wait()
    checkpoints.close()
    assert same(restored(saved), state(31))


def test_a_checkpoint_that_an_earlier_version_saved_with_nan_is_passed_over(saved):
    checkpoints, broken = Checkpoints(saved), state(40)
    broken["params"]["w"][0] = np.nan
    checkpoints.save(40, broken)
    checkpoints.wait()
    checkpoints.close()
    with pytest.warns(UserWarning, match=r"40 is damaged .*not finite.* training goes on from step 30"):
        assert same(restored(saved), state(30))


def test_no_whole_checkpoint_is_an_error_and_nothing_is_moved(saved):
    cut(saved / "20")
    cut(saved / "30")
    with pytest.raises(ValueError, match=r"every checkpoint is damaged \(step 30: .*; step 20: .*\)\. Copy them again"):
        restored(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["20", "30"]


def test_half_written_ones_are_not_taken_for_checkpoints(saved):
    shutil.copytree(saved / "30", saved / "40.orbax-checkpoint-tmp")
    assert same(restored(saved), state(30))


FULL = """
import resource, sys
from pathlib import Path
from mdasr.acoustic.checkpoints import Checkpoints
from tests.signs_training import state
checkpoints = Checkpoints(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # as a full disk would, the system refuses to write on
try:
    checkpoints.save(40, state(40))
    checkpoints.wait()
except OSError as error:
    sys.exit(str(error))
"""


def test_where_nothing_can_be_written_the_last_good_one_stays(saved):
    found = subprocess.run(
        [sys.executable, "-c", FULL, str(saved)], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert found.returncode == 1, found.stderr
    *_, message = found.stderr.splitlines()
    assert "ERROR:absl" not in found.stderr, "Orbax does not log what it raises"
    assert "a checkpoint could not be saved" in message and "The last complete one is of step 30" in message
    assert same(restored(saved), state(30))


def test_a_checkpoint_that_does_not_fit_is_not_begun(saved, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 50_000}))
    with pytest.raises(OSError, match=r"it takes 0\.1 MB, and 0\.1 MB are free.* Is the disk full\? .* of step 30"):
        Checkpoints(saved).save(40, state(40))
    assert sorted(path.name for path in saved.iterdir()) == ["20", "30"]


FULL_CURVES = """
import sys
from pathlib import Path
from mdasr.acoustic.training_log import CurveWriter
from mdasr.cli.main import exit_status
def work():
    with CurveWriter(Path(sys.argv[1])) as writer:
        writer._events._py_recordio_writer._writer = open("/dev/full", "wb")
        writer.add_scalar("train/loss", 1.0, 1)
    return 0
sys.exit(exit_status("mdasr train", work))
"""


def test_a_curve_on_a_full_disk_is_one_message(tmp_path):
    command = [sys.executable, "-c", FULL_CURVES, str(tmp_path / "curves")]
    found = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == f"mdasr train: {tmp_path / 'curves'}: No space left on device\n"


@pytest.mark.slow
def test_a_full_disk_stops_training_and_with_room_it_goes_on(tmp_path, monkeypatch):
    options = TrainOptions(60, 4, 1e-2, checkpoint_every=20)
    real = ocp.CheckpointManager.save

    def save(self, step, *given, **named):
        if step == 40:
            self.wait_until_finished()
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, step, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(ocp.CheckpointManager, "save", save)
        with pytest.raises(OSError, match=r"could not be saved \(OSError: .*No space left.* one is of step 20"):
            train(CONFIG, options, SignsRowMaker(), tmp_path / "full", workers=0)
    found = train(CONFIG, options, SignsRowMaker(), tmp_path / "full", workers=0)
    wanted = train(CONFIG, options, SignsRowMaker(), tmp_path / "roomy", workers=0)
    assert same(found.params, wanted.params) and found.frame_accuracy == wanted.frame_accuracy
