"""The embedded corpus: synthetic speech that any machine can make, with exact alignments (§4.1).

A fresh process makes each shard in a fixed order, and every utterance has a random stream of its own. So the bits
depend on the seed, and never on the number of workers.
"""

from __future__ import annotations

import functools
import itertools
import math
import multiprocessing
import tempfile
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from jaxtyping import Float

from mdasr.core.progress import track
from mdasr.core.random_streams import random_stream
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import (
    Alignment,
    Corpus,
    Utterance,
    encode_utterance,
    seal_corpus,
    shard_path,
    write_alignments,
    write_shard,
)
from mdasr.language.espeak import ACCENTS, ESPEAK_RATE_HZ, pronounce, require_espeak, speak
from mdasr.language.lexicon import SILENCE
from mdasr.perturb.equaliser import equalise
from mdasr.perturb.loudness import active_power
from mdasr.perturb.noises import make_noises
from mdasr.perturb.room import EVALUATION_ROOMS, TRAINING_ROOMS
from mdasr.synth.channel import TELEPHONE_RATE_HZ, transmit
from mdasr.synth.domains import DEV_SPEAKERS, DEV_WORDS, TEST_SPEAKERS, TEST_WORDS, Domain, find_domain
from mdasr.synth.domains import DOMAINS as DOMAINS  # of this module, too
from mdasr.synth.segments import segment
from mdasr.synth.sentences import SPLITS, all_words, sentences, topics, written
from mdasr.synth.speakers import EQUALISER_HZ, Speaker, draw_speaker

VERSION = 4  # raise it with every change that alters a bit of the corpus
ALIGNMENT = "exact"
SHARD_MINUTES = 3.0
SHARD_WORDS = 450
LEVEL_DB = (-38.0, -18.0)  # of the speech, relative to full scale
PAUSE_S = (0.1, 0.3)  # before and after the speech


@dataclass(frozen=True)
class ShardJob:
    """One shard of a corpus, to be made by a fresh process. The whole corpus has `minutes`, or else `words`."""

    directory: Path
    domain: str
    split: str
    seed: int
    shard: int
    shards: int
    minutes: float | None
    words: int | None
    snippets: Path


def make(
    directory: Path | str,
    domain: str,
    split: str,
    seed: int = 0,
    workers: int = 2,
    minutes: float | None = None,
    words: int | None = None,
) -> Corpus:
    """Make a domain's "train", "dev" or "test" corpus in `directory`, with its alignment "exact", or open it.

    The size is the domain's own, or the given `minutes` or `words`; each shard ends with the utterance that fills it.
    Raises ValueError for an unknown domain or split, or where the directory holds another corpus. Raises ImportError
    without eSpeak.
    """
    recipe, directory, spec = recipe_of(domain, split, seed, minutes, words), Path(directory), find_domain(domain)
    minutes, words = recipe["minutes"], recipe["words"]
    made = _already_made(directory, domain, recipe)
    if made is not None:
        return made
    require_espeak()
    for leftover in directory.glob("audio-*.array_record"):  # of an interrupted run
        leftover.unlink()
    shards = math.ceil(minutes / SHARD_MINUTES if minutes else (words or 0) / SHARD_WORDS)
    with tempfile.TemporaryDirectory() as scratch:
        snippets = Path(scratch) / "snippets.npz"
        _write_snippets(snippets, spec, split, seed)
        jobs = [
            ShardJob(directory, domain, split, seed, shard, shards, minutes, words, snippets) for shard in range(shards)
        ]
        alignments = _run(jobs, workers)
    corpus = seal_corpus(directory, f"synth-{spec.slug}", domain, embedded=recipe)
    write_alignments(corpus, ALIGNMENT, itertools.chain(*alignments))
    return corpus


def recipe_of(
    domain: str, split: str, seed: int = 0, minutes: float | None = None, words: int | None = None
) -> dict[str, Any]:
    """The settings that identify a corpus of a domain, as in its corpus.json. Raises ValueError as `make`."""
    spec = find_domain(domain)
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
    if minutes is None and words is None:
        minutes = spec.minutes if split == "train" else None
        words = {"train": None, "dev": DEV_WORDS, "test": TEST_WORDS}[split]
    return {"version": VERSION, "split": split, "seed": seed, "minutes": minutes, "words": words}


def _already_made(directory: Path, domain: str, recipe: dict[str, object]) -> Corpus | None:
    """Open the corpus if `directory` holds it with its alignment. Raises ValueError if it holds another corpus."""
    if not (directory / "corpus.json").exists():
        return None
    corpus = Corpus(directory)
    present = {"domain": corpus.domain, **corpus.info.get("embedded", {"embedded": False})}
    if present != {"domain": domain, **recipe}:
        raise ValueError(
            f"{directory} holds another corpus ({_listed(present)}), not the requested one "
            f"({_listed({'domain': domain, **recipe})}); remove it or choose another directory"
        )
    # The alignment is written after corpus.json: if it is missing, the process was interrupted.
    return corpus if (directory / f"align-{ALIGNMENT}.npy").exists() else None


def _listed(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)


def _write_snippets(path: Path, domain: Domain, split: str, seed: int) -> None:
    """Write the noise snippets that the domain needs, once for all shards. Each split has snippets of its own."""
    kinds = {kind for _, channel in domain.channels for kind in channel.noises}
    made = _all_snippets(split, seed) if kinds else {}
    np.savez(path, **{name: wave for name, wave in made.items() if name.split("-")[0] in kinds})  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1)
def _all_snippets(split: str, seed: int) -> dict[str, np.ndarray]:
    return make_noises(split, seed)  # takes seconds, and several domains need them one after the other


def _run(jobs: list[ShardJob], workers: int) -> list[list[Alignment]]:
    """Run every job in a process of its own, `workers` at a time. Return the results in the jobs' order."""
    title = f"{jobs[0].domain} {jobs[0].split}" if jobs else ""
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(_in_fresh_process, jobs)
        return list(track(results, title, len(jobs), unit="shard"))


def _in_fresh_process(job: ShardJob) -> list[Alignment]:
    """Run `make_shard` in a process where eSpeak has not spoken: its sound depends a little on earlier speech."""
    # A fork server imports modules once for all jobs. A plain fork would copy this process' threads and eSpeak's state.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, job), daemon=True)
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        result = None
    process.join()
    if isinstance(result, list):
        return result
    reason = result or f"the process ended with exit code {process.exitcode}"
    raise RuntimeError(f"{job.domain} {job.split}, shard {job.shard} of {job.shards}: {reason}")


def _child(sender: Connection, job: ShardJob) -> None:
    try:
        sender.send(make_shard(job))
    except Exception:
        sender.send(traceback.format_exc())


def make_shard(job: ShardJob) -> list[Alignment]:
    """Write one shard of audio. Return the alignments of its utterances, in order."""
    domain = find_domain(job.domain)
    with np.load(job.snippets) as archive:
        snippets = {name: archive[name] for name in archive.files}
    alignments: list[Alignment] = []

    def records() -> Iterator[bytes]:
        words = samples = 0
        while not _is_full(job, words, samples):
            number = f"{job.shard:03d}-{len(alignments):04d}"
            utterance, alignment = make_utterance(domain, job.split, job.seed, number, snippets)
            words, samples = words + len(utterance.text.split()), samples + len(utterance.wave)
            alignments.append(alignment)
            yield encode_utterance(utterance)

    write_shard(shard_path(job.directory, "audio", job.shard, job.shards), records())
    return alignments


def _is_full(job: ShardJob, words: int, samples: int) -> bool:
    if job.minutes is not None:
        return samples >= job.minutes * 60 * RATE_HZ / job.shards
    return words >= (job.words or 0) / job.shards


def make_utterance(
    domain: Domain, split: str, seed: int, number: str, snippets: Mapping[str, Float[np.ndarray, " snippet"]]
) -> tuple[Utterance, Alignment]:
    """Make utterance `number` of a domain's split with its alignment, from the split's noise snippets.

    It depends only on the arguments, except for some milliseconds that depend on eSpeak's earlier speech.
    """
    rng = random_stream("utterance", seed, domain.name, split, number)
    identity = f"{domain.slug}-{split}-{number}"
    topic = "start"
    if domain.topics:
        shares = topics(domain.name)
        topic = str(rng.choice([*shares], p=[*shares.values()]))
        identity = f"{identity}-{topic}"
    spoken = next(sentences(domain.name, split, rng, topic))
    speakers = {"train": domain.speakers, "dev": DEV_SPEAKERS, "test": TEST_SPEAKERS}[split]
    speaker = draw_speaker(domain.slug, split, int(rng.integers(speakers)), seed)
    wave, alignment = _say(identity, spoken, speaker, rng.uniform(*domain.rate_wpm), rng)
    wave *= np.float32(10 ** (rng.uniform(*LEVEL_DB) / 20) / np.sqrt(active_power(wave)))
    chances = [share for share, _ in domain.channels]
    channel = domain.channels[rng.choice(len(chances), p=chances)][1]
    wave = transmit(wave, channel, rng, snippets, EVALUATION_ROOMS if split == "test" else TRAINING_ROOMS)
    wave *= np.float32(min(1.0, 0.98 / np.abs(wave).max()))
    return Utterance(
        id=identity,
        corpus=f"synth-{domain.slug}",
        domain=domain.name,
        speaker=speaker.id,
        text=written(spoken),
        wave=np.round(wave * 32767).astype(np.int16),
        source_rate_hz=TELEPHONE_RATE_HZ if channel.telephone else RATE_HZ,
    ), alignment


def _say(
    identity: str, spoken: str, speaker: Speaker, rate_wpm: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " samples"], Alignment]:
    """Speak a sentence in a speaker's clean voice at 16 kHz, with silence around it. Return also its alignment."""
    # Warped speech is speech played at another speed, so eSpeak's pace is changed to compensate.
    voice = replace(speaker.voice, rate_wpm=round(rate_wpm * speaker.pace / speaker.warp))
    speech = speak(spoken, voice)
    segments = segment(speech, spoken, voice.language)
    wave = soxr.resample(speech.wave, ESPEAK_RATE_HZ * speaker.warp, RATE_HZ)
    before, after = (int(rng.uniform(*PAUSE_S) * RATE_HZ) for _ in range(2))
    wave = equalise(np.pad(wave, (before, after)), EQUALISER_HZ, speaker.equaliser_db)
    ends_s = before / RATE_HZ + segments.ends / (ESPEAK_RATE_HZ * speaker.warp)
    phones = segments.phones if segments.phones[-1] == SILENCE else (*segments.phones, SILENCE)
    ends_s = np.append(ends_s[: len(phones) - 1], len(wave) / RATE_HZ)
    return wave, Alignment(identity, phones, tuple(round(float(end), 5) for end in ends_s), segments.words)


def lm_text(domain: str, count: int, seed: int = 0) -> list[str]:
    """Draw `count` sentences of the training split for a language model, independently of the audio's sentences."""
    drawn = sentences(domain, "train", random_stream("text", seed, domain))
    return [written(spoken) for spoken in itertools.islice(drawn, count)]


def observed_pronunciations(corpus: Corpus) -> dict[str, Counter[tuple[str, ...]]]:
    """Count the pronunciations of each word in a corpus with the alignment "exact", for `Lexicon.from_counts`."""
    counts: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    alignments = corpus.alignments(ALIGNMENT)
    for i in range(len(alignments)):
        aligned = alignments[i]
        for word, first, last in aligned.words:
            counts[word][aligned.phones[first:last]] += 1
    return dict(counts)


def dictionary_pronunciations() -> dict[str, Counter[tuple[str, ...]]]:
    """eSpeak's pronunciation of each word of all domains, spoken alone, counted once for each accent."""
    counts: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for accent in ACCENTS:
        for word, phones in pronounce(all_words(), accent).items():
            counts[word][phones] += 1
    return dict(counts)
