"""Memory over a long run of the whole chain, as in a loader's worker."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from mdasr.frontend import log_mel
from mdasr.perturb import TRAINING_CODECS, UNSEEN_CODECS, Policy, draw, perturb
from mdasr.perturb.noises import make_noises


@pytest.mark.slow
def test_memory_is_flat_over_20_000_utterances(capsys):
    noises = make_noises("dev")
    policy = Policy(0.5, noises=tuple(noises), codecs=(*TRAINING_CODECS, *UNSEEN_CODECS), warp=(0.9, 1.1))
    rng = np.random.default_rng(0)
    peaks_mib = []
    for i in range(20_000):
        wave = (0.05 * rng.standard_normal(int(rng.integers(2_000, 12_000)))).astype(np.float32)
        log_mel(perturb(wave, recipe := draw(policy, 0, f"memory/{i}", 0), noises), recipe.warp)
        if i % 2_000 == 1_999:
            peaks_mib.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    with capsys.disabled():
        print(f"\npeak memory after 2,000 utterances: {peaks_mib[0]:.0f} MiB, after 20,000: {peaks_mib[-1]:.0f} MiB")
    assert peaks_mib[-1] - peaks_mib[0] < 16
