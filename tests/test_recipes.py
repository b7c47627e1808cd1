"""The comparison of recipes by folds of speakers."""

import json

import numpy as np
import pytest

from experiments.recipes import CONDITIONS, Recipe, Trial, folds_of, main, read_recipe, table
from mdasr.training.scales import LITTLE, MINI
from mdasr.training.speech_split import DomainSpeech, held_out, spoken_by
from tests.toy_speech import toy_corpus


def test_a_recipe_is_a_name_and_settings():
    found = read_recipe("wide: scale=mini batch=4 augment=speed augment=masks")
    assert (found.name, found.scale.name, found.scale.batch, found.augment) == ("wide", "mini", 4, ("speed", "masks"))
    assert read_recipe("as it is:", 0.1) == Recipe("as it is", LITTLE)
    for text, message in (
        ("wide batch=4", "write NAME: SETTINGS"),
        ("x: depth=3", "not of the form"),
        ("x: scale=z", "no scale is called 'z'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_recipe(text)


def test_folds_share_no_speaker():
    folds = folds_of([f"s{i}" for i in range(20)] * 2, 3, 5)
    assert len({speaker for fold in folds for speaker in fold}) == 15
    assert folds == folds_of([f"s{i}" for i in reversed(range(20))], 3, 5)
    with pytest.raises(ValueError, match="4 speakers are too few for 2 folds of 2"):
        folds_of("abcd", 2, 2)


def test_the_speakers_of_a_fold_neither_train_nor_tune(tmp_path):
    corpus = toy_corpus(tmp_path, [0.4] * 40, speakers=10)
    speech = DomainSpeech.of(corpus)
    assert [sorted(map(len, speech.chosen))] == [[4, 36]]
    apart = DomainSpeech(speech.domain, speech.train, without=("s2", "s5"))
    tested = {i for i in range(40) if corpus[i].speaker in ("s2", "s5")}
    train, dev = map(set, apart.chosen)
    assert train | dev == {*range(40)} - tested and not train & dev and len(dev) == 4
    assert np.flatnonzero(spoken_by(("s2", "s5"), corpus)).tolist() == sorted(tested)
    assert not spoken_by((), corpus).any() and held_out(corpus, 0).tolist() == held_out(corpus, 0, ("nobody",)).tolist()
    assert apart.held_out != speech.held_out
    with pytest.raises(ValueError, match="speakers are left out only where"):
        DomainSpeech("Toy", speech.train, speech.train, without=("s2",))


def test_the_table_has_means_and_spreads(tmp_path):
    corpus = toy_corpus(tmp_path / "toy", [0.4] * 3).directory
    trials = [Trial(Recipe("one", MINI), corpus, ("s0",), seed, tmp_path) for seed in range(2)]
    for trial, errors in zip(trials, (10, 30)):
        trial.directory.mkdir(parents=True)
        counts = {words: [errors, 100 + errors] for words in CONDITIONS}
        trial.result.write_text(json.dumps({"errors": counts, "cpu_s": errors, "steps": 1, "dev_wer": 0.0}))
    heading, row = table(trials).splitlines()[0], table(trials).splitlines()[-1]
    assert "room:10" in heading
    assert "16.7 (9.1 to 23.1)" in row and row.split()[-2] == "20"  # 40 errors in 240 words


@pytest.mark.slow
def test_recipes_are_compared_and_read_again(tmp_path, capsys):
    corpus = toy_corpus(tmp_path / "toy", [0.8, 1.1, 1.4, 0.9] * 6, speakers=6).directory
    small = "scale=mini encoder.cells=8 leaves=4 batch=4 row_steps=60 min_steps=4 max_steps=4 epochs=1"
    command = [str(corpus), "--recipe", f"a: {small}", "--recipe", f"b: {small} features=cepstra", "--speakers", "2",
               "--alignment", "exact", "--workdir", str(tmp_path / "runs"), "--workers", "2"]  # fmt: skip
    assert main(command) == 0
    first = capsys.readouterr().out
    assert [line.split()[1] for line in first.splitlines()[-2:]] == ["a", "b"]
    assert main(command) == 0
    assert capsys.readouterr().out == first
