"""Encoders: the rules for all, PyTorch as the reference of one, and a toy encoder through the whole pipeline."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mdasr.acoustic.encoders import ENCODERS, read_encoder
from mdasr.acoustic.encoders.interface import Encoder, LayerEnd, PackedFrames, steps_of
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.encoders.tdnn import TDNN, centred
from mdasr.acoustic.loader import RowMaker, measure_stats
from mdasr.acoustic.network import ModelConfig, Rows, init_params, log_posteriors, network, read_config
from mdasr.acoustic.row_schedule import RowOptions, Source
from mdasr.frontend import PAPER_STEPS, Subsampling
from mdasr.model.directory import Recognizer
from mdasr.perturb import Policy
from mdasr.recognize.export import export_model, same_words
from mdasr.recognize.network_scores import Streamed
from mdasr.recognize.streaming import listen
from mdasr.recognize.words import evaluate, recognize
from mdasr.score.wer import Errors
from mdasr.training.ingredients import Training, adapting
from mdasr.training.pipeline import train_recognizer
from mdasr.training.scales import MINI, override
from mdasr.training.word_models import Shared
from tests.toy_speech import TREE, all_of


@dataclass(frozen=True)
class Toy:
    """A leaky mean of rectified units at 50 Hz; its output is one step late."""

    units: int = 24
    output_delay: int = 1
    name: Literal["toy"] = "toy"

    subsampling: ClassVar[Subsampling] = Subsampling(stride=2, window=3, label_frame=1)
    forget_steps: ClassVar[int] = 0

    @property
    def width(self) -> int:
        return self.units

    def encode(self, rows: PackedFrames, state: Any, layer_end: LayerEnd) -> tuple[Any, Any]:
        x, begins = steps_of(rows, self.subsampling)
        x = nn.relu(nn.Dense(self.units, name="toy")(x)).swapaxes(0, 1)
        keep = 0.5 * (1 - begins.swapaxes(0, 1)[..., None])

        def step(mean, now):
            x, keep = now
            mean = keep * mean + x
            return mean, mean

        last, means = lax.scan(step, jnp.zeros(x.shape[1:]) if state is None else state, (x, keep))
        return layer_end(means, 0), last


answers = jax.jit(log_posteriors, static_argnums=0)
SMALL = {
    "lstm": LSTM((12, 8), output_delay=2),
    "tdnn": TDNN((12, 8, 8), (1, 2, 3), output_delay=6),
    "centred tdnn": TDNN((12, 8), (1, 2), output_delay=3, mean_steps=5),
    "toy": Toy(8),
}


@pytest.fixture(autouse=True)
def toy_is_listed(monkeypatch):
    monkeypatch.setitem(ENCODERS, "toy", Toy)


@pytest.fixture(params=SMALL)
def encoder(request) -> Encoder:
    return SMALL[request.param]


def packed(rng: np.random.Generator, frames: int, segments: np.ndarray | None = None, rows: int = 2) -> PackedFrames:
    x = rng.standard_normal((rows, frames, 128)).astype(np.float32)
    return PackedFrames(x, np.ones((rows, frames), np.int32) if segments is None else np.tile(segments, (rows, 1)))


def test_the_interface_is_kept(encoder):
    assert isinstance(encoder, Encoder)
    assert hash(encoder) == hash(dataclasses.replace(encoder))
    assert read_encoder(json.loads(json.dumps(dataclasses.asdict(encoder))), "field encoder") == encoder


def test_steps_stack_the_frames_of_one_utterance_alone():
    """A step is four frames, every third position. Across a boundary it is zeros; the next utterance starts anew."""
    frames = np.arange(26, dtype=np.float32).reshape(1, 13, 2)
    segments = np.array([[1] * 4 + [0] * 2 + [2] * 7])
    stacked, begins = steps_of(PackedFrames(frames, segments), PAPER_STEPS)
    assert stacked.shape == (1, 4, 8)
    np.testing.assert_array_equal(stacked[0, 0], np.arange(8))
    np.testing.assert_array_equal(stacked[0, 1], np.zeros(8))  # frames 3 to 6: one of the first, two of none, one new
    np.testing.assert_array_equal(stacked[0, 2], np.arange(12, 20))
    np.testing.assert_array_equal(stacked[0, 3], np.arange(18, 26))
    assert begins[0].tolist() == [False, False, True, False]


def test_packed_utterances_do_not_hear_each_other(encoder):
    """The second utterance of a row gives the same output as alone, whatever the first one was."""
    config, stride = ModelConfig(encoder, 5), encoder.subsampling.stride
    params, rng = init_params(config, 3), np.random.default_rng(1)
    first, second = encoder.subsampling.num_frames(9), encoder.subsampling.num_frames(20)
    gap = stride * (9 + max(encoder.output_delay, 1)) - first
    segments = np.concatenate([np.full(first, 1), np.zeros(gap, int), np.full(second, 2)]).astype(np.int32)
    together = packed(rng, len(segments), segments)
    whole, start = answers(config, params, together)[0], (first + gap) // stride
    for row in range(2):
        alone = PackedFrames(together.frames[row : row + 1, first + gap :], segments[None, first + gap :] - 1)
        np.testing.assert_allclose(whole[row, start:], answers(config, params, alone)[0][0], atol=1e-5)
    loud = together._replace(frames=np.where(segments[:, None] == 1, np.float32(9), together.frames))
    changed = np.asarray(answers(config, params, loud)[0] - whole)
    assert not changed[:, start:].any()
    assert np.abs(changed[:, : start - 1]).max() > 0.01


def test_nothing_is_heard_that_comes_later(encoder):
    config = ModelConfig(encoder, 5)
    params, rows = init_params(config, 1), packed(np.random.default_rng(2), encoder.subsampling.num_frames(30))
    before = encoder.subsampling.num_frames(18)
    later = rows.frames.copy()
    later[:, before:] += 1
    found, other = (answers(config, params, rows._replace(frames=x))[0] for x in (rows.frames, later))
    np.testing.assert_array_equal(found[:, :18], other[:, :18])
    assert np.abs(np.asarray(found - other)[:, 18:]).max() > 1e-3


@pytest.mark.parametrize("members", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_chunks_with_carried_state_equal_the_whole(encoder, members):
    config, subsampling = ModelConfig(encoder, 5, members=members), encoder.subsampling
    params, rows = init_params(config, 2), packed(np.random.default_rng(3), subsampling.num_frames(30))
    whole, last = answers(config, params, rows)
    state, parts = jax.tree.map(jnp.zeros_like, last), []  # zeros are what there is before the first step
    for first in range(0, 30, 10):
        part = slice(subsampling.stride * first, subsampling.stride * first + subsampling.num_frames(10))
        found, state = answers(config, params, PackedFrames(rows.frames[:, part], rows.segments[:, part]), state)
        parts.append(found)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


def test_bfloat16_changes_no_more_than_rounding_does(encoder):
    if encoder.name == "toy":
        pytest.skip("the toy computes in float32 alone")
    config = ModelConfig(encoder, 5)
    params, rows = init_params(config, 2), packed(np.random.default_rng(4), encoder.subsampling.num_frames(40))
    exact = answers(config, params, rows)[0]
    rounded = answers(dataclasses.replace(config, compute_dtype="bfloat16"), params, rows)[0]
    assert rounded.dtype == np.float32
    assert 0 < np.abs(np.asarray(rounded - exact)).max() < 0.15


def test_a_tdnn_is_dilated_convolutions_with_layer_norm():
    """The reference is jax.lax's convolution, which knows neither rows nor states."""
    encoder = TDNN((6, 5), (1, 3), output_delay=4)
    config = ModelConfig(encoder, 5)
    params, rows = init_params(config, 5), packed(np.random.default_rng(5), PAPER_STEPS.num_frames(25), rows=1)
    x = np.stack([rows.frames[0, 3 * t : 3 * t + 4].ravel() for t in range(25)])
    for layer, dilation in enumerate(encoder.dilations):
        kernel = np.asarray(params[f"tdnn_{layer}"]["kernel"]).reshape(3, x.shape[1], -1)[::-1]  # the latest tap last
        y = lax.conv_general_dilated(
            x[None],
            kernel,
            (1,),
            [(2 * dilation, 0)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )[0]
        y = y + params[f"tdnn_{layer}"]["bias"]
        y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-6)
        x = np.maximum(y * params[f"norm_{layer}"]["scale"] + params[f"norm_{layer}"]["bias"], 0)
    wanted = jax.nn.log_softmax(x @ params["output"]["kernel"] + params["output"]["bias"])
    np.testing.assert_allclose(answers(config, params, rows)[0][0], wanted, atol=1e-4)


def test_the_mean_so_far_is_subtracted():
    """The reference is a loop over the steps of a row. Its first utterance goes on from an earlier row."""
    rng = np.random.default_rng(8)
    x, before = rng.standard_normal((30, 1, 4)).astype(np.float32), np.array([[3, -2, 0.5, 1, 7]], np.float32)
    begins = np.zeros((30, 1), bool)
    begins[[9, 22]] = True
    total, count, wanted = before[0, :4], 7, []
    for step, new in zip(x[:, 0], begins[:, 0]):
        total, count = (step, 1) if new else (total + step, count + 1)
        wanted.append(step - total / (count + 2))
    found, heard = centred(jnp.asarray(x), jnp.asarray(begins), jnp.asarray(before), 2)
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-5)
    np.testing.assert_allclose(heard[0], [*total, count], atol=1e-5)


def test_a_vector_goes_in_with_the_frames_of_its_utterance(encoder):
    config = ModelConfig(encoder, 5, vector_size=3)
    params, rng = init_params(config, 4), np.random.default_rng(6)
    length = encoder.subsampling.num_frames(8) + encoder.subsampling.stride * 8
    segments = np.array([1] * (length // 2) + [0] * 12 + [2] * (length // 2)).astype(np.int32)
    rows, vectors = packed(rng, len(segments), segments), rng.standard_normal((2, 2, 3)).astype(np.float32)

    applied = jax.jit(network(config).apply)

    def told(vectors):
        return np.asarray(applied({"params": params}, Rows(rows, vectors=vectors))[0])

    other = vectors.copy()
    other[:, 1] += 1
    changed = np.abs(told(vectors) - told(other)).max(axis=(0, 2))
    first = np.flatnonzero(changed > 1e-4)[0] * encoder.subsampling.stride
    assert abs(first - (length // 2 + 12)) <= encoder.subsampling.stride, "the second utterance's steps, and no earlier"
    with pytest.raises(ValueError, match="takes a vector of 3 numbers"):
        told(None)


def test_what_is_not_there_is_named(encoder):
    with pytest.raises(ValueError, match="field encoder: no 'conformer'; there are lstm, tdnn"):
        read_encoder({"name": "conformer"}, "field encoder")
    with pytest.raises(ValueError, match=r"needs the fields .*'dilations'.* but has .*'cells'"):
        read_encoder({"name": "tdnn", "cells": [8]}, "field encoder")
    with pytest.raises(ValueError, match="there are no features called 'mfcc'; choose one of log_mel, cepstra"):
        ModelConfig(encoder, 5, features="mfcc")
    with pytest.raises(ValueError, match="no encoder called 'conformer'; there are lstm, tdnn"):
        override(MINI, ["encoder=conformer"])
    with pytest.raises(ValueError, match="with a NAME among units, dilations, output_delay"):
        override(MINI, ["encoder=tdnn", "encoder.cells=8"])
    with pytest.raises(ValueError, match="a dilation for each layer"):
        TDNN((8, 8), (1,))
    with pytest.raises(ValueError, match="dilations is 0"):
        TDNN((8,), (0,))


# A recogniser with each encoder: trained, adapted, streamed, exported, decoded


SMALL_TDNN = "encoder=tdnn encoder.units=16,16 encoder.dilations=1,2 encoder.output_delay=3"


WAYS = (
    "encoder.cells=12 features=cepstra",
    f"{SMALL_TDNN} encoder.mean_steps=9",
    f"{SMALL_TDNN} features=cepstra criterion=label_smoothing",
)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["encoder=toy", *WAYS])
def test_an_encoder_goes_the_whole_way(way, corpus, language, tmp_path):
    """It learns the toy corpus' two words, adapts, streams and is exported, and gives the same words each time."""
    settings = ["batch=4", "row_steps=120", "min_steps=150", "max_steps=150", "learning_rate=0.02", "adapt_steps=20"]
    scale = override(MINI, [*settings, "encoder.forget_steps=0", *way.split()])
    training = Training((all_of(corpus),), scale, words=Shared({"words": "toy"}, lambda _: "exact", lambda: language))
    train_recognizer(training, tmp_path / "model", workers=0)
    made = Recognizer.read(tmp_path / "model")
    assert (made.config.encoder, made.config.features) == (scale.encoder, scale.features)

    utterances = [corpus[i] for i in range(6)]
    waves = [utterance.samples for utterance in utterances]
    errors = sum((scored.errors for scored in evaluate(made, utterances, waves)), Errors())
    assert errors.wer < 20, "two words, a tone and a hiss"
    adapted = train_recognizer(adapting(training, made), tmp_path / "adapted", workers=0)
    assert adapted.config == made.config

    whole = recognize(made, waves)
    for wave, best in zip(waves[:4], whole):
        (final,) = [heard for heard in listen(Streamed(made), np.array_split(wave, 9), np.inf) if heard.final]
        assert final.words == best.words
        step_s = made.subsampling.step_samples / 16_000
        assert final.times[-1][2] == pytest.approx(best.ends[-1] * step_s, abs=0.05)
    export_model(made, tmp_path / "served")
    assert same_words(made, tmp_path / "served", waves[:4]) == 4


def test_rows_of_another_subsampling_hold_its_labels(corpus):
    """The label of a 20 ms step is that of the phone at the centre of its label frame."""
    sources = [Source(corpus, "exact", Policy(narrowband_probability=0.0))]
    options = RowOptions(150, 1, subsampling=Toy.subsampling)
    maker = RowMaker(sources, TREE, "log_mel", measure_stats(sources, "log_mel", {}, 0), {}, options, seed=4)
    row, (_, pieces) = maker.map(0), maker._plan.locate(0)
    assert row["frames"].shape == (2 * 149 + 3, 128)
    for piece in pieces:
        third = int(corpus.num_samples[piece.utterance]) / 3
        centres = 160 * (2 * np.arange(piece.first, piece.first + piece.steps) + 1) + 256
        labels = row["labels"][piece.slot + 1 : piece.slot + 1 + piece.steps]
        wanted = TREE.leaves(("SIL", "AA", "S"))[np.minimum(centres // third, 2).astype(int)]
        assert (labels == wanted).mean() > 0.97


def test_a_configuration_survives_json():
    config = ModelConfig(TDNN(), 9, "cepstra", dropout=0.1, members=2, domains=("a",))
    assert read_config(json.loads(json.dumps(dataclasses.asdict(config))), "field network") == config
