"""UBM, statistics, total variability and i-vectors against scikit-learn, dense algebra and data from known models."""

import warnings

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from mdasr.analysis import ubm as ubm_module
from mdasr.analysis.ivectors import Extractor, ExtractorOptions, ivectors, reestimate_loadings, train_extractor
from mdasr.analysis.ubm import Ubm, UbmOptions, reestimate_ubm, seeded_ubm, statistics, train_ubm

DIM = 5


def blobs(seed: int = 0, frames: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means, scales = 3 * rng.standard_normal((6, DIM)), rng.uniform(0.3, 1.5, (6, DIM))
    of = rng.choice(6, frames, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    return (means[of] + scales[of] * rng.standard_normal((frames, DIM))).astype(np.float32)


def small_ubm(components: int = 4, seed: int = 1) -> Ubm:
    rng = np.random.default_rng(seed)
    means = 8 * rng.standard_normal((components, DIM))
    return Ubm(np.full(components, 1 / components), means, rng.uniform(0.5, 2, (components, DIM)))


def drawn_utterances(ubm: Ubm, loadings: np.ndarray, utterances: int, frames: int, seed: int = 2):
    """Draw utterances from the generative model, and return them with their w."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((utterances, loadings.shape[2]))
    deviations = np.sqrt(ubm.variances)
    result = []
    for each in w:
        of = rng.choice(len(ubm.weights), frames, p=ubm.weights)
        means = ubm.means + deviations * (loadings @ each)
        result.append((means[of] + deviations[of] * rng.standard_normal((frames, DIM))).astype(np.float32))
    return result, w


@pytest.mark.parametrize("start", [0, 1, 2])
def test_the_likelihood_of_the_background_model_never_falls(start):
    _, likelihoods = train_ubm(blobs(start), UbmOptions(8, iterations=25), np.random.default_rng(start))
    assert (np.diff(likelihoods) > -1e-5).all()
    assert likelihoods[-1] > likelihoods[0] + 0.5


def test_em_is_scikit_learns_from_the_same_start():
    frames, iterations = blobs(), 7
    ubm = seeded_ubm(frames, 6, np.random.default_rng(3))
    reference = GaussianMixture(
        6, covariance_type="diag", tol=0, reg_covar=0, max_iter=iterations,
        weights_init=ubm.weights, means_init=ubm.means, precisions_init=1 / ubm.variances,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reference.fit(frames.astype(np.float64))
    for _ in range(iterations):
        ubm, _ = reestimate_ubm(ubm, frames, np.zeros(DIM))
    np.testing.assert_allclose(ubm.weights, reference.weights_, atol=1e-5)
    np.testing.assert_allclose(ubm.means, reference.means_, atol=1e-3)
    np.testing.assert_allclose(ubm.variances, reference.covariances_, rtol=1e-3)
    _, likelihood = reestimate_ubm(ubm, frames, np.zeros(DIM))
    assert likelihood == pytest.approx(reference.score(frames.astype(np.float64)), abs=1e-4)


def test_the_first_means_are_frames_far_apart():
    frames = np.concatenate([np.zeros((900, 2)), np.full((90, 2), 50.0), np.full((10, 2), -70.0)]).astype(np.float32)
    means = seeded_ubm(frames, 3, np.random.default_rng(0)).means
    assert sorted(means[:, 0]) == [-70, 0, 50]
    assert np.isfinite(seeded_ubm(np.ones((5, 2), np.float32), 3, np.random.default_rng(0)).means).all()


def test_variances_do_not_fall_below_the_floor_and_a_component_without_frames_stays():
    frames = np.repeat(blobs(frames=40), 50, axis=0)
    ubm, _ = train_ubm(frames, UbmOptions(16, 20, 0.02), np.random.default_rng(0))
    assert (ubm.variances >= 0.02 * frames.var(axis=0) * (1 - 1e-6)).all()
    far = Ubm(np.array([0.5, 0.5]), np.array([frames.mean(axis=0), np.full(DIM, 1e3)]), np.ones((2, DIM)))
    moved, _ = reestimate_ubm(far, frames, np.zeros(DIM))
    np.testing.assert_array_equal(moved.means[1], far.means[1])
    assert np.isfinite(np.log(moved.weights)).all()


def test_statistics_are_those_of_the_posteriors_and_add_up(monkeypatch):
    monkeypatch.setattr(ubm_module, "BLOCK_FRAMES", 16)
    monkeypatch.setattr(ubm_module, "BATCH", 3)
    ubm = small_ubm()
    whole, _ = drawn_utterances(ubm, np.zeros((4, DIM, 1)), 1, 101)
    parts = [whole[0][:40], whole[0][40:41], whole[0][41:]]
    found, together = statistics(ubm, parts), statistics(ubm, whole)
    np.testing.assert_allclose(found.occupancy.sum(axis=1), [40, 1, 60], rtol=1e-5)
    np.testing.assert_allclose(found.occupancy.sum(axis=0), together.occupancy[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.first.sum(axis=0), together.first[0], rtol=1e-4, atol=1e-3)
    reference = GaussianMixture(4, covariance_type="diag")
    reference.weights_, reference.means_, reference.covariances_ = ubm.weights, ubm.means, ubm.variances
    reference.precisions_cholesky_ = 1 / np.sqrt(ubm.variances)
    posteriors = reference.predict_proba(whole[0].astype(np.float64))
    np.testing.assert_allclose(together.occupancy[0], posteriors.sum(axis=0), rtol=1e-4, atol=1e-4)
    distances = (whole[0][:, None] - ubm.means) / np.sqrt(ubm.variances)
    np.testing.assert_allclose(together.first[0], np.einsum("tc,tcd->cd", posteriors, distances), atol=2e-3)


def test_an_ivector_is_the_posterior_mean_of_dense_algebra():
    ubm = small_ubm()
    extractor = Extractor(ubm, 0.5 * np.random.default_rng(4).standard_normal((4, DIM, 3)))
    utterances, _ = drawn_utterances(ubm, extractor.loadings, 70, 60)
    observed = statistics(ubm, utterances)
    points = ivectors(extractor, observed)
    for u in (0, 17, 69):
        total = (np.sqrt(ubm.variances)[..., None] * extractor.loadings).reshape(-1, 3)
        inverse_sigma = np.diag(1 / ubm.variances.ravel())
        n = np.diag(np.repeat(observed.occupancy[u].astype(np.float64), DIM))
        f = (observed.first[u] * np.sqrt(ubm.variances)).ravel()
        precision = np.eye(3) + total.T @ inverse_sigma @ n @ total
        expected = np.linalg.solve(precision, total.T @ inverse_sigma @ f)
        np.testing.assert_allclose(points[u], expected, atol=1e-4)


def test_the_evidence_is_the_density_of_all_frames_together():
    # One component: then all frames of an utterance are one Gaussian vector, correlated through w.
    ubm = Ubm(np.ones(1), np.zeros((1, DIM)), np.full((1, DIM), 0.7))
    extractor = Extractor(ubm, 0.6 * np.random.default_rng(5).standard_normal((1, DIM, 2)))
    utterances, _ = drawn_utterances(ubm, extractor.loadings, 3, 6)
    expected = 0.0
    for frames in utterances:
        stacked = np.tile(np.sqrt(0.7) * extractor.loadings[0], (6, 1))
        noise = 0.7 * np.eye(6 * DIM)
        x = frames.ravel().astype(np.float64)
        expected += multivariate_normal.logpdf(x, cov=noise + stacked @ stacked.T)
        expected -= multivariate_normal.logpdf(x, cov=noise)
    assert reestimate_loadings(extractor, statistics(ubm, utterances))[1] == pytest.approx(expected, abs=1e-3)


def test_em_raises_the_evidence_and_finds_the_subspace():
    ubm = small_ubm()
    truth = 0.7 * np.random.default_rng(6).standard_normal((4, DIM, 2))
    utterances, w = drawn_utterances(ubm, truth, 400, 200)
    observed = statistics(ubm, utterances)
    extractor, evidences = train_extractor(ubm, observed, ExtractorOptions(2, 30), np.random.default_rng(7))
    assert (np.diff(evidences) > -1e-6 * abs(evidences[-1])).all()
    assert evidences[-1] > reestimate_loadings(Extractor(ubm, truth), observed)[1] - 1, (
        "at least as likely as the truth"
    )
    assert np.degrees(subspace_angles(extractor.loadings.reshape(-1, 2), truth.reshape(-1, 2))).max() < 5
    points = ivectors(extractor, observed)
    fitted, *_ = np.linalg.lstsq(points, w, rcond=None)
    assert np.corrcoef((points @ fitted).ravel(), w.ravel())[0, 1] > 0.98
    np.testing.assert_allclose(points.T @ points / 400, np.eye(2), atol=0.1)  # minimum divergence: w ~ N(0, I)


def test_minimum_divergence_keeps_what_the_evidence_gains_from_any_start():
    ubm = small_ubm()
    utterances, _ = drawn_utterances(ubm, 0.7 * np.ones((4, DIM, 1)), 50, 30)
    observed = statistics(ubm, utterances)
    for scale in (1e-3, 1.0, 30.0):
        extractor = Extractor(ubm, scale * np.random.default_rng(8).standard_normal((4, DIM, 3)))
        extractor, before = reestimate_loadings(extractor, observed)
        assert reestimate_loadings(extractor, observed)[1] > before


def test_the_same_seed_gives_the_same_bits():
    def train(seed: int) -> np.ndarray:
        rng, options = np.random.default_rng(seed), UbmOptions(8, 5)
        utterances = np.split(blobs(), 40)
        ubm, _ = train_ubm(np.concatenate(utterances), options, rng)
        observed = statistics(ubm, utterances)
        return ivectors(train_extractor(ubm, observed, ExtractorOptions(3, 5), rng)[0], observed)

    np.testing.assert_array_equal(train(1), train(1))
    assert not np.allclose(train(1), train(2))


def test_an_utterance_without_frames_is_where_the_prior_is_and_changes_no_other():
    ubm = small_ubm()
    extractor = Extractor(ubm, 0.5 * np.random.default_rng(9).standard_normal((4, DIM, 3)))
    utterances, _ = drawn_utterances(ubm, extractor.loadings, 5, 20)
    silent = np.zeros((0, DIM), np.float32)
    points = ivectors(extractor, statistics(ubm, [silent, *utterances, silent]))
    np.testing.assert_array_equal(points[[0, -1]], 0)
    np.testing.assert_allclose(points[1:-1], ivectors(extractor, statistics(ubm, utterances)), atol=1e-5)
    assert ivectors(extractor, statistics(ubm, [silent])).shape == (1, 3)
    assert ivectors(extractor, statistics(ubm, [])).shape == (0, 3)


def test_what_cannot_be_trained_on_is_refused():
    frames = blobs(frames=30)
    with pytest.raises(ValueError, match="30 frames cannot train 31 components"):
        train_ubm(frames, UbmOptions(31), np.random.default_rng(0))
    ubm, _ = train_ubm(frames, UbmOptions(30, 2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="3 utterances cannot train i-vectors of 4 dimensions"):
        train_extractor(ubm, statistics(ubm, [frames] * 3), ExtractorOptions(4), np.random.default_rng(0))
    broken = frames.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="utterance 1 hold a value that is not finite"):
        statistics(ubm, [frames, broken])
    with pytest.raises(ValueError, match="not finite"):
        train_ubm(broken, UbmOptions(4), np.random.default_rng(0))
