"""Rooms: early reflections against pyroomacoustics and by hand, decay, levels, and how noise is added."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.signal
import scipy.stats

from mdasr.perturb import (
    EVALUATION_ROOMS,
    KIM_ROOMS,
    TRAINING_ROOMS,
    MeasuredNoise,
    MeasuredRoom,
    NoiseSource,
    Room,
    RoomRanges,
    add_room,
    draw_measured_room,
    draw_room,
    impulse_responses,
)
from mdasr.perturb.loudness import active_power
from mdasr.perturb.responses import LEAD
from mdasr.perturb.room import _convolve
from tests.sounds import noise_level_db, speech_level_db

SNIPPETS = ("hiss", "hum", "short")


@pytest.fixture(scope="module")
def noises() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    hum = np.sin(2 * np.pi * 500 * np.arange(80_000) / 16_000)
    signals = {"hiss": rng.standard_normal(100_000), "hum": hum, "short": rng.standard_normal(2_000)}
    return {name: (0.05 * wave).astype(np.float32) for name, wave in signals.items()}


def steady(samples: int, level: float = 0.02) -> np.ndarray:
    return (level * np.random.default_rng(1).standard_normal(samples)).astype(np.float32)


def room(**changes) -> Room:
    plain = Room(
        size_m=(6.0, 4.0, 3.0),
        rt60_s=0.4,
        microphone_m=(2.0, 1.5, 1.2),
        target_m=(4.5, 2.5, 1.6),
        sources=(NoiseSource((1.0, 3.5, 2.0), "hiss", 0.25),),
        snr_db=10.0,
        tail_seed=3,
    )
    return dataclasses.replace(plain, **changes)


def decay_time_s(response: np.ndarray) -> float:
    """Return the RT60 from -5 to -35 dB of Schroeder's backward integral, in 125-7000 Hz."""
    band = scipy.signal.butter(4, [125, 7000], "band", fs=16_000, output="sos")
    energy = np.cumsum(scipy.signal.sosfilt(band, response.astype(float))[::-1] ** 2)[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-20)
    fitted = np.flatnonzero((level_db < -5) & (level_db > -35))
    return float(-60 / np.polyfit(fitted / 16_000, level_db[fitted], 1)[0])


def test_rt60_is_what_was_asked():
    ratios = []
    for i in range(50):
        drawn = draw_room(i, 0, SNIPPETS)
        rt60_s = 0.2 + 0.7 * i / 49
        response = impulse_responses(dataclasses.replace(drawn, rt60_s=rt60_s))[0, LEAD:]
        ratios.append(decay_time_s(response) / rt60_s)
    assert np.median(ratios) == pytest.approx(1, abs=0.02)
    assert np.abs(np.array(ratios) - 1).max() < 0.1


def test_early_reflections_are_those_of_pyroomacoustics():
    band = scipy.signal.butter(4, [125, 7000], "band", fs=16_000, output="sos")
    early = slice(0, LEAD + int(0.015 * 16_000))
    for rooms in (room(), room(rt60_s=0.25, target_m=(2.2, 3.4, 0.9)), draw_room(3, 3, SNIPPETS)):
        ours, theirs = impulse_responses(rooms)[:, early], impulse_responses(rooms, "reference")[:, early]
        assert len(ours) == 1 + len(rooms.sources)
        for a, b in zip(ours, theirs):
            a, b = (scipy.signal.sosfiltfilt(band, np.pad(x, 500).astype(float)) for x in (a, b))
            assert 10 * np.log10(np.sum((a - b) ** 2) / np.sum(b**2)) < -30


def test_each_early_reflection_has_its_time_and_gain():
    """The room is large, so its first reflections are separate. The mirror images of the source give them by hand."""
    large = room(
        size_m=(31.0, 23.0, 14.0), microphone_m=(12.0, 8.0, 5.1), target_m=(15.0, 6.5, 5.5), rt60_s=0.8, sources=()
    )
    size, mic, target = map(np.array, (large.size_m, large.microphone_m, large.target_m))
    volume, surface = size.prod(), 2 * (size[0] * size[1] + size[1] * size[2] + size[2] * size[0])
    wall = np.exp(-12 * np.log(10) * volume / (343 * surface * 0.8))
    response = impulse_responses(large)[0].astype(float)
    fine = scipy.signal.resample(response, 16 * len(response))
    direct_m = np.linalg.norm(target - mic)
    for axis in range(3):
        for side in (0.0, size[axis]):
            image = target.copy()
            image[axis] = 2 * side - target[axis]
            path_m = np.linalg.norm(image - mic)
            at = LEAD + (path_m - direct_m) / 343 * 16_000
            around = fine[int(16 * (at - 2)) : int(16 * (at + 2)) + 1]
            found = (int(16 * (at - 2)) + np.abs(around).argmax()) / 16
            assert abs(found - at) < 1
            direct = np.abs(fine[16 * (LEAD - 2) : 16 * (LEAD + 2)]).max()
            assert np.abs(around).max() / direct == pytest.approx(wall * direct_m / path_m, rel=0.05)


def test_the_reference_back_end_has_the_same_decay():
    small = room(size_m=(3.0, 3.5, 2.5), microphone_m=(1.0, 1.5, 1.2), target_m=(2.0, 2.5, 1.6), rt60_s=0.2, sources=())
    wave = steady(8_000)
    assert decay_time_s(impulse_responses(small, "reference")[0, LEAD:]) == pytest.approx(0.2, rel=0.2)
    ours, theirs = (add_room(wave, small, {}, backend=backend) for backend in ("fast", "reference"))
    assert active_power(ours) == pytest.approx(active_power(theirs), rel=0.05)


def test_the_direct_path_is_at_the_lead_with_gain_one_over_distance():
    for i in range(20):
        drawn = dataclasses.replace(draw_room(i, 1, SNIPPETS), rt60_s=0.0)
        responses = impulse_responses(drawn)
        places = [drawn.target_m, *(source.position_m for source in drawn.sources)]
        distances_m = np.linalg.norm(np.subtract(places, drawn.microphone_m), axis=1)
        assert (np.abs(responses).argmax(axis=1) == LEAD).all()
        # Without reflections there is one impulse, through a filter of unit gain up to 7 kHz.
        gains = np.abs(np.fft.rfft(responses, 4096)[:, 100:1790])
        np.testing.assert_allclose(gains, np.repeat(1 / distances_m[:, None], 1690, axis=1), rtol=0.015)


def test_tail_continues_the_level_of_the_images():
    """The reverberant energy is that of a diffuse field in statistical room acoustics."""
    ratios = []
    for i in range(40):
        drawn = dataclasses.replace(draw_room(i, 2, SNIPPETS), rt60_s=0.6, sources=())
        response = impulse_responses(drawn)[0].astype(float)
        length, width, height = drawn.size_m
        surface = 2 * (length * width + width * height + height * length)
        exponent = 24 * np.log(10) * length * width * height / (343 * surface * 0.6)
        distance_m = np.linalg.norm(np.subtract(drawn.target_m, drawn.microphone_m))
        # Barron's revised theory: what comes after the direct sound has lost energy on its way already.
        field = 16 * np.pi / (surface * exponent) * np.exp(-6 * np.log(10) * distance_m / 343 / 0.6)
        ratios.append((np.sum(response**2) - 1 / distance_m**2) / field)
    assert 10 * np.log10(np.median(ratios)) == pytest.approx(0, abs=1)


@pytest.mark.parametrize("samples", [1, 2, 319, 320, 5_000, 48_000, 160_001])
def test_length_dtype_and_finiteness(noises, samples):
    heard = add_room(steady(samples), room(), noises)
    assert heard.dtype == np.float32 and heard.shape == (samples,)
    assert np.isfinite(heard).all() and np.abs(heard).max() < 1


def test_snr_is_set_on_the_reverberant_speech(noises):
    spoken = np.concatenate([np.zeros(16_000, np.float32), steady(32_000), np.zeros(16_000, np.float32)])
    for snr_db in (0.0, 12.5, 30.0):
        mixed = room(snr_db=snr_db, rt60_s=0.2)
        alone = add_room(spoken, dataclasses.replace(mixed, sources=()), noises)
        noise = add_room(spoken, mixed, noises) - alone
        # Speech where somebody speaks, noise everywhere: the pauses do not count.
        assert speech_level_db(alone) - noise_level_db(noise) == pytest.approx(snr_db, abs=0.2)


def test_speech_keeps_its_level_and_its_time(noises):
    clicks = np.zeros(32_000, np.float32)
    clicks[1_000::3_000] = 0.5
    far = room(rt60_s=0.3, sources=())
    heard = add_room(clicks, far, noises)
    starts = [1_000 + 3_000 * i + int(np.abs(heard[1_000 + 3_000 * i - 60 :][:100]).argmax()) - 60 for i in range(10)]
    assert max(abs(start - (1_000 + 3_000 * i)) for i, start in enumerate(starts)) <= 1
    speech = steady(48_000)
    assert active_power(add_room(speech, far, noises)) == pytest.approx(active_power(speech), rel=0.01)


def test_without_noise_and_echo_the_wave_comes_through(noises):
    """Up to 7 kHz, a dry room only adds a delay, and the level is restored."""
    band = scipy.signal.butter(8, 7000, "low", fs=16_000, output="sos")
    speech = scipy.signal.sosfiltfilt(band, steady(20_000).astype(float)).astype(np.float32)
    heard = add_room(speech, room(rt60_s=0.0, sources=()), noises)
    np.testing.assert_allclose(heard[100:-100], (speech - speech.mean())[100:-100], atol=1e-4)


def test_a_short_snippet_is_looped_without_a_seam(noises):
    wave = steady(48_000, 0.001)
    quiet = room(rt60_s=0.0, snr_db=-40.0, sources=(NoiseSource((1.0, 3.5, 2.0), "short", 0.9),))
    heard = add_room(wave, quiet, noises).astype(float)
    level = np.sqrt(np.mean(heard.reshape(-1, 400) ** 2, axis=1))
    assert level.min() > 0.6 * level.mean()  # no gap, no fade to nothing at the seams
    tone = {"tone": (0.1 * np.sin(2 * np.pi * 437.3 * np.arange(3_000) / 16_000)).astype(np.float32)}
    hummed = add_room(wave, dataclasses.replace(quiet, sources=(NoiseSource((1.0, 3.5, 2.0), "tone", 0.0),)), tone)
    assert np.abs(np.diff(hummed, 2)).max() < 0.1 * np.abs(hummed).max()  # a jump would be a click


def test_several_sources_sum_and_the_same_room_gives_the_same_samples(noises):
    many = draw_room(7, 0, SNIPPETS, RoomRanges(sources=(4, 4)))
    assert len(many.sources) == 4
    wave = steady(30_000)
    np.testing.assert_array_equal(add_room(wave, many, noises), add_room(wave.copy(), many, dict(noises)))
    for dropped in range(4):
        fewer = many.sources[:dropped] + many.sources[dropped + 1 :]
        assert not np.allclose(
            add_room(wave, dataclasses.replace(many, sources=fewer), noises),
            add_room(wave, many, noises),
            atol=1e-5,
        )


def test_overlap_add_is_convolution():
    rng = np.random.default_rng(2)
    for samples, taps in ((1, 60), (700, 900), (5_000, 300), (20_000, 61)):
        signals, responses = (rng.standard_normal((3, n)).astype(np.float32) for n in (samples, taps))
        expected = sum(scipy.signal.convolve(x, h) for x, h in zip(signals.astype(float), responses))[:samples]
        np.testing.assert_allclose(_convolve(signals, responses), expected, atol=2e-4 * np.abs(expected).max())


def test_tails_end_where_asked():
    whole = impulse_responses(room(rt60_s=0.8))
    cut = impulse_responses(room(rt60_s=0.8, tail_cut_db=20.0))
    assert LEAD < cut.shape[1] < 0.7 * whole.shape[1]
    np.testing.assert_array_equal(cut, whole[:, : cut.shape[1]])
    quieter = np.abs(whole[:, cut.shape[1] :]).max(axis=1) < 0.1 * np.abs(whole).max(axis=1)
    assert quieter.all()


def test_measured_responses_take_the_simulators_place(noises):
    """The measured response is the simulator's, with the delay and the level of a recording."""
    simulated = room(rt60_s=0.3)
    found = impulse_responses(simulated)
    measured = {"far": np.pad(0.3 * found[0], (777, 0)), "corner": found[1], "loud": np.pad(5 * found[1], (3, 0))}
    names = MeasuredRoom("far", (MeasuredNoise("corner", "hiss", 0.25),), 10.0)
    wave = steady(20_000)
    expected = add_room(wave, simulated, noises)
    np.testing.assert_allclose(add_room(wave, names, noises, measured), expected, atol=1e-5)
    louder = dataclasses.replace(names, sources=(MeasuredNoise("loud", "hiss", 0.25),))
    np.testing.assert_allclose(add_room(wave, louder, noises, measured), expected, atol=1e-5)
    with pytest.raises(ValueError, match="response 'far' is missing"):
        add_room(wave, names, noises)
    for wrong in (np.zeros(0, np.float32), np.zeros(10, np.float32), np.full(10, np.nan, np.float32)):
        with pytest.raises(ValueError, match="response 'far': a room response must have finite samples"):
            add_room(wave, names, noises, measured | {"far": wrong})


def test_measured_rooms_are_drawn_from_seed_and_index():
    drawn = [draw_measured_room(i, 0, ("a", "b", "c"), SNIPPETS) for i in range(300)]
    assert drawn[7] == draw_measured_room(7, 0, ("a", "b", "c"), SNIPPETS) != draw_measured_room(7, 1, "abc", SNIPPETS)
    assert {r.response for r in drawn} == set("abc") and {len(r.sources) for r in drawn} == set(range(5))
    assert all(0 <= r.snr_db <= 30 for r in drawn)
    with pytest.raises(ValueError, match="needs measured responses"):
        draw_measured_room(0, 0, (), SNIPPETS)
    with pytest.raises(ValueError, match="no noise snippets"):
        draw_measured_room(0, 0, ("a",), (), RoomRanges(sources=(1, 1)))
    with pytest.raises(ValueError, match="snr_db"):
        MeasuredRoom("a", (), 300.0)
    with pytest.raises(ValueError, match="start"):
        MeasuredRoom("a", (MeasuredNoise("a", "hiss", 1.5),), 0.0)


def test_loud_mixtures_are_scaled_not_clipped(noises):
    heard = add_room(steady(16_000, 0.4), room(snr_db=0.0), noises)
    assert np.abs(heard).max() == pytest.approx(0.999, abs=1e-4)
    assert np.sum(np.abs(heard) > 0.99) < 5


def test_rooms_are_drawn_within_the_papers_ranges():
    rooms = [draw_room(i, 0, SNIPPETS) for i in (*range(400), *range(EVALUATION_ROOMS[0], EVALUATION_ROOMS[0] + 400))]
    distances_m = [np.linalg.norm(np.subtract(r.target_m, r.microphone_m)) for r in rooms]
    for values, low, high in (
        ([r.rt60_s for r in rooms], 0.0, 0.9),
        ([r.snr_db for r in rooms], 0.0, 30.0),
        (distances_m, 1.0, 10.0),
    ):
        assert low - 0.002 <= min(values) and max(values) <= high + 0.002
        # Uniform: a Kolmogorov-Smirnov distance that chance exceeds once in a thousand draws of 800.
        assert scipy.stats.kstest(values, "uniform", (low, high - low)).statistic < 1.95 / np.sqrt(len(rooms))
    counts = np.bincount([len(r.sources) for r in rooms], minlength=5)
    assert len(counts) == 5 and counts.min() > 100
    assert {source.snippet for r in rooms for source in r.sources} == set(SNIPPETS)
    assert len({r.tail_seed for r in rooms}) == 800
    nearest_m = min(np.linalg.norm(np.subtract(s.position_m, r.microphone_m)) for r in rooms for s in r.sources)
    assert nearest_m > 0.99


def absorbed(r: Room) -> float:
    """The share of the energy that a wall absorbs, by Eyring's formula."""
    length, width, height = r.size_m
    surface = 2 * (length * width + width * height + height * length)
    return 1 - np.exp(-24 * np.log(10) * length * width * height / (343 * surface * r.rt60_s))


def test_no_room_has_an_rt60_that_its_walls_cannot_give():
    rooms = [draw_room(i, 0, SNIPPETS) for i in range(1500)]
    assert max(absorbed(r) for r in rooms) < 0.991
    short = [r for r in rooms if r.rt60_s < 0.05]
    assert len(short) > 15, "small rooms may be nearly dry"
    dry = RoomRanges(rt60_s=(0.0, 0.0), distance_m=(1.0, 1.0))
    assert all(draw_room(i, 0, SNIPPETS, dry).rt60_s == 0 for i in range(20)), "a dry room is had for the asking"
    short_only = RoomRanges(rt60_s=(0.0, 0.01))
    assert {draw_room(i, 0, SNIPPETS, short_only).rt60_s for i in range(20)} == {0.01}


def test_the_rooms_of_kim_are_distributed_as_transcribed():
    rooms = [draw_room(i, 0, SNIPPETS, KIM_ROOMS) for i in range(2000)]
    distances_m = np.array([np.linalg.norm(np.subtract(r.target_m, r.microphone_m)) for r in rooms])
    for values, wanted, weights in (
        (distances_m, np.arange(1, 8), [14, 22, 29, 21, 9, 2, 1]),
        ([r.rt60_s for r in rooms], np.arange(10) / 10, [4, 6, 7, 10, 13, 17, 17, 13, 7, 4]),
    ):
        nearest = np.abs(np.subtract.outer(values, wanted)).argmin(axis=1)
        assert np.abs(values - wanted[nearest]).max() < 0.002
        counts = np.bincount(nearest, minlength=len(wanted))
        expected = np.array(weights) * len(rooms) / sum(weights)
        assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    assert distances_m.mean() == pytest.approx(3.0, abs=0.1)
    assert np.mean([r.rt60_s for r in rooms]) == pytest.approx(0.482, abs=0.02)
    assert np.mean([r.snr_db for r in rooms]) == pytest.approx(12, abs=1) and max(r.snr_db for r in rooms) == 30
    sizes_m = np.array([r.size_m for r in rooms])
    near = distances_m < 2.1  # a room is made large enough for its distance
    assert (sizes_m.min(0) >= [3, 3, 2.5]).all() and (sizes_m[near].max(0) <= [10, 8, 6]).all()
    assert scipy.stats.kstest(sizes_m[near, 0], "uniform", (3, 7)).pvalue > 1e-3
    for r in rooms:
        for place in (r.target_m, *(source.position_m for source in r.sources)):
            assert min(min(place), min(np.subtract(r.size_m, place))) > 0.498
    assert max(absorbed(r) for r in rooms if r.rt60_s) < 0.991


def test_a_room_depends_on_seed_and_index_alone():
    assert draw_room(5, 0, SNIPPETS) == draw_room(int(np.int64(5)), 0, SNIPPETS)
    assert draw_room(5, 0, SNIPPETS) != draw_room(5, 1, SNIPPETS)
    assert TRAINING_ROOMS[1] - TRAINING_ROOMS[0] == 3_000_000
    assert EVALUATION_ROOMS[0] >= TRAINING_ROOMS[1]
    gentle = RoomRanges(snr_db=(10.0, 30.0), rt60_s=(0.1, 0.3), distance_m=(1.0, 2.0), sources=(1, 1))
    drawn = [draw_room(i, 0, SNIPPETS, gentle) for i in range(50)]
    assert all(10 <= r.snr_db <= 30 and 0.1 <= r.rt60_s <= 0.3 and len(r.sources) == 1 for r in drawn)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rt60_s": -0.1}, "rt60_s -0.1"),
        ({"rt60_s": float("nan")}, "rt60_s nan"),
        ({"snr_db": float("inf")}, "snr_db inf"),
        ({"tail_cut_db": 0.0}, "tail_cut_db 0.0"),
        ({"size_m": (6.0, 0.0, 3.0)}, "size_m"),
        ({"microphone_m": (7.0, 1.0, 1.0)}, r"microphone_m \(7.0, 1.0, 1.0\) must lie inside"),
        ({"target_m": (1.0, 1.0, 3.0)}, "target_m"),
        ({"sources": (NoiseSource((1.0, -1.0, 1.0), "hiss", 0.0),)}, r"sources\[0\].position_m"),
        ({"sources": (NoiseSource((1.0, 1.0, 1.0), "hiss", 1.0),)}, r"sources\[0\].start 1.0"),
    ],
)
def test_an_impossible_room_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        room(**changes)


def test_impossible_ranges_are_refused():
    with pytest.raises(ValueError, match="snr_db"):
        RoomRanges(snr_db=(30.0, 0.0))
    for impossible in (
        {"distance_m": (0.0, 1.0)}, {"distance_m": (1.0, 300.0)}, {"rt60_s": (0.0, 20.0)}, {"tail_cut_db": -3.0},
        {"margin_m": 0.0}, {"width_m": (9.0, 3.0)}, {"rt60_weights": (1.0, -1.0)}, {"snr_weights": (0.0, 0.0)},
        {"snr_db": (0.0, np.inf)}, {"snr_db": (0.0, np.nan)}, {"sources": (-1, 2)}, {"floor_m": (3.0, 200.0)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(impossible))):
            RoomRanges(**impossible)
    widest = RoomRanges((-50.0, 100.0), (0.0, 10.0), (0.001, 99.0), (0, 9), (0.5, 100.0), (0.5, 100.0), 200.0)
    for index in range(50):
        draw_room(index, 0, ("hiss",), widest)
    with pytest.raises(ValueError, match="no noise snippets"):
        draw_room(0, 0, (), RoomRanges(sources=(1, 1)))


def test_bad_waves_and_noises_are_named(noises):
    with pytest.raises(ValueError, match="digital silence"):
        add_room(np.zeros(8_000, np.float32), room(), noises)
    with pytest.raises(ValueError, match="'hiss' is missing or empty"):
        add_room(steady(8_000), room(), {})
    with pytest.raises(ValueError, match="'hiss' is missing or empty"):
        add_room(steady(8_000), room(), {"hiss": np.zeros(0, np.float32)})
    # A dry room needs no SNR, so silence stays silence; so does a wave without samples.
    assert not add_room(np.zeros(8_000, np.float32), room(sources=()), {}).any()
    assert add_room(np.zeros(0, np.float32), room(sources=()), {}).shape == (0,)
    # A stretch of silence in a noise adds nothing rather than an infinite gain.
    silent = add_room(steady(8_000), room(), {"hiss": np.zeros(90_000, np.float32)})
    np.testing.assert_allclose(silent, add_room(steady(8_000), room(sources=()), {}), atol=1e-4)
