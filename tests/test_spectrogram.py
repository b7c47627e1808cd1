"""Spectrograms: what is drawn is what the network gets, at its time and pitch."""

import numpy as np
from matplotlib.figure import Figure

from mdasr import frontend
from mdasr.analysis import pictures


def test_a_spectrogram_shows_the_networks_features_in_bands_of_equal_height():
    time_s = np.arange(32_000) / 16_000
    wave = (0.3 * np.sin(2 * np.pi * 1000 * time_s) * (time_s > 1)).astype(np.float32)
    axes = Figure().subplots()
    pictures._spectrogram(axes, wave, "a tone")
    (mesh,) = axes.collections
    drawn, wanted = np.asarray(mesh.get_array()).T, frontend.log_mel(wave) * 10 / np.log(10)
    np.testing.assert_array_equal(drawn, wanted)
    low, high = mesh.get_clim()
    assert high == wanted.max() and np.isclose(high - low, 60)
    edges = mesh.get_coordinates()  # (band, frame) -> (s, Hz)
    assert np.isclose(edges[0, 100, 0], 1.0 - 0.01 / 2)  # a frame is drawn around its first sample's time
    heights = np.diff(axes.transData.transform(edges[:, 0])[:, 1])
    np.testing.assert_allclose(heights, heights.mean(), rtol=0.05)
    band = drawn[150].argmax()
    assert edges[band, 0, 1] < 1000 < edges[band + 1, 0, 1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.25", "0.5", "1", "2", "4"]
