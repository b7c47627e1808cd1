"""Corpora on disk (§3.7): ArrayRecord shards of waveforms with transcripts, and alignments in sidecar shards.

A corpus directory holds `audio-00000-of-00004.array_record`, ..., `lengths.npy` and `corpus.json`. `corpus.json` is
written last, so a directory with it is complete. There may be any number of alignments `align-NAME-*.array_record`. A
record is a JSON header and, for audio, 16-bit samples. Nothing is pickled.
"""

from __future__ import annotations

import glob
import hashlib
import json
import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Int, Int16

from mdasr.core.files import read_array, read_json, write_array, write_atomically
from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.arrayrecords import Shards
from mdasr.corpus.arrayrecords import shard_path as shard_path  # of this module, too
from mdasr.corpus.arrayrecords import write_shard as write_shard

FORMAT = 1


@dataclass(frozen=True)
class Utterance:
    """A recording with its transcript. `wave` is int16 [samples], always at 16 kHz; the file had `source_rate_hz`."""

    id: str
    corpus: str
    domain: str
    speaker: str
    text: str
    wave: Int16[np.ndarray, " samples"]
    source_rate_hz: int = RATE_HZ

    @property
    def seconds(self) -> float:
        return len(self.wave) / RATE_HZ

    @property
    def samples(self) -> Float[np.ndarray, " samples"]:
        """The waveform as float32 in [-1, 1)."""
        return self.wave.astype(np.float32) / 32768

    @property
    def key(self) -> str:
        """The key of the random draws of recipes and subsets. It is unique in all corpora of a training set."""
        return f"{self.corpus}/{self.id}"


@dataclass(frozen=True)
class Alignment:
    """The phones of one utterance, in order and without gaps.

    `ends_s` [phones] are the ends in seconds. Each phone starts where the one before it ends, and the first at 0.
    `words` are (word, index of its first phone, index after its last phone). If the alignment failed, `phones` is empty
    and `reason` says why.
    """

    id: str
    phones: tuple[str, ...]
    ends_s: tuple[float, ...]
    words: tuple[tuple[str, int, int], ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.phones) != len(self.ends_s):
            raise ValueError(f"alignment of {self.id}: {len(self.phones)} phones but {len(self.ends_s)} end times")


def encode_utterance(utterance: Utterance) -> bytes:
    header = {k: v for k, v in asdict(utterance).items() if k != "wave"}
    text = json.dumps(header, ensure_ascii=False, sort_keys=True).encode()
    return len(text).to_bytes(4, "little") + text + utterance.wave.astype("<i2").tobytes()


def decode_utterance(record: bytes) -> Utterance:
    """Decode a record of `encode_utterance`. Raises ValueError for other bytes."""
    size = int.from_bytes(record[:4], "little")
    try:
        header = json.loads(record[4 : 4 + size])
        return Utterance(**header, wave=np.frombuffer(record, "<i2", offset=4 + size))
    except (ValueError, TypeError) as error:
        raise ValueError(f"a record is not an utterance ({error})") from None


def encode_alignment(alignment: Alignment) -> bytes:
    return json.dumps(asdict(alignment), ensure_ascii=False).encode()


def decode_alignment(record: bytes) -> Alignment:
    """Decode a record of `encode_alignment`. Raises ValueError for other bytes."""
    try:
        fields = json.loads(record)
        fields["words"] = tuple((w, first, last) for w, first, last in fields["words"])
        return Alignment(**fields | {"phones": tuple(fields["phones"]), "ends_s": tuple(fields["ends_s"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"a record is not an alignment ({error})") from None


def seal_corpus(directory: Path, corpus: str, domain: str, **facts: object) -> Corpus:
    """Read the shards that `write_shard` wrote to `directory`, index them and write `corpus.json`.

    `facts` are stored in it (such as the program that made the corpus, and its seed). Raises ValueError for duplicate
    ids and where there are no records.
    """
    shards = sorted(path.name for path in directory.glob("audio-*.array_record"))
    source = Shards([directory / name for name in shards]) if shards else ()
    lengths, speakers, ids, words, digest = [], set(), set(), 0, hashlib.sha256()
    for i in track(range(len(source)), desc="indexing", unit="utt", delay=2):
        record = source[i]
        utterance = decode_utterance(record)
        if utterance.id in ids:
            raise ValueError(f"{directory}: id {utterance.id!r} occurs twice; ids must be unique in a corpus")
        ids.add(utterance.id)
        speakers.add(utterance.speaker)
        words += len(utterance.text.split())
        lengths.append(len(utterance.wave))
        digest.update(record)
    if not ids:
        raise ValueError(f"{directory}: no utterances were written, so there is no corpus to seal")
    write_array(directory / "lengths.npy", np.asarray(lengths, np.int32))
    info = {
        "format": FORMAT,
        "corpus": corpus,
        "domain": domain,
        "utterances": len(ids),
        "hours": round(sum(lengths) / RATE_HZ / 3600, 4),
        "words": words,
        "speakers": len(speakers),
        "sha256": digest.hexdigest(),
        "shards": shards,
        **facts,
    }
    write_atomically(directory / "corpus.json", json.dumps(info, indent=1) + "\n")
    return Corpus(directory)


_FACTS: dict[str, type | UnionType] = {
    "corpus": str, "domain": str, "utterances": int, "hours": int | float, "sha256": str, "shards": list
}  # fmt: skip


def _checked_info(path: Path) -> dict[str, Any]:
    """Read and check corpus.json. Raises ValueError, which names the wrong field."""
    info = read_json(path, "description of a corpus (import again)")
    if info.get("format") != FORMAT:
        raise ValueError(f"{path}: format {info.get('format')!r}, but this version reads {FORMAT}; import again")
    for name, kind in _FACTS.items():
        if not isinstance(info.get(name), kind) or isinstance(info[name], bool):
            raise ValueError(f"{path}: field {name} is {info.get(name)!r}; copy the corpus again, or import again")
    if not 0 <= info["hours"] <= 1e9:
        raise ValueError(f"{path}: field hours is {info['hours']}; copy the corpus again, or import again")
    if info["utterances"] < 1 or not info["shards"]:
        raise ValueError(f"{path}: fields utterances and shards: the corpus is empty; import again")
    if not all(isinstance(name, str) and name == Path(name).name and name.strip(".") for name in info["shards"]):
        raise ValueError(f"{path}: field shards: {info['shards']} must be names of files beside it; import again")
    return info


class Corpus:
    """Random access to a sealed corpus directory; cheap to pickle and to open."""

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)
        path = self.directory / "corpus.json"
        if not path.exists():
            raise FileNotFoundError(
                f"{self.directory} is not a corpus: it has no corpus.json. Make one with `mdasr import`. After an "
                "interrupted import, run the same command again to complete it."
            )
        self.info = _checked_info(path)
        missing = [name for name in self.info["shards"] if not (self.directory / name).exists()]
        if missing:
            raise FileNotFoundError(
                f"{self.directory}: shard {missing[0]} named in corpus.json is missing; import again"
            )

    @cached_property
    def _records(self) -> Shards:
        return Shards([self.directory / name for name in self.info["shards"]], len(self))

    @property
    def domain(self) -> str:
        return self.info["domain"]

    @cached_property
    def num_samples(self) -> Int[np.ndarray, " utterances"]:
        """The length of every utterance in samples at 16 kHz, without reading the audio."""
        path = self.directory / "lengths.npy"
        lengths = read_array(path, "lengths of a corpus' utterances (import again)", mapped=True)
        if lengths.shape != (len(self),) or lengths.dtype != np.int32 or not (lengths >= 0).all():
            raise ValueError(f"{path}: not the lengths of {len(self)} utterances; copy the corpus or import again")
        return lengths

    def require_unchanged(self) -> None:
        """Raise ValueError where the directory no longer holds this corpus, as after another import."""
        try:
            now = Corpus(self.directory).info
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.directory}: the corpus changed while it was in use: {error}") from None
        if now != self.info:
            raise ValueError(
                f"{self.directory}: the corpus changed while it was in use (its corpus.json differs). Saved work is "
                "kept: restore the corpus and start the same command again, or start in another directory"
            )

    def __len__(self) -> int:
        return self.info["utterances"]

    def __getitem__(self, index: SupportsIndex) -> Utterance:
        return self._records.decoded(operator.index(index), decode_utterance)

    def __iter__(self) -> Iterator[Utterance]:
        return (self[i] for i in range(len(self)))

    def __getstate__(self) -> dict:
        return {"directory": self.directory, "info": self.info}

    def alignment_names(self) -> list[str]:
        """The names of all alignments of this corpus, sorted."""
        return sorted(path.stem.removeprefix("align-") for path in self.directory.glob("align-*.npy"))

    def alignments(self, name: str) -> Alignments:
        return Alignments(self, name)


def write_alignments(corpus: Corpus, name: str, alignments: Iterable[Alignment]) -> Alignments:
    """Write the sidecar `name` with one alignment for each utterance, in the corpus' order.

    A failed alignment has no phones. Raises ValueError for a name with anything but letters, digits, `.`, `_` and `-`.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"alignment name {name!r}: use only letters, digits, dots, _ and -")
    kept = []

    def records() -> Iterator[bytes]:
        for alignment in alignments:
            kept.append(bool(alignment.phones))
            yield encode_alignment(alignment)

    count = write_shard(shard_path(corpus.directory, f"align-{name}", 0, 1), records())
    if count != len(corpus):
        raise ValueError(f"{corpus.directory}: {count} alignments for {len(corpus)} utterances")
    write_array(corpus.directory / f"align-{name}.npy", np.asarray(kept, bool))
    return Alignments(corpus, name)


class Alignments:
    """Random access to a sidecar of alignments, by the index of the utterance."""

    def __init__(self, corpus: Corpus, name: str):
        self._paths = sorted(corpus.directory.glob(f"align-{glob.escape(name)}-?????-of-?????.array_record"))
        self._mask = corpus.directory / f"align-{name}.npy"
        if not self._paths or not self._mask.exists():
            raise FileNotFoundError(
                f"{corpus.directory}: no alignment named {name!r}; `mdasr train` makes the alignments that it needs"
            )

    @cached_property
    def _records(self) -> Shards:
        return Shards(self._paths, len(self))

    @cached_property
    def usable(self) -> Bool[np.ndarray, " utterances"]:
        """Whether each utterance was aligned."""
        usable = read_array(self._mask, "file that says which utterances are aligned (align again)")
        if usable.ndim != 1 or usable.dtype != bool:
            raise ValueError(f"{self._mask}: not one truth value an utterance; delete it and align again")
        return usable

    @cached_property
    def digest(self) -> str:
        """The digest of the files, 12 hex digits: equal alignments have equal digests."""
        hasher = hashlib.sha256()
        for path in (*self._paths, self._mask):
            hasher.update(path.read_bytes())
        return hasher.hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.usable)

    def __getitem__(self, index: SupportsIndex) -> Alignment:
        return self._records.decoded(operator.index(index), decode_alignment)

    def __iter__(self) -> Iterator[Alignment]:
        return (self[i] for i in range(len(self)))

    def __getstate__(self) -> dict:
        return {"_paths": self._paths, "_mask": self._mask}
