"""What `mdasr train` and `mdasr adapt` do: from transcribed recordings to a model directory."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from mdasr.acoustic.schedule import Source, subset
from mdasr.align.flat_start import align
from mdasr.core import hosts
from mdasr.core.digests import digest
from mdasr.core.files import read_text
from mdasr.corpus.records import Corpus
from mdasr.language import espeak
from mdasr.language.arpa_reader import read_arpa
from mdasr.language.combine import fit_weights, interpolate, widen
from mdasr.language.lexicon import LEXICON, Lexicon, origins
from mdasr.model.directory import Language, Recognizer, params_digest
from mdasr.perturb import Policy, require
from mdasr.perturb.noises import make_noises, read_noises, read_responses, sounds_digest
from mdasr.perturb.room import Sounds
from mdasr.recognize.realign import realign
from mdasr.training.pipeline import done, train_recognizer
from mdasr.training.plan import FAST_CODECS, FeaturesOn, room_ranges
from mdasr.training.pool import Pool
from mdasr.training.regimes import AS_PUBLISHED, Regime
from mdasr.training.scales import Scale
from mdasr.training.wording import grow_tree, make_language, train_ngram

QUESTIONS = "list of phonetic questions (a set of phones a line, with blanks between)"
WARP = (0.88, 1.12)  # about the spread of adults' vocal tracts

HELD_OUT = 0.06  # the share of each corpus' utterances, by whole speakers where it can be, that the search is tuned on
MOST_HELD_OUT = 0.15
FEWEST_SPEAKERS = 8  # with fewer, single utterances are held out: a speaker would be too much of the data


@dataclass(frozen=True)
class TrainRequest:
    """What `mdasr train` is asked for: corpora with transcripts alone, and which perturbations to simulate.

    Noise goes on every domain, or on those of `noise_on` alone (§4.3.4 leaves some out); `noises` and `responses` are
    folders of one's own recordings. `alignment` names one that the corpora have (`mdasr align`); without it they are
    aligned from a flat start. The tree grows on the domains of `tree_on`, or on all (§3.5 takes some), with the
    phonetic `questions` of a file, or such as the data suggest. A training from scratch is under `regime`. ValueError
    for domains that none of the corpora has, and for a curriculum of nothing.
    """

    corpora: tuple[Corpus, ...]
    scale: Scale
    noise: bool = False
    noise_on: tuple[str, ...] = ()
    codec: bool = False
    warp: bool = False
    lexicon: Path | None = None
    noises: Path | None = None
    responses: Path | None = None
    seed: int = 0
    workers: int = 1
    features_on: FeaturesOn = "host"
    alignment: str = ""
    tree_on: tuple[str, ...] = ()
    questions: Path | None = None
    regime: Regime = AS_PUBLISHED

    def __post_init__(self) -> None:
        if self.regime.curriculum and not (self.noise or self.codec):
            raise ValueError("a curriculum makes noise and codecs more frequent: ask for some (--noise, --codec)")
        if (self.noises or self.responses) and not self.noise:
            raise ValueError(
                f"{self.noises or self.responses}: sounds to add in training, but no noise is asked for (--noise)"
            )
        domains = {corpus.domain for corpus in self.corpora}
        for what, named in (("noise", self.noise_on), ("the tree", self.tree_on)):
            if strange := sorted(set(named) - domains):
                known = ", ".join(sorted(domains))
                raise ValueError(f"{what} on {', '.join(strange)}: the corpora's domains are {known}")

    def sounds(self) -> tuple[Sounds, Sounds]:
        """The noises and the measured room responses that training may add; ValueError where a folder has none."""
        if not self.noise:
            return {}, {}
        noises = read_noises(self.noises) if self.noises else make_noises("train")
        return noises, read_responses(self.responses) if self.responses else {}

    def choices(self) -> dict[str, Any]:
        """What the language is made by besides the corpora: a lexicon, the tree's domains and its questions."""
        lexicon = digest(read_text(self.lexicon, LEXICON)) if self.lexicon else ""
        questions = digest(read_text(self.questions, QUESTIONS)) if self.questions else ""
        return {"lexicon": lexicon, "tree_on": [*self.tree_on], "questions": questions}

    def policy(self, domain: str, snippets: Iterable[str], measured: Iterable[str]) -> Policy:
        noisy = self.noise and (not self.noise_on or domain in self.noise_on)
        return Policy(
            noise_probability=self.scale.noise_probability if noisy else 0.0,
            rooms=room_ranges(self.scale),
            noises=tuple(sorted(snippets)) if noisy else (),
            measured=tuple(sorted(measured)) if noisy else (),
            codecs=FAST_CODECS if self.codec else (None,),
            warp=WARP if self.warp else (1.0, 1.0),
            clean_probability=self.regime.clean_share,
        )


def gather(request: TrainRequest, name_of: Callable[[Corpus], str], share: float = 1.0) -> Pool:
    """Hold utterances out of each corpus, whose alignment is `name_of` it; train on a share of the others."""
    noises, measured = request.sounds()
    policies = [request.policy(corpus.domain, noises, measured) for corpus in request.corpora]
    require(codec for policy in policies for codec in policy.codecs)
    sources, dev = [], []
    for corpus, policy in zip(request.corpora, policies):
        held, name = held_out(corpus, request.seed), name_of(corpus)
        sources.append(subset(Source(corpus, name, policy, _numbers(~held)), share))
        dev.append(Source(corpus, name, Policy(narrowband_probability=0.0), _numbers(held)))
    return Pool(tuple(sources), tuple(dev), noises, measured, share, request.choices())


def _numbers(chosen: Bool[np.ndarray, " utterances"]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def train_on(request: TrainRequest, directory: Path, share: float = 1.0) -> Recognizer:
    """Train a recogniser from transcribed recordings: align, hold out, grow the tree, train the language, the network.

    The alignment is made of all of them, the rest of a `share` of what is not held out. Raises ValueError for words
    without pronunciation, and ImportError where a codec is asked for and missing.
    """
    if found := done(directory, **_asked(request, share), regime=dataclasses.asdict(request.regime)):
        return found
    lexicon = covering_lexicon(request.corpora, request.lexicon)
    questions = read_questions(request.questions, lexicon.phones) if request.questions else None
    name = request.alignment
    if name:
        check_phones(request.corpora, name, lexicon)
    else:
        with hosts.primary_first("alignment"):
            report = align(request.corpora, lexicon)
        print(report, file=sys.stderr)
        name = report.name
    pool = gather(request, lambda _: name, share)

    def language() -> Language:
        chosen = [s for s in pool.sources if not request.tree_on or s.corpus.domain in request.tree_on]
        tree = grow_tree(chosen, lexicon.phones, request.scale.leaves, questions)
        spoken = heard_in(pool, lexicon)
        return make_language(directory, spoken, tree, train_ngram(pool.sentences(), request.scale.ngram_order, spoken))

    made = hosts.once("language", language, lambda: Language.read(directory))
    return _trained(request, pool, made, directory, regime=request.regime)


def adapt_on(request: TrainRequest, parent: Recognizer, directory: Path, share: float = 1.0) -> Recognizer:
    """Fine-tune a model on a share of transcribed recordings of a new domain (§4.4): network and language model.

    The parent aligns the recordings. Its words are joined by theirs, and its n-gram model is interpolated with that of
    their transcripts, the weights fitted on what is held out; its CDPhones stay. Raises as `train_on`, and for words
    whose phones the parent does not know.
    """
    if found := done(directory, **_asked(request, share), parent=params_digest(parent.params)):
        return found
    own, known = covering_lexicon(request.corpora, request.lexicon), parent.language.lexicon
    lexicon = Lexicon({**own.entries, **known.entries})
    if request.alignment:
        check_phones(request.corpora, request.alignment, lexicon)
    with hosts.primary_first("alignment"):
        pool = gather(request, lambda corpus: request.alignment or realign(parent, corpus, lexicon), share)

    def language() -> Language:
        before = read_arpa(parent.language.directory / "lm.arpa")
        models = widen([before, train_ngram(pool.sentences(), before.order, heard_in(pool, own))])
        vocabulary = {*models[0].words}
        held = [utterance.text.split() for utterance in pool.dev_utterances()]
        runs = [[*run] for words in held for yes, run in itertools.groupby(words, vocabulary.__contains__) if yes]
        mixed = interpolate(models, fit_weights(models, runs))
        entries = {word: lexicon.entries[word] for word in mixed.words if word in lexicon}
        return make_language(directory, Lexicon(entries), parent.language.tree, mixed)

    made = hosts.once("language", language, lambda: Language.read(directory))
    return _trained(request, pool, made, directory, parent)


def heard_in(pool: Pool, lexicon: Lexicon) -> Lexicon:
    """The words of a pool alone: what a share of the data does not have is not known."""
    texts = [*pool.sentences(), *(utterance.text for utterance in pool.dev_utterances())]
    return Lexicon({word: lexicon.entries[word] for word in sorted({w for text in texts for w in text.split()})})


def _asked(request: TrainRequest, share: float = 1.0) -> dict[str, Any]:
    """What a finished model of this request has among its facts."""
    sounds = request.sounds()
    asked = {
        "scale": dataclasses.asdict(request.scale),
        "seed": request.seed,
        "data": [corpus.info["sha256"] for corpus in request.corpora],
        "policies": [digest(request.policy(corpus.domain, *sounds)) for corpus in request.corpora],
        "sounds": [*map(sounds_digest, sounds)],
        "share": share,
        **request.choices(),
    }
    if request.alignment:
        asked["alignments"] = [corpus.alignments(request.alignment).digest for corpus in request.corpora]
    return asked


def _trained(
    request: TrainRequest,
    pool: Pool,
    language: Language,
    directory: Path,
    parent: Recognizer | None = None,
    regime: Regime = AS_PUBLISHED,
) -> Recognizer:
    return train_recognizer(
        directory, pool, language, request.scale,
        parent=parent, regime=regime, seed=request.seed, workers=request.workers, features_on=request.features_on,
    )  # fmt: skip


def covering_lexicon(corpora: Iterable[Corpus], path: Path | None) -> Lexicon:
    """Pronunciations of all words of the corpora: those of a file, and eSpeak's for words that it lacks.

    Where there is a file, standard error tells how many came from which. Raises ValueError for words that neither has.
    """
    words = {word for corpus in corpora for utterance in corpus for word in utterance.text.split()}
    given = {w: v for w, v in Lexicon.read(path).entries.items() if w in words} if path else {}
    covering = Lexicon(given).covering(words, espeak.pronounce if espeak.is_installed() else None)
    if path:
        print(origins({str(path): len(given), "eSpeak": len(words) - len(given)}), file=sys.stderr)
    return covering


def read_questions(path: Path, phones: Iterable[str]) -> list[tuple[str, ...]]:
    """Phonetic questions: a set of phones a line, with blanks between; ValueError with the line of a strange phone."""
    known, questions = {*phones}, []
    content = read_text(path, QUESTIONS)
    for number, line in enumerate(content.split("\n"), start=1):
        if strange := [phone for phone in line.split() if phone not in known]:
            having = " ".join(sorted(known))
            raise ValueError(f"{path}, line {number}: the lexicon has no phone {strange[0]!r}; it has {having}")
        questions += [tuple(line.split())] if line.split() else []
    if not questions:
        raise ValueError(f"{path}: no questions; write a set of phones a line")
    return questions


def check_phones(corpora: Iterable[Corpus], name: str, lexicon: Lexicon) -> None:
    """ValueError where an alignment has phones that no word of the lexicon has: its tree could not answer for words."""
    found = {phone for corpus in corpora for alignment in corpus.alignments(name) for phone in alignment.phones}
    if strange := sorted(found - set(lexicon.phones)):
        raise ValueError(
            f"alignment {name!r} has the phones {', '.join(strange[:10])}, which the lexicon has not: give the lexicon "
            "that it was made with (--lexicon)"
        )


def held_out(corpus: Corpus, seed: int) -> Bool[np.ndarray, " utterances"]:
    """Which utterances to keep from training: whole speakers, drawn until they have `HELD_OUT` of the utterances.

    A speaker who would make it more than `MOST_HELD_OUT` is passed over. Where speakers are too few for that, or those
    who are left too large, single utterances are drawn.
    """
    speakers = [utterance.speaker for utterance in corpus]
    if len(set(speakers)) >= FEWEST_SPEAKERS:
        chosen = _drawn(speakers, seed, MOST_HELD_OUT * len(corpus))
        if chosen.sum() >= HELD_OUT * len(corpus):
            return chosen
    return _drawn([utterance.id for utterance in corpus], seed, len(corpus))


def _drawn(groups: Sequence[str], seed: int, most: int | float) -> Bool[np.ndarray, " utterances"]:
    """Whole groups until they have `HELD_OUT` of the utterances, without those who would make it more than `most`."""
    names, sizes = np.unique(groups, return_counts=True)
    chosen: list[str] = []
    held = 0
    for i in np.random.Generator(np.random.Philox(key=[seed, 2**33])).permutation(len(names)):
        if held < HELD_OUT * len(groups) and held + sizes[i] <= most:
            chosen, held = [*chosen, names[i]], held + int(sizes[i])
    return np.isin(groups, chosen)
