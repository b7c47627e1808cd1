"""Tables, claims and settings, on hand-worked cells."""

import json

import pytest

from experiments.__main__ import main
from experiments.claims import CLAIMS, Comparison, all_of, compare
from experiments.table3_noise import TABLE
from mdasr import report
from mdasr.recognizer import Scored
from mdasr.scales import MINI, override
from mdasr.score.wer import Errors
from mdasr.spec import Model, digest


def scored(errors_a_speaker: list[int], words: int = 100) -> list[Scored]:
    return [Scored(f"u{i}", f"s{i}", "", "", Errors(sub=n, ref_words=words)) for i, n in enumerate(errors_a_speaker)]


def cells(rows: dict[str, tuple[list[int], list[int]]]):
    return {
        (row, column): scored(errors)
        for row, pair in rows.items()
        for column, errors in zip(("w/o Noise", "w/ Noise"), pair)
    }


CELLS = cells(
    {
        "Voicesearch": ([10, 10, 10, 10], [10, 10, 10, 11]),
        "Voicesearch + Noise": ([30, 32, 28, 30], [12, 14, 10, 12]),
        "Dictation": ([8, 8, 8, 8], [12, 12, 12, 12]),
        "Dictation + Noise": ([30, 30, 30, 30], [20, 40, 20, 40]),
        "Dictation 8 kHz": ([8, 9, 8, 9], [8, 9, 8, 9]),
    }
)


def test_a_tables_json_and_text():
    results = report.table_json(TABLE, CELLS, scale="mini", seed=0, commit="abc", device="a machine")
    assert results["table"] == 3
    first = results["cells"][0]
    assert (first["row"], first["column"], first["wer"], first["paper"]) == ("Voicesearch", "w/o Noise", 10.0, 10.5)
    assert (first["sub"], first["ins"], first["del"], first["ref_words"]) == (40, 0, 0, 400)
    assert first["ci95"] == [10.0, 10.0]
    json.dumps(results)
    lines = report.table_text(TABLE, results).splitlines()
    assert "| Voicesearch + Noise | 30.0 [28.5, 31.5] |" in lines[5]
    assert len({len(line) for line in lines[2:]}) == 1, "columns line up"


def test_one_speakers_interval_is_over_utterances():
    spoken = [Scored(f"u{i}", "s", "a b", "a c", Errors(sub=1, ref_words=2)) for i in range(5)]
    assert report.cell(spoken)["ci95_over"] == "utterances"
    two = [*spoken, Scored("v", "t", "a b", "a b", Errors(ref_words=2))]
    assert report.cell(two)["ci95_over"] == "speakers"
    assert report.most_confused(spoken, 3) == ["    5  b heard as c"]


def test_verdicts():
    found = {claim.id: claim.verdict(CELLS)["verdict"] for claim in CLAIMS}
    # Dictation is 50% worse; noisy Dictation's interval holds zero; the 8 kHz row is the same.
    assert found == {"T3.a": "fails", "T3.b": "undecided", "T3.c": "holds"}
    assert compare(CELLS, "Voicesearch + Noise", "w/o Noise", "w/ Noise").better() == "holds"
    assert compare(CELLS, "Voicesearch", "w/o Noise", "w/ Noise").about_equal() == "holds"
    assert Comparison("x", 10, 10, -3, 3).about_equal() == "undecided"
    assert all_of(["holds", "undecided", "holds"]) == "undecided"


def test_settings():
    assert override(MINI, ["learning_rate=1e-2", "cells=8,4"]).cells == (8, 4)
    with pytest.raises(ValueError, match=r"--set rate=1: not of the form NAME=VALUE with a NAME among cells, leaves"):
        override(MINI, ["rate=1"])
    with pytest.raises(ValueError, match=r"batch wants a value like 8"):
        override(MINI, ["batch=many"])


def test_the_paper_in_the_registry_is_the_papers():
    assert TABLE.rows.keys() == TABLE.paper.keys()
    assert TABLE.paper["Dictation + Noise"] == (30.6, 12.3)
    with pytest.raises(ValueError, match="noise on"):
        Model("x", ("Dictation",), noise_on=("YouTube",))


def test_names_of_values_are_those_of_their_content():
    models = list(TABLE.columns.values())
    assert digest(models[0]) == digest(Model("Voicesearch-Dictation", models[0].domains))
    assert digest(models[0]) != digest(models[1])


def test_overview_and_unknown_tables(tmp_path, capsys):
    assert main(["--workdir", str(tmp_path)]) == 0
    assert "table3  to do  Table 3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["table9"])
    assert "no table 'table9'; there are table3" in capsys.readouterr().err
