"""Sounds to distort, and noises to distort them with."""

import numpy as np

NOISES = {
    name: (0.1 * np.random.default_rng(i).standard_normal(60_000)).astype(np.float32)
    for i, name in enumerate(("a", "b", "c"))
}


def tone(samples: int = 24_000) -> np.ndarray:
    hiss = 0.01 * np.random.default_rng(0).standard_normal(samples)
    return (0.1 * (np.sin(2 * np.pi * 440 * np.arange(samples) / 16_000) + hiss)).astype(np.float32)
