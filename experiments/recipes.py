"""Compare recipes for little speech: train on some speakers of a corpus, and test on others, in several conditions.

python -m experiments.recipes an4/train --recipe "plain: criterion=cross_entropy" --recipe "mmi: criterion=mmi" \
    --noise --codec --noises noise --responses rir

Each recipe is a name, and settings as for `mdasr train --set`; `scale=NAME` chooses the scale, and `augment=NAME` adds
a perturbation. Every recipe is trained on each fold with each seed. A fold is some speakers, who only test. Trainings
run side by side, a core each. A run that was killed goes on where it was, and results that exist are read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mdasr.core.files import read_json, write_atomically
from mdasr.core.processes import Task, cores, side_by_side
from mdasr.core.tables import aligned

if TYPE_CHECKING:
    from mdasr.training.ingredients import Training
    from mdasr.training.scales import Scale

# Worker processes import this module again. Modules that need jax are therefore imported inside functions.

CONDITIONS = ("clean", "noise:10", "room:10", "8khz", "mp3:23")


@dataclass(frozen=True)
class Recipe:
    """A scale with settings, and further perturbations."""

    name: str
    scale: Scale
    augment: tuple[str, ...] = ()


def read_recipe(text: str, hours: float = 1.0) -> Recipe:
    """Read a recipe such as "wide: scale=little batch=8 augment=speed" for so many hours of speech.

    Raises ValueError for unknown settings.
    """
    from mdasr.training.scales import LITTLE, find_scale, override

    name, colon, words = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"--recipe {text!r}: write NAME: SETTINGS")
    settings = words.split()
    scales = [word.removeprefix("scale=") for word in settings if word.startswith("scale=")]
    augment = tuple(word.removeprefix("augment=") for word in settings if word.startswith("augment="))
    plain = [word for word in settings if not word.startswith(("scale=", "augment="))]
    return Recipe(name.strip(), override(find_scale((*scales, LITTLE.name)[0], hours), plain), augment)


def folds_of(speakers: Iterable[str], folds: int, size: int) -> list[tuple[str, ...]]:
    """The speakers of each fold, drawn once and for all. Raises ValueError where there are too few."""
    names = sorted({*speakers})
    if folds * size >= len(names):
        raise ValueError(f"{len(names)} speakers are too few for {folds} folds of {size}, with some left to train on")
    order = np.random.Generator(np.random.Philox(key=[0, 2**35])).permutation(len(names))
    return [tuple(names[i] for i in order[fold * size : (fold + 1) * size]) for fold in range(folds)]


@dataclass(frozen=True)
class Trial:
    """One training: a recipe without the speakers of a fold, with a seed, and its test on these speakers."""

    recipe: Recipe
    corpus: Path
    fold: tuple[str, ...]
    seed: int
    root: Path
    noise: bool = False
    codecs: bool = False
    noises: Path | None = None
    responses: Path | None = None
    alignment: str = ""

    def training(self) -> Training:
        from mdasr.core.digests import Named
        from mdasr.corpus.records import Corpus
        from mdasr.training.ingredients import Training, share_words
        from mdasr.training.speech_split import DomainSpeech
        from mdasr.training.word_models import Wording

        corpus = Corpus(self.corpus)
        alignment = Named(self.alignment, lambda: self.alignment) if self.alignment else None
        training = Training(
            (dataclasses.replace(DomainSpeech.of(corpus), without=self.fold),),
            self.recipe.scale,
            self.seed,
            noise_on=(corpus.domain,) if self.noise else (),
            codecs=self.codecs,
            augment=self.recipe.augment,
            words=Wording(alignment=alignment),
        )
        return dataclasses.replace(training, words=share_words(training, self.root / "language"))

    @property
    def directory(self) -> Path:
        return self.root / "models" / f"{self.recipe.name}-{self.training().name}"

    @property
    def result(self) -> Path:
        return self.directory / "test.json"

    def prepare(self) -> None:
        """Make what trainings share: the alignment and the words."""
        from mdasr.training.word_models import Shared

        words = self.training().words
        assert isinstance(words, Shared)
        words.language()

    def run(self) -> None:
        """Train, recognise the fold's speakers in every condition, and write the counts."""
        from mdasr.corpus.records import Corpus
        from mdasr.perturb.conditions import condition
        from mdasr.perturb.noises import make_noises, read_noises, read_responses
        from mdasr.recognize.words import evaluate, heard
        from mdasr.score.wer import Errors
        from mdasr.training.pipeline import train_recognizer

        began, label = os.times(), f"{self.recipe.name}, seed {self.seed}"
        model = train_recognizer(self.training(), self.directory, workers=0, label=label)
        cpu_s = sum(now - then for now, then in zip(os.times()[:4], began[:4]))
        spoken = [u for u in Corpus(self.corpus) if u.speaker in self.fold]
        noises = read_noises(self.noises) if self.noises else make_noises("test")
        measured = read_responses(self.responses) if self.responses else {}
        counts = {}
        for words in CONDITIONS:
            policy = condition(words, noises, measured)
            scored = evaluate(model, spoken, heard(spoken, policy, noises, 0, measured))
            errors = sum((one.errors for one in scored), Errors())
            counts[words] = [errors.total, errors.ref_words]
        facts = {"cpu_s": round(cpu_s), "steps": model.facts["steps"], "dev_wer": model.facts["dev_wer"]}
        write_atomically(self.result, json.dumps({"errors": counts, **facts}, indent=1) + "\n")


def table(trials: Sequence[Trial]) -> str:
    """The WER of each recipe over its folds and seeds, with the lowest and the highest of its trainings."""
    rows = [["recipe", *CONDITIONS, "CPU s"]]
    for name in dict.fromkeys(trial.recipe.name for trial in trials):
        found = [read_json(t.result, "result of a trial") for t in trials if t.recipe.name == name]
        cells = []
        for words in CONDITIONS:
            counts = np.array([each["errors"][words] for each in found], float)
            wers, (errors, spoken) = 100 * counts[:, 0] / counts[:, 1], counts.sum(0)
            cells.append(f"{100 * errors / spoken:.1f} ({wers.min():.1f} to {wers.max():.1f})")
        rows.append([name, *cells, f"{np.mean([each['cpu_s'] for each in found]):.0f}"])
    return aligned(rows)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m experiments.recipes", description=(__doc__ or "").split("\n")[0])
    top.add_argument("corpus", type=Path, metavar="DIR", help="a corpus made by `mdasr import`")
    top.add_argument("--recipe", action="append", required=True, metavar='"NAME: SETTINGS"', help="may be repeated")
    top.add_argument("--folds", type=int, default=2, metavar="N")
    top.add_argument("--speakers", type=int, default=10, metavar="N", help="speakers of a fold (10)")
    top.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of a recipe on each fold (1)")
    top.add_argument("--noise", action="store_true", help="train with simulated rooms and noise")
    top.add_argument("--codec", action="store_true", help="train with codecs")
    top.add_argument("--noises", type=Path, metavar="DIR", help="recorded noises of the tests (default: made ones)")
    top.add_argument("--responses", type=Path, metavar="DIR", help="measured rooms of the tests (default: simulated)")
    top.add_argument("--alignment", default="", metavar="NAME", help="an alignment of `mdasr align`")
    top.add_argument("--workdir", type=Path, default=Path("runs"), help="folder for models and results (runs)")
    top.add_argument("--workers", type=int, default=cores(), metavar="N", help="trainings side by side (one a core)")
    return top


def run(chosen: argparse.Namespace) -> int:
    from mdasr.corpus.records import Corpus

    corpus = Corpus(chosen.corpus)
    recipes = [read_recipe(text, corpus.info["hours"]) for text in chosen.recipe]
    folds = folds_of((u.speaker for u in corpus), chosen.folds, chosen.speakers)
    common = (chosen.workdir / "recipes", chosen.noise, chosen.codec, chosen.noises, chosen.responses, chosen.alignment)
    trials = [
        Trial(recipe, chosen.corpus, fold, seed, *common)
        for recipe in recipes
        for seed in range(chosen.seeds)
        for fold in folds
    ]
    todo = [trial for trial in trials if not trial.result.exists()]
    for trial in todo:
        trial.prepare()
    side_by_side({trial: Task(partial(Trial.run, trial)) for trial in todo}, chosen.workers, "trainings")
    print(table(trials))
    return 0


def main(arguments: list[str] | None = None) -> int:
    from mdasr.cli.main import exit_status

    return exit_status("python -m experiments.recipes", lambda: run(parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
