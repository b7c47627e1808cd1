"""Dataset analysis (§4.2): how alike the domains of corpora sound, by i-vectors that are trained on all of them.

An i-vector says how an utterance differs from the mean of each component of the background model. A domain whose speech
is very different gets its own components, and its i-vectors then say less. So compare distances only between similar
domains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int

from mdasr.analysis.ivectors import ExtractorOptions, ivectors, train_extractor
from mdasr.analysis.similarity import Cluster
from mdasr.analysis.ubm import UbmOptions, statistics, train_ubm
from mdasr.core.progress import track
from mdasr.core.random_streams import random_stream
from mdasr.corpus.records import Corpus, Utterance
from mdasr.frontend import add_deltas, cepstra, feature_stats, log_mel, normalize
from mdasr.perturb.bandwidth import narrowband
from mdasr.perturb.loudness import active_power

CEPSTRA = 20  # with two derivatives, the 60 features of Dehak et al. (2011)
SPEECH_DB = 30.0  # frames further below an utterance's loudest are not speech (Kinnunen and Li, 2010)
LEVEL = 0.05  # common level of the speech, because the volume of a recording does not depend on its domain

Hear = Callable[[Utterance], Float32[np.ndarray, " samples"]]  # makes the waveform that is measured from an utterance


@dataclass(frozen=True)
class AnalysisOptions:
    """The utterances to draw from each domain, and the way to make i-vectors.

    - At most `training` utterances of each domain train UBM and T, so that a large domain does not dominate.
    - `utterances` of these (the paper's 50) are measured, from as many speakers as possible.
    - With `narrowband`, everything is heard at 8 kHz: domains that then sound alike do so for other reasons than their
      sample rate.
    """

    utterances: int = 50
    training: int = 150
    narrowband: bool = False
    ubm: UbmOptions = field(default_factory=UbmOptions)
    extractor: ExtractorOptions = field(default_factory=ExtractorOptions)


def speech_features(wave: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "frames 60"]:
    """Cepstra, with their derivatives, of the frames with speech; 16 kHz in, 100 frames a second out.

    Nothing but the level is normalised, because a channel's effect on all frames is a difference between domains.
    """
    power = active_power(wave)
    if not power:
        return np.zeros((0, 3 * CEPSTRA), np.float32)
    mel = log_mel(wave * np.float32(LEVEL / np.sqrt(power)))
    features = add_deltas(cepstra(mel, CEPSTRA))
    loudness = np.exp(mel).sum(axis=1)
    return features[loudness > loudness.max(initial=0) * 10 ** (-SPEECH_DB / 10)].astype(np.float32, copy=False)


def by_domain(corpora: Sequence[Corpus]) -> dict[str, Corpus]:
    """Corpora by domain, or by directory where several have one domain; raises ValueError for one that comes twice."""
    times = Counter(corpus.domain for corpus in corpora)
    named = {(c.domain if times[c.domain] == 1 else f"{c.domain} ({c.directory})"): c for c in corpora}
    if len(named) < len(corpora):
        raise ValueError("a corpus is named twice; name each once")
    return named


def _as_recorded(utterance: Utterance) -> Float32[np.ndarray, " samples"]:
    return utterance.samples


def turns(speakers: Sequence[str]) -> Int[np.ndarray, " utterances"]:
    """The order of utterances in which every speaker has a turn before any speaker has a second one."""
    taken: Counter[str] = Counter()
    turn = []
    for speaker in speakers:
        turn.append(taken[speaker])
        taken[speaker] += 1
    return np.argsort(turn, kind="stable")


def utterance_features(
    corpus: Corpus, options: AnalysisOptions, seed: int, hear: Hear = _as_recorded
) -> list[tuple[str, Float32[np.ndarray, "_ 60"]]]:
    """Speaker and features of utterances drawn from a corpus, `options.training` at most; those to measure come first.

    Utterances without speech are skipped. Raises ValueError where none is left.
    """
    drawn: list[tuple[str, np.ndarray]] = []
    order = random_stream("analysis", seed, corpus.info["sha256"]).permutation(len(corpus))
    for index in track(order[: 2 * options.training], desc=corpus.domain, unit="utt", delay=2):
        utterance = corpus[int(index)]
        wave = hear(utterance)
        features = speech_features(narrowband(wave) if options.narrowband else wave)
        if len(features):
            drawn.append((utterance.speaker, features))
        if len(drawn) == options.training:
            break
    if not drawn:
        raise ValueError(f"{corpus.directory}: no utterance has speech of 32 ms or more; is this the right corpus?")
    return [drawn[i] for i in turns([speaker for speaker, _ in drawn])]


def domain_ivectors(
    corpora: Mapping[str, Corpus], options: AnalysisOptions, seed: int = 0, heard: Mapping[str, Hear] | None = None
) -> dict[str, Cluster]:
    """i-vectors of utterances of each corpus, with their speakers; everything random depends on `seed`.

    Domains in `heard` are heard through that function, the others as they were recorded. Raises ValueError where
    corpora have too little speech for the sizes in `options`.
    """
    hear = heard or {}
    drawn = {
        name: utterance_features(corpus, options, seed, hear.get(name, _as_recorded))
        for name, corpus in corpora.items()
    }
    everything = [features for utterances in drawn.values() for _, features in utterances]
    stats = feature_stats(everything)
    scaled = [normalize(features, stats) for features in everything]
    rng = np.random.default_rng(seed)
    ubm, _ = train_ubm(np.concatenate(scaled), options.ubm, rng)
    observed = statistics(ubm, scaled)
    extractor, _ = train_extractor(ubm, observed, options.extractor, rng)
    points, clusters, first = ivectors(extractor, observed), {}, 0
    for name, utterances in drawn.items():
        measured = slice(first, first + min(len(utterances), options.utterances))
        speakers = tuple(speaker for speaker, _ in utterances[: options.utterances])
        clusters[name] = Cluster(points[measured], speakers)
        first += len(utterances)
    return clusters
