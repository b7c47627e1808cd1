"""Recipes: what is drawn follows the policy and the key alone, survives JSON, and replays to the same samples."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import scipy.stats

from mdasr.perturb import (
    EVALUATION_ROOMS,
    FURTHER_CODECS,
    TRAINING_CODECS,
    Codec,
    MeasuredRoom,
    PacketLoss,
    Policy,
    Recipe,
    Room,
    RoomRanges,
    draw,
    encode_decode,
    narrowband,
    perturb,
    random_stream,
    substream,
)
from mdasr.perturb.gain import amplified
from mdasr.perturb.recipe import VERSION
from mdasr.perturb.room import add_room
from tests.sounds import NOISES, tone

POLICY = Policy(noise_probability=0.7, noises=tuple(NOISES), codecs=TRAINING_CODECS)
KEYS = [(f"corpus/{i}", visit) for i in range(150) for visit in range(2)]


@cache
def drawn(policy: Policy = POLICY, seed: int = 0) -> list[Recipe]:
    return [draw(policy, seed, key, visit) for key, visit in KEYS]


def test_draws_follow_the_policy():
    recipes = drawn()
    assert np.mean([r.room is not None for r in recipes]) == pytest.approx(0.7, abs=0.1)
    assert np.mean([r.narrowband for r in recipes]) == pytest.approx(0.5, abs=0.1)
    counts = [sum(r.codec == codec for r in recipes) for codec in TRAINING_CODECS]
    # Uniform over seven: a chi-square that chance exceeds once in a thousand times.
    assert sum((c - 300 / 7) ** 2 / (300 / 7) for c in counts) < 22.5
    # The three are drawn independently.
    flags = np.array([[r.room is not None, r.narrowband, r.codec is None] for r in recipes], float)
    assert np.abs(np.corrcoef(flags.T) - np.eye(3)).max() < 0.15


def test_streams_of_neighbouring_keys_are_uniform_and_unrelated():
    values = np.array(
        [[substream(0, f"corpus/{i}", visit, "bandwidth").random() for visit in range(2)] for i in range(3000)]
    )
    # Four standard deviations each, of a share of 6000 and of a correlation of 3000.
    assert np.mean(values < 0.5) == pytest.approx(0.5, abs=0.026)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.073
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.073


def test_a_draw_depends_on_its_own_key_alone():
    assert [draw(POLICY, 0, key, visit) for key, visit in reversed(KEYS)] == drawn()[::-1]
    rooms = [r.room for r in drawn() if r.room]
    assert len(set(rooms)) == len(rooms)
    assert drawn(seed=1) != drawn()


def test_allowing_one_perturbation_changes_no_other_draw():
    full = drawn()
    silent = drawn(dataclasses.replace(POLICY, noise_probability=0.0))
    wide = drawn(dataclasses.replace(POLICY, narrowband_probability=0.0))
    plain = drawn(dataclasses.replace(POLICY, codecs=(None,)))
    assert [(r.narrowband, r.codec) for r in silent] == [(r.narrowband, r.codec) for r in full]
    assert [(r.room, r.codec) for r in wide] == [(r.room, r.codec) for r in full]
    assert [(r.room, r.narrowband) for r in plain] == [(r.room, r.narrowband) for r in full]
    assert all(r.room is None for r in silent) and not any(r.narrowband for r in wide)
    warped = drawn(dataclasses.replace(POLICY, warp=(0.9, 1.1)))
    assert [dataclasses.replace(r, warp=1.0) for r in warped] == full
    assert all(0.9 <= r.warp <= 1.1 for r in warped) and len({r.warp for r in warped}) > 15
    louder = drawn(dataclasses.replace(POLICY, gain_db=(-30.0, 10.0)))
    assert [dataclasses.replace(r, gain_db=0.0) for r in louder] == full
    gains = [r.gain_db for r in louder]
    assert scipy.stats.kstest(gains, "uniform", (-30, 40)).pvalue > 1e-3 and len(set(gains)) > 250
    # More noise keeps the noise that was there.
    noisier = drawn(dataclasses.replace(POLICY, noise_probability=1.0))
    assert all(a.room in (None, b.room) and b.room is not None for a, b in zip(full, noisier))


def test_streams_are_fixed_for_ever_and_apart():
    first = substream(0, "corpus/1", 0, "room").random(4)
    np.testing.assert_array_equal(first, substream(0, "corpus/1", 0, "room").random(4))
    others = [
        substream(1, "corpus/1", 0, "room"), substream(0, "corpus/2", 0, "room"),
        substream(0, "corpus/1", 1, "room"), substream(0, "corpus/1", 0, "codec"),
    ]  # fmt: skip
    assert all(abs(other.random(4) - first).min() > 1e-9 for other in others)
    # A key is a sequence, not its parts run together; numpy's integers are integers.
    assert random_stream("a", "bc").random() != random_stream("ab", "c").random()
    assert random_stream(1).random() != random_stream("1").random()
    assert random_stream("x", np.arange(4)[3]).random() == random_stream("x", 3).random()
    # Stored here so that a change of the derivation, which would silently change every corpus, is noticed.
    assert random_stream("room", 0, 7).integers(2**32) == 3617472796


def test_a_recipe_survives_json():
    for recipe in drawn()[:200]:
        text = recipe.to_json()
        assert "\n" not in text
        assert Recipe.from_json(text) == recipe


def test_every_recipe_fits_the_schema_and_what_does_not_is_refused():
    validator = jsonschema.Draft202012Validator(Recipe.json_schema())
    measured = dataclasses.replace(POLICY, measured=("hall", "car"), codecs=(*FURTHER_CODECS, None))
    recipes = [*drawn()[:100], *drawn(measured)[:100]]
    assert {type(recipe.room) for recipe in recipes} == {Room, MeasuredRoom, type(None)}
    assert any(recipe.codec and recipe.codec.loss for recipe in recipes)
    for recipe in recipes:
        validator.validate(json.loads(recipe.to_json()))
        assert Recipe.from_json(recipe.to_json()) == recipe
    fields = json.loads(next(r for r in recipes if r.room and r.codec).to_json())
    for name, value in (("version", 1), ("narrowband", "yes"), ("codec", {"name": "mp3"}), ("room", 3), ("pitch", 1)):
        assert not validator.is_valid(fields | {name: value}), name


def test_lost_packets_are_drawn_afresh_on_every_visit():
    policy = Policy(codecs=(Codec("opus", 24, loss=PacketLoss(0.2, 2.0)),))
    seeds = {draw(policy, 0, "corpus/a", visit).codec.loss.seed for visit in range(50)}
    assert len(seeds) == 50
    assert draw(policy, 0, "corpus/a", 3) == draw(policy, 0, "corpus/a", 3)


def test_replaying_a_recipe_in_a_new_process_gives_the_same_samples():
    recipe = next(r for r in drawn() if r.room and len(r.room.sources) > 1 and r.narrowband and r.codec)
    code = (
        "import hashlib, sys\n"
        "from mdasr.perturb import Recipe, perturb\n"
        "from tests.sounds import NOISES, tone\n"
        "heard = perturb(tone(), Recipe.from_json(sys.argv[1]), NOISES)\n"
        "sys.stdout.write(hashlib.sha256(heard.tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, recipe.to_json()]
    root = Path(__file__).parents[1]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout
    ours = perturb(tone(), recipe, NOISES)
    assert hashlib.sha256(ours.tobytes()).hexdigest() == theirs
    np.testing.assert_array_equal(perturb(tone(), recipe, NOISES), ours)


def test_the_order_is_room_gain_bandwidth_codec():
    room = next(r.room for r in drawn() if r.room)
    recipe = Recipe(room, narrowband=True, codec=Codec("mp3", 32), gain_db=-20.0)
    heard = add_room(tone(), room, NOISES) * np.float32(0.1)
    expected = encode_decode(narrowband(heard), Codec("mp3", 32))
    np.testing.assert_array_equal(perturb(tone(), recipe, NOISES), expected.clip(-1, 32767 / 32768))


def test_an_empty_recipe_changes_nothing_and_nothing_changes_its_input():
    wave = tone()
    np.testing.assert_array_equal(perturb(wave, Recipe(), {}), wave)
    before = wave.copy()
    for recipe in drawn()[:20]:
        perturb(wave, recipe, NOISES)
    np.testing.assert_array_equal(wave, before)


def test_a_gain_sets_the_level_and_never_clips():
    wave = tone()
    for gain_db in (-30.0, -6.0, 3.0):
        heard = perturb(wave, Recipe(gain_db=gain_db), {})
        np.testing.assert_allclose(heard, wave * 10 ** (gain_db / 20), rtol=1e-6)
    loudest = perturb(wave, Recipe(gain_db=60.0), {})
    np.testing.assert_allclose(loudest, wave * 0.999 / np.abs(wave).max(), rtol=1e-6)
    full = np.float32([0.5, -1.0, 1.0])
    np.testing.assert_array_equal(amplified(full, 20.0), full, "it is as loud as it can be")
    np.testing.assert_allclose(amplified(full, -20.0), full / 10)
    np.testing.assert_array_equal(amplified(np.zeros(3, np.float32), 20.0), np.zeros(3))


@pytest.mark.parametrize("samples", [0, 1, 511, 7_777])
def test_length_and_range_are_kept_by_every_recipe(samples):
    wave = np.clip(9 * tone(samples), -1, 0.99).astype(np.float32)
    for recipe in drawn()[:14]:
        if not samples and recipe.room and recipe.room.sources:
            continue  # no speech, so no SNR: an error, tested with the rooms
        heard = perturb(wave, recipe, NOISES)
        assert heard.dtype == np.float32 and heard.shape == wave.shape
        assert not samples or (heard.min() >= -1 and heard.max() < 1)


def test_evaluation_rooms_are_apart_from_training_rooms():
    policy = Policy(1.0, noises=("a",), room_indices=EVALUATION_ROOMS)
    theirs = {draw(policy, 0, key, visit).room for key, visit in KEYS[:100]}
    ours = {draw(dataclasses.replace(POLICY, noise_probability=1.0), 0, k, v).room for k, v in KEYS[:100]}
    assert not {r.tail_seed for r in theirs if r} & {r.tail_seed for r in ours if r}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": VERSION - 1}, f"version {VERSION - 1}, but this release replays only version {VERSION}"),
        ({"version": None}, "version None, but"),
        ({"narrowband": "yes"}, "narrowband must be true or false, not 'yes'"),
        ({"pitch": 1}, "needs the fields"),
        ({"warp": "long"}, "warp must be a number, not 'long'"),
        ({"warp": float("nan")}, "warp must be a number, not nan"),
        ({"warp": 9}, "warp must lie between 0.8 and 1.5, not 9"),
        ({"gain_db": "loud"}, "gain_db must be a number, not 'loud'"),
        ({"gain_db": 61}, "gain_db must lie between -60 and 60, not 61"),
        ({"codec": {"name": "mp3"}}, r"codec: needs the fields .* but has \['name'\]"),
        (
            {"codec": {"name": "mp3", "kbps": "32", "search": "default", "loss": None}},
            "codec: kbps must be a number, not '32'",
        ),
        ({"codec": "mp3"}, "codec: needs the fields .* but has str"),
        ({"room": {"size_m": [1, 2, 3]}}, "room: needs the fields"),
        ({"room.rt60_s": "long"}, "room: rt60_s must be a number, not 'long'"),
        ({"room.tail_seed": 0.5}, "room: tail_seed must be a whole number"),
        ({"room.target_m": [1.0, 1.0]}, "target_m must be a list of 3"),
        ({"room.target_m": [1.0, 1.0, 99.0]}, "target_m .* must lie inside"),
        ({"room.sources": {}}, "sources must be a list"),
        ({"room.sources": [{"snippet": 3, "position_m": [1, 1, 1], "start": 0}]}, "snippet must be a text"),
        ({"room.sources": [{"snippet": "a"}]}, r"room: sources\[0\]: needs the fields"),
    ],
)
def test_a_recipe_that_cannot_be_replayed_names_the_field(change, message):
    fields = json.loads(next(r for r in drawn() if r.room).to_json())
    for name, value in change.items():
        at, _, inner = name.partition(".")
        if inner:
            fields[at][inner] = value
        else:
            fields[at] = value
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(json.dumps(fields))


def test_text_that_is_no_recipe_is_refused():
    with pytest.raises(ValueError, match="recipe: not JSON"):
        Recipe.from_json("{")
    with pytest.raises(ValueError, match="must be a JSON object, not list"):
        Recipe.from_json("[]")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise_probability": 1.5, "noises": ("a",)}, "noise_probability 1.5"),
        ({"narrowband_probability": -0.1}, "narrowband_probability -0.1"),
        ({"codecs": ()}, "codecs is empty"),
        ({"warp": (1.1, 0.9)}, "warp .* must run from low to high"),
        ({"gain_db": (3.0, -3.0)}, "gain_db .* must run from low to high"),
        ({"gain_db": (-90.0, 0.0)}, "gain_db .* -60 to 60"),
        ({"room_indices": (5, 5)}, "room_indices"),
        ({"noise_probability": 0.5}, "noises is empty"),
    ],
)
def test_an_impossible_policy_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Policy(**fields)
    Policy(noise_probability=0.5, rooms=RoomRanges(sources=(0, 0)))  # reverberation alone needs no snippets


BAD_WAVES = """
import numpy as np
from mdasr.frontend import log_mel
from mdasr.perturb import Codec, Recipe, add_room, draw_room, encode_decode, narrowband, perturb
wave = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
hole = wave.copy()
hole[100] = np.nan
room = draw_room(3, 0, ("hiss",))
steps = {
    "perturb": lambda wave: perturb(wave, Recipe(), {}),
    "add_room": lambda wave: add_room(wave, room, {"hiss": np.ones(16000, np.float32)}),
    "narrowband": narrowband,
    "mp3": lambda wave: encode_decode(wave, Codec("mp3", 32)),
    "gsm": lambda wave: encode_decode(wave, Codec("gsm", 13)),
    "log_mel": log_mel,
}
for name, step in steps.items():
    for bad in ((32767 * wave).astype(np.int16), wave[None], np.stack([wave, wave], 1), hole):
        try:
            step(bad)
            print(name, "took", bad.dtype, bad.shape)
        except ValueError as error:
            assert str(error).startswith("the wave "), error
    assert len(step(wave.astype(np.float64))) in (len(wave), 47)
try:
    add_room(wave, room, {"hiss": np.full(16000, np.nan, np.float32)})
    print("a noise of no numbers")
except ValueError as error:
    assert "'hiss'" in str(error) and "not finite" in str(error)
"""


def test_waves_of_another_kind_are_refused_by_all_that_take_waves():
    """Run without the type checks of tests, as users do."""
    result = subprocess.run([sys.executable, "-c", BAD_WAVES], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_importing_the_perturbations_imports_neither_jax_nor_pyav_nor_librosa():
    code = "import sys, mdasr.perturb; print({'jax', 'flax', 'av', 'librosa', 'torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "set()\n"
