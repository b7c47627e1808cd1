"""Fine-tuning to a new domain: speech of old domains that is kept, and very little new speech (§4.4)."""

import dataclasses
import re

import numpy as np
import pytest

from mdasr.acoustic.row_schedule import RowOptions, RowPlan
from mdasr.cli.main import main
from mdasr.core.digests import Named
from mdasr.training.ingredients import Training, keeping
from mdasr.training.regimes import OWN_ALONE
from mdasr.training.scales import MINI
from mdasr.training.speech_split import DomainSpeech
from tests.toy_speech import toy_corpus


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
