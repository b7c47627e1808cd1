"""A corpus that holds noise without words: whatever aligns, trains, tunes and scores takes it, or leaves it out."""

import dataclasses
import json

import numpy as np
import pytest

from mdasr.acoustic.row_schedule import Source
from mdasr.align.flat_start import align
from mdasr.align.monophones import AlignerOptions
from mdasr.cli.main import main
from mdasr.corpus.alignment_files import import_alignments
from mdasr.corpus.records import Utterance, encode_utterance, seal_corpus, shard_path, write_shard
from mdasr.decode.lattice import search_lattice
from mdasr.decode.paths import oracle_errors
from mdasr.language.lexicon import SILENCE
from mdasr.perturb import Policy
from mdasr.recognize import tune
from mdasr.recognize.realign import realign
from mdasr.recognize.report import compared, wer_cell
from mdasr.recognize.words import evaluate
from mdasr.training.ingredients import Training
from mdasr.training.pipeline import train_recognizer
from mdasr.training.scales import SMALL
from mdasr.training.speech_split import DomainSpeech
from mdasr.training.word_models import Wording, grow_tree, train_ngram, transcripts
from tests.toy_speech import LEXICON, TREE, toy_corpus

OPTIONS = AlignerOptions(soft_iterations=2, iterations=3, components=2)


@pytest.fixture
def spoken(tmp_path):
    return [*toy_corpus(tmp_path / "spoken", [1.2] * 12)]


@pytest.fixture
def mixed(tmp_path, spoken):
    """The spoken utterances, and after each of them noise without words, of a speaker of its own."""
    rng, utterances = np.random.default_rng(1), []
    for utterance in spoken:
        noise = rng.normal(0, 2000, 17_001).astype(np.int16)
        utterances += [utterance, Utterance(f"n{utterance.id}", "toy", "Toy", "noise", "", noise)]
    return sealed(tmp_path / "mixed", utterances)


def sealed(directory, utterances):
    write_shard(shard_path(directory, "audio", 0, 1), map(encode_utterance, utterances))
    return seal_corpus(directory, utterances[0].corpus, utterances[0].domain)


def each(sidecar):
    return [sidecar[i] for i in range(len(sidecar))]


def test_it_is_aligned_with_silence_and_changes_no_other_alignment(tmp_path, spoken, mixed):
    alone = sealed(tmp_path / "alone", spoken)
    name, without = align([mixed], LEXICON, OPTIONS).name, align([alone], LEXICON, OPTIONS).name
    aligned = each(mixed.alignments(name))
    assert aligned[::2] == each(alone.alignments(without))
    for utterance, alignment in zip([*mixed][1::2], aligned[1::2]):
        assert (alignment.id, alignment.phones, alignment.words) == (utterance.id, (SILENCE,), ())
        assert alignment.ends_s == (pytest.approx(utterance.seconds, abs=1e-5),)
    assert mixed.alignments(name).usable.all()


@pytest.mark.parametrize("form", ["textgrid", "ctm"])
def test_its_alignment_is_written_and_read_again(tmp_path, mixed, form):
    name = align([mixed], LEXICON, OPTIONS).name
    arguments = ["align", str(mixed.directory), "--name", name, "--export", str(tmp_path / "a"), "--format", form]
    assert main(arguments) == 0
    source = tmp_path / "a" / "toy.ctm" if form == "ctm" else tmp_path / "a"
    read = import_alignments(mixed, source, "again")
    assert [a.phones for a in each(read)] == [a.phones for a in each(mixed.alignments(name))]
    assert read.usable.all()


def test_a_network_aligns_it_with_silence_whatever_it_hears(untrained, mixed, spoken, tmp_path):
    aligned = each(mixed.alignments(realign(untrained, mixed, LEXICON)))
    assert all(alignment.phones == (SILENCE,) for alignment in aligned[1::2])
    alone = sealed(tmp_path / "alone", spoken)
    assert aligned[::2] == each(alone.alignments(realign(untrained, alone, LEXICON)))


def test_language_models_and_trees_are_those_of_the_words(tmp_path, spoken, mixed):
    alone = sealed(tmp_path / "alone", spoken)
    arpas, trees = [], []
    for corpus in (alone, mixed):
        source = Source(corpus, align([corpus], LEXICON, OPTIONS).name, Policy())
        arpas.append(train_ngram(transcripts([source]), 2, LEXICON).to_arpa())
        trees.append(grow_tree([source], LEXICON.phones, 3))
    assert arpas[0] == arpas[1]
    assert trees[0].phones == trees[1].phones and trees[1].num_leaves == 3


def test_tuning_never_picks_only_utterances_without_words(monkeypatch):
    """Every second utterance is a noise, and every second one would be taken."""
    monkeypatch.setattr(tune, "TUNING_WORDS", 6)
    scores = np.zeros((3, TREE.num_leaves), np.float32)
    dev = [pair for _ in range(6) for pair in (([], scores), (["ah", "s"], scores))]
    thinned = tune.thinned(dev)
    assert [words for words, _ in thinned] == [["ah", "s"]] * 3 + [[]] * 3
    spoken = dev[1::2]
    assert tune.thinned(spoken) == spoken[::2]


def test_words_that_are_heard_in_it_are_insertions(untrained, mixed):
    scored = evaluate(untrained, mixed, [u.samples for u in mixed])
    noise = scored[1::2]
    for one in noise:
        heard = len(one.hypothesis.split())
        assert (one.errors.ins, one.errors.sub, one.errors.dele, one.errors.ref_words) == (heard, 0, 0, 0)
    cell, of_words = wer_cell(scored), wer_cell(scored[::2])
    assert cell["ref_words"] == of_words["ref_words"] == 24
    assert cell["ins"] == of_words["ins"] + sum(one.errors.ins for one in noise)
    assert cell["ci95"] and cell["ci95_over"] == "speakers"
    earlier = {"utterances": [dataclasses.asdict(one) for one in scored]}
    assert "+0.0 points [+0.0, +0.0]" in compared(json.loads(json.dumps(earlier)), scored)
    rng = np.random.default_rng(0)
    _, lattice = search_lattice(
        untrained.language.graph, rng.normal(size=(30, TREE.num_leaves)).astype(np.float32), untrained.search
    )
    assert oracle_errors(lattice, []) >= 0


@pytest.mark.slow
def test_a_recogniser_trains_on_it(mixed, tmp_path, capsys):
    lexicon = tmp_path / "lexicon.txt"
    LEXICON.write(lexicon)
    scale = dataclasses.replace(
        SMALL, encoder=dataclasses.replace(SMALL.encoder, cells=(16,)), leaves=3, batch=4, row_steps=60, min_steps=60,
        max_steps=60,
    )  # fmt: skip
    training = Training((DomainSpeech.of(mixed),), scale, words=Wording(lexicon=lexicon))
    recognizer = train_recognizer(training, tmp_path / "model", workers=0)
    assert recognizer.facts["frame_accuracy"] > 0.8
    assert main(["evaluate", str(tmp_path / "model"), str(mixed.directory), "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    noise = [one for one in result["utterances"] if not one["reference"]]
    assert len(noise) == 12 and result["ref_words"] == 24
    assert result["ins"] >= sum(len(one["hypothesis"].split()) for one in noise)
