"""Give a trained model another language: the same network and tree, with new words, n-grams and graph (§3.6)."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import chain
from pathlib import Path

from mdasr.acoustic.network import read_config
from mdasr.align.tree import Tree
from mdasr.core.files import read_json, read_text, write_atomically
from mdasr.decode.grammar import announced
from mdasr.language import espeak
from mdasr.language.arpa_reader import read_arpa
from mdasr.language.lexicon import LEXICON, Lexicon, listed, origins, parsed
from mdasr.language.phrases import raised, read_phrases
from mdasr.language.text import is_normal
from mdasr.model.directory import FORMAT, Language, check_format, check_tree, compose_language

NETWORK = ("params.npz", "stats.json", "priors.npy")  # the same for any language


def regraph(
    model: Path,
    out: Path,
    arpa: Path | None = None,
    lexicon: Path | None = None,
    cache: Path | None = None,
    phrases: Path | None = None,
    boost: float = 0.0,
) -> Language:
    """Build the graph of a model directory again, with the n-gram model `arpa` or its own, and write all to `out`.

    Pronunciations come from `lexicon` (CMUdict's format), then from the model's own lexicon, then from eSpeak where
    that is installed. `out` may be `model`; training's checkpoints are not copied. `cache` keeps the stages for another
    graph of the same words. The file `phrases` has a phrase a line, which `boost` makes likelier (`phrases.raised`).

    Raises FileNotFoundError where `model` is not a model, and FileExistsError where `out` is another model. Raises
    ValueError as `build_graph` does, for words that a normalised transcript cannot contain, and for words without
    pronunciation or with phones that the tree lacks.
    """
    if not (model / "model.json").exists():
        raise FileNotFoundError(f"{model} is not a model: it has no model.json (`mdasr train` writes it last)")
    elsewhere = out.resolve() != model.resolve()
    if elsewhere and (out / "model.json").exists():
        raise FileExistsError(f"{out} holds a model already; name another directory, or remove it")
    described = read_json(model / "model.json", "description of a model")
    check_format(model / "model.json", described)
    if arpa or lexicon or phrases:
        # These were measured with another language; scale, penalty and beam can stay.
        for name in ("dev_wer", "tuned_on"):
            described.pop(name, None)
        for name in ("confidence_slope", "confidence_offset"):
            described.get("search", {}).pop(name, None)
    tree, own = Tree.read(model / "tree.txt"), Lexicon.read(model / "lexicon.txt")
    check_tree(model, tree, described)
    words = announced(arpa or model / "lm.arpa").words
    if arpa and (strange := [word for word in words if not is_normal(word)]):
        raise ValueError(
            f"{arpa}: {len(strange)} of {len(words)} words are not written as in transcripts: {listed(strange)}. Use "
            "lower case and plain apostrophes, without digits, signs and hyphens, or make the language model again "
            "with `mdasr lm train`"
        )
    grammar: str | Path = arpa or model / "lm.arpa"
    if phrases:
        said = read_phrases(phrases)
        grammar = raised(read_arpa(grammar), said, boost).to_arpa()
        added = sorted({*chain.from_iterable(said)} - {*words})
        words = (*words, *added)
    given = _given(lexicon, {*words}, tree) if lexicon else Lexicon({})
    own = own.merged(given)
    covering = own.covering(words, espeak.pronounce if espeak.is_installed() else None)
    if lexicon:
        known = sum(word in own for word in words)
        counts = {str(lexicon): len(given), "the model": known - len(given), "eSpeak": len(words) - known}
        print(origins(counts), file=sys.stderr)
    if phrases:
        shown = listed(f"{word} {' '.join(covering.entries[word][0][0])}" for word in added)
        print(f"{phrases}: {len(said)} phrases, {len(added)} new words{': ' if added else ''}{shown}", file=sys.stderr)
    topology = read_config(described.get("network"), "field network").criterion.outputs.topology
    language = compose_language(out, covering, tree, grammar, cache, topology)
    for name in NETWORK if elsewhere else ():
        shutil.copyfile(model / name, out / name)
    write_atomically(out / "model.json", json.dumps({"format": FORMAT, **described}, indent=1) + "\n")
    return language


def _given(path: Path, words: set[str], tree: Tree) -> Lexicon:
    """The pronunciations of `words` in the file `path`.

    Raises ValueError, with the line, for a pronunciation with phones that the tree lacks.
    """
    entries = {word: variants for word, variants in Lexicon.read(path).entries.items() if word in words}
    for word, variants in entries.items():
        for phones, _ in variants:
            if unknown := sorted({*phones} - {*tree.phones}):
                raise ValueError(
                    f"{path}:{_line(path, word, unknown[0])}: {word!r} has the phone {unknown[0]!r}, which the model's "
                    f"tree does not know; it has {' '.join(tree.phones)}"
                )
    return Lexicon(entries)


def _line(path: Path, word: str, phone: str) -> int:
    """The first line of `path` that has `phone` in a pronunciation of `word`."""
    rows = enumerate(map(parsed, read_text(path, LEXICON).split("\n")), start=1)
    return next(number for number, row in rows if row and row[0] == word and phone in row[2])
