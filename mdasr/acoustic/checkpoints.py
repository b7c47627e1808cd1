"""Checkpoints that can be trusted (§3.7): written beside the training, by Orbax, and checked when they are read.

A checkpoint holds the unreplicated state, so that any number of hosts and devices can go on from it, and a seal: the
digest of all its arrays. One that does not answer to its seal is passed over.
"""

from __future__ import annotations

import hashlib
import json
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


def digest_of(tree: Any) -> str:
    """Hex digits that stand for the names, shapes and bits of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def described(error: Exception) -> str:
    """Kind and first line: what TensorStore raises goes on for pages."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def check_run(path: Path, described: dict) -> None:
    """Write what is trained to `path`, or compare with what an earlier start wrote there."""
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
    """The checkpoints of one training in `directory`; the last two are kept, and saving does not hold up training."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.so_far: dict[str, float] = {}  # what the run was like up to the state that was restored
        self._manager = ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
        )

    def restore(self, like: dict[str, Any]) -> dict[str, Any] | None:
        """The last whole state, shaped as `like`; None where nothing was saved yet.

        A damaged checkpoint is moved to `damaged/`, with a warning, once an older one was found whole. ValueError where
        none is.
        """
        problems: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            items = ocp.args.Composite(state=ocp.args.StandardRestore(like), seal=ocp.args.JsonRestore())
            try:
                saved = self._manager.restore(step, args=items)
                whole = saved["seal"]["sha256"] == digest_of(saved["state"])
            except Exception as error:  # Orbax and TensorStore raise whatever comes out of a file that is cut off
                problems[step] = described(error)
                continue
            if whole:
                self.so_far = saved["seal"].get("so_far", {})
                self._set_aside(problems, step)
                return saved["state"]
            problems[step] = "its arrays are not those that were saved"
        if problems:
            listed = "; ".join(f"step {step}: {problem}" for step, problem in problems.items())
            raise ValueError(
                f"{self.directory}: no checkpoint is whole ({listed}). Copy them again, or delete the directory to "
                "train from the beginning"
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
        """Begin to save host arrays, and what the run was like `so_far`, which `restore` makes known again.

        OSError where this, or the save before, failed. What was saved earlier stays.
        """
        with self._explained():
            seal = {"step": step, "sha256": digest_of(state), "so_far": so_far or {}}
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), seal=ocp.args.JsonSave(seal))
            self._manager.save(step, args=items, force=True)

    def wait(self) -> None:
        """Until the last save is on the disk; OSError where it failed."""
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            whole = sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdigit())
            last = f"that of step {whole[-1]} is whole" if whole else "there is none"
            raise OSError(
                f"{self.directory}: a checkpoint could not be saved ({described(error)}). Is the disk full? Of those "
                f"saved before, {last}; make room, and start the same command again"
            ) from error

    def close(self) -> None:
        self._manager.close()
