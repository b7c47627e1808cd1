"""Equations 1 and 2 against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score, silhouette_samples

from mdasr.score import similarity
from mdasr.score.similarity import cluster_similarity, silhouette


def clusters(seed: int = 0, sizes: tuple[int, ...] = (50, 30, 1, 20)) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    points = [rng.normal(rng.normal(size=32), 1.5, (size, 32)) for size in sizes]
    return np.concatenate(points), [f"domain {i}" for i, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("block", [7, 1024])
def test_silhouette_equals_scikit_learns(block, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK", block)
    points, labels = clusters()
    np.testing.assert_allclose(silhouette(points, labels), silhouette_samples(points, labels), atol=1e-12)


def test_silhouette_by_hand():
    values = silhouette(np.array([[0.0], [1.0], [4.0]]), ["a", "a", "b"])
    np.testing.assert_allclose(values, [(4 - 1) / 4, (3 - 1) / 3, 0])


def test_points_that_coincide_have_no_silhouette():
    np.testing.assert_array_equal(silhouette(np.ones((4, 2)), [0, 0, 1, 1]), 0)


def test_cluster_similarity_by_hand():
    one = np.array([[0.0, 0.0], [0.0, 2.0]])
    other = np.array([[4.0, 1.0], [4.0, 1.0], [7.0, 1.0], [1.0, 1.0]])
    assert cluster_similarity(one, other) == pytest.approx((1 + 1.5) / 4)


def test_cluster_similarity_of_two_is_the_davies_bouldin_index():
    points, labels = clusters(1, (50, 40))
    assert cluster_similarity(points[:50], points[50:]) == pytest.approx(davies_bouldin_score(points, labels))


def test_closer_domains_are_more_alike_by_both_measures():
    near, far = ([rng.normal(size=(50, 8)), rng.normal(size=(50, 8)) + shift] for shift, rng in _shifted())
    labels = [0] * 50 + [1] * 50
    assert cluster_similarity(*near) > cluster_similarity(*far)
    assert silhouette(np.concatenate(near), labels).mean() < silhouette(np.concatenate(far), labels).mean()


def _shifted():
    return ((shift, np.random.default_rng(2)) for shift in (0.5, 2.0))


def test_bad_points_are_refused():
    points, labels = clusters()
    with pytest.raises(ValueError, match="at least two clusters, and there are 1"):
        silhouette(points, ["a"] * len(points))
    with pytest.raises(ValueError, match="101 points but 100 labels"):
        silhouette(points, labels[1:])
    points[3, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        silhouette(points, labels)
    with pytest.raises(ValueError, match="not finite"):
        cluster_similarity(points, points[10:])
    with pytest.raises(ValueError, match="without points"):
        cluster_similarity(points[:0], points[10:])
    with pytest.raises(ValueError, match="coincide"):
        cluster_similarity(points[10:], points[10:])
