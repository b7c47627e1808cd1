"""Alignments in the files of other tools: TextGrids (of Montreal Forced Aligner) and phone CTM (of Kaldi)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from praatio import textgrid

from mdasr.core.files import existing, read_text
from mdasr.corpus.records import Alignment, Alignments, Corpus, write_alignments
from mdasr.language.lexicon import ARPABET, SILENCE, without_stress

WORDS, PHONES = "words", "phones"  # the tiers' names, as Montreal Forced Aligner has them
_PAUSES = frozenset({"", "sil", "sp", "<eps>", "<sil>", SILENCE.lower()})
_UNKNOWN = "spn"  # the phone of Kaldi and Montreal Forced Aligner for words that their dictionaries lack
_SLACK_S = 0.05  # the largest error at the end of an utterance, and the largest overlap of phones
_ROUNDING_S = 5.1e-4  # the error of a time in milliseconds, as CTM has it
_LEAST_COVERED = 0.5  # the least share of a recording that its alignment must cover


class Span(NamedTuple):
    """A phone with its start and end in seconds."""

    start_s: float
    end_s: float
    label: str


def write_textgrid(path: Path, alignment: Alignment, seconds: float) -> None:
    """Write one alignment as a TextGrid with tiers "words" and "phones". Raises ValueError where it has no phones.

    Its times are rounded, or another tool's. So ends after the recording's end become that end, and so does a last end
    that is only rounded.
    """
    if not alignment.phones:
        raise ValueError(f"{alignment.id} is not aligned ({alignment.reason}), so there is nothing to write")
    starts = [0.0, *(min(end, seconds) for end in alignment.ends_s)]
    starts[-1] = seconds if starts[-1] > seconds - _ROUNDING_S else starts[-1]
    phones = [(*span, phone) for span, phone in zip(itertools.pairwise(starts), alignment.phones)]
    words = [(starts[first], starts[last], word) for word, first, last in alignment.words]
    grid = textgrid.Textgrid(0, seconds)
    for name, entries in ((WORDS, words), (PHONES, phones)):
        inside = [entry for entry in entries if entry[0] < entry[1]]
        grid.addTier(textgrid.IntervalTier(name, inside, 0, seconds))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True, reportingMode="error")


def read_textgrid(path: Path, utterance_id: str) -> Alignment:
    """Read an alignment from tiers "words" and "phones". Raises ValueError, which names the file and its error."""
    existing(path, "TextGrid")
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence")
        phones = [Span(e.start, e.end, e.label) for e in grid.getTier(PHONES).entries]
        words = grid.getTier(WORDS).entries if WORDS in grid.tierNames else ()
        if not np.isfinite([(e.start, e.end) for e in (*grid.getTier(PHONES).entries, *words)]).all():
            raise ValueError("a time that is not finite")
    except Exception as error:  # a damaged file can make praatio raise anything
        raise ValueError(
            f'{path}: not a TextGrid with a tier "{PHONES}" ({error}); write one with both tiers'
        ) from None
    alignment = joined(utterance_id, phones, str(path))
    starts = (0.0, *alignment.ends_s)

    def at(time_s: float) -> int:
        return min(range(len(starts)), key=lambda i: abs(starts[i] - time_s))

    spoken = tuple((w.label, at(w.start), at(w.end)) for w in words if w.label.lower() not in _PAUSES)
    return replace(alignment, words=spoken)


def ctm_lines(alignment: Alignment) -> list[str]:
    """The CTM lines of an alignment, one for each phone: utterance, channel, start and duration in s, phone.

    Raises ValueError for an id with white space, which the format cannot hold.
    """
    if alignment.id.split() != [alignment.id]:
        raise ValueError(f"utterance id {alignment.id!r} has white space, which CTM cannot hold; write TextGrids")
    starts = (0.0, *alignment.ends_s)
    return [
        f"{alignment.id} 1 {start:.3f} {end - start:.3f} {phone}"
        for start, end, phone in zip(starts, alignment.ends_s, alignment.phones)
    ]


def read_ctm(path: Path) -> dict[str, list[Span]]:
    """Read the phones of each utterance from a phone CTM. Raises ValueError, which names the broken line."""
    spans: dict[str, list[Span]] = {}
    for number, line in enumerate(read_text(path, "phone CTM").split("\n"), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            utterance, _, start, duration, phone = line.split()[:5]
            span = Span(float(start), float(start) + float(duration), phone)
            if not np.isfinite(span[:2]).all():
                raise ValueError
            spans.setdefault(utterance, []).append(span)
        except ValueError:
            raise ValueError(
                f"{path}: line {number}: {line!r} is not `utterance channel start duration phone`; correct or remove it"
            ) from None
    return spans


def joined(utterance_id: str, spans: Sequence[Span], where: str) -> Alignment:
    """Join spans into an alignment from 0 on, without gaps. A gap becomes silence; Kaldi's position suffix is removed.

    Raises ValueError, which begins with `where`, for overlapping phones, no phones, and a word that the aligner did not
    know.
    """
    phones: list[str] = []
    ends_s: list[float] = []
    now = 0.0
    for start, end, label in sorted(spans):
        if start < now - _SLACK_S or end < start:
            raise ValueError(f"{where}: {utterance_id}: {label!r} from {start} to {end} s overlaps what is before it")
        if start > now + 1e-3:
            _append(phones, ends_s, SILENCE, start)
        name = re.sub(r"_[BIES]$", "", label)
        if name.lower() == _UNKNOWN:
            raise ValueError(f"{where}: {utterance_id}: {label!r} from {start} to {end} s, a word of unknown phones")
        _append(phones, ends_s, SILENCE if name.lower() in _PAUSES else name, end)
        now = end
    if not phones:
        raise ValueError(f"{where}: {utterance_id} has no phones")
    return Alignment(utterance_id, tuple(phones), tuple(ends_s))


def _append(phones: list[str], ends_s: list[float], phone: str, end_s: float) -> None:
    """Append a phone. Silence after silence only makes that longer."""
    if phone == SILENCE and phones and phones[-1] == SILENCE:
        ends_s[-1] = end_s
    elif end_s > (ends_s[-1] if ends_s else 0):
        phones.append(phone)
        ends_s.append(end_s)


def import_alignments(corpus: Corpus, source: Path, name: str) -> Alignments:
    """Write the sidecar `name` from a phone CTM, or from a folder with a TextGrid ID.TextGrid for each utterance.

    An utterance gets no phones, but a reason, where its alignment is missing or has a word of unknown phones. The same
    holds where the alignment and the recording end at different times. ARPAbet phones get the names of lexicons: upper
    case, no stress. Raises ValueError where no alignment fits; then nothing is written.
    """
    of_ctm = read_ctm(source) if source.is_file() else None

    def read(utterance_id: str) -> Alignment:
        if of_ctm is not None:
            if utterance_id not in of_ctm:
                raise ValueError(f"{source} has no line for it")
            return joined(utterance_id, of_ctm[utterance_id], str(source))
        path = source / f"{utterance_id}.TextGrid"
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        return read_textgrid(path, utterance_id)

    alignments = []
    for i in range(len(corpus)):
        utterance = corpus[i]
        try:
            alignments.append(_fitting(read(utterance.id), utterance.seconds))
        except ValueError as error:
            alignments.append(Alignment(utterance.id, (), (), reason=str(error)))
    if not any(alignment.phones for alignment in alignments):
        reason = alignments[0].reason
        raise ValueError(f"{source}: no alignment in it fits an utterance of {corpus.directory}: {reason}")
    return write_alignments(corpus, name, _as_in_lexicons(alignments))


def _fitting(alignment: Alignment, seconds: float) -> Alignment:
    end_s = alignment.ends_s[-1]
    if not _LEAST_COVERED * seconds <= end_s <= seconds + _SLACK_S:
        raise ValueError(f"it ends at {end_s:.2f} s, but the recording at {seconds:.2f} s")
    return alignment


def _as_in_lexicons(alignments: Sequence[Alignment]) -> list[Alignment]:
    """Write phones in upper case and without stress, if all are then ARPAbet. In other phone sets, case may matter."""
    labels = {label for alignment in alignments for label in alignment.phones}
    names = {label: without_stress(label.upper()) for label in labels}
    if not {*names.values()} <= {*ARPABET, SILENCE}:
        return [*alignments]
    return [replace(a, phones=tuple(names[label] for label in a.phones)) for a in alignments]
