"""The ingredients of a model's words: alignment, pronunciations, tree of CDPhones, n-gram model, graph."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdasr import frontend
from mdasr.acoustic.row_schedule import Source
from mdasr.align import flat_start, tree_growth
from mdasr.align.monophones import AlignerOptions
from mdasr.align.tree import Tree
from mdasr.core.digests import Named, digest
from mdasr.core.files import existing, read_text, sha256_of
from mdasr.corpus.records import Corpus
from mdasr.decode.graph import Graph, graph_ingredients
from mdasr.language import espeak, ngram
from mdasr.language.arpa_reader import N_GRAMS, read_arpa
from mdasr.language.backoff import NGram
from mdasr.language.combine import fit_weights, interpolate, widen
from mdasr.language.lexicon import ARPABET, SILENCE, Lexicon, lexicon_text, listed, origins
from mdasr.model.directory import Language, Recognizer, compose_language
from mdasr.model.regraph import pronounced, read_ngrams
from mdasr.recognize import realign
from mdasr.recognize.tune import FEWEST_WORDS
from mdasr.training.scales import Scale
from mdasr.training.speech_split import AlignmentOf

PARENTS_SHARE = 0.1  # at least; a fit on the new domain alone can leave the parent nothing (docs/results.md)
QUESTIONS = "list of phonetic questions (a set of phones a line, with blanks between)"


@dataclass(frozen=True)
class Wording:
    """The way in which the words of a training are made from its speech.

    - `lexicon`: a file whose pronunciations replace eSpeak's and those of the parent, or a whole lexicon.
    - `phones`: those of the tree; by default those of the lexicon.
    - `questions`: a file with phonetic questions; by default they are derived from the data.
    - `tree_on`: the domains that the tree grows on; by default all (§3.5 takes some).
    - `text`: the text for the n-gram model; by default the transcripts.
    - `arpa`: a file with the n-gram model itself, for another vocabulary than that of the speech.
    - `alignment`: by default, speech is aligned by the parent, or from a flat start where there is none.
    """

    lexicon: Path | Named[Lexicon] | None = None
    phones: tuple[str, ...] = ()
    questions: Path | None = None
    tree_on: tuple[str, ...] = ()
    text: Named[Iterable[str]] | None = None
    alignment: Named[str] | None = None
    arpa: Path | None = None

    def made_of(self, adapts: bool) -> dict[str, Any]:
        """The facts that distinguish these words from others made of the same speech, in a form that JSON can hold."""
        by_default = (
            f"by the parent: version {realign.VERSION}"
            if adapts
            else f"flat start: version {flat_start.VERSION}, options {digest(asdict(AlignerOptions()))}"
        )
        given = digest(lexicon_text(self.lexicon)) if isinstance(self.lexicon, Path) else ""
        return {
            "alignment": self.alignment.made_of if self.alignment else by_default,
            "lexicon": self.lexicon.made_of if isinstance(self.lexicon, Named) else given,
            "espeak": espeak.VERSION,
            "phones": self.phones,
            "questions": digest(read_text(self.questions, QUESTIONS)) if self.questions else "",
            "tree_on": self.tree_on,
            "tree_version": tree_growth.VERSION,
            "text": self.text.made_of if self.text else "",
            **({"arpa": sha256_of(existing(self.arpa, N_GRAMS))} if self.arpa else {}),
        }

    def pronunciations(self, corpora: Sequence[Corpus], parent: Language | None = None) -> Lexicon:
        """The pronunciations of all words of the corpora and of the parent; raises ValueError for words without any."""
        if isinstance(self.lexicon, Named):
            return (parent.lexicon if parent else Lexicon({})).merged(self.lexicon.get())
        return covering_lexicon(corpora, self.lexicon, parent)

    def align(self, corpora: Sequence[Corpus], lexicon: Lexicon, parent: Recognizer | None) -> AlignmentOf:
        """Align corpora that are not aligned yet; raises ValueError for an alignment with phones not in the lexicon."""
        if self.alignment:
            check_phones(corpora, name := self.alignment.get(), lexicon)
            return lambda _: name
        if parent:
            names = {corpus.info["sha256"]: realign.realign(parent, corpus, lexicon) for corpus in corpora}
            return lambda corpus: names[corpus.info["sha256"]]
        name = flat_alignment(corpora, lexicon)
        return lambda _: name

    def grow(
        self, sources: Sequence[Source], dev: Sequence[Source], lexicon: Lexicon, scale: Scale, directory: Path
    ) -> Language:
        """Grow the tree and train the n-gram model; without a `text`, the words are those of `sources` and `dev`.

        With an `arpa`, that is the model, and the words are its own. Raises errors as `read_ngrams` and `pronounced`.
        """
        questions = read_questions(self.questions, lexicon.phones) if self.questions else None
        chosen = [source for source in sources if not self.tree_on or source.corpus.domain in self.tree_on]
        tree = grow_tree(chosen, self.phones or lexicon.phones, scale.leaves, questions)
        topology = scale.criterion.outputs.topology
        if self.arpa:
            ngrams = read_ngrams(self.arpa, lexicon)
            path = self.lexicon if isinstance(self.lexicon, Path) else None
            model, words = pronounced(ngrams, lexicon, path, tree)
            return make_language(directory, words, tree, model, topology)
        words = lexicon if self.text else heard_in([*sources, *dev], lexicon)
        text = self.text.get() if self.text else transcripts(sources)
        return make_language(directory, words, tree, train_ngram(text, scale.ngram_order, words), topology)


@dataclass(frozen=True)
class Shared:
    """The words and the alignment of several models, made once: the ingredients, and functions that return both."""

    made_of: dict[str, Any]
    alignment_of: AlignmentOf
    language: Callable[[], Language]


def flat_alignment(corpora: Sequence[Corpus], lexicon: Lexicon) -> str:
    """The name of an alignment from a flat start; if it is made now, its report goes to standard error."""
    report = flat_start.align(corpora, lexicon)
    if report.log_likelihoods:
        print(report, file=sys.stderr)
    return report.name


def adapt_words(
    parent: Recognizer, sources: Sequence[Source], dev: Sequence[Source], lexicon: Lexicon, directory: Path
) -> Language:
    """Add the words of `sources` to those of the parent, whose CDPhones stay.

    `lexicon` has the words of both. The n-gram model is interpolated with that of the transcripts; the weights are
    fitted on `dev` (§4.4). The parent's weighs at least `PARENTS_SHARE`. Where `dev` has fewer words than
    `FEWEST_WORDS`, the parent's weighs as much as so many words of transcripts. A line on standard error says so.
    """
    before, texts = read_arpa(parent.language.directory / "lm.arpa"), transcripts(sources)
    models = widen([before, train_ngram(texts, before.order, heard_in([*sources, *dev], lexicon))])
    vocabulary = {*models[0].words}
    held = [text.split() for text in transcripts(dev)]
    runs = [[*run] for words in held for yes, run in itertools.groupby(words, vocabulary.__contains__) if yes]
    few = (count := sum(map(len, held))) < FEWEST_WORDS
    of_few = FEWEST_WORDS / (FEWEST_WORDS + sum(len(text.split()) for text in texts))
    share = max(PARENTS_SHARE, of_few if few else fit_weights(models, runs)[0])
    if few:
        print(
            f"the held-out speech has {count} words, fewer than {FEWEST_WORDS}. So the search keeps the model's own "
            f"weights, and the new transcripts have {1 - share:.0%} of the language model",
            file=sys.stderr,
        )
    mixed = interpolate(models, [share, 1 - share])
    entries = {word: lexicon.entries[word] for word in mixed.words if word in lexicon}
    return make_language(directory, Lexicon(entries), parent.language.tree, mixed, parent.graph.topology)


def transcripts(sources: Iterable[Source]) -> list[str]:
    """The transcripts of all chosen utterances of some sources."""
    return [utterance.text for source in sources for utterance in source]


def heard_in(sources: Iterable[Source], lexicon: Lexicon) -> Lexicon:
    """The part of the lexicon for the words of some speech; a share of the data does not know the other words."""
    words = {word for text in transcripts(sources) for word in text.split()}
    return Lexicon({word: lexicon.entries[word] for word in sorted(words)})


def train_ngram(sentences: Iterable[str], order: int, lexicon: Lexicon) -> NGram:
    """An n-gram model of sentences over the lexicon's words."""
    return ngram.train_ngrams((sentence.split() for sentence in sentences), order, vocabulary=lexicon.words)


def make_language(directory: Path, lexicon: Lexicon, tree: Tree, model: NGram, topology: str = "one-state") -> Language:
    """Compose the graph of an n-gram model over the lexicon's words, and write everything to `directory`.

    An existing graph of the same ingredients is used, so that a training that was killed need not compose it again.
    """
    arpa = model.to_arpa()
    if (directory / "graph" / "graph.json").exists():
        graph = Graph.read(directory / "graph")
        if graph.made_of == graph_ingredients(lexicon, arpa, tree, graph.words) and graph.topology == topology:
            return Language(lexicon, tree, graph, arpa, directory)
    return compose_language(directory, lexicon, tree, arpa, topology=topology)


def grow_tree(
    sources: Sequence[Source],
    phones: Sequence[str],
    leaves: int,
    questions: Sequence[Sequence[str]] | None = None,
) -> Tree:
    """A state-tying tree from the cepstra of the training part of sources (§3.5).

    Without `questions`, they are derived from the data.
    """

    def utterances() -> Iterator[tuple[Sequence[str], np.ndarray, np.ndarray]]:
        for source in sources:
            alignments = source.corpus.alignments(source.alignment)
            for i in source.usable():
                alignment, samples = alignments[i], source.corpus[i].samples
                x = frontend.add_deltas(frontend.cepstra(frontend.log_mel(samples)), order=1)
                yield alignment.phones, tree_growth.frame_ends(alignment.ends_s, len(x)), x

    return tree_growth.grow(tree_growth.accumulate(utterances(), phones), leaves, questions=questions)


def covering_lexicon(corpora: Iterable[Corpus], path: Path | None, parent: Language | None = None) -> Lexicon:
    """Pronunciations of all words of the corpora and of a parent: a file's, then the parent's, then eSpeak's.

    With a file, a line on standard error says how many came from which. Raises ValueError for words that none has, and
    for phones of the file that the parent's tree lacks. Raises it, too, as `check_phone_set` does.
    """
    own = parent.lexicon if parent else Lexicon({})
    words = {word for corpus in corpora for utterance in corpus for word in utterance.text.split()} | {*own.words}
    given = Lexicon.read(path, parent.tree.phones if parent else None, words) if path else Lexicon({})
    known = own.merged(given)
    made = sorted(words - known.entries.keys())
    if path and made:
        check_phone_set(path, given, made)
    covering = known.covering(words, espeak.pronounce if espeak.is_installed() else None)
    if foreign := [word for word in made if re.search(r"[^a-z']", word)]:
        print(
            f"{len(foreign)} words have letters that English lacks, and eSpeak says them as US English: "
            f"{listed(foreign)}. Give their pronunciations by --lexicon",
            file=sys.stderr,
        )
    if path:
        parents = {"the parent": len(known) - len(given)} if parent else {}
        print(origins({str(path): len(given), **parents, "eSpeak": len(made)}), file=sys.stderr)
    return covering


def check_phone_set(path: Path, given: Lexicon, made: Sequence[str]) -> None:
    """Check that the pronunciations from a file fit those of eSpeak for the words `made`.

    A warning names phones that ARPAbet lacks. Raises ValueError where most phones of the file are such phones.
    """
    if strange := sorted({*given.phones} - {*ARPABET, SILENCE}):
        message = (
            f"{path}: ARPAbet lacks the phones {listed(strange, 10)}, but {len(made)} words get eSpeak's pronunciation "
            f"in ARPAbet: {listed(made, 5)}. Give these words in the lexicon, or write it in ARPAbet (such as EH)"
        )
        if 2 * len(strange) >= len(given.phones):
            raise ValueError(message)
        print(message, file=sys.stderr)


def read_questions(path: Path, phones: Iterable[str]) -> list[tuple[str, ...]]:
    """Read phonetic questions: a set of phones a line, with blanks between.

    Raises ValueError with the line of an unknown phone, and for a file without questions.
    """
    known, questions = {*phones}, []
    content = read_text(path, QUESTIONS)
    for number, line in enumerate(content.split("\n"), start=1):
        if strange := [phone for phone in line.split() if phone not in known]:
            having = " ".join(sorted(known))
            raise ValueError(f"{path}, line {number}: the lexicon has no phone {strange[0]!r}; it has {having}")
        questions += [tuple(line.split())] if line.split() else []
    if not questions:
        raise ValueError(f"{path}: no questions; write one set of phones on each line")
    return questions


def check_phones(corpora: Iterable[Corpus], name: str, lexicon: Lexicon) -> None:
    """Check an alignment; raises ValueError where it has phones that no word of the lexicon has.

    Its tree could not be used for the words.
    """
    aligned = {phone for corpus in corpora for alignment in corpus.alignments(name) for phone in alignment.phones}
    if strange := sorted(aligned - set(lexicon.phones)):
        raise ValueError(
            f"alignment {name!r} has the phones {', '.join(strange[:10])}, which the lexicon lacks: give the lexicon "
            "that it was made with (--lexicon)"
        )
