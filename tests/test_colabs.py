"""Notebooks are scripts with cell marks; each runs from top to bottom."""

import runpy
from pathlib import Path

import pytest

COLABS = sorted((Path(__file__).parents[1] / "colabs").glob("*.py"))


@pytest.mark.parametrize("path", COLABS, ids=lambda path: path.stem)
def test_a_colab_runs_through(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path))
    assert any(tmp_path.iterdir()), "it draws something"


def test_there_are_colabs():
    assert COLABS
