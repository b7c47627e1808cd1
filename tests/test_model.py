"""The LSTM against a plain loop and PyTorch, and the acoustic model's sizes and invariants."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdasr.acoustic.network import (
    FEATURES,
    AcousticModel,
    Ensemble,
    ModelConfig,
    _dropout,
    init_params,
    log_posteriors,
    recurrence,
)
from mdasr.training.scales import PAPER

REFERENCE = Path(__file__).parent / "references" / "torch_lstm.npz"


def layer(x, wx, wh, bias, h0, c0):
    keep = jnp.ones(x.shape[:2], x.dtype)
    return recurrence(x @ wx + bias, wh, keep, h0, c0)


def test_forward_and_gradients_equal_pytorch():
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        torch = {k: v.astype(np.float32) for k, v in arrays.items() if v.dtype.kind == "f"}
    arguments = [torch[k] for k in ("x", "input", "recurrent", "bias", "h0", "c0")]
    hs, last_c = layer(*arguments)
    np.testing.assert_allclose(hs, torch["output"], atol=2e-6)
    np.testing.assert_allclose(last_c, torch["last_c"], atol=2e-6)

    def loss(*arguments):
        hs, last_c = layer(*arguments)
        return (hs * torch["weigh"]).sum() + (last_c**2).sum()

    for found, name in zip(
        jax.grad(loss, argnums=range(6))(*arguments),
        ("d_x", "d_input", "d_recurrent", "d_bias", "d_h0", "d_c0"),
    ):
        np.testing.assert_allclose(found, torch[name], rtol=1e-4, atol=1e-5, err_msg=name)


def plain(inputs, weights, keep, h, c):
    """The textbook's LSTM, one step and one gate at a time, differentiated by jax itself."""
    cells, hs = weights.shape[0], []
    for t in range(len(inputs)):
        h, c = keep[t][:, None] * h, keep[t][:, None] * c
        gates = inputs[t] + h @ weights
        i, f, g, o = (gates[:, k * cells : (k + 1) * cells] for k in range(4))
        c = 1 / (1 + jnp.exp(-f)) * c + 1 / (1 + jnp.exp(-i)) * jnp.tanh(g)
        h = 1 / (1 + jnp.exp(-o)) * jnp.tanh(c)
        hs.append(h)
    return jnp.stack(hs), c


def test_resets_and_gradients_equal_a_plain_loop():
    steps, batch, cells = 9, 4, 3
    rng = np.random.default_rng(0)
    inputs, weights = rng.standard_normal((steps, batch, 4 * cells)), rng.standard_normal((cells, 4 * cells))
    keep = (rng.random((steps, batch)) > 0.3).astype(float)
    h0, c0 = rng.standard_normal((2, batch, cells))
    arguments = [jnp.asarray(x, jnp.float32) for x in (inputs, weights, keep, h0, c0)]

    def loss(function, *arguments):
        hs, last_c = function(*arguments)
        return jnp.sin(hs).sum() + (last_c**2).sum()

    wrt = (1, 2, 4, 5)  # all but `keep`, which has no gradient
    for found, wanted in zip(
        jax.grad(loss, argnums=wrt)(recurrence, *arguments), jax.grad(loss, argnums=wrt)(plain, *arguments)
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_cells_add_up_in_float32_whatever_is_computed_in():
    """Gates wide open, a thousand steps of 1/512: in bfloat16 the sum would stay at 1, whose neighbour is 1 + 1/128."""
    steps, small = 1000, 1 / 512
    inputs = np.full((steps, 1, 4), 30.0)
    inputs[..., 2] = np.arctanh(small)
    inputs = jnp.asarray(inputs, jnp.bfloat16)
    none, zero = jnp.zeros((1, 4), jnp.bfloat16), jnp.zeros((1, 1))
    hs, last_c = recurrence(inputs, none, jnp.ones((steps, 1), jnp.bfloat16), zero.astype(jnp.bfloat16), zero)
    assert hs.dtype == jnp.bfloat16
    assert last_c.dtype == jnp.float32
    assert float(last_c[0, 0]) == pytest.approx(steps * small, rel=5e-3)


def test_bfloat16_and_unrolling_change_no_more_than_rounding_does():
    x = np.random.default_rng(6).standard_normal((3, 50, FEATURES)).astype(np.float32)
    keep = np.ones((3, 50), np.float32)
    keep[:, [0, 20]] = 0
    plain = ModelConfig((24, 16), 9)
    params = init_params(plain, 1)

    def of(config):
        def loss(params):
            found = log_posteriors(config, params, x, keep)[0]
            return (found[..., 0] * np.cos(np.arange(50))).mean(), found

        gradients, found = jax.grad(loss, has_aux=True)(params)
        return np.asarray(found), np.concatenate([np.ravel(each) for each in jax.tree.leaves(gradients)])

    found, gradients = of(plain)
    unrolled, same = of(ModelConfig((24, 16), 9, unroll=7))  # which 50 is no multiple of
    np.testing.assert_allclose(unrolled, found, atol=2e-6)
    np.testing.assert_allclose(same, gradients, atol=1e-6)
    rounded, near = of(ModelConfig((24, 16), 9, compute_dtype="bfloat16"))
    assert rounded.dtype == near.dtype == np.float32
    assert 0 < np.abs(rounded - found).max() < 0.03
    assert 0 < np.linalg.norm(near - gradients) < 0.02 * np.linalg.norm(gradients)


def test_gradients_of_biases_are_summed_in_float32():
    """Over 16,000 steps and rows a sum in bfloat16 would stop to grow: it was 23% off."""
    x = np.random.default_rng(7).standard_normal((64, 250, FEATURES)).astype(np.float32)
    keep = np.ones((64, 250), np.float32)
    params = init_params(ModelConfig((8,), 5), 1)

    def bias_gradient(compute_dtype):
        config = ModelConfig((8,), 5, compute_dtype=compute_dtype)
        loss = lambda params: log_posteriors(config, params, x, keep)[0][..., 0].mean()  # noqa: E731
        return np.asarray(jax.grad(loss)(params)["lstm_0"]["bias"])

    exact = bias_gradient("float32")
    assert np.linalg.norm(bias_gradient("bfloat16") - exact) < 0.01 * np.linalg.norm(exact)


def test_paper_model_has_the_papers_weights():
    config = ModelConfig(PAPER.cells, PAPER.leaves)
    assert config.num_weights == 43_253_760
    shapes = jax.tree.leaves(jax.eval_shape(lambda: init_params(config, 0)))
    assert sum(x.size for x in shapes if len(x.shape) == 2) == 43_253_760
    assert sum(x.size for x in shapes) == 43_281_408


@pytest.fixture(scope="module")
def small():
    config = ModelConfig((8, 6), 5, dropout=0.3)
    return AcousticModel(config), {"params": init_params(config, 3)}


def test_packed_utterances_do_not_hear_each_other(small):
    model, params = small
    x = np.random.default_rng(1).standard_normal((1, 20, FEATURES)).astype(np.float32)
    keep = np.ones((1, 20), np.float32)
    keep[0, [0, 12]] = 0
    together, _ = model.apply(params, x, keep)
    apart, _ = model.apply(params, x[:, 12:], keep[:, 12:])
    np.testing.assert_allclose(together[:, 12:], apart, atol=1e-6)


def test_chunks_with_carried_state_equal_the_whole(small):
    model, params = small
    x = np.random.default_rng(2).standard_normal((2, 30, FEATURES)).astype(np.float32)
    keep = np.ones((2, 30), np.float32)
    whole, _ = model.apply(params, x, keep)
    state, parts = None, []
    for first in range(0, 30, 7):
        part, state = model.apply(params, x[:, first : first + 7], keep[:, first : first + 7], state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


def test_dropout_of_a_row_depends_on_its_key_alone(small):
    model, params = small
    x = np.random.default_rng(3).standard_normal((4, 10, FEATURES)).astype(np.float32)
    keep, keys = np.ones((4, 10), np.float32), jax.random.split(jax.random.key(0), 4)
    whole, _ = model.apply(params, x, keep, None, keys)
    half, _ = model.apply(params, x[2:], keep[2:], None, keys[2:])
    np.testing.assert_allclose(whole[2:], half, atol=1e-6)
    masks = _dropout(np.ones((500, 4, 6), np.float32), 0.3, 0, keys)
    assert float(masks.mean()) == pytest.approx(1, abs=0.02)
    assert float((masks == 0).mean()) == pytest.approx(77 / 256, abs=0.02)
    without, _ = model.apply(params, x, keep)
    assert np.abs(np.asarray(whole) - np.asarray(without)).max() > 0.01


def test_an_ensemble_is_its_members_side_by_side():
    config = ModelConfig((8, 6), 5, dropout=0.3, members=3)
    params = init_params(config, 3)
    x = np.random.default_rng(4).standard_normal((2, 9, FEATURES)).astype(np.float32)
    keep = np.ones((2, 9), np.float32)
    logits, state = Ensemble(config).apply({"params": params}, x, keep)
    alone = ModelConfig((8, 6), 5)
    each = [jax.tree.map(lambda p, i=i: p[i], params["members"]) for i in range(3)]
    for i, own in enumerate(each):
        expected, _ = AcousticModel(alone).apply({"params": own}, x, keep)
        np.testing.assert_allclose(logits[i], expected, atol=1e-6)
    assert np.abs(logits[0] - logits[1]).max() > 0.1, "the members begin apart"
    mean = sum(log_posteriors(alone, own, x, keep)[0] for own in each) / 3
    np.testing.assert_allclose(log_posteriors(config, params, x, keep)[0], mean, atol=1e-6)
    # The state carries on, and dropout differs from member to member.
    half, state = Ensemble(config).apply({"params": params}, x[:, :5], keep[:, :5])
    rest, _ = Ensemble(config).apply({"params": params}, x[:, 5:], keep[:, 5:], state)
    np.testing.assert_allclose(np.concatenate([half, rest], axis=2), logits, atol=1e-6)
    same = jax.tree.map(lambda p: jnp.broadcast_to(p[:1], p.shape), params)
    keys = jax.random.split(jax.random.key(0), 2)
    dropped, _ = Ensemble(config).apply({"params": same}, x, keep, None, keys)
    assert np.abs(dropped[0] - dropped[1]).max() > 0.01


@pytest.mark.parametrize(
    ("cells", "num_outputs", "dropout"), [((), 5, 0.0), ((4, 0), 5, 0.0), ((4,), 1, 0.0), ((4,), 5, 1.0)]
)
def test_impossible_sizes_are_refused(cells, num_outputs, dropout):
    with pytest.raises(ValueError):
        ModelConfig(cells, num_outputs, dropout)


@pytest.mark.parametrize(("field", "value"), [("compute_dtype", "float8"), ("unroll", 0), ("members", 0)])
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        ModelConfig((4,), 5, **{field: value})
