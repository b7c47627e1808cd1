"""How alike domains are: the silhouette and the cluster similarity of §4.2 (equations 1 and 2), with intervals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

BLOCK = 1024  # rows of the distance matrix held at a time
RESAMPLES = 1000
_FEWEST = 4  # utterances of a domain: half of them are still two


@dataclass(frozen=True, eq=False)
class Cluster:
    """A domain's utterances as points, with their speakers."""

    points: Float[np.ndarray, "points dims"]
    speakers: tuple[str, ...]

    @property
    def resampled_over(self) -> str:
        """What an interval is over: "speakers", or "utterances" where there is a single speaker."""
        return "speakers" if len(set(self.speakers)) > 1 else "utterances"


class Alikeness(NamedTuple):
    """The two measures of a pair of clusters: the mean silhouette of their points, and R_ij."""

    silhouette: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Resemblance:
    """How alike two domains are, and how it might have come out: `draws[i]` is resample i's [silhouette, similarity].

    Draws of several domains against the same reference belong together, number by number.
    """

    found: Alikeness
    draws: Float[np.ndarray, "resamples 2"]

    def interval(self, measure: str, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of "silhouette" or "similarity"."""
        return percentiles(self.draws[:, Alikeness._fields.index(measure)], confidence)


def percentiles(values: Float[np.ndarray, " values"], confidence: float = 0.95) -> tuple[float, float]:
    """What the middle `confidence` of the values lies between."""
    low, high = np.percentile(values, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


def alikeness(one: Float[np.ndarray, "points_i dims"], other: Float[np.ndarray, "points_j dims"]) -> Alikeness:
    """Both measures of a pair, as in Table 2; raises ValueError as `silhouette` and `cluster_similarity` do."""
    values = silhouette(np.concatenate([one, other]), [0] * len(one) + [1] * len(other))
    return Alikeness(float(values.mean()), cluster_similarity(one, other))


def resemblances(
    clusters: Mapping[str, Cluster], reference: str, rng: np.random.Generator, resamples: int = RESAMPLES
) -> dict[str, Resemblance]:
    """How alike each other cluster is to `reference` (§4.2's pairwise analysis), with resamples over speakers.

    A resample takes a random half of each cluster's speakers (of its utterances, where there is one speaker) without
    replacement: means over halves vary as much as means over the whole do from one draw of speakers to the next
    (McCarthy, 1969). In a bootstrap, drawn with replacement, a point would lie at distance 0 from its copies, which
    looks like a tight cluster. As half the points also make both measures a little different on average, draws are
    moved to have the mean that was found with all. With few speakers, say below ten, intervals are too narrow.
    Raises ValueError for a reference that is not there or a cluster of fewer than four points.
    """
    if reference not in clusters or len(clusters) < 2:
        raise ValueError(f"{reference!r} and another are to be compared, and there are {', '.join(clusters) or 'none'}")
    for name, cluster in clusters.items():
        if len(cluster.points) < _FEWEST:
            raise ValueError(f"{name}: {len(cluster.points)} utterances; to say how far to trust it takes {_FEWEST}")
    draws: dict[str, list[Alikeness]] = {name: [] for name in clusters if name != reference}
    for _ in range(resamples):
        halves = {name: cluster.points[_half(cluster, rng)] for name, cluster in clusters.items()}
        for name, drawn in draws.items():
            drawn.append(alikeness(halves[name], halves[reference]))
    found = {name: alikeness(clusters[name].points, clusters[reference].points) for name in draws}
    return {name: Resemblance(found[name], _moved(np.array(drawn), found[name])) for name, drawn in draws.items()}


def _half(cluster: Cluster, rng: np.random.Generator) -> Bool[np.ndarray, " points"]:
    """Which points belong to a random half of the speakers; of an odd number, one more or fewer at random."""
    over = cluster.speakers if cluster.resampled_over == "speakers" else range(len(cluster.points))
    groups, group_of = np.unique(np.asarray(over), return_inverse=True)
    size = (len(groups) + int(rng.integers(2))) // 2
    return np.isin(group_of, rng.permutation(len(groups))[:size])


def _moved(draws: Float[np.ndarray, "resamples 2"], found: Alikeness) -> Float[np.ndarray, "resamples 2"]:
    return draws - draws.mean(axis=0) + np.array(found)


def silhouette(points: Float[np.ndarray, "points dims"], labels: Sequence[Hashable]) -> Float[np.ndarray, " points"]:
    """The silhouette of each point, from -1 (in a wrong cluster) to 1 (in one of its own): equation 1.

    `points` are, say, i-vectors, `labels` their domains; distances are Euclidean. A point alone in its
    cluster gets 0 (Rousseeuw, 1987), and so does one at no distance from its own cluster and the nearest.
    Average over what is of interest: a cluster, or two as in Table 2. Raises ValueError for fewer than two
    clusters or a value not finite.
    """
    _check(points)
    if len(labels) != len(points):
        raise ValueError(f"{len(points)} points but {len(labels)} labels")
    names = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if len(names) < 2:
        raise ValueError(f"a silhouette needs at least two clusters, and there are {len(names)}")
    cluster = np.array([names[label] for label in labels])
    member = np.eye(len(names))[cluster]  # [points, clusters]
    sizes = member.sum(axis=0)
    values = [
        _silhouette_block(cdist(points[i : i + BLOCK], points) @ member, cluster[i : i + BLOCK], sizes)
        for i in range(0, len(points), BLOCK)
    ]
    return np.concatenate(values)


def _silhouette_block(
    sums: Float[np.ndarray, "rows clusters"],
    cluster: np.ndarray,
    sizes: Float[np.ndarray, " clusters"],
) -> Float[np.ndarray, " rows"]:
    """Equation 1 from each point's summed distance to each cluster."""
    rows = np.arange(len(sums))
    own = sizes[cluster]
    within = sums[rows, cluster] / np.maximum(own - 1, 1)  # a point is at distance 0 from itself
    means = sums / sizes
    means[rows, cluster] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    defined = (own > 1) & (larger > 0)
    return np.where(defined, (nearest - within) / np.where(larger > 0, larger, 1), 0.0)


def cluster_similarity(
    points_i: Float[np.ndarray, "points_i dims"], points_j: Float[np.ndarray, "points_j dims"]
) -> float:
    """R_ij, the summed dispersions of two clusters over the distance of their centroids: equation 2.

    The dispersion of a cluster is the mean Euclidean distance of its points to their centroid (Davies and
    Bouldin, 1979). The higher, the more alike. Raises ValueError for an empty cluster or for centroids that
    coincide.
    """
    _check(points_i)
    _check(points_j)
    centroid_i, centroid_j = points_i.mean(axis=0), points_j.mean(axis=0)
    distance = float(np.linalg.norm(centroid_i - centroid_j))
    if distance == 0:
        raise ValueError("cluster similarity: the two centroids coincide, so it has no finite value")
    spread_i = np.linalg.norm(points_i - centroid_i, axis=1).mean()
    spread_j = np.linalg.norm(points_j - centroid_j, axis=1).mean()
    return float(spread_i + spread_j) / distance


def _check(points: Float[np.ndarray, "points dims"]) -> None:
    if not len(points):
        raise ValueError("a cluster without points has no dispersion and no distance to another")
    if not np.isfinite(points).all():
        raise ValueError("points hold a value that is not finite")
