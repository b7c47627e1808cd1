"""Corpora in the formats that people have (§4.1): each becomes the same listing of entries."""

from __future__ import annotations

from collections.abc import Callable

from mdasr.corpus.importers.commonvoice import read_commonvoice
from mdasr.corpus.importers.huggingface import read_huggingface
from mdasr.corpus.importers.jsonl import read_manifest, read_nemo
from mdasr.corpus.importers.kaldi import read_kaldi
from mdasr.corpus.importers.lhotse import read_lhotse
from mdasr.corpus.listing import Listing, Origin

FORMATS: dict[str, tuple[Callable[[Origin], Listing], str]] = {
    "manifest": (read_manifest, "JSON lines with id, audio, text, speaker, domain"),
    "lhotse": (read_lhotse, "cuts, or recordings with the supervisions beside them (.jsonl, .jsonl.gz)"),
    "kaldi": (read_kaldi, "a data directory: wav.scp, text, utt2spk, segments"),
    "nemo": (read_nemo, "JSON lines with audio_filepath, text, duration, offset"),
    "commonvoice": (read_commonvoice, "a language's folder, with clips/ and --split train: train.tsv"),
    "huggingface": (read_huggingface, "a folder by save_to_disk, or of Parquet files"),
}
SPLIT = ("commonvoice", "huggingface")


def read_source(source: Origin) -> Listing:
    """List what a source tells of its utterances.

    Raises FileNotFoundError, ValueError for an unknown format or files that are not of it, and ImportError where the
    format needs a package that is not there.
    """
    if source.format not in FORMATS:
        raise ValueError(f"no format {source.format!r}; there are {', '.join(FORMATS)}")
    if source.split and source.format not in SPLIT:
        raise ValueError(f"--split {source.split}: only {' and '.join(SPLIT)} have splits; use --where")
    return FORMATS[source.format][0](source)
