"""Import of corpora in any of `importers.FORMATS` into sealed corpora (§4.1), and their export as a manifest."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import soundfile

from mdasr.core.digests import digest
from mdasr.core.files import write_atomically
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import to_int16 as to_int16  # of this module, too
from mdasr.corpus.entries import Choice, SetAside, read_rows
from mdasr.corpus.importers import read_source
from mdasr.corpus.listing import Origin
from mdasr.corpus.records import Corpus, seal_corpus
from mdasr.corpus.shards import ROWS_PER_SHARD, Run, in_processes, tidy, write_shards

SET_ASIDE = "set_aside.jsonl"


@dataclass(frozen=True)
class ImportReport:
    """The result of an import: the corpus, its number of utterances, and the lines that were set aside."""

    corpus: Corpus
    kept: int
    set_aside: tuple[SetAside, ...]

    @property
    def exit_status(self) -> int:
        """The exit status for the shell: 0 if every line was kept, 3 if some were set aside."""
        return 3 if self.set_aside else 0

    def __str__(self) -> str:
        hours, where = self.corpus.info["hours"], self.corpus.directory
        lines = [f"{where}: {self.kept} utterances, {hours:.2f} h; {len(self.set_aside)} lines set aside"]
        lines += [f"  line {row.line} ({row.id}): {row.reason}" for row in self.set_aside[:10]]
        if len(self.set_aside) > 10:
            lines.append(f"  ... and {len(self.set_aside) - 10} more")
        if self.set_aside:
            lines.append(f"  all lines set aside, with their reasons: {where / SET_ASIDE}")
        return "\n".join(lines)


def import_manifest(
    path: Path | str,
    directory: Path | str,
    corpus: str,
    where: Mapping[str, str] | None = None,
    domain: str | None = None,
    spell_numbers: bool = False,
    workers: int = 1,
) -> ImportReport:
    """Import the lines of a manifest, or only those with the values of `where`, into the sealed corpus `directory`.

    `domain` replaces the lines' own. Everything else is as in `import_corpus`.
    """
    choice = Choice(dict(where or {}), domain=domain, spell_numbers=spell_numbers)
    return import_corpus(Origin("manifest", Path(path)), directory, corpus, choice, workers)


def import_corpus(
    source: Origin,
    directory: Path | str,
    corpus: str,
    choice: Choice | None = None,
    workers: int = 1,
    rows_per_shard: int = ROWS_PER_SHARD,
    run: Run | None = None,
) -> ImportReport:
    """Import the utterances of a source, or only those of `choice`, into the sealed corpus `directory`.

    Unusable lines and recordings are set aside with the reason, in the report and in `set_aside.jsonl`. After a kill at
    any moment, the same call continues after the last complete shard, and gives the same bits. If the import is
    complete, it only reports. The written files do not depend on `workers`, the number of processes. Nor do they depend
    on `run`, which can let something else write the shards (`mdasr.corpus.beam_shards`). Each shard gets the same
    number of lines, usable or not.

    Raises FileNotFoundError, and FileExistsError where `directory` holds another corpus. Raises ValueError where no
    line is chosen, the chosen lines have several domains, or none of them is usable.
    """
    directory, choice = Path(directory), choice or Choice()
    listing = read_source(source)
    made_by = _made_by(source, listing.sha256, choice)
    if (directory / "corpus.json").exists():
        return _already_done(directory, corpus, choice.domain, made_by)
    rows, bad = read_rows(listing, choice)
    job = digest([made_by, corpus, choice.domain])
    run = run or partial(in_processes, workers=workers)
    unread = write_shards(rows, listing.root, directory, corpus, job, run, rows_per_shard)
    bad = sorted([*bad, *unread], key=lambda row: row.line)
    lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in bad)
    write_atomically(directory / SET_ASIDE, lines)
    if len(unread) == len(rows):
        raise ValueError(
            f"{source.path}: none of the {len(bad)} chosen lines is usable; line {bad[0].line} ({bad[0].audio}): "
            f"{bad[0].reason}. For the other lines, see {directory / SET_ASIDE}"
        )
    failed = {row.line for row in unread}
    licences = Counter(row.licence for row in rows if row.licence and row.line not in failed)
    facts = {"licences": dict(sorted(licences.items()))} if licences else {}
    sealed = seal_corpus(directory, corpus, rows[0].domain, made_by=made_by, **facts)
    tidy(directory)
    return ImportReport(sealed, len(sealed), tuple(bad))


def _made_by(source: Origin, sha256: str, choice: Choice) -> dict[str, object]:
    """The settings that a corpus' records depend on. Some are left out where they have their defaults."""
    further = {
        "format": "" if source.format == "manifest" else source.format,
        "split": source.split,
        "root": _elsewhere(source),
        "fields": dict(choice.fields),
        "drop": sorted(choice.drop),
        "channel": "" if choice.channel is None else str(choice.channel),
        "allow_empty": choice.allow_empty,
    }
    return {
        "manifest": source.path.name,
        "manifest_sha256": sha256,
        "where": dict(choice.where),
        "spell_numbers": choice.spell_numbers,
        **{name: value for name, value in further.items() if value},
    }


def _elsewhere(source: Origin) -> str:
    """The path of the audio's folder relative to the source's folder; "" if they are the same."""
    way = os.path.relpath((source.root or source.folder).resolve(), source.folder.resolve())
    return "" if way == "." else Path(way).as_posix()


def _already_done(directory: Path, corpus: str, domain: str | None, made_by: dict[str, object]) -> ImportReport:
    sealed = Corpus(directory)
    same = sealed.info["corpus"] == corpus and domain in (None, sealed.domain)
    if not same or sealed.info.get("made_by") != made_by:
        raise FileExistsError(f"{directory}: holds another corpus; give another directory, or delete this one")
    tidy(directory)
    lines = (directory / SET_ASIDE).read_text(encoding="utf-8").split("\n")
    return ImportReport(sealed, len(sealed), tuple(SetAside(**json.loads(line)) for line in lines if line))


def export_manifest(corpora: Mapping[str, Corpus], folder: Path | str) -> Path:
    """Write corpora, by split, as 16-bit WAV files at 16 kHz with a `manifest.jsonl`, which an import can read.

    The manifest is written last. Return its path. Raises ValueError where two utterances have the same id.
    """
    folder, lines = Path(folder), {}
    for split, corpus in corpora.items():
        for u in corpus:
            if u.id in lines:
                raise ValueError(
                    f"{corpus.directory}: {u.id!r} is also the id of another utterance; export the corpora separately"
                )
            (folder / f"{u.id}.wav").parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{u.id}.wav", u.wave, RATE_HZ)
            fields = {"id": u.id, "audio": f"{u.id}.wav", "text": u.text, "speaker": u.speaker, "domain": u.domain}
            lines[u.id] = json.dumps(fields | {"split": split}, ensure_ascii=False) + "\n"
    write_atomically(folder / "manifest.jsonl", "".join(lines.values()))
    return folder / "manifest.jsonl"
