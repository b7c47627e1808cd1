"""Reading and writing of whole files.

Errors of a reader say what the file should be and how to get it. A writer replaces a file in one step or not at all.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# The first bytes of packed files, as regular expressions: the name of the format, and how to read an open file.
PACKED: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    rb"\x1f\x8b": ("gzip", gzip.open),
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": ("bzip2", bz2.open),
    rb"\xfd7zXZ\x00": ("xz", lzma.open),
}
PACKED_MARK = 10  # bytes


def existing(path: Path | str, what: str) -> Path:
    """Return `path` if a file is there. Raises FileNotFoundError, which says with `what` what the file should be."""
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(f"{path}: no such {what}{'; it is a folder' if path.is_dir() else ''}")
    return path


@contextmanager
def unpacked(path: Path | str, what: str) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, unpacked where it is a file of gzip, bzip2 or xz; the name does not matter.

    `what` is that of `existing`. Raises ValueError as `unpacking`.
    """
    with existing(path, what).open("rb") as file, unpacking(file) as content:
        yield content


@contextmanager
def unpacking(file: BufferedReader) -> Iterator[BinaryIO]:
    """The unpacked bytes of an open file. Raises ValueError for damaged data, also while it is read in the block."""
    begin = file.peek(PACKED_MARK)[:PACKED_MARK]
    name, opener = next((how for mark, how in PACKED.items() if re.match(mark, begin, re.DOTALL)), ("", None))
    if opener is None:
        yield file
        return
    try:
        with opener(file) as content:
            yield content
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise ValueError(f"{file.name}: damaged {name} ({error}); copy or download it again") from None


def read_text(path: Path | str, what: str, encoding: str = "utf-8-sig", errors: str = "strict") -> str:
    """Read a text file in UTF-8, packed (`unpacked`) or not, with or without a byte-order mark.

    `what` says what the file should be and, in brackets after that, how to get one. `errors` is that of
    `bytes.decode`. Raises OSError where the file is missing, and ValueError where it is damaged or not UTF-8.
    """
    try:
        with unpacked(path, what) as file:
            return file.read().decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); is this the {what.split(' (')[0]}?") from None


def read_json(path: Path | str, what: str) -> dict[str, Any]:
    """Read a file that holds a JSON object. Raises as `read_text`, and ValueError where it holds anything else."""
    text = read_text(path, what)
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for the {what}") from None
    except ValueError as error:
        why = error if text.strip() else "it is empty"
        raise ValueError(f"{path}: not JSON ({why}); is this the {what.split(' (')[0]}?") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a JSON object; it should be the {what}")
    return content


def read_array(path: Path | str, what: str, mapped: bool = False) -> np.ndarray:
    """Read the array of an .npy file, memory-mapped if `mapped`. Raises OSError, and ValueError where it is damaged."""
    return _loaded(path, what, "r" if mapped else None)


def read_arrays(path: Path | str, what: str) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file, by name. Raises OSError, and ValueError where it is damaged."""
    return _loaded(path, what, None, dict)


def _loaded(path: Path | str, what: str, mapped: Any, kind: type = np.ndarray) -> Any:
    path = existing(path, what)
    try:
        with path.open("rb") as file:  # numpy would leave a damaged .npz open
            loaded = np.load(path if mapped else file, mmap_mode=mapped, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                with loaded:
                    loaded = {name: loaded[name] for name in loaded.files}
    except Exception as error:  # a damaged file can make numpy, zipfile and zlib raise anything
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}); it should be the {what}") from None
    if not isinstance(loaded, kind):
        raise ValueError(f"{path}: not an {'.npz' if kind is dict else '.npy'} file; it should be the {what}")
    return loaded


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file's bytes, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`. It replaces `path` in one step when the block ends.

    So a reader sees either the old content or the new content. The folder is made where it is missing. If the block
    raises an error, the temporary file is removed. An OSError then names `path`, such as that of a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield partial
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)
        raise
    partial.rename(path)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of `path` in one step, as `replacing` does. Text is written as UTF-8."""
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
