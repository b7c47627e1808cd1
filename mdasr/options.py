"""What the commands of `mdasr` take, a function a command."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from mdasr.perturb import EVALUATION_ROOMS, TRAINING_ROOMS
from mdasr.scales import SCALES
from mdasr.spec import RATE_HZ


def import_options(sub: ArgumentParser) -> None:
    sub.add_argument("format", choices=["manifest"], help="manifest: JSON lines with id, audio, text, speaker, domain")
    sub.add_argument("manifest", type=Path)
    sub.add_argument("--where", action="append", default=[], metavar="FIELD=VALUE", help="only lines with this value")
    sub.add_argument("--corpus", required=True, help="the corpus' name, part of every utterance's key")
    sub.add_argument("--domain", help="instead of the manifest's")
    sub.add_argument(
        "--spell-numbers", action="store_true", help="write digits as words instead of setting lines aside"
    )
    sub.add_argument("--workers", type=int, default=2, help="processes")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")


def align_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR")
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace eSpeak's")
    sub.add_argument("--read", type=Path, metavar="PATH", help="a phone CTM, or a folder of TextGrids called by ids")
    sub.add_argument("--name", default="", help="of the alignment to read in, or of one that is there, to export")
    sub.add_argument("--export", type=Path, metavar="DIR", help="write the alignment there, too")
    sub.add_argument("--format", default="textgrid", choices=["textgrid", "ctm"])


def train_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="corpora made by `mdasr import`")
    sub.add_argument("--out", type=Path, required=True, metavar="MODEL")
    sub.add_argument("--noise", action="store_true", help="simulate rooms and noise (§3.1) on every domain")
    sub.add_argument(
        "--noise-on", action="append", default=[], metavar="DOMAIN", help="or on this one; may be repeated"
    )
    sub.add_argument("--codec", action="store_true", help="simulate codecs (§3.3)")
    sub.add_argument(
        "--warp", action="store_true", help="imitate other vocal tracts (not in the paper; for few speakers)"
    )
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace eSpeak's")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="noise snippets to use instead of the embedded ones")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses in the simulator's place")
    sub.add_argument("--alignment", default="", metavar="NAME", help="use this alignment (`mdasr align`), make none")
    sub.add_argument("--epochs", type=float, help="how often to see the data (with noise, more often)")
    sub.add_argument("--scale", default="small", choices=[*SCALES])
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--workers", type=int, default=1, help="processes that make features; 0 makes them in a thread")
    sub.add_argument(
        "--features-on",
        default="host",
        choices=["host", "accelerator"],
        help="where rooms, bandwidth and features are made; codecs need the host",
    )
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the scale")
    host_options(sub)


def host_options(sub: ArgumentParser) -> None:
    """For commands that several hosts may carry out together (`mdasr.hosts`)."""
    group = sub.add_argument_group("several hosts", "the same command on each, on directories that all of them see")
    group.add_argument("--distributed", action="store_true", help="ask the TPU pod, SLURM or Kubernetes who takes part")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="without such: where process 0 is to be found")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which this is, from 0")
    group.add_argument("--wait-s", type=float, default=300.0, help="how long to wait for the others at the start")


def evaluate_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("corpus", type=Path, metavar="DIR")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the result and every utterance's words")
    sub.add_argument("--against", type=Path, metavar="FILE", help="compare with another model's --json on this corpus")
    sub.add_argument("--confusions", type=int, default=0, metavar="N", help="print the N most frequent word errors")


def transcribe_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("files", type=Path, nargs="*", metavar="FILE")
    sub.add_argument("--channel", type=int, help="which channel of recordings with several, from 0")
    sub.add_argument("--format", default="text", choices=["text", "ctm", "srt", "json"])
    sub.add_argument("--stream", action="store_true", help="read raw 16-bit samples from standard input as they come")
    sub.add_argument("--rate-hz", type=int, default=RATE_HZ, help="of the stream's samples")


def export_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--check", type=Path, metavar="DIR", help="recognise this corpus with both, and compare the words")


def tree_options(sub: ArgumentParser) -> None:
    sub.add_argument("verb", choices=["show"])
    sub.add_argument("model", type=Path, metavar="MODEL", help="a model directory, or a tree.txt")
    sub.add_argument("triphone", metavar="L-C+R")


def perturb_options(sub: ArgumentParser) -> None:
    sub.add_argument("input", type=Path, metavar="IN", nargs="?")
    sub.add_argument("output", type=Path, metavar="OUT", nargs="?")
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--recipe", metavar="JSON", help="a recipe as printed, or a file that holds one")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="noise snippets to use instead of the embedded ones")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses in the simulator's place")
    sub.add_argument("--channel", type=int, help="which channel of a recording with several, from 0")
    sub.add_argument("--schema", action="store_true", help="print the JSON schema of recipes and stop")


def rooms_options(sub: ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet, a row a room")
    sub.add_argument("--first", type=int, default=TRAINING_ROOMS[0], metavar="INDEX")
    sub.add_argument(
        "--count", type=int, default=10_000, help=f"training draws from the first {TRAINING_ROOMS[1]:,}, tests from "
        f"the {EVALUATION_ROOMS[1] - EVALUATION_ROOMS[0]:,} after them"
    )  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, help="which collection")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="noise snippets to use instead of the embedded ones")
    sub.add_argument("--tail-cut-db", type=float, help="cut responses so far below their maximum (Google's: 20)")
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the distributions of the first 20,000")
