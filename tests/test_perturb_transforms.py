"""The perturbations as Grain transforms: fields stay, and the draw depends on the seed alone."""

from __future__ import annotations

from typing import Any

import grain.python as grain
import numpy as np
import pytest

from mdasr.perturb import TRAINING_CODECS, Codec, Policy, Recipe, encode_decode, narrowband, perturb
from mdasr.perturb.transforms import AddRoom, EncodeDecode, Gain, Narrowband, Perturb
from tests.sounds import NOISES, tone


class Source:
    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"audio": tone(4_000 + 100 * i), "text": f"utterance {i}"}


def run(transform: grain.RandomMapTransform, seed: int = 1, threads: int = 0) -> list[dict[str, Any]]:
    dataset = grain.MapDataset.source(Source()).seed(seed).random_map(transform)
    return list(dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads)))


@pytest.mark.parametrize(
    "transform",
    [AddRoom(NOISES), Gain(), Narrowband(), EncodeDecode(), Perturb(Policy(0.5, noises=tuple(NOISES)), NOISES)],
    ids=lambda t: type(t).__name__,
)
def test_elements_keep_their_fields_and_the_draw_depends_on_the_seed_alone(transform):
    found = run(transform)
    assert [e["text"] for e in found] == [f"utterance {i}" for i in range(12)]
    assert all(e["audio"].shape == (4_000 + 100 * i,) and e["audio"].dtype == np.float32 for i, e in enumerate(found))
    for mine, again in zip(found, run(transform, threads=3)):
        np.testing.assert_array_equal(mine["audio"], again["audio"])
    assert any(not np.array_equal(a["audio"], b["audio"]) for a, b in zip(found, run(transform, seed=2)))


def test_each_does_what_it_is_named_after():
    plain = [Source()[i]["audio"] for i in range(12)]
    for wave, found in zip(plain, run(Narrowband(probability=1.0))):
        np.testing.assert_array_equal(found["audio"], narrowband(wave))
    for wave, found in zip(plain, run(EncodeDecode((Codec("mp3", 32),)))):
        np.testing.assert_array_equal(found["audio"], encode_decode(wave, Codec("mp3", 32)))
    for wave, found in zip(plain, run(Gain((-20.0, -20.0)))):
        np.testing.assert_allclose(found["audio"], wave / 10, rtol=1e-6)
    for transform in (
        Gain((0.0, 0.0)),
        Narrowband(probability=0.0),
        AddRoom(NOISES, probability=0.0),
        EncodeDecode((None,)),
    ):
        for wave, found in zip(plain, run(transform)):
            np.testing.assert_array_equal(found["audio"], wave)
    assert all(not np.allclose(w, f["audio"], atol=1e-4) for w, f in zip(plain, run(AddRoom(NOISES))))


def test_the_whole_chain_leaves_its_recipe():
    policy = Policy(0.7, noises=tuple(NOISES), codecs=TRAINING_CODECS)
    found = run(Perturb(policy, NOISES))
    assert len({e["recipe"] for e in found}) == 12
    for i, element in enumerate(found):
        again = perturb(Source()[i]["audio"], Recipe.from_json(element["recipe"]), NOISES)
        np.testing.assert_array_equal(element["audio"], again)
