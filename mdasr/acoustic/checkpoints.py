"""Checkpoints that can be trusted (§3.7): Orbax writes them during training, and they are checked when they are read.

A checkpoint holds the unreplicated state, so that any number of hosts and devices can go on from it. It also holds a
seal, the digest of all its arrays. A checkpoint that does not match its seal is skipped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mdasr.core import hosts
from mdasr.core.files import read_json, write_atomically

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs pages about each error that it raises, too
OVERHEAD = 100_000  # bytes of a checkpoint beside its arrays


def digest_of(tree: Any) -> str:
    """A digest, in hex digits, of the names, shapes and bits of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def all_finite(tree: Any) -> bool:
    """Whether every number of a tree of arrays is finite."""
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def described(error: Exception) -> str:
    """The kind of an error and the first line of its text; TensorStore's errors are pages long."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def check_run(path: Path, described: dict) -> None:
    """Write the description of a training to `path`, or compare it with the one that an earlier start wrote there.

    Raises ValueError where they differ, and FileNotFoundError where this host does not see the primary host's file.
    """
    described = json.loads(json.dumps(described))
    if not path.exists():
        if not hosts.primary():
            raise FileNotFoundError(f"host {jax.process_index()} does not see {path}: hosts must share the directory")
        write_atomically(path, json.dumps(described, indent=1) + "\n")
        return
    earlier = read_json(path, "description of a training (delete the directory to begin anew)")
    different = [name for name in described if earlier.get(name) != described[name]]
    if different:
        name = different[0]
        raise ValueError(
            f"{path.parent} holds a checkpoint of another configuration: {name} was {earlier.get(name)!r} and is now "
            f"{described[name]!r}. Train to another directory, or delete this one."
        )


class Checkpoints:
    """The checkpoints of one training in `directory`: the last two are kept, and training continues during a save."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.so_far: dict[str, float] = {}  # the figures of the run up to the state that was restored
        self._manager = ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
        )

    def restore(self, like: dict[str, Any]) -> dict[str, Any] | None:
        """The last undamaged state, with the shapes of `like`; None where nothing has been saved yet.

        Damaged checkpoints are moved to `damaged/`, with a warning, once an older one proves undamaged. Raises
        ValueError where all are damaged.
        """
        problems: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            items = ocp.args.Composite(state=ocp.args.StandardRestore(like), seal=ocp.args.JsonRestore())
            try:
                saved = self._manager.restore(step, args=items)
                whole = saved["seal"]["sha256"] == digest_of(saved["state"])
            except Exception as error:  # Orbax and TensorStore raise errors of any kind for a file that is cut off
                problems[step] = described(error)
                continue
            if whole and all_finite(saved["state"]):
                self.so_far = saved["seal"].get("so_far", {})
                self._set_aside(problems, step)
                return saved["state"]
            problems[step] = (
                "it holds numbers that are not finite" if whole else "its arrays are not those that were saved"
            )
        if problems:
            listed = "; ".join(f"step {step}: {problem}" for step, problem in problems.items())
            raise ValueError(
                f"{self.directory}: every checkpoint is damaged ({listed}). Copy them again, or delete the directory "
                "to train from the beginning"
            )
        return None

    def _set_aside(self, problems: dict[int, str], good: int) -> None:
        for step, problem in problems.items():
            kept = self.directory.parent / "damaged" / str(step)
            warnings.warn(
                f"{self.directory / str(step)} is damaged ({problem}); it is kept as {kept}, and training goes on from "
                f"step {good}",
                stacklevel=3,
            )
            if hosts.primary():
                kept.parent.mkdir(exist_ok=True)
                shutil.rmtree(kept, ignore_errors=True)
                (self.directory / str(step)).rename(kept)
        if problems:
            hosts.barrier("damaged")
            self._manager.reload()

    def save(self, step: int, state: dict[str, Any], so_far: dict[str, float] | None = None) -> None:
        """Begin to save host arrays, with the figures of the run `so_far`, which `restore` reads back.

        Raises OSError where this save, or the one before it, failed. Earlier checkpoints stay.
        """
        with self._explained():
            needed = OVERHEAD + sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))
            if (free := shutil.disk_usage(self.directory).free) < needed:
                raise OSError(f"it takes {needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free")
            seal = {"step": step, "sha256": digest_of(state), "so_far": so_far or {}}
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), seal=ocp.args.JsonSave(seal))
            self._manager.save(step, args=items, force=True)

    def wait(self) -> None:
        """Wait until the last save is on the disk; raises OSError where it failed."""
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise OSError(
                f"{self.directory}: a checkpoint could not be saved ({described(error)}). Is the disk full? "
                f"{self.last_complete()}. Free some space, and start the same command again"
            ) from error

    def last_complete(self) -> str:
        """A sentence that names the step of the last complete checkpoint."""
        whole = sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdigit())
        return f"The last complete one is of step {whole[-1]}" if whole else "There is no complete one"

    def close(self) -> None:
        self._manager.close()
