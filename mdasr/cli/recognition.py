"""The commands that use models: transcribe, export, tree."""

from __future__ import annotations

import argparse
import contextlib
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdasr.core.files import read_json
from mdasr.core.progress import track
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import read_audio, read_channels
from mdasr.corpus.records import Corpus

if TYPE_CHECKING:
    import numpy as np

    from mdasr.model.gmm_directory import Model
    from mdasr.recognize.streaming import Heard, Network
    from mdasr.recognize.transcript import Depth, Passage

LOWEST_RATE_HZ = 1000  # of a stream: a smaller number was meant as kHz

# Commands import slow packages inside, because worker processes import this module again.


def transcribe_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr transcribe` on recordings, or on a stream of samples as they come."""
    from mdasr.model.directory import Recognizer
    from mdasr.model.gmm_directory import read_model
    from mdasr.recognize.network_scores import Streamed
    from mdasr.recognize.serve import Served
    from mdasr.recognize.streaming import PAUSE_S
    from mdasr.recognize.transcript import Depth, alternatives
    from mdasr.recognize.transcript_formats import FORMATS
    from mdasr.recognize.words import check_rescoring

    if chosen.nbest < 0 or (chosen.nbest and chosen.format not in ("text", "json")):
        raise ValueError(
            f"--nbest {chosen.nbest} --format {chosen.format}: --nbest takes 1 or more, and needs text or json"
        )
    if chosen.channels and (chosen.nbest or chosen.channel is not None):
        raise ValueError("--channels all writes the likeliest words of every channel: give no --nbest or --channel")
    depth = Depth(chosen.format in ("ctm", "json"), chosen.nbest, chosen.rescore)
    if chosen.stream:
        unused = (chosen.files, chosen.nbest, chosen.rescore, chosen.channels, chosen.channel is not None)
        if any(unused) or chosen.format in ("srt", "vtt"):
            raise ValueError(
                "--stream reads one channel from standard input and writes text, ctm or json: give no files, --nbest, "
                "--rescore, --channel, --channels or another --format"
            )
        if chosen.rate_hz < LOWEST_RATE_HZ:
            raise ValueError(f"--rate-hz {chosen.rate_hz}: give samples a second (not kHz), {LOWEST_RATE_HZ} or more")
        exported = (chosen.model / "serve.json").exists()
        network = Served.read(chosen.model) if exported else Streamed(Recognizer.read(chosen.model))
        pause_s = PAUSE_S if chosen.pause_s is None else chosen.pause_s
        return listen_to_stdin(network, chosen.rate_hz, pause_s, chosen.format)
    if not chosen.files:
        raise ValueError("give recordings to transcribe, or --stream to read samples from standard input")
    if chosen.rate_hz != RATE_HZ:
        raise ValueError(f"--rate-hz {chosen.rate_hz}: this is for --stream; a recording names its own rate")
    if chosen.pause_s is not None:
        raise ValueError(f"--pause-s {chosen.pause_s}: this is for --stream, whose sentences end with a pause")
    check_told_apart(chosen.files, chosen.format)
    recognizer, failed = read_model(chosen.model), 0
    if chosen.rescore:
        check_rescoring(recognizer, chosen.rescore)
    for path in chosen.files:
        try:
            pieces = transcribed(recognizer, path, chosen, depth)
        except (ValueError, OSError, ImportError) as error:
            print(f"mdasr transcribe: {error}", file=sys.stderr)
            failed += 1
            continue
        written = [FORMATS[chosen.format](path.stem, pieces)]
        if chosen.nbest and chosen.format == "text":
            written = [f"{each.cost:.2f}\t{each.text}" for each in alternatives(pieces, chosen.nbest)]
        named = chosen.format == "text" and len(chosen.files) > 1
        for line in "\n".join(written).split("\n") if named else written:
            if line or chosen.format == "text":  # silence has no line of CTM and no subtitle
                print(f"{path}\t{line}" if named else line, flush=True)
    if failed and len(chosen.files) > 1:
        print(f"mdasr transcribe: {failed} of {len(chosen.files)} recordings were not transcribed", file=sys.stderr)
    return 3 if failed else 0


def transcribed(recognizer: Model, path: Path, chosen: argparse.Namespace, depth: Depth) -> list[Passage]:
    """The passages of a recording: of its only channel, of the chosen one, or of every channel."""
    from mdasr.recognize.transcript import Passage, channel_name, merged, transcribe

    waves = read_channels(path) if chosen.channels else [read_audio(path, chosen.channel)[0]]
    if not recognizer.subsampling.steps_in(len(waves[0])):
        raise ValueError(f"{path}: too short to hold speech; give a recording of at least 0.1 s")
    sides: list[list[Passage]] = []
    for number, wave in enumerate(waves):
        name = channel_name(number if chosen.channels else chosen.channel)
        if wave.any():
            pieces = transcribe(recognizer, wave, depth=depth, channel=name)
            sides.append([*track(pieces, desc=path.name, unit="piece", delay=2)])
        else:
            print(f"mdasr transcribe: {path}: every sample of channel {number} is zero", file=sys.stderr)
            sides.append([Passage(0.0, len(wave) / RATE_HZ, (), channel=name)])
    return merged(sides) if chosen.channels else sides[0]


def check_told_apart(files: Sequence[Path], kind: str) -> None:
    """Raise ValueError where the output would not tell which words are of which recording."""
    from mdasr.recognize.transcript_formats import ctm_name

    if kind in ("srt", "vtt") and len(files) > 1:
        raise ValueError(
            f"--format {kind} of {len(files)} recordings: subtitles belong to one recording; give one at a time"
        )
    named: dict[str, Path] = {}
    for path in files if kind in ("ctm", "json") else ():
        name = ctm_name(path.stem) if kind == "ctm" else path.stem
        if name in named:
            raise ValueError(
                f"{named[name]} and {path} would both be called {name!r} in the output; transcribe one at a time"
            )
        named[name] = path


def listen_to_stdin(network: Network, rate_hz: int, pause_s: float, form: str = "text") -> int:
    """Recognise raw 16-bit samples of one channel until they end, or until Ctrl-C.

    Sentences go to standard output and, as JSON, the words so far. On a terminal, standard error shows those, too.
    """
    import numpy as np
    import soxr

    from mdasr.recognize.streaming import listen
    from mdasr.recognize.transcript_formats import stream_lines

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

    def shown() -> Iterator[Heard]:
        for heard in listen(network, chunks(), pause_s):
            if sys.stderr.isatty():
                so_far = () if heard.final else heard.words[-12:]
                print("\r\033[K" + " ".join(so_far), end="", file=sys.stderr, flush=True)
            yield heard

    for line in stream_lines(shown(), form):
        print(line, flush=True)
    return 0


def export_command(chosen: argparse.Namespace) -> int:
    """Run `mdasr export`: one StableHLO function from samples to scores."""
    from mdasr.model.directory import Recognizer
    from mdasr.recognize.export import export_model, same_words

    if chosen.out.resolve() == chosen.model.resolve():
        raise ValueError(f"--out {chosen.out}: this is the model itself; give another directory")
    recognizer = Recognizer.read(chosen.model)
    export_model(recognizer, chosen.out)
    size, needed = (
        (chosen.out / "model.stablehlo").stat().st_size,
        read_json(chosen.out / "serve.json", "export")["jax"],
    )
    print(f"{chosen.out}: {size:,} bytes; needs jax {needed} or a later one")
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
    sub.add_argument("--channels", choices=["all"], help="transcribe each channel, and merge the words by time")
    sub.add_argument("--format", default="text", choices=["text", "ctm", "srt", "vtt", "json"])
    sub.add_argument(
        "--nbest", type=int, default=0, metavar="N", help="print the N likeliest word sequences (text or json)"
    )
    sub.add_argument("--rescore", type=Path, metavar="ARPA", help="choose the words by another n-gram model")
    sub.add_argument("--stream", action="store_true", help="read raw 16-bit samples from standard input")
    sub.add_argument("--rate-hz", type=int, default=RATE_HZ, help="samples a second of the stream")
    sub.add_argument("--pause-s", type=float, metavar="S", help="pause that ends a sentence of the stream (0.6)")


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
