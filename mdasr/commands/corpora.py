"""The commands that make corpora and look into them: import, prepare, validate, align."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from tqdm import tqdm

from mdasr import options
from mdasr.data.beam import in_pipeline
from mdasr.data.manifest import import_corpus
from mdasr.data.records import Corpus, write_atomically
from mdasr.data.validate import Validation, as_json, validate_corpora, validate_source


def import_command(chosen: argparse.Namespace) -> int:
    """Turn a corpus in any of several formats into a corpus directory; ends with 3 where lines were set aside."""
    source, choice = options.source_of(chosen, chosen.path), options.choice_of(chosen)
    run = None if chosen.beam is None else in_pipeline(shlex.split(chosen.beam))
    report = import_corpus(source, chosen.out, chosen.corpus, choice, chosen.workers, chosen.rows_per_shard, run)
    print(report)
    return report.exit_status


def prepare_command(chosen: argparse.Namespace) -> int:
    """Import, validate and, if asked to, align a corpus; ends with 3 where lines were set aside or look wrong."""
    imported = import_command(chosen)
    found = validate_corpora([chosen.out], options.limits_of(chosen), chosen.workers)
    if chosen.align:
        from mdasr.acoustic.align import align
        from mdasr.jobs import covering_lexicon

        corpora = [Corpus(chosen.out)]
        print(align(corpora, covering_lexicon(corpora, chosen.lexicon)))
    return max(imported, _report(found, chosen.out / "validation.json"))


def validate_command(chosen: argparse.Namespace) -> int:
    """Measure corpora, or what an import would read, and list what looks wrong; ends with 3 where something does."""
    limits = options.limits_of(chosen)
    if chosen.format is None:
        return _report(validate_corpora(chosen.paths, limits, chosen.workers), chosen.json)
    if len(chosen.paths) != 1:
        raise ValueError("with --format give one PATH; corpora that are imported can be validated together")
    source, choice = options.source_of(chosen, chosen.paths[0]), options.choice_of(chosen)
    return _report(validate_source(source, choice, limits, chosen.workers), chosen.json)


def _report(found: Validation, path: Path | None) -> int:
    """Print a validation, write it where a path is given, and return the exit status."""
    print(found)
    if path:
        write_atomically(path, json.dumps(as_json(found), ensure_ascii=False, indent=1) + "\n")
    return found.exit_status


def align_command(chosen: argparse.Namespace) -> int:
    """Align corpora from a flat start, or take over alignments of other tools; and write them as files."""
    from mdasr.acoustic.align import align
    from mdasr.data.timings import ctm_lines, import_alignments, write_textgrid
    from mdasr.jobs import covering_lexicon

    corpora, name = [Corpus(directory) for directory in chosen.corpora], chosen.name
    if chosen.read:
        if len(corpora) != 1 or not name:
            raise ValueError("--read takes one corpus, and --name, what the alignment shall be called")
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
            for utterance, alignment in tqdm(pairs, desc="writing", unit="utt"):
                write_textgrid(chosen.export / f"{utterance.id}.TextGrid", alignment, utterance.seconds)
    return 0
