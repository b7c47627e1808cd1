"""The decoding graph HCLG: from network outputs to words, in one transducer (§3.6).

H gives every phone in its context one state, C the context, L the pronunciations, G the n-gram model. They
are composed as Mohri, Pereira and Riley (2002) do it, with two changes. Labels become those of the acoustic
model before the last determinisation, so that contexts that the tree ties are one. And the step in which a
word starts has an input label of its own, so that the best path says when each word was said.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import kaldifst
import numpy as np
from jaxtyping import Int

from mdasr.decode.cost import estimate, memory_at_hand_gb
from mdasr.decode.grammar import announced, build_grammar
from mdasr.decode.stages import Made, Progress, Stage, run
from mdasr.language.lexicon import SILENCE, Lexicon, Phones, listed
from mdasr.spec import digest

FORMAT = 2
READABLE = (1, 2)  # 1 did not say what a graph was made of, and had another kind of OpenFst's files


@runtime_checkable
class Tying(Protocol):
    """What a graph asks of a tree of CDPhones (`mdasr.acoustic.tying.Tree`): SIL stands for the edges too."""

    @property
    def phones(self) -> Sequence[str]: ...

    @property
    def num_leaves(self) -> int: ...

    def leaf(self, left: str, centre: str, right: str) -> int: ...


@dataclass(frozen=True)
class Label:
    """What an input label of the graph stands for: a step of `phone` scored by network output `output`.

    `starts` marks the first step of a word; the steps that follow it have the label with `starts` false.
    """

    output: int
    phone: str
    starts: bool


@dataclass(frozen=True, eq=False)
class Graph:
    """HCLG. Input label i is `labels[i - 1]`, output label i is `words[i - 1]`; costs are -log p.

    Label 0 is nothing on either side. `num_outputs` is the number of network outputs that `labels` speak of.
    `made_of` are the digests of lexicon, language model and tree (`ingredients`); graphs of format 1 had none.
    """

    fst: kaldifst.StdConstFst
    labels: tuple[Label, ...]
    words: tuple[str, ...]
    num_outputs: int
    made_of: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def outputs(self) -> Int[np.ndarray, " labels"]:
        """The network output of every input label."""
        return np.array([label.output for label in self.labels])

    def write(self, directory: Path | str) -> None:
        """Write HCLG.fst, words.txt (Kaldi's symbol table) and graph.json, the last one last."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "graph.json").unlink(missing_ok=True)
        if not self.fst.write(str(directory / "HCLG.fst")):
            raise OSError(f"{directory / 'HCLG.fst'} could not be written; is the disk full?")
        symbols = "".join(f"{word} {i}\n" for i, word in enumerate(("<eps>", *self.words)))
        (directory / "words.txt").write_text(symbols, encoding="utf-8")
        labels = [[label.output, label.phone, int(label.starts)] for label in self.labels]
        info = {"format": FORMAT, "num_outputs": self.num_outputs, "labels": labels, "made_of": dict(self.made_of)}
        (directory / "graph.json").write_text(json.dumps(info) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path | str) -> Graph:
        """Read what `write` wrote; raises FileNotFoundError or ValueError naming the file that is wanting."""
        directory = Path(directory)
        for name in ("graph.json", "HCLG.fst", "words.txt"):
            if not (directory / name).exists():
                raise FileNotFoundError(f"{directory / name} is missing: no complete graph there; build it again")
        info = json.loads((directory / "graph.json").read_text(encoding="utf-8"))
        if (found := info.get("format")) not in READABLE:
            raise ValueError(
                f"{directory}: a graph of format {found!r}, but this version reads {READABLE}; build it again "
                "(`mdasr graph MODEL`)"
            )
        fst = kaldifst.StdConstFst.read(str(directory / "HCLG.fst"))
        if fst is None:
            raise ValueError(f"{directory / 'HCLG.fst'}: not a whole transducer; build the graph again")
        rows = (directory / "words.txt").read_text(encoding="utf-8").split("\n")[1:-1]
        labels = tuple(Label(output, phone, bool(starts)) for output, phone, starts in info["labels"])
        words = tuple(row.split(" ")[0] for row in rows)
        if not isinstance(fst, kaldifst.StdConstFst):
            fst = kaldifst.StdConstFst(fst)
        return cls(fst, labels, words, info["num_outputs"], info.get("made_of", {}))


def build_graph(
    lexicon: Lexicon, arpa: str | Path, tree: Tying, silence_probability: float = 0.5, cache: Path | None = None
) -> Graph:
    """Compose H, C, L and G over the words of the n-gram model `arpa` (a Path, or the text itself).

    Between words, and at both ends, there is silence with `silence_probability`. Words that the lexicon has
    and `arpa` has not cannot be recognised and are left out. The likeliest pronunciation of a word costs
    nothing, as is usual where the search follows one path and does not add up. What is done is kept in the
    directory `cache`, if one is given: a construction that was killed goes on from there, and one for another
    tree uses all that depends on the words alone. Raises ValueError for a broken `arpa` (with its line), for
    its words without pronunciation, for phones that the tree does not know, and, before it starts, for a
    graph that will not fit into memory.
    """
    if not 0 < silence_probability < 1:
        raise ValueError(f"silence_probability is {silence_probability}; it must lie between 0 and 1")
    head = announced(arpa)
    spoken = _spoken(lexicon, head.words, tree)
    cost = estimate(head.ngrams, sum(map(len, spoken.entries.values())))
    cost.require(memory_at_hand_gb())
    made_of = ingredients(lexicon, arpa, tree, head.words)
    phones = spoken.phones
    pronunciations, highest = _disambiguated(spoken)
    marks = [2 * len(phones) + 1 + k for k in range(highest + 1)]
    pronouncer = partial(_pronouncer, pronunciations, head.words, phones, marks, silence_probability)
    with Progress(cost.seconds) as progress:
        stages = (
            Stage("G", made_of["lm.arpa"], lambda _: Made(_grammar(arpa, head.words))),
            Stage("LG", (made_of["lexicon.txt"], silence_probability),
                  lambda g: Made(_pronounced(pronouncer(), g.fst, progress))),
            Stage("CLG", None, lambda lg: Made(*kaldifst.compose_context(marks, 3, 1, lg.fst))),
            Stage("tied", made_of["tree.txt"], lambda clg: _tied(clg, phones, tree, progress)),
        )  # fmt: skip
        graph, notes = run(stages, progress, cache)
        labels = tuple(Label(output, phone, bool(starts)) for output, phone, starts in notes["labels"])
        # Constant: a search over arcs that lie side by side is a quarter faster.
        graph = kaldifst.StdConstFst(_compose(_steps(labels, notes["highest"]), graph))
        progress.done("HCLG", graph)
    return Graph(graph, labels, head.words, tree.num_leaves, made_of)


def ingredients(lexicon: Lexicon, arpa: str | Path, tree: Tying, words: Iterable[str]) -> dict[str, str]:
    """What a graph over `words` is made of, by the names of a model directory's files: equal parts, equal digests."""
    spoken = Lexicon({word: lexicon.entries[word] for word in words if word in lexicon})
    text = arpa.read_bytes() if isinstance(arpa, Path) else arpa.encode()
    lm = hashlib.sha256(text).hexdigest()[:12]
    return {"lexicon.txt": digest(spoken.text), "lm.arpa": lm, "tree.txt": digest(tree)}


def _spoken(lexicon: Lexicon, words: Sequence[str], tree: Tying) -> Lexicon:
    """The lexicon of `words` alone; ValueError for words that it lacks, and for phones that the tree does not know."""
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
    grammar, found = build_grammar(arpa)
    if found != words:
        raise RuntimeError(f"the model has {len(found)} words, but its first lines announced {len(words)} others")
    return grammar


def _pronounced(
    pronouncer: kaldifst.StdVectorFst, grammar: kaldifst.StdVectorFst, progress: Progress
) -> kaldifst.StdVectorFst:
    """L composed with G, deterministic and minimal."""
    graph = _compose(pronouncer, grammar)
    progress.done("L∘G", graph)
    return _optimized(graph, "LG", progress)


def _tied(clg: Made, phones: Phones, tree: Tying, progress: Progress) -> Made:
    """C composed with LG with the acoustic model's labels, deterministic and minimal; the notes say what they are."""
    labels, renumbered = _labels(clg.notes, phones, tree)
    graph = _compose(_relabeller(renumbered), clg.fst)
    progress.done("relabelled", graph)
    graph = _optimized(graph, "tied", progress)
    return Made(graph, {"labels": [*map(dataclasses.astuple, labels)], "highest": max(renumbered)})


def _disambiguated(lexicon: Lexicon) -> tuple[list[tuple[str, Phones, float, int]], int]:
    """Every pronunciation as (word, phones, cost, k) (#k must follow the phones, 0: none), and the highest k.

    A mark is due where other words sound the same or go on from there: determinisation could not tell them
    apart.
    """
    rows = [(word, *variant) for word, variants in lexicon.entries.items() for variant in variants]
    longer = {phones[:n] for _, phones, _ in rows for n in range(1, len(phones))}
    times = Counter(phones for _, phones, _ in rows)
    used: Counter[Phones] = Counter()
    marked = []
    for word, phones, probability in rows:
        if times[phones] > 1 or phones in longer:
            used[phones] += 1
        cost = math.log(lexicon.entries[word][0][1] / probability)
        marked.append((word, phones, cost, used[phones]))
    return marked, max(used.values(), default=0)


def _pronouncer(
    pronunciations: Iterable[tuple[str, Phones, float, int]],
    words: Sequence[str],
    phones: Phones,
    marks: Sequence[int],
    silence_probability: float,
) -> kaldifst.StdVectorFst:
    """L, closed over word sequences: state 0 lies between words before the silence, state 1 after it.

    Phone p has the input label p + 1, or len(phones) + p + 1 where a word starts with it; #k has `marks[k]`.
    """
    plain = {phone: 1 + i for i, phone in enumerate(phones)}
    number = {word: 1 + i for i, word in enumerate(words)}
    arcs = [
        f"0 1 0 0 {-math.log1p(-silence_probability)}",
        f"0 1 {plain[SILENCE]} 0 {-math.log(silence_probability)}",
        f"1 1 {marks[0]} {len(words) + 1}",  # back-off
    ]
    fresh = itertools.count(2)
    for word, said, cost, k in pronunciations:
        inputs = [
            len(phones) + plain[said[0]],
            *(plain[phone] for phone in said[1:]),
            *([marks[k]] if k else []),
        ]
        nodes = [1, *itertools.islice(fresh, len(inputs) - 1), 0]
        carried = [f"{number[word]} {cost}", *["0"] * (len(inputs) - 1)]
        arcs += [f"{nodes[i]} {nodes[i + 1]} {label} {carried[i]}" for i, label in enumerate(inputs)]
    return kaldifst.compile("\n".join([*arcs, "1"]) + "\n")


def _labels(windows: Sequence[Sequence[int]], phones: Phones, tree: Tying) -> tuple[tuple[Label, ...], list[int]]:
    """The labels in use, and for every window its label; a mark's lies above all of them.

    A window is (left, centre, right) in L's input labels, with 0 for an edge; a mark's is a single number.
    """
    names = (SILENCE, *phones, *phones)

    @functools.cache
    def label(left: str, centre: str, right: str, starts: bool) -> Label:
        return Label(tree.leaf(left, centre, right), centre, starts)

    found = [label(names[w[0]], names[w[1]], names[w[2]], w[1] > len(phones)) if len(w) == 3 else None for w in windows]
    used = {one for one in found if one}
    # A word's start is one step long: what follows it is the label without the mark.
    used |= {dataclasses.replace(one, starts=False) for one in used}
    labels = tuple(sorted(used, key=lambda one: (one.starts, one.output, one.phone)))
    number = {one: 1 + i for i, one in enumerate(labels)}
    above = itertools.count(1 + len(labels))
    return labels, [number[one] if one else next(above) if len(w) else 0 for one, w in zip(found, windows)]


def _relabeller(renumbered: Sequence[int]) -> kaldifst.StdVectorFst:
    """One state that reads the new label where it writes the old one."""
    arcs = [f"0 0 {new} {old}" for old, new in enumerate(renumbered) if old]
    return kaldifst.compile("\n".join([*arcs, "0"]) + "\n")


def _steps(labels: Sequence[Label], highest: int) -> kaldifst.StdVectorFst:
    """H: one state a label, for one step or more; marks (labels up to `highest`) pass without a step."""
    number = {label: 1 + i for i, label in enumerate(labels)}
    arcs = [f"0 0 0 {mark}" for mark in range(1 + len(labels), 1 + highest)]
    for label, i in number.items():
        again = number[dataclasses.replace(label, starts=False)]
        arcs += [f"0 {i} {i} {i}", f"{i} {i} {again} 0", f"{i} 0 0 0"]
    return kaldifst.compile("\n".join([*arcs, "0"]) + "\n")


def _compose(left: kaldifst.StdVectorFst, right: kaldifst.StdVectorFst) -> kaldifst.StdVectorFst:
    kaldifst.arcsort(left, "olabel")
    # Must name the side that is sorted: with the other one, compose loses arcs and says nothing.
    return kaldifst.compose(left, right, match_side="left")


def _optimized(graph: kaldifst.StdVectorFst, name: str, progress: Progress) -> kaldifst.StdVectorFst:
    """The same relation, made deterministic and minimal in place."""
    if kaldifst.determinize_star(graph):
        raise RuntimeError("determinisation stopped before its end")
    progress.done(f"{name} determinised", graph)
    kaldifst.minimize_encoded(graph)
    return graph
