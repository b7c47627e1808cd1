"""The command `mdasr lm`: train, mix, prune and measure n-gram models of text (§3.6)."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from mdasr.language.backoff import NEVER, NGram
from mdasr.language.combine import fit_weights, interpolate, prune, widen
from mdasr.language.ngram import Discounting, train_ngrams
from mdasr.language.respelling import read_as_in_transcripts
from mdasr.language.text_files import most_frequent, read_sentences, read_vocabulary
from mdasr.language.vocabulary import UNKNOWN

_SHOWN = 10


def lm_command(chosen: Namespace) -> int:
    """Run `mdasr lm`; return 3 where lines of text were set aside."""
    set_aside: list[str] = []
    if "out" in chosen:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        VERBS[chosen.verb](chosen, set_aside)
    finally:
        for line in set_aside[:_SHOWN]:
            print(line, file=sys.stderr)
        if set_aside:
            more = f" ({_SHOWN} of them above)" if len(set_aside) > _SHOWN else ""
            print(f"{len(set_aside)} lines of text set aside{more}", file=sys.stderr)
    return 3 if set_aside else 0


def _train(chosen: Namespace, set_aside: list[str]) -> None:
    vocabulary = _vocabulary(chosen)
    known = None if vocabulary is None else frozenset(vocabulary)
    text = read_sentences(chosen.texts, set_aside, known, chosen.spell_numbers)
    _write(train_ngrams(text, chosen.order, vocabulary, _discounting(chosen.discount)), chosen)


def _vocabulary(chosen: Namespace) -> list[str] | None:
    """The words of the file --vocabulary, or as many of the most frequent ones as it says."""
    if not chosen.vocabulary:
        return None
    if chosen.vocabulary.isdecimal() and not Path(chosen.vocabulary).exists():
        return most_frequent(read_sentences(chosen.texts, [], None, chosen.spell_numbers), int(chosen.vocabulary))
    return read_vocabulary(Path(chosen.vocabulary))


def _discounting(text: str) -> Discounting:
    named: dict[str, Discounting] = {"modified": "modified", "single": "single"}
    try:
        return named.get(text) or float(text)
    except ValueError:
        raise ValueError(f"--discount {text}: give modified, single or a number between 0 and 1") from None


def _mix(chosen: Namespace, set_aside: list[str]) -> None:
    models = widen([read_as_in_transcripts(path) for path in chosen.models])
    if chosen.weights:
        _write(interpolate(models, _weights(chosen.weights), chosen.how), chosen)
        return
    held_out = _read_known(chosen.held_out, models[0], chosen, set_aside)
    for path, model in zip(chosen.models, models):
        print(f"{path}: {_described(model, held_out)}")
    mixed = {}
    for how in ("linear", "bayesian"):
        weights = fit_weights(models, held_out, how)
        mixed[how] = interpolate(models, weights, how)
        shown = " ".join(f"{weight:.4f}" for weight in weights)
        print(f"{how} (weights {shown}): {_described(mixed[how], held_out)}")
    _write(mixed[chosen.how], chosen)


def _weights(text: str) -> list[float]:
    try:
        return [float(weight) for weight in text.split(",")]
    except ValueError:
        raise ValueError(f"--weights {text}: give a number for each model, with commas, such as 0.7,0.3") from None


def _prune(chosen: Namespace, set_aside: list[str]) -> None:
    model = read_as_in_transcripts(chosen.model)
    print(f"{chosen.model}: {_counts(model)}")
    _write(prune(model, chosen.threshold), chosen)


def _perplexity(chosen: Namespace, set_aside: list[str]) -> None:
    model = read_as_in_transcripts(chosen.model)
    sentences = _read_known(chosen.texts, model, chosen, set_aside)
    print(f"{chosen.model}: {_described(model, sentences)}")


def _read_known(paths: Sequence[Path], model: NGram, chosen: Namespace, set_aside: list[str]) -> list[list[str]]:
    return [*read_sentences(paths, set_aside, frozenset(model.words), chosen.spell_numbers)]


def _described(model: NGram, sentences: Sequence[Sequence[str]]) -> str:
    """Perplexity and number of words as text; infinite where a word has no probability (`combine.widen`)."""
    values = model.log10_probabilities(sentences)
    if not len(values):
        raise ValueError("the text has no usable line, so it has no perplexity")
    known, num_words = frozenset(model.words), len(values) - len(sentences)
    unknown = sum(word not in known for sentence in sentences for word in sentence)
    impossible = int((values < NEVER / 2).sum())
    perplexity = "infinite" if impossible else f"{10 ** -values.mean():.2f}"
    facts = [f"{num_words} words in {len(sentences)} sentences"]
    facts += [f"{unknown} as {UNKNOWN}"] if unknown else []
    facts += [f"{impossible} words that it lacks"] if impossible else []
    return f"perplexity {perplexity} ({', '.join(facts)})"


def _write(model: NGram, chosen: Namespace) -> None:
    model.write_arpa(chosen.out)
    print(f"{chosen.out}: {_counts(model)}")


def _counts(model: NGram) -> str:
    counts = [len(level.keys) for level in model.levels]
    return f"order {model.order}, {sum(counts)} n-grams ({' '.join(map(str, counts))})"


VERBS: dict[str, Callable[[Namespace, list[str]], None]] = {
    "train": _train,
    "mix": _mix,
    "prune": _prune,
    "perplexity": _perplexity,
}


def lm_options(sub: ArgumentParser) -> None:
    verbs = sub.add_subparsers(dest="verb", required=True, metavar="VERB")
    train = verbs.add_parser("train", help="train an n-gram model on text, by modified Kneser-Ney smoothing")
    train.add_argument(
        "texts",
        type=Path,
        nargs="+",
        metavar="TEXT",
        help="text with one sentence a line, packed by gzip, bzip2 or xz or not; it is normalised as at import",
    )
    train.add_argument("--order", type=int, default=5)
    train.add_argument(
        "--vocabulary",
        metavar="FILE|N",
        help="one word a line; the word <unk> stands for all others. A number: the N most frequent words and <unk>",
    )
    train.add_argument(
        "--discount", default="modified", metavar="modified|single|NUMBER", help="discounts of Kneser-Ney smoothing"
    )
    mix = verbs.add_parser(
        "mix",
        help="mix several models, with the weights that fit held-out text best or with given ones",
        description="The mixture has the words of all models. A word that a model lacks has probability 0 in that "
        "model, even if the model has <unk>.",
    )
    mix.add_argument("models", type=Path, nargs="+", metavar="ARPA")
    weights = mix.add_mutually_exclusive_group(required=True)
    weights.add_argument("--held-out", type=Path, nargs="+", metavar="TEXT", help="text that the weights shall fit")
    weights.add_argument("--weights", metavar="W,W...", help="the weights themselves, with the sum 1, such as 0.7,0.3")
    mix.add_argument(
        "--how",
        default="bayesian",
        choices=["bayesian", "linear"],
        help="mixture to write; both are measured on --held-out",
    )
    prune = verbs.add_parser("prune", help="remove n-grams that change perplexity little (Stolcke, 1998)")
    prune.add_argument("model", type=Path, metavar="ARPA")
    prune.add_argument(
        "--threshold", type=float, default=1e-8, help="largest relative rise of perplexity for one n-gram"
    )
    perplexity = verbs.add_parser("perplexity", help="print the perplexity of text, with sentence ends")
    perplexity.add_argument("model", type=Path, metavar="ARPA")
    perplexity.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    for verb in (train, mix, prune):
        verb.add_argument("--out", type=Path, required=True, metavar="ARPA")
    for verb in (train, mix, perplexity):
        verb.add_argument(
            "--spell-numbers", action="store_true", help="write digits as words; without it, such lines are set aside"
        )
