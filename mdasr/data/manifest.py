"""Corpora as people have them: recordings with a JSON-lines manifest become a sealed corpus (§4.1)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16
from tqdm import tqdm

from mdasr.data.audio import read_audio
from mdasr.data.records import (
    Corpus,
    Utterance,
    encode_utterance,
    seal_corpus,
    shard_path,
    write_atomically,
    write_shard,
)
from mdasr.data.rows import Row, SetAside, read_rows
from mdasr.frontend import HOP, STACK, WINDOW, num_steps
from mdasr.spec import RATE_HZ

SET_ASIDE = "set_aside.jsonl"
TOLERANCE_S, TOLERANCE_SHARE = (
    0.1,
    0.01,
)  # by how much a declared duration may be wrong: the larger of the two
_ROWS_PER_SHARD = 2000
_SHORTEST_S = ((STACK - 1) * HOP + WINDOW) / RATE_HZ


@dataclass(frozen=True)
class ImportReport:
    """What an import did: the corpus, how many utterances it holds, and the lines that it does not."""

    corpus: Corpus
    kept: int
    set_aside: tuple[SetAside, ...]

    @property
    def exit_status(self) -> int:
        """For the shell: 0 where every line was kept, 3 where some were set aside."""
        return 3 if self.set_aside else 0

    def __str__(self) -> str:
        hours, where = self.corpus.info["hours"], self.corpus.directory
        lines = [f"{where}: {self.kept} utterances, {hours:.2f} h; {len(self.set_aside)} lines set aside"]
        lines += [f"  line {row.line} ({row.id}): {row.reason}" for row in self.set_aside[:10]]
        if len(self.set_aside) > 10:
            lines.append(f"  ... and {len(self.set_aside) - 10} more")
        if self.set_aside:
            lines.append(f"  all of them with their reasons: {where / SET_ASIDE}")
        return "\n".join(lines)


def import_manifest(
    path: Path | str,
    directory: Path | str,
    corpus: str,
    where: Mapping[str, str] | None = None,
    domain: str | None = None,
    spell_numbers: bool = False,
    workers: int = 1,
) -> ImportReport:
    """Turn the lines of a manifest, or those `where` field equals value, into the sealed corpus `directory`.

    `domain` replaces the lines' own. Lines and recordings that are no good are set aside with the reason, in
    the report and in `set_aside.jsonl`. Killed midway, the same call starts over; once done, it only reports.
    What is written does not depend on `workers`, the number of processes.
    Raises FileNotFoundError, FileExistsError where `directory` holds another corpus, and ValueError where no
    line is chosen, the chosen ones are of several domains, or none of them is any good.
    """
    path, directory, where = Path(path), Path(directory), dict(where or {})
    content = _read_text(path)
    made_by = {
        "manifest": path.name,
        "manifest_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "where": where,
        "spell_numbers": spell_numbers,
    }
    if (directory / "corpus.json").exists():
        return _already_done(directory, corpus, domain, made_by)
    rows, bad = read_rows(path, content, where, domain, spell_numbers)
    domains = sorted({row.domain for row in rows})
    if len(domains) > 1:
        raise ValueError(
            f"{path}: field domain: the chosen lines are of {len(domains)} domains ({', '.join(domains)}), a "
            f"corpus is of one; choose (--where domain={domains[0]}) or rename them (--domain NAME)"
        )
    _clear(directory)
    bad = sorted([*bad, *_write_shards(rows, path.parent, directory, corpus, workers)], key=lambda row: row.line)
    lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in bad)
    write_atomically(directory / SET_ASIDE, lines)
    if {row.line for row in rows} <= {row.line for row in bad}:
        raise ValueError(
            f"{path}: none of the {len(bad)} chosen lines is any good; line {bad[0].line} ({bad[0].audio}): "
            f"{bad[0].reason}. The others: {directory / SET_ASIDE}"
        )
    sealed = seal_corpus(directory, corpus, domains[0], made_by=made_by)
    return ImportReport(sealed, len(sealed), tuple(bad))


def utterance(row: Row, folder: Path, corpus: str) -> Utterance:
    """Read the recording of a row; raises as `read_audio` does, and ValueError where the two disagree."""
    path = folder / row.audio
    wave, rate_hz = read_audio(path, row.channel, row.start_s, row.end_s)
    seconds = len(wave) / RATE_HZ
    if row.sample_rate is not None and row.sample_rate != rate_hz:
        raise ValueError(f"{path}: field sample_rate says {row.sample_rate} Hz, the file {rate_hz}; correct the row")
    tolerance_s = max(TOLERANCE_S, TOLERANCE_SHARE * seconds)
    if row.duration_s is not None and abs(row.duration_s - seconds) > tolerance_s:
        raise ValueError(
            f"{path}: field duration_s says {row.duration_s:g} s, the audio lasts {seconds:.3f}; is it cut "
            "off, or another file? Correct the row"
        )
    if not num_steps(len(wave)):
        raise ValueError(f"{path}: lasts {seconds:.3f} s, less than one step ({_SHORTEST_S:.3f} s); drop the row")
    return Utterance(row.id, corpus, row.domain, row.speaker, row.text, to_int16(wave), rate_hz)


def to_int16(wave: Float32[np.ndarray, " samples"]) -> Int16[np.ndarray, " samples"]:
    """A waveform in [-1, 1) as 16-bit samples, rounded; what was 16-bit before is so again, bit for bit."""
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest (a file with one JSON object a line)")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); is this the manifest?") from None


def _already_done(directory: Path, corpus: str, domain: str | None, made_by: dict[str, object]) -> ImportReport:
    sealed = Corpus(directory)
    same = sealed.info["corpus"] == corpus and domain in (None, sealed.domain)
    if not same or sealed.info.get("made_by") != made_by:
        raise FileExistsError(f"{directory}: holds another corpus; give another directory, or delete this one")
    lines = (directory / SET_ASIDE).read_text(encoding="utf-8").splitlines()
    return ImportReport(sealed, len(sealed), tuple(SetAside(**json.loads(line)) for line in lines))


def _clear(directory: Path) -> None:
    """Take away the shards of an import that was killed: its rows may have been others."""
    for pattern in ("audio-*.array_record", "audio-*.array_record.*.part"):
        for path in directory.glob(pattern):
            path.unlink()


def _write_shards(rows: Sequence[Row], folder: Path, directory: Path, corpus: str, workers: int) -> list[SetAside]:
    """Write the rows' recordings, `_ROWS_PER_SHARD` rows a shard; returns the rows whose audio is no good."""
    count = max(1, math.ceil(len(rows) / _ROWS_PER_SHARD))
    parts = [rows[i * _ROWS_PER_SHARD : (i + 1) * _ROWS_PER_SHARD] for i in range(count)]
    paths = [shard_path(directory, "audio", i, count) for i in range(count)]
    job = partial(_write_one_shard, folder=folder, corpus=corpus)
    if workers == 1 or count == 1:
        return [row for part, path in zip(parts, paths) for row in job(part, path)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [row for bad in pool.map(job, parts, paths) for row in bad]


def _write_one_shard(rows: Sequence[Row], shard: Path, folder: Path, corpus: str) -> list[SetAside]:
    bad = []

    def records() -> Iterator[bytes]:
        for row in tqdm(rows, desc=shard.name, unit="row", disable=None):
            try:
                yield encode_utterance(utterance(row, folder, corpus))
            except (ValueError, OSError) as error:
                bad.append(SetAside(row.line, row.id, row.audio, str(error)))

    write_shard(shard, records())
    return bad
