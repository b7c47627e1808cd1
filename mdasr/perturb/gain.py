"""The level of a recording: a gain, as of a recorder whose volume is turned. `xp` is numpy, or jax.numpy under jit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from mdasr.perturb.loudness import LOUDEST

TRAINING_GAIN_DB = (-20.0, 0.0)


def amplified(wave: Any, gain_db: Any, xp: ModuleType = np) -> Any:
    """Return a wave [samples] that is `gain_db` louder, float32.

    A gain never clips: it is reduced where the peak would pass `LOUDEST`. A wave that is louder already keeps its level
    under a positive gain. A gain of 0 dB changes no bit.
    """
    peak = xp.maximum(wave.max(initial=0), -wave.min(initial=0)).astype(float)
    most = xp.maximum(1.0, LOUDEST / xp.maximum(peak, 1e-9))
    return wave * xp.minimum(10.0 ** (gain_db / 20), most).astype(np.float32)
