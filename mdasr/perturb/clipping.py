"""Clipping, as by a recorder that is driven too hard."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def overdriven(wave: Float[np.ndarray, " samples"], share: float) -> Float[np.ndarray, " samples"]:
    """Clip a `share` of the samples: the lowest half of them to a lower limit, the highest half to an upper one.

    The limits are percentiles of the wave, so that the result does not depend on its level.
    """
    if not len(wave):
        return wave
    low, high = np.percentile(wave, [50 * share, 100 - 50 * share])
    return np.clip(wave, np.float32(low), np.float32(high))
