"""The speakers of the embedded corpus: accents x voice variants x pitch x pace x vocal tract x microphone.

Variants were measured and inspected. Those that whisper, echo, clip, sound like noise or change from call to call are
left out. Related variants ("steph", "steph2") stay in one split. The three splits have different variants, so that no
test speaker's voice is in training. An eighth to a fifth of the variants in each split are high voices.
"""

from __future__ import annotations

from dataclasses import dataclass

from mdasr.core.random_streams import random_stream
from mdasr.language.espeak import ACCENTS, Voice

_TRAIN = """
    default grandpa m1 m4 m6 max Alex john Mike mike2 david michel Tweaky Gene Gene2 Henrique Hugo antonio
    rob klatt klatt2 klatt3 klatt4 iven iven2 iven3 iven4 edward edward2 adam benjamin Reed caleb
    norbert steph steph2 steph3 anika linda Michael gustave marcelo shelby kaukovalta Annie Nguyen Andrea aunty
"""
_DEV = "m5 pedro boris miguel AnxiousAndy belinda ian Lee"
_TEST = "f1 grandma m8 Storm m3 m7 ed Denis robert Mario quincy Andy travis Jacky paul Diogo"
VARIANTS = {
    "train": _TRAIN.split(),
    "dev": _DEV.split(),
    "test": _TEST.split(),
}  # "default": the accent's own
EQUALISER_HZ = (100.0, 400.0, 1000.0, 2500.0, 5000.0, 8000.0)


@dataclass(frozen=True)
class Speaker:
    """A voice with properties that eSpeak cannot change itself.

    `pace` multiplies the domain's words a minute. `warp` multiplies all frequencies; above 1, the vocal tract is
    shorter. `equaliser_db` are the microphone's gains at `EQUALISER_HZ`.
    """

    id: str
    voice: Voice
    pace: float
    warp: float
    equaliser_db: tuple[float, ...]


def draw_speaker(domain: str, split: str, index: int, seed: int) -> Speaker:
    """Draw speaker `index` of a domain's split: a pure function. Variants take turns, so that all are used."""
    rng = random_stream("speaker", seed, domain, split, index)
    variants = random_stream("variants", seed, domain, split).permutation(VARIANTS[split])
    variant = str(variants[index % len(variants)])
    pitch, pitch_range = rng.integers(35, 66, size=2)
    return Speaker(
        id=f"{domain}-{split}-{index:03d}",
        voice=Voice(
            language=str(rng.choice(ACCENTS)),
            variant="" if variant == "default" else variant,
            pitch=int(pitch),
            pitch_range=int(pitch_range),
        ),
        pace=float(rng.uniform(0.93, 1.07)),
        warp=float(rng.uniform(0.9, 1.1)),
        equaliser_db=tuple(float(gain) for gain in rng.uniform(-3, 3, len(EQUALISER_HZ))),
    )
