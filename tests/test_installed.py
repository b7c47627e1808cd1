"""The package as people install it: the quick help, optional packages, versions, and output that nobody reads."""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import mdasr
from mdasr.cli.main import COMMANDS, main
from mdasr.core import requirements
from mdasr.perturb.room_table import write_rooms

ROOT = Path(__file__).parents[1]
PERTURB = "av", "jaxtyping", "lameenc", "numpy", "scipy", "soundfile", "soxr"
THEIRS = "cffi", "pycparser", "typing_extensions", "wadler_lindig"

ALONE = """
import sys
from importlib.metadata import MetadataPathFinder, packages_distributions
class Hiding:
    find_distributions = MetadataPathFinder.find_distributions
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in hidden:
            found = (finder.find_spec(name, path, target) for finder in finders)
            return next(filter(None, found), None)
allowed = {"mdasr", *sys.argv.pop(1).split(",")}
hidden = {name for name, owners in packages_distributions().items() if allowed.isdisjoint(owners)}
finders, sys.meta_path = sys.meta_path, [Hiding()]
"""


def python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, **options
    )


def with_packages(allowed: Sequence[str], code: str, *arguments: str) -> str:
    """The output of code where only the `allowed` distributions can be imported."""
    ended = python(ALONE + code, ",".join(allowed), *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_help_and_version_need_no_package():
    code = "from mdasr.cli.main import main\nmain(sys.argv[1:])"
    for arguments in (["--help"], []):
        printed = with_packages((), code, *arguments)
        assert all(f"    {name} " in printed or f"    {name}\n" in printed for name in COMMANDS)
    code = "from mdasr.cli.main import main\nmain(['--version'])"
    assert with_packages((), code).splitlines()[0] == f"mdasr {mdasr.__version__}"


def test_the_help_of_a_command_does_not_import_jax():
    code = """
import sys
from mdasr.cli.main import main
for command in sys.argv[1:]:
    try:
        main([command, "--help"])
    except SystemExit:
        print("\\nimported:", command, {"jax", "flax", "grain", "numba", "matplotlib"} & set(sys.modules))
"""
    imported = [line for line in python(code, *COMMANDS).stdout.splitlines() if line.startswith("imported:")]
    assert imported == [f"imported: {command} set()" for command in COMMANDS]


def test_perturbations_need_few_packages(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "in.wav", 0.1 * rng.standard_normal(22_050), 22_050)
    code = """
import mdasr.perturb, mdasr.perturb.noises
from mdasr.cli.main import main
folder = sys.argv[1]
assert main(["perturb", "--schema"]) == 0
assert main(["perturb", f"{folder}/in.wav", f"{folder}/out.wav", "--seed", "5"]) == 0
try:
    import mdasr.perturb.transforms
except ImportError as error:
    print(error)
"""
    *_, recipe, grain = with_packages(PERTURB + THEIRS, code, str(tmp_path)).splitlines()
    assert json.loads(recipe)["room"] and json.loads(recipe)["codec"]
    assert grain == "Grain is missing; install it with pip install 'grain'"
    assert soundfile.info(tmp_path / "out.wav").samplerate == 16_000


def test_without_its_dependencies_a_command_says_so():
    code = "from mdasr.cli.main import main\nsys.exit(main(['tree', 'show', 'model', 'A-B+C']))"
    ended = python(ALONE + code, "none")
    assert ended.returncode == 2
    said = r"mdasr tree: No module named '\w+'; mdasr was installed without its dependencies: .* again with pip\n"
    assert re.fullmatch(said, ended.stderr)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.9.2", "jax 0.9.2 is outside the range of mdasr; install another with pip install 'jax>=0.10,<0.13'"),
        ("0.13.0", "jax 0.13.0 is outside the range"),
        ("1.0rc1", r"jax 1.0rc1 is outside the range"),
        ("0.10.0", None),
        ("0.12.9.dev3", None),
    ],
)
def test_a_jax_outside_the_range_is_refused(version, said, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    requirements.check_jax.cache_clear()
    if said is None:
        requirements.check_jax()
    else:
        with pytest.raises(ImportError) as refused:
            requirements.check_jax()
        assert said in str(refused.value)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_versions_and_ranges_agree():
    least, below = requirements.JAX
    assert f"jax>={least[0]}.{least[1]},<{below[0]}.{below[1]}" in project()["dependencies"]
    assert project()["requires-python"] == ">=3.11,<3.13"
    assert f"\nversion: {mdasr.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_missing_package_is_named_with_an_extra_that_there_is(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"^pyarrow is missing; install it with pip install 'mdasr\[rooms\]'$"):
        write_rooms(tmp_path / "rooms.parquet", [])
    sources = [path.read_text() for path in (ROOT / "mdasr").rglob("*.py")]
    named = {extra for source in sources for extra in re.findall(r"mdasr\[(\w+)\]", source)}
    assert {"beam", "codecs", "huggingface", "rooms", "synth"} <= named <= project()["optional-dependencies"].keys()


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 13, 0)])
def test_a_python_outside_the_range_is_refused(version, monkeypatch):
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(ImportError, match=r"mdasr needs Python 3\.11 or 3\.12, and this is "):
        importlib.reload(mdasr)


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        ("mdasr.cli.main --help", "1"),
        ("mdasr.cli.main perturb --schema", ""),
        ("mdasr.cli.main perturb --schema", "1"),
        ("experiments --help", ""),
    ],
)
def test_output_that_nobody_reads_ends_quietly(command, unbuffered):
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, env=environment, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert ended.stderr == b""
    # Argparse takes no notice of its help that could not be written at once.
    assert ended.returncode == (0 if unbuffered and "--help" in command else 141)


def test_a_pipe_of_its_own_that_breaks_is_an_error(capsys, monkeypatch):
    def broken(_):
        raise BrokenPipeError("the decoder has gone")

    monkeypatch.setattr("mdasr.cli.sounds.perturb_command", broken)
    assert main(["perturb"]) == 2
    assert capsys.readouterr().err == "mdasr perturb: the decoder has gone\n"
