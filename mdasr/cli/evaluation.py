"""The command `mdasr evaluate`: word error rates of a model, in one condition, in several, or in a suite of them."""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdasr.core.files import read_json
from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus
from mdasr.perturb import Policy, require
from mdasr.perturb.conditions import FORMS, ROBUSTNESS
from mdasr.score.normalizers import NORMALIZERS

if TYPE_CHECKING:
    from mdasr.decode.lattice import Lattice
    from mdasr.model.gmm_directory import Model
    from mdasr.perturb.room import Sounds
    from mdasr.score.wer import Scored

# Commands import slow packages inside, because worker processes import this module again.


def evaluate_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr evaluate`: word error rates with 95% intervals over speakers, in every condition."""
    from mdasr.model.gmm_directory import read_model
    from mdasr.perturb.conditions import condition
    from mdasr.recognize.report import compared, corpus_labels, most_confused, same_utterances
    from mdasr.recognize.words import check_rescoring

    recognizer, corpora = read_model(chosen.model), [Corpus(directory) for directory in chosen.corpora]
    check_options(chosen)
    if chosen.suite and (silent := [corpus for corpus in corpora if not corpus.info["words"]]):
        raise ValueError(f"{silent[0].directory}: holds no words, and --suite compares word error rates")
    conditions = [*ROBUSTNESS.conditions] if chosen.suite else chosen.condition or ["clean"]
    if chosen.against and len(corpora) * len(conditions) > 1:
        raise ValueError("--against compares one corpus in one condition; give one of each")
    sounds = condition_sounds(conditions, chosen.noises, chosen.responses)
    policies = {words: condition(words, *sounds) for words in conditions}
    require(codec for policy in policies.values() for codec in policy.codecs)
    normalize = NORMALIZERS[chosen.normalize]()
    if chosen.rescore:
        check_rescoring(recognizer, chosen.rescore)
    earlier = read_evaluation(chosen.against) if chosen.against else None
    if earlier and (rewritten := earlier.get("normalize", "none")) != chosen.normalize:
        raise ValueError(f"{chosen.against}: a result of --normalize {rewritten}; compare with the same")
    if earlier and not same_utterances(earlier, {u.id: normalize(u.text) for u in corpora[0]}):
        raise ValueError(f"{chosen.against}: a result of other utterances; evaluate both models on the same corpus")
    for path in filter(None, (chosen.json, chosen.picture)):
        path.parent.mkdir(parents=True, exist_ok=True)
    cells = []
    for corpus, label in zip(corpora, corpus_labels(corpora)):
        for words in conditions:
            scored, found = evaluated(recognizer, corpus, f"{label}, {words}", policies[words], sounds, chosen)
            cells.append({"label": label, "condition": words, **found})
            if earlier:
                print(f"against {chosen.against}: {compared(earlier, scored)}")
            for line in most_confused(scored, chosen.confusions):
                print(line)
    write_result(cells, chosen)
    return 0


def check_options(chosen: argparse.Namespace) -> None:
    """Raise ValueError for options that contradict each other."""
    if chosen.suite and chosen.condition:
        raise ValueError("--suite has its own conditions; leave --condition out")
    if chosen.picture and not chosen.suite:
        raise ValueError(f"--picture {chosen.picture}: this draws the conditions of --suite; give --suite, too")
    if chosen.oracle and chosen.normalize != "none":
        raise ValueError("--oracle searches words as they are in the lattice; leave --normalize out")


def write_result(cells: list[dict[str, Any]], chosen: argparse.Namespace) -> None:
    """Print the table of several cells; write and draw the result where `--json` and `--picture` say."""
    from mdasr.recognize.report import degradation, matrix_text, suite_text

    content = cells[0] if len(cells) == 1 else {"cells": cells}
    if chosen.suite:
        by_corpus = {label: [cell for cell in cells if cell["label"] == label] for label in (c["label"] for c in cells)}
        for rows in by_corpus.values():
            print(f"\n{suite_text(rows, ROBUSTNESS)}")
        rises = {label: degradation(rows, ROBUSTNESS) for label, rows in by_corpus.items()}
        suite = {"name": ROBUSTNESS.name, "version": ROBUSTNESS.version, "kinds": ROBUSTNESS.kinds}
        content = {"suite": suite, "seed": chosen.seed, "degradation": rises, **content}
        if chosen.picture:
            from mdasr.analysis.pictures import draw_suite

            draw_suite(chosen.picture, by_corpus, ROBUSTNESS)
    elif len(cells) > 1:
        print(f"\n{matrix_text(cells)}")
    if chosen.json:
        described = {"model": str(chosen.model), "normalize": chosen.normalize, **content}
        chosen.json.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read the file of an earlier `--json`; ValueError where it is not the result of one corpus in one condition."""
    found = read_json(path, "result of `mdasr evaluate --json`")
    rows, fields = found.get("utterances"), ("id", "speaker", "reference", "hypothesis")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(isinstance(row.get(name), str) for name in fields) for row in rows
    ):
        raise ValueError(f"{path}: holds no utterances; --against takes the --json of one corpus in one condition")
    return found


def condition_sounds(conditions: Sequence[str], noises: Path | None, responses: Path | None) -> tuple[Sounds, Sounds]:
    """The noises and room responses of conditions such as "noise:10" and "room:10"."""
    from mdasr.perturb.noises import make_noises, read_noises, read_responses

    if not any(words.startswith(("noise", "room")) for words in conditions):
        if noises or responses:
            raise ValueError(
                f"{noises or responses}: no condition adds these sounds; give --condition noise:10 or room:10"
            )
        return {}, {}
    return read_noises(noises) if noises else make_noises("test"), read_responses(responses) if responses else {}


def evaluated(
    recognizer: Model,
    corpus: Corpus,
    name: str,
    policy: Policy,
    sounds: tuple[Sounds, Sounds],
    chosen: argparse.Namespace,
) -> tuple[list[Scored], dict[str, Any]]:
    """Recognise a corpus in a condition, print the word error rate, and return what `--json` writes."""
    from mdasr.recognize.report import false_words, lengths_text, oracle, wer_by_length, wer_cell, wer_text
    from mdasr.recognize.words import heard, recognize, recognize_lattices, scored_as

    # An iterator: a bar has a length, so the type checker of the tests would take out the first wave.
    waves = iter(track(heard(corpus, policy, sounds[0], chosen.seed, sounds[1]), name, len(corpus), unit="utt"))
    lattices: tuple[Lattice, ...] = ()
    if chosen.rescore or chosen.oracle:
        best, lattices = zip(*recognize_lattices(recognizer, waves, rescore_with=chosen.rescore))
    else:
        best = tuple(recognize(recognizer, waves))
    scored, seconds = scored_as(corpus, best, NORMALIZERS[chosen.normalize]()), corpus.num_samples / RATE_HZ
    found: dict[str, Any] = {"corpus": corpus.info["corpus"], "domain": corpus.domain}
    if any(s.errors.ref_words for s in scored):
        found |= wer_cell(scored)
        counts = f"{found['sub']} sub, {found['ins']} ins, {found['del']} del in {found['ref_words']} words"
        if found["ci95_over"] == "utterances":
            counts += "; one speaker, so the interval is over utterances"
        elif not found["ci95"]:
            counts += "; one utterance, so no interval"
        print(f"{name}: WER {wer_text(found)} % ({counts})")
        found["by_length"] = wer_by_length(scored, seconds)
        if len(found["by_length"]) > 1:
            print(f"{name}, by length: {lengths_text(found['by_length'])}")
    if alone := false_words(scored, seconds):
        found["without_words"] = alone
        print(
            f"{name}: {alone['words']} words in {alone['minutes']:.1f} minutes where nobody speaks, "
            f"{alone['per_minute']:.1f} a minute"
        )
    if chosen.oracle:
        found |= oracle(lattices, scored)
        print(f"lattices: oracle WER {found['oracle_wer']:.1f} %, {found['arcs_per_word']:.1f} arcs per reference word")
    fields = ("id", "speaker", "reference", "hypothesis")
    found["utterances"] = [{field: getattr(s, field) for field in fields} for s in scored]
    return scored, found


def evaluate_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR")
    sub.add_argument("--condition", action="append", metavar="WORDS", help=f"{FORMS}; may be repeated (default: clean)")
    sub.add_argument(
        "--suite", action="store_true",
        help=f"run the {len(ROBUSTNESS.conditions)} fixed conditions of {ROBUSTNESS!s} and print how far the WER rises",
    )  # fmt: skip
    sub.add_argument("--picture", type=Path, metavar="FILE", help="draw the result of --suite")
    sub.add_argument(
        "--normalize", choices=[*NORMALIZERS], default="none",
        help="rewrite references and words before counting: english has the rules of Whisper's paper",
    )  # fmt: skip
    sub.add_argument("--noises", type=Path, metavar="DIR", help="recordings of noise for noise:SNR_DB and room:SNR_DB")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses for room:SNR_DB")
    sub.add_argument("--seed", type=int, default=0, help="seed of the noises and rooms")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the result and the words of every utterance")
    sub.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with the --json of another model on this corpus"
    )
    sub.add_argument("--confusions", type=int, default=0, metavar="N", help="print the N most frequent word errors")
    sub.add_argument("--oracle", action="store_true", help="print the WER of the best words in the lattices")
    sub.add_argument(
        "--rescore", type=Path, metavar="ARPA", help="choose words in the lattices by another n-gram model"
    )
