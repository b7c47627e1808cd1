"""The model directory of a GMM: it has gmm.npz in place of a network's params.npz, stats.json and priors.npy.

It decodes, evaluates and transcribes as a network's does. It cannot be adapted, streamed or exported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from mdasr.align.tied_gmm import FRAMES, TOPOLOGY, GmmFeatures, TiedGmm
from mdasr.core import schema
from mdasr.decode.graph import Graph
from mdasr.decode.search import SearchOptions
from mdasr.frontend import Subsampling
from mdasr.model.directory import (
    GMM,
    Language,
    Recognizer,
    check_tree,
    described,
    read_field,
    read_search,
    write_description,
)


@dataclass(frozen=True, eq=False)
class GmmRecognizer:
    """A GMM with everything that it needs to turn waveforms into words; `facts` say where it came from."""

    gmm: TiedGmm
    language: Language
    search: SearchOptions
    facts: Mapping[str, Any]

    @property
    def subsampling(self) -> Subsampling:
        return FRAMES

    @property
    def graph(self) -> Graph:
        return self.language.graph

    def write(self, directory: Path) -> None:
        """Write everything, `model.json` last, so that a directory with a `model.json` is complete."""
        if self.language.directory != directory:
            self.language.write(directory)
        self.gmm.write(directory / "gmm.npz")
        self.describe(directory)

    def describe(self, directory: Path) -> None:
        """Write `model.json` alone, for when only the search or the facts have changed."""
        write_description(directory, {GMM: dataclasses.asdict(self.gmm.features)}, self.search, self.facts)

    @classmethod
    def read(cls, directory: Path) -> GmmRecognizer:
        """Read a model directory; raises FileNotFoundError or ValueError naming the file and its fault."""
        path, facts = directory / "model.json", described(directory)
        features = read_field(path, facts, GMM, partial(schema.read, GmmFeatures))
        search = read_search(path, facts)
        language = Language.read(directory)
        check_tree(directory, language.tree, facts)
        if language.graph.topology != TOPOLOGY:
            raise ValueError(
                f"{directory / 'graph'}: HMMs of {language.graph.topology!r}, but a GMM needs {TOPOLOGY!r}; build the "
                f"graph again (`mdasr graph {directory}`)"
            )
        return cls(TiedGmm.read(directory / "gmm.npz", language.tree, features), language, search, facts)


Model: TypeAlias = Recognizer | GmmRecognizer
"""A model that turns waveforms into words."""


def read_model(directory: Path | str) -> Model:
    """Read the model directory of a network or of a GMM; raises as their `read` does."""
    directory = Path(directory)
    return (GmmRecognizer if GMM in described(directory) else Recognizer).read(directory)
