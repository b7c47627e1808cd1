"""How alike domains are: the silhouette and the cluster similarity of §4.2 (equations 1 and 2)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

BLOCK = 1024  # rows of the distance matrix held at a time


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
