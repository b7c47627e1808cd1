"""Importers of corpora in common formats (§4.1): each format becomes the same listing of entries."""

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
    "lhotse": (read_lhotse, "cuts, or recordings with supervisions in the same folder (.jsonl, .jsonl.gz)"),
    "kaldi": (read_kaldi, "a data directory: wav.scp, text, utt2spk, segments"),
    "nemo": (read_nemo, "JSON lines with audio_filepath, text, duration, offset"),
    "commonvoice": (read_commonvoice, "the folder of a language, with clips/ and (for --split train) train.tsv"),
    "huggingface": (read_huggingface, "a folder from save_to_disk, or with Parquet files"),
}
SPLIT = ("commonvoice", "huggingface")


def read_source(source: Origin) -> Listing:
    """List the utterances of a source.

    Raises FileNotFoundError, ValueError for an unknown format or files in another format, and ImportError where a
    package for the format is missing.
    """
    if source.format not in FORMATS:
        raise ValueError(f"unknown format {source.format!r}; choose one of {', '.join(FORMATS)}")
    if source.split and source.format not in SPLIT:
        raise ValueError(f"--split {source.split}: only {' and '.join(SPLIT)} have splits; use --where")
    return FORMATS[source.format][0](source)
