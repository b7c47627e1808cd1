"""Importer of Kaldi data directories: wav.scp, text, utt2spk, and segments if recordings hold several utterances."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import soundfile

from mdasr.core.files import read_text
from mdasr.corpus.listing import Entry, Listing, Origin, list_entries, located, relative

_CHANNELS = "reco2file_and_channel"


def read_kaldi(source: Origin) -> Listing:
    """List a data directory. The shell runs commands in wav.scp only with `source.allow_commands`.

    Without it, entries with commands are set aside. The channel of a file with several channels is in
    reco2file_and_channel (see `channel_numbers`) or in the fifth column of segments. There it is counted from 0, as by
    Kaldi's `extract-segments`. Blank lines are passed over. Raises FileNotFoundError where wav.scp, text or utt2spk is
    missing, and ValueError for a key that occurs twice.
    """
    tables = {name: _table(source.path / name) for name in ("wav.scp", "text", "utt2spk")}
    optional = {
        name: _table(source.path / name) if (source.path / name).exists() else {} for name in ("segments", _CHANNELS)
    }
    return list_entries(source, _entries(source, tables | optional))


def channel_numbers(names: Iterable[str]) -> dict[str, int]:
    """The number, from 0, of each name of a channel that reco2file_and_channel has.

    A is the first channel, B the second. Numbers count from 0 where one of them is 0, and from 1 otherwise. Other names
    have no number. Where there are letters and numbers, none has one.
    """
    names = {*names}
    letters = {name: ord(name) - ord("A") for name in names if re.fullmatch("[A-Z]", name)}
    numbers = {name: int(name) for name in names if re.fullmatch("[0-9]{1,4}", name)}
    if letters and numbers:
        return {}
    first = 0 if 0 in numbers.values() else 1
    return letters | {name: number - first for name, number in numbers.items()}


def _entries(source: Origin, tables: Mapping[str, _Table]) -> Iterator[Entry]:
    parts: dict[str, tuple[dict[str, object], str]] = {}
    names = {recording: rest.split()[-1] for recording, (_, rest) in tables[_CHANNELS].items() if rest}
    channels = channel_numbers(names.values())
    for utterance, (line, transcript) in tables["text"].items():
        fields: dict[str, object] = {"id": utterance, "text": transcript}
        try:
            recording, part = _segment(tables, utterance)
            speaker = {"speaker": _look_up(tables, "utt2spk", utterance)}
            extended = _look_up(tables, "wav.scp", recording)
            if recording not in parts:
                parts[recording] = _audio(source, extended, names.get(recording, ""), channels)
            audio, kind = parts[recording]
            if "channel" in audio.keys() & part.keys() and audio["channel"] != part["channel"]:
                raise ValueError(
                    f"segments: {utterance}: channel {part['channel']}, but {_CHANNELS} names {names[recording]} for "
                    f"{recording}; correct one of them"
                )
        except ValueError as error:
            yield Entry(line, fields, str(error))
            continue
        yield Entry(line, fields | audio | part | speaker, kind=kind)


def _segment(tables: Mapping[str, _Table], utterance: str) -> tuple[str, dict[str, object]]:
    """The recording of an utterance, its start, end and channel. An end of -1 means the end of the recording."""
    if not tables["segments"]:
        return utterance, {}
    rest = _look_up(tables, "segments", utterance)
    try:
        recording, start, end, *channel = rest.split()
        fields: dict[str, object] = {"start_s": float(start)}
        fields |= {} if float(end) == -1 else {"end_s": float(end)}
        fields |= {"channel": int(*channel)} if channel else {}
    except (ValueError, TypeError):
        raise ValueError(
            f"segments: {utterance} {rest}: write `utterance recording start end`, and a channel (from 0) where the "
            "recording has several"
        ) from None
    return recording, fields


def _audio(source: Origin, extended: str, name: str, channels: Mapping[str, int]) -> tuple[dict[str, object], str]:
    """The fields `audio` and `channel` for an entry of wav.scp, and the kind of the entry."""
    if extended.startswith("|") or extended.endswith("|"):
        if not source.allow_commands:
            raise ValueError(
                f"wav.scp: {extended!r} is a command; read what it does, then use --allow-commands, or write the audio "
                "to files"
            )
        return {"audio": extended.strip("| ")}, "command"
    root = source.root or source.path
    archive, colon, offset = extended.rpartition(":")
    if colon and offset.isdigit() and not (root / extended).exists():
        raise ValueError(f"wav.scp: {extended!r} is a place in an archive ({archive}); write the audio to files")
    path = located(extended, root, source.path)
    audio: dict[str, object] = {"audio": relative(path, root)}
    if name and (root / path).is_file() and _num_channels(root / path) > 1:
        if name not in channels:
            raise ValueError(f"{_CHANNELS}: channel {name!r}; write letters (A, B) or numbers in the whole file")
        audio["channel"] = channels[name]
    return audio, "file"


def _num_channels(path: Path) -> int:
    try:
        return soundfile.info(path).channels
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name such as x.raw
        return 1  # the error is reported when the file is read


_Table = dict[str, tuple[int, str]]  # by the key of a line: the number of the line, and the rest of it


def _look_up(tables: Mapping[str, _Table], name: str, key: str) -> str:
    _, rest = tables[name].get(key, (0, ""))
    if not rest:
        missing = f"there is no {key!r}" if key not in tables[name] else f"there is nothing after {key!r}"
        raise ValueError(f"{name}: {missing}; `utils/validate_data_dir.sh` of Kaldi finds such gaps")
    return rest


def _table(path: Path) -> _Table:
    """Read the key and the rest of every line of a file that is not blank."""
    table: _Table = {}
    for number, line in enumerate(read_text(path, "file; a Kaldi data directory has one").split("\n"), start=1):
        key, *rest = line.split(maxsplit=1) or [""]
        if key in table:
            raise ValueError(f"{path}: line {number}: the key occurs twice: {line!r}")
        if key:
            table[key] = (number, rest[0].strip() if rest else "")
    return table
