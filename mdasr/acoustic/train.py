"""Train a network by a criterion (§3.5, §3.7): the pmapped step, the loop, checkpoints.

Only this module and `devices` know of replicated arrays. Each step sums loss, gradients and frames over all devices and
divides by the global number of frames. So N devices train the same network as one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mdasr.acoustic.adapters import own_alone
from mdasr.acoustic.adversary import Adversary, domain_logits, init_classifiers
from mdasr.acoustic.checkpoints import Checkpoints, all_finite, check_run
from mdasr.acoustic.criteria.cross_entropy import frame_errors
from mdasr.acoustic.devices import DEVICES, device, host_share, local_value, replicate, shard_batch
from mdasr.acoustic.loader import Batches, MakesRows
from mdasr.acoustic.network import ModelConfig, init_params, network, rows_of
from mdasr.acoustic.training_log import CurveWriter
from mdasr.core import hosts
from mdasr.core.progress import Bar, track

Featurize = Callable[[dict[str, jax.Array]], jax.Array]

REPORT_EVERY = 20  # steps between two readings of the metrics, so that the host does not wait on each step


@dataclass(frozen=True)
class TrainOptions:
    """How to train: `batch` rows a step over all devices; the rate rises over `warmup_steps`, then falls to 0.

    An `adversary` is trained at the same time. With `own_alone`, only the domains' own parameters are trained. Both
    need rows that hold domains (`RowOptions.domains`).
    """

    steps: int
    batch: int
    learning_rate: float = 3e-3
    warmup_steps: int = 40
    clip_norm: float = 5.0
    seed: int = 0
    checkpoint_every: int = 100
    adversary: Adversary | None = None
    own_alone: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.learning_rate <= 0:
            raise ValueError(f"steps, batch and learning_rate must be positive, not {self}")


class TrainState(NamedTuple):
    """The state of a training: parameters, the optimizer's state, and the number of steps taken."""

    params: Any
    optimizer: Any
    step: Any


class Trained(NamedTuple):
    """The parameters after `steps` steps, and the figures of the run."""

    params: Any
    steps: int
    frame_accuracy: float
    seconds: float
    waited_share: float

    def facts(self) -> dict[str, Any]:
        """The figures of the run, in the form of model.json."""
        return {
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "device": device(),
            "waited_for_input": round(self.waited_share, 3),
            "frame_accuracy": round(self.frame_accuracy, 4),
        }


class Run(NamedTuple):
    """The figures of a run over all its starts so far: the last frame accuracy, seconds of work and of waiting."""

    frame_accuracy: float = math.nan
    seconds: float = 0.0
    waited_s: float = 0.0


@dataclass(frozen=True)
class EarlyStopping:
    """Keep the parameters with the lowest `loss`, and stop after `patience` checkpoints in a row without a better one.

    The loss is computed at every checkpoint and before the first step, so that training never makes the result worse.
    """

    loss: Callable[[Any], float]
    patience: int = 4


class Best(NamedTuple):
    """The best parameters so far, the number of steps that led to them, and their loss."""

    params: Any
    step: Any
    loss: Any

    @classmethod
    def at(cls, params: Any, step: int, stopping: EarlyStopping) -> Best:
        loss = hosts.agreed(np.array(stopping.loss(params), np.float32))
        return cls(params, np.array(step, np.int32), loss)


def make_optimizer(options: TrainOptions) -> optax.GradientTransformation:
    """Adam with clipped gradients; the rate rises over `warmup_steps`, then falls to 0 along a cosine."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, options.learning_rate, min(options.warmup_steps, options.steps // 2), options.steps
    )
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), optax.adam(schedule))


def make_train_step(config: ModelConfig, options: TrainOptions, featurize: Featurize | None = None) -> Callable:
    """The pmapped step: (replicated state, batch [devices, rows, ...]) -> (state, summed metrics).

    `featurize` makes the frames of a batch that holds none.
    """
    model, optimizer, criterion = network(config), make_optimizer(options), config.criterion

    def step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = jax.random.fold_in(jax.random.key(options.seed), state.step)
        # A key for each row of the global batch, so that masks do not depend on the device that holds the row.
        keys = jax.vmap(lambda row: jax.random.fold_in(step_key, row))(batch["row"])

        rows = rows_of(batch, None if featurize is None else featurize(batch))

        def loss(params):
            (logits, _), aside = model.apply({"params": params}, rows, dropout_keys=keys, mutable=["hidden"])
            total, sums = criterion.loss(logits, batch)
            means = {name: value / config.members for name, value in sums.items()}
            if options.adversary:
                progress = state.step / options.steps
                guesses = domain_logits(options.adversary, params["adversary"], aside["hidden"], progress)
                of_domains, guessed = frame_errors(guesses, batch["domain"] - 1, batch["weights"])
                total, means = total + of_domains, means | {"domains_right": guessed / config.members}
            return total, means

        gradients, sums = jax.grad(loss, has_aux=True)(state.params)
        sums["frames"] = batch["weights"].sum()
        gradients, sums = jax.lax.psum((gradients, sums), DEVICES)
        gradients = jax.tree.map(lambda g: g / jnp.maximum(sums["frames"], 1), gradients)
        gradients = own_alone(gradients) if options.own_alone else gradients
        updates, opt_state = optimizer.update(gradients, state.optimizer, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), sums

    return jax.pmap(step, axis_name=DEVICES, donate_argnums=0)


def initial_state(config: ModelConfig, options: TrainOptions, start_from: Any) -> TrainState:
    """The state before the first step, with the parameters `start_from` or fresh ones, and an adversary's."""
    params = init_params(config, options.seed) if start_from is None else start_from
    if options.adversary:
        params = params | {"adversary": init_classifiers(options.adversary, config, options.seed)}
    return TrainState(params, make_optimizer(options).init(params), jnp.zeros((), jnp.int32))


def saved_form(state: TrainState, best: Best | None) -> dict[str, Any]:
    """The tree of arrays that a checkpoint holds."""
    return {"state": state._asdict()} | ({"best": best._asdict()} if best else {})


def train(
    config: ModelConfig,
    options: TrainOptions,
    maker: MakesRows,
    directory: Path,
    *,
    workers: int = 1,
    start_from: Any = None,
    stopping: EarlyStopping | None = None,
    described: dict | None = None,
    featurize: Featurize | None = None,
    statistics: Mapping[str, np.ndarray] = MappingProxyType({}),
    check: Callable[[], None] = lambda: None,
    label: str = "train",
) -> Trained:
    """Train in `directory`, going on from the last undamaged checkpoint there, bit for bit as if it had never stopped.

    - `start_from` are initial parameters (adaptation), and `stopping` keeps the best parameters.
    - `described` is everything else that defines the run. With `config` and `options`, it is compared with what an
      earlier start wrote there.
    - `featurize` makes features on the accelerator from the batches of a `PackedRowMaker`.
    - `statistics` of the labels join every batch, for criteria that use them.
    - `check` raises an error where the data has changed; it is called before each save.

    All hosts of a job call this function, with a `directory` that all of them see. Raises InterruptedError after
    SIGTERM, when the state is saved, and OSError where a checkpoint could not be saved. Raises ValueError where
    `directory` holds another run, and where the loss or the parameters are NaN or infinite.
    """
    share = host_share(options.batch)
    run = {"model": asdict(config), "train": asdict(options), "rows": asdict(maker.options), **(described or {})}
    with hosts.primary_first("run"):
        check_run(directory / "run.json", run)
    checkpoints = Checkpoints(directory / "checkpoints")
    state, best = _beginning(checkpoints, initial_state(config, options, start_from), stopping)
    batches = Batches(maker, share, int(state.step), options.steps, workers)
    step_fn, before = make_train_step(config, options, featurize), Run(**checkpoints.so_far)
    known = replicate(dict(statistics)) if statistics else {}
    steps = _Steps(step_fn, known, options, stopping, batches, checkpoints, check, label, before)
    try:
        last, best, accuracy = steps.take(state, best)
        checkpoints.wait()
    finally:
        batches.close()
        checkpoints.close()
    run_was = steps.so_far(accuracy)
    params, count = (best.params, int(best.step)) if best else (last.params, options.steps)
    params = {name: value for name, value in params.items() if name != "adversary"}
    return Trained(params, count, accuracy, run_was.seconds, run_was.waited_s / max(run_was.seconds, 1e-9))


def _beginning(
    checkpoints: Checkpoints, initial: TrainState, stopping: EarlyStopping | None
) -> tuple[TrainState, Best | None]:
    """The last undamaged state that was saved, with the best one, or else the initial state."""
    like = Best(initial.params, np.zeros((), np.int32), np.zeros((), np.float32)) if stopping else None
    if saved := checkpoints.restore(saved_form(initial, like)):
        return TrainState(**saved["state"]), Best(**saved["best"]) if stopping else None
    return initial, Best.at(initial.params, 0, stopping) if stopping else None


@dataclass
class _Steps:
    """Everything that the steps of a training need; `known` joins every batch, and `before` has the figures so far."""

    step_fn: Callable
    known: dict[str, jax.Array]
    options: TrainOptions
    stopping: EarlyStopping | None
    batches: Batches
    checkpoints: Checkpoints
    check: Callable[[], None]
    label: str
    before: Run
    began: float = field(default_factory=time.perf_counter)

    def so_far(self, accuracy: float) -> Run:
        seconds = self.before.seconds + time.perf_counter() - self.began
        return Run(accuracy, seconds, self.before.waited_s + self.batches.waited_s)

    def take(self, start: TrainState, best: Best | None) -> tuple[TrainState, Best | None, float]:
        """Train from `start` to the last step; returns the state, the best one, and the last frame accuracy."""
        options, share, first = self.options, host_share(self.options.batch), int(start.step)
        state, accuracy = replicate(start), self.before.frame_accuracy
        pending: list[dict[str, jax.Array]] = []
        directory, shown = self.checkpoints.directory.parent, hosts.primary()
        with (
            track(total=options.steps, initial=first, desc=self.label, unit="step", mininterval=1, dynamic_ncols=True,
                 disable=not shown) as progress,
            CurveWriter(directory / "tensorboard" if shown else None) as writer,
            hosts.asked_to_end(options.steps) as ending,
        ):  # fmt: skip
            for done in range(first + 1, options.steps + 1):
                if self._long_past(best, done - 1):
                    break
                state, sums = self.step_fn(state, shard_batch(_next(self.batches, self.check), share) | self.known)
                pending.append(sums)
                if jax.default_backend() == "cpu":  # several processes on CPUs hang otherwise
                    jax.block_until_ready(sums)
                if done % REPORT_EVERY == 0 or done == options.steps:
                    waited = self.batches.waited_s / (time.perf_counter() - self.began)
                    self._require_finite(jax.tree.map(local_value, pending), done)
                    accuracy, pending = report_metrics(writer, progress, pending, done, waited), []
                progress.update()
                ended = ending(done)
                if ended or self._due(done):
                    self._require_finite(jax.tree.map(local_value, pending), done)
                    best = self._save(done, jax.tree.map(local_value, state), best, accuracy)
                if ended:
                    self._end(done)
        return jax.tree.map(local_value, state), best, accuracy

    def _due(self, done: int) -> bool:
        return done % self.options.checkpoint_every == 0 or done == self.options.steps

    def _long_past(self, best: Best | None, done: int) -> bool:
        """Whether the best checkpoint is older than the patience of early stopping allows."""
        if self.stopping is None or best is None:
            return False
        return done - int(best.step) >= self.stopping.patience * self.options.checkpoint_every

    def _require_finite(self, numbers: Any, done: int) -> None:
        """Stop the training at a loss, or at parameters, that are NaN or infinite; saved checkpoints stay."""
        if all_finite(numbers):
            return
        self.checkpoints.wait()
        raise ValueError(
            f"{self.checkpoints.directory.parent}: the loss or the parameters are NaN or infinite at step {done} of "
            f"{self.options.steps}. No such checkpoint is saved. {self.checkpoints.last_complete()}; it is kept in "
            f"{self.checkpoints.directory}. Train to another directory at a lower rate, such as --set learning_rate="
            f"{self.options.learning_rate / 3:.1g}. Look for broken recordings with `mdasr validate`"
        )

    def _save(self, done: int, state: TrainState, best: Best | None, accuracy: float) -> Best | None:
        """Begin to save the present state; returns the best parameters, now that these are known."""
        self.check()
        best = better(best, state, self.stopping) if self._due(done) else best
        self._require_finite(saved_form(state, best), done)
        self.checkpoints.save(done, saved_form(state, best), self.so_far(accuracy)._asdict())
        return best

    def _end(self, done: int) -> NoReturn:
        self.checkpoints.wait()
        raise InterruptedError(
            f"{self.checkpoints.directory.parent}: stopped by SIGTERM; step {done} of {self.options.steps} is saved. "
            "Start the same command again to go on from there"
        )


def _next(batches: Batches, check: Callable[[], None]) -> dict[str, np.ndarray]:
    try:
        return next(batches)
    except Exception:
        check()  # its error explains more than that of a worker
        raise


def better(best: Best | None, state: TrainState, stopping: EarlyStopping | None) -> Best | None:
    """The better of `best` and the parameters of `state`."""
    if stopping is None or best is None:
        return None
    now = Best.at(state.params, int(state.step), stopping)
    return now if now.loss < best.loss else best


def report_metrics(writer: CurveWriter, progress: Bar, pending: list, step: int, waited: float) -> float:
    """Read the metrics since the last report, show and log them, and return the frame accuracy."""
    totals = {name: sum(float(local_value(sums[name])) for sums in pending) for name in pending[0]}
    loss, accuracy = totals["loss"] / totals["frames"], totals["right"] / totals["frames"]
    scalars = {"loss": loss, "frame_accuracy": accuracy, "waited_for_input": waited}
    if "domains_right" in totals:
        scalars["domain_accuracy"] = totals["domains_right"] / totals["frames"]
    for name, value in scalars.items():
        writer.add_scalar(f"train/{name}", value, step)
    progress.set_postfix_str(f"loss {loss:.3f}, frames right {accuracy:.3f}, waiting {waited:.0%}", refresh=False)
    return accuracy
