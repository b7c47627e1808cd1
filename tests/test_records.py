"""Sealed corpora: the cost of opening one does not grow with its size."""

import resource

import numpy as np
import pytest

from mdasr.core.files import write_atomically
from mdasr.corpus import arrayrecords
from mdasr.corpus.records import Corpus, Utterance, encode_utterance, seal_corpus, shard_path, write_shard


def sealed(directory, lengths, shards=3):
    for shard in range(shards):
        mine = [
            encode_utterance(Utterance(f"u{i}", "c", "d", "s", "yes", np.zeros(length, np.int16)))
            for i, length in enumerate(lengths)
            if i * shards // len(lengths) == shard
        ]
        write_shard(shard_path(directory, "audio", shard, shards), mine)
    return seal_corpus(directory, "c", "d")


def test_opening_a_corpus_reads_no_audio_and_maps_the_lengths(tmp_path, monkeypatch):
    lengths = list(range(100, 130))
    sealed(tmp_path, lengths)

    def unexpected(*_):
        raise AssertionError("the shards were opened")

    with monkeypatch.context() as patched:
        patched.setattr(arrayrecords, "ArrayRecordDataSource", unexpected)
        corpus = Corpus(tmp_path)
        assert len(corpus) == 30
        assert isinstance(corpus.num_samples, np.memmap)
        assert corpus.num_samples.tolist() == lengths
        with pytest.raises(AssertionError, match="the shards were opened"):
            corpus[0]
    assert [len(Corpus(tmp_path)[i].wave) for i in (0, 17, 29)] == [100, 117, 129]


def test_what_a_full_disk_cannot_take_is_named(tmp_path):
    """The system refuses to write on, as with a full disk."""
    noise = np.random.default_rng(0).bytes(200_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"a\.array_record could not be written \(write\(\) failed: File too large"):
            write_shard(tmp_path / "a.array_record", [noise])
        with pytest.raises(OSError, match="File too large") as raised:
            write_atomically(tmp_path / "b", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.filename == str(tmp_path / "b") and not [*tmp_path.iterdir()]
