"""Equations 1 and 2 against scikit-learn and by hand; intervals against fresh draws."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import davies_bouldin_score, silhouette_samples

from mdasr.analysis import similarity
from mdasr.analysis.similarity import Cluster, alikeness, cluster_similarity, difference, resemblances, silhouette
from mdasr.score.jackknife import jackknife


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
    with pytest.raises(ValueError, match="at least two clusters, not 1"):
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


def domain(rng: np.random.Generator, centre: float, speakers: int = 25, each: int = 2) -> Cluster:
    """Draw utterances whose speakers differ as much as the utterances of one speaker do."""
    voices = centre + rng.normal(size=(speakers, 8))
    points = np.repeat(voices, each, axis=0) + rng.normal(size=(speakers * each, 8))
    return Cluster(points, tuple(f"s{i // each}" for i in range(speakers * each)))


def test_intervals_are_as_wide_as_fresh_draws_of_speakers_differ():
    rng = np.random.default_rng(3)
    made = [{"near": domain(rng, 0.6), "far": domain(rng, 1.0), "home": domain(rng, 0.0)} for _ in range(300)]
    found = {name: np.array([alikeness(m[name].points, m["home"].points) for m in made]) for name in ("near", "far")}
    told = [resemblances(each, "home") for each in made[:20]]

    def half_width(estimates):
        return np.mean([(each.high - each.low) / 2 for each in estimates])

    for i, measure in enumerate(("silhouette", "similarity")):
        for name, values in found.items():
            width = half_width(each[name].estimate(measure) for each in told)
            assert width == pytest.approx(2 * values[:, i].std(), rel=0.2)
        width = half_width(difference(each["near"], each["far"], measure) for each in told)
        assert width == pytest.approx(2 * (found["near"] - found["far"])[:, i].std(), rel=0.2)


def test_the_jackknife_of_means_is_welchs_interval():
    rng = np.random.default_rng(4)
    a, b = rng.normal(1, 3, 12), rng.normal(0, 1, 30)
    without = [np.array([np.delete(x, i).mean() for i in range(len(x))]) for x in (a, b)]
    value, low, high = jackknife(a.mean() - b.mean(), *without)
    welch = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert value == a.mean() - b.mean()
    assert (low, high) == pytest.approx((welch.low, welch.high))
    assert jackknife(2.0, np.full(5, 2.0)) == (2, 2, 2)


def test_intervals_are_over_speakers_or_else_over_utterances():
    rng = np.random.default_rng(5)
    points = rng.normal(size=(9, 3))
    lone, three = Cluster(points, ("s",) * 9), Cluster(points, tuple("xyz" * 3))
    home = Cluster(rng.normal(size=(12, 3)) + 1, tuple("abcd" * 3))
    found = resemblances({"lone": lone, "three": three, "home": home}, "home")
    assert [found[name].without_own.shape for name in ("lone", "three")] == [(9, 2), (3, 2)]
    assert (lone.interval_over, three.interval_over) == ("utterances", "speakers")
    np.testing.assert_allclose(found["three"].without_own[1], alikeness(points[[0, 2, 3, 5, 6, 8]], home.points))
    np.testing.assert_allclose(
        found["three"].without_reference[3], alikeness(points, home.points[np.arange(12) % 4 < 3])
    )
    assert found["three"].found == found["lone"].found == alikeness(points, home.points)


def test_too_little_to_compare_is_refused():
    rng = np.random.default_rng(6)
    clusters = {"a": domain(rng, 0.0), "one": Cluster(np.ones((1, 8)), ("s",))}
    with pytest.raises(ValueError, match="one: 1 utterances; an interval needs at least two without those of any one"):
        resemblances(clusters, "a")
    two_of_three = Cluster(rng.normal(size=(3, 8)), ("x", "x", "y"))  # without x, one point has no distance within
    with pytest.raises(ValueError, match="those of any one of its speakers"):
        resemblances({"a": clusters["a"], "few": two_of_three}, "a")
    with pytest.raises(ValueError, match="'c' and at least one other cluster are needed; there are a, one"):
        resemblances(clusters, "c")
    with pytest.raises(ValueError, match="'a' and at least one other"):
        resemblances({"a": clusters["a"]}, "a")
