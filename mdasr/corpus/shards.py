"""Writing of checked rows as the shards of a corpus (§3.7). After a kill at any moment, the same call continues."""

from __future__ import annotations

import json
import math
import multiprocessing
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from mdasr.core.files import write_atomically
from mdasr.core.processes import die_with_parent
from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import decode_audio, read_audio, to_int16
from mdasr.corpus.columns import audio_bytes
from mdasr.corpus.entries import Row, SetAside
from mdasr.corpus.libsndfile_reader import Raw
from mdasr.corpus.records import Utterance, encode_utterance, shard_path, write_shard
from mdasr.frontend import PAPER_STEPS, num_samples

Part: TypeAlias = tuple[Sequence[Row], Path]  # the rows of a shard, and its path
Write: TypeAlias = Callable[[Sequence[Row], Path], int]
Run: TypeAlias = Callable[[Write, Sequence[Part]], None]

ROWS_PER_SHARD = 2000
# The largest error of a declared duration: the larger of the two.
TOLERANCE_S, TOLERANCE_SHARE = 0.1, 0.01
_JOB = "import.job"  # the file that names the job of the shards, as long as there is no corpus.json
_SHORTEST_S = num_samples(PAPER_STEPS.window) / RATE_HZ


def utterance(row: Row, root: Path, corpus: str) -> Utterance:
    """Read the recording of a row. Raises as `read_audio`, and ValueError where the row and the recording disagree."""
    wave, rate_hz = _read(row, root)
    name = root / row.audio if row.kind == "file" else row.audio
    seconds = len(wave) / RATE_HZ
    if row.sample_rate is not None and row.sample_rate != rate_hz:
        raise ValueError(
            f"{name}: field sample_rate is {row.sample_rate} Hz, but the file has {rate_hz}; correct the row"
        )
    tolerance_s = max(TOLERANCE_S, TOLERANCE_SHARE * seconds)
    if row.duration_s is not None and abs(row.duration_s - seconds) > tolerance_s:
        raise ValueError(
            f"{name}: field duration_s is {row.duration_s:g} s, but the audio lasts {seconds:.3f}; is it truncated, or "
            "another file? Correct the row"
        )
    if not PAPER_STEPS.steps_in(len(wave)):
        raise ValueError(f"{name}: lasts {seconds:.3f} s, less than one step ({_SHORTEST_S:.3f} s); drop the row")
    return Utterance(row.id, corpus, row.domain, row.speaker, row.text, to_int16(wave), rate_hz)


def record(row: Row, root: Path, corpus: str) -> bytes | SetAside:
    """Encode a row as the record in a shard, or return the reason why this failed."""
    try:
        return encode_utterance(utterance(row, root, corpus))
    except (ValueError, OSError, ImportError) as error:
        return SetAside(row.line, row.id, row.audio, str(error))


def write_shards(
    rows: Sequence[Row],
    root: Path,
    directory: Path,
    corpus: str,
    job: str,
    run: Run,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> list[SetAside]:
    """Write the rows' recordings, `rows_per_shard` in each shard. Return the rows that have unusable audio.

    `job` names everything that the rows depend on. Shards of the same job in `directory` are kept, and those of another
    job are removed. `run` writes the shards here or elsewhere; they do not depend on it.
    """
    count = max(1, math.ceil(len(rows) / rows_per_shard))
    parts = [rows[i * rows_per_shard : (i + 1) * rows_per_shard] for i in range(count)]
    paths = [shard_path(directory, "audio", i, count) for i in range(count)]
    _claim(directory, f"{job} {len(rows)} {rows_per_shard}\n", paths)
    todo = [(part, path) for part, path in zip(parts, paths) if not path.exists()]
    if todo:
        run(partial(_write_one, root=root, corpus=corpus), todo)
    # Not splitlines, which also splits at characters that a name may contain.
    lines = [line for path in paths for line in _beside(path).read_text("utf-8").split("\n") if line]
    return [SetAside(**json.loads(line)) for line in lines]


def in_processes(write: Write, todo: Sequence[Part], workers: int = 1) -> None:
    """Write shards in `workers` processes of this machine, or in this process. Raises ChildProcessError if one dies."""
    if workers == 1 or len(todo) < 2:
        for part, path in todo:
            write(part, path)
        return
    total = sum(len(part) for part, _ in todo)
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=die_with_parent) as pool,
        track(total=total, desc="recordings", unit="row", delay=2) as bar,
    ):
        try:
            for done in pool.map(write, *zip(*todo)):
                bar.update(done)
        except BrokenProcessPool:
            raise ChildProcessError(
                "a worker process died, for lack of memory or in a decoder. The same command continues after the last "
                "complete shard. With --workers 1, it shows the recording at which it dies; drop the line of that one"
            ) from None


def tidy(directory: Path) -> None:
    """Remove the files of a sealed corpus that only an unfinished import needs."""
    for pattern in (_JOB, "audio-*.set_aside", "audio-*.rows", "audio-*.part"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


def _claim(directory: Path, job: str, shards: Sequence[Path]) -> None:
    """Take the directory for a job: remove the files of another job, and files that are only partly written."""
    mark = directory / _JOB
    stale = not mark.exists() or mark.read_text("utf-8") != job
    ours = set() if stale else {path for shard in shards for path in (shard, _beside(shard))}
    # A shard is removed before the file beside it, so that every shard has such a file.
    for pattern in ("audio-*.array_record", "audio-*.set_aside"):
        for path in set(directory.glob(pattern)) - ours:
            path.unlink()
    for path in directory.glob("audio-*.part"):
        path.unlink(missing_ok=True)
    write_atomically(mark, job)


def _beside(shard: Path) -> Path:
    """The file with the rows that are not in a shard. It is complete before the shard gets its name."""
    return shard.with_suffix(".set_aside")


def _write_one(rows: Sequence[Row], shard: Path, root: Path, corpus: str) -> int:
    in_worker = multiprocessing.parent_process() is not None

    def records() -> Iterator[bytes]:
        bad = []
        for row in track(rows, desc=shard.name, unit="row", delay=2, disable=in_worker):
            made = record(row, root, corpus)
            if isinstance(made, bytes):
                yield made
            else:
                bad.append(json.dumps(asdict(made), ensure_ascii=False) + "\n")
        write_atomically(_beside(shard), "".join(bad))

    write_shard(shard, records())
    return len(rows)


def _read(row: Row, root: Path) -> tuple[Float32[np.ndarray, " samples"], int]:
    raw = Raw(row.encoding, row.sample_rate) if row.encoding and row.sample_rate else None
    if row.kind == "file":
        try:
            return read_audio(root / row.audio, row.channel, row.start_s, row.end_s, raw)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} (paths are relative to the manifest's folder, or --root DIR)") from None
    if row.kind == "command":
        return decode_audio(_output(row.audio, root), row.audio, row.channel, row.start_s, row.end_s, raw)
    place, column, index = row.audio.rsplit(":", 2)
    content = audio_bytes(root / place, column, int(index))
    return decode_audio(content, row.audio, row.channel, row.start_s, row.end_s)


@lru_cache(maxsize=1)
def _output(command: str, root: Path) -> bytes:
    """The output of a shell command, run in `root`. It is kept for the next row, often of the same recording."""
    done = subprocess.run(command, shell=True, cwd=root, capture_output=True)  # allowed: Source.allow_commands
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()[-300:]
        raise ValueError(f"{command!r} ends with status {done.returncode}: {message or 'no message'}")
    return done.stdout
