"""Latency of streaming recognition: `benchmarks/stream.py MODEL CORPUS [--json FILE]`.

The recogniser hears utterances of a corpus in chunks of 30 ms, with silence after each. Latencies are in ms of audio.
That of the first word counts from the end of the word in the final alignment to the moment when the word is first
shown. That of the end counts from the end of the last word to the moment when the sentence is called finished. The
words are compared with those from the whole recording. A partial result revises words where it does not begin with the
words of the one before it. It must begin with those of them that were to stay. A word settles when it is among those
that stay: its latency counts from the end of the word. One thread does all the work, and its CPU seconds are given. No
other package streams the same model, so there are no peers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus
from mdasr.model.directory import Recognizer
from mdasr.recognize.network_scores import Streamed
from mdasr.recognize.streaming import Heard, Listener
from mdasr.recognize.words import recognize

CHUNK = RATE_HZ * 30 // 1000
SILENCE_S = 2.0


def hear(recognizer: Recognizer, wave: np.ndarray) -> tuple[tuple[str, ...], float, float] | None:
    """Return the words and the latencies in s of the first word and of the end; None if no word is heard.

    Words after a pause within the utterance are added.
    """
    listener = Listener(Streamed(recognizer))
    padded = np.concatenate([wave, np.zeros(round(SILENCE_S * RATE_HZ), np.float32)])
    words: list[str] = []
    shown_s = first_s = end_s = np.nan
    for begin in range(0, len(padded), CHUNK):
        for heard in listener.accept(padded[begin : begin + CHUNK]):
            now_s = (begin + CHUNK) / RATE_HZ
            if heard.words and not words and np.isnan(shown_s):
                shown_s = now_s
            if heard.final and heard.words:
                first_s = shown_s - heard.times[0][2] if not words else first_s
                end_s = now_s - heard.times[-1][2]
                words += heard.words
    return (tuple(words), first_s, end_s) if words else None


def partials(recognizer: Recognizer, wave: np.ndarray) -> tuple[int, int, int, list[float]]:
    """Count the partial results, those that revise words, and those that revise words that were to stay.

    The last value holds the latency in s of each word that settles before its sentence ends.
    """
    listener, before = Listener(Streamed(recognizer)), Heard(0.0, (), True)
    count = revised = broken = 0
    late_s: list[float] = []
    padded = np.concatenate([wave, np.zeros(round(SILENCE_S * RATE_HZ), np.float32)])
    for begin in range(0, len(padded), CHUNK):
        for heard in listener.accept(padded[begin : begin + CHUNK]):
            if not before.final:
                stay = before.stable
                revised += heard.words[: len(before.words)] != before.words
                broken += heard.words[:stay] != before.words[:stay]
                count += 1
            first = 0 if before.final else before.stable
            if not heard.final:
                late_s += [(begin + CHUNK) / RATE_HZ - end for _, _, end in heard.times[first : heard.stable]]
            before = heard
    return count, revised, broken, late_s


def measure(recognizer: Recognizer, waves: list[np.ndarray]) -> dict[str, dict]:
    began = sum(os.times()[:2])
    found = [hear(recognizer, wave) for wave in waves]
    spent_s = sum(os.times()[:2]) - began
    audio_s = sum(len(wave) / RATE_HZ + SILENCE_S for wave in waves)
    whole = []
    for wave in waves:  # as one sentence: no pause ends it early
        listener = Listener(Streamed(recognizer), pause_s=np.inf)
        for begin in range(0, len(wave), CHUNK):
            listener.accept(wave[begin : begin + CHUNK])
        whole.append(tuple(itertools.chain.from_iterable(heard.words for heard in listener.finish() if heard.final)))
    same = sum(a == b.words for a, b in zip(whole, recognize(recognizer, waves)))
    figures = {"stream_rtf": {"unit": "CPU s per s of audio", "ours": round(spent_s / audio_s, 4), "peers": {}}}
    for name, place in (("first_word", 1), ("end_of_utterance", 2)):
        late_ms = 1000 * np.array([each[place] for each in found if each])
        for q in (50, 95):
            figures[f"{name}_ms_p{q}"] = {
                "unit": "ms of audio",
                "ours": round(float(np.percentile(late_ms, q))),
                "peers": {},
            }
    counts = [partials(recognizer, wave) for wave in waves]
    total = sum(each[0] for each in counts)
    for name, place in (("partials_revised", 1), ("stable_words_revised", 2)):
        share = 100 * sum(each[place] for each in counts) / total
        figures[name] = {"unit": "% of partial results", "ours": round(share, 1), "peers": {}}
    settle_ms = 1000 * np.array([late for each in counts for late in each[3]])
    for q in (50, 95):
        late_ms = round(float(np.percentile(settle_ms, q)))
        figures[f"settled_ms_p{q}"] = {"unit": "ms of audio", "ours": late_ms, "peers": {}}
    unit = f"of {len(waves)} utterances with the same words as offline"
    return figures | {"same_words": {"unit": unit, "ours": same, "peers": {}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model directory")
    parser.add_argument("corpus", type=Path, help="a directory of shards")
    parser.add_argument("--utterances", type=int, default=100, metavar="N", help="hear the first N utterances (100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    corpus = Corpus(chosen.corpus)
    waves = [corpus[i].samples for i in range(min(chosen.utterances, len(corpus)))]
    figures = measure(Recognizer.read(chosen.model), waves)
    for name, figure in figures.items():
        print(f"{name:24} {figure['ours']:9} {figure['unit']}")
    if chosen.json:
        report = {
            "figures": figures,
            "device": f"{platform.machine()} CPU, {os.cpu_count()} cores",
            "versions": {"python": platform.python_version(), **{p: version(p) for p in ("jax", "kaldi-decoder")}},
        }
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
