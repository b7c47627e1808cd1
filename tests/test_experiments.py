"""Tables, claims and settings, on hand-worked cells."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments import results as results_of
from experiments import why
from experiments.__main__ import TABLES, main
from experiments.claims import CLAIMS, Claim, Comparison, That, all_of, compare, due_to_trainings, to_decide
from experiments.collection import Mapped
from experiments.laboratory import Laboratory
from experiments.matrix import Matrix
from experiments.models import MULTI, VSD, VSD_NOISE, adapted_model
from experiments.nouns import Model, Table, TestSet
from experiments.table3_noise import TABLE
from experiments.testsets import DICTATION, TELEPHONY_8K, VOICESEARCH, name, narrow, noisy
from mdasr.acoustic.row_schedule import Source, subset
from mdasr.core.digests import digest
from mdasr.perturb import Policy
from mdasr.recognize import report
from mdasr.score.wer import Errors, Scored
from mdasr.training.adaptation_curve import curve_text
from mdasr.training.scales import MINI, override
from tests.toy_speech import toy_corpus

SHARED_TABLES = Path(__file__).parent / "references" / "paper_tables.json"


def scored(errors_a_speaker: list[int], words: int = 100) -> list[Scored]:
    return [Scored(f"u{i}", f"s{i}", "", "", Errors(sub=n, ref_words=words)) for i, n in enumerate(errors_a_speaker)]


WITHOUT_AND_WITH = {
    VOICESEARCH: ([10, 10, 10, 10], [10, 10, 10, 11]),
    noisy(VOICESEARCH): ([30, 32, 28, 30], [12, 14, 10, 12]),
    DICTATION: ([8, 8, 8, 8], [12, 12, 12, 12]),
    noisy(DICTATION): ([30, 30, 30, 30], [20, 40, 20, 40]),
    narrow(DICTATION): ([8, 9, 8, 9], [8, 9, 8, 9]),
}
RESULTS = {
    (model, test_set): scored(errors)
    for test_set, pair in WITHOUT_AND_WITH.items()
    for model, errors in zip((VSD, VSD_NOISE), pair)
}


def test_a_tables_json_and_text():
    results = results_of.table_json(TABLE, [RESULTS], scale="mini", seed=0, commit="abc", device="a machine")
    assert results["table"] == 3
    first = results["cells"][0]
    assert (first["row"], first["column"], first["wer"], first["paper"]) == ("Voicesearch", "w/o Noise", 10.0, 10.5)
    assert (first["sub"], first["ins"], first["del"], first["ref_words"]) == (40, 0, 0, 400)
    assert first["ci95"] == [10.0, 10.0]
    json.dumps(results)
    lines = results_of.table_text(TABLE, results).splitlines()
    assert "| Voicesearch + Noise | 30.0 [27.4, 32.6] |" in lines[5]
    assert len({len(line) for line in lines[2:]}) == 1, "columns line up"


def test_a_table_beyond_the_paper_has_no_numbers_of_the_papers():
    table = Table(7, "beyond", {"w/ Noise": VSD_NOISE}, {"Voicesearch": VOICESEARCH}, {})
    results = results_of.table_json(table, [RESULTS])
    assert results["cells"][0]["paper"] is None
    assert "paper" not in results_of.table_text(table, results)


def test_one_speakers_interval_is_over_utterances():
    spoken = [Scored(f"u{i}", "s", "a b", "a c", Errors(sub=1, ref_words=2)) for i in range(5)]
    assert report.wer_cell(spoken)["ci95_over"] == "utterances"
    two = [*spoken, Scored("v", "t", "a b", "a b", Errors(ref_words=2))]
    assert report.wer_cell(two)["ci95_over"] == "speakers"
    alone = report.wer_cell(spoken[:1])
    assert alone["ci95"] is None and alone["wer"] == 50.0 and report.wer_text(alone) == "50.0"
    unspoken = Scored("w", "t", "", "a", Errors(ins=1))
    assert report.wer_cell([*spoken, unspoken])["ci95_over"] == "utterances"
    with_silence = report.wer_cell([spoken[0], unspoken])
    assert with_silence["ci95"] is None and with_silence["wer"] == 100.0
    words = [dataclasses.asdict(s) for s in (spoken[0], unspoken)]
    assert "from 100.0 to 100.0 %: +0.0 points (one utterance, so" in report.compared(
        {"utterances": words}, [spoken[0], unspoken]
    )
    assert report.most_confused(spoken, 3) == ["    5  b heard as c"]


def test_an_adaptation_on_a_single_utterance_has_no_interval():
    found = {"wer": 20.0, "ci95": None}
    points = [
        {"start": start, "share": share, "seconds": 60 * share, "wer": {"toy": found}}
        for start, share in (("unadapted", 0.0), ("adapted", 0.5), ("adapted", 1.0), ("from scratch", 1.0))
    ]
    assert "20.0" in curve_text({"points": points})


def test_several_seeds_make_one_cell_with_a_wider_interval():
    same, worse = scored([10, 12, 8, 10, 11, 9]), scored([20, 22, 18, 20, 21, 19])
    one, two = report.wer_cell(same), report.wer_cell(same, worse)
    assert two["wer"] == 15.0
    assert two["wer_by_seed"] == [10.0, 20.0]
    assert np.ptp(two["ci95"]) > 3 * np.ptp(one["ci95"])
    found = compare(
        [{(VSD, VOICESEARCH): same, (VSD_NOISE, VOICESEARCH): worse}] * 2, *[(m, VOICESEARCH) for m in (VSD, VSD_NOISE)]
    )
    assert (found.a, found.b) == (10.0, 20.0)
    assert found.low == pytest.approx(found.high) == pytest.approx(10.0)


def test_verdicts():
    found = {claim.id: claim.verdict([RESULTS])["verdict"] for claim in CLAIMS if claim.table == 3}
    # Dictation is 50% worse; noisy Dictation's interval holds zero; the 8 kHz row is the same.
    assert found == {"T3.a": "fails", "T3.b": "undecided", "T3.c": "holds"}
    assert all_of(["holds", "undecided", "holds"]) == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    # of a WER of 10: better, worse, far_better, about_equal, better_or_equal, not_worse
    [
        (-1.0, -0.5, "holds fails fails holds holds holds"),
        (-9.0, -6.0, "holds fails holds fails holds holds"),
        (-0.5, 0.5, "undecided undecided fails holds holds holds"),
        (-3.0, 3.0, "undecided undecided fails undecided undecided undecided"),
        (0.5, 1.0, "fails holds fails holds holds fails"),
        (2.0, 3.0, "fails holds fails fails fails fails"),
    ],
)
def test_relations(low, high, wanted):
    found = Comparison("x", 10, 10 + (low + high) / 2, low, high)
    relations = ("better", "worse", "far_better", "about_equal", "better_or_equal", "not_worse")
    assert [getattr(found, relation)() for relation in relations] == wanted.split()


def test_how_much_more_would_decide():
    between = Comparison("x", 10, 9.5, -2.0, 1.0)  # half as wide on four times the data
    assert to_decide(between, Comparison.better) == (10, "holds")  # 1.5 / sqrt(10) < 0.5
    assert to_decide(between, Comparison.worse) == (10, "fails")
    assert to_decide(between, Comparison.about_equal) == (3, "holds")  # 0.5 + 1.5 / sqrt(3) < 15% of 10
    assert to_decide(Comparison("x", 10, 10.0, -2.0, 2.0), Comparison.better) is None


def test_an_open_claim_says_what_keeps_it_open_and_whose_luck_that_is():
    pairs = (VSD, VOICESEARCH), (VSD_NOISE, VOICESEARCH)
    claim = Claim("X", 0, "noise helps", (That(Comparison.better, *pairs),))
    by_training = [{pairs[0]: scored([10] * 6), pairs[1]: scored([10 + change] * 6)} for change in (-4, -1, 0)]
    assert due_to_trainings(by_training, *pairs) == 1.0  # all speakers differ alike
    found = claim.verdict(by_training)
    assert found["verdict"] == "undecided"
    assert "(100% of its variance is between trainings)" in found["why"]
    assert "would show that it is better" in found["why"]
    by_speaker = [{pairs[0]: scored([10] * 6), pairs[1]: scored([2, 18, 10, 10, 10, 10])}] * 3
    assert due_to_trainings(by_speaker, *pairs) == pytest.approx(0, abs=0.05)
    holding = [{pairs[0]: scored([10] * 6), pairs[1]: scored([5] * 6)}] * 3
    assert claim.verdict(holding)["why"] == ""
    failing = [{pairs[0]: scored([5] * 6), pairs[1]: scored([10] * 6)}]
    assert claim.verdict(failing)["why"].endswith("not better")


def test_a_gap_that_narrows():
    early, late = (
        (adapted_model(MULTI, "10 hrs"), adapted_model(VSD, "10 hrs")),
        (adapted_model(MULTI, "700 hrs"), adapted_model(VSD, "700 hrs")),
    )
    errors = dict(zip((*early, *late), ([20] * 6, [30] * 6, [10] * 6, [11] * 6)))
    results = {(model, TELEPHONY_8K): scored(each) for model, each in errors.items()}
    (narrows,) = [s for claim in CLAIMS if claim.id == "T7.c" for s in claim.statements if len(s.pairs()) == 4]
    verdict, evidence, _ = narrows.judge([results])
    assert verdict == "holds"
    assert "gap of 50% becomes 10%, change in [-40, -40] points" in evidence


def test_the_25_claims_speak_of_cells_that_the_tables_have():
    in_tables = {pair for tables in TABLES.values() for table in tables for pair in table.pairs().values()}
    assert {pair for claim in CLAIMS for each in claim.statements for pair in each.pairs()} <= in_tables
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids)) == 23, "Table 2's two claims are not about word errors"


def test_results_of_other_settings_and_splits_have_folders_of_their_own(tmp_path):
    plain, changed = Laboratory(tmp_path, MINI), Laboratory(tmp_path, override(MINI, ["epochs=3"]))
    folders = [each.results_folder.name for each in (plain, changed, dataclasses.replace(plain, split="dev"))]
    folders.append(dataclasses.replace(changed, split="dev").results_folder.name)
    assert folders[0] == "results"
    assert folders[2] == "results-dev"
    assert folders[3] == f"{folders[1]}-dev"
    assert len(set(folders)) == 4


def test_hypotheses_are_about_claims_and_judged_on_cells_that_their_tables_have():
    in_tables = {pair for table in why.TABLES for pair in table.pairs().values()}
    assert {pair for each in why.HYPOTHESES for statement in each.statements for pair in statement.pairs()} <= in_tables
    assert {each.id.split("/")[0] for each in why.HYPOTHESES} <= {claim.id for claim in CLAIMS}
    assert why.MULTI_LESS.share * why.minutes(MULTI.domains) == pytest.approx(why.minutes(["Telephony"]), rel=1e-3)


def test_the_registry_has_the_papers_17_models_and_one_more():
    models = {model for tables in TABLES.values() for table in tables for model, _ in table.pairs().values()}
    assert len(models) == 18
    tabulated = {pair for tables in TABLES.values() for table in tables[:1] for pair in table.pairs().values()}
    assert len({model for model, _ in tabulated}) == 17


def test_the_registrys_numbers_are_the_papers():
    theirs = json.loads(SHARED_TABLES.read_text())
    for table in (tables[0] for tables in TABLES.values() if tables):
        assert {row: list(numbers) for row, numbers in table.paper.items()} == theirs[f"table{table.number}"]["rows"]
        assert [*table.columns] == theirs[f"table{table.number}"]["columns"]
        assert [*table.rows] == [*table.paper]


def test_test_sets_have_names():
    assert [name(t) for t in (VOICESEARCH, noisy(DICTATION), narrow(DICTATION))] == [
        "Voicesearch", "Dictation + Noise", "Dictation 8 kHz",
    ]  # fmt: skip


def test_shares_are_nested_and_as_long_as_they_say(tmp_path):
    corpus = toy_corpus(tmp_path, [0.8, 1.1, 1.4, 0.9, 1.2, 1.0] * 10)
    source = Source(corpus, "exact", Policy())
    total, before = source.seconds(), set()
    for share in (1 / 70, 3 / 70, 1 / 7, 0.5):
        chosen = subset(source, share)
        assert before <= {*(chosen.indices or ())}
        assert share * total <= chosen.seconds() < share * total + 1.5
        before = {*(chosen.indices or ())}
    assert subset(source, 1.0) is source


def test_a_map_says_what_it_lacks(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('[domains.Voicesearch]\ntrain = "a"\n')
    found = Mapped(path, tmp_path)
    assert found.directory("Voicesearch", "train") == tmp_path / "a"
    with pytest.raises(ValueError, match=r"map\.toml: \[domains\.Dictation\] has no 'train', which this table needs"):
        found.corpus("Dictation", "train")
    for text, message in [
        ("[domains", "not TOML"),
        ("[noise]\ntrain = 1", "unknown 'noise'"),
        ("[domains.A]\ntrain = 3", r"\[domains\.A\] takes train, dev and test"),
        ("", "no domains"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            Mapped(path, tmp_path).domains()
    path.write_text('[domains.Voicesearch]\ntrain = "a"\n')
    with pytest.raises(ValueError, match="corpora are missing") as caught:
        Laboratory(tmp_path, MINI, map=path).results([TABLE])
    for wanting in ("[domains.Voicesearch] has no 'test'", "[domains.Dictation] has no 'train'", f"{tmp_path / 'a'}"):
        assert wanting in str(caught.value)


def test_of_what_is_held_out_development_sets_hear_that_alone(tmp_path):
    toy_corpus(tmp_path / "a", [0.5] * 40, speakers=20)
    (tmp_path / "map.toml").write_text('[domains.A]\ntrain = "a"\ntest = "a"\n')
    collection = Mapped(tmp_path / "map.toml", tmp_path)
    train, dev = (collection.chosen("A", split) for split in ("train", "dev"))
    assert sorted((*train, *dev)) == [*range(40)]
    heard = Laboratory(tmp_path, MINI, map=tmp_path / "map.toml", split="dev").utterances(TestSet("A"))
    assert [utterance.id for utterance in heard] == [f"u{i}" for i in dev]
    assert len(Laboratory(tmp_path, MINI, map=tmp_path / "map.toml").utterances(TestSet("A"))) == 40


def test_models_of_a_map_are_named_by_the_noises_that_they_heard(tmp_path):
    toy_corpus(tmp_path / "a", [0.5] * 9)
    (tmp_path / "map.toml").write_text('[domains.A]\ntrain = "a"\ntest = "a"\n[noises]\ntrain = "n"\n')
    (tmp_path / "n").mkdir()
    models = Model("plain", ("A",)), Model("noisy", ("A",), noise_on=("A",))
    names = []
    for seed in (0, 1):
        soundfile.write(tmp_path / "n" / "x.wav", np.random.default_rng(seed).normal(0, 0.1, 16000), 16000)
        laboratory = Laboratory(tmp_path, MINI, map=tmp_path / "map.toml")
        names.append([laboratory.directory(model) for model in models])
    assert names[0][0] == names[1][0] and names[0][1] != names[1][1]


def test_hypotheses_are_not_asked_where_their_premises_are_others(tmp_path, capsys):
    assert main(["why", "--scale", "small", "--workdir", str(tmp_path)]) == 2
    assert "train 1.5 times as long with noise: --set noise_factor=1.5" in capsys.readouterr().err
    assert main(["why", "--corpora", "my.toml", "--workdir", str(tmp_path)]) == 2
    assert "`why` is only for the embedded corpus" in capsys.readouterr().err


def test_settings():
    assert override(MINI, ["learning_rate=1e-2", "encoder.cells=8,4"]).encoder.cells == (8, 4)
    with pytest.raises(ValueError, match=r"--set rate=1: not of the form NAME=VALUE with a NAME among encoder, feat"):
        override(MINI, ["rate=1"])
    with pytest.raises(ValueError, match=r"batch needs a value like 8"):
        override(MINI, ["batch=many"])


def test_models_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="noise on"):
        Model("x", ("Dictation",), noise_on=("YouTube",))
    with pytest.raises(ValueError, match="a share of 0"):
        Model("x", ("Dictation",), share=0.0)
    with pytest.raises(ValueError, match="a model on a test set"):
        Table(3, "", {"x": VSD}, {"y": VSD}, {}).pairs()


def test_names_of_values_are_those_of_their_content():
    models = list(TABLE.columns.values())
    assert digest(models[0]) == digest(Model("Voicesearch-Dictation", models[0].domains))
    assert digest(models[0]) != digest(models[1])


def test_overview_and_unknown_tables(tmp_path, capsys):
    assert main(["--workdir", str(tmp_path)]) == 0
    assert "table3  to do  Table 3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["table9"])
    assert "no table 'table9'; there are table2, table3" in capsys.readouterr().err


def test_a_map_of_some_domains_has_an_overview_and_a_page(tmp_path, capsys):
    toy_corpus(tmp_path / "vs", [0.5] * 9)
    (tmp_path / "map.toml").write_text('[domains.Voicesearch]\ntrain = "vs"\ntest = "vs"\n')
    here = ["--corpora", str(tmp_path / "map.toml"), "--workdir", str(tmp_path)]
    assert main(here) == 0
    assert "18 models, 0 of them trained" in capsys.readouterr().out
    assert main(["report", *here]) == 0
    assert (tmp_path / "map" / "mini" / "report.html").exists()


def test_a_matrix_that_was_made_is_on_the_page(tmp_path):
    toy_corpus(tmp_path / "a", [0.5] * 9)
    (tmp_path / "map.toml").write_text("".join(f'[domains.{d}]\ntrain = "a"\ntest = "a"\n' for d in ("a", "b")))
    results = tmp_path / "map" / "mini" / "results"
    results.mkdir(parents=True)
    cell = {"row": "a + Noise", "column": "Pooled", "wer": 12.34, "ci95": [11.0, 13.5], "paper": None}
    (results / "matrix.json").write_text(json.dumps({"title": "Models by test sets", "seed": 0, "cells": [cell]}))
    assert main(["report", "--corpora", str(tmp_path / "map.toml"), "--workdir", str(tmp_path)]) == 0
    page = (results.parent / "report.html").read_text()
    assert "Matrix: Models by test sets" in page
    assert "12.3" in page
    assert "Pooled + Codec" in page  # which is yet to train


def test_models_have_directories_that_any_file_system_takes(tmp_path):
    laboratory = Laboratory(tmp_path, MINI)
    names = [laboratory.directory(model).name for model in (why.longer(MULTI), adapted_model(MULTI, "10 hrs"))]
    assert [each.rpartition("-")[0] for each in names] == ["multidomain-1-5-the-steps", "multidomain-10-hrs"]


def test_what_is_known_is_looked_up_and_not_made(tmp_path):
    laboratory = Laboratory(tmp_path, MINI)
    directory = laboratory.directory(VSD)
    directory.mkdir(parents=True)
    (directory / "model.json").write_text("{}")
    assert laboratory.trained(VSD)
    assert laboratory.known([(VSD, TELEPHONY_8K), (VSD_NOISE, VOICESEARCH)]) == {}
    assert not (tmp_path / "mini" / "corpus").exists()


def test_a_matrix_over_anybodys_domains():
    amounts = ("c", (("1 min", 0.1), ("9 min", 1.0))), ("x", (("2 min", 1.0),))
    asked = Matrix(("a", "b", "c"), ("x", "y"), amounts, judged=("a", "c", "y"))
    by_domain, conditions, of_c, of_x = asked.tables()
    assert len(by_domain.pairs()) == 7 * 5 and len(conditions.pairs()) == 4 * 20
    without = "Pooled without c"
    assert [*of_c.columns] == [without, f"{without} + 1 min", f"{without} + 9 min", "c alone, 1 min", "c"]
    assert [*of_x.columns] == ["Pooled", "Pooled + 2 min", "x"] and [*of_x.rows] == ["x", "a", "b", "c"]
    pairs = {pair for table in asked.tables() for pair in table.pairs().values()}
    compared = {pair for claim in asked.claims() for each in claim.statements for pair in each.pairs()}
    assert compared <= pairs
    assert {test.domain for _, test in compared} == {"a", "c"}  # of speakers enough, and in the pool
    assert [claim.id for claim in asked.claims()] == [
        "R3.a",
        "R3.b",
        "R4.c",
        "R6.a",
        "R6.f",
        "R7.a c",
        "R7.b c",
        "R7.f c",
    ]
    with pytest.raises(ValueError, match="two pooled domains or more"):
        Matrix(("a",))


def test_a_map_says_what_is_unheard_and_adapted_to(tmp_path):
    toy_corpus(tmp_path / "a", [6.0] * 10, speakers=2)
    toy_corpus(tmp_path / "b", [0.5] * 3, speakers=1)
    named = "".join(f'[domains.{d}]\ntrain = "a"\ntest = "{t}"\n' for d, t in (("p", "a"), ("q", "b"), ("r", "a")))
    path = tmp_path / "map.toml"

    def matrix(before="", after=""):
        path.write_text(f'{before}\n{named}[domains.s]\ntest = "a"\n{after}')
        return Matrix.of(Mapped(path, tmp_path))

    assert matrix() == Matrix(("p", "q", "r"), ("s",), (("r", (("10%", 0.1), ("100%", 1.0))),), ("p", "r", "s"))
    found = matrix('unheard = ["r"]', "[adapt]\nr = [5, 0.5]\n")
    assert found == Matrix(("p", "q"), ("r", "s"), (("r", (("0.5 min", 0.5), ("5 min", 1.0))),), ("p", "r", "s"))
    for before, after, message in (
        ('unheard = "r"', "", "unheard is a list of domains"),
        ('unheard = ["z"]', "", r"no \[domains.z\] with speech to test"),
        ("", "[adapt]\ns = [1]\n", r"no \[domains.s\] with speech to adapt to"),
        ("", "[adapt]\nr = [0]\n", "a list of minutes"),
    ):
        with pytest.raises(ValueError, match=message):
            matrix(before, after)
    path.write_text('[domains.s]\ntest = "a"\n')
    with pytest.raises(ValueError, match="two pooled domains or more"):  # nothing to train on
        Matrix.of(Mapped(path, tmp_path))


def test_corpora_of_one_name_and_domain_are_told_apart_by_their_directories(tmp_path):
    one, two, other = (toy_corpus(tmp_path / d, [0.5], domain=n) for d, n in (("a", "X"), ("b", "X"), ("c", "Y")))
    assert report.corpus_labels([one, other]) == ["x (X)", "y (Y)"]
    assert report.corpus_labels([one, two, other]) == [str(tmp_path / "a"), str(tmp_path / "b"), "y (Y)"]
