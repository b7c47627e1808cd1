"""Quiet speech is recognised about as well as loud speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mdasr.recognize.report import wer_cell
from mdasr.score.wer import Scored

MOST_WORSE = {-10.0: 1.10, -20.0: 1.25}  # by gain in dB: the WER, relative to that of the speech as it was recorded


def as_16_bits(wave: np.ndarray) -> np.ndarray:
    return (np.rint(wave * 32768).clip(-32768, 32767) / 32768).astype(np.float32)


def wer(scored: Sequence[Scored]) -> float:
    return wer_cell(scored)["wer"]


@pytest.mark.slow
def test_the_demos_model_understands_quiet_speech(tmp_path):
    from experiments.laboratory import Laboratory
    from experiments.models import VSD_NOISE
    from experiments.testsets import VOICESEARCH
    from mdasr.recognize.words import evaluate
    from mdasr.training.scales import MINI

    laboratory = Laboratory(tmp_path, MINI)
    recognizer = laboratory.recognizer(VSD_NOISE)
    utterances = laboratory.utterances(VOICESEARCH)

    def heard(gain_db: float, bits: bool) -> float:
        waves = [utterance.samples * np.float32(10 ** (gain_db / 20)) for utterance in utterances]
        return wer([*evaluate(recognizer, utterances, [as_16_bits(wave) for wave in waves] if bits else waves)])

    as_recorded = heard(0.0, False)
    found = {(gain_db, bits): heard(gain_db, bits) for gain_db in MOST_WORSE for bits in (False, True)}
    print(as_recorded, found)
    for (gain_db, bits), quiet in found.items():
        assert quiet <= MOST_WORSE[gain_db] * as_recorded, (gain_db, "16 bits" if bits else "float", found)
