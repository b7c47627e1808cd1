"""Speed, equaliser, clipping, masks and weighted codecs: each against another program's definition or a plain loop."""

from __future__ import annotations

import dataclasses
import json
import math

import jsonschema
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from mdasr import frontend
from mdasr.acoustic.loader import RowMaker, measure_stats
from mdasr.acoustic.row_schedule import RowOptions, RowPlan, Source
from mdasr.frontend import PAPER_STEPS
from mdasr.perturb import TRAINING_CODECS, NoiseAlone, Policy, Recipe, draw, perturb
from mdasr.perturb.clipping import overdriven
from mdasr.perturb.equaliser import MICROPHONE_HZ, equalise
from mdasr.perturb.masks import BANDS, BandMask, MaskRanges, TimeMask, masked
from mdasr.perturb.speed import at_speed, num_samples_at
from tests.sounds import NOISES, tone
from tests.tasks import rows_of
from tests.toy_speech import TREE, toy_corpus

PLAIN = Policy(noise_probability=0.5, noises=tuple(NOISES), codecs=TRAINING_CODECS, gain_db=(-30.0, 10.0))
CHANGES = {
    "speed": {"speeds": (0.9, 1.0, 1.1)},
    "equaliser_db": {"equaliser_probability": 0.7},
    "clipped_share": {"clipping_probability": 0.7},
    "time_masks": {"masks": MaskRanges(times=2)},
    "band_masks": {"masks": MaskRanges(bands=1)},
    "codec": {"codec_weights": (1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0)},
    "noise_alone": {"noise_alone_probability": 0.3},
}
EVERYTHING = dataclasses.replace(PLAIN, **{k: v for c in CHANGES.values() for k, v in c.items()}, warp=(0.9, 1.1))


def drawn(policy: Policy, count: int = 200) -> list[Recipe]:
    return [draw(policy, 0, f"corpus/{i}", i % 3) for i in range(count)]


@pytest.mark.parametrize("name", CHANGES)
def test_each_has_a_stream_of_its_own_and_is_off_by_default(name):
    plain, changed = drawn(PLAIN), drawn(dataclasses.replace(PLAIN, **CHANGES[name]))
    default = getattr(Recipe(), name)
    assert name == "codec" or all(getattr(recipe, name) == default for recipe in plain)
    same = [dataclasses.replace(recipe, **{name: getattr(old, name)}) for recipe, old in zip(changed, plain)]
    assert same == plain
    assert len({getattr(recipe, name) for recipe in changed}) > 2


def test_recipes_with_everything_are_stored_and_replayed():
    validator = jsonschema.Draft202012Validator(Recipe.json_schema())
    for recipe in drawn(EVERYTHING, 12):
        validator.validate(json.loads(recipe.to_json()))
        again = Recipe.from_json(recipe.to_json())
        assert again == recipe
        heard = perturb(tone(8000), recipe, NOISES)
        np.testing.assert_array_equal(perturb(tone(8000), again, NOISES), heard)
        assert heard.dtype == np.float32 and len(heard) == round(8000 / recipe.speed) and np.abs(heard).max() <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speed": 3.0}, "speed must lie between 0.5 and 2.0"),
        ({"clipped_share": 1.0}, "clipped_share must lie between 0 and 0.9"),
        ({"equaliser_db": (1.0, 2.0)}, "equaliser_db must hold 7 gains"),
        ({"equaliser_db": (99.0,) * 7}, "equaliser_db must lie between"),
        ({"noise_alone": {"snippet": "a", "start": 1.0}}, "start 1.0 must be a share"),
    ],
)
def test_an_impossible_recipe_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(json.dumps({**json.loads(Recipe().to_json()), **fields}))


def test_impossible_ranges_are_refused():
    for fields, message in (
        ({"speeds": ()}, "speeds"), ({"speeds": (1.0, 9.0)}, "speeds"),
        ({"clipped_share": (0.3, 0.1)}, "clipped_share"),
        ({"equaliser_probability": 2.0}, "equaliser_probability"), ({"codec_weights": (1.0, 2.0)}, "must be 1 numbers"),
        ({"codec_weights": (0.0,)}, "not all 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Policy(**fields)
    for wrong in ({"times": -1}, {"length_s": (1.0, 0.5)}, {"width": (0, 129)}):
        with pytest.raises(ValueError, match="masks: "):
            MaskRanges(**wrong)
    with pytest.raises(ValueError, match="band mask"):
        BandMask(120, 9)
    with pytest.raises(ValueError, match="time mask"):
        TimeMask(1.5, 0.1)


def test_clipping_is_that_of_audiomentations():
    """Its `ClippingDistortion(percentile_threshold=p)` clips at the percentiles p // 2 and 100 - p // 2."""
    wave = tone()
    for percent in (2, 10, 40):
        low, high = np.percentile(wave, [percent // 2, 100 - percent // 2])
        heard = perturb(wave, Recipe(clipped_share=percent / 100), {})
        np.testing.assert_allclose(heard, np.clip(wave, low, high), rtol=1e-6)
        assert np.mean((heard == heard.min()) | (heard == heard.max())) == pytest.approx(percent / 100, abs=1e-3)
    np.testing.assert_array_equal(overdriven(wave, 0.0), wave)
    np.testing.assert_allclose(overdriven(wave / 8, 0.2), overdriven(wave, 0.2) / 8, rtol=1e-5)


def test_the_equaliser_has_the_gains_that_are_given():
    """Scipy's frequency response of the impulse response, beside straight lines over the logarithm of frequency."""
    gains_db = (6.0, -3.0, 0.0, 4.0, -8.0, 2.0, 5.0)
    impulse = np.zeros(8192, np.float32)
    impulse[4096] = 1
    hz = np.geomspace(125, 7900, 60)
    _, response = scipy.signal.freqz(equalise(impulse, MICROPHONE_HZ, gains_db), worN=hz, fs=16_000)
    wanted = np.interp(np.log2(hz), np.log2(MICROPHONE_HZ), gains_db)
    np.testing.assert_allclose(20 * np.log10(np.abs(response)), wanted, atol=0.1)
    assert np.abs(np.unwrap(np.angle(response * np.exp(2j * np.pi * hz / 16_000 * 4096)))).max() < 0.02, "no delay"
    heard = perturb(tone(), Recipe(equaliser_db=gains_db), {})
    np.testing.assert_allclose(heard, equalise(tone(), MICROPHONE_HZ, gains_db), atol=1e-7)
    full = np.sign(tone()) * np.float32(0.99)
    assert np.abs(perturb(full, Recipe(equaliser_db=(20.0,) * 7), {})).max() <= 0.999 + 1e-6, "it does not clip"


def test_speed_is_resampling():
    """Scipy's polyphase filter plays the wave at 11/10 of its speed; a tone of 440 Hz becomes one of 484 Hz."""
    rng = np.random.default_rng(0)
    low = scipy.signal.butter(8, 5000, fs=16_000, output="sos")
    wave = scipy.signal.sosfiltfilt(low, 0.1 * rng.standard_normal(22_000)).astype(np.float32)
    heard, theirs = at_speed(wave, 1.1), scipy.signal.resample_poly(wave, 10, 11)
    assert len(heard) == 20_000
    inside = slice(500, -500)
    assert np.abs(heard - theirs)[inside].max() < 0.01 * np.abs(theirs).max()
    for speed in (0.9, 1.1):
        spectrum = np.abs(np.fft.rfft(at_speed(tone(16_000), speed) * np.hanning(round(16_000 / speed))))
        assert spectrum.argmax() * 16_000 / round(16_000 / speed) == pytest.approx(440 * speed, abs=1)
    for samples in (0, 1, 7, 9_999):
        assert len(at_speed(tone(samples), 0.9)) == num_samples_at(samples, 0.9) == round(samples / 0.9)
    np.testing.assert_array_equal(at_speed(wave, 1.0), wave)


def test_masks_hide_what_they_say():
    mel = np.random.default_rng(0).standard_normal((100, BANDS)).astype(np.float32)
    heard = masked(mel, (TimeMask(0.0, 0.1), TimeMask(1.0, 0.05)), (BandMask(120, 8),))
    for frame in range(100):
        for band in range(BANDS):
            hidden = frame < 10 or frame >= 95 or band >= 120
            assert heard[frame, band] == (mel.mean(axis=0)[band] if hidden else mel[frame, band])
    np.testing.assert_array_equal(masked(mel, (), ()), mel)
    assert masked(mel, (TimeMask(0.5, 60.0),), ()).std(axis=0).max() < 1e-5, "a mask may be longer than the utterance"
    assert masked(mel[:0], (TimeMask(0.5, 0.1),), (BandMask(0, 3),)).shape == (0, BANDS)
    recipes = drawn(dataclasses.replace(PLAIN, masks=MaskRanges(2, (0.0, 0.3), 2, (0, 20))))
    widths = [mask.width for recipe in recipes for mask in recipe.band_masks]
    assert {*widths} == {*range(21)} and max(m.first + m.width for r in recipes for m in r.band_masks) > 120
    starts = [mask.start for recipe in recipes for mask in recipe.time_masks]
    assert scipy.stats.kstest(starts, "uniform").pvalue > 1e-3


def test_codecs_are_drawn_by_their_weights():
    weights = (4, 0, 1, 1, 1, 2, 1)
    recipes = drawn(dataclasses.replace(PLAIN, codec_weights=weights), 1000)
    counts = np.array([sum(recipe.codec == codec for recipe in recipes) for codec in TRAINING_CODECS])
    kept = np.array(weights) > 0
    assert counts[1] == 0
    assert scipy.stats.chisquare(counts[kept], 100 * np.array(weights)[kept]).pvalue > 1e-3


SPEEDS = Policy(narrowband_probability=0.0, speeds=(0.9, 1.0, 1.1))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Source]:
    seconds = [*np.random.default_rng(1).uniform(0.5, 2.5, 30).round(2).tolist(), 7.3]
    fast, plain = (toy_corpus(tmp_path_factory.mktemp(name), seconds, domain=name) for name in ("fast", "plain"))
    return [Source(fast, "exact", SPEEDS), Source(plain, "exact", dataclasses.replace(SPEEDS, speeds=(1.0,)))]


def test_rows_are_planned_by_the_speed_of_each_visit(sources):
    plan = RowPlan(sources, RowOptions(100, 3), seed=1)
    speeds = {}
    for epoch in range(3):
        steps = {}
        for row in rows_of(plan, epoch):
            for piece in row:
                visit = piece.source, piece.utterance, piece.visit
                steps[visit] = steps.get(visit, 0) + piece.steps
        for (source, utterance, visit), count in steps.items():
            speed = plan.speed(source, utterance, visit)
            speeds.setdefault((source, utterance), []).append(speed)
            samples = int(sources[source].corpus.num_samples[utterance])
            assert count == PAPER_STEPS.steps_in(round(samples / speed))
    assert all(sorted(of) == ([0.9, 1.0, 1.1] if source == 0 else [1.0] * 3) for (source, _), of in speeds.items())
    assert len({tuple(of) for (source, _), of in speeds.items() if source == 0}) == 3, "they begin at a random speed"


def test_frames_and_labels_follow_the_speed(sources):
    stats = measure_stats(sources, "log_mel", {}, 0)
    maker = RowMaker(sources, TREE, "log_mel", stats, {}, RowOptions(100, 3), seed=4)
    silence, aa, _ = TREE.leaves(("SIL", "AA", "S"))
    for visit in range(3):
        speed, frames = maker._plan.speed(0, 30, visit), maker.features_of(0, 30, visit)
        labels = maker.labels(0, 30, visit)
        assert len(labels) == PAPER_STEPS.num_steps(len(frames)) == PAPER_STEPS.steps_in(round(116_800 / speed))
        level = frames[PAPER_STEPS.label_frame :: PAPER_STEPS.stride][: len(labels)] * stats.std + stats.mean
        assert (level[labels == silence].max(axis=1) < -13).mean() > 0.95
        assert (level[labels == aa][:, :30].max(1) > level[labels == aa][:, 60:].max(1) + 5).mean() > 0.95
        assert frontend.num_frames(round(116_800 / speed)) == len(frames)


def test_noise_alone_is_as_loud_as_the_speech_and_holds_none_of_it():
    """The level is P.56's by another program's definition of power: the noise is steady, so all of it is active."""
    pause = np.zeros(16_000, np.float32)
    wave = np.concatenate([pause, 0.3 * tone(16_000), pause]).astype(np.float32)
    noise = {"hiss": np.random.default_rng(0).normal(0, 0.01, 9_000).astype(np.float32)}
    heard = perturb(wave, Recipe(noise_alone=NoiseAlone("hiss", 0.4)), noise)
    assert len(heard) == len(wave)
    active = wave[16_000 : 32_000 + 3_200]  # P.56 counts 200 ms after the speech as active
    assert 10 * np.log10(np.mean(heard**2) / np.mean(active**2)) == pytest.approx(0, abs=0.3)
    assert abs(np.corrcoef(heard[16_000:32_000], wave[16_000:32_000])[0, 1]) < 0.03
    again = perturb(0.1 * wave, Recipe(noise_alone=NoiseAlone("hiss", 0.4)), noise)
    np.testing.assert_allclose(again, 0.1 * heard, atol=1e-6)
    with pytest.raises(ValueError, match="'hum' is missing"):
        perturb(wave, Recipe(noise_alone=NoiseAlone("hum", 0.0)), noise)
    with pytest.raises(ValueError, match="some visits are noise alone"):
        Policy(noise_alone_probability=0.1)


def test_visits_of_noise_alone_are_labelled_with_silence_and_change_no_other(sources):
    stats = measure_stats(sources, "log_mel", {}, 0)
    policy = dataclasses.replace(sources[0].policy, noises=tuple(NOISES), noise_alone_probability=0.5)
    noisy = [dataclasses.replace(sources[0], policy=policy), *sources[1:]]
    plain, mixed = (
        RowMaker(each, TREE, "log_mel", stats, NOISES, RowOptions(100, 3), seed=4) for each in (sources, noisy)
    )
    silence = TREE.leaves(("SIL",))[0]
    alone = []
    for visit in range(12):
        said, heard = plain.labels(0, 30, visit), mixed.labels(0, 30, visit)
        frames, clean = mixed.features_of(0, 30, visit), plain.features_of(0, 30, visit)
        alone.append(bool(mixed.recipe(0, sources[0].corpus[30], visit, math.inf).noise_alone))
        np.testing.assert_array_equal(heard, np.full_like(said, silence) if alone[-1] else said)
        assert np.array_equal(frames, clean) != alone[-1]
    assert 2 < sum(alone) < 10
    late = RowMaker(noisy, TREE, "log_mel", stats, NOISES, RowOptions(100, 3, speech_rows=7), seed=4)
    first = alone.index(True)
    assert not late.recipe(0, sources[0].corpus[30], first, 6).noise_alone
    assert late.recipe(0, sources[0].corpus[30], first, 7) == mixed.recipe(0, sources[0].corpus[30], first, 7)
    np.testing.assert_array_equal(late.labels(0, 30, first, 6), plain.labels(0, 30, first))
    np.testing.assert_array_equal(late.labels(0, 30, first, 7), mixed.labels(0, 30, first))
