"""The model directory: all that `train` writes and `evaluate` and `transcribe` read, and what can be done with it.

    MODEL/model.json      what it is: network, output delay, search options, where it came from
          params.npz      the network's parameters; stats.json its features' mean and variance; priors.npy
          tree.txt  lexicon.txt  lm.arpa  graph/     the language that it decodes with
          checkpoints/  tensorboard/  run.json       the training, which can go on from there

It can be moved to another machine; only the last line is needed for training alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Float32

from mdasr import frontend
from mdasr.acoustic.adapters import worked_in
from mdasr.acoustic.model import ModelConfig, init_params, log_posteriors
from mdasr.acoustic.tying import Tree
from mdasr.data.records import Utterance, write_atomically
from mdasr.decode.graph import Graph, build_graph, ingredients
from mdasr.decode.lattice import LATTICE_BEAM, Lattice, search_lattice
from mdasr.decode.paths import nbest
from mdasr.decode.rescore import Grammar, rescore
from mdasr.decode.search import Hypothesis, SearchOptions, decode
from mdasr.files import read_array, read_arrays, read_json, read_text
from mdasr.language.arpa import N_GRAMS, read_arpa
from mdasr.language.lexicon import Lexicon, listed
from mdasr.perturb import Policy, draw, perturb, schema
from mdasr.perturb.room import Sounds
from mdasr.score.wer import Scored, count_errors
from mdasr.spec import RATE_HZ, digest

FORMAT = 1
LONGEST_DELAY = 1000  # steps
T = TypeVar("T")
WIDTH = frontend.STACK * frontend.BANDS
ROWS, STEPS = 16, 64  # utterances are scored so many at once, padded to a multiple of so many steps
MOST_STEPS = ROWS * 1024  # of all rows together: beyond 31 s there are fewer of them, lest memory grow with the longest
AT_ONCE_S = 600.0  # of speech that features and scores are held of


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
        """Read what `write` wrote; raises ValueError naming a file that is not the one that the graph was made of."""
        lexicon, tree = Lexicon.read(directory / "lexicon.txt"), Tree.read(directory / "tree.txt")
        graph, arpa = Graph.read(directory / "graph"), read_text(directory / "lm.arpa", N_GRAMS, "utf-8")
        found = ingredients(lexicon, arpa, tree, graph.words)
        for name, named in graph.made_of.items():
            if found.get(name) != named:
                raise ValueError(
                    f"{directory / name} is not the one that {directory / 'graph'} was made of: put that one back, or "
                    f"make the graph anew (`mdasr graph {directory}`)"
                )
        return cls(lexicon, tree, graph, arpa, directory)


def compose_language(
    directory: Path, lexicon: Lexicon, tree: Tree, arpa: str | Path, cache: Path | None = None
) -> Language:
    """Compose the graph of the n-gram model `arpa` (a Path, or the text itself) and write all to `directory`.

    Finished stages lie in `cache` if that is given; otherwise in `directory`, from where a call that comes after one
    that was killed goes on, until all is written. Raises ValueError as `build_graph` does.
    """
    stages = cache or directory / "stages"
    graph = build_graph(lexicon, arpa, tree, cache=stages)
    text = arpa.read_bytes().decode("utf-8") if isinstance(arpa, Path) else arpa
    language = Language(lexicon, tree, graph, text, directory)
    language.write(directory)
    if not cache:
        shutil.rmtree(stages)
    return language


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

    def told(self, domain: str) -> Recognizer:
        """The recogniser of that domain alone; itself where the network has no parameters of the domain's own."""
        if domain not in self.config.domains:
            return self
        config, params = worked_in(self.config, self.params, domain)
        return dataclasses.replace(self, config=config, params=params)

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
        self.describe(directory)

    def describe(self, directory: Path) -> None:
        """Write `model.json` alone, as when nothing but the search or the facts has changed."""
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
        facts = read_json(path, "description of a model")
        if facts.pop("format", None) != FORMAT:
            raise ValueError(f"{path}: not of format {FORMAT}, which this version reads; train again")
        config = _field(path, facts, "network", ModelConfig)
        search = _field(path, facts, "search", SearchOptions)
        if type(delay := facts.pop("output_delay", None)) is not int or not 0 <= delay < LONGEST_DELAY:
            raise ValueError(f"{path}: field output_delay: {delay!r} where a number of steps should be")
        language = Language.read(directory)
        check_tree(directory, language.tree, facts)
        if config.num_outputs != language.graph.num_outputs:
            raise ValueError(
                f"{path}: a network of {config.num_outputs} outputs, but {directory / 'graph'} is for "
                f"{language.graph.num_outputs}; put the files of one training together again"
            )
        params = read_params(directory / "params.npz", config)
        stats = frontend.FeatureStats.read(directory / "stats.json")
        priors = _read_priors(directory / "priors.npy", config.num_outputs)
        return cls(config, delay, params, stats, priors, language, search, facts)


def _field(path: Path, facts: dict[str, Any], name: str, kind: type[T]) -> T:
    """Take a field of model.json out of its facts, as the dataclass `kind`; ValueError names what is wrong with it."""
    try:
        return schema.read(kind, schema.completed(kind, facts.pop(name, None)), f"field {name}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_priors(path: Path, num_outputs: int) -> Float32[np.ndarray, " outputs"]:
    priors = read_array(path, "log priors of a model's outputs (training writes them)")
    if priors.shape != (num_outputs,) or priors.dtype != np.float32 or not np.isfinite(priors).all():
        raise ValueError(f"{path}: not {num_outputs} finite float32 numbers, a prior an output; copy the model again")
    return priors


def check_tree(directory: Path, tree: Tree, described: Mapping[str, Any]) -> None:
    """ValueError where `tree`, that of a model directory, is not the one that its model.json names."""
    if described.get("tree", trained := digest(tree)) != trained:
        raise ValueError(f"{directory / 'tree.txt'} is not the tree that the network was trained with; put that back")


def read_params(path: Path, config: ModelConfig) -> dict:
    """Parameters from an .npz, compared with the shapes that `config` asks for; raises ValueError at a difference."""
    flat = read_arrays(path, "parameters of a network (training writes them)")
    wanted = traverse_util.flatten_dict(jax.eval_shape(lambda: init_params(config, 0)), sep="/")
    for name in sorted({*flat, *wanted}):
        found = flat[name].shape if name in flat else "missing"
        asked = wanted[name].shape if name in wanted else "nothing of that name"
        if found != asked:
            raise ValueError(
                f"{path}: {name} is {found}, but model.json asks for {asked}; this is a checkpoint of another "
                "configuration. Put the two files of one training together again."
            )
        if flat[name].dtype != wanted[name].dtype or not np.isfinite(flat[name]).all():
            raise ValueError(f"{path}: {name} does not hold finite {wanted[name].dtype} numbers; copy the model again")
    return traverse_util.unflatten_dict(flat, sep="/")


def params_digest(params: Any) -> str:
    """Twelve hex digits that name a network's parameters."""
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    found = hashlib.sha256()
    for name in sorted(flat):
        found.update(name.encode() + np.ascontiguousarray(flat[name]).tobytes())
    return found.hexdigest()[:12]


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
    for group, rows, steps in _groups([len(each) + delay for each in features]):
        padded = np.zeros((rows, steps, WIDTH), np.float32)
        keep = np.ones((rows, steps), np.float32)
        keep[:, 0] = 0
        for row, i in enumerate(group):
            padded[row, : len(features[i])] = features[i]
        output = np.asarray(_forward(recognizer.config)(recognizer.params, padded, keep)[0])
        for row, i in enumerate(group):
            results[i] = output[row, delay : delay + len(features[i])] - recognizer.log_priors
    return results


def _groups(lengths: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
    """Which utterances of so many steps are scored together, in how many rows of how many steps."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    while order:
        rows = ROWS
        while rows > 1 and rows * _padded(lengths[order[0]]) > MOST_STEPS:
            rows //= 2
        group = [i for i in order[:rows] if rows * _padded(lengths[i]) <= MOST_STEPS] or order[:1]
        order = order[len(group) :]
        # Short groups are filled up to ROWS, for one compilation a length; long ones seldom have a length in common.
        yield group, ROWS if rows == ROWS else len(group), _padded(lengths[group[-1]])


def _padded(steps: int) -> int:
    return -(-steps // STEPS) * STEPS


def features_of(recognizer: Recognizer, wave: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "steps 512"]:
    """Normalised, stacked features of a 16 kHz waveform."""
    return frontend.stack(frontend.normalize(frontend.log_mel(wave), recognizer.stats))


def score_blocks(
    recognizer: Recognizer, waves: Iterable[Float[np.ndarray, " _"]]
) -> Iterator[list[Float32[np.ndarray, "_ outputs"]]]:
    """`scores` of 16 kHz waveforms, those of `AT_ONCE_S` of them at a time, so that a corpus need not fit in memory."""
    block: list[Float[np.ndarray, "_ 512"]] = []
    seconds = 0.0
    for wave in waves:
        block.append(features_of(recognizer, wave))
        seconds += len(wave) / RATE_HZ
        if seconds >= AT_ONCE_S:
            yield scores(recognizer, block)
            block, seconds = [], 0.0
    if block:
        yield scores(recognizer, block)


def recognize(
    recognizer: Recognizer, waves: Iterable[Float[np.ndarray, " _"]], pool: Executor | None = None
) -> list[Hypothesis]:
    """The most likely words of each 16 kHz waveform, in one pass of beam search; `waves` may be made as they are asked.

    A `pool` of processes shares the search, which holds the interpreter's lock: the words are the same.
    """
    job = partial(_decode_here, recognizer.language.graph, recognizer.search)
    if pool:
        job = partial(_decode_elsewhere, recognizer.language.directory / "graph", recognizer.search)
    return _each(job, score_blocks(recognizer, waves), pool)


def _each(
    job: Callable[[Float32[np.ndarray, "_ outputs"]], T],
    blocks: Iterable[list[Float32[np.ndarray, "_ outputs"]]],
    pool: Executor | None,
) -> list[T]:
    """`job` of all that is in the blocks; a block is over before the next is made."""
    shared = partial(pool.map, chunksize=8) if pool else map
    return [result for block in blocks for result in shared(job, block)]


@cache
def _read_graph(directory: Path) -> Graph:
    return Graph.read(directory)


def _decode_here(graph: Graph, search: SearchOptions, found: Float32[np.ndarray, "steps outputs"]) -> Hypothesis:
    return decode(graph, found, search)


def _decode_elsewhere(graph: Path, search: SearchOptions, found: Float32[np.ndarray, "steps outputs"]) -> Hypothesis:
    return decode(_read_graph(graph), found, search)


def recognize_lattices(
    recognizer: Recognizer,
    waves: Iterable[Float[np.ndarray, " _"]],
    pool: Executor | None = None,
    rescore_with: Path | None = None,
) -> list[tuple[Hypothesis, Lattice]]:
    """The most likely words of each 16 kHz waveform, and a lattice of all that may have been said; `pool` as above.

    The words are those of `recognize`. With `rescore_with`, an n-gram model's ARPA file, that model's costs take the
    place of those of the recogniser's own in the lattice, and the words are the likeliest there.
    """
    directory, search = recognizer.language.directory, recognizer.search
    job = partial(_lattice, recognizer.language.graph, directory, search, rescore_with)
    if pool:
        job = partial(_lattice_elsewhere, directory, search, rescore_with)
    return _each(job, score_blocks(recognizer, waves), pool)


@lru_cache(maxsize=2)
def _read_grammar(arpa: Path) -> Grammar:
    return Grammar(read_arpa(arpa))


def check_rescoring(recognizer: Recognizer, arpa: Path) -> None:
    """ValueError where the n-gram model to rescore with is broken, or cannot say words that the recogniser hears."""
    words = recognizer.graph.words
    if strange := _read_grammar(arpa).unsayable(words):
        raise ValueError(
            f"{arpa}: lacks {len(strange)} of the model's {len(words)} words: {listed(strange)}. Lower-case it, or "
            "make it anew with `mdasr lm train` of text that has them, or with <unk> in its --vocabulary"
        )


def _lattice(
    graph: Graph,
    directory: Path,
    search: SearchOptions,
    rescore_with: Path | None,
    found: Float32[np.ndarray, "steps outputs"],
) -> tuple[Hypothesis, Lattice]:
    lattice = search_lattice(graph, found, search)
    if rescore_with is None:
        return decode(graph, found, search), lattice
    lattice = rescore(lattice, _read_grammar(directory / "lm.arpa"), _read_grammar(rescore_with), LATTICE_BEAM)
    return nbest(lattice, 1)[0], lattice


def _lattice_elsewhere(
    directory: Path, search: SearchOptions, rescore_with: Path | None, found: Float32[np.ndarray, "steps outputs"]
) -> tuple[Hypothesis, Lattice]:
    return _lattice(_read_graph(directory / "graph"), directory, search, rescore_with, found)


def heard(
    utterances: Iterable[Utterance], policy: Policy, noises: Sounds, seed: int, measured: Sounds | None = None
) -> Iterator[np.ndarray]:
    """The waveforms of a test set in the condition that `policy` fixes: the same ones whichever model is tested."""
    for utterance in utterances:
        yield perturb(utterance.samples, draw(policy, seed, utterance.key, 0), noises, measured)


def evaluate(
    recognizer: Recognizer, utterances: Iterable[Utterance], waves: Iterable[np.ndarray], pool: Executor | None = None
) -> list[Scored]:
    """Recognise `waves`, which are those of `utterances` in whatever condition, and count the errors."""
    return scored_as(utterances, recognize(recognizer, waves, pool))


def scored_as(utterances: Iterable[Utterance], found: Sequence[Hypothesis]) -> list[Scored]:
    """Count the errors of what was found in each utterance."""
    return [
        Scored(u.id, u.speaker, u.text, " ".join(h.words), count_errors(u.text.split(), h.words))
        for u, h in zip(utterances, found, strict=True)
    ]
