"""Fine-tuning to a new domain: speech of old domains that is kept, and very little new speech (§4.4)."""

import dataclasses
import re

import numpy as np
import pytest

from mdasr.acoustic.row_schedule import RowOptions, RowPlan, Source
from mdasr.cli.main import main
from mdasr.core.digests import Named
from mdasr.language.arpa_reader import read_arpa
from mdasr.recognize.words import evaluate
from mdasr.score.wer import Errors
from mdasr.training import word_models
from mdasr.training.ingredients import Training, keeping
from mdasr.training.ingredients import adapting as adapting_to
from mdasr.training.pipeline import train_recognizer
from mdasr.training.regimes import OWN_ALONE
from mdasr.training.scales import MINI, override
from mdasr.training.speech_split import STILL, DomainSpeech
from mdasr.training.word_models import PARENTS_SHARE, Shared, Wording, adapt_words
from tests.toy_speech import LEXICON, all_of, toy_corpus, toy_language, untrained_recognizer


@pytest.fixture
def adapting(tmp_path) -> Training:
    """Make the description of a fine-tuning to 12 utterances of a new domain."""
    new = toy_corpus(tmp_path / "new", [0.5, 0.9] * 6, domain="New")
    return Training((DomainSpeech.of(new),), MINI, parent=Named("a model", list), noise_on=("New",))


@pytest.fixture
def old(tmp_path) -> DomainSpeech:
    return DomainSpeech.of(toy_corpus(tmp_path / "old", [0.7, 1.3] * 20, domain="Old"))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.75])
def test_kept_speech_has_its_share_of_the_audio_and_all_of_it_is_shown(adapting, old, share):
    pool = keeping(adapting, [old], share).pool(lambda _: "exact")
    assert [source.corpus.domain for source in pool.shown] == ["New", "Old"]
    assert [source.policy.noise_probability > 0 for source in pool.shown] == [True, True]
    assert pool.sources == adapting.pool(lambda _: "exact").sources, "words and search see the new speech alone"
    assert {source.corpus.domain for source in pool.dev} == {"New"}
    plan, steps, seen = RowPlan(pool.shown, RowOptions(60), 0), np.zeros(2), set()
    for number in range(60):
        epoch = plan.epoch(number)
        for source in (0, 1):
            steps[source] += epoch.steps[plan._source[epoch.place] == source].sum()
        seen.update(plan._utterance[epoch.place[plan._source[epoch.place] == 1]].tolist())
    assert steps[1] / steps.sum() == pytest.approx(share, abs=0.01)
    assert seen == {*pool.kept[0].usable().tolist()}


def test_speech_to_keep_needs_a_parent_and_a_share(adapting, old):
    assert keeping(adapting, [], 0.2) == adapting
    for wrong, message in (
        ({"parent": None}, "is for fine-tuning all parameters"),
        ({"regime": OWN_ALONE}, "is for fine-tuning all parameters"),
        ({"keep_share": 1.0}, "keep_share is 1.0"),
        ({"keep_share": 0.0}, "keep_share is 0.0"),
        ({"keep": ()}, "keep_share is 0.2"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(keeping(adapting, [old], 0.2), **wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--share 0.2", r"the share of old speech, and needs --keep DIR; for a part of .* give --part"),
        ("--keep old --share 1", "--share 1: give a number between 0 and 1"),
        ("--part 2", "--part 2.0: give a number above 0"),
        ("--part 1 --part 0.5", "more than one --part need --report"),
    ],
)
def test_contradicting_options_are_refused(options, message, capsys):
    assert main(["adapt", "model", "new", "--out", "made", *options.split()]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(("fewest", "least"), [(50, 50 / (50 + 18)), (5, PARENTS_SHARE)])
def test_the_parents_sentences_stay_likely(fewest, least, tmp_path, monkeypatch, capsys):
    """The new domain always says "ah s". The parent also knows "s", whose likelihood a fit alone would take away."""
    monkeypatch.setattr(word_models, "FEWEST_WORDS", fewest)
    parent = untrained_recognizer(toy_language(tmp_path / "parent"))
    new = Source(toy_corpus(tmp_path / "new", [0.5] * 9), "exact", STILL)
    few = dataclasses.replace(new, indices=(0, 1, 2))
    adapt_words(parent, [new], [few], LEXICON, tmp_path / "made")
    before, after = (read_arpa(tmp_path / name / "lm.arpa") for name in ("parent", "made"))
    old, now = (10 ** model.log10_probabilities([["s"]])[0] for model in (before, after))
    assert least * old <= now < old
    assert ("held-out speech has 6 words, fewer than 50" in capsys.readouterr().err) == (fewest == 50)


@pytest.mark.slow
def test_two_utterances_leave_the_old_domain_as_good_as_it_was(tmp_path):
    """The network was trained on a tone and a hiss, and two more utterances are all that is new."""
    old = toy_corpus(tmp_path / "old", [0.5, 0.9, 1.2] * 12)
    settings = ["encoder.cells=16", "batch=4", "row_steps=120", "min_steps=150", "max_steps=150", "adapt_steps=20"]
    scale = override(MINI, [*settings, "learning_rate=0.02", "encoder.forget_steps=0", "leaves=3"])
    language = toy_language(tmp_path / "language")
    words = Shared({"words": "toy"}, lambda _: "exact", lambda: language)
    parent = train_recognizer(Training((all_of(old),), scale, words=words), tmp_path / "parent", workers=0)
    new = DomainSpeech.of(toy_corpus(tmp_path / "new", [0.8, 1.1], domain="New"))
    made_of_two = adapting_to(Training((new,), scale, words=Wording(Named("toy", lambda: LEXICON))), parent)
    for name, training in (("two", made_of_two), ("kept", keeping(made_of_two, [DomainSpeech.of(old)], 0.2))):
        made = train_recognizer(training, tmp_path / name, workers=0)
        assert made.search == parent.search
        wers = [
            sum((each.errors for each in evaluate(model, [*old], [u.samples for u in old])), Errors()).wer
            for model in (parent, made)
        ]
        assert wers[1] <= wers[0] + 5
    assert made.facts["kept_data"] == [old.info["sha256"]]
