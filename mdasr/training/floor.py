"""The floor that a network must beat: a GMM of the same speech, words and tree, on the same held-out speech."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdasr.acoustic.row_schedule import Source
from mdasr.align import tied_gmm
from mdasr.align.flat_start import usable_bands
from mdasr.align.tied_gmm import TOPOLOGY, Aligned, GmmFeatures, monophones, train_gmm
from mdasr.align.tree_growth import frame_ends
from mdasr.core.digests import digest
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Utterance
from mdasr.decode.graph import build_graph
from mdasr.decode.search import SearchOptions
from mdasr.model.directory import Language, compose_language
from mdasr.model.gmm_directory import GmmRecognizer, Model
from mdasr.recognize.tune import thinned, tune
from mdasr.recognize.words import evaluate
from mdasr.score.wer import Errors
from mdasr.training.pool import Pool, artefacts

VERSION = 1  # raise it with every change after which the same pool has another floor
MOST_HOURS = 5.0  # of speech that trains a GMM, spread evenly: an hour takes each GMM 10 to 30 CPU s, and 60 MB
BEFORE_TUNING = SearchOptions(acoustic_scale=0.1)


def make_floor(pool: Pool, language: Language, directory: Path) -> GmmRecognizer:
    """Train a GMM of the CDPhones, write its model directory, and print its WER on the held-out speech.

    A GMM of monophones is measured, too, with the same options of the search. If `directory` holds a GMM of the same
    ingredients, it is used as it is. Raises ValueError where the held-out speech has no words, or no speech is aligned.
    """
    facts = artefacts(pool, language.tree)
    chosen = [source.indices for source in (*pool.sources, *pool.dev)]
    name = digest([VERSION, tied_gmm.VERSION, facts, chosen, dict(language.graph.made_of)])
    if (directory / "model.json").exists() and (made := GmmRecognizer.read(directory)).facts.get("name") == name:
        print(floor_text(made.facts), file=sys.stderr)
        return made
    begin, dev, stages = time.perf_counter(), pool.dev_utterances(), directory / "stages"
    lexicon, arpa, tree, plain = language.lexicon, language.arpa, language.tree, monophones(language.tree)
    features, speech = aligned_speech(pool.sources)
    own = compose_language(directory, lexicon, tree, arpa, stages, TOPOLOGY)
    untuned = GmmRecognizer(train_gmm(speech, tree, features), own, BEFORE_TUNING, {})
    search, _ = tune(untuned, [utterance for _, utterance in thinned([(u.text.split(), u) for u in dev])])
    triphones = dataclasses.replace(untuned, search=search)
    graph = build_graph(lexicon, arpa, plain, cache=stages, topology=TOPOLOGY)
    of_phones = dataclasses.replace(own, tree=plain, graph=graph)
    facts |= {
        "name": name,
        "dev_words": sum(len(u.text.split()) for u in dev),
        "monophone_wer": held_out_wer(GmmRecognizer(train_gmm(speech, plain, features), of_phones, search, {}), dev),
        "dev_wer": held_out_wer(triphones, dev),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    made = dataclasses.replace(triphones, facts=facts)
    made.write(directory)
    shutil.rmtree(stages)
    print(floor_text(facts), file=sys.stderr)
    return made


def aligned_speech(sources: Sequence[Source]) -> tuple[GmmFeatures, list[Aligned]]:
    """The features of a GMM, of the bands that all recordings have, and the utterances that train it."""
    every = math.ceil(max(1.0, sum(source.seconds() for source in sources) / 3600 / MOST_HOURS))
    chosen = [
        (source.corpus, alignments, i)
        for source in sources
        for alignments in [source.corpus.alignments(source.alignment)]
        for i in source.usable()[::every]
    ]
    features = GmmFeatures(usable_bands(min((corpus[i].source_rate_hz for corpus, _, i in chosen), default=RATE_HZ)))
    speech = []
    for corpus, alignments, i in chosen:
        sounds, alignment = features.of(corpus[i].samples), alignments[i]
        speech.append(Aligned(sounds, alignment.phones, frame_ends(alignment.ends_s, len(sounds.sounding))))
    return features, speech


def held_out_wer(model: Model, dev: Sequence[Utterance]) -> float:
    """The word error rate in percent on held-out speech, rounded as those of networks are."""
    return round(sum((scored.errors for scored in evaluate(model, dev, (u.samples for u in dev))), Errors()).wer, 2)


def floor_text(facts: Mapping[str, Any]) -> str:
    """The word error rates of both GMMs, in a line."""
    return (
        f"floor: monophone GMM WER {facts['monophone_wer']:.1f} % on {facts['dev_words']} held-out words, "
        f"triphone GMM {facts['dev_wer']:.1f} % ({facts['seconds']:.0f} s)"
    )


def verdict(directory: Path, facts: Mapping[str, Any]) -> str:
    """A sentence for a network that does not beat the GMM beside it on the held-out speech; otherwise nothing.

    `facts` are those of the network in `directory`. After `mdasr tune`, its WER is that of other speech.
    """
    network, floor = facts.get("dev_wer", 0.0), facts.get("gmm_wer", math.inf)
    if network < floor or "tuned_on" in facts:
        return ""
    how = "better" if network > floor else "as well"
    return (
        f"The network ({network:.1f} %) does not beat the GMM ({floor:.1f} %) on the held-out speech; "
        f"{directory / 'gmm'} recognises it {how}."
    )
