"""Training speed of the acoustic model: `benchmarks/lstm.py [--scale paper] [--json FILE]`.

It runs on the device that jax finds. A step is all that `mdasr train` does on the device, from features to Adam's
update, on rows of noise. The peer is PyTorch's nn.LSTM, which on a GPU is cuDNN's, with the same sizes, dtype, loss and
optimiser. It trains the members of an ensemble one after the other. It is measured if torch is installed (`pip install
torch` in the same environment). Each gets its best batch, and ours also its best unrolling. Speed is hours of audio a
second. It is also given as a share of the device's matrix peak, which a product of square matrices measures in the same
run.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdasr.acoustic.devices import device
from mdasr.acoustic.encoders.interface import PackedFrames, steps_of
from mdasr.acoustic.network import ModelConfig
from mdasr.acoustic.train import TrainOptions, host_share, initial_state, make_train_step, replicate, shard_batch
from mdasr.core.processes import keep_freed_memory
from mdasr.core.waveforms import RATE_HZ
from mdasr.frontend import BANDS, PAPER_STEPS
from mdasr.training.plan import model_config
from mdasr.training.scales import SCALES, Scale

STEPS_AN_HOUR = 3600 * RATE_HZ / PAPER_STEPS.step_samples
CLIP_NORM = 5.0
TOO_LARGE = ("RESOURCE_EXHAUSTED", "out of memory")


class Row(NamedTuple):
    """A setting and its speed; `hours_per_s` is None if the device ran out of memory."""

    what: str
    batch: int
    unroll: int | None
    hours_per_s: float | None


def seconds_a_call(work: Callable[[], None], at_least_s: float) -> float:
    """Return the seconds a call in the fastest of three rounds; a round takes at least `at_least_s`.

    `work` must wait until the device has finished.
    """
    work()  # compiles
    began = time.perf_counter()
    work()
    calls = max(1, round(at_least_s / (time.perf_counter() - began)))
    rounds = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        rounds.append((time.perf_counter() - began) / calls)
    return min(rounds)


def make_batch(rows: int, steps: int, outputs: int) -> dict[str, np.ndarray]:
    """Make rows of noise, each of one whole utterance."""
    rng = np.random.default_rng(0)
    frames = PAPER_STEPS.num_frames(steps)
    return {
        "frames": rng.standard_normal((rows, frames, BANDS), np.float32),
        "segments": np.ones((rows, frames), np.int32),
        "labels": rng.integers(0, outputs, (rows, steps)).astype(np.int32),
        "weights": np.ones((rows, steps), np.float32),
        "row": np.arange(rows, dtype=np.int32),
    }


def our_step(config: ModelConfig, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Return our pmapped step, with the batch spread over all devices."""
    import jax

    rows = len(batch["row"])
    options = TrainOptions(10**6, rows, clip_norm=CLIP_NORM)
    step, state = make_train_step(config, options), replicate(initial_state(config, options, None))
    # The batch is on the devices before the clock starts, as PyTorch's is: only the step is timed, not the transfer.
    placed = jax.pmap(lambda x: x)(shard_batch(batch, host_share(rows)))

    def work() -> None:
        nonlocal state
        state, _ = step(state, placed)
        jax.block_until_ready(state)

    return work


def torch_step(config: ModelConfig, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Return the same step in PyTorch; layers of one size are one nn.LSTM, which cuDNN runs as a wavefront."""
    import torch
    from torch import nn

    where = "cuda" if torch.cuda.is_available() else "cpu"

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers, width = [], PAPER_STEPS.window * BANDS
            for cells, alike in itertools.groupby(config.encoder.cells):
                count = len([*alike])
                layers.append(nn.LSTM(width, cells, count, dropout=config.dropout if count > 1 else 0.0))
                width = cells
            self.layers, self.output = nn.ModuleList(layers), nn.Linear(width, config.num_outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = nn.functional.dropout(layer(x)[0], config.dropout)
            return self.output(x)

    model = Network().to(where)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    stacked = np.asarray(steps_of(PackedFrames(batch["frames"], batch["segments"]), PAPER_STEPS)[0])
    features = torch.from_numpy(stacked.swapaxes(0, 1).copy()).to(where)
    labels = torch.from_numpy(batch["labels"].T.astype(np.int64)).to(where)

    def work() -> None:
        with torch.autocast(where, torch.bfloat16, enabled=config.compute_dtype == "bfloat16"):
            logits = model(features)
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        if where == "cuda":
            torch.cuda.synchronize()

    return work


def matrix_peak(dtype: str, size: int, at_least_s: float) -> float:
    """Return the TFLOP a second of a product of square matrices."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.dot)
    seconds = seconds_a_call(lambda: jax.block_until_ready(product(a, a)), at_least_s)
    return 2 * size**3 / seconds / 1e12


def measured(make: Callable[[], Callable[[], None]], hours: float, at_least_s: float) -> float | None:
    """Return the hours of audio a second, or None if memory does not suffice."""
    try:
        return hours / seconds_a_call(make(), at_least_s)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in TOO_LARGE):
            raise
        return None
    finally:
        gc.collect()


def rows_of(scale: Scale, batches: list[int], unrolls: list[int], at_least_s: float) -> Iterator[Row]:
    """Measure every setting, PyTorch's first, because jax does not give back memory."""
    config = model_config(scale, scale.leaves)
    for batch in batches if find_spec("torch") else []:
        data = make_batch(batch, scale.row_steps, scale.leaves)
        hours = _hours(data) / scale.members
        yield Row("PyTorch", batch, None, measured(partial(torch_step, config, data), hours, at_least_s))
    if find_spec("torch"):
        import torch

        torch.cuda.empty_cache()
    for batch, unroll in itertools.product(batches, unrolls):
        data, changed = (
            make_batch(batch, scale.row_steps, scale.leaves),
            dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, unroll=unroll)),
        )
        yield Row("ours", batch, unroll, measured(partial(our_step, changed, data), _hours(data), at_least_s))


def _hours(batch: dict[str, np.ndarray]) -> float:
    return batch["labels"].size / STEPS_AN_HOUR


def best(rows: list[Row], what: str) -> float | None:
    return max((row.hours_per_s for row in rows if row.what == what and row.hours_per_s), default=None)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="paper", choices=SCALES)
    parser.add_argument(
        "--batches", type=numbers, default=[64, 128, 256, 512], metavar="N,N,...", help="rows in a step"
    )
    parser.add_argument("--unrolls", type=numbers, default=[1, 4, 8], metavar="N,N,...", help="steps compiled as one")
    parser.add_argument("--dtype", help="float32 or bfloat16 (default: the scale's own)")
    parser.add_argument("--matrix", type=int, default=8192, help="size of the matrices for the peak")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()

    keep_freed_memory()  # as `mdasr train` does
    scale = SCALES[chosen.scale]
    scale = dataclasses.replace(scale, compute_dtype=chosen.dtype or scale.compute_dtype)
    weights = model_config(scale, scale.leaves).num_weights * scale.members
    tflop_an_hour = 6 * weights * STEPS_AN_HOUR / 1e12
    rows = []
    for row in rows_of(scale, chosen.batches, chosen.unrolls, chosen.seconds):
        speed = "out of memory" if row.hours_per_s is None else f"{row.hours_per_s:.4g} h of audio a s"
        print(f"{row.what:8} batch {row.batch:5} {f'unroll {row.unroll}' if row.unroll else '':10} {speed}", flush=True)
        rows.append(row)
    peak = matrix_peak(scale.compute_dtype, chosen.matrix, chosen.seconds)
    figures: dict[str, Any] = {"device": device(), "scale": scale.name, "dtype": scale.compute_dtype}
    figures |= {"peak_tflop_per_s": round(peak, 2), "tflop_an_hour": round(tflop_an_hour, 2)}
    for what in ("ours", "PyTorch"):
        if speed := best(rows, what):
            share = speed * tflop_an_hour / peak
            figures[what] = {"hours_per_s": round(speed, 4), "share_of_peak": round(share, 3)}
            print(f"{what}: {speed:.4g} hours of audio a second, {share:.0%} of the {peak:.3g} TFLOP/s measured")
    if "ours" in figures and "PyTorch" in figures:
        figures["ratio"] = round(figures["ours"]["hours_per_s"] / figures["PyTorch"]["hours_per_s"], 2)
        print(f"ratio: {figures['ratio']}")
    figures["rows"] = [row._asdict() for row in rows]
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
