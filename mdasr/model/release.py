"""A model as others get it: its files, and a card that says what it is made of and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mdasr
from mdasr.core.files import write_atomically
from mdasr.core.tables import aligned
from mdasr.model.directory import Recognizer

CARD = "README.md"
OF_CORPUS = ("corpus", "domain", "hours", "speakers", "licences")


def release(model: Path, out: Path, errors: str, licences: Mapping[str, str]) -> str:
    """Write a network's model directory, without what training left there, and its card to `out`; returns the card.

    `errors` is a table of word error rates. `licences` are those of corpora, by name, that state none. Raises
    ValueError for a licence that is missing, and FileExistsError where `out` holds a model.
    """
    if (out / "model.json").exists():
        raise FileExistsError(f"{out} holds a model already; name another directory, or remove it")
    recognizer = Recognizer.read(model)
    text = card(recognizer, out.name, errors, licensed(model, recognizer.facts.get("corpora"), licences))
    recognizer.write(out)
    write_atomically(out / CARD, text)
    return text


def licensed(model: Path, corpora: Any, licences: Mapping[str, str]) -> list[dict[str, Any]]:
    """The corpora of a model with their licences. Raises ValueError for a licence that is missing, or of no corpus."""
    if not isinstance(corpora, list) or not all(isinstance(c, dict) and {*OF_CORPUS} <= c.keys() for c in corpora):
        raise ValueError(f"{model / 'model.json'}: does not say which corpora it is made of; train the model again")
    if strange := sorted({*licences} - {c["corpus"] for c in corpora}):
        raise ValueError(f"--licence {strange[0]}: the model was not trained on such a corpus")
    given = {name: [text] for name, text in licences.items()}
    found = [{**c, "licences": given.get(c["corpus"], [*c["licences"]])} for c in corpora]
    if silent := [c["corpus"] for c in found if not c["licences"]]:
        raise ValueError(
            f"{model}: the licence of {', '.join(silent)} is not stated. Give --licence {silent[0]}=TEXT, or import it "
            "again from a manifest with the field licence"
        )
    return found


def card(recognizer: Recognizer, name: str, errors: str, corpora: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown; `errors` is a table of word error rates, and `corpora` have their licences."""
    config, facts, made_of = recognizer.config, recognizer.facts, recognizer.facts["made_of"]
    speech = [
        [c["corpus"], c["domain"], f"{c['hours']:.2f}", str(c["speakers"]), "; ".join(c["licences"])] for c in corpora
    ]
    distortions = ["8 kHz", *made_of["augment"]]
    distortions += [f"speeds {', '.join(map(str, speeds))}"] if len(speeds := made_of["scale.speeds"]) > 1 else []
    distortions += ["other vocal tracts"] if made_of["warp"] else []
    distortions += ["rooms and noise"] if made_of["noise_on"] else []
    distortions += ["MP3 and AAC"] if made_of["codecs"] else []
    training = "Fine-tuning of another model" if made_of["parent"] else "Training"
    return f"""# {name}

A speech recogniser, made by mdasr {mdasr.__version__}.

## What it is made of

{aligned([[*OF_CORPUS], *speech])}

The network is of kind `{config.encoder.name}` over `{config.features}`, trained by `{config.criterion.name}`. It has
{config.members * config.num_weights:,} weights and {config.num_outputs} outputs. {training} took {facts["steps"]:,}
steps and {facts["seconds"]:.0f} s on {facts["device"]}, at the scale `{made_of["scale.name"]}`. Distortions in it:
{", ".join(distortions)}.

## How good it is

Word error rate in %, with the 95% interval. Rows are test sets.

{errors}

## Where it ends

* It knows {len(recognizer.graph.words):,} words, and hears no others. `mdasr graph` gives it another language model.
* It was trained on {", ".join(sorted({c["domain"] for c in corpora}))}. Expect more errors in other domains. `mdasr
  adapt` makes them fewer.
* Its weights come from recordings under the licences above. Keep to these where you pass it on.

## How to use it

```
mdasr transcribe {name} recording.flac
mdasr adapt {name} my/train --out my/model
```
"""
