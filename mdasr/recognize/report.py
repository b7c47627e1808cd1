"""Word error rates for people and for programs: cells with intervals, comparisons, tables of trials."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdasr.core.tables import aligned
from mdasr.corpus.records import Corpus
from mdasr.decode.lattice import Lattice
from mdasr.decode.paths import oracle_errors
from mdasr.perturb.conditions import Suite
from mdasr.score.wer import (
    GAP,
    Errors,
    Scored,
    confusions,
    count_errors,
    grouped,
    mapsswe,
    paired_interval,
    wer_interval,
)

if TYPE_CHECKING:
    from mdasr.recognize.tune import Trial


def wer_cell(*runs: Sequence[Scored], seed: int = 0) -> dict[str, Any]:
    """Word error rate of a test set with its 95% interval and its counts, over one or more training runs.

    The interval is over speakers (and runs), or over utterances where there is a single speaker; "ci95_over" says
    which. For a single utterance there is no interval, and both are None.
    """
    scored = [s for run in runs for s in run]
    errors = [s.errors for s in scored]
    total = sum(errors, Errors())
    over, groups = grouped(scored)
    of_run = [i for i, run in enumerate(runs) for _ in run]
    interval = None
    if _enough(errors, groups):
        ends = wer_interval(errors, groups, np.random.default_rng(seed), runs=of_run)
        interval = [round(end, 4) for end in ends]
    by_run = [round(sum((s.errors for s in run), Errors()).wer, 4) for run in runs]
    return {
        "wer": round(total.wer, 4),
        "ci95": interval,
        "ci95_over": over if interval else None,
        "ref_words": total.ref_words,
        "sub": total.sub,
        "ins": total.ins,
        "del": total.dele,
        **({"wer_by_seed": by_run} if len(runs) > 1 else {}),
    }


def false_words(scored: Sequence[Scored], seconds: Iterable[float]) -> dict[str, Any] | None:
    """The words that were heard where nobody speaks, in the utterances without words; None where there are none.

    `seconds` are the durations of all utterances of `scored`.
    """
    heard = [(s.errors.ins, duration) for s, duration in zip(scored, seconds, strict=True) if not s.errors.ref_words]
    if not heard:
        return None
    words, minutes = sum(count for count, _ in heard), sum(duration for _, duration in heard) / 60
    rate = round(words / minutes, 4)
    return {"utterances": len(heard), "minutes": round(minutes, 4), "words": words, "per_minute": rate}


LENGTHS_S = (2, 5, 10, 20)  # where classes of utterances end, in seconds


def wer_by_length(scored: Sequence[Scored], seconds: Iterable[float]) -> list[dict[str, Any]]:
    """The word error rates of short and of long utterances: one cell for each class of `LENGTHS_S` that has words.

    `seconds` are the durations of all utterances of `scored`. A class holds durations from "from_s" to below "to_s".
    """
    classes: dict[int, list[Errors]] = {}
    for s, duration in zip(scored, seconds, strict=True):
        classes.setdefault(bisect.bisect(LENGTHS_S, duration), []).append(s.errors)
    ends, cells = (0, *LENGTHS_S, None), []
    for place, errors in sorted(classes.items()):
        if (total := sum(errors, Errors())).ref_words:
            facts = {"utterances": len(errors), "ref_words": total.ref_words, "wer": round(total.wer, 4)}
            cells.append({"from_s": ends[place], "to_s": ends[place + 1], **facts})
    return cells


def lengths_text(cells: Sequence[Mapping[str, Any]]) -> str:
    """Write the cells of `wer_by_length` as a line: "0-2 s 30.0 % (10 words), 20 s and more 12.0 % (9 words)"."""

    def line(cell: Mapping[str, Any]) -> str:
        range_s = f"{cell['from_s']}-{cell['to_s']} s" if cell["to_s"] else f"{cell['from_s']} s and more"
        return f"{range_s} {cell['wer']:.1f} % ({cell['ref_words']} words)"

    return ", ".join(map(line, cells))


def degradation(cells: Sequence[Mapping[str, Any]], suite: Suite) -> dict[str, Any]:
    """Compare the conditions of a suite with clean speech: the relative rise of the WER in percent, on one corpus.

    "relative" has the rise of each condition, and "kinds" the mean of each kind. "mean" is the mean over kinds, so that
    each kind counts the same, however many conditions it has. All are None where clean speech has no errors.
    """
    rates = {cell["condition"]: cell["wer"] for cell in cells}
    clean = rates.pop("clean")
    if not clean:
        return {"relative": dict.fromkeys(rates), "kinds": dict.fromkeys(suite.kinds), "mean": None}
    relative = {words: 100 * (wer / clean - 1) for words, wer in rates.items()}
    kinds = {kind: float(np.mean([relative[words] for words in each])) for kind, each in suite.kinds.items()}
    rounded = [{name: round(rise, 4) for name, rise in rises.items()} for rises in (relative, kinds)]
    return {"relative": rounded[0], "kinds": rounded[1], "mean": round(float(np.mean([*kinds.values()])), 4)}


def rise_text(rise: float | None) -> str:
    """Write a relative rise as "+31", or as "-" where there is none."""
    return "-" if rise is None else f"{rise:+.0f}"


def suite_text(cells: Sequence[Mapping[str, Any]], suite: Suite) -> str:
    """A table of a suite on one corpus: WER and relative degradation of each condition, and the summary under it."""
    found = degradation(cells, suite)
    rows = [["kind", "condition", "WER in %", "change in %"], ["clean", "clean", wer_text(cells[0]), ""]]
    for cell in cells[1:]:
        words = cell["condition"]
        rows.append([suite.conditions[words], words, wer_text(cell), rise_text(found["relative"][words])])
    summary = f"{suite}: the WER changes by {rise_text(found['mean'])} % on average over {len(suite.kinds)} kinds"
    return f"{cells[0]['label']}\n\n{aligned(rows)}\n\n{summary}"


def _enough(errors: Sequence[Errors], groups: Sequence[str]) -> bool:
    """Whether more than one group has reference words, which an interval needs."""
    return len({group for group, e in zip(groups, errors) if e.ref_words}) > 1


def wer_text(found: Mapping[str, Any]) -> str:
    """Write a cell as "12.3 [11.8, 12.9]", as "12.3" where there is no interval, or as "-" where there are no words."""
    if "wer" not in found:
        return "-"
    wer = f"{found['wer']:.1f}"
    return f"{wer} [{found['ci95'][0]:.1f}, {found['ci95'][1]:.1f}]" if found["ci95"] else wer


def same_utterances(earlier: Mapping[str, Any], references: Mapping[str, str]) -> bool:
    """Whether an earlier result is for the utterances with these `references`, by id."""
    return {old["id"]: old["reference"] for old in earlier["utterances"]} == references


def compared(earlier: Mapping[str, Any], scored: Sequence[Scored]) -> str:
    """The change from an earlier result of `mdasr evaluate --json` to `scored`, in a sentence.

    Raises ValueError where the utterances or their references are different.
    """
    if not same_utterances(earlier, {s.id: s.reference for s in scored}):
        raise ValueError("the earlier result is for other utterances; evaluate both models on the same corpus")
    before = {utterance["id"]: utterance for utterance in earlier["utterances"]}
    references = [s.reference.split() for s in scored]
    theirs, ours = [before[s.id]["hypothesis"].split() for s in scored], [s.hypothesis.split() for s in scored]
    old = [count_errors(*pair) for pair in zip(references, theirs)]
    _, groups = grouped(scored)
    interval = "(one utterance, so no interval)"
    if _enough(old, groups):
        ends = paired_interval(old, [s.errors for s in scored], groups, np.random.default_rng(0))
        interval = "[{:+.1f}, {:+.1f}]".format(*ends)
    test = mapsswe(references, theirs, ours)
    wer_a, wer_b = sum(old, Errors()).wer, sum((s.errors for s in scored), Errors()).wer
    return (
        f"from {wer_a:.1f} to {wer_b:.1f} %: {wer_b - wer_a:+.1f} points {interval}; matched pairs over "
        f"{test.segments} segments: p = {test.p:.2g}"
    )


def oracle(lattices: Sequence[Lattice], scored: Sequence[Scored]) -> dict[str, float]:
    """The lowest WER in percent among the word sequences of each lattice, and the lattices' arcs for each word.

    Raises ValueError where the references hold no words.
    """
    references = [s.reference.split() for s in scored]
    words = sum(map(len, references))
    if not words:
        raise ValueError("no oracle WER, as the references hold no words; leave --oracle out")
    errors = sum(oracle_errors(lattice, reference) for lattice, reference in zip(lattices, references, strict=True))
    arcs = sum(int((lattice.labels > 0).sum()) for lattice in lattices)
    return {"oracle_wer": round(100 * errors / words, 4), "arcs_per_word": round(arcs / words, 1)}


def trials_text(trials: Sequence[Trial], chosen: Trial) -> str:
    """A table of the result of each beam, with the chosen one marked, and the options that all share."""
    options = chosen.options
    rows = [["beam", "WER %", "CPU s per s of audio", ""]]
    for trial in trials:
        mark = "chosen" if trial is chosen else ""
        rows.append([f"{trial.options.beam:g}", f"{trial.wer:.2f}", f"{trial.rtf:.4f}", mark])
    shared = f"acoustic scale {options.acoustic_scale:g}, insertion penalty {options.insertion_penalty:g}"
    return f"{shared}, at most {options.max_active} active states\n\n{aligned(rows)}"


def corpus_labels(corpora: Sequence[Corpus]) -> list[str]:
    """A label for each corpus: "name (domain)", or its directory where several corpora share name and domain."""
    names = [f"{corpus.info['corpus']} ({corpus.domain})" for corpus in corpora]
    times = Counter(names)
    return [name if times[name] == 1 else str(corpus.directory) for name, corpus in zip(names, corpora)]


def matrix_text(cells: Sequence[Mapping[str, Any]]) -> str:
    """Word error rates of corpora (rows) in conditions (columns), with their intervals, as aligned text."""
    texts = {(cell["label"], cell["condition"]): wer_text(cell) for cell in cells}
    rows, columns = dict.fromkeys(row for row, _ in texts), dict.fromkeys(column for _, column in texts)
    return aligned([["WER in %", *columns], *([row, *(texts[row, column] for column in columns)] for row in rows)])


def most_confused(scored: Sequence[Scored], count: int) -> list[str]:
    """The `count` most frequent word errors, a line each."""
    counts = confusions((s.reference.split(), s.hypothesis.split()) for s in scored)

    def line(pair: tuple[str, str], times: int) -> str:
        said, heard = pair
        if said == GAP:
            return f"{times:5d}  {heard} put in"
        return f"{times:5d}  {said} " + ("lost" if heard == GAP else f"heard as {heard}")

    return [line(pair, times) for pair, times in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]]
