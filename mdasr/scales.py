"""The sizes at which everything runs (§3.5): `mini` on a laptop, `base` on one GPU, `paper` on a pod.

`small` is for an hour or so of one's own recordings on two CPU cores, where learning more from little counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from mdasr.spec import Scale

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
