"""The decoding graph HCLG: from network outputs to words, in one transducer (§3.6).

H gives every phone in its context one state or more, C is the context, L the pronunciations, G the n-gram model. They
are composed as in Mohri, Pereira and Riley (2002), with two changes. First, labels become those of the acoustic model
before the last determinisation, so that contexts that the tree ties become one. Second, the step in which a word starts
has its own input label, so that the best path says when each word was said.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kaldifst
import numpy as np
from jaxtyping import Int

from mdasr.core.digests import digest
from mdasr.core.files import read_json, read_text, replacing, sha256_of, write_atomically
from mdasr.decode.build_stages import Made, Progress, Stage, run_stages
from mdasr.decode.cost import estimate, memory_at_hand_gb
from mdasr.decode.grammar import build_grammar
from mdasr.decode.transducers import (
    Label,
    Tying,
    compose,
    disambiguated,
    hmms,
    labels_of,
    pronouncer,
    relabeller,
    states_of,
)
from mdasr.language.arpa_reader import announced
from mdasr.language.lexicon import SILENCE, Lexicon, Phones, listed

FORMAT = 3


@dataclass(frozen=True, eq=False)
class Graph:
    """HCLG: input label i is `labels[i - 1]`, output label i is `words[i - 1]`, and costs are -log p.

    Label 0 is nothing on either side. `num_outputs` is the number of model outputs that `labels` refer to. `made_of`
    holds the digests of lexicon, language model and tree (`graph_ingredients`), and `topology` names the kind of H.
    """

    fst: kaldifst.StdConstFst = dataclasses.field(repr=False)  # its repr would list every arc
    labels: tuple[Label, ...]
    words: tuple[str, ...]
    num_outputs: int
    made_of: Mapping[str, str] = dataclasses.field(default_factory=dict)
    topology: str = "one-state"

    @functools.cached_property
    def outputs(self) -> Int[np.ndarray, " labels"]:
        """The model output of every input label."""
        return np.array([label.output for label in self.labels])

    def write(self, directory: Path | str) -> None:
        """Write HCLG.fst, words.txt (Kaldi's symbol table) and graph.json, in this order."""
        directory = Path(directory)
        (directory / "graph.json").unlink(missing_ok=True)
        with replacing(directory / "HCLG.fst") as partial:
            if not self.fst.write(str(partial)):
                raise OSError(f"{partial} could not be written; is the disk full?")
        symbols = "".join(f"{word} {i}\n" for i, word in enumerate(("<eps>", *self.words)))
        write_atomically(directory / "words.txt", symbols)
        labels = [[label.output, label.phone, int(label.starts)] for label in self.labels]
        info = {
            "format": FORMAT,
            "num_outputs": self.num_outputs,
            "labels": labels,
            "made_of": dict(self.made_of),
            "topology": self.topology,
        }
        info["sha256"] = _digests(directory, info)
        write_atomically(directory / "graph.json", json.dumps(info) + "\n")

    @classmethod
    def read(cls, directory: Path | str) -> Graph:
        """Read what `write` wrote; raises FileNotFoundError or ValueError naming a missing or damaged file."""
        directory = Path(directory)
        for name in ("graph.json", "HCLG.fst", "words.txt"):
            if not (directory / name).exists():
                raise FileNotFoundError(f"{directory / name} is missing: the graph is not complete; build it again")
        labels, num_outputs, made_of, topology = _checked_info(directory)
        fst = kaldifst.StdConstFst.read(str(directory / "HCLG.fst"))
        if fst is None:
            raise ValueError(f"{directory / 'HCLG.fst'}: not a complete transducer; build the graph again")
        rows = read_text(directory / "words.txt", "words of a graph").split("\n")[1:-1]
        words = tuple(row.split(" ")[0] for row in rows)
        return cls(fst, labels, words, num_outputs, made_of, topology)


def _digests(directory: Path, info: Mapping[str, Any]) -> dict[str, str]:
    """The digests of a graph's files, by name; that of graph.json covers its labels."""
    files = {name: sha256_of(directory / name) for name in ("HCLG.fst", "words.txt")}
    return files | {"graph.json": digest([info.get("num_outputs"), info.get("labels"), info.get("topology")])}


def _checked_info(directory: Path) -> tuple[tuple[Label, ...], int, dict[str, str], str]:
    """The contents of graph.json, without the words; raises ValueError where it, or a file that it names, is damaged.

    OpenFst does not check what it reads, and a damaged transducer would crash the process.
    """
    path = directory / "graph.json"
    info = read_json(path, "description of a decoding graph (`mdasr graph MODEL` makes one)")
    if (number := info.get("format")) != FORMAT:
        raise ValueError(
            f"{directory}: a graph of format {number!r}, but this version reads {FORMAT}; build it again "
            "(`mdasr graph MODEL`)"
        )
    kept = info.get("sha256")
    for name, sha256 in _digests(directory, info).items():
        if not isinstance(kept, dict) or kept.get(name) != sha256:
            raise ValueError(f"{directory / name}: damaged, or does not fit graph.json; build the graph again")
    try:
        labels = tuple(Label(output, phone, bool(starts)) for output, phone, starts in info["labels"])
        num_outputs, made_of, topology = info["num_outputs"], dict(info.get("made_of", {})), str(info["topology"])
        whole = all(type(label.output) is int and 0 <= label.output < num_outputs for label in labels)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); build the graph again (`mdasr graph MODEL`)") from None
    if not (labels and whole and type(num_outputs) is int and all(isinstance(v, str) for v in made_of.values())):
        raise ValueError(f"{path}: the fields labels and num_outputs do not describe a graph; build it again")
    return labels, num_outputs, made_of, topology


def build_graph(
    lexicon: Lexicon,
    arpa: str | Path,
    tree: Tying,
    silence_probability: float = 0.5,
    cache: Path | None = None,
    topology: str = "one-state",
) -> Graph:
    """Compose H, C, L and G over the words of the n-gram model `arpa` (a Path, or the text itself).

    Between words, and at both ends, there is silence with `silence_probability`. Words of the lexicon that are not in
    `arpa` are left out, so they cannot be recognised. The likeliest pronunciation of a word costs nothing. This is
    usual where the search follows one path and does not add up probabilities.

    `topology` names the kind of H (`transducers.TOPOLOGIES`).

    With a directory `cache`, finished stages are kept there. A construction that was killed goes on from them, and one
    for another tree uses all that depends on the words alone.

    Raises ValueError for a broken `arpa` (with its line), for its words without pronunciation, and for phones that the
    tree does not know. Raises it, too, before the work starts, for a graph that will not fit into memory, and for a
    graph without states.
    """
    if not 0 < silence_probability < 1:
        raise ValueError(f"silence_probability is {silence_probability}; it must lie between 0 and 1")
    states, head = states_of(topology), announced(arpa)
    spoken = _spoken(lexicon, head.words, tree)
    cost = estimate(head.counts, spoken)
    cost.require(memory_at_hand_gb())
    made_of = graph_ingredients(lexicon, arpa, tree, head.words)
    phones = spoken.phones
    pronunciations, highest = disambiguated(spoken)
    marks = [2 * len(phones) + 1 + k for k in range(highest + 1)]
    pronounce = partial(pronouncer, pronunciations, head.words, phones, marks, silence_probability)
    with Progress(cost.seconds) as progress:
        stages = (
            Stage("G", made_of["lm.arpa"], lambda _: Made(_grammar(arpa, head.words))),
            Stage("LG", (made_of["lexicon.txt"], silence_probability),
                  lambda g: Made(_pronounced(pronounce(), g.fst, progress))),
            Stage("CLG", None, lambda lg: Made(*kaldifst.compose_context(marks, 3, 1, lg.fst))),
            Stage("tied", made_of["tree.txt"], lambda clg: _tied(clg, phones, tree, progress)),
        )  # fmt: skip
        graph, notes = run_stages(stages, progress, cache)
        tied = [Label(output, phone, bool(starts)) for output, phone, starts in notes["labels"]]
        spread, labels = hmms(tied, notes["highest"], states)
        # A constant transducer, because the search is a quarter faster over arcs that lie side by side.
        graph = kaldifst.StdConstFst(compose(spread, graph))
        progress.done("HCLG", graph)
    if not graph.num_states:
        raise ValueError("the graph has no states: no sentence has a path; check the language model and the lexicon")
    return Graph(graph, labels, head.words, states * tree.num_leaves, made_of, topology)


def graph_ingredients(lexicon: Lexicon, arpa: str | Path, tree: Tying, words: Iterable[str]) -> dict[str, str]:
    """Digests of the ingredients of a graph over `words`, by their file names in a model directory."""
    spoken = Lexicon({word: lexicon.entries[word] for word in words if word in lexicon})
    text = arpa.read_bytes() if isinstance(arpa, Path) else arpa.encode()
    lm = hashlib.sha256(text).hexdigest()[:12]
    return {"lexicon.txt": digest(sorted(spoken.text.splitlines())), "lm.arpa": lm, "tree.txt": digest(tree)}


def _spoken(lexicon: Lexicon, words: Sequence[str], tree: Tying) -> Lexicon:
    """The lexicon of `words` alone.

    Raises ValueError for words that the lexicon lacks, and for phones that the tree does not know.
    """
    if missing := [word for word in words if word not in lexicon]:
        raise ValueError(
            f"{len(missing)} words of the language model are not in the lexicon: {listed(missing)}. Add "
            "pronunciations (Lexicon.covering), or train the language model without these words"
        )
    spoken = Lexicon({word: lexicon.entries[word] for word in words})
    if unknown := {*spoken.phones} - {*tree.phones}:
        having = [w for w, variants in spoken.entries.items() if any(unknown.intersection(v) for v, _ in variants)]
        raise ValueError(
            f"phones that the tree does not know: {listed(sorted(unknown))} in {listed(having)}. Give these words "
            f"pronunciations in its phones: {' '.join(sorted({*tree.phones} - {SILENCE}))}"
        )
    return spoken


def _grammar(arpa: str | Path, words: Sequence[str]) -> kaldifst.StdVectorFst:
    grammar, words_read = build_grammar(arpa)
    if words_read != words:
        raise RuntimeError(f"the {len(words_read)} words of the model are not the {len(words)} that its file announces")
    return grammar


def _pronounced(
    spoken: kaldifst.StdVectorFst, grammar: kaldifst.StdVectorFst, progress: Progress
) -> kaldifst.StdVectorFst:
    """L composed with G, deterministic and minimal."""
    graph = compose(spoken, grammar)
    progress.done("L∘G", graph)
    return _optimized(graph, "LG", progress)


def _tied(clg: Made, phones: Phones, tree: Tying, progress: Progress) -> Made:
    """C composed with LG, relabelled for the acoustic model, deterministic and minimal, with notes on the labels."""
    labels, renumbered = labels_of(clg.notes, phones, tree)
    graph = compose(relabeller(renumbered), clg.fst)
    progress.done("relabelled", graph)
    graph = _optimized(graph, "tied", progress)
    return Made(graph, {"labels": [*map(dataclasses.astuple, labels)], "highest": max(renumbered)})


def _optimized(graph: kaldifst.StdVectorFst, name: str, progress: Progress) -> kaldifst.StdVectorFst:
    """Make a transducer deterministic and minimal in place, without changing its relation."""
    if kaldifst.determinize_star(graph):
        raise RuntimeError("determinisation stopped before its end")
    progress.done(f"{name} determinised", graph)
    kaldifst.minimize_encoded(graph)
    return graph
