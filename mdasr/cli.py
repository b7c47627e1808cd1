"""The command `mdasr`: import, align, train, evaluate, transcribe, export, tree, perturb, rooms."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile
from tqdm import tqdm

from mdasr import frontend, options
from mdasr.data.audio import read_audio
from mdasr.data.manifest import import_manifest, to_int16
from mdasr.data.records import Corpus
from mdasr.perturb import (
    TRAINING_CODECS,
    Policy,
    Recipe,
    RoomRanges,
    draw,
    draw_room,
    perturb,
    require,
)
from mdasr.spec import RATE_HZ

if TYPE_CHECKING:
    import numpy as np

    from mdasr.stream import Network

# What is imported inside a command takes seconds to load, and worker processes import this module again.


def import_command(chosen: argparse.Namespace) -> int:
    """Turn recordings with a manifest into a corpus directory; ends with 3 where lines were set aside."""
    where = dict(pair.split("=", 1) for pair in chosen.where)
    report = import_manifest(
        chosen.manifest, chosen.out, chosen.corpus, where, chosen.domain, chosen.spell_numbers, chosen.workers
    )
    print(report)
    return report.exit_status


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


def train_command(chosen: argparse.Namespace) -> int:
    """Align, grow the tree, train the language model and the network on corpora, and write a model directory."""
    from mdasr import hosts
    from mdasr.jobs import TrainRequest, train_on
    from mdasr.scales import SCALES, override

    hosts.join(chosen)
    settings = [*chosen.set, *([f"epochs={chosen.epochs}"] if chosen.epochs else [])]
    request = TrainRequest(
        corpora=tuple(Corpus(directory) for directory in chosen.corpora),
        scale=override(SCALES[chosen.scale], settings),
        noise=chosen.noise or bool(chosen.noise_on),
        noise_on=tuple(chosen.noise_on),
        codec=chosen.codec,
        warp=chosen.warp,
        lexicon=chosen.lexicon,
        noises=chosen.noises,
        responses=chosen.responses,
        seed=chosen.seed,
        workers=chosen.workers,
        features_on=chosen.features_on,
        alignment=chosen.alignment,
    )
    recognizer = train_on(request, chosen.out)
    facts = recognizer.facts
    if not hosts.primary():
        return 0
    print(
        f"{chosen.out}: {facts['steps']} steps in {facts['seconds']:.0f} s ({facts['waited_for_input']:.0%} of it "
        f"waiting for input), {facts['frame_accuracy']:.1%} of frames right, WER {facts['dev_wer']:.1f} % on held-out "
        "speech"
    )
    return 0


def evaluate_command(chosen: argparse.Namespace) -> int:
    """Recognise a corpus and print its word error rate with the 95% interval over speakers (or utterances of one)."""
    from mdasr.recognizer import Recognizer, evaluate
    from mdasr.report import cell, compared, describe, most_confused

    recognizer, corpus = Recognizer.read(chosen.model), Corpus(chosen.corpus)
    scored = evaluate(recognizer, corpus, [u.samples for u in tqdm(corpus, desc="reading", unit="utt")])
    found = cell(scored)
    counts = f"{found['sub']} sub, {found['ins']} ins, {found['del']} del in {found['ref_words']} words"
    if found["ci95_over"] == "utterances":
        counts += "; one speaker, so the interval is over utterances"
    print(f"{corpus.info['corpus']} ({corpus.domain}): WER {describe(found)} % ({counts})")
    if chosen.against:
        print(f"against {chosen.against}: {compared(json.loads(chosen.against.read_text()), scored)}")
    for line in most_confused(scored, chosen.confusions):
        print(line)
    if chosen.json:
        utterances = [
            {"id": s.id, "speaker": s.speaker, "reference": s.reference, "hypothesis": s.hypothesis} for s in scored
        ]
        content = {
            "model": str(chosen.model),
            "corpus": corpus.info["corpus"],
            **found,
            "utterances": utterances,
        }
        chosen.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def transcribe_command(chosen: argparse.Namespace) -> int:
    """Print what is said in each recording, or in a stream of samples while it comes."""
    from mdasr.recognizer import Recognizer
    from mdasr.serve import Served
    from mdasr.transcript import FORMATS, transcribe

    if chosen.stream:
        if chosen.files:
            raise ValueError("--stream reads standard input; give no files")
        exported = (chosen.model / "serve.json").exists()
        return listen_to_stdin((Served if exported else Recognizer).read(chosen.model), chosen.rate_hz)
    if not chosen.files:
        raise ValueError("give recordings to transcribe, or --stream to read samples from standard input")
    recognizer, status = Recognizer.read(chosen.model), 0
    for path in chosen.files:
        try:
            wave, _ = read_audio(path, chosen.channel)
            if not frontend.num_steps(len(wave)):
                raise ValueError(f"{path}: too short to hold speech; give a recording of at least 0.1 s")
            pieces = [*tqdm(transcribe(recognizer, wave), desc=path.name, unit="piece", delay=2)]
        except (ValueError, OSError) as error:
            print(f"mdasr transcribe: {error}", file=sys.stderr)
            status = 3
            continue
        written = FORMATS[chosen.format](path.stem, pieces)
        named = chosen.format == "text" and len(chosen.files) > 1
        print(f"{path}\t{written}" if named else written, flush=True)
    return status


def listen_to_stdin(network: Network, rate_hz: int) -> int:
    """Hear raw 16-bit samples of one channel; sentences go to standard output, on a terminal the words so far above."""
    import numpy as np
    import soxr

    from mdasr.stream import listen

    resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32") if rate_hz != RATE_HZ else None

    def chunks() -> Iterator[np.ndarray]:
        while block := sys.stdin.buffer.read(2 * (rate_hz // 10)):
            samples = np.frombuffer(block[: len(block) // 2 * 2], "<i2").astype(np.float32) / 32768
            yield resampler.resample_chunk(samples) if resampler else samples

    for heard in listen(network, chunks()):
        if heard.final:
            print(" ".join(heard.words), flush=True)
        elif sys.stderr.isatty():
            print("\r\033[K" + " ".join(heard.words[-12:]), end="", file=sys.stderr, flush=True)
    return 0


def export_command(chosen: argparse.Namespace) -> int:
    """Write a model as one StableHLO function from samples to scores, which needs neither Flax nor mdasr to run."""
    from mdasr.export import export_model, same_words
    from mdasr.recognizer import Recognizer

    if chosen.out.resolve() == chosen.model.resolve():
        raise ValueError(f"--out {chosen.out} is the model itself; give another directory")
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
    """Walk a model's tree of tied triphones (§3.5) for one of them, such as B-AE+T."""
    from mdasr.acoustic.tying import Tree

    path = chosen.model / "tree.txt" if chosen.model.is_dir() else chosen.model
    left, minus, rest = chosen.triphone.upper().partition("-")
    centre, plus, right = rest.partition("+")
    if not (minus and plus and left and centre and right):
        raise ValueError(f"{chosen.triphone!r} is no triphone: write left-centre+right, such as B-AE+T")
    for line in Tree.read(path).walk(left, centre, right):
        print(line)
    return 0


def perturb_command(chosen: argparse.Namespace) -> int:
    """Distort a recording as in training, or as a recipe says; writes 16 kHz WAV or FLAC and prints the recipe."""
    from mdasr.data.noises import make_noises, read_noises, read_responses

    if chosen.schema:
        print(json.dumps(Recipe.json_schema(), indent=1))
        return 0
    if not (chosen.input and chosen.output):
        raise ValueError("give a recording IN and where to write OUT, or --schema alone")
    wave, _ = read_audio(chosen.input, chosen.channel)
    noises = read_noises(chosen.noises) if chosen.noises else make_noises("train")
    measured = read_responses(chosen.responses) if chosen.responses else {}
    if chosen.recipe:
        inline = chosen.recipe.lstrip().startswith("{")
        recipe = Recipe.from_json(chosen.recipe if inline else Path(chosen.recipe).read_text())
    else:
        policy = Policy(
            1.0, RoomRanges(), tuple(sorted(noises)), codecs=TRAINING_CODECS, measured=tuple(sorted(measured))
        )
        recipe = draw(policy, chosen.seed, chosen.input.name, 0)
    require([recipe.codec])
    soundfile.write(chosen.output, to_int16(perturb(wave, recipe, noises, measured)), RATE_HZ)
    print(recipe.to_json())
    return 0


def rooms_command(chosen: argparse.Namespace) -> int:
    """Export configurations of rooms (§3.1) as Parquet, and draw their distributions."""
    from mdasr.data.noises import make_noises, read_noises
    from mdasr.data.rooms import write_rooms

    if chosen.first < 0 or chosen.count < 1:
        raise ValueError(f"--first {chosen.first} --count {chosen.count}: give 0 or more, and 1 or more")
    snippets = sorted(read_noises(chosen.noises) if chosen.noises else make_noises("train"))
    indices = tqdm(range(chosen.first, chosen.first + chosen.count), desc="rooms", unit="room")
    rooms = ((i, draw_room(i, chosen.seed, snippets, RoomRanges(tail_cut_db=chosen.tail_cut_db))) for i in indices)
    count = write_rooms(chosen.out, rooms)
    print(f"{chosen.out}: {count} rooms")
    if chosen.picture:
        from mdasr.plots import draw_rooms

        shown = range(chosen.first, chosen.first + min(chosen.count, 20_000))
        draw_rooms(chosen.picture, [draw_room(i, chosen.seed, snippets) for i in shown])
    return 0


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None]]] = {
    "import": (import_command, options.import_options),
    "align": (align_command, options.align_options),
    "train": (train_command, options.train_options),
    "evaluate": (evaluate_command, options.evaluate_options),
    "transcribe": (transcribe_command, options.transcribe_options),
    "export": (export_command, options.export_options),
    "tree": (tree_command, options.tree_options),
    "perturb": (perturb_command, options.perturb_options),
    "rooms": (rooms_command, options.rooms_options),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mdasr", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, add_options) in COMMANDS.items():
        sub = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(function=function)
        add_options(sub)
    return top


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    try:
        return chosen.function(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"mdasr {chosen.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
