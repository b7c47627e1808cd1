"""The notebooks run from top to bottom, and hold the cells of the scripts beside them with their outputs."""

import base64
import importlib.util
import subprocess
import sys
from io import BytesIO

import nbformat
import numpy as np
import pytest
from matplotlib.image import imread

from docs import make_notebooks
from docs.make_notebooks import COLABS, read_script

NAMES = ("adapt", "perturbations", "tables")
PUTS_OUT = {  # what each must show, by kind, and how often at least
    "adapt": {"image/png": 2, "text/html": 2},
    "perturbations": {"image/png": 3, "text/html": 5},
    "tables": {"image/svg+xml": 2, "text/html": 1},
}
MOST_BYTES = 1_500_000


def check_outputs(name: str, notebook: nbformat.NotebookNode) -> None:
    """Check that every code cell has run without an error, and that pictures and players are there."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    for kind, least in PUTS_OUT[name].items():
        assert kinds.count(kind) >= least, kind
    for picture in (output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})):
        pixels = imread(BytesIO(base64.b64decode(picture)))
        assert min(pixels.shape[:2]) > 200 and len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20


def test_there_is_a_notebook_to_every_script_and_none_besides():
    for extension in ("py", "ipynb"):
        assert sorted(path.stem for path in COLABS.glob(f"*.{extension}")) == [*NAMES]


def test_the_first_cell_of_code_is_the_same_in_all_notebooks_and_asks_for_an_address(monkeypatch):
    scripts = [read_script(COLABS / f"{name}.py") for name in NAMES]
    (first,) = {next(cell.source for cell in script.cells if cell.cell_type == "code") for script in scripts}
    exec(first, {})  # mdasr is installed here: nothing happens
    monkeypatch.delenv("MDASR_REPOSITORY", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="mdasr is not installed: set REPOSITORY in this cell"):
        exec(first, {})


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_cells_of_its_script_with_outputs(name):
    path = COLABS / f"{name}.ipynb"
    notebook, script = nbformat.read(path, as_version=4), read_script(path.with_suffix(".py"))
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ], "`make notebooks` makes it anew"
    check_outputs(name, notebook)
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
    # In a process of its own: nbclient leaves sockets to the garbage collector, and that warning is an error here.
    subprocess.run([sys.executable, make_notebooks.__file__, name, "--out", str(tmp_path)], check=True)
    check_outputs(name, nbformat.read(tmp_path / f"{name}.ipynb", as_version=4))
