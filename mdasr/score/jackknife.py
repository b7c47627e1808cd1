"""Confidence intervals by the jackknife: from the values of a figure without each of its groups in turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float


class Estimate(NamedTuple):
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float


def variances(*without: Float[np.ndarray, " _"]) -> Float[np.ndarray, " samples"]:
    """The variance of a figure that is due to each of its samples (Efron and Stein, 1981).

    There is one array for each sample. It holds the figure without each member of that sample in turn.
    """
    return np.array([(len(values) - 1) * values.var() for values in without])


def jackknife(value: float, *without: Float[np.ndarray, " _"], confidence: float = 0.95) -> Estimate:
    """Estimate the interval of a figure, if other members had been drawn, from its values without each member.

    There is one array for each sample (such as speakers, or runs), and the variances of the samples add up. The
    quantile is Student's, with Satterthwaite's (1946) degrees of freedom. So the intervals are also right with a few
    members.
    """
    parts, degrees = variances(*without), np.array([len(values) - 1 for values in without])
    total = float(parts.sum())
    freedom = total**2 / float((parts**2 / degrees).sum()) if total else 1.0
    margin = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * float(np.sqrt(total))
    return Estimate(value, value - margin, value + margin)
