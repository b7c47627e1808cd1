"""The commands that make and check corpora: import, prepare, validate, align."""

from __future__ import annotations

import argparse
import json
import shlex
from argparse import ArgumentParser, Namespace
from dataclasses import fields
from pathlib import Path

from mdasr.core.files import write_atomically
from mdasr.core.progress import track
from mdasr.corpus.audio_files import MEAN
from mdasr.corpus.beam_shards import in_pipeline
from mdasr.corpus.entries import Choice
from mdasr.corpus.importers import FORMATS
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import import_corpus
from mdasr.corpus.records import Corpus
from mdasr.corpus.shards import ROWS_PER_SHARD
from mdasr.corpus.validate import Limits, Validation, validate_corpora, validate_source, validation_json
from mdasr.language.lexicon import LEXICON_HELP


def import_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr import`; return 3 where lines were set aside."""
    source, choice = source_of(chosen, chosen.path), choice_of(chosen)
    run = None if chosen.beam is None else in_pipeline(shlex.split(chosen.beam))
    report = import_corpus(source, chosen.out, chosen.corpus, choice, chosen.workers, chosen.rows_per_shard, run)
    print(report)
    return report.exit_status


def prepare_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr prepare`; return 3 where lines were set aside or utterances look wrong."""
    imported = import_command(chosen)
    found = validate_corpora([chosen.out], limits_of(chosen), chosen.workers)
    if chosen.align:
        from mdasr.align.flat_start import align
        from mdasr.training.word_models import covering_lexicon

        corpora = [Corpus(chosen.out)]
        print(align(corpora, covering_lexicon(corpora, chosen.lexicon)))
    return max(imported, _report(found, chosen.out / "validation.json"))


def validate_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr validate` on corpora, or on one source before its import; return 3 where utterances look wrong."""
    limits = limits_of(chosen)
    if chosen.format is None:
        return _report(validate_corpora(chosen.paths, limits, chosen.workers), chosen.json)
    if len(chosen.paths) != 1:
        raise ValueError("--format takes one PATH; imported corpora can be validated together")
    source, choice = source_of(chosen, chosen.paths[0]), choice_of(chosen)
    return _report(validate_source(source, choice, limits, chosen.workers), chosen.json)


def _report(found: Validation, path: Path | None) -> int:
    """Print a validation, write it where a path is given, and return the exit status."""
    print(found)
    if path:
        write_atomically(path, json.dumps(validation_json(found), ensure_ascii=False, indent=1) + "\n")
    return found.exit_status


def align_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr align`."""
    from mdasr.align.flat_start import align
    from mdasr.corpus.alignment_files import ctm_lines, import_alignments, write_textgrid
    from mdasr.training.word_models import covering_lexicon

    corpora, name = [Corpus(directory) for directory in chosen.corpora], chosen.name
    if chosen.read:
        if len(corpora) != 1 or not name:
            raise ValueError("--read takes one corpus and needs --name, the name of the new alignment")
        usable = import_alignments(corpora[0], chosen.read, name).usable
        print(f"alignment {name}: {usable.sum()} utterances aligned, {(~usable).sum()} not")
    elif not name:
        report = align(corpora, covering_lexicon(corpora, chosen.lexicon))
        name = report.name
        print(report)
    for corpus in corpora if chosen.export else ():
        pairs = [(u, a) for u, a in zip(corpus, corpus.alignments(name)) if a.phones]
        if chosen.format == "ctm":
            path = chosen.export / f"{corpus.info['corpus']}.ctm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for _, a in pairs for line in ctm_lines(a)), encoding="utf-8")
        else:
            for utterance, alignment in track(pairs, desc="writing", unit="utt"):
                write_textgrid(chosen.export / f"{utterance.id}.TextGrid", alignment, utterance.seconds)
    return 0


_FORMATS = "; ".join(f"{name}: {what}" for name, (_, what) in FORMATS.items())


def import_options(sub: ArgumentParser) -> None:
    sub.add_argument("format", choices=[*FORMATS], help=_FORMATS)
    sub.add_argument("path", type=Path, metavar="PATH")
    choice_options(sub)
    sub.add_argument("--corpus", required=True, help="the name of the corpus, part of the key of every utterance")
    sub.add_argument("--workers", type=int, default=2, help="number of processes")
    sub.add_argument(
        "--beam", metavar="OPTIONS", help="write the shards by Apache Beam, with these options of a pipeline"
    )
    sub.add_argument(
        "--rows-per-shard",
        type=int,
        default=ROWS_PER_SHARD,
        help="recordings in a shard; an interrupted import loses one shard at most",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")


def prepare_options(sub: ArgumentParser) -> None:
    import_options(sub)
    limit_options(sub)
    sub.add_argument(
        "--align", action="store_true", help="align this corpus alone; `mdasr train` aligns all its corpora together"
    )
    sub.add_argument("--lexicon", type=Path, help=LEXICON_HELP)


def choice_options(sub: ArgumentParser) -> None:
    """Add the options that choose the recordings of a source and say how to read them."""
    sub.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE", help="take only lines with this value"
    )
    sub.add_argument("--split", default="", help="split of a Common Voice or Hugging Face data set, such as train")
    sub.add_argument("--domain", help="domain of all recordings (default: that in the manifest)")
    sub.add_argument(
        "--field", action="append", default=[], metavar="NAME=FIELD", help="read text, speaker, ... from this field"
    )
    sub.add_argument("--root", type=Path, metavar="DIR", help="folder of the audio (default: the folder of PATH)")
    sub.add_argument("--allow-commands", action="store_true", help="run the shell commands of wav.scp and Lhotse")
    sub.add_argument(
        "--spell-numbers", action="store_true", help="write digits as words; without it, such lines are set aside"
    )
    sub.add_argument(
        "--allow-empty", action="store_true", help="take recordings with an empty transcript: noise without speech"
    )
    channels = sub.add_mutually_exclusive_group()
    channels.add_argument(
        "--channel", type=int, metavar="N", help="read this channel (from 0) where the source names none"
    )
    channels.add_argument(
        "--downmix",
        action="store_const",
        const=MEAN,
        dest="channel",
        help="read the mean of all channels where the source names none",
    )
    sub.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="TOKEN",
        help="leave this token out of transcripts, such as <COMMA>, [noise] or (laughter)",
    )


def source_of(chosen: Namespace, path: Path) -> Origin:
    return Origin(chosen.format, path, chosen.root, chosen.split, chosen.allow_commands)


def choice_of(chosen: Namespace) -> Choice:
    """Return the choice that the options of `choice_options` make; ValueError for an option that is not a pair."""
    for pair in (*chosen.where, *chosen.field):
        if "=" not in pair:
            raise ValueError(f"{pair!r}: write --where FIELD=VALUE, --field NAME=FIELD")
    where, names = (dict(pair.split("=", 1) for pair in pairs) for pairs in (chosen.where, chosen.field))
    for named, pairs in ((where, chosen.where), (names, chosen.field)):
        if len(named) < len(pairs):
            raise ValueError(f"{' '.join(pairs)}: a field is named twice; to take two values, import in two steps")
    drop = frozenset(chosen.drop)
    return Choice(where, names, chosen.domain, chosen.spell_numbers, drop, chosen.channel, chosen.allow_empty)


def validate_options(sub: ArgumentParser) -> None:
    sub.add_argument(
        "paths", type=Path, nargs="+", metavar="DIR", help="corpora made by `mdasr import`; they are checked together"
    )
    sub.add_argument(
        "--format", choices=[*FORMATS], help="check one source before its import, in this format of `mdasr import`"
    )
    choice_options(sub)
    limit_options(sub)
    sub.add_argument("--json", type=Path, metavar="FILE", help="write all measures and problems to this file")
    sub.add_argument("--workers", type=int, default=2, help="number of processes")


def limit_options(sub: ArgumentParser) -> None:
    sub.add_argument(
        "--chars-per-s",
        type=float,
        default=Limits.chars_per_s,
        help="most characters a second; more means a wrong transcript",
    )
    sub.add_argument("--clipped", type=float, default=Limits.clipped, help="largest share of clipped samples")
    sub.add_argument("--silent", type=float, default=Limits.silent, help="largest share of silent frames")
    sub.add_argument("--dc", type=float, default=Limits.dc, help="largest offset (DC), a share of the level")
    sub.add_argument("--dbfs", type=float, default=Limits.dbfs, help="lowest level where somebody speaks")
    sub.add_argument(
        "--modulation",
        type=float,
        default=Limits.modulation,
        help="least modulation at 2 to 10 Hz; noise without speech has less",
    )
    sub.add_argument("--seconds", type=float, default=Limits.seconds, help="length of the longest utterance")


def limits_of(chosen: Namespace) -> Limits:
    return Limits(**{limit.name: getattr(chosen, limit.name) for limit in fields(Limits)})


def align_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR")
    sub.add_argument("--lexicon", type=Path, help=LEXICON_HELP)
    sub.add_argument(
        "--read", type=Path, metavar="PATH", help="read alignments: a phone CTM, or a folder of files ID.TextGrid"
    )
    sub.add_argument("--name", default="", help="name for the alignment that is read, or of an existing one to export")
    sub.add_argument("--export", type=Path, metavar="DIR", help="also write the alignment to this folder")
    sub.add_argument("--format", default="textgrid", choices=["textgrid", "ctm"])
