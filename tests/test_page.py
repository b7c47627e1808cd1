"""The page of results: well formed, complete, honest about what is missing, and no wider than a phone."""

import dataclasses
import html
import json
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
from tensorboardX import SummaryWriter

from experiments.__main__ import TABLES, main
from experiments.laboratory import Laboratory
from experiments.models import IN_DOMAIN_ONLY, MULTI, VSD, adapted_model
from experiments.outcome import facts
from experiments.report_contents import TrainedModel, read_contents
from experiments.report_page import page
from mdasr.acoustic.training_log import Curve, read_curves
from mdasr.training.scales import MINI
from tests.pages import EMPTY, FACTS, Reader

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def cell(row, column, wer=12.34, paper=10.5, **more):
    return {
        "row": row, "column": column, "wer": wer, "ci95": [wer - 1.25, wer + 2.5], "ci95_over": "speakers",
        "ref_words": 4530, "sub": 401, "ins": 83, "del": 149, "paper": paper, **more,
    }  # fmt: skip


def table(number, cells, **more):
    facts = {"title": f"Title {number}", "scale": "mini", "seed": 0, "commit": "c0ffee", "device": "abacus"}
    return {"table": number, **facts, "cells": cells, **more}


MEASURED = {
    "row": "Call-center", "silhouette": 0.0273, "silhouette_ci95": [0.0198, 0.0322], "similarity": 5.74,
    "similarity_ci95": [4.71, 5.83], "utterances": 50, "paper": {"silhouette": 0.0248, "similarity": 5.22},
}  # fmt: skip


def curve(steps):
    return Curve(np.arange(20, steps + 1, 20), np.linspace(0.2, 0.8, steps // 20))


def trained(model, seconds, seed=0):
    curves = {"train/loss": curve(100), "train/frame_accuracy": curve(100)}
    return TrainedModel(model, seed, {**FACTS, "seconds_of_audio": [seconds]}, curves)


MODELS = [trained(MULTI, 9000.0), trained(adapted_model(MULTI, "10 hrs"), 39.5), trained(IN_DOMAIN_ONLY, 2764.1)]
MORE = [table(7, [cell("YouTube", "pooled", 7.65, None)])]
FULL = dataclasses.replace(
    EMPTY,
    tables={
        "table2": table(2, [MEASURED], heard_at_8_khz={"cells": [MEASURED | {"silhouette": 0.0191}]}),
        "table3": table(3, [cell("Voicesearch", "w/o Noise"), cell("Voicesearch", "w/ Noise", wer=9.87)]),
        "table7": table(7, [cell(each.model.name, "WER") for each in MODELS], more=MORE),
    },
    claims=[{"id": "T3.a", "claim": "Noise <helps>", "verdict": "holds", "evidence": "a: 1.0 → 2.0; b & c"}],
    models=MODELS,
    pictures={"table2": b"\x89PNG\r\n\x1a\n"},
)  # fmt: skip


def numbers(value):
    """Return every number and text in a JSON value, as JSON writes it."""
    if isinstance(value, dict | list):
        return {each for part in (value.values() if isinstance(value, dict) else value) for each in numbers(part)}
    return set() if value is None else {value if isinstance(value, str) else json.dumps(value)}


@pytest.fixture(scope="module")
def full():
    return page(FULL)


def test_everything_is_there_and_nothing_is_fetched(full):
    read = Reader(full)
    assert not {each for each in numbers(FULL.tables) if each not in read.text}
    for said in (
        "T3.a",
        "holds",
        "Noise <helps>",
        "b & c",
        "5eed" * 16,
        "c0ffee",
        "abacus",
        "39.5",
        "2,764.1",
        "14.25",
    ):
        assert said in read.text
    assert full == page(FULL), "the same contents make the same bytes"
    for tag, attributes in read.tags:
        assert tag not in ("script", "link", "iframe")
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
        assert tag != "img" or attributes["alt"]
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert links == [f"#{each}" for each in ids]
    # Tables 3 and 7, what belongs to 7, and the curves of training; Table 2's own picture
    kinds = re.findall(r'src="data:image/(.*?);', full)
    assert sorted(kinds) == ["png", "svg+xml", "svg+xml", "svg+xml", "svg+xml"]


def test_a_page_before_anything_is_done_says_what_is_missing():
    read = Reader(page(EMPTY))
    assert "Not made yet: Table 2, Table 3, Table 4, Table 5, Table 6, Table 7." in read.text
    assert "python -m experiments table5 --scale mini" in read.text
    assert "0 of 1 models" in read.text
    assert "Not trained yet (seed): " in read.text
    assert "No curves for Voicesearch-Dictation" in read.text


def test_text_is_escaped_wherever_it_comes_from():
    evil = '<script>alert("x")</script>'
    model = dataclasses.replace(VSD, name=evil)
    contents = dataclasses.replace(
        EMPTY,
        tables={"table3": table(3, [cell(evil, evil), cell("$x_", "_y$")], title=evil, commit=evil)},
        claims=[{"id": evil, "claim": evil, "verdict": "holds", "evidence": evil}],
        models=[dataclasses.replace(trained(VSD, 1.0), model=model)],
        pictures={f"table3{evil}": b""},
    )
    read = Reader(page(contents))
    assert "script" not in {tag for tag, _ in read.tags}
    assert read.text.count(evil) >= 9


def test_several_seeds():
    cells = [cell("Voicesearch", "w/o Noise", wer_by_seed=[12.01, 12.67])]
    models = [trained(VSD, 100.0, seed) for seed in (3, 4)]
    contents = dataclasses.replace(EMPTY, tables={"table3": table(3, cells, seed=[3, 4])}, models=models)
    read = Reader(page(contents))
    assert "[12.01, 12.67]" in read.text
    assert "\n3, 4\n" in read.text
    assert "2 of 2 models" in read.text


def test_hypotheses_stand_under_their_claims_and_are_not_counted():
    claims = [
        {"id": "T5.b", "claim": "it recovers", "verdict": "fails", "evidence": "a"},
        {"id": "T5.b/1", "claim": "the band is why", "verdict": "holds", "evidence": "b"},
    ]
    read = Reader(page(dataclasses.replace(EMPTY, claims=claims)))
    assert "Verdicts on the 1 claims: holds 0, fails 1, undecided 0, not judged yet 0." in read.text
    assert "the band is why" in read.text
    assert "hypotheses about why a claim does not hold" in read.text
    assert "hypotheses" not in Reader(page(dataclasses.replace(EMPTY, claims=claims[:1]))).text


def test_adaptation_leaves_out_the_models_that_are_not_there():
    contents = dataclasses.replace(FULL, models=[*MODELS[1:], TrainedModel(MULTI, 0, {}, {})])
    assert "Not in the picture, because the models are missing: Multidomain." in Reader(page(contents)).text


def test_cells_without_an_interval_are_drawn_and_written():
    alone = [cell(each.model.name, "WER", ci95=None, ci95_over=None) for each in MODELS]
    read = Reader(page(dataclasses.replace(FULL, tables={**FULL.tables, "table7": table(7, alone)})))
    assert "12.3" in read.text


def test_the_command_writes_what_there_is(tmp_path, capsys):
    laboratory = Laboratory(tmp_path, MINI)
    assert main(["report", "--workdir", str(tmp_path)]) == 0
    written = laboratory.root / "report.html"
    assert capsys.readouterr().out == f"{written}\n"
    verdicts = "Verdicts on the 23 claims: holds 0, fails 0, undecided 0, not judged yet 23."
    assert verdicts in Reader(written.read_text()).text
    laboratory.results_folder.mkdir()
    path = laboratory.results_folder / "table3.json"
    path.write_text(json.dumps(table(3, [cell("Voicesearch", "w/o Noise")], **facts([laboratory]) | {"seed": [5, 6]})))
    assert main(["report", "--workdir", str(tmp_path)]) == 0
    assert "Title 3" in Reader(written.read_text()).text
    directory = dataclasses.replace(laboratory, seed=6).directory(VSD)
    directory.mkdir(parents=True)
    (directory / "model.json").write_text(json.dumps(FACTS))
    found = read_contents(laboratory, TABLES)
    assert {each.seed for each in found.models} == {5, 6}
    assert [(each.model, each.seed) for each in found.models if each.facts] == [(VSD, 6)]
    path.write_text("{")
    assert main(["report", "--workdir", str(tmp_path)]) == 2
    assert "table3.json: not JSON" in capsys.readouterr().err


def test_curves_are_what_the_writer_wrote(tmp_path):
    for start, stop in ((20, 100), (60, 140)):  # killed after 100 steps, gone on from 60
        with SummaryWriter(str(tmp_path), filename_suffix=f".{start}") as writer:
            for step in range(start, stop, 20):
                writer.add_scalar("train/loss", start + step / 1000, step)
    _, second = sorted(tmp_path.iterdir())
    found = read_curves(tmp_path)["train/loss"]
    assert found.steps.tolist() == [20, 40, 60, 80, 100, 120]
    np.testing.assert_allclose(found.values, [20.02, 20.04, 60.06, 60.08, 60.1, 60.12], rtol=1e-6)
    whole = second.read_bytes()
    second.write_bytes(whole[:-5])  # killed while it wrote
    assert read_curves(tmp_path)["train/loss"].steps.tolist() == [20, 40, 60, 80, 100]
    for at in (0, 30, len(whole) - 10):
        second.write_bytes(whole[:at] + struct.pack("B", whole[at] ^ 1) + whole[at + 1 :])
        with pytest.raises(ValueError, match="damaged after byte"):
            read_curves(tmp_path)
    assert read_curves(tmp_path / "none") == {}


def width(text, folder):
    """Return the width of a page in a window of 360 pixels, in headless Chromium."""
    probe = folder / "probe.html"
    probe.write_text(
        f'<iframe srcdoc="{html.escape(text)}" style="width:360px;border:0" onload="document.title='
        'this.contentDocument.documentElement.scrollWidth"></iframe>'
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    shown = subprocess.run([BROWSER, *options, probe.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return int(re.search(r"<title>(\d+)</title>", shown.stdout)[1])


@pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome on the path")
def test_no_page_is_wider_than_a_phone(tmp_path, full):
    assert width(page(EMPTY), tmp_path) <= 360
    assert width(full, tmp_path) <= 360
    assert width("<p style='width:500px'>x", tmp_path) > 360
