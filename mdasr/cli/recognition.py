"""The commands that use models: transcribe, export, tree."""

from __future__ import annotations

import argparse
import contextlib
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import read_audio
from mdasr.corpus.records import Corpus

if TYPE_CHECKING:
    import numpy as np

    from mdasr.recognize.streaming import Network

LOWEST_RATE_HZ = 1000  # of a stream: a smaller number was meant as kHz

# Commands import slow packages inside, because worker processes import this module again.


def transcribe_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr transcribe` on recordings, or on a stream of samples as they come."""
    from mdasr.model.directory import Recognizer
    from mdasr.recognize.network_scores import Streamed
    from mdasr.recognize.serve import Served
    from mdasr.recognize.transcript import FORMATS, Depth, alternatives, transcribe
    from mdasr.recognize.words import check_rescoring

    if chosen.nbest < 0 or (chosen.nbest and chosen.format not in ("text", "json")):
        raise ValueError(
            f"--nbest {chosen.nbest} --format {chosen.format}: --nbest takes 1 or more, and needs text or json"
        )
    depth = Depth(chosen.format in ("ctm", "json"), chosen.nbest, chosen.rescore)
    if chosen.stream:
        if chosen.files or chosen.nbest or chosen.rescore or chosen.format != "text" or chosen.channel is not None:
            raise ValueError(
                "--stream reads one channel from standard input and writes words: give no files, --nbest, --rescore, "
                "--format or --channel"
            )
        if chosen.rate_hz < LOWEST_RATE_HZ:
            raise ValueError(f"--rate-hz {chosen.rate_hz}: give samples a second (not kHz), {LOWEST_RATE_HZ} or more")
        exported = (chosen.model / "serve.json").exists()
        network = Served.read(chosen.model) if exported else Streamed(Recognizer.read(chosen.model))
        return listen_to_stdin(network, chosen.rate_hz)
    if not chosen.files:
        raise ValueError("give recordings to transcribe, or --stream to read samples from standard input")
    if chosen.rate_hz != RATE_HZ:
        raise ValueError(f"--rate-hz {chosen.rate_hz}: this is for --stream; a recording names its own rate")
    check_told_apart(chosen.files, chosen.format)
    recognizer, failed = Recognizer.read(chosen.model), 0
    if chosen.rescore:
        check_rescoring(recognizer, chosen.rescore)
    for path in chosen.files:
        try:
            wave, _ = read_audio(path, chosen.channel)
            if not recognizer.subsampling.steps_in(len(wave)):
                raise ValueError(f"{path}: too short to hold speech; give a recording of at least 0.1 s")
            pieces = [*track(transcribe(recognizer, wave, depth=depth), desc=path.name, unit="piece", delay=2)]
        except (ValueError, OSError, ImportError) as error:
            print(f"mdasr transcribe: {error}", file=sys.stderr)
            failed += 1
            continue
        written = [FORMATS[chosen.format](path.stem, pieces)]
        if chosen.nbest and chosen.format == "text":
            written = [f"{each.cost:.2f}\t{each.text}" for each in alternatives(pieces, chosen.nbest)]
        named = chosen.format == "text" and len(chosen.files) > 1
        for line in written:
            if line or chosen.format == "text":  # silence has no line of CTM and no subtitle
                print(f"{path}\t{line}" if named else line, flush=True)
    if failed and len(chosen.files) > 1:
        print(f"mdasr transcribe: {failed} of {len(chosen.files)} recordings were not transcribed", file=sys.stderr)
    return 3 if failed else 0


def check_told_apart(files: Sequence[Path], kind: str) -> None:
    """Raise ValueError where the output would not tell which words are of which recording."""
    from mdasr.recognize.transcript import ctm_name

    if kind == "srt" and len(files) > 1:
        raise ValueError(
            f"--format srt of {len(files)} recordings: subtitles belong to one recording; give one at a time"
        )
    named: dict[str, Path] = {}
    for path in files if kind in ("ctm", "json") else ():
        name = ctm_name(path.stem) if kind == "ctm" else path.stem
        if name in named:
            raise ValueError(
                f"{named[name]} and {path} would both be called {name!r} in the output; transcribe one at a time"
            )
        named[name] = path


def listen_to_stdin(network: Network, rate_hz: int) -> int:
    """Recognise raw 16-bit samples of one channel until they end, or until Ctrl-C.

    Sentences go to standard output. On a terminal, standard error shows the words so far.
    """
    import numpy as np
    import soxr

    from mdasr.recognize.streaming import listen

    resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32") if rate_hz != RATE_HZ else None

    def blocks() -> Iterator[bytes]:
        with contextlib.suppress(KeyboardInterrupt):  # the words until then are still written
            while block := sys.stdin.buffer.read(2 * (rate_hz // 10)):
                yield block

    def chunks() -> Iterator[np.ndarray]:
        for block in blocks():
            samples = np.frombuffer(block[: len(block) // 2 * 2], "<i2").astype(np.float32) / 32768
            yield resampler.resample_chunk(samples) if resampler else samples
        if resampler:
            yield resampler.resample_chunk(np.empty(0, np.float32), last=True)

    for heard in listen(network, chunks()):
        if sys.stderr.isatty():
            so_far = () if heard.final else heard.words[-12:]
            print("\r\033[K" + " ".join(so_far), end="", file=sys.stderr, flush=True)
        if heard.final and heard.words:
            print(" ".join(heard.words), flush=True)
    return 0


def export_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr export`: one StableHLO function from samples to scores."""
    from mdasr.model.directory import Recognizer
    from mdasr.recognize.export import export_model, same_words

    if chosen.out.resolve() == chosen.model.resolve():
        raise ValueError(f"--out {chosen.out}: this is the model itself; give another directory")
    recognizer = Recognizer.read(chosen.model)
    export_model(recognizer, chosen.out)
    print(f"{chosen.out}: {(chosen.out / 'model.stablehlo').stat().st_size:,} bytes")
    if not chosen.check:
        return 0
    corpus = Corpus(chosen.check)
    same = same_words(recognizer, chosen.out, [u.samples for u in corpus])
    print(f"{corpus.info['corpus']}: the same words in {same} of {len(corpus)} utterances, streamed")
    return 0 if same == len(corpus) else 3


def tree_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr tree show`: the way through the tree of tied triphones (§3.5) to one of them, such as B-AE+T."""
    from mdasr.align.tree import Tree

    path = chosen.model / "tree.txt" if chosen.model.is_dir() else chosen.model
    left, minus, rest = chosen.triphone.partition("-")
    centre, plus, right = rest.partition("+")
    if not (minus and plus and left and centre and right):
        raise ValueError(f"{chosen.triphone!r} is not a triphone: write left-centre+right, such as B-AE+T")
    tree = Tree.read(path)
    # Phones may be typed in lower case, unless the tree tells the two cases apart.
    for line in tree.walk(*(phone if phone in tree.phones else phone.upper() for phone in (left, centre, right))):
        print(line)
    return 0


def transcribe_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("files", type=Path, nargs="*", metavar="FILE")
    sub.add_argument("--channel", type=int, help="channel to use of several, counted from 0")
    sub.add_argument("--format", default="text", choices=["text", "ctm", "srt", "json"])
    sub.add_argument(
        "--nbest", type=int, default=0, metavar="N", help="print the N likeliest word sequences (text or json)"
    )
    sub.add_argument("--rescore", type=Path, metavar="ARPA", help="choose the words by another n-gram model")
    sub.add_argument("--stream", action="store_true", help="read raw 16-bit samples from standard input")
    sub.add_argument("--rate-hz", type=int, default=RATE_HZ, help="samples a second of the stream")


def export_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument(
        "--check", type=Path, metavar="DIR", help="recognise this corpus with both models and compare the words"
    )


def tree_options(sub: ArgumentParser) -> None:
    sub.add_argument("verb", choices=["show"])
    sub.add_argument("model", type=Path, metavar="MODEL", help="a model directory, or a tree.txt")
    sub.add_argument("triphone", metavar="L-C+R")
