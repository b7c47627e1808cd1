"""Two CPU devices for every run, a check of the shapes that annotations promise, and what several test files read."""

import os
import tempfile

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
