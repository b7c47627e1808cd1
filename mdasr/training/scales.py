"""The sizes of experiments (§3.5): `mini` for a laptop, `base` for one GPU, `paper` for a pod.

`little` is for up to some ten hours of recordings on two CPU cores; the size of its tree follows the hours. The
comparisons behind it, on 38 minutes, are in docs/results.md. `small` has the paper's LSTM over log-mel features for
about an hour of recordings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdasr.acoustic.criteria import CRITERIA, MMI, CrossEntropy
from mdasr.acoustic.criteria.interface import Criterion
from mdasr.acoustic.encoders import ENCODERS
from mdasr.acoustic.encoders.interface import Encoder
from mdasr.acoustic.encoders.lstm import LSTM, PAPER_CELLS
from mdasr.acoustic.encoders.tdnn import TDNN
from mdasr.frontend import FEATURES
from mdasr.perturb.gain import TRAINING_GAIN_DB
from mdasr.perturb.room import ROOMS
from mdasr.perturb.speed import THREE_SPEEDS


@dataclass(frozen=True)
class Scale:
    """The size of an experiment: the network, the targets, the training, and the share of the embedded corpus.

    A network is an `encoder` over a kind of `features`, trained by a `criterion`; `members` of them answer together
    (`acoustic.network.ModelConfig`). A model trains for `epochs` over its data, times `noise_factor` where noise is
    simulated, within `min_steps` and `max_steps`. `batch` is
    the global batch, in rows of `row_steps` output steps. Each row is shown `echoes` times (`acoustic.echoes`).

    Training and noisy test sets use the same rooms. With the `rooms` "uniform", they have the scale's own ranges of
    SNR, RT60 and distance; "kim" takes all of `KIM_ROOMS`. Every visit in training has a gain from the range `gain_db`,
    and one of `speeds`. Where noise is simulated, a share `noise_alone` of the visits in the last third of a training
    has noise and no speech.

    Adaptation (§4.4) has its own lower learning rate, and stops early, at the latest after `adapt_steps`.
    """

    name: str
    encoder: Encoder
    features: str
    criterion: Criterion
    leaves: int
    batch: int
    row_steps: int
    echoes: int
    members: int
    compute_dtype: str
    dropout: float
    learning_rate: float
    epochs: float
    noise_factor: float
    min_steps: int
    max_steps: int
    noise_probability: float
    rooms: str
    snr_db: tuple[float, float]
    rt60_s: tuple[float, float]
    distance_m: tuple[float, float]
    gain_db: tuple[float, float]
    speeds: tuple[float, ...]
    noise_alone: float
    ngram_order: int
    lm_sentences: int
    test_words: int
    dev_words: int
    adapt_rate: float
    adapt_steps: int


MINI = Scale(
    name="mini",
    encoder=LSTM(cells=(128, 128), output_delay=3, forget_steps=30),
    features="log_mel",
    criterion=CrossEntropy(),
    leaves=220,
    batch=8,
    row_steps=200,
    echoes=1,
    members=1,
    compute_dtype="float32",  # bfloat16 is not faster on a CPU
    dropout=0.15,
    learning_rate=6e-3,
    epochs=11.0,
    noise_factor=1.5,
    min_steps=600,
    max_steps=3000,
    noise_probability=0.5,
    rooms="uniform",
    # §3.1 has 0-30 dB, 0-900 ms and 1-10 m, which a network of this size cannot learn in minutes.
    snr_db=(15.0, 30.0),
    rt60_s=(0.0, 0.3),
    distance_m=(1.0, 2.5),
    gain_db=TRAINING_GAIN_DB,
    speeds=(1.0,),
    noise_alone=0.15,
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
    encoder=LSTM(cells=(256, 256), output_delay=3, forget_steps=10),
    leaves=60,
    members=2,
    dropout=0.2,
    epochs=20.0,
    noise_factor=2.0,
    max_steps=10_000,
    snr_db=(5.0, 30.0),
)

LITTLE = dataclasses.replace(
    SMALL,
    name="little",
    encoder=TDNN(mean_steps=100),
    features="cepstra",
    criterion=MMI(),
    members=1,
    batch=4,
    row_steps=100,
    echoes=3,
    learning_rate=2e-3,
    epochs=100.0,
    noise_factor=1.0,
    min_steps=2000,
    max_steps=20_000,
    snr_db=(0.0, 30.0),
    rt60_s=(0.0, 0.9),
    distance_m=(1.0, 10.0),
    speeds=THREE_SPEEDS,
    adapt_rate=5e-4,
    adapt_steps=1600,
)

BASE = dataclasses.replace(
    MINI,
    name="base",
    encoder=LSTM(cells=(512, 512, 512), output_delay=3),
    leaves=2048,
    batch=64,
    row_steps=400,
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
    encoder=LSTM(cells=PAPER_CELLS, output_delay=3),
    leaves=8192,
    batch=1024,
    epochs=15.0,
    max_steps=1_000_000,
    ngram_order=5,
)

# Of `little`: 60 for 38 minutes and 600 for 3.3 hours were tried, beside no other numbers.
LEAVES_PER_HOUR, MOST_LEAVES = 100, 2000

SCALES = {scale.name: scale for scale in (MINI, SMALL, LITTLE, BASE, PAPER)}
NETWORK = ("encoder", "features", "criterion")  # the settings that a model keeps when it is fine-tuned
CHOICES: dict[str, Mapping[str, Any]] = {
    "encoder": ENCODERS,
    "criterion": CRITERIA,
    "features": FEATURES,
    "rooms": ROOMS,
}


def find_scale(name: str, hours: float = 1.0) -> Scale:
    """The scale of this name, for so many hours of speech; raises ValueError, with the names that exist, for another.

    The hours matter to `little` alone.
    """
    if name not in SCALES:
        raise ValueError(f"no scale is called {name!r}; there are {', '.join(SCALES)}")
    return sized(hours) if name == LITTLE.name else SCALES[name]


def sized(hours: float) -> Scale:
    """`LITTLE` with a tree for so many hours of speech."""
    leaves = int(np.clip(round(LEAVES_PER_HOUR * hours, -1), LITTLE.leaves, MOST_LEAVES))
    return dataclasses.replace(LITTLE, leaves=leaves)


def override(scale: Scale, settings: Iterable[str]) -> Scale:
    """Apply settings such as "learning_rate=1e-3", "encoder=tdnn" and "encoder.output_delay=6".

    Raises ValueError with the names that can be set, or the values to choose from.
    """
    changes: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}  # changes of the encoder and the criterion, which are made together
    for setting in settings:
        name, _, text = setting.partition("=")
        part, _, field = name.partition(".")
        try:
            if field:
                holder = changes.get(part, getattr(scale, part, None))
                inner.setdefault(part, {})[field] = _value(field, _settings(holder), text)
            else:
                changes[part] = _value(part, _settings(scale), text)
                inner.pop(part, None)
        except ValueError as error:
            raise ValueError(f"--set {setting}: {error}") from None
    for part, fields in inner.items():
        try:
            changes[part] = dataclasses.replace(changes.get(part, getattr(scale, part)), **fields)
        except ValueError as error:
            raise ValueError(f"--set {part}: {error}") from None
    return dataclasses.replace(scale, **changes)


def _settings(holder: Any) -> dict[str, Any]:
    """The settings of a scale, an encoder or a criterion, by name; none for any other value."""
    fields = dataclasses.fields(holder) if dataclasses.is_dataclass(holder) else ()
    return {field.name: getattr(holder, field.name) for field in fields if field.name != "name"}


def _value(name: str, settings: Mapping[str, Any], text: str) -> Any:
    """Read the value of the setting `name` from `text`; it has the type of the present value."""
    if name not in settings or not text:
        raise ValueError(f"not of the form NAME=VALUE with a NAME among {', '.join(settings) or 'none'}")
    if name in CHOICES:
        if text not in CHOICES[name]:
            raise ValueError(f"no {name} called {text!r}; there are {', '.join(CHOICES[name])}")
        return text if isinstance(settings[name], str) else CHOICES[name][text]()
    old = settings[name]
    try:
        return tuple(type(old[0])(part) for part in text.split(",")) if isinstance(old, tuple) else type(old)(text)
    except ValueError:
        raise ValueError(f"{name} needs a value like {old!r}") from None
