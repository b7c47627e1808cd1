"""The command `mdasr`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mdasr.cli import corpora, language_models, model_making, recognition, sounds

COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None]]] = {
    "import": (corpora.import_command, corpora.import_options),
    "prepare": (corpora.prepare_command, corpora.prepare_options),
    "validate": (corpora.validate_command, corpora.validate_options),
    "align": (corpora.align_command, corpora.align_options),
    "train": (model_making.train_command, model_making.add_train_options),
    "adapt": (model_making.adapt_command, model_making.add_adapt_options),
    "tune": (model_making.tune_command, model_making.tune_options),
    "evaluate": (recognition.evaluate_command, recognition.evaluate_options),
    "transcribe": (recognition.transcribe_command, recognition.transcribe_options),
    "export": (recognition.export_command, recognition.export_options),
    "graph": (model_making.graph_command, model_making.graph_options),
    "similarity": (sounds.similarity_command, sounds.similarity_options),
    "tree": (recognition.tree_command, recognition.tree_options),
    "perturb": (sounds.perturb_command, sounds.perturb_options),
    "rooms": (sounds.rooms_command, sounds.rooms_options),
    "lm": (language_models.lm_command, language_models.lm_options),
}


def parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of the command line; of all commands, `command` alone gets its options."""
    top = argparse.ArgumentParser(prog="mdasr", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, add_options) in COMMANDS.items():
        doc = function.__doc__ or ""
        sub = commands.add_parser(name, help=doc.replace("%", "%%"), description=doc)
        sub.set_defaults(function=function)
        if name == command:
            add_options(sub)
    return top


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser(given[0] if given else None).parse_args(given)
    try:
        return chosen.function(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"mdasr {chosen.command}: {_said(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"mdasr {chosen.command}: interrupted", file=sys.stderr)
        return 130


def _said(error: Exception) -> str:
    """What went wrong, without the system's number for it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
