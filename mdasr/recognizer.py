"""The model directory: all that `train` writes and `evaluate` and `transcribe` read, and what can be done with it.

    MODEL/model.json      what it is: network, output delay, search options, where it came from
          params.npz      the network's parameters; stats.json its features' mean and variance; priors.npy
          tree.txt  lexicon.txt  lm.arpa  graph/     the language that it decodes with
          checkpoints/  tensorboard/  run.json       the training, which can go on from there

It can be moved to another machine; only the last line is needed for training alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Float32

from mdasr import frontend
from mdasr.acoustic.model import ModelConfig, init_params, log_posteriors
from mdasr.acoustic.tying import Tree
from mdasr.data.records import Corpus, Utterance, write_atomically
from mdasr.decode.graph import Graph
from mdasr.decode.search import Hypothesis, SearchOptions, decode
from mdasr.language.lexicon import Lexicon
from mdasr.perturb import Policy, draw, perturb
from mdasr.perturb.room import Sounds
from mdasr.score.wer import Errors, count_errors

FORMAT = 1
WIDTH = frontend.STACK * frontend.BANDS
ROWS, STEPS = 16, 64  # utterances are scored so many at once, padded to a multiple of so many steps


@dataclass(frozen=True)
class Language:
    """What words are made of: pronunciations, CDPhones, and the graph of the n-gram model; shared by many models.

    It lies in `directory`, from where processes that decode read the graph.
    """

    lexicon: Lexicon
    tree: Tree
    graph: Graph
    arpa: str
    directory: Path

    def write(self, directory: Path) -> None:
        """Write it to `directory`, the graph last."""
        directory.mkdir(parents=True, exist_ok=True)
        self.lexicon.write(directory / "lexicon.txt")
        self.tree.write(directory / "tree.txt")
        write_atomically(directory / "lm.arpa", self.arpa)
        self.graph.write(directory / "graph")

    @classmethod
    def read(cls, directory: Path) -> Language:
        return cls(
            Lexicon.read(directory / "lexicon.txt"),
            Tree.read(directory / "tree.txt"),
            Graph.read(directory / "graph"),
            (directory / "lm.arpa").read_text(encoding="utf-8"),
            directory,
        )


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A trained model with all that it needs to turn waveforms into words; `facts` say where it came from."""

    config: ModelConfig
    output_delay: int
    params: Mapping[str, Any]
    stats: frontend.FeatureStats
    log_priors: Float32[np.ndarray, " outputs"]
    language: Language
    search: SearchOptions
    facts: Mapping[str, Any]

    chunk: ClassVar[int] = 4  # steps that `answer` takes at once: 120 ms

    @property
    def graph(self) -> Graph:
        return self.language.graph

    def answer(
        self, samples: Float[np.ndarray, " window"], steps: int, state: Any = None
    ) -> tuple[Float[np.ndarray, "chunk outputs"], Any]:
        """Scores of the next `chunk` steps of a stream (`mdasr.stream.Network`)."""
        features = np.zeros((1, self.chunk, WIDTH), np.float32)
        if steps:
            features[0, :steps] = features_of(self, samples)[:steps]
        keep = np.ones((1, self.chunk), np.float32)
        keep[0, 0] = state is not None
        posteriors, state = _forward(self.config)(self.params, features, keep, state)
        return np.asarray(posteriors)[0] - self.log_priors, state

    def write(self, directory: Path) -> None:
        """Write everything, `model.json` last: a directory that has one is complete."""
        if self.language.directory != directory:
            self.language.write(directory)
        self.stats.write(directory / "stats.json")
        np.save(directory / "priors.npy", self.log_priors, allow_pickle=False)
        flat = traverse_util.flatten_dict(dict(self.params), sep="/")
        np.savez(directory / "params.npz", allow_pickle=False, **{k: np.asarray(v) for k, v in flat.items()})
        described = {
            "format": FORMAT,
            "network": dataclasses.asdict(self.config),
            "output_delay": self.output_delay,
            "search": dataclasses.asdict(self.search),
            **self.facts,
        }
        write_atomically(directory / "model.json", json.dumps(described, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path | str) -> Recognizer:
        """Read a model directory; raises FileNotFoundError or ValueError naming what is wrong with which file."""
        directory = Path(directory)
        path = directory / "model.json"
        if not path.exists():
            raise FileNotFoundError(f"{directory} is not a model: it has no model.json; `mdasr train` writes one last")
        facts = json.loads(path.read_text())
        if facts.pop("format", None) != FORMAT:
            raise ValueError(f"{path}: not of format {FORMAT}, which this version reads; train again")
        network = facts.pop("network")
        config = ModelConfig(**network | {"cells": tuple(network["cells"])})
        return cls(
            config,
            facts.pop("output_delay"),
            read_params(directory / "params.npz", config),
            frontend.FeatureStats.read(directory / "stats.json"),
            np.load(directory / "priors.npy", allow_pickle=False),
            Language.read(directory),
            SearchOptions(**facts.pop("search")),
            facts,
        )


def read_params(path: Path, config: ModelConfig) -> dict:
    """Parameters from an .npz, compared with the shapes that `config` asks for; raises ValueError at a difference."""
    with np.load(path, allow_pickle=False) as arrays:
        flat = {name: arrays[name] for name in arrays.files}
    wanted = traverse_util.flatten_dict(jax.eval_shape(lambda: init_params(config, 0)), sep="/")
    for name in sorted({*flat, *wanted}):
        found = flat[name].shape if name in flat else "missing"
        asked = wanted[name].shape if name in wanted else "nothing of that name"
        if found != asked:
            raise ValueError(
                f"{path}: {name} is {found}, but model.json asks for {asked}; this is a checkpoint of another "
                "configuration. Put the two files of one training together again."
            )
    return traverse_util.unflatten_dict(flat, sep="/")


@lru_cache(maxsize=8)
def _forward(config: ModelConfig):
    """Jitted log posteriors of features [rows, steps, 512], with the state that they leave."""
    return jax.jit(partial(log_posteriors, config))


def scores(
    recognizer: Recognizer, features: Sequence[Float[np.ndarray, "_ 512"]]
) -> list[Float32[np.ndarray, "_ outputs"]]:
    """Log posterior minus log prior of every CDPhone at every step, for each utterance's stacked features."""
    results: list[Any] = [None] * len(features)
    delay = recognizer.output_delay
    order = sorted(range(len(features)), key=lambda i: len(features[i]))
    for start in range(0, len(order), ROWS):
        group = order[start : start + ROWS]
        steps = -(-(len(features[group[-1]]) + delay) // STEPS) * STEPS
        padded = np.zeros((ROWS, steps, WIDTH), np.float32)
        keep = np.ones((ROWS, steps), np.float32)
        keep[:, 0] = 0
        for row, i in enumerate(group):
            padded[row, : len(features[i])] = features[i]
        output = np.asarray(_forward(recognizer.config)(recognizer.params, padded, keep)[0])
        for row, i in enumerate(group):
            results[i] = output[row, delay : delay + len(features[i])] - recognizer.log_priors
    return results


def features_of(recognizer: Recognizer, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "steps 512"]:
    """Normalised, stacked features of a 16 kHz waveform."""
    return frontend.stack(frontend.normalize(frontend.log_mel(wave), recognizer.stats))


def recognize(
    recognizer: Recognizer, waves: Sequence[Float[np.ndarray, " _"]], pool: Executor | None = None
) -> list[Hypothesis]:
    """The most likely words of each 16 kHz waveform, in one pass of beam search.

    A `pool` of processes shares the search, which holds the interpreter's lock: the words are the same.
    """
    found = scores(recognizer, [features_of(recognizer, wave) for wave in waves])
    if pool is None:
        return [decode(recognizer.language.graph, each, recognizer.search) for each in found]
    job = partial(_decode_elsewhere, recognizer.language.directory / "graph", recognizer.search)
    return list(pool.map(job, found, chunksize=8))


@cache
def _read_graph(directory: Path) -> Graph:
    return Graph.read(directory)


def _decode_elsewhere(graph: Path, search: SearchOptions, found: Float32[np.ndarray, "steps outputs"]) -> Hypothesis:
    return decode(_read_graph(graph), found, search)


@dataclass(frozen=True)
class Scored:
    """One utterance of a test set as recognised."""

    id: str
    speaker: str
    reference: str
    hypothesis: str
    errors: Errors


def heard(
    corpus: Corpus, policy: Policy, noises: Sounds, seed: int, measured: Sounds | None = None
) -> Iterator[np.ndarray]:
    """The waveforms of a test set in the condition that `policy` fixes: the same ones whichever model is tested."""
    for utterance in corpus:
        yield perturb(utterance.samples, draw(policy, seed, utterance.key, 0), noises, measured)


def evaluate(
    recognizer: Recognizer, corpus: Corpus, waves: Sequence[np.ndarray], pool: Executor | None = None
) -> list[Scored]:
    """Recognise `waves`, which are those of `corpus` in its order and in whatever condition, and count the errors."""
    found = recognize(recognizer, waves, pool)
    return [
        Scored(u.id, u.speaker, u.text, " ".join(h.words), count_errors(u.text.split(), h.words))
        for u, h in zip(corpus, found, strict=True)
    ]


GRIDS = {"acoustic_scale": (0.2, 0.3, 0.4, 0.5, 0.65, 0.85, 1.1), "insertion_penalty": (-2.0, -1.0, 0.0, 1.0, 2.0)}
TUNING_WORDS = 600


def tune(recognizer: Recognizer, dev: Sequence[Utterance]) -> tuple[SearchOptions, float]:
    """Choose acoustic scale, then insertion penalty, on a development set; returns them with the WER that they reach.

    Each is moved along its grid for as long as that helps. Of a long development set, utterances spread evenly over it
    serve, about `TUNING_WORDS` words of them; the WER returned is that of all.
    """
    found = scores(recognizer, [features_of(recognizer, u.samples) for u in dev])
    pairs = [(u.text.split(), each) for u, each in zip(dev, found)]
    thinning = max(1, sum(len(words) for words, _ in pairs) // TUNING_WORDS)

    @cache
    def wer(options: SearchOptions, thinned: int = thinning) -> float:
        heard = ((words, decode(recognizer.language.graph, each, options).words) for words, each in pairs[::thinned])
        return sum((count_errors(reference, words) for reference, words in heard), Errors()).wer

    best = recognizer.search
    for field, grid in GRIDS.items():
        for direction in (grid, grid[::-1]):
            for value in direction[direction.index(getattr(best, field)) + 1 :]:
                change: dict[str, Any] = {field: value}
                moved = dataclasses.replace(best, **change)
                if wer(moved) >= wer(best):
                    break
                best = moved
    return best, wer(best, 1)
