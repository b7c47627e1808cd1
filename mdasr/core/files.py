"""Files: read whole or refused with what they should be and how to come by it; written whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def existing(path: Path | str, what: str) -> Path:
    """`path` where a file lies there; FileNotFoundError tells `what` should."""
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(f"{path}: no such {what}{'; it is a folder' if path.is_dir() else ''}")
    return path


def read_text(path: Path | str, what: str, encoding: str = "utf-8-sig") -> str:
    """A text file in UTF-8, with a byte-order mark or not, gzipped where it is called so.

    `what` says what the file should be, and in brackets behind that how to come by one. Raises OSError where it is not
    there, and ValueError where it is not UTF-8 or damaged.
    """
    path = existing(path, what)
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); is this the {what.split(' (')[0]}?") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip ({error}); copy or download it again") from None


def read_json(path: Path | str, what: str) -> dict[str, Any]:
    """The JSON object that a file holds; raises as `read_text`, and ValueError where it holds anything else."""
    text = read_text(path, what)
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for the {what}") from None
    except ValueError as error:
        why = error if text.strip() else "it is empty"
        raise ValueError(f"{path}: not JSON ({why}); is this the {what.split(' (')[0]}?") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a {type(found).__name__} where a JSON object should be: the {what}")
    return found


def read_array(path: Path | str, what: str, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file, mapped to memory if asked for; raises OSError, and ValueError where it is damaged."""
    return _loaded(path, what, "r" if mapped else None)


def read_arrays(path: Path | str, what: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; raises OSError, and ValueError where it is damaged."""
    return _loaded(path, what, None, dict)


def _loaded(path: Path | str, what: str, mapped: Any, kind: type = np.ndarray) -> Any:
    path = existing(path, what)
    try:
        found = np.load(path, mmap_mode=mapped, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                found = {name: found[name] for name in found.files}
    except Exception as error:  # numpy, zipfile and zlib raise whatever comes out of a damaged file
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}); it should be the {what}") from None
    if not isinstance(found, kind):
        raise ValueError(f"{path}: not a file of {'arrays' if kind is dict else 'an array'}; it should be the {what}")
    return found


def sha256_of(path: Path) -> str:
    """Hex digits that stand for a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, beside `path`, which takes its place in one step when the block ends without an error.

    So a reader sees the old content or the new and never half. Makes the folder; an error removes the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(path)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` in one step by `content`, as `replacing` does; text is written as UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Replace an .npy file in one step."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace an .npz file in one step."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
