"""Two CPU devices for every run, a check of the shapes that annotations promise, and what several test files read."""

import os
import tempfile
from functools import partial
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # The workers, and the programs that tests start, compile nothing that another of them has compiled in this run.
    compiled = tempfile.TemporaryDirectory(prefix="mdasr-compiled-", ignore_cleanup_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": compiled.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

import pytest
from jaxtyping import install_import_hook

install_import_hook("mdasr", "beartype.beartype")

# The fixtures import what they need: after the hook, and not in xdist's first process, which runs no test.


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """24 aligned utterances of "ah s" by three speakers. Tests share it: they may add alignments, and nothing else."""
    from tests.toy_speech import toy_corpus

    return toy_corpus(tmp_path_factory.mktemp("toy"), [0.8, 1.1, 1.4, 0.9, 1.2, 1.0] * 4)


@pytest.fixture(scope="session")
def language(tmp_path_factory):
    """Lexicon, tree, bigram and graph of the words "ah" and "s"."""
    from tests.toy_speech import toy_language

    return toy_language(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="session")
def untrained(language):
    """A recogniser of those words that has learnt nothing. Its answers are wrong, and always the same."""
    from tests.toy_speech import untrained_recognizer

    return untrained_recognizer(language)


@pytest.fixture(scope="session")
def graph():
    """The decoding graph of the four words of `toy_words`, with homophones, variants and silence between words."""
    from mdasr.decode.graph import build_graph
    from tests.toy_words import ARPA, LEXICON, TREE

    return build_graph(LEXICON, ARPA, TREE, silence_probability=0.4)


@pytest.fixture
def few_noises(monkeypatch):
    """One noise of each kind in a split: to make the usual eight takes seconds."""
    monkeypatch.setattr("mdasr.perturb.noises.PER_KIND", dict.fromkeys(("train", "dev", "test"), 1))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a test saves, by the name of their file; or by their format, where they are saved to memory.

    A file is read back: it has the figure's size, and more on it than one colour.
    """
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    saved, save = {}, Figure.savefig

    def save_and_look(figure, file, **options):
        save(figure, file, **options)
        if isinstance(file, Path):
            pixels = imread(file)
            assert pixels.shape[:2] == tuple(round(x * options["dpi"]) for x in figure.get_size_inches()[::-1])
            assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20
        saved[file.name if isinstance(file, Path) else options["format"]] = figure

    monkeypatch.setattr(Figure, "savefig", save_and_look)
    return saved


@pytest.fixture
def small_lattices(monkeypatch):
    """Make lattices with a narrow beam: a network that has learnt nothing takes everything for possible."""
    from mdasr.decode.lattice import search_lattice

    monkeypatch.setattr("mdasr.recognize.words.search_lattice", partial(search_lattice, lattice_beam=2.5))
