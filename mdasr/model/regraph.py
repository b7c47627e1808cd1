"""Give a trained model another language: the same network and tree, with new words, n-grams and graph (§3.6)."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from mdasr.acoustic.network import read_config
from mdasr.align.tree import Tree
from mdasr.core.files import read_json, write_atomically
from mdasr.decode.cost import estimate, memory_at_hand_gb
from mdasr.language import espeak
from mdasr.language.arpa_reader import announced, read_arpa
from mdasr.language.combine import respelled
from mdasr.language.lexicon import Lexicon, listed, origins
from mdasr.language.respelling import read_as_in_transcripts
from mdasr.language.vocabulary import NOT_WORDS, UNKNOWN
from mdasr.model.directory import FORMAT, Language, check_format, check_tree, compose_language

NETWORK = ("params.npz", "stats.json", "priors.npy")  # the same for any language


def regraph(
    model: Path, out: Path, arpa: Path | None = None, lexicon: Path | None = None, cache: Path | None = None
) -> Language:
    """Build the graph of a model directory again, with the n-gram model `arpa` or its own, and write all to `out`.

    Pronunciations come from `lexicon`, then from the model's own lexicon, then from eSpeak where that is installed.
    Words are folded as in `read_as_in_transcripts`. Words that eSpeak cannot say become <unk>, and are named on
    standard error. `out` may be `model`, whose files stay until the new ones are whole; training's checkpoints are not
    copied. `cache` keeps the stages for another graph of the same words.

    Raises FileNotFoundError where `model` is not a model, and FileExistsError where `out` is another model. Raises
    ValueError as `build_graph` does, for words without pronunciation, and for phones that the tree lacks.
    """
    if not (model / "model.json").exists():
        raise FileNotFoundError(f"{model} is not a model: it has no model.json (`mdasr train` writes it last)")
    elsewhere = out.resolve() != model.resolve()
    if elsewhere and (out / "model.json").exists():
        raise FileExistsError(f"{out} holds a model already; name another directory, or remove it")
    described = read_json(model / "model.json", "description of a model")
    check_format(model / "model.json", described)
    if arpa or lexicon:
        # These were measured with another language; scale, penalty and beam can stay.
        for name in ("dev_wer", "tuned_on"):
            described.pop(name, None)
        for name in ("confidence_slope", "confidence_offset"):
            described.get("search", {}).pop(name, None)
    tree, own = Tree.read(model / "tree.txt"), Lexicon.read(model / "lexicon.txt")
    check_tree(model, tree, described)
    if arpa and (cost := estimate(announced(arpa).counts, own)).gb > (at_hand_gb := memory_at_hand_gb()):
        cost.require(at_hand_gb)  # refuses, before a huge file is read
    ngrams = read_as_in_transcripts(arpa) if arpa else read_arpa(model / "lm.arpa")
    words = {*ngrams.words} - NOT_WORDS
    given = Lexicon.read(lexicon, tree.phones, words) if lexicon else Lexicon({})
    own = own.merged(given)
    missing = sorted(word for word in words if word not in own)
    made = espeak.pronounce(missing) if (speaks := espeak.is_installed()) and missing else {}
    if unsaid := [word for word in missing if speaks and word not in made]:
        print(
            f"{len(unsaid)} words are left out, because eSpeak NG cannot say them: {listed(unsaid)}. To keep them, "
            "give them in a lexicon (--lexicon FILE)",
            file=sys.stderr,
        )
        ngrams = respelled(ngrams, dict.fromkeys(unsaid, UNKNOWN))
    covering = own.covering(words.difference(unsaid), lambda _: made)
    if lexicon:
        known = len(words) - len(missing)
        counts = {str(lexicon): len(given), "the model": known - len(given), "eSpeak": len(made)}
        print(origins(counts), file=sys.stderr)
    topology = read_config(described.get("network"), "field network").criterion.outputs.topology
    language = compose_language(out, covering, tree, ngrams.to_arpa(), cache, topology)
    for name in NETWORK if elsewhere else ():
        shutil.copyfile(model / name, out / name)
    write_atomically(out / "model.json", json.dumps({"format": FORMAT, **described}, indent=1) + "\n")
    return language
