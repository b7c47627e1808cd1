"""Intervals from what a figure is without each one of those whom it was measured on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float


class Estimate(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float


def variances(*without: Float[np.ndarray, " _"]) -> Float[np.ndarray, " samples"]:
    """The variance of a figure that is due to each sample that it rests on (Efron and Stein, 1981).

    Each array holds the figure without each member of a sample in turn.
    """
    return np.array([(len(values) - 1) * values.var() for values in without])


def jackknife(value: float, *without: Float[np.ndarray, " _"], confidence: float = 0.95) -> Estimate:
    """A figure with its interval, were other members drawn, by what it is without each one.

    There is an array for each sample that members were drawn for: their variances add up, and the quantile is Student's
    with Satterthwaite's (1946) degrees of freedom, so that intervals hold what they say with a handful of members, too.
    """
    found, degrees = variances(*without), np.array([len(values) - 1 for values in without])
    total = float(found.sum())
    freedom = total**2 / float((found**2 / degrees).sum()) if total else 1.0
    margin = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * float(np.sqrt(total))
    return Estimate(value, value - margin, value + margin)
