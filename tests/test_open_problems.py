"""The tables of the paper's open problem: their models, and the distance of each from the target."""

import dataclasses

import pytest

from experiments.__main__ import main
from experiments.models import MULTI, MULTI_CODEC, MULTI_NOISE, VSD_CODEC, VSD_NOISE
from experiments.open_problems import (
    ADAPTERS,
    CLEAN,
    DISTANCES,
    DISTORTED,
    MULTI_ALL,
    OPEN,
    OWN,
    TABLES,
    candidates,
    distances,
    distances_text,
)
from experiments.report_contents import TrainedModel
from experiments.report_page import page
from experiments.results import table_json
from experiments.testsets import VOICESEARCH, name, noisy, told
from mdasr.core.digests import digest
from mdasr.score.wer import Errors, Scored
from tests.pages import EMPTY, FACTS, Reader


def scored(errors: int) -> list[Scored]:
    return [Scored(f"u{i}", f"s{i}", "", "", Errors(sub=errors + i % 2, ref_words=100)) for i in range(10)]


@pytest.fixture
def run():
    errors = {MULTI: 10, MULTI_NOISE: 12, MULTI_CODEC: 11, VSD_NOISE: 20, VSD_CODEC: 15}
    return {
        (model, test_set): scored(errors.get(model, 21 if test_set in DISTORTED.values() else 10))
        for table in TABLES
        for model, test_set in table.pairs().values()
    }


def test_distances_are_from_the_best_multidomain_and_the_specialised_models(run):
    run[ADAPTERS, told(noisy(VOICESEARCH))] = scored(41)
    found = {cell["row"]: cell for cell in distances([run])["cells"]}
    assert [*found] == [*candidates()]
    everything = found[MULTI_ALL.name]
    assert (everything["Voicesearch"], everything["Voicesearch_ci95"]) == (0.0, [0.0, 0.0])
    assert everything["Voicesearch_reference_wer"] == 10.5
    assert everything["Dictation + Noise"] == pytest.approx(100 / 20.5, abs=0.05)
    assert everything["Voicesearch + MP3 23k"] == pytest.approx(600 / 15.5, abs=0.05)
    assert everything["reached"] == "6 of 7, 6 surely"
    heard = found[f"{ADAPTERS.name}, told"]
    assert heard["Voicesearch + Noise"] == pytest.approx(2100 / 20.5, abs=0.05)
    text = distances_text(distances([run]))
    assert f"| {MULTI_ALL.name} " in text and "+4.9 [+4.9, +4.9]" in text
    perfect = [Scored(f"u{i}", f"s{i}", "", "", Errors(ref_words=100)) for i in range(10)]
    run |= {(model, VOICESEARCH): perfect for model in (MULTI, MULTI_NOISE, MULTI_CODEC)}
    assert "Voicesearch" not in distances([run])["cells"][0]
    assert "| – |" in distances_text(distances([run])).replace("  ", "")


def test_the_page_shows_them(run):
    first, *more = [table_json(table, [run], seed=0, settings={"encoder": {"cells": [8, 6]}}) for table in TABLES]
    content = first | {"more": [*more, distances([run])]}
    models = [TrainedModel(model, seed, FACTS if seed else {}, {}) for model in OPEN for seed in (0, 1)]
    read = Reader(page(dataclasses.replace(EMPTY, tables=EMPTY.tables | {"open": content}, models=models)))
    for said in ("Open problems: One model", "told which domain they hear", DISTANCES, "6 of 7, 6 surely"):
        assert said in read.text
    assert "noise on Voicesearch, Dictation, Call-center; codecs; sampling exponent 0.5" in read.text
    assert "Not trained yet (seed): Multidomain + Noise + Codec (0), " in read.text
    assert "[4.9, 4.9]" in read.text


def test_the_paper_s_models_come_first_and_only_adapted_ones_are_told():
    first = TABLES[0]
    assert [*first.rows.values()][:3] == [MULTI, MULTI_NOISE, MULTI_CODEC]
    assert not any(test_set.told for test_set in first.columns.values())
    assert all(m.regime.adapters and t.told for m, t in TABLES[1].pairs().values())
    assert name(told(noisy(VOICESEARCH))) == "Voicesearch + Noise (told)"
    assert len({digest(model) for model in OPEN}) == len(OPEN) == len({model.name for model in OPEN})
    assert {*CLEAN, *DISTORTED} <= {*first.columns}


def test_it_has_a_name_of_its_own_and_is_no_part_of_all(tmp_path, capsys):
    assert main(["--workdir", str(tmp_path)]) == 0
    assert f"open  to do  beyond the paper, {len(OPEN) + len(OWN)} further models" in capsys.readouterr().out
