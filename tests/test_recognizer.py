"""A model directory is written, read, moved and damaged; and its recogniser hears words."""

import dataclasses
import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import jax
import numpy as np
import pytest
import soundfile

from mdasr.acoustic.row_schedule import Source
from mdasr.align.flat_start import boundary_errors
from mdasr.align.monophones import outlier
from mdasr.align.tree import Branch, Tree
from mdasr.cli.main import main
from mdasr.corpus.records import Corpus, Utterance, encode_utterance, seal_corpus, shard_path, write_shard
from mdasr.decode.search import decode
from mdasr.frontend import BANDS, PAPER_STEPS
from mdasr.language import espeak
from mdasr.language.arpa_reader import read_arpa
from mdasr.language.lexicon import Lexicon
from mdasr.language.ngram import train_ngrams
from mdasr.model.directory import Recognizer, params_digest
from mdasr.model.gmm_directory import read_model
from mdasr.perturb import Policy
from mdasr.perturb.noises import SoundSource, make_noises
from mdasr.recognize.network_scores import MOST_STEPS, ROWS, _groups, scores
from mdasr.recognize.realign import DEVIATIONS, MOST_MISFIT, check_fit, phone_scores, realign
from mdasr.recognize.tune import tune
from mdasr.recognize.words import evaluate, recognize, recognize_lattices
from mdasr.score.wer import Errors
from mdasr.training.ingredients import Training
from mdasr.training.pipeline import train_recognizer
from mdasr.training.pool import Pool, check_corpora, check_hosts, check_speech, log_priors
from mdasr.training.regimes import Regime
from mdasr.training.scales import LITTLE, MINI, SMALL, find_scale, override
from mdasr.training.speech_split import DomainSpeech, held_out
from mdasr.training.word_models import Wording, adapt_words, covering_lexicon, read_questions
from tests.toy_speech import LEXICON, TREE, toy_corpus


@pytest.mark.slow
def test_a_directory_read_elsewhere_hears_the_same(untrained, corpus, tmp_path):
    untrained.write(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    again = Recognizer.read(tmp_path / "there")
    assert (again.config, again.search, again.output_delay) == (untrained.config, untrained.search, 3)
    waves = [utterance.samples for utterance in corpus][:3]
    assert recognize(again, waves) == recognize(untrained, waves)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert recognize(again, waves, pool) == recognize(untrained, waves)


def test_scores_do_not_depend_on_the_company(untrained):
    rng = np.random.default_rng(0)
    counts = {n: PAPER_STEPS.num_frames(n) for n in (5, 64, 61, 130, 1)} | {7: 24, 0: 3}  # frames of no whole step, too
    features = [rng.standard_normal((frames, BANDS)).astype(np.float32) for frames in counts.values()]
    together = scores(untrained, features)
    for steps, one, found in zip(counts, features, together, strict=True):
        assert found.shape == (steps, TREE.num_leaves)
        np.testing.assert_allclose(found, scores(untrained, [one])[0], atol=1e-5)
        np.testing.assert_allclose(np.exp(found + untrained.log_priors).sum(axis=1), 1, atol=1e-5)


def test_long_recordings_get_fewer_rows_and_short_ones_as_many_as_ever():
    assert [*_groups([70, 5, 9])] == [([1, 2, 0], ROWS, 128)]
    assert [(group, rows) for group, rows, _ in _groups([1024] * 17)] == [([*range(16)], ROWS), ([16], 1)]
    found = [*_groups([5] * 4 + [8000] * 3)]
    assert found == [([0, 1, 2, 3], ROWS, 64), ([4, 5], 2, 8000), ([6], 1, 8000)]
    assert all(rows * steps <= MOST_STEPS for _, rows, steps in found)
    assert [*_groups([100_000])] == [([0], 1, 100_032)], "however long, one at a time"


def test_one_long_utterance_among_short_ones_costs_its_own_length():
    assert [*_groups([33] * 15 + [1000])] == [([*range(15)], ROWS, 64), ([15], 1, 1024)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = rng.choice([20, 33, 200, 300, 700, 1000, 1500, 4000], rng.integers(1, 60)).tolist()
        groups = [*_groups(lengths)]
        assert sorted(i for group, _, _ in groups for i in group) == [*range(len(lengths))]
        assert all(len(group) <= rows and rows * steps <= max(MOST_STEPS, steps) for group, rows, steps in groups)
        assert all(lengths[i] <= steps for group, _, steps in groups for i in group)
        for group, rows, steps in groups:
            assert rows * steps <= ROWS * 256 or rows * steps <= 4 * sum(lengths[i] for i in group)


def test_a_corpus_is_heard_block_by_block(untrained, corpus, small_lattices, monkeypatch):
    waves, held = [utterance.samples for utterance in corpus][:8], []
    few = waves[:4]
    expected, lattices = recognize(untrained, waves), recognize_lattices(untrained, few)
    monkeypatch.setattr("mdasr.recognize.network_scores.AT_ONCE_S", 3.0)
    monkeypatch.setattr("mdasr.recognize.network_scores.scores", lambda r, x: held.append(len(x)) or scores(r, x))
    assert [h.words for h in recognize(untrained, iter(waves))] == [h.words for h in expected]
    assert max(held) <= 4 and sum(held) == len(waves)
    again = recognize_lattices(untrained, iter(few))
    assert held[-2:] == [3, 1] and [best.words for best, _ in again] == [best.words for best, _ in lattices]


def test_another_configurations_parameters_are_refused_by_name(untrained, tmp_path):
    untrained.write(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    described = json.loads(path.read_text())
    described["network"]["encoder"]["cells"] = [9]
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"params\.npz: lstm_0/bias is \(32,\), but model\.json asks for \(36,\)"):
        Recognizer.read(tmp_path / "m")


def test_what_is_not_a_model_is_named(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"is not a model: it has no model\.json"):
        Recognizer.read(tmp_path)
    assert main(["transcribe", str(tmp_path), "x.wav"]) == 2
    assert "is not a model" in capsys.readouterr().err


def test_priors_are_relative_frequencies(corpus):
    found = np.exp(log_priors([Source(corpus, "exact", Policy())], TREE, PAPER_STEPS))
    assert found.sum() == pytest.approx(1)
    # A third each of AA, S and silence, give or take the 32 ms at the edges.
    np.testing.assert_allclose(found, 1 / 3, atol=0.04)


def test_tuning_never_does_worse_than_the_start(untrained, corpus):
    start = sum((s.errors for s in evaluate(untrained, corpus, [u.samples for u in corpus])), start=Errors()).wer
    search, wer = tune(untrained, list(corpus))
    assert wer <= start
    tuned = dataclasses.replace(untrained, search=search)
    again = sum((s.errors for s in evaluate(tuned, corpus, [u.samples for u in corpus])), start=Errors()).wer
    assert again == pytest.approx(wer)


def test_held_out_speakers_are_wholly_held_out(tmp_path):
    corpus = toy_corpus(tmp_path / "many", [0.5] * 60, speakers=10)
    held = held_out(corpus, 0)
    by_speaker = {s: {bool(h) for u, h in zip(corpus, held) if u.speaker == s} for s in {u.speaker for u in corpus}}
    assert all(len(answers) == 1 for answers in by_speaker.values()), "nobody is on both sides"
    assert sum(answers == {True} for answers in by_speaker.values()) == 1  # one of ten has more than 6%
    corpus = toy_corpus(tmp_path / "uneven", [0.5] * 60, speakers=9, busiest=42)
    for seed in range(12):
        held = held_out(corpus, seed)
        assert 0.06 <= held.mean() <= 0.15, "whoever says most of it is not held out"
    few = toy_corpus(tmp_path / "few", [0.5] * 30)  # three speakers: utterances are held out instead
    assert 1 <= held_out(few, 0).sum() <= 4
    np.testing.assert_array_equal(held_out(few, 0), held_out(few, 0))


def test_noise_goes_on_the_domains_that_are_named(corpus, tmp_path, few_noises):
    soundfile.write(tmp_path / "hall.wav", np.array([0.0, 0.9, 0.1]), 16_000)
    training = Training(
        (DomainSpeech.of(corpus),), MINI, noise_on=("Toy",), codecs=True, sounds=SoundSource(None, tmp_path)
    )
    noisy, other = (training.policy(domain) for domain in ("Toy", "Telephony"))
    assert noisy.noise_probability == MINI.noise_probability and noisy.measured == ("hall.wav",)
    assert noisy.noises == tuple(sorted(make_noises("train")))
    assert other.noise_probability == 0 and other.codecs == noisy.codecs and not other.noises
    with pytest.raises(ValueError, match="noise on Farfield: the corpora's domains are Toy"):
        Training((DomainSpeech.of(corpus),), MINI, noise_on=("Farfield",))
    with pytest.raises(ValueError, match="the tree on Farfield: the corpora's domains are Toy"):
        Training((DomainSpeech.of(corpus),), MINI, words=Wording(tree_on=("Farfield",)))


def test_the_command_trains_what_it_is_asked_for(corpus, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "mdasr.training.pipeline.train_recognizer",
        lambda training, out, workers, floor: asked.append(training) or type("", (), {"facts": {}}),
    )
    monkeypatch.setattr("mdasr.cli.model_making.print_training", lambda *_: None)
    command = ["train", str(corpus.directory), "--out", str(tmp_path / "model")]
    assert (
        main([*command, "--codec", "--curriculum", "0.5", "--sampling-exponent", "0.25", "--clean-share", "0.1"]) == 0
    )
    assert main(command) == 0
    assert main([*command, "--noise"]) == main([*command, "--noise-on", "Toy"]) == 0
    assert [training.regime for training in asked[:2]] == [Regime(0.25, 0.5, 0.1), Regime()]
    assert [training.noise_on for training in asked] == [(), (), ("Toy",), ("Toy",)]
    assert main([*command, "--curriculum", "0.5"]) == main([*command, "--noise", "--curriculum", "5"]) == 2
    printed = capsys.readouterr().err
    assert "--curriculum makes noise and codecs more frequent: give --noise or --codec" in printed
    assert "curriculum is 5.0; it must lie between 0 and 1" in printed
    assert main([*command, "--noises", str(tmp_path)]) == 2
    assert "these sounds are for training with noise; give --noise" in capsys.readouterr().err


def test_adaptation_takes_given_pronunciations_of_words_that_the_parent_has(corpus, untrained, tmp_path, capsys):
    path = tmp_path / "over.txt"
    path.write_text("ah  S AA1\nnobody  QQ\n")
    lexicon = Wording(lexicon=path).pronunciations([corpus], untrained.language)
    assert lexicon.entries == {"ah": ((("S", "AA"), 1.0),), "s": ((("S",), 1.0),)}
    assert f"2 words: 1 from {path}, 1 from the parent, 0 from eSpeak" in capsys.readouterr().err
    sources = [Source(corpus, "exact", Policy())]
    adapted = adapt_words(untrained, sources, sources, lexicon, tmp_path / "adapted")
    assert adapted.lexicon == lexicon
    assert adapted.graph.made_of["lexicon.txt"] != untrained.graph.made_of["lexicon.txt"]
    path.write_text("ah  S QQ\n")
    with pytest.raises(ValueError, match=r"over\.txt:1: 'ah' has the unknown phone 'QQ'; known: AA S SIL"):
        Wording(lexicon=path).pronunciations([corpus], untrained.language)


@pytest.mark.parametrize("said", ["yes  y eh1 s\nno  n ow1\n", "yes\tj ɛ s\nno\tn oʊ\n"])
def test_phones_of_two_sets_are_not_mixed(said, corpus, tmp_path, capsys):
    utterance = dataclasses.replace(corpus[0], text="yes no go")
    write_shard(shard_path(tmp_path / "c", "audio", 0, 1), [encode_utterance(utterance)])
    corpora = [seal_corpus(tmp_path / "c", utterance.corpus, utterance.domain)]
    path = tmp_path / "lexicon.txt"
    path.write_text(said, encoding="utf-8")
    with pytest.raises(ValueError, match=r"ARPAbet lacks the phones '.*1 words get eSpeak's .*: 'go'\. Give"):
        covering_lexicon(corpora, path)
    path.write_text(f"{said}go  {said.split()[-1]}\n", encoding="utf-8")
    assert covering_lexicon(corpora, path).words == ("go", "no", "yes")
    path.write_text("YES  Y EH1 S\nNO  N OW1 NSN\n")
    assert covering_lexicon(corpora, path).entries["go"] == ((("G", "OW"), 1.0),)
    assert "ARPAbet lacks the phones 'NSN', but 1 words get" in capsys.readouterr().err


def test_questions_are_read_and_strange_phones_named(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("AA\n\nAA S\n")
    assert read_questions(path, LEXICON.phones) == [("AA",), ("AA", "S")]
    path.write_text("AA\nAA ZH\n")
    with pytest.raises(ValueError, match=r"questions\.txt, line 2: the lexicon has no phone 'ZH'"):
        read_questions(path, LEXICON.phones)
    path.write_text("\n")
    with pytest.raises(ValueError, match="no questions"):
        read_questions(path, LEXICON.phones)


def test_it_is_told_which_pronunciations_are_whose(corpus, tmp_path, monkeypatch, capsys):
    path = tmp_path / "said.dict"
    path.write_text("AH  AA1\nUNHEARD  ZH\n")
    monkeypatch.setattr(espeak, "is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"1 words without pronunciation: 's'\. Give them in a lexicon"):
        covering_lexicon([corpus], path)
    monkeypatch.setattr(espeak, "is_installed", lambda: True)
    monkeypatch.setattr(espeak, "pronounce", lambda words: dict.fromkeys(words, ("S",)))
    assert covering_lexicon([corpus], path) == LEXICON
    assert f"pronunciations of 2 words: 1 from {path}, 1 from eSpeak" in capsys.readouterr().err


def test_words_with_letters_that_english_lacks_are_told(corpus, tmp_path, monkeypatch, capsys):
    said = (dataclasses.replace(u, text=("l'été", "où", "go")[i % 3]) for i, u in enumerate(corpus))
    write_shard(shard_path(tmp_path, "audio", 0, 1), map(encode_utterance, said))
    french = seal_corpus(tmp_path, "french", "Toy")
    monkeypatch.setattr(espeak, "is_installed", lambda: True)
    monkeypatch.setattr(espeak, "pronounce", lambda words: dict.fromkeys(words, ("S",)))
    covering_lexicon([french], None)
    told = "2 words have letters that English lacks, and eSpeak says them as US English: \"l'été\", 'où'."
    assert told in capsys.readouterr().err


def test_a_corpus_that_changes_under_a_training_is_named(corpus, tmp_path):
    shutil.copytree(corpus.directory, tmp_path / "toy")
    source = Source(Corpus(tmp_path / "toy"), "exact", Policy())
    pool = Pool((source,), (), {}, {})
    check_corpora(pool)
    shutil.rmtree(tmp_path / "toy")
    with pytest.raises(ValueError, match=r"toy: the corpus changed while it was in use: .*is not a corpus"):
        check_corpora(pool)
    toy_corpus(tmp_path / "toy", [0.8, 1.1])
    with pytest.raises(ValueError, match=r"toy: the corpus changed while it was in use .*restore the corpus"):
        check_corpora(pool)


def test_more_hosts_than_utterances_are_refused(corpus, monkeypatch):
    pool = Pool((Source(corpus, "exact", Policy(), (0, 1, 2)),), (), {}, {})
    check_hosts(pool)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(ValueError, match="4 hosts, but 3 utterances to train on: start fewer hosts"):
        check_hosts(pool)


def test_a_recogniser_learns_from_transcripts_alone(corpus, tmp_path, capsys, drawn, few_noises):
    """The whole way from transcribed recordings to recognised words: alignment, tree, language, training, decoding."""
    lexicon = tmp_path / "lexicon.txt"
    LEXICON.write(lexicon)
    encoder = dataclasses.replace(SMALL.encoder, cells=(16,))
    scale = dataclasses.replace(
        SMALL, encoder=encoder, leaves=3, batch=4, row_steps=120, min_steps=80, max_steps=80, noise_factor=1.0
    )
    questions = tmp_path / "questions.txt"
    questions.write_text("AA\nS SIL\n")
    words = Wording(lexicon=lexicon, tree_on=("Toy",), questions=questions)
    training = Training((DomainSpeech.of(corpus),), scale, words=words, regime=Regime(clean_share=0.25))
    recognizer = train_recognizer(training, tmp_path / "model", workers=0, floor=True)
    assert recognizer.facts["frame_accuracy"] > 0.85
    floor = read_model(tmp_path / "model" / "gmm").facts
    assert recognizer.facts["gmm_wer"] == floor["dev_wer"] < 15
    assert f"floor: monophone GMM WER {floor['monophone_wer']:.1f} % on 4 held-out words" in capsys.readouterr().err
    assert train_recognizer(training, tmp_path / "model").facts["seconds"] == recognizer.facts["seconds"]  # found again
    made_of = json.loads((tmp_path / "model" / "run.json").read_text())["made_of"]
    assert made_of == recognizer.facts["made_of"] == training.made_of()
    for changed, told in (
        ({"codecs": True}, r"codecs was \[\] and is now \['mp3 128k "),
        ({"words": dataclasses.replace(words, questions=None)}, r"questions was '\w{12}' and is now ''"),
        ({"words": dataclasses.replace(words, lexicon=questions)}, "lexicon was"),
        ({"regime": Regime(clean_share=0.25, longer=2.0)}, "regime.longer was 1.0 and is now 2.0"),
    ):
        with pytest.raises(ValueError, match=f"made otherwise: {told}.*Train to another directory, or delete this one"):
            train_recognizer(dataclasses.replace(training, **changed), tmp_path / "model")
    assert main(["evaluate", str(tmp_path / "model"), str(corpus.directory), "--json", str(tmp_path / "r.json")]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "r.json").read_text())
    assert f"WER {result['wer']:.1f}" in printed
    assert result["wer"] < 15
    assert result["ref_words"] == 2 * len(corpus)
    again = ["evaluate", str(tmp_path / "model"), str(corpus.directory), "--confusions", "3"]
    assert main([*again, "--against", str(tmp_path / "r.json")]) == 0
    assert "+0.0 points [+0.0, +0.0]; matched pairs over" in capsys.readouterr().out
    toy = str(corpus.directory)
    conditions = ["--condition", "clean", "--condition", "8khz", "--condition", "noise:20"]
    assert main(["evaluate", str(tmp_path / "model"), toy, *conditions, "--json", str(tmp_path / "m.json")]) == 0
    assert "| WER in %  | " in capsys.readouterr().out.replace("WER in %   ", "WER in %  ")
    matrix = json.loads((tmp_path / "m.json").read_text())["cells"]
    assert [cell["condition"] for cell in matrix] == ["clean", "8khz", "noise:20"]
    assert matrix[0]["wer"] == result["wer"]
    assert main(["evaluate", str(tmp_path / "model"), toy, *conditions, "--against", str(tmp_path / "r.json")]) == 2
    assert "give one of each" in capsys.readouterr().err
    result["utterances"][0]["reference"] = "s s s"
    (tmp_path / "other.json").write_text(json.dumps(result))
    assert main([*again, "--against", str(tmp_path / "other.json")]) == 2
    assert "other utterances" in capsys.readouterr().err
    exact, by_network = corpus.alignments("exact"), corpus.alignments(realign(recognizer, corpus, LEXICON))
    assert [a.phones for a in by_network] == [a.phones for a in exact]
    errors = np.concatenate([boundary_errors(*pair) for pair in zip(exact, by_network)])
    assert np.mean(np.abs(errors) <= 0.05) > 0.9
    curve = [str(tmp_path / "model"), str(corpus.directory), "--lexicon", str(lexicon), "--workers", "0", "--report"]
    changed = [f"--set={k}={v}" for k, v in {"encoder.cells": "16", "batch": 4, "row_steps": 120, "min_steps": 40,
               "leaves": 3, "adapt_steps": 40, "max_steps": 40}.items()]  # fmt: skip
    assert main(["adapt", *curve, *changed, "--out", str(tmp_path / "curve")]) == 2
    assert "--report needs test speech" in capsys.readouterr().err
    curve += ["--test", str(corpus.directory), "--part", "1", "--part", "0.25"]
    assert main(["adapt", *curve, *changed, "--out", str(tmp_path / "curve")]) == 0
    printed, warned = capsys.readouterr()
    assert f"{toy}: this corpus is in the training, too" in warned
    points = json.loads((tmp_path / "curve" / "curve.json").read_text())["points"]
    starts = ["before", "adapted", "adapted", "from scratch", "from scratch"]
    assert [(p["start"], p["share"]) for p in points] == list(zip(starts, [0, 1 / 4, 1, 1 / 4, 1]))
    assert points[0]["seconds"] < points[1]["seconds"] == points[3]["seconds"] < points[2]["seconds"]
    assert points[2]["wer"]["toy (Toy)"]["wer"] < 15 and "adapted" in printed
    assert main(["adapt", *curve[:6], "--test", toy, "--out", str(tmp_path / "curve")]) == 2
    assert "--test and more than one --part need --report" in capsys.readouterr().err
    assert (tmp_path / "curve" / "curve.png").is_file()
    wers = [p["wer"]["toy (Toy)"]["wer"] for p in points]
    (axes,) = drawn["curve.png"].axes
    assert [line.get_ydata()[0] for line in axes.lines[:3]] == [wers[1], wers[3], wers[0]]
    assert Recognizer.read(tmp_path / "curve" / "adapted-1.000").facts["made_of"]["parent.params"] == params_digest(
        recognizer.params
    )
    found = scores(recognizer, [np.zeros((0, BANDS), np.float32)])
    with pytest.raises(ValueError, match="no steps to decode"):
        decode(recognizer.language.graph, found[0], recognizer.search)


def test_a_phones_score_is_that_of_its_cdphones_together():
    tree = Tree(("SIL", "A"), (("A",),), (0, Branch("left", 0, 1, 2)))
    posteriors, priors = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]]), np.array([0.2, 0.3, 0.5])
    found = phone_scores(tree, np.log(posteriors), np.log(priors))
    np.testing.assert_allclose(np.exp(found), [[0.5 / 0.2, 0.5 / 0.8], [0.1 / 0.2, 0.9 / 0.8]])


def test_transcripts_that_do_not_fit_are_set_aside(untrained, corpus, tmp_path, monkeypatch, capsys):
    """The scores follow the spoken sounds (silence, "ah", "s"), and five transcripts are wrong."""
    wrong = {3: "s ah", 7: "ah", 11: "s", 12: "s s", 20: "ah ah"}
    said = (dataclasses.replace(u, text=wrong.get(i, u.text)) for i, u in enumerate(corpus))
    write_shard(shard_path(tmp_path, "audio", 0, 1), map(encode_utterance, said))
    mistaken, leaves = seal_corpus(tmp_path, "mistaken", "Toy"), TREE.leaves(("SIL", "AA", "S"))

    def made_up(sure):
        def found(recognizer, waves):
            for wave in waves:
                steps = PAPER_STEPS.steps_in(len(wave))
                scores = np.full((steps, TREE.num_leaves), -sure, np.float32)
                scores[np.arange(steps), leaves[np.arange(steps) * 3 // steps]] = 0
                yield [scores]

        return found

    monkeypatch.setattr("mdasr.recognize.realign.score_blocks", made_up(20.0))
    sidecar = mistaken.alignments(realign(untrained, mistaken, LEXICON))
    assert [*np.flatnonzero(~sidecar.usable)] == [*wrong]
    assert "do not fit the sound: misfit" in sidecar[7].reason and "at most 3.0" in sidecar[7].reason
    assert "19 utterances aligned, 5 not" in capsys.readouterr().err
    assert corpus.alignments(realign(untrained, corpus, LEXICON)).usable.all()


TEXTS = ("ah s", "s ah", "s s ah", "ah ah s", "s ah ah", "ah s s")


@pytest.mark.parametrize("wrong", [0, 6, 24])
def test_transcripts_of_other_recordings_are_an_error(untrained, tmp_path, monkeypatch, capsys, wrong):
    """The scores follow the spoken texts; the first transcripts are those of the next recordings.

    Two of the six wrong texts have the sounds of the right one: "s s ah" for "s ah", and "ah s" for "ah s s".
    """
    spoken = [TEXTS[i % 6] for i in range(24)]
    texts = [spoken[(i + (i < wrong)) % 24] for i in range(24)]
    ones = np.ones(16_000, np.int16)
    said = (Utterance(f"u{i}", "o", "Toy", "s", text, ones) for i, text in enumerate(texts))
    write_shard(shard_path(tmp_path, "audio", 0, 1), map(encode_utterance, said))
    corpus, leaves = seal_corpus(tmp_path, "o", "Toy"), {"ah": 0, "s": 1}
    columns = TREE.leaves(("AA", "S"))

    def found(recognizer, waves):
        for text, wave in zip(spoken, waves):
            steps, words = PAPER_STEPS.steps_in(len(wave)), [columns[leaves[word]] for word in text.split()]
            scores = np.full((steps, TREE.num_leaves), -2.0, np.float32)
            scores[np.arange(steps), np.array(words)[np.arange(steps) * len(words) // steps]] = 0
            yield [scores]

    monkeypatch.setattr("mdasr.recognize.realign.score_blocks", found)
    if wrong == 24:
        with pytest.raises(ValueError, match="the words fit the sound in 33% of 24 utterances"):
            realign(untrained, corpus, LEXICON)
        assert not [*tmp_path.glob("align-*")]
    else:
        realign(untrained, corpus, LEXICON)
        assert "fit the sound in" not in capsys.readouterr().err


def test_the_share_of_words_that_fit_is_told(corpus, capsys):
    check_fit(corpus, [True] * 14 + [False] * 6, 0.2)
    assert capsys.readouterr().err == ""
    check_fit(corpus, [True] * 13 + [False] * 7, 0.2)
    assert (
        "the words fit the sound in 65% of 20 utterances, where wrong words fit in some 20%" in capsys.readouterr().err
    )
    with pytest.raises(ValueError, match="in 35% of 20 utterances"):
        check_fit(corpus, [True] * 7 + [False] * 13, 0.2)
    check_fit(corpus, [False] * 9, 0.2)  # too few to be sure
    assert "in 0% of 9 utterances" in capsys.readouterr().err
    check_fit(corpus, [], 0.2)


def test_a_network_that_knows_a_channel_badly_sets_nothing_aside(untrained):
    """The limit depends on the usual values of a corpus."""
    usual = np.random.default_rng(0).normal(4.0, 0.5, 200)
    assert (usual <= max(MOST_MISFIT, outlier(usual, DEVIATIONS))).all()


def test_phones_that_a_network_does_not_know_are_named(untrained, corpus):
    with pytest.raises(ValueError, match="does not know the phones 'ZZ'"):
        realign(untrained, corpus, Lexicon({"ah": ((("ZZ",), 1.0),)}))


def test_little_speech_and_a_single_speaker_are_said(tmp_path, capsys):
    silent = {1}  # not aligned
    corpus = toy_corpus(tmp_path, [0.8, 1.1, 1.4], silent, speakers=1)
    of = partial(Source, corpus, "exact", Policy())
    check_speech(Pool((of((0,)),), (of((2,)),), {}, {}))
    said = capsys.readouterr().err
    assert "1 s of speech to train on (1 utterances). A network learns little from that" in said
    assert "all speech is of one speaker" in said
    with pytest.raises(ValueError, match=r"2 are held out .* and 1 could not be"):
        check_speech(Pool((of((1,)),), (of((0, 2)),), {}, {}))


def test_the_sizes_of_little_follow_the_hours():
    leaves = [find_scale("little", hours).leaves for hours in (0.01, 0.3, 1.0, 4.0, 10.0, 1000.0)]
    assert leaves == sorted(leaves) and leaves[0] == LITTLE.leaves < leaves[3] < leaves[-1] <= 2000
    assert find_scale("mini", 5.0) == MINI


def test_a_training_takes_a_given_language_model(corpus, tmp_path, monkeypatch, capsys):
    """Its words are those of the model: from the lexicon, from eSpeak, or <unk>."""
    arpa, lexicon = tmp_path / "lm.arpa", tmp_path / "said.dict"
    arpa.write_text(train_ngrams([["ah", "sah", "far", "§"], ["S"]], 2).to_arpa())
    lexicon.write_text("ah  AA\ns  S\nsah  S AA\n")
    monkeypatch.setattr(espeak, "is_installed", lambda: True)
    monkeypatch.setattr(espeak, "pronounce", lambda words: dict.fromkeys(words, ("AA", "S")))
    words, sources = Wording(lexicon=lexicon, arpa=arpa), [Source(corpus, "exact", Policy())]
    scale = override(MINI, ["leaves=4"])
    language = words.grow(sources, sources, words.pronunciations([corpus]), scale, tmp_path / "language")
    said = {word: entries[0][0] for word, entries in language.lexicon.entries.items()}
    assert said == {"ah": ("AA",), "s": ("S",), "sah": ("S", "AA"), "far": ("AA", "S")}
    assert {*read_arpa(tmp_path / "language" / "lm.arpa").words} == {"<s>", "</s>", "<unk>", *said}
    assert words.made_of(adapts=False) != Wording(lexicon=lexicon).made_of(adapts=False)
    with pytest.raises(FileNotFoundError, match="no such n-gram model"):
        Wording(arpa=tmp_path / "none.arpa").made_of(adapts=False)
