"""Alignments in the files of other tools: TextGrids (Montreal Forced Aligner's) and phone CTM (Kaldi's)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from praatio import textgrid

from mdasr.data.records import Alignment, Alignments, Corpus, write_alignments
from mdasr.files import existing, read_text
from mdasr.language.lexicon import SILENCE

WORDS, PHONES = "words", "phones"  # the tiers' names, as Montreal Forced Aligner has them
_PAUSES = frozenset({"", "sil", "sp", "spn", "<eps>", "<sil>", SILENCE.lower()})
_SLACK_S = 0.05  # by how much files may miss an utterance's end, and phones their neighbours


def write_textgrid(path: Path, alignment: Alignment, seconds: float) -> None:
    """One alignment as a TextGrid with tiers "words" and "phones"; ValueError where there are no phones."""
    if not alignment.phones:
        raise ValueError(f"{alignment.id} is not aligned ({alignment.reason}), so there is nothing to write")
    starts = (0.0, *alignment.ends_s)
    phones = [(starts[i], end, phone) for i, (phone, end) in enumerate(zip(alignment.phones, alignment.ends_s))]
    words = [(starts[first], starts[last], word) for word, first, last in alignment.words]
    grid = textgrid.Textgrid(0, seconds)
    for name, entries in ((WORDS, words), (PHONES, phones)):
        grid.addTier(textgrid.IntervalTier(name, entries, 0, seconds))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True, reportingMode="error")


def read_textgrid(path: Path, utterance_id: str) -> Alignment:
    """An alignment from tiers "words" and "phones"; ValueError names the file and what is wrong with it."""
    existing(path, "TextGrid")
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence")
        phones = [(e.start, e.end, e.label) for e in grid.getTier(PHONES).entries]
        words = grid.getTier(WORDS).entries if WORDS in grid.tierNames else ()
        if not np.isfinite([(e.start, e.end) for e in (*grid.getTier(PHONES).entries, *words)]).all():
            raise ValueError("a time that is not finite")
    except Exception as error:  # praatio raises whatever comes out of a damaged file
        raise ValueError(
            f'{path}: not a TextGrid with a tier "{PHONES}" ({error}); write one with both tiers'
        ) from None
    alignment = _joined(utterance_id, phones, str(path))
    starts = (0.0, *alignment.ends_s)

    def at(time_s: float) -> int:
        return min(range(len(starts)), key=lambda i: abs(starts[i] - time_s))

    spoken = tuple((w.label, at(w.start), at(w.end)) for w in words if w.label.lower() not in _PAUSES)
    return Alignment(utterance_id, alignment.phones, alignment.ends_s, spoken)


def ctm_lines(alignment: Alignment) -> list[str]:
    """A line a phone: utterance, channel, start and duration in s, phone."""
    starts = (0.0, *alignment.ends_s)
    return [
        f"{alignment.id} 1 {start:.3f} {end - start:.3f} {phone}"
        for start, end, phone in zip(starts, alignment.ends_s, alignment.phones)
    ]


def read_ctm(path: Path) -> dict[str, Alignment]:
    """Alignments by utterance from a phone CTM; ValueError names the line that is wrong."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for number, line in enumerate(read_text(path, "phone CTM").splitlines(), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            utterance, _, start, duration, phone = line.split()[:5]
            times_s = float(start), float(start) + float(duration)
            if not np.isfinite(times_s).all():
                raise ValueError
            found.setdefault(utterance, []).append((*times_s, phone))
        except ValueError:
            raise ValueError(
                f"{path}: line {number}: {line!r} is not `utterance channel start duration phone`; mend or drop it"
            ) from None
    return {utterance: _joined(utterance, phones, str(path)) for utterance, phones in found.items()}


def _joined(utterance_id: str, spans: list[tuple[float, float, str]], where: str) -> Alignment:
    """Phones from 0 on without gaps: a gap is silence, stress and Kaldi's place in the word are dropped."""
    phones: list[str] = []
    ends_s: list[float] = []
    now = 0.0
    for start, end, label in sorted(spans):
        if start < now - _SLACK_S or end < start:
            raise ValueError(f"{where}: {utterance_id}: {label!r} from {start} to {end} s overlaps what is before it")
        if start > now + 1e-3:
            _append(phones, ends_s, SILENCE, start)
        name = re.sub(r"(\d?)(_[BIES])?$", "", label).upper()
        _append(phones, ends_s, SILENCE if label.lower() in _PAUSES or not name else name, end)
        now = end
    if not phones:
        raise ValueError(f"{where}: {utterance_id} has no phones")
    return Alignment(utterance_id, tuple(phones), tuple(ends_s))


def _append(phones: list[str], ends_s: list[float], phone: str, end_s: float) -> None:
    """One phone more; silence after silence makes it longer."""
    if phone == SILENCE and phones and phones[-1] == SILENCE:
        ends_s[-1] = end_s
    elif end_s > (ends_s[-1] if ends_s else 0):
        phones.append(phone)
        ends_s.append(end_s)


def import_alignments(corpus: Corpus, source: Path, name: str) -> Alignments:
    """Write the sidecar `name` from a phone CTM, or from a folder with a TextGrid an utterance, called by its id.

    An utterance without one, or with one that ends elsewhere than its recording, is set aside with the reason.
    ValueError where none fits.
    """
    of_ctm = read_ctm(source) if source.is_file() else None

    def alignments() -> Iterator[Alignment]:
        for utterance in corpus:
            try:
                yield _fitting(_found(utterance.id), utterance.seconds)
            except ValueError as error:
                yield Alignment(utterance.id, (), (), reason=str(error))

    def _found(utterance_id: str) -> Alignment:
        if of_ctm is not None:
            if utterance_id not in of_ctm:
                raise ValueError(f"{source} has no line for it")
            return of_ctm[utterance_id]
        path = source / f"{utterance_id}.TextGrid"
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        return read_textgrid(path, utterance_id)

    written = write_alignments(corpus, name, alignments())
    if not written.usable.any():
        raise ValueError(f"{source}: no alignment in it fits an utterance of {corpus.directory}: {written[0].reason}")
    return written


def _fitting(alignment: Alignment, seconds: float) -> Alignment:
    if alignment.ends_s[-1] > seconds + _SLACK_S:
        raise ValueError(f"it ends at {alignment.ends_s[-1]:.2f} s, but the recording at {seconds:.2f} s")
    return alignment
