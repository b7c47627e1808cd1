"""The model directory: `train` writes it, `evaluate` and `transcribe` read it, and every file in it is checked.

    MODEL/model.json      what it is: the network's configuration, search options, where it came from
          params.npz      the network's parameters; stats.json its features' mean and variance; priors.npy
          tree.txt  lexicon.txt  lm.arpa  graph/     the language that it decodes with
          gmm/              the GMM that the network must beat: a model directory of its own (`gmm_directory`)
          checkpoints/  tensorboard/  run.json       the training, which can go on from there

The directory can be moved to another machine. Only training needs the files of the last line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float32

from mdasr import frontend
from mdasr.acoustic.network import ModelConfig, init_params, read_config
from mdasr.align.tree import Tree
from mdasr.core import schema
from mdasr.core.digests import digest
from mdasr.core.files import read_array, read_arrays, read_json, read_text, write_array, write_arrays, write_atomically
from mdasr.decode.graph import Graph, build_graph, graph_ingredients
from mdasr.decode.search import SearchOptions
from mdasr.frontend import Subsampling
from mdasr.language.arpa_reader import N_GRAMS
from mdasr.language.lexicon import Lexicon

FORMAT = 2
GMM = "gmm"  # the field of a model.json that describes a GMM, in place of "network"
T = TypeVar("T")


@dataclass(frozen=True)
class Language:
    """Pronunciations, CDPhones and the graph of the n-gram model, which many models can share.

    `directory` is where it is stored: processes that decode read the graph from there.
    """

    lexicon: Lexicon
    tree: Tree
    graph: Graph
    arpa: str
    directory: Path

    def write(self, directory: Path) -> None:
        """Write everything to `directory`, the graph last."""
        directory.mkdir(parents=True, exist_ok=True)
        self.lexicon.write(directory / "lexicon.txt")
        self.tree.write(directory / "tree.txt")
        write_atomically(directory / "lm.arpa", self.arpa)
        self.graph.write(directory / "graph")

    @classmethod
    def read(cls, directory: Path) -> Language:
        """Read what `write` wrote; raises ValueError naming a file that the graph was not made of."""
        lexicon, tree = Lexicon.read(directory / "lexicon.txt"), Tree.read(directory / "tree.txt")
        graph, arpa = Graph.read(directory / "graph"), read_text(directory / "lm.arpa", N_GRAMS, "utf-8")
        ingredients = graph_ingredients(lexicon, arpa, tree, graph.words)
        for name, expected in graph.made_of.items():
            if ingredients.get(name) != expected:
                raise ValueError(
                    f"{directory / name} is not the file that {directory / 'graph'} was made of: put that file back, "
                    f"or build the graph again (`mdasr graph {directory}`)"
                )
        return cls(lexicon, tree, graph, arpa, directory)


def compose_language(
    directory: Path,
    lexicon: Lexicon,
    tree: Tree,
    arpa: str,
    cache: Path | None = None,
    topology: str = "one-state",
) -> Language:
    """Compose the graph of the n-gram model `arpa` (the text of an ARPA file) and write everything to `directory`.

    The files of an older language there stay until the new ones are written whole. Finished stages are kept in
    `cache`, or else in `directory` until everything is written. A call after one that was killed goes on from them.
    Raises ValueError as `build_graph` does.
    """
    stages = cache or directory / "stages"
    graph = build_graph(lexicon, arpa, tree, cache=stages, topology=topology)
    language = Language(lexicon, tree, graph, arpa, directory)
    (directory / "graph").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as whole:
        language.write(Path(whole))
        for path in sorted(path for path in Path(whole).rglob("*") if path.is_file()):
            path.replace(directory / path.relative_to(whole))
    if not cache:
        shutil.rmtree(stages)
    return language


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A trained model with everything that it needs to turn waveforms into words; `facts` say where it came from.

    With a `domain`, the network is told that it hears this domain.
    """

    config: ModelConfig
    params: Mapping[str, Any]
    stats: frontend.FeatureStats
    log_priors: Float32[np.ndarray, " outputs"]
    language: Language
    search: SearchOptions
    facts: Mapping[str, Any]
    domain: str = ""

    @property
    def output_delay(self) -> int:
        return self.config.encoder.output_delay

    @property
    def subsampling(self) -> Subsampling:
        return self.config.encoder.subsampling

    @property
    def score_offsets(self) -> Float32[np.ndarray, " outputs"]:
        """Log posteriors minus the scores of the search: log priors, or zero, depending on the criterion."""
        return self.log_priors if self.config.criterion.outputs.subtracts_priors else np.zeros_like(self.log_priors)

    @property
    def graph(self) -> Graph:
        return self.language.graph

    def told(self, domain: str) -> Recognizer:
        """The recogniser with a network that is told `domain`; unchanged where it has no parameters for that domain."""
        return dataclasses.replace(self, domain=domain) if domain in self.config.domains else self

    def write(self, directory: Path) -> None:
        """Write everything, `model.json` last, so that a directory with a `model.json` is complete."""
        if self.language.directory != directory:
            self.language.write(directory)
        self.stats.write(directory / "stats.json")
        write_array(directory / "priors.npy", self.log_priors)
        flat = traverse_util.flatten_dict(dict(self.params), sep="/")
        write_arrays(directory / "params.npz", {name: np.asarray(value) for name, value in flat.items()})
        self.describe(directory)

    def describe(self, directory: Path) -> None:
        """Write `model.json` alone, for when only the search or the facts have changed."""
        write_description(directory, {"network": dataclasses.asdict(self.config)}, self.search, self.facts)

    @classmethod
    def read(cls, directory: Path | str) -> Recognizer:
        """Read the model directory of a network; raises FileNotFoundError or ValueError naming the file and its fault.

        For that of a GMM, the error says that a network is needed (`gmm_directory.read_model` reads both).
        """
        directory = Path(directory)
        path, facts = directory / "model.json", described(directory)
        if GMM in facts:
            raise ValueError(
                f"{directory} holds a GMM, and this needs a network. A GMM can only be evaluated, tuned, given another "
                "graph, and used to transcribe recordings"
            )
        config = read_field(path, facts, "network", read_config)
        search = read_search(path, facts)
        language = Language.read(directory)
        check_tree(directory, language.tree, facts)
        if config.num_outputs != language.graph.num_outputs:
            raise ValueError(
                f"{path}: the network has {config.num_outputs} outputs, but {directory / 'graph'} is for "
                f"{language.graph.num_outputs}; copy all files of the model again"
            )
        check_topology(directory, config, language)
        params = read_params(directory / "params.npz", config)
        stats = frontend.FeatureStats.read(directory / "stats.json", config.width)
        priors = _read_priors(directory / "priors.npy", config.num_outputs)
        return cls(config, params, stats, priors, language, search, facts)


def described(directory: Path) -> dict[str, Any]:
    """The contents of a model.json without its format; raises FileNotFoundError or ValueError where it is no model."""
    path = directory / "model.json"
    if not path.exists():
        raise FileNotFoundError(f"{directory} is not a model: it has no model.json (`mdasr train` writes it last)")
    contents = read_json(path, "description of a model")
    check_format(path, contents)
    return contents


def write_description(directory: Path, kind: dict[str, Any], search: SearchOptions, facts: Mapping[str, Any]) -> None:
    """Write the model.json of a model, whose `kind` is the field that says what computes its scores."""
    contents = {"format": FORMAT, **kind, "search": dataclasses.asdict(search), **facts}
    write_atomically(directory / "model.json", json.dumps(contents, indent=1) + "\n")


def check_format(path: Path, contents: dict[str, Any]) -> None:
    """Remove the format from the contents of a model.json; raises ValueError where this version cannot read it."""
    if (number := contents.pop("format", None)) != FORMAT:
        raise ValueError(
            f"{path}: a model of format {number!r}, and this version reads format {FORMAT}. Train it again; a model of "
            "format 1 is also read by mdasr 0.1.0"
        )


def read_field(path: Path, facts: dict[str, Any], name: str, reader: Callable[[Any, str], T]) -> T:
    """Remove a field from the contents of a model.json and read it; raises ValueError where it is wrong."""
    try:
        return reader(facts.pop(name, None), f"field {name}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_search(path: Path, facts: dict[str, Any]) -> SearchOptions:
    """Remove the search options from the contents of a model.json and read them; raises as `read_field`."""

    def options(value: Any, where: str) -> SearchOptions:
        return schema.read(SearchOptions, schema.completed(SearchOptions, value), where)

    return read_field(path, facts, "search", options)


def _read_priors(path: Path, num_outputs: int) -> Float32[np.ndarray, " outputs"]:
    priors = read_array(path, "log priors of a model's outputs (training writes them)")
    if priors.shape != (num_outputs,) or priors.dtype != np.float32 or not np.isfinite(priors).all():
        raise ValueError(f"{path}: not {num_outputs} finite float32 numbers, one an output; copy the model again")
    return priors


def check_tree(directory: Path, tree: Tree, contents: Mapping[str, Any]) -> None:
    """Check the `tree` of a model directory; raises ValueError where model.json names another one."""
    if contents.get("tree", trained := digest(tree)) != trained:
        raise ValueError(f"{directory / 'tree.txt'} is not the tree that the model was trained with; put that one back")


def check_topology(directory: Path, config: ModelConfig, language: Language) -> None:
    """Check that a graph was made for outputs of the network's kind; raises ValueError where it was not."""
    if (wanted := config.criterion.outputs.topology) != language.graph.topology:
        raise ValueError(
            f"{directory / 'graph'}: HMMs of {language.graph.topology!r}, but a network trained by "
            f"{config.criterion.name!r} needs {wanted!r}; build the graph again (`mdasr graph {directory}`)"
        )


def read_params(path: Path, config: ModelConfig) -> dict:
    """Read parameters from an .npz; raises ValueError where names, shapes or types do not fit `config`."""
    flat = read_arrays(path, "parameters of a network (training writes them)")
    wanted = traverse_util.flatten_dict(jax.eval_shape(lambda: init_params(config, 0)), sep="/")
    for name in sorted({*flat, *wanted}):
        shape = flat[name].shape if name in flat else "missing"
        expected = wanted[name].shape if name in wanted else "nothing of that name"
        if shape != expected:
            raise ValueError(
                f"{path}: {name} is {shape}, but model.json asks for {expected}: the files are of different models. "
                "Copy both from the same model again."
            )
        if flat[name].dtype != wanted[name].dtype or not np.isfinite(flat[name]).all():
            raise ValueError(f"{path}: {name} does not hold finite {wanted[name].dtype} numbers; copy the model again")
    return traverse_util.unflatten_dict(flat, sep="/")


def params_digest(params: Any) -> str:
    """A name for a network's parameters: twelve hex digits that depend on names and values."""
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    sha256 = hashlib.sha256()
    for name in sorted(flat):
        sha256.update(name.encode() + np.ascontiguousarray(flat[name]).tobytes())
    return sha256.hexdigest()[:12]
