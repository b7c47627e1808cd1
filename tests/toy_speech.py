"""A language of two words, recordings in which they are a tone and a hiss, and recognisers that have learnt nothing."""

from pathlib import Path

import numpy as np

from mdasr import frontend
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig, init_params
from mdasr.align.gmm import Mixtures
from mdasr.align.tied_gmm import GmmFeatures, TiedGmm
from mdasr.corpus.records import (
    Alignment,
    Corpus,
    Utterance,
    encode_utterance,
    seal_corpus,
    shard_path,
    write_alignments,
    write_shard,
)
from mdasr.decode.search import SearchOptions
from mdasr.language.lexicon import Lexicon
from mdasr.model.directory import Recognizer
from mdasr.training.speech_split import DomainSpeech
from mdasr.training.word_models import Language, make_language, train_ngram
from tests.tasks import monophone_tree

LEXICON = Lexicon({"ah": ((("AA",), 1.0),), "s": ((("S",), 1.0),)})
TREE = monophone_tree(LEXICON.phones)
NGRAM = train_ngram(["ah s", "ah s", "s", "ah"], 2, LEXICON)


def toy_corpus(
    directory: Path,
    seconds: list[float],
    unaligned: set[int] = frozenset(),
    speakers: int = 3,
    domain: str = "Toy",
    busiest: int = 0,
) -> Corpus:
    """Utterances of silence, a tone (AA) and a hiss (S), a third each, with their alignments "exact".

    Speakers take turns, after the first of them has spoken `busiest` times.
    """
    rng = np.random.default_rng(0)
    utterances, alignments = [], []
    for i, length in enumerate(seconds):
        third = int(length * 16_000) // 3
        tone = 8000 * np.sin(2 * np.pi * 300 * np.arange(third) / 16_000)
        wave = np.concatenate([np.zeros(third), tone, rng.normal(0, 3000, third)]).astype(np.int16)
        utterances.append(
            Utterance(f"u{i}", domain.lower(), domain, f"s{max(0, i - busiest) % speakers}", "ah s", wave)
        )
        ends = tuple(third * k / 16_000 for k in (1, 2, 3))
        phones = ("SIL", "AA", "S")
        alignments.append(Alignment(f"u{i}", () if i in unaligned else phones, () if i in unaligned else ends))
    write_shard(shard_path(directory, "audio", 0, 1), map(encode_utterance, utterances))
    corpus = seal_corpus(directory, domain.lower(), domain)
    write_alignments(corpus, "exact", alignments)
    return corpus


def all_of(corpus: Corpus) -> DomainSpeech:
    """All of a corpus, to train on and to tune on."""
    whole = DomainSpeech.of(corpus).train
    return DomainSpeech(corpus.domain, whole, whole)


def toy_language(directory: Path) -> Language:
    return make_language(directory, LEXICON, TREE, NGRAM)


def untrained_recognizer(language: Language, cells: int = 8) -> Recognizer:
    """An LSTM of one small layer, with the weights that it begins with."""
    config = ModelConfig(LSTM((cells,)), TREE.num_leaves)
    stats = frontend.FeatureStats(np.full(128, -5, np.float32), np.ones(128, np.float32))
    priors = np.log(np.full(TREE.num_leaves, 1 / TREE.num_leaves, np.float32))
    return Recognizer(config, init_params(config, 0), stats, priors, language, SearchOptions(), {"seed": 0})


def toy_gmm(features: GmmFeatures) -> TiedGmm:
    """A GMM whose mixtures of three are drawn, and not trained."""
    rng = np.random.default_rng(0)
    outputs, width = 3 * TREE.num_leaves, features.width
    weights, variances = rng.dirichlet(np.ones(3), outputs), rng.uniform(0.5, 2, (outputs, 3, width))
    mixtures = (np.log(weights), rng.standard_normal((outputs, 3, width)), variances)
    return TiedGmm(TREE, features, Mixtures(*(array.astype(np.float32) for array in mixtures)))
