"""The adaptation curve (§4.4), for any model and domain: the effect of more speech of a new domain on the WER."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdasr.core.tables import aligned
from mdasr.corpus.records import Corpus
from mdasr.model.directory import Recognizer
from mdasr.recognize.report import corpus_labels, wer_cell, wer_text
from mdasr.recognize.words import evaluate
from mdasr.training.ingredients import Training, adapting, keeping
from mdasr.training.pipeline import train_recognizer
from mdasr.training.speech_split import DomainSpeech

KEEP_SHARE = 0.2  # of the audio that a fine-tuning shows, if there is speech to keep
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
BEFORE, ADAPTED, KEPT, SCRATCH = "before", "adapted", "adapted, old speech kept", "from scratch"


def adaptation_curve(
    training: Training,
    parent: Path,
    directory: Path,
    tests: Sequence[Corpus],
    shares: Sequence[float] = SHARES,
    workers: int = 1,
    keep: Sequence[DomainSpeech] = (),
    keep_share: float = KEEP_SHARE,
) -> dict[str, Any]:
    """WER on every test corpus before adaptation, after adaptation, and after training on the new speech alone.

    With speech to `keep`, a second adaptation shows it, too (`Training`). Adaptation and training use each of the
    `shares` of the data. Models are stored in `directory`, and those that exist there are not trained again. The
    points, the least data first, are {"start", "share", "seconds" of audio, "wer": {corpus: cell}}.
    """
    model = Recognizer.read(parent)
    points, adapted = [_point(BEFORE, 0.0, 0.0, model, tests)], adapting(training, model)
    ways = {
        ADAPTED: ("adapted", adapted),
        KEPT: ("kept", keeping(adapted, keep, keep_share)),
        SCRATCH: ("scratch", training),
    }
    for name, (folder, whole) in ways.items():
        if name == KEPT and not keep:
            continue
        for share in shares:
            part = dataclasses.replace(whole, share=share)
            label = f"{name}, {share:.1%} of the speech"
            made = train_recognizer(part, directory / f"{folder}-{share:.3f}", workers=workers, label=label)
            points.append(_point(name, share, sum(made.facts["seconds_of_audio"]), made, tests))
    return {"model": str(parent), "domains": [speech.domain for speech in training.speech], "points": points}


def _point(start: str, share: float, seconds: float, recognizer: Recognizer, tests: Sequence[Corpus]) -> dict[str, Any]:
    cells = (wer_cell(evaluate(recognizer, test, (u.samples for u in test))) for test in tests)
    return {"start": start, "share": share, "seconds": seconds, "wer": dict(zip(corpus_labels(tests), cells))}


def curve_text(curve: dict[str, Any]) -> str:
    """The curve as a table, and the WER that more data would give if the trend continued."""
    tests = [*curve["points"][0]["wer"]]
    rows = [
        [f"{p['start']} {duration(p['seconds']) if p['seconds'] else ''}", *(wer_text(p["wer"][t]) for t in tests)]
        for p in curve["points"]
    ]
    lines = [aligned([["WER in % [95% interval]", *tests], *rows])]
    if fitted := power_law(curve, tests[0]):
        scale, exponent = fitted
        most = max(p["seconds"] for p in curve["points"])
        lines += [
            "",
            f"Every doubling of the data reduced the WER on {tests[0]} by {100 * (1 - 2**exponent):.0f}%. If that "
            "continued (an extrapolation, not a measurement):",
            *(f"  {duration(k * most)}: {scale * (k * most) ** exponent:.1f} %" for k in (2, 4, 8)),
        ]
    return "\n".join(lines)


def power_law(curve: dict[str, Any], test: str) -> tuple[float, float] | None:
    """The (scale, exponent) of WER = scale seconds^exponent; None where the WER does not fall, or with too few points.

    It is fitted by least squares in logarithms.
    """
    points = [(p["seconds"], p["wer"][test]["wer"]) for p in curve["points"] if p["start"] == ADAPTED]
    if len(points) < 3 or not all(wer > 0 for _, wer in points):
        return None
    seconds, wers = np.log(np.array(points)).T
    exponent, offset = np.polyfit(seconds, wers, deg=1)
    return (float(np.exp(offset)), float(exponent)) if exponent < 0 else None


def duration(seconds: float) -> str:
    """Write a duration as "38 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
