"""Execute the scripts of colabs/ into the notebooks beside them: `make notebooks`, or with names, some of them."""

import argparse
import os
import re
import tempfile
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
COLABS = ROOT / "colabs"


def read_script(path: Path) -> NotebookNode:
    """A percent script as a notebook without outputs; cells are called by their place, so that names stay."""
    notebook = jupytext.read(path)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run every cell in `folder`, with this Python and the packages of this checkout; outputs go into the notebook.

    Raises nbclient's CellExecutionError with the cell that failed.
    """
    # Without folders of kernels only the native one is left, whatever is installed for the user.
    specs = KernelSpecManager(kernel_dirs=[])
    manager = AsyncKernelManager(kernel_spec_manager=specs, transport="ipc", ip=str(folder / "kernel"))
    client = NotebookClient(notebook, km=manager, timeout=1800, coalesce_streams=True, record_timing=False)
    before = os.environ.get("PYTHONPATH", "")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *([before] if before else [])]),
        "IPYTHONDIR": str(folder / ".ipython"),
        "PYTHONWARNINGS": "ignore:IProgress not found",  # of tqdm, which names a path of this machine
    }
    client.execute(cwd=str(folder), env=environment, cleanup_kc=True)
    notebook.metadata["language_info"] = {"name": "python"}  # and no version, which differs from machine to machine
    return without_bars(notebook)


def without_bars(notebook: NotebookNode) -> NotebookNode:
    """Take progress out of a notebook's outputs, bars and lines: whoever reads it has no use for it."""
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                lines = re.split(r"[\r\n]+", output["text"].replace("\x1b[A", ""))
                told = (line for line in lines if line.strip() and not re.search(r"\d%[|,]", line))
                output["text"] = "".join(f"{line}\n" for line in told)
            if output.get("text") != "":
                kept.append(output)
        if "outputs" in cell:
            cell["outputs"] = kept
    return notebook


def main() -> None:
    top = argparse.ArgumentParser(description=__doc__)
    top.add_argument("names", nargs="*", metavar="NAME", help="of a script, such as tables; without any, all are run")
    top.add_argument("--out", type=Path, default=COLABS, metavar="DIR")
    chosen = top.parse_args()
    for script in [COLABS / f"{name}.py" for name in chosen.names] or sorted(COLABS.glob("*.py")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(read_script(script), Path(folder))
        path = chosen.out / f"{script.stem}.ipynb"
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
