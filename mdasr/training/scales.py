"""The sizes at which everything runs (§3.5): `mini` on a laptop, `base` on one GPU, `paper` on a pod.

`small` is for an hour or so of one's own recordings on two CPU cores, where learning more from little counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: the network, the targets, the training, and the embedded corpus' share.

    A model trains for `epochs` over its data, times `noise_factor` where noise is simulated, within `min_steps` and
    `max_steps`. `forget_steps` and `members` are ways to learn more from little (`loader.RowOptions`,
    `acoustic.model.ModelConfig`, which has `compute_dtype` and `unroll`, too); with 0 and 1 they do nothing. The rooms'
    ranges serve training and noisy test sets alike. `batch` is the global batch, in rows of `row_steps` steps of 30 ms.
    Adaptation (§4.4) has a lower learning rate of its own, and stops early, at the latest after `adapt_steps`.
    """

    name: str
    cells: tuple[int, ...]
    leaves: int
    batch: int
    row_steps: int
    output_delay: int
    forget_steps: int
    members: int
    compute_dtype: str
    unroll: int
    dropout: float
    learning_rate: float
    epochs: float
    noise_factor: float
    min_steps: int
    max_steps: int
    noise_probability: float
    snr_db: tuple[float, float]
    rt60_s: tuple[float, float]
    distance_m: tuple[float, float]
    ngram_order: int
    lm_sentences: int
    test_words: int
    dev_words: int
    adapt_rate: float
    adapt_steps: int


MINI = Scale(
    name="mini",
    cells=(128, 128),
    leaves=220,
    batch=8,
    row_steps=200,
    output_delay=3,
    forget_steps=30,
    members=1,
    compute_dtype="float32",  # which bfloat16 does not outrun on a CPU
    unroll=1,
    dropout=0.15,
    learning_rate=6e-3,
    epochs=8.0,
    noise_factor=1.5,
    min_steps=600,
    max_steps=3000,
    noise_probability=0.5,
    # Gentler than §3.1's 0-30 dB, 0-900 ms and 1-10 m, which a network of this size cannot learn in minutes.
    snr_db=(15.0, 30.0),
    rt60_s=(0.0, 0.3),
    distance_m=(1.0, 2.5),
    ngram_order=3,
    lm_sentences=70_000,
    test_words=4500,
    dev_words=800,
    adapt_rate=1e-3,
    adapt_steps=400,
)

SMALL = dataclasses.replace(
    MINI,
    name="small",
    cells=(256, 256),
    leaves=60,
    forget_steps=10,
    members=2,
    dropout=0.2,
    epochs=20.0,
    noise_factor=2.0,
    max_steps=10_000,
    snr_db=(5.0, 30.0),
)

BASE = dataclasses.replace(
    MINI,
    name="base",
    cells=(512, 512, 512),
    leaves=2048,
    batch=64,
    row_steps=400,
    forget_steps=0,
    compute_dtype="bfloat16",
    learning_rate=1e-3,
    adapt_rate=1e-4,
    adapt_steps=10_000,
    max_steps=100_000,
    snr_db=(0.0, 30.0),
    rt60_s=(0.0, 0.9),
    distance_m=(1.0, 10.0),
    ngram_order=4,
)

PAPER = dataclasses.replace(
    BASE,
    name="paper",
    cells=(1024, 1024, 1024, 1024, 768),
    leaves=8192,
    batch=1024,
    epochs=15.0,
    max_steps=1_000_000,
    ngram_order=5,
)

SCALES = {scale.name: scale for scale in (MINI, SMALL, BASE, PAPER)}


def override(scale: Scale, settings: Iterable[str]) -> Scale:
    """Apply settings such as "learning_rate=1e-3"; raises ValueError naming what there is to set."""
    fields = {field.name: getattr(scale, field.name) for field in dataclasses.fields(scale) if field.name != "name"}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in fields or not text:
            raise ValueError(f"--set {setting}: not of the form NAME=VALUE with a NAME among {', '.join(fields)}")
        old = fields[name]
        try:
            new = tuple(type(old[0])(x) for x in text.split(",")) if isinstance(old, tuple) else type(old)(text)
        except ValueError:
            raise ValueError(f"--set {setting}: {name} wants a value like {old!r}") from None
        changed: dict[str, Any] = {name: new}
        scale = dataclasses.replace(scale, **changed)
    return scale
