"""Give a trained model another language: the same acoustic model and tree, with new words, n-grams and graph (§3.6)."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import chain
from pathlib import Path

from mdasr.acoustic.network import read_config
from mdasr.align.tied_gmm import TOPOLOGY
from mdasr.align.tree import Tree
from mdasr.core.files import write_atomically
from mdasr.decode.cost import estimate, memory_at_hand_gb
from mdasr.language import espeak
from mdasr.language.arpa_reader import announced, read_arpa
from mdasr.language.backoff import NGram
from mdasr.language.combine import respelled
from mdasr.language.lexicon import Lexicon, listed, origins
from mdasr.language.phrases import raised, read_phrases
from mdasr.language.respelling import read_as_in_transcripts
from mdasr.language.vocabulary import NOT_WORDS, UNKNOWN
from mdasr.model.directory import FORMAT, GMM, Language, check_tree, compose_language, described

NETWORK, MIXTURES = ("params.npz", "stats.json", "priors.npy"), ("gmm.npz",)  # the same for any language


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

    Pronunciations come from `lexicon`, then from the model's own lexicon, then from eSpeak where that is installed.
    Words are folded as in `read_as_in_transcripts`. Words that eSpeak cannot say become <unk>, and are named on
    standard error. The file `phrases` has a phrase a line, which `boost` makes likelier (`phrases.raised`). `out` may
    be `model`, whose files stay until the new ones are whole; training's checkpoints are not copied. `cache` keeps the
    stages for another graph of the same words.

    Raises FileNotFoundError where `model` is not a model, and FileExistsError where `out` is another model. Raises
    ValueError as `build_graph` does, for words without pronunciation, and for phones that the tree lacks.
    """
    contents = described(model)
    elsewhere = out.resolve() != model.resolve()
    if elsewhere and (out / "model.json").exists():
        raise FileExistsError(f"{out} holds a model already; name another directory, or remove it")
    if arpa or lexicon or phrases:
        # These were measured with another language; scale, penalty and beam can stay.
        for name in ("dev_wer", "tuned_on", "gmm_wer", "monophone_wer"):
            contents.pop(name, None)
        for name in ("confidence_slope", "confidence_offset"):
            contents.get("search", {}).pop(name, None)
    tree, own = Tree.read(model / "tree.txt"), Lexicon.read(model / "lexicon.txt")
    check_tree(model, tree, contents)
    ngrams = read_ngrams(arpa, own) if arpa else read_arpa(model / "lm.arpa")
    said, known = read_phrases(phrases) if phrases else [], {*ngrams.words}
    ngrams, covering = pronounced(raised(ngrams, said, boost) if said else ngrams, own, lexicon, tree)
    if said:
        added = sorted({*chain.from_iterable(said)}.intersection(covering.words) - known)
        shown = listed(f"{word} {' '.join(covering.entries[word][0][0])}" for word in added)
        print(f"{phrases}: {len(said)} phrases, {len(added)} new words{': ' if added else ''}{shown}", file=sys.stderr)
    kind = None if GMM in contents else read_config(contents.get("network"), "field network")
    topology = kind.criterion.outputs.topology if kind else TOPOLOGY
    language = compose_language(out, covering, tree, ngrams.to_arpa(), cache, topology)
    for name in (NETWORK if kind else MIXTURES) if elsewhere else ():
        shutil.copyfile(model / name, out / name)
    write_atomically(out / "model.json", json.dumps({"format": FORMAT, **contents}, indent=1) + "\n")
    return language


def read_ngrams(arpa: Path, own: Lexicon) -> NGram:
    """Read an n-gram model for a graph, with its words as in transcripts (`read_as_in_transcripts`).

    Raises ValueError for a model without words. Raises MemoryError, before a huge file is read, where the graph would
    not fit in memory; `own` are pronunciations like those of its words.
    """
    if (cost := estimate(announced(arpa).counts, own)).gb > (at_hand_gb := memory_at_hand_gb()):
        cost.require(at_hand_gb)
    ngrams = read_as_in_transcripts(arpa)
    if not {*ngrams.words} - NOT_WORDS:
        raise ValueError(f"{arpa}: the model has no words")
    return ngrams


def pronounced(ngrams: NGram, own: Lexicon, path: Path | None, tree: Tree) -> tuple[NGram, Lexicon]:
    """An n-gram model in which unsayable words are <unk>, and the pronunciations of its words.

    They come from the file `path`, then from `own`, then from eSpeak where that is installed. Phones are those of
    `tree`. Raises ValueError for other phones, and for words that remain without pronunciation.
    """
    words = {*ngrams.words} - NOT_WORDS
    given = Lexicon.read(path, tree.phones, words) if path else Lexicon({})
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
    if path:
        known = len(words) - len(missing)
        counts = {str(path): len(given), "the model": known - len(given), "eSpeak": len(made)}
        print(origins(counts), file=sys.stderr)
    return ngrams, own.covering(words.difference(unsaid), (lambda _: made) if speaks else None)
