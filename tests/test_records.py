"""Sealed corpora: the cost of opening one does not grow with its size."""

import numpy as np
import pytest

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
