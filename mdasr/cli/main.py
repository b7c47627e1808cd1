"""Train, adapt and use speech recognisers that work across domains."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import mdasr


class Command(NamedTuple):
    """A command NAME: `NAME_command` runs it and `NAME_options` adds its options, both in a module of `mdasr.cli`."""

    module: str
    help: str

    def part(self, name: str) -> Callable[..., Any]:
        return getattr(import_module(f"mdasr.cli.{self.module}"), name)


COMMANDS = {
    "import": Command("corpora", "Turn recordings and transcripts of another format into a corpus directory."),
    "prepare": Command("corpora", "Import and validate a corpus; with --align, align it too."),
    "validate": Command("corpora", "Measure corpora and list the utterances that look wrong."),
    "align": Command("corpora", "Align speech with its transcripts, or read or write alignments of other tools."),
    "train": Command("model_making", "Train a recogniser on corpora and write a model directory."),
    "adapt": Command("model_making", "Fine-tune a model on a new domain (§4.4); --report compares amounts of speech."),
    "tune": Command("model_making", "Tune a model's decoder on development speech."),
    "evaluate": Command("evaluation", "Recognise corpora and print word error rates with 95% intervals."),
    "transcribe": Command("recognition", "Print the words of recordings, or of a stream of samples."),
    "export": Command("recognition", "Write a model as one StableHLO function, which runs without Flax and mdasr."),
    "graph": Command("model_making", "Give a model another language model or other pronunciations (§3.6)."),
    "release": Command("model_making", "Write a model for others: its files, and a card with data, licences, errors."),
    "similarity": Command("sounds", "Measure how similar domains sound, by their i-vectors (§4.2)."),
    "tree": Command("recognition", "Show how a model's tree ties a triphone (§3.5)."),
    "perturb": Command("sounds", "Distort a recording as in training, or by a recipe, and print the recipe."),
    "rooms": Command("sounds", "Write simulated rooms (§3.1) as Parquet and draw their distributions."),
    "lm": Command("language_models", "Train, mix, prune or measure n-gram language models."),
}


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        print(f"mdasr {mdasr.__version__}")
        print(f"python {sys.version.split()[0]}")
        try:
            print(f"jax {version('jax')}")
        except PackageNotFoundError:
            print("jax is not installed")
        raise SystemExit(0)


def parsed(command: str | None, given: list[str]) -> argparse.Namespace | None:
    """The values on the command line, or None after the help where there is no command.

    Only `command` gets its options, and only its module is imported. Options and files may come in any order.
    """
    top = argparse.ArgumentParser(prog="mdasr", description=__doc__)
    top.add_argument("--version", action=_Version, nargs=0, help="print the versions of mdasr, Python and jax and stop")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, row in COMMANDS.items():
        sub = commands.add_parser(name, help=row.help.replace("%", "%%"), description=row.help)
        if name == command:
            row.part(f"{name}_options")(sub)
    if command is None:
        top.parse_args(given)
        top.print_help()
        return None
    chosen = commands.choices[command]
    # The verbs of `lm` have parsers of their own, which argparse does not mix with files.
    return (chosen.parse_args if command == "lm" else chosen.parse_intermixed_args)(given[1:])


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    command = given[0] if given and given[0] in COMMANDS else None

    def work() -> int:
        chosen = parsed(command, given)
        return COMMANDS[command].part(f"{command}_command")(chosen) if command else 0

    return exit_status(f"mdasr {command}" if command else "mdasr", work)


def exit_status(program: str, work: Callable[[], int]) -> int:
    """Do the work of a program and return its exit status; errors are told on standard error.

    Where nobody reads the output any more (`| head`), the program ends quietly, as Unix tools do.
    """
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError) and any([_unread(1), _unread(2)]):
            return 141  # as after SIGPIPE
        print(f"{program}: {_message(error)}", file=sys.stderr)
        return 2


def _unread(descriptor: int) -> bool:
    """Whether a descriptor is a pipe that nobody reads any more; if so, what is still written there is thrown away."""
    poll = select.poll()
    poll.register(descriptor, 0)
    unread = bool(poll.poll(0))
    if unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return unread


def _message(error: Exception) -> str:
    """The text of an error, without the system's number for it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; mdasr was installed without its dependencies: install it again with pip"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
