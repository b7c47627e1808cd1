"""Names that a model did not know: misses and false alarms over boosts. `benchmarks/names.py MODEL TEST...`.

eSpeak says sentences of the embedded Voicesearch test set in voices of that set, with one of `NAMES` in the place of
each English name. For each boost, `mdasr graph --phrases` makes a graph with the names. Misses are names that were said
and not heard. False alarms are names that were heard where none was said: in the corpora TEST, and in the same
sentences with `OTHERS`, which sound like `NAMES` and which no model knows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from matplotlib.figure import Figure

from mdasr.core.random_streams import random_stream
from mdasr.core.tables import aligned
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus, Utterance
from mdasr.decode.search import decode
from mdasr.language.espeak import ESPEAK_RATE_HZ, speak
from mdasr.model.directory import Recognizer
from mdasr.model.regraph import regraph
from mdasr.recognize.tune import Dev, dev_scores
from mdasr.score.wer import Errors, align_words, count_errors
from mdasr.synth.sentences import sentences, written
from mdasr.synth.speakers import draw_speaker

NAMES = ("wojciech", "szczepański")
OTHERS = ("wojcik", "szczepanek")  # they sound alike
ENGLISH = ("ann", "dan", "stan", "ben", "kim", "tim", "sam", "pam", "bill", "paul", "carl", "mark", "jack", "mike")
SAID = 240  # sentences with a name
BOOSTS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)


def sentences_with(names: Sequence[str]) -> Iterator[str]:
    rng = random_stream("names", 0)
    for number, spoken in enumerate(s for s in sentences("Voicesearch", "test", rng) if {*ENGLISH} & {*s.split()}):
        name = names[number % len(names)]
        yield " ".join(name if word in ENGLISH else word for word in spoken.split())


def say(number: int, spoken: str) -> Utterance:
    """Say a sentence in a voice of the Voicesearch test set, with silence before and after it."""
    speaker = draw_speaker("voicesearch", "test", number % 48, 3)
    wave = soxr.resample(speak(spoken, speaker.voice).wave, ESPEAK_RATE_HZ * speaker.warp, RATE_HZ)
    wave = np.pad(0.1 * wave / np.sqrt((wave**2).mean()), RATE_HZ // 5).clip(-1, 1)
    samples = np.round(wave * 32767).astype(np.int16)
    return Utterance(f"names-{number}", "names", "Voicesearch", speaker.id, written(spoken), samples, RATE_HZ)


def measure(model: Path, corpora: Sequence[Corpus]) -> list[dict[str, Any]]:
    """One row for each boost; the first row is the model without the names."""
    recognizer = Recognizer.read(model)
    said, others = (
        dev_scores(recognizer, [say(i, spoken) for i, spoken in enumerate(islice(sentences_with(names), SAID))])
        for names in (NAMES, OTHERS)
    )
    plain = dev_scores(recognizer, [utterance for corpus in corpora for utterance in corpus])
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        phrases = Path(scratch) / "names.txt"
        phrases.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
        for boost in (None, *BOOSTS):
            language = recognizer.language
            if boost is not None:
                language = regraph(model, Path(scratch) / f"{boost:g}", phrases=phrases, boost=boost)
            rows.append(
                {"boost": boost, **counted(dataclasses.replace(recognizer, language=language), said, others, plain)}
            )
            print(rows[-1], flush=True)
    return rows


def counted(recognizer: Recognizer, said: Dev, others: Dev, plain: Dev) -> dict[str, float]:
    def heard(pairs: Dev) -> list[tuple[list[str], tuple[str, ...]]]:
        return [(words, decode(recognizer.graph, scores, recognizer.search).words) for words, scores in pairs]

    with_names, with_others, without = heard(said), heard(others), heard(plain)
    pairs = [pair for words in with_names for pair in align_words(*words) if pair[0] in NAMES]
    errors = sum((count_errors(*words) for words in without), Errors())
    false, mistaken = (sum(word in NAMES for _, words in some for word in words) for some in (without, with_others))
    unlisted = sum(word in OTHERS for words, _ in with_others for word in words)
    return {
        "missed": round(100 * sum(left != right for left, right in pairs) / len(pairs), 2),
        "others_mistaken": round(100 * mistaken / unlisted, 2),
        "false_per_1000": round(1000 * false / errors.ref_words, 3),
        "wer_without": round(errors.wer, 3),
        "wer_with": round(sum((count_errors(*words) for words in with_names), Errors()).wer, 3),
    }


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names, other = figure.subplots(1, 2)
    before, *measured = rows
    boosts = [row["boost"] for row in measured]
    names.plot(boosts, [row["missed"] for row in measured], "o-", label="names missed, % of those said")
    mistaken = [row["others_mistaken"] for row in measured]
    names.plot(boosts, mistaken, "^--", label="unlisted names heard as these, %")
    other.plot(
        boosts, [r["wer_without"] - before["wer_without"] for r in measured], "s-", label="rise of the WER, points"
    )
    other.plot(boosts, [row["false_per_1000"] for row in measured], "^--", label="false alarms in 1,000 words")
    other.axhline(0.3, color="0.5", lw=1, ls=":")
    other.annotate("0.3", (boosts[-1], 0.3), (0, 2), textcoords="offset points", ha="right", fontsize=8, color="0.4")
    for axes, title in ((names, "sentences with names"), (other, "speech without names")):
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_xlabel("boost")
        axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1], top=1.3 * axes.get_ylim()[1])
        axes.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("corpora", type=Path, nargs="+", metavar="TEST")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there")
    chosen = parser.parse_args()
    rows = measure(chosen.model, [Corpus(path) for path in chosen.corpora])
    texts = [[f"{value:g}" if value is not None else "none" for value in row.values()] for row in rows]
    print(aligned([[*rows[0]], *texts]))
    if chosen.json:
        chosen.json.write_text(json.dumps({"figures": {"names": rows}}, indent=1) + "\n", encoding="utf-8")
    if chosen.picture:
        draw(chosen.picture, rows)


if __name__ == "__main__":
    main()
