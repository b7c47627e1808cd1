"""Shards written by an Apache Beam pipeline, for corpora that are too large for one machine (extra `beam`).

Its workers call the same functions as local processes. They need this package, and the audio and the corpus' directory
under the same paths (a shared file system). If Beam writes a shard twice, both are the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mdasr.core.files import write_atomically
from mdasr.core.requirements import optional
from mdasr.corpus.entries import Row
from mdasr.corpus.shards import Part, Run, Write


def in_pipeline(options: Sequence[str]) -> Run:
    """Return the argument `run` of `import_corpus`, for Beam's options such as --runner.

    Raises ImportError where Beam is not installed.
    """
    optional("apache_beam", "mdasr[beam]")
    return partial(_run, options=list(options))


def _run(write: Write, todo: Sequence[Part], options: list[str]) -> None:
    import apache_beam as beam

    # The rows are passed in files: runners refuse pipelines that contain millions of rows.
    for rows, shard in todo:
        write_atomically(_beside(shard), json.dumps([asdict(row) for row in rows]))
    with beam.Pipeline(argv=options) as pipeline:
        shards = pipeline | beam.Create([str(shard) for _, shard in todo])
        _ = shards | beam.Reshuffle() | beam.Map(partial(_write, write=write))
    for _, shard in todo:
        _beside(shard).unlink()


def _write(shard: str, write: Write) -> int:
    rows = json.loads(_beside(Path(shard)).read_text(encoding="utf-8"))
    return write([Row(**row) for row in rows], Path(shard))


def _beside(shard: Path) -> Path:
    return shard.with_suffix(".rows")
