"""Training: it learns, device counts do not matter, and being killed does not matter."""

import dataclasses
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig
from mdasr.acoustic.row_schedule import RowOptions
from mdasr.acoustic.train import (
    EarlyStopping,
    TrainOptions,
    host_share,
    initial_state,
    local_value,
    make_train_step,
    replicate,
    shard_batch,
    train,
)
from mdasr.training.scales import PAPER
from tests.signs_training import arrays, finish, start
from tests.tasks import SignsRowMaker

CONFIG = ModelConfig(LSTM((16,)), 4, dropout=0.1)


def test_it_learns(tmp_path):
    trained = train(CONFIG, TrainOptions(300, 16, 1e-2), SignsRowMaker(), tmp_path, workers=0)
    assert trained.frame_accuracy > 0.8  # chance is 0.25
    assert 0 <= trained.waited_share < 1
    assert any((tmp_path / "tensorboard").iterdir())


@pytest.mark.slow
def test_it_learns_in_bfloat16_with_parameters_in_float32(tmp_path):
    config = dataclasses.replace(CONFIG, encoder=LSTM((16,), unroll=4), compute_dtype="bfloat16")
    trained = train(config, TrainOptions(300, 16, 1e-2), SignsRowMaker(), tmp_path, workers=0)
    assert trained.frame_accuracy > 0.8
    assert {leaf.dtype for leaf in jax.tree.leaves(trained.params)} == {np.dtype(np.float32)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(folder / "run", folder / "params.npz", devices=1))
    return arrays(folder / "params.npz")


def test_killed_and_started_again_gives_the_same_bits(tmp_path, undisturbed):
    process = start(tmp_path / "run", tmp_path / "params.npz", devices=1)
    checkpoints, wait_for = tmp_path / "run" / "checkpoints", np.random.default_rng(16).integers(1, 5) * 10
    while not (checkpoints / str(wait_for)).exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(np.random.default_rng(17).uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "params.npz").exists(), f"it ended before it was killed at step {wait_for}"
    finish(start(tmp_path / "run", tmp_path / "params.npz", devices=1))
    for found, wanted in zip(arrays(tmp_path / "params.npz"), undisturbed, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(tmp_path, undisturbed):
    process = start(tmp_path / "run", tmp_path / "params.npz", devices=1)
    while not (tmp_path / "run" / "checkpoints" / "10").exists() and process.poll() is None:
        time.sleep(0.005)
    process.terminate()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1 and "InterruptedError" in errors and "is saved. Start the same command" in errors
    finish(start(tmp_path / "run", tmp_path / "params.npz", devices=1))
    for found, wanted in zip(arrays(tmp_path / "params.npz"), undisturbed, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_ten_random_kills_change_no_bit(tmp_path):
    """Each at any moment after the run has got a little further, or even before it has."""
    steps, rng = 1000, np.random.default_rng(18)
    finish(start(tmp_path / "undisturbed", tmp_path / "wanted.npz", 1, steps))
    checkpoints, delays = tmp_path / "run" / "checkpoints", rng.uniform(0, 0.5, 10)

    def saved() -> int:
        return max((int(path.name) for path in checkpoints.glob("[0-9]*") if path.name.isdigit()), default=0)

    for kill, delay in enumerate(delays):
        process, before = start(tmp_path / "run", tmp_path / "params.npz", 1, steps), saved()
        while kill % 3 and saved() == before and process.poll() is None:  # every third is killed as it gets going
            time.sleep(0.005)
        time.sleep(delay if kill % 3 else 10 * delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "params.npz").exists(), f"it ended before kill {kill} of {delays}"
    assert 0 < saved() < steps
    finish(start(tmp_path / "run", tmp_path / "params.npz", 1, steps))
    for found, wanted in zip(arrays(tmp_path / "params.npz"), arrays(tmp_path / "wanted.npz"), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_two_devices_train_what_one_does(tmp_path, undisturbed):
    finish(start(tmp_path / "run", tmp_path / "params.npz", devices=2))
    for found, wanted in zip(arrays(tmp_path / "params.npz"), undisturbed, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)  # sums of floats in another order, 60 Adam steps on


def test_another_configuration_is_refused_by_name(tmp_path):
    train(CONFIG, TrainOptions(2, 4), SignsRowMaker(), tmp_path, workers=0)
    with pytest.raises(ValueError, match=r"checkpoint of another configuration: model was .*16.* is now .*8"):
        train(ModelConfig(LSTM((8,)), 4), TrainOptions(2, 4), SignsRowMaker(), tmp_path, workers=0)


def test_a_batch_that_devices_cannot_share_is_refused(tmp_path):
    assert jax.device_count() == 2
    with pytest.raises(ValueError, match="batch of 3 rows cannot be shared by 2 devices"):
        train(CONFIG, TrainOptions(2, 3), SignsRowMaker(), tmp_path, workers=0)


def test_early_stopping_keeps_the_best_and_goes_on_where_it_was(tmp_path):
    options = TrainOptions(60, 4, 1e-2, checkpoint_every=5)
    asked: list[float] = []

    def loss(params) -> float:  # falls until the third look, then rises
        asked.append(float(abs(2 - len(asked))))
        return asked[-1]

    whole = train(CONFIG, options, SignsRowMaker(), tmp_path / "a", workers=0, stopping=EarlyStopping(loss, patience=3))
    # Step 10 is the best, and training ends three looks later.
    assert (whole.steps, asked) == (10, [2.0, 1.0, 0.0, 1.0, 2.0, 3.0]), (
        "10 steps are the best; three looks later it ends"
    )
    asked.clear()
    again = train(CONFIG, options, SignsRowMaker(), tmp_path / "a", workers=0, stopping=EarlyStopping(loss, patience=3))
    assert (again.steps, asked) == (10, []), "what had ended does not go on"
    shorter = train(CONFIG, TrainOptions(10, 4, 1e-2), SignsRowMaker(), tmp_path / "b", workers=0)
    assert shorter.steps == 10
    for found, wanted in zip(jax.tree.leaves(again.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_start_that_only_gets_worse_is_kept(tmp_path):
    start = train(CONFIG, TrainOptions(2, 4), SignsRowMaker(), tmp_path / "start", workers=0).params
    looks = iter(range(100))
    stopping = EarlyStopping(lambda params: float(next(looks)), patience=2)
    options = TrainOptions(60, 4, checkpoint_every=5)
    kept = train(CONFIG, options, SignsRowMaker(), tmp_path / "run", workers=0, start_from=start, stopping=stopping)
    assert kept.steps == 0
    for found, wanted in zip(jax.tree.leaves(kept.params), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_the_run_was_like_outlives_the_process(tmp_path):
    """A training that was killed after its last checkpoint has nothing left to learn, and still has its curves."""
    options = TrainOptions(40, 4, 1e-2, checkpoint_every=20)
    first = train(CONFIG, options, SignsRowMaker(), tmp_path, workers=0)
    again = train(CONFIG, options, SignsRowMaker(), tmp_path, workers=0)
    assert again.frame_accuracy == first.frame_accuracy > 0
    assert again.seconds > 0.5 * first.seconds and 0 < again.waited_share < 1
    shutil.rmtree(tmp_path / "checkpoints" / "40")  # killed before that was whole
    later = train(CONFIG, options, SignsRowMaker(), tmp_path, workers=0)
    assert later.frame_accuracy == first.frame_accuracy
    for found, wanted in zip(jax.tree.leaves(later.params), jax.tree.leaves(first.params), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_data_that_changes_stops_training_before_it_is_saved(tmp_path):
    looks = iter(range(100))

    def check() -> None:
        if next(looks) == 1:
            raise ValueError("the corpus changed")

    options = TrainOptions(60, 4, 1e-2, checkpoint_every=10)
    with pytest.raises(ValueError, match="the corpus changed"):
        train(CONFIG, options, SignsRowMaker(), tmp_path / "run", workers=0, check=check)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["10"]
    whole = train(CONFIG, options, SignsRowMaker(), tmp_path / "run", workers=0)
    undisturbed = train(CONFIG, options, SignsRowMaker(), tmp_path / "other", workers=0)
    for found, wanted in zip(jax.tree.leaves(whole.params), jax.tree.leaves(undisturbed.params), strict=True):
        np.testing.assert_array_equal(found, wanted)


@dataclasses.dataclass
class BrokenLater(SignsRowMaker):
    """Rows whose frames, after a while, hold a number that makes loss and gradients NaN or infinite."""

    number: float = np.nan
    rows: int = 100  # the first of the 4 rows of step 26

    def map(self, row):
        made = super().map(row)
        if row >= self.rows:
            made["frames"][0, 0] = self.number
        return made


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize(("every", "stops_at", "last"), [(10, 30, "20"), (100, 40, None)])
def test_a_loss_that_is_no_number_stops_training_and_the_good_checkpoint_stays(tmp_path, number, every, stops_at, last):
    """It stops before the next save, or else at the next report."""
    options = TrainOptions(60, 4, 1e-2, checkpoint_every=every)
    with pytest.raises(ValueError, match=f"NaN or infinite at step {stops_at} of 60") as error:
        train(CONFIG, options, BrokenLater(number=number), tmp_path / "run", workers=0)
    assert (f"last complete one is of step {last}" if last else "no complete one") in str(error.value)
    assert "--set learning_rate=0.003" in str(error.value)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == (["10", "20"] if last else [])


@pytest.mark.slow
def test_one_step_of_the_papers_model():
    """Untrained, its loss is that of 8192 equal outputs; after a step, every weight is still a number."""
    config, options = ModelConfig(PAPER.encoder, PAPER.leaves, dropout=PAPER.dropout), TrainOptions(2, 2)
    assert config.num_weights == 43_253_760
    rows = [SignsRowMaker(RowOptions(8)).map(row) for row in range(2)]
    batch = shard_batch({name: np.stack([row[name] for row in rows]) for name in rows[0]}, host_share(2))
    state, sums = make_train_step(config, options)(replicate(initial_state(config, options, None)), batch)
    assert local_value(sums["frames"]) == 15
    assert local_value(sums["loss"]) / 15 == pytest.approx(np.log(8192), rel=0.02)
    assert all(np.isfinite(local_value(leaf)).all() for leaf in jax.tree.leaves(state))
