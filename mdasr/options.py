"""What the commands of `mdasr` take, a function a command."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mdasr.data.importers import FORMATS
from mdasr.data.listing import Source
from mdasr.data.rows import Choice
from mdasr.data.shards import ROWS_PER_SHARD
from mdasr.data.validate import Limits
from mdasr.perturb import EVALUATION_ROOMS, TRAINING_ROOMS
from mdasr.perturb.conditions import FORMS
from mdasr.scales import SCALES
from mdasr.spec import RATE_HZ

_FORMATS = "; ".join(f"{name}: {what}" for name, (_, what) in FORMATS.items())


def import_options(sub: ArgumentParser) -> None:
    sub.add_argument("format", choices=[*FORMATS], help=_FORMATS)
    sub.add_argument("path", type=Path, metavar="PATH")
    choice_options(sub)
    sub.add_argument("--corpus", required=True, help="the corpus' name, part of every utterance's key")
    sub.add_argument("--workers", type=int, default=2, help="processes")
    sub.add_argument("--beam", metavar="OPTIONS", help="write the shards in an Apache Beam pipeline with these options")
    sub.add_argument("--rows-per-shard", type=int, default=ROWS_PER_SHARD, help="a shard is what a kill can cost")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")


def prepare_options(sub: ArgumentParser) -> None:
    import_options(sub)
    limit_options(sub)
    sub.add_argument("--align", action="store_true", help="this corpus alone; `mdasr train` aligns what it pools")
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace eSpeak's")


def choice_options(sub: ArgumentParser) -> None:
    """Which recordings and transcripts of a source to take, and how to read them."""
    sub.add_argument("--where", action="append", default=[], metavar="FIELD=VALUE", help="only lines with this value")
    sub.add_argument("--split", default="", help="of Common Voice and Hugging Face data sets, such as train")
    sub.add_argument("--domain", help="instead of the manifest's; other formats have none")
    sub.add_argument(
        "--field", action="append", default=[], metavar="NAME=FIELD", help="take text, speaker, ... from this field"
    )
    sub.add_argument("--root", type=Path, metavar="DIR", help="audio lies in here, not in the folder of PATH")
    sub.add_argument("--allow-commands", action="store_true", help="run the shell commands of wav.scp and Lhotse")
    sub.add_argument(
        "--spell-numbers", action="store_true", help="write digits as words instead of setting lines aside"
    )
    sub.add_argument(
        "--drop", action="append", default=[], metavar="TOKEN", help="of transcripts: no word, as <COMMA> or [noise]"
    )


def source_of(chosen: Namespace, path: Path) -> Source:
    return Source(chosen.format, path, chosen.root, chosen.split, chosen.allow_commands)


def choice_of(chosen: Namespace) -> Choice:
    """What the options of `choice_options` choose; ValueError where one that should be a pair is none."""
    for pair in (*chosen.where, *chosen.field):
        if "=" not in pair:
            raise ValueError(f"{pair!r}: write --where FIELD=VALUE, --field NAME=FIELD")
    where, fields = (dict(pair.split("=", 1) for pair in pairs) for pairs in (chosen.where, chosen.field))
    for named, pairs in ((where, chosen.where), (fields, chosen.field)):
        if len(named) < len(pairs):
            raise ValueError(f"{' '.join(pairs)}: a field is named twice; import what has either value in two steps")
    return Choice(where, fields, chosen.domain, chosen.spell_numbers, frozenset(chosen.drop))


def validate_options(sub: ArgumentParser) -> None:
    sub.add_argument("paths", type=Path, nargs="+", metavar="DIR", help="corpora made by `mdasr import`, together")
    sub.add_argument("--format", choices=[*FORMATS], help="or one PATH before its import, as `mdasr import` takes it")
    choice_options(sub)
    limit_options(sub)
    sub.add_argument("--json", type=Path, metavar="FILE", help="write all measures and problems")
    sub.add_argument("--workers", type=int, default=2, help="processes")


def limit_options(sub: ArgumentParser) -> None:
    sub.add_argument("--chars-per-s", type=float, default=Limits.chars_per_s, help="more is too long a transcript")
    sub.add_argument("--clipped", type=float, default=Limits.clipped, help="the largest share of samples")
    sub.add_argument("--silent", type=float, default=Limits.silent, help="the largest share of frames")


def limits_of(chosen: Namespace) -> Limits:
    return Limits(chosen.chars_per_s, chosen.clipped, chosen.silent)


def align_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR")
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace eSpeak's")
    sub.add_argument("--read", type=Path, metavar="PATH", help="a phone CTM, or a folder of TextGrids called by ids")
    sub.add_argument("--name", default="", help="of the alignment to read in, or of one that is there, to export")
    sub.add_argument("--export", type=Path, metavar="DIR", help="write the alignment there, too")
    sub.add_argument("--format", default="textgrid", choices=["textgrid", "ctm"])


def train_options(sub: ArgumentParser) -> None:
    _training_options(sub)
    group = sub.add_argument_group("beyond the paper", "what they did is in docs/results.md")
    group.add_argument(
        "--curriculum", type=float, default=0.0, metavar="SHARE",
        help="over so much of the training, noise and codecs rise from never to as often as asked for (such as 0.5)",
    )  # fmt: skip
    group.add_argument(
        "--sampling-exponent", type=float, default=1.0, metavar="X",
        help="a domain is heard as its hours to this power (1: as they are; 0: all alike)",
    )  # fmt: skip
    group.add_argument(
        "--clean-share", type=float, default=0.0, metavar="SHARE", help="of the visits, leave so many as recorded"
    )


def _training_options(sub: ArgumentParser) -> None:
    """For training from scratch and for fine-tuning."""
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
    sub.add_argument("--tree-on", action="append", default=[], metavar="DOMAIN", help="grow the tree on this one alone")
    sub.add_argument("--questions", type=Path, metavar="FILE", help="phonetic questions: phones, a set a line")
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


def adapt_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL", help="what to start from")
    _training_options(sub)
    sub.add_argument(
        "--share", type=float, action="append", default=[],
        help="of the data, by duration (1); may be given more than once for a report (1/8, 1/4, 1/2, 1)",
    )  # fmt: skip
    sub.add_argument("--report", action="store_true", help="adapt to every share, train on every one from scratch")
    sub.add_argument(
        "--test", type=Path, action="append", default=[], metavar="DIR",
        help="test speech for the report: the new domain's, then other domains', to see what they lose",
    )  # fmt: skip


def evaluate_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR")
    sub.add_argument("--condition", action="append", metavar="WORDS", help=f"{FORMS}; may be repeated (default: clean)")
    sub.add_argument("--noises", type=Path, metavar="DIR", help="recordings of noise for noise:SNR_DB and room:SNR_DB")
    sub.add_argument("--responses", type=Path, metavar="DIR", help="measured room responses for room:SNR_DB")
    sub.add_argument("--seed", type=int, default=0, help="which noises and rooms are drawn")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the result and every utterance's words")
    sub.add_argument("--against", type=Path, metavar="FILE", help="compare with another model's --json on this corpus")
    sub.add_argument("--confusions", type=int, default=0, metavar="N", help="print the N most frequent word errors")
    sub.add_argument("--oracle", action="store_true", help="print the WER of the best words that the lattices hold")
    sub.add_argument("--rescore", type=Path, metavar="ARPA", help="let another n-gram model choose among the lattices")


def tune_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="development speech, seen by no training")
    sub.add_argument(
        "--tolerance", type=float, default=0.1, metavar="POINTS", help="what the WER may lose to the widest beam's"
    )
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw word error rate against real-time factor")
    sub.add_argument("--dry-run", action="store_true", help="leave model.json as it is")


def transcribe_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("files", type=Path, nargs="*", metavar="FILE")
    sub.add_argument("--channel", type=int, help="which channel of recordings with several, from 0")
    sub.add_argument("--format", default="text", choices=["text", "ctm", "srt", "json"])
    sub.add_argument("--nbest", type=int, default=0, metavar="N", help="the N likeliest word sequences (text or json)")
    sub.add_argument("--rescore", type=Path, metavar="ARPA", help="let another n-gram model choose the words")
    sub.add_argument("--stream", action="store_true", help="read raw 16-bit samples from standard input as they come")
    sub.add_argument("--rate-hz", type=int, default=RATE_HZ, help="of the stream's samples")


def graph_options(sub: ArgumentParser) -> None:
    sub.add_argument("model", type=Path, metavar="MODEL")
    sub.add_argument("--lm", type=Path, metavar="FILE", help="an n-gram model (ARPA) in place of the model's own")
    sub.add_argument("--lexicon", type=Path, help="pronunciations (CMUdict format) that replace the model's")
    sub.add_argument("--out", type=Path, metavar="MODEL", help="write a model there, and leave this one as it is")
    sub.add_argument("--cache", type=Path, metavar="DIR", help="keep the stages, for other trees over the same words")


def similarity_options(sub: ArgumentParser) -> None:
    sub.add_argument("corpora", type=Path, nargs="+", metavar="DIR", help="corpora, each of which counts as a domain")
    sub.add_argument("--to", metavar="DOMAIN", help="which one the others are compared with (default: the last)")
    sub.add_argument("--utterances", type=int, default=50, help="of each domain that are measured")
    sub.add_argument("--training", type=int, default=150, help="of each domain that train the i-vectors, at most")
    sub.add_argument("--components", type=int, default=64, help="of the background model; 2048 for thousands of hours")
    sub.add_argument(
        "--dimensions", type=int, default=32, help="of the i-vectors; fewer for less than some 300 utterances"
    )
    sub.add_argument("--narrowband", action="store_true", help="hear everything at 8 kHz, so that no sample rate tells")
    sub.add_argument("--seed", type=int, default=0, help="which utterances are drawn, and all else that is random")
    sub.add_argument("--picture", type=Path, metavar="PNG", help="draw the utterances in the plane of the domains")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures with their intervals")


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


def lm_options(sub: ArgumentParser) -> None:
    verbs = sub.add_subparsers(dest="verb", required=True, metavar="VERB")
    train = verbs.add_parser("train", help="an n-gram model of text, by modified Kneser-Ney smoothing")
    train.add_argument("texts", type=Path, nargs="+", metavar="TEXT", help="a line a sentence, normalised as at import")
    train.add_argument("--order", type=int, default=5)
    train.add_argument("--vocabulary", type=Path, metavar="FILE", help="a line a word; may have <unk>, for all others")
    train.add_argument("--discount", default="modified", metavar="modified|single|NUMBER", help="of Kneser-Ney")
    mix = verbs.add_parser(
        "mix",
        help="one model of several, with the weights that suit held-out text best",
        description="Where vocabularies differ, the mixture has all words; one that a source lacks has probability 0 "
        "in it, also where it has <unk>.",
    )
    mix.add_argument("models", type=Path, nargs="+", metavar="ARPA")
    mix.add_argument("--held-out", type=Path, nargs="+", required=True, metavar="TEXT")
    mix.add_argument("--how", default="bayesian", choices=["bayesian", "linear"], help="which to write; both are tried")
    prune = verbs.add_parser("prune", help="leave out n-grams that hardly matter to perplexity (Stolcke, 1998)")
    prune.add_argument("model", type=Path, metavar="ARPA")
    prune.add_argument("--threshold", type=float, default=1e-8, help="by what share perplexity may grow for one n-gram")
    perplexity = verbs.add_parser("perplexity", help="of text, sentence ends included")
    perplexity.add_argument("model", type=Path, metavar="ARPA")
    perplexity.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    for verb in (train, mix, prune):
        verb.add_argument("--out", type=Path, required=True, metavar="ARPA")
    for verb in (train, mix, perplexity):
        verb.add_argument("--spell-numbers", action="store_true", help="write digits as words, not set lines aside")
