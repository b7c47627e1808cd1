"""The LSTM against a plain loop and PyTorch, and the acoustic model's sizes and invariants."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdasr.acoustic.encoders.interface import PackedFrames
from mdasr.acoustic.encoders.lstm import LSTM, product, recurrence
from mdasr.acoustic.network import AcousticModel, Ensemble, ModelConfig, Rows, _dropout, init_params, log_posteriors
from mdasr.frontend import BANDS, PAPER_STEPS
from mdasr.training.scales import PAPER

# One program is compiled faster than the hundreds of operations that it has when nothing is jitted.
answers = jax.jit(log_posteriors, static_argnums=0)
REFERENCE = Path(__file__).parent / "references" / "torch_lstm.npz"


def packed(seed: int, rows: int, steps: int, second: int | None = None) -> PackedFrames:
    """Make random frames of `steps` steps; if `second` is given, a second utterance begins at that step."""
    shape = (rows, PAPER_STEPS.num_frames(steps))
    segments = np.ones(shape, np.int32)
    if second is not None:
        segments[:, 3 * second :] = 2
    return PackedFrames(np.random.default_rng(seed).standard_normal((*shape, BANDS)).astype(np.float32), segments)


def layer(x, wx, wh, bias, h0, c0):
    keep = jnp.ones(x.shape[:2], x.dtype)
    return recurrence(product(x, wx) + bias, wh, keep, h0, c0)


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
    """An LSTM as in a textbook, one step and one gate at a time; jax differentiates it."""
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
    gradient = jax.jit(jax.grad(loss, argnums=wrt), static_argnums=0)
    for found, wanted in zip(gradient(recurrence, *arguments), gradient(plain, *arguments)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)

    # The members of an ensemble take their gradients side by side.
    members = [jnp.stack([x, x[::-1] if n == 2 else -x]) for n, x in enumerate(arguments)]
    both = jax.vmap(partial(gradient, recurrence))(*members)
    second = gradient(plain, *(x[1] for x in members))
    for found, wanted in zip(both, second):
        np.testing.assert_allclose(found[1], wanted, rtol=1e-4, atol=1e-5)


def test_a_product_in_bfloat16_has_the_gradients_of_float32_but_for_rounding():
    rng = np.random.default_rng(1)
    x, weights, weigh = (rng.standard_normal(shape) for shape in ((300, 4, 5), (5, 8), (300, 4, 8)))
    x, weights = jnp.asarray(x, jnp.bfloat16), jnp.asarray(weights, jnp.bfloat16)
    gradients = jax.grad(lambda *each: (product(*each) * weigh).sum(), argnums=(0, 1))(x, weights)
    exact = (weigh @ np.float64(weights).T, np.einsum("sbi,sbo->io", np.float64(x), weigh))
    for found, wanted in zip(gradients, exact):
        assert found.dtype == jnp.bfloat16
        assert np.abs(np.float64(found) - wanted).max() < 0.01 * np.abs(wanted).max()


def test_cells_add_up_in_float32_whatever_is_computed_in():
    """With open gates, a thousand steps add 1/512 each. A bfloat16 sum would stop at 1, before 1 + 1/128."""
    steps, small = 1000, 1 / 512
    inputs = np.full((steps, 1, 4), 30.0)
    inputs[..., 2] = np.arctanh(small)
    inputs = jnp.asarray(inputs, jnp.bfloat16)
    none, zero = jnp.zeros((1, 4), jnp.bfloat16), jnp.zeros((1, 1))
    hs, last_c = recurrence(inputs, none, jnp.ones((steps, 1), jnp.bfloat16), zero.astype(jnp.bfloat16), zero)
    assert hs.dtype == jnp.bfloat16
    assert last_c.dtype == jnp.float32
    assert float(last_c[0, 0]) == pytest.approx(steps * small, rel=5e-3)


@pytest.mark.slow
def test_bfloat16_and_unrolling_change_no_more_than_rounding_does():
    rows, plain = packed(6, 3, 50, second=20), ModelConfig(LSTM((24,)), 9)
    params = init_params(plain, 1)

    def of(config):
        def loss(params, rows):
            found = log_posteriors(config, params, rows)[0]
            return (found[..., 0] * np.cos(np.arange(50))).mean(), found

        gradients, found = jax.jit(jax.grad(loss, has_aux=True))(params, rows)
        return np.asarray(found), np.concatenate([np.ravel(each) for each in jax.tree.leaves(gradients)])

    found, gradients = of(plain)
    unrolled, same = of(ModelConfig(LSTM((24,), unroll=7), 9))  # which 50 is no multiple of
    np.testing.assert_allclose(unrolled, found, atol=2e-6)
    np.testing.assert_allclose(same, gradients, atol=1e-6)
    rounded, near = of(ModelConfig(LSTM((24,)), 9, compute_dtype="bfloat16"))
    assert rounded.dtype == near.dtype == np.float32
    assert 0 < np.abs(rounded - found).max() < 0.03
    assert 0 < np.linalg.norm(near - gradients) < 0.02 * np.linalg.norm(gradients)


@pytest.mark.slow
def test_gradients_of_biases_are_summed_in_float32():
    """Over 16,000 steps and rows, a sum in bfloat16 would stop growing; it was 23% too low."""
    rows = packed(7, 64, 250)
    params = init_params(ModelConfig(LSTM((8,)), 5), 1)

    def bias_gradient(compute_dtype):
        config = ModelConfig(LSTM((8,)), 5, compute_dtype=compute_dtype)
        gradient = jax.jit(jax.grad(lambda params, rows: log_posteriors(config, params, rows)[0][..., 0].mean()))
        return np.asarray(gradient(params, rows)["lstm_0"]["bias"])

    exact = bias_gradient("float32")
    assert np.linalg.norm(bias_gradient("bfloat16") - exact) < 0.01 * np.linalg.norm(exact)


def test_paper_model_has_the_papers_weights():
    config = ModelConfig(PAPER.encoder, PAPER.leaves)
    assert config.num_weights == 43_253_760
    shapes = jax.tree.leaves(jax.eval_shape(lambda: init_params(config, 0)))
    assert sum(x.size for x in shapes if len(x.shape) == 2) == 43_253_760
    assert sum(x.size for x in shapes) == 43_281_408


@pytest.fixture(scope="module")
def small():
    """A network of two layers, jitted, and its parameters."""
    config = ModelConfig(LSTM((8, 6)), 5, dropout=0.3)
    return jax.jit(AcousticModel(config).apply), {"params": init_params(config, 3)}


def test_dropout_of_a_row_depends_on_its_key_alone(small):
    network, params = small
    rows, keys = packed(3, 4, 10), jax.random.split(jax.random.key(0), 4)
    mixed = jnp.concatenate([jax.random.split(jax.random.key(1), 2), keys[2:]])
    one, other = (network(params, Rows(rows), None, each)[0] for each in (keys, mixed))
    np.testing.assert_array_equal(one[2:], other[2:])
    assert np.abs(np.asarray(one - other))[:2].max(axis=(1, 2)).min() > 0.01
    masks = _dropout(np.ones((500, 4, 6), np.float32), 0.3, 0, keys)
    assert float(masks.mean()) == pytest.approx(1, abs=0.02)
    assert float((masks == 0).mean()) == pytest.approx(77 / 256, abs=0.02)


@pytest.mark.slow
def test_an_ensemble_is_its_members_side_by_side():
    config = ModelConfig(LSTM((8,)), 5, dropout=0.3, members=3)
    params, rows = init_params(config, 3), packed(4, 2, 9)
    ensemble, alone = jax.jit(Ensemble(config).apply), ModelConfig(LSTM((8,)), 5)
    logits, _ = ensemble({"params": params}, Rows(rows))
    one = jax.jit(AcousticModel(alone).apply)
    each = [one({"params": jax.tree.map(lambda p, i=i: p[i], params["members"])}, Rows(rows))[0] for i in range(3)]
    np.testing.assert_allclose(logits, each, atol=1e-6)
    assert np.abs(logits[0] - logits[1]).max() > 0.1, "the members begin apart"
    mean = jax.nn.log_softmax(np.stack(each)).mean(0)
    np.testing.assert_allclose(answers(config, params, rows)[0], mean, atol=1e-6)
    # Dropout differs from member to member.
    same = jax.tree.map(lambda p: jnp.broadcast_to(p[:1], p.shape), params)
    dropped, _ = ensemble({"params": same}, Rows(rows), None, jax.random.split(jax.random.key(0), 2))
    assert np.abs(dropped[0] - dropped[1]).max() > 0.01


@pytest.mark.parametrize(
    ("cells", "num_outputs", "dropout"), [((), 5, 0.0), ((4, 0), 5, 0.0), ((4,), 1, 0.0), ((4,), 5, 1.0)]
)
def test_impossible_sizes_are_refused(cells, num_outputs, dropout):
    with pytest.raises(ValueError):
        ModelConfig(LSTM(cells), num_outputs, dropout=dropout)


@pytest.mark.parametrize(("field", "value"), [("compute_dtype", "float8"), ("members", 0), ("features", "mfcc")])
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        ModelConfig(LSTM((4,)), 5, **{field: value})


@pytest.mark.parametrize(("field", "value"), [("unroll", 0), ("output_delay", -1), ("forget_steps", -1)])
def test_impossible_settings_of_an_lstm_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        LSTM((4,), **{field: value})
