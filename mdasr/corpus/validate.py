"""Validation of a corpus: durations, levels, bandwidth, transcripts and duplicates, measured for each utterance."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mdasr.core.processes import die_with_parent
from mdasr.core.progress import track
from mdasr.corpus.entries import Choice, Row, SetAside, read_rows
from mdasr.corpus.importers import read_source
from mdasr.corpus.listing import Origin
from mdasr.corpus.measures import LEAST_MODULATION, Measures, implausible, measure, noise_alone
from mdasr.corpus.records import Corpus
from mdasr.corpus.shards import utterance

Part = TypeVar("Part")

_QUANTILES = {
    "seconds": "seconds (least, 5%, half, 95%, most)",
    "chars_per_s": "characters a second",
    "clipped": "share of samples clipped",
    "silent": "share of frames silent",
    "dc": "offset (DC), share of the level",
    "level_dbfs": "level where it is loud, in dBFS",
    "modulation": "modulation at 2 to 10 Hz",
}
_PART = 200  # the number of utterances that a worker process gets at a time


@dataclass(frozen=True)
class Limits:
    """The limits of the measures. A measure above its limit is a problem; levels and modulations are so below theirs.

    `clipped` is a share of samples, `silent` a share of frames, and `dc` a share of the level.
    """

    chars_per_s: float = 30.0
    clipped: float = 0.01
    silent: float = 0.95
    dc: float = 0.1
    dbfs: float = -50.0
    modulation: float = LEAST_MODULATION
    seconds: float = 60.0


@dataclass(frozen=True)
class Problem:
    """A problem of one utterance, for a person to look at. `kind` is the same for all with the same fault."""

    kind: str
    key: str
    reason: str


@dataclass(frozen=True)
class Validation:
    """All measures and problems of a validation. `what` is the name of the validated corpora or source."""

    what: str
    measures: Sequence[Measures]
    problems: Sequence[Problem] = field(default=())

    @property
    def exit_status(self) -> int:
        """The exit status for the shell: 0 if there are no problems, 3 if there are some."""
        return 3 if self.problems else 0

    def __str__(self) -> str:
        facts = summary(self)
        size = "{utterances} utterances, {hours:.2f} h, {speakers} speakers, {words} words".format(**facts)
        lines = [f"{self.what}: {size}"]
        for name, title in _QUANTILES.items():
            lines.append(f"  {title:38}" + ", ".join(f"{value:g}" for value in facts[name]))
        for name, title in {"rates_hz": "rate in Hz", "bandwidths_khz": "bandwidth in kHz"}.items():
            lines.append(f"  {title:38}" + ", ".join(f"{value:g}: {count}" for value, count in facts[name].items()))
        lines.append(f"  {facts['narrowed']} narrower than their rate allows: from MP3, a telephone, or a lower rate?")
        lines.append(f"  {'characters':38}" + " ".join(f"{c}:{count}" for c, count in facts["characters"].items()))
        for kind, count in facts["problems"].items():
            lines.append(f"problem: {kind}: {count}")
            mine = [problem for problem in self.problems if problem.kind == kind]
            lines += [f"  {problem.key}: {problem.reason}" for problem in mine[:5]] + ["  ..."] * (count > 5)
        return "\n".join(lines if self.problems else [*lines, "no problems"])


def validate_corpora(directories: Sequence[Path], limits: Limits, workers: int = 1) -> Validation:
    """Measure sealed corpora. Audio that occurs in two of them is a problem, as it is within one.

    So are the faults of alignments: utterances that are not aligned, and phones of implausible length.
    """
    corpora = [Corpus(directory) for directory in directories]
    parts = [
        (corpus, range(first, min(first + _PART, len(corpus))))
        for corpus in corpora
        for first in range(0, len(corpus), _PART)
    ]
    measures = _run(_measure_part, parts, sum(map(len, corpora)), workers)
    found = validation(", ".join(map(str, directories)), measures, limits)
    misaligned = [problem for corpus in corpora for problem in _misaligned(corpus)]
    return replace(found, problems=[*found.problems, *misaligned])


def _misaligned(corpus: Corpus) -> Iterator[Problem]:
    """The faults of all alignments that a corpus has."""
    for name in corpus.alignment_names():
        for alignment in corpus.alignments(name):
            if reason := alignment.reason or implausible(alignment):
                yield Problem("alignment", f"{corpus.info['corpus']}/{alignment.id}", f"{name}: {reason}")


def validate_source(source: Origin, choice: Choice, limits: Limits, workers: int = 1) -> Validation:
    """Measure the utterances that an import would take. Those that it would set aside are problems.

    Raises as `import_corpus`.
    """
    listing = read_source(source)
    rows, bad = read_rows(listing, choice)
    parts = [rows[first : first + _PART] for first in range(0, len(rows), _PART)]
    measures = _run(partial(_measure_rows, root=listing.root, name=source.path.stem), parts, len(rows), workers)
    return validation(str(source.path), itertools.chain(bad, measures), limits)


def validation(what: str, found: Iterable[Measures | SetAside], limits: Limits) -> Validation:
    """Compare measures with the limits, and with each other for duplicates."""
    measures, problems = [], []
    for one in found:
        if isinstance(one, SetAside):
            problems.append(Problem("not usable", one.id or f"line {one.line}", one.reason))
        else:
            measures.append(one)
            problems += _faults(one, limits)
    return Validation(what, measures, problems + _duplicates(measures))


def _faults(one: Measures, limits: Limits) -> Iterator[Problem]:
    if one.chars_per_s > limits.chars_per_s:
        reason = f"{len(one.text)} characters in {one.seconds:.2f} s are {one.chars_per_s:.0f} a second"
        yield Problem("transcript too long for its audio", one.key, reason)
    if one.clipped > limits.clipped:
        yield Problem("clipped", one.key, f"{one.clipped:.1%} of samples")
    if one.silent > limits.silent:
        yield Problem("silent", one.key, f"{one.silent:.0%} of frames are 40 dB below the loudest")
    if one.dc_share > limits.dc:
        reason = f"the mean of the samples is {one.dc:.4f} of full scale, {one.dc_share:.0%} of the level"
        yield Problem("offset (DC)", one.key, reason)
    if one.level_dbfs < limits.dbfs:
        yield Problem("quiet", one.key, f"{one.level_dbfs:.0f} dBFS where it is loud")
    if one.text and noise_alone(one.seconds, one.modulation, limits.modulation):
        yield Problem("noise alone", one.key, f"words, but a modulation of {one.modulation:.2f}; speech has about 1")
    if one.seconds > limits.seconds:
        yield Problem("long", one.key, f"{one.seconds:.0f} s")


def _duplicates(measures: Iterable[Measures]) -> list[Problem]:
    problems = []
    keys: set[str] = set()
    audio: dict[str, str] = {}
    for one in measures:
        if one.key in keys:
            problems.append(Problem("id twice", one.key, "another utterance has the same corpus and id"))
        elif one.sha256 in audio:
            problems.append(Problem("audio twice", one.key, f"the same samples as {audio[one.sha256]}"))
        keys.add(one.key)
        audio.setdefault(one.sha256, one.key)
    return problems


def _measure_part(part: tuple[Corpus, range]) -> list[Measures | SetAside]:
    corpus, indices = part
    return [measure(corpus[i]) for i in indices]


def _measure_rows(rows: Sequence[Row], root: Path, name: str) -> list[Measures | SetAside]:
    return [_measure_row(row, root, name) for row in rows]


def _measure_row(row: Row, root: Path, name: str) -> Measures | SetAside:
    try:
        return measure(utterance(row, root, name))
    except (ValueError, OSError, ImportError) as error:
        return SetAside(row.line, row.id, row.audio, str(error))


def _run(
    job: Callable[[Part], list[Measures | SetAside]], parts: Sequence[Part], total: int, workers: int
) -> Iterator[Measures | SetAside]:
    """Yield the results of a job for all parts, in their order."""
    with ExitStack() as stack:
        bar = stack.enter_context(track(total=total, desc="measuring", unit="utt", delay=2))
        results: Iterable[list[Measures | SetAside]] = map(job, parts)
        if workers > 1 and len(parts) > 1:
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=die_with_parent)
            results = stack.enter_context(pool).map(job, parts)
        for result in results:
            bar.update(len(result))
            yield from result


def summary(found: Validation) -> dict[str, Any]:
    """The figures of a validation: counts, hours, quantiles (least, 5%, half, 95%, most), characters."""
    m = found.measures

    def quantiles(values: Iterable[float]) -> list[float]:
        return [round(float(v), 3) for v in np.quantile([*values], [0, 0.05, 0.5, 0.95, 1])] if m else []

    return {
        "utterances": len(m),
        "hours": round(sum(one.seconds for one in m) / 3600, 4),
        "speakers": len({one.speaker for one in m}),
        "words": sum(len(one.text.split()) for one in m),
        "seconds": quantiles(one.seconds for one in m),
        "chars_per_s": quantiles(one.chars_per_s for one in m),
        "clipped": quantiles(one.clipped for one in m),
        "silent": quantiles(one.silent for one in m),
        "dc": quantiles(one.dc_share for one in m),
        "level_dbfs": quantiles(one.level_dbfs for one in m),
        "modulation": quantiles(one.modulation for one in m),
        "rates_hz": dict(sorted(Counter(one.rate_hz for one in m).items())),
        "bandwidths_khz": dict(sorted(Counter(round(one.bandwidth_hz / 500) / 2 for one in m).items())),
        "narrowed": sum(one.narrowed for one in m),
        "characters": dict(Counter(c for one in m for c in one.text if c != " ").most_common()),
        "problems": dict(Counter(problem.kind for problem in found.problems)),
    }


def validation_json(found: Validation) -> dict[str, Any]:
    """All results of a validation, for each utterance, as JSON for other programs."""
    problems = [asdict(problem) for problem in found.problems]
    return {"what": found.what, **summary(found), "all_problems": problems, "all": [asdict(m) for m in found.measures]}
