"""Table 2 (§4.2): among the training domains, Call-center is most similar to Telephony, and Voicesearch least.

python -m experiments table2 --scale mini --workdir runs
mdasr similarity CORPUS... --to Telephony        (any corpora, without the paper's figures beside them)

Result (frozen at 77a1e34): Call-center is the nearest on the test split (T2.a holds). The farthest is Farfield, because
of its rooms, and not Voicesearch (T2.b fails).

The paper gives the number of utterances (50), the number of dimensions (32) and the distance (Euclidean), and no more.
Here, the length of i-vectors is not normalised, and the utterances are spread over all speakers. Telephony and
Call-center are the only domains at 8 kHz. The sample rate is part of what the paper calls a domain, but it is easy to
tell. Therefore everything is measured a second time with all recordings at 8 kHz.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from experiments.claims import Verdict, all_of
from mdasr.analysis.domain_ivectors import AnalysisOptions, domain_ivectors
from mdasr.analysis.pictures import draw_domains
from mdasr.analysis.similarity import Alikeness, Resemblance, difference, resemblances, similarity_cells
from mdasr.corpus.records import Corpus, Utterance
from mdasr.perturb import TRAINING_ROOMS, random_stream
from mdasr.perturb.room import Sounds
from mdasr.synth.channel import transmit
from mdasr.synth.domains import DOMAINS

REFERENCE = "Telephony"
TITLE = "Pairwise clustering metrics between each application domain and the Telephony domain"
PAPER = {
    "Voicesearch": Alikeness(0.0732, 3.30),
    "Dictation": Alikeness(0.0440, 4.16),
    "Farfield": Alikeness(0.0443, 4.14),
    "Call-center": Alikeness(0.0248, 5.22),
    "YouTube": Alikeness(0.0321, 4.81),
}


@dataclass(frozen=True)
class SimilarityClaim:
    """A claim of §4.2: by both measures, `domain` is the nearest to the reference, or the farthest from it.

    A smaller silhouette means nearer, and so does a larger similarity. Intervals of differences are paired: leaving out
    a speaker of the reference changes both sides.
    """

    id: str
    text: str
    domain: str
    nearest: bool
    table: int = 2

    def verdict(self, found: Mapping[str, Resemblance]) -> dict[str, str]:
        judged: list[tuple[str, Verdict, str]] = []
        for other in (name for name in found if name != self.domain):
            for measure, digits, nearer in (("silhouette", 4, -1), ("similarity", 2, 1)):
                value, low, high = difference(found[self.domain], found[other], measure)
                above = (nearer > 0) == self.nearest
                right, wrong = (low > 0, high < 0) if above else (high < 0, low > 0)
                verdict: Verdict = "holds" if right else "fails" if wrong else "undecided"
                judged.append(
                    (other, verdict, f"{measure} {value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
                )
        whole = all_of(verdict for _, verdict, _ in judged)

        def listed(verdicts: Collection[Verdict]) -> str:
            chosen = [(other, text) for other, verdict, text in judged if verdict in verdicts]
            by_domain = {name: [text for other, text in chosen if other == name] for name, _ in chosen}
            return "; ".join(f"against {name}: {', '.join(texts)}" for name, texts in by_domain.items())

        return {
            "id": self.id,
            "claim": self.text,
            "verdict": whole,
            "evidence": listed(("holds", "fails", "undecided")),
            "why": listed({whole} - {"holds"}),
        }


SIMILARITY_CLAIMS = (
    SimilarityClaim(
        "T2.a", "Call-center is the domain nearest to Telephony by both measures", "Call-center", nearest=True
    ),
    SimilarityClaim("T2.b", "Voicesearch is the farthest by both measures", "Voicesearch", nearest=False),
)

IN_ROOMS = SimilarityClaim(
    "T2.b/1",
    "Farfield is farther than Voicesearch because of its rooms. In such rooms, Voicesearch is the farthest",
    "Voicesearch",
    nearest=False,
)


def in_rooms(corpora: Mapping[str, Corpus], noises: Sounds, seed: int) -> dict[str, str]:
    """Return the verdict on `IN_ROOMS`; Voicesearch is sent through the embedded Farfield's channel."""
    _, channel = DOMAINS["Farfield"].channels[0]

    def hear(utterance: Utterance) -> Float32[np.ndarray, " samples"]:
        return transmit(utterance.samples, channel, random_stream("why", seed, utterance.key), noises, TRAINING_ROOMS)

    found = resemblances(domain_ivectors(corpora, AnalysisOptions(), seed, {"Voicesearch": hear}), REFERENCE)
    return IN_ROOMS.verdict({name: found[name] for name in PAPER})


def similarity_table(
    corpora: Mapping[str, Corpus],
    seed: int = 0,
    options: AnalysisOptions | None = None,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Return Table 2's cells and the verdicts on its claims; "heard_at_8_khz" has the same with all speech at 8 kHz.

    Domains that are not in the paper's table are measured, too, but the claims ignore them. `pictures` is a folder for
    `table2.png` and `table2_8khz.png`. ValueError if a domain of the table or the reference is missing.
    """
    if missing := {*PAPER, REFERENCE} - corpora.keys():
        raise ValueError(f"Table 2 needs a corpus of {', '.join(sorted(missing))}")
    options = options or AnalysisOptions()
    wide = _measured(corpora, seed, options, pictures and pictures / "table2.png")
    narrow = dataclasses.replace(options, narrowband=True)
    heard = _measured(corpora, seed, narrow, pictures and pictures / "table2_8khz.png")
    return {
        "table": 2,
        "title": TITLE,
        "reference": REFERENCE,
        "seed": seed,
        **wide,
        "heard_at_8_khz": {"title": "The same with all recordings at 8 kHz", **heard},
    }


def _measured(
    corpora: Mapping[str, Corpus], seed: int, options: AnalysisOptions, picture: Path | None
) -> dict[str, Any]:
    clusters = domain_ivectors(corpora, options, seed)
    found = resemblances(clusters, REFERENCE)
    cells = similarity_cells(found, clusters)
    for cell in cells:
        if cell["row"] in PAPER:
            cell["paper"] = PAPER[cell["row"]]._asdict()
    if picture:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw_domains(picture, {name: cluster.points for name, cluster in clusters.items()})
    tabled = {name: found[name] for name in PAPER}
    return {"cells": cells, "claims": [claim.verdict(tabled) for claim in SIMILARITY_CLAIMS]}
