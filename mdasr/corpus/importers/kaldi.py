"""Importer of Kaldi data directories: wav.scp, text, utt2spk, and segments if recordings hold several utterances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import soundfile

from mdasr.core.files import read_text
from mdasr.corpus.listing import Entry, Listing, Origin, list_entries, relative

_CHANNELS = {"A": 0, "B": 1, "1": 0, "2": 1}  # of reco2file_and_channel


def read_kaldi(source: Origin) -> Listing:
    """List a data directory. The shell runs commands in wav.scp only with `source.allow_commands`.

    Without it, entries with commands are set aside. For files with several channels, reco2file_and_channel gives the
    channel. Raises FileNotFoundError where wav.scp, text or utt2spk is missing, and ValueError for a line without a key
    or a key that occurs twice.
    """
    tables = {name: _table(source.path / name) for name in ("wav.scp", "text", "utt2spk")}
    optional = {
        name: _table(source.path / name) if (source.path / name).exists() else {}
        for name in ("segments", "reco2file_and_channel")
    }
    return list_entries(source, _entries(source, tables | optional))


def _entries(source: Origin, tables: Mapping[str, Mapping[str, str]]) -> Iterator[Entry]:
    segments, parts = tables["segments"], {}
    for line, (utterance, transcript) in enumerate(tables["text"].items(), start=1):
        fields: dict[str, object] = {"id": utterance, "text": transcript}
        try:
            recording, times = _segment(segments, utterance)
            fields |= times | {"speaker": _look_up(tables, "utt2spk", utterance)}
            extended = _look_up(tables, "wav.scp", recording)
            if recording not in parts:
                channel = tables["reco2file_and_channel"].get(recording, "")
                parts[recording] = _audio(source, extended, channel)
        except ValueError as error:
            yield Entry(line, fields, str(error))
            continue
        located, kind = parts[recording]
        yield Entry(line, fields | located, kind=kind)


def _segment(segments: Mapping[str, str], utterance: str) -> tuple[str, dict[str, object]]:
    """The recording of an utterance, and its start and end there. An end of -1 means the end of the recording."""
    if not segments:
        return utterance, {}
    line = _look_up({"segments": segments}, "segments", utterance)
    try:
        recording, start, end = line.split()[:3]
        start_s, end_s = float(start), float(end)
    except ValueError:
        raise ValueError(f"segments: {utterance} {line}: write `utterance recording start end`") from None
    return recording, {"start_s": start_s, **({} if end_s == -1 else {"end_s": end_s})}


def _audio(source: Origin, extended: str, channel: str) -> tuple[dict[str, object], str]:
    """The fields `audio` and `channel` for an entry of wav.scp, and the kind of the entry."""
    if extended.startswith("|") or extended.endswith("|"):
        if not source.allow_commands:
            raise ValueError(
                f"wav.scp: {extended!r} is a command; read what it does, then use --allow-commands, or write the audio "
                "to files"
            )
        return {"audio": extended.strip("| ")}, "command"
    root = source.root or source.path
    path = root / extended
    archive, colon, offset = extended.rpartition(":")
    if colon and offset.isdigit() and not path.exists():
        raise ValueError(f"wav.scp: {extended!r} is a place in an archive ({archive}); write the audio to files")
    located: dict[str, object] = {"audio": relative(extended, root)}
    name = (channel.split() or [""])[-1]
    if name and path.is_file() and _num_channels(path) > 1:
        if name not in _CHANNELS:
            raise ValueError(f"reco2file_and_channel: channel {name!r}; write A or B")
        located["channel"] = _CHANNELS[name]
    return located, "file"


def _num_channels(path: Path) -> int:
    try:
        return soundfile.info(path).channels
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name such as x.raw
        return 1  # the error is reported when the file is read


def _look_up(tables: Mapping[str, Mapping[str, str]], name: str, key: str) -> str:
    if not tables[name].get(key):
        raise ValueError(
            f"{name}: there is no {key!r}, or nothing after it; `utils/validate_data_dir.sh` of Kaldi finds such gaps"
        )
    return tables[name][key]


def _table(path: Path) -> dict[str, str]:
    """Read the key and the rest of every line of a file."""
    table: dict[str, str] = {}
    content = read_text(path, "file; a Kaldi data directory has one").removesuffix("\n")
    for number, line in enumerate(content.split("\n"), start=1):
        key, *rest = line.split(maxsplit=1)[:2] or [""]
        if not key or key in table:
            raise ValueError(f"{path}: line {number}: {'the key occurs twice' if key else 'blank'}: {line!r}")
        table[key] = rest[0].strip() if rest else ""
    return table
