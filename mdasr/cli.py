"""The command `mdasr`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mdasr import options
from mdasr.commands import corpora, lm, recognition, sounds, training

COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None]]] = {
    "import": (corpora.import_command, options.import_options),
    "prepare": (corpora.prepare_command, options.prepare_options),
    "validate": (corpora.validate_command, options.validate_options),
    "align": (corpora.align_command, options.align_options),
    "train": (training.train_command, options.train_options),
    "adapt": (training.adapt_command, options.adapt_options),
    "tune": (training.tune_command, options.tune_options),
    "evaluate": (recognition.evaluate_command, options.evaluate_options),
    "transcribe": (recognition.transcribe_command, options.transcribe_options),
    "export": (recognition.export_command, options.export_options),
    "graph": (training.graph_command, options.graph_options),
    "similarity": (sounds.similarity_command, options.similarity_options),
    "tree": (recognition.tree_command, options.tree_options),
    "perturb": (sounds.perturb_command, options.perturb_options),
    "rooms": (sounds.rooms_command, options.rooms_options),
    "lm": (lm.lm_command, options.lm_options),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mdasr", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, add_options) in COMMANDS.items():
        doc = function.__doc__ or ""
        sub = commands.add_parser(name, help=doc.replace("%", "%%"), description=doc)
        sub.set_defaults(function=function)
        add_options(sub)
    return top


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
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
