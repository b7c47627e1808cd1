"""Training beyond the paper: balanced sampling, curricula, clean visits, adversaries, adapters."""

import dataclasses
import json
import pickle
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdasr.acoustic.adversary import Adversary, domain_logits, init_classifiers, reversal_weight, reverse
from mdasr.acoustic.encoders.interface import PackedFrames
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.loader import RowMaker, measure_stats
from mdasr.acoustic.network import ModelConfig, Rows, init_params, log_posteriors, network
from mdasr.acoustic.row_schedule import RowOptions, RowPlan, Source, balanced, subset
from mdasr.acoustic.train import TrainOptions, train
from mdasr.acoustic.training_log import read_curves
from mdasr.frontend import BANDS, PAPER_STEPS
from mdasr.model.directory import Recognizer
from mdasr.perturb import TRAINING_CODECS, Policy, draw, eased
from mdasr.recognize.network_scores import scores
from mdasr.training.ingredients import Training, starting_from
from mdasr.training.pipeline import train_recognizer
from mdasr.training.pool import log_priors
from mdasr.training.regimes import OWN_ALONE, Regime
from mdasr.training.scales import MINI, override
from mdasr.training.speech_split import DomainSpeech
from mdasr.training.word_models import Shared
from tests.tasks import SignsRowMaker, rows_of
from tests.toy_speech import TREE, toy_corpus

DOMAINS = ("Few", "Many")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two domains, one with nine times as much speech as the other."""
    folder, lengths = tmp_path_factory.mktemp("toy"), np.random.default_rng(1).uniform(0.5, 1.5, 9).round(2).tolist()
    few, many = (toy_corpus(folder / d, lengths * n, domain=d) for d, n in zip(DOMAINS, (1, 9)))
    return [Source(corpus, "exact", Policy()) for corpus in (few, many)]


# Sampling


@pytest.mark.parametrize("exponent", [0.5, 0.0])
def test_shares_of_epochs_go_as_hours_to_the_exponent(sources, exponent):
    plan = RowPlan(balanced(sources, exponent), RowOptions(100, 3), seed=3)
    seconds = np.array([source.seconds() for source in sources])
    wanted = seconds**exponent / (seconds**exponent).sum()
    shown, visits = np.zeros(2), {}
    for epoch in range(40):
        for piece in (piece for row in rows_of(plan, epoch) for piece in row):
            shown[piece.source] += piece.steps
            visits.setdefault((piece.source, piece.utterance), []).append(piece.visit)
    np.testing.assert_allclose(shown / shown.sum(), wanted, atol=0.01)
    # An epoch is as long as it was, nobody is left out, and every repeat is a visit of its own.
    plain = rows_of(RowPlan(sources, RowOptions(100, 3), 3), 0)
    assert shown.sum() / 40 == pytest.approx(sum(piece.steps for row in plain for piece in row), rel=0.02)
    assert len(visits) == 90
    assert all(sorted(each) == list(range(len(each))) for each in visits.values())
    times = [len(each) for (source, _), each in visits.items() if source == 1]
    assert max(times) - min(times) <= 1, "as evenly as whole numbers allow"


def test_an_exponent_of_one_changes_no_row(sources):
    plain, same = (RowPlan(each, RowOptions(100, 3), 5) for each in (sources, balanced(sources, 1.0)))
    assert [plain.locate(row) for row in range(60)] == [same.locate(row) for row in range(60)]
    assert all(piece.visit == epoch for row in range(60) for epoch, pieces in [plain.locate(row)] for piece in pieces)
    with pytest.raises(ValueError, match="an exponent of -1"):
        balanced(sources, -1.0)


def test_nothing_to_train_on_is_told_by_the_plan_whatever_the_share(tmp_path):
    silent = Source(toy_corpus(tmp_path / "a", [0.5, 0.6], unaligned={0, 1}), "exact", Policy())
    short = Source(toy_corpus(tmp_path / "b", [0.03, 0.03]), "exact", Policy())
    for source, message in ((silent, "is aligned and selected"), (short, "shorter than a step")):
        with pytest.raises(ValueError, match=message):
            RowPlan(balanced([subset(source, 0.5)], 0.5), RowOptions(100, 3), 0)


def test_priors_count_what_is_shown(sources):
    lone = [Source(source.corpus, "exact", Policy(), repeats=7.0) for source in sources]
    np.testing.assert_allclose(log_priors(lone, TREE, PAPER_STEPS), log_priors(sources, TREE, PAPER_STEPS), atol=1e-6)
    with pytest.raises(ValueError, match="repeats is 0"):
        Source(sources[0].corpus, "exact", Policy(), repeats=0.0)


# Distortions


def test_a_curriculum_rises_to_what_the_policy_says(sources):
    options = RowOptions(100, 3, curriculum_rows=200)
    assert [options.strength(row) for row in (0, 50, 199, 200, 9999)] == [0, 0.25, 0.995, 1, 1]
    assert RowOptions(100).strength(0) == 1
    policy = Policy(0.6, noises=("a",), codecs=TRAINING_CODECS)
    keys = [(f"c/{i}", 0) for i in range(400)]
    full = [draw(policy, 1, *key) for key in keys]
    before = None
    for strength in (0.0, 0.25, 0.5, 1.0):
        recipes = [draw(eased(policy, strength), 1, *key) for key in keys]
        assert np.mean([r.room is not None for r in recipes]) == pytest.approx(0.6 * strength, abs=0.08)
        assert np.mean([r.codec is not None for r in recipes]) == pytest.approx(6 / 7 * strength, abs=0.08)
        assert [r.narrowband for r in recipes] == [r.narrowband for r in full]
        for recipe, last, late in zip(recipes, before or recipes, full):
            assert recipe.room in (None, late.room) and recipe.codec in (None, late.codec)
            assert last.room is None or recipe.room == last.room
        before = recipes
    assert before == full


def test_clean_visits_are_left_as_recorded():
    policies = [Policy(1.0, noises=("a",), codecs=TRAINING_CODECS, clean_probability=p) for p in (0.3, 0.0)]
    some, none = ([draw(policy, 1, f"c/{i}", 0) for i in range(1000)] for policy in policies)
    clean = [recipe.room is None for recipe in some]
    assert np.mean(clean) == pytest.approx(0.3, abs=0.05)
    assert all(not (r.narrowband or r.codec) if c else r == s for r, s, c in zip(some, none, clean))


def test_rows_of_a_regime_are_those_of_any_copy_and_tell_their_domains(sources):
    noises = {"a": np.random.default_rng(0).standard_normal(40_000).astype(np.float32) / 10}
    wild = [Source(s.corpus, "exact", Policy(0.8, noises=("a",), clean_probability=0.2)) for s in sources]
    wild = balanced(wild, 0.5)
    options = RowOptions(100, 3, curriculum_rows=20, domains=DOMAINS, untold_share=0.5)
    stats = measure_stats(wild, "log_mel", noises, 0)
    maker = RowMaker(wild, TREE, "log_mel", stats, noises, options, seed=4)
    copy = pickle.loads(pickle.dumps(maker))  # which is what a loader's worker gets
    for row in (40, 7, 8):
        wanted, found = maker.map(row), copy.map(row)
        assert wanted.keys() == found.keys() >= {"domain", "told"}
        for key in wanted:
            np.testing.assert_array_equal(found[key], wanted[key])
    seen = {"told": 0, "untold": 0}
    for row in range(30):
        made = maker.targets(row)
        for piece in maker._plan.locate(row)[1]:
            part = slice(piece.slot, piece.slot + piece.steps + 3)
            assert set(made["domain"][part]) == {1 + piece.source}
            (heard,) = set(made["told"][part])
            assert heard in (0, 1 + piece.source)
            seen["told" if heard else "untold"] += 1
        assert made["domain"][made["weights"] > 0].all()
    assert 0.3 < seen["told"] / sum(seen.values()) < 0.7


# The adversary


def test_the_reversed_gradient_is_the_hand_worked_one():
    """The loss is (w tanh(a x))² with x behind the reversal: w of the classifier descends, and a before it ascends."""
    x, a, w, weight = 0.7, 1.3, -0.4, 0.25

    def loss(a, w):
        return (w * reverse(jnp.tanh(a * x), jnp.float32(weight))) ** 2

    assert loss(a, w) == pytest.approx((w * np.tanh(a * x)) ** 2, rel=1e-5)
    d_a, d_w = jax.grad(loss, argnums=(0, 1))(a, w)
    assert d_w == pytest.approx(2 * w * np.tanh(a * x) ** 2, rel=1e-5)
    assert d_a == pytest.approx(-weight * 2 * w**2 * np.tanh(a * x) * (1 - np.tanh(a * x) ** 2) * x, rel=1e-5)


def test_the_adversarys_weight_rises_as_the_paper_has_it():
    adversary = Adversary(3, 0.5)
    found = [float(reversal_weight(adversary, jnp.float32(p))) for p in (0, 0.1, 0.5, 1)]
    np.testing.assert_allclose(found, [0, 0.5 * 0.46212, 0.5 * 0.98661, 0.5 * 0.99991], atol=1e-5)
    with pytest.raises(ValueError, match="two domains"):
        Adversary(1, 0.5)


@pytest.mark.parametrize("members", [1, 2])
def test_each_member_has_a_classifier_that_hears_it_alone(members):
    adversary = Adversary(3, 1.0)
    classifiers = init_classifiers(adversary, ModelConfig(LSTM((8, 6)), 5, members=members), 0)
    shape = (9, 2, 6) if members == 1 else (members, 9, 2, 6)
    last = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = domain_logits(adversary, classifiers, {"last": (last,)}, jnp.float32(1))
    assert found.shape == (members, 2, 9, 3)
    weigh = np.random.default_rng(1).standard_normal(found.shape)

    def plain(classifiers, hidden):  # the same without the reversal, a member at a time
        total = 0.0
        for member in range(members):
            first, second = (
                jax.tree.map(lambda p, m=member: p[m], classifiers)[layer] for layer in ("hidden", "output")
            )
            h = hidden[member] if members > 1 else hidden
            logits = jnp.maximum(h @ first["kernel"] + first["bias"], 0) @ second["kernel"] + second["bias"]
            total += (logits.swapaxes(0, 1) * weigh[member]).sum()
        return total

    def reversed_(classifiers, hidden):
        return (domain_logits(adversary, classifiers, {"last": (hidden,)}, jnp.float32(0.1)) * weigh).sum()

    (wanted, of_wanted), (seen, of_seen) = (
        jax.jit(jax.value_and_grad(each, argnums=(0, 1)))(classifiers, last) for each in (plain, reversed_)
    )
    assert float(seen) == pytest.approx(float(wanted), rel=1e-4)
    for a, b in zip(jax.tree.leaves(of_seen[0]), jax.tree.leaves(of_wanted[0]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(of_seen[1], -0.46212 * of_wanted[1], atol=1e-4)


# Adapters


def frames_of_steps(rng, steps):
    return rng.standard_normal((PAPER_STEPS.num_frames(steps), BANDS)).astype(np.float32)


def heard(*rows):
    """Each row one utterance."""
    return PackedFrames(np.stack(rows), np.ones((len(rows), len(rows[0])), np.int32))


def random_adapters(params, rng):
    return jax.tree_util.tree_map_with_path(
        lambda path, p: rng.normal(0, 0.3, p.shape).astype(np.float32) if "domains_" in str(path) else p, params
    )


@pytest.mark.parametrize("members", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_adapters_begin_at_no_change_and_act_where_a_domain_is_told(members):
    config = ModelConfig(LSTM((8, 6)), 5, members=members, domains=("a", "b", "c"))
    plain = ModelConfig(LSTM((8, 6)), 5, members=members)
    rng = np.random.default_rng(2)
    packed = heard(frames_of_steps(rng, 9), frames_of_steps(rng, 9))
    untouched = init_params(plain, 3)
    params = init_params(config, 3)
    for path, leaf in jax.tree_util.tree_leaves_with_path(untouched):
        np.testing.assert_array_equal(dict(jax.tree_util.tree_leaves_with_path(params))[path], leaf)

    @partial(jax.jit, static_argnums=0)
    def logits(config, params, told=None):
        return network(config).apply({"params": params}, Rows(packed, told))[0]

    wanted = logits(plain, untouched)
    for domain in (0, 2):
        np.testing.assert_allclose(logits(config, params, np.full((2, 9), domain)), wanted, atol=1e-6)
    params = random_adapters(params, rng)
    for nothing in (None, np.zeros((2, 9), int)):
        np.testing.assert_allclose(logits(config, params, nothing), wanted, atol=1e-6)
    assert np.abs(logits(config, params, np.full((2, 9), 2)) - wanted).max() > 0.1
    of_b = jax.nn.log_softmax(logits(config, params, np.full((2, 9), 2)))
    of_b = of_b if members == 1 else of_b.mean(0)
    np.testing.assert_allclose(log_posteriors(config, params, packed, domain="b")[0], of_b, atol=1e-6)
    mixed = np.zeros((2, 9), int)
    mixed[1] = 2  # what one row is told is nothing to the other
    np.testing.assert_allclose(logits(config, params, mixed)[..., 0, :, :], wanted[..., 0, :, :], atol=1e-6)
    with pytest.raises(ValueError, match="has parameters for a, b, c, not for d"):
        log_posteriors(config, params, packed, domain="d")


# Training


@pytest.fixture(scope="module")
def words(language):
    return Shared({"words": "toy"}, lambda _: "exact", lambda: language)


def spoken(corpus, dev) -> DomainSpeech:
    train, held_out = (DomainSpeech.of(each).train for each in (corpus, dev))
    return DomainSpeech(corpus.domain, train, held_out)


TINY = override(MINI, ["encoder.cells=8,6", "batch=4", "row_steps=80", "min_steps=6", "max_steps=6", "noise_factor=1"])


KINDS = (Regime(0.5), Regime(curriculum=0.5), Regime(clean_share=0.2), Regime(adversary=0.3), Regime(adapters=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "regime",
    [Regime(0.5, 0.5, 0.2, 0.3, True), *KINDS],
    ids=["together", "sampling", "curriculum", "clean share", "adversary", "adapters"],
)
def test_a_model_trains_under_a_regime(sources, words, tmp_path, regime):
    speech = tuple(spoken(source.corpus, sources[0].corpus) for source in sources)
    training = Training(speech, TINY, words=words, regime=regime)
    made = train_recognizer(training, tmp_path / "m", workers=0)
    again = Recognizer.read(tmp_path / "m")
    assert again.facts["made_of"]["regime.adversary"] == regime.adversary
    assert again.config == made.config
    assert made.config.domains == (DOMAINS if regime.adapters else ())
    assert {key.partition("_")[0] for key in again.params} - {"domains"} == {"lstm", "output"}
    run = json.loads((tmp_path / "m" / "run.json").read_text())
    assert run["rows"]["curriculum_rows"] == round(regime.curriculum * 6 * 4)
    x = [frames_of_steps(np.random.default_rng(0), 30)]
    plain, hearing = scores(again, x)[0], scores(again.told("Few"), x)[0]
    assert (np.abs(plain - hearing).max() > 1e-5) == regime.adapters
    if regime.adapters:
        delay = again.output_delay
        late = PackedFrames(*(np.pad(part, ((0, 0), (0, 3 * delay), (0, 0))[: part.ndim]) for part in heard(*x)[:2]))
        told = np.ones((1, 30 + delay), np.int32)  # "Few" is the first
        logits = network(again.config).apply({"params": again.params}, Rows(late, told))[0][0, delay:]
        np.testing.assert_allclose(hearing, jax.nn.log_softmax(logits) - again.log_priors, atol=1e-5)
    assert again.told("Telephony") is again
    other = dataclasses.replace(training, regime=dataclasses.replace(regime, untold_share=0.1))
    with pytest.raises(ValueError, match=r"made otherwise: regime\.untold_share was 0\.5 and is now 0\.1"):
        train_recognizer(other, tmp_path / "m", workers=0)
    adapted = dataclasses.replace(training, regime=Regime(curriculum=0.5), parent=starting_from(made))
    with pytest.raises(ValueError, match="is for training from scratch"):
        train_recognizer(adapted, tmp_path / "n")


@pytest.mark.slow
@pytest.mark.parametrize("regime", [Regime(adapters=True), Regime()])
def test_a_new_domains_own_parameters_leave_all_others_at_their_very_bits(sources, words, tmp_path, regime):
    corpus = toy_corpus(tmp_path / "new", [0.8, 1.1, 1.4, 0.9] * 3, domain="New")
    known = tuple(spoken(source.corpus, corpus) for source in sources)
    x = [frames_of_steps(np.random.default_rng(0), 30)]
    scale = override(TINY, ["adapt_steps=40", "learning_rate=0.05"])
    training = Training(known, scale, words=words, regime=regime)
    parent = train_recognizer(training, tmp_path / "parent", workers=0)
    adapting = dataclasses.replace(training, parent=starting_from(parent), regime=OWN_ALONE)
    alone = dataclasses.replace(adapting, speech=(spoken(corpus, corpus),))
    made = train_recognizer(alone, tmp_path / "own", workers=0)
    assert made.config.domains == (*parent.config.domains, "New")
    assert made.facts["steps"] > 0, "it learnt something"
    assert made.search == parent.search
    for domain in ("Few", "Voicesearch"):
        np.testing.assert_array_equal(scores(made.told(domain), x)[0], scores(parent.told(domain), x)[0])
    assert np.abs(scores(made.told("New"), x)[0] - scores(made, x)[0]).max() > 1e-3
    for layer, weights in parent.params.items():
        kept = made.params[layer]
        kept = kept[: len(weights)] if layer.startswith("domains_") else kept
        for mine, theirs in zip(jax.tree.leaves(kept), jax.tree.leaves(weights), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match="adapt to one domain at a time"):
        train_recognizer(adapting, tmp_path / "x", workers=0)


@dataclass
class DomainRowMaker(SignsRowMaker):
    """Make rows of two domains; a third feature tells the domain, and nothing of the labels."""

    options: RowOptions = field(default_factory=lambda: RowOptions(20, domains=DOMAINS))

    def map(self, row):
        made, domain = super().map(row), int(row) % 2
        made["frames"][:, 2] = 6 * domain - 3
        return made | dict.fromkeys(("domain", "told"), np.full(20, 1 + domain, np.int32))


@pytest.mark.parametrize("members", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_adversary_learns_to_tell_domains_and_leaves_no_trace(tmp_path, members):
    config, options = (
        ModelConfig(LSTM((16,)), 4, members=members),
        TrainOptions(40, 8, 1e-2, adversary=Adversary(2, 1e-3)),
    )
    made = train(config, options, DomainRowMaker(), tmp_path, workers=0)
    assert jax.tree.structure(made.params) == jax.tree.structure(jax.eval_shape(lambda: init_params(config, 0)))
    right = read_curves(tmp_path / "tensorboard")["train/domain_accuracy"].values
    assert right[-1] > 0.7, "by chance it would be a half"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"curriculum": 1.5}, "curriculum is 1.5"),
        ({"adversary": -1.0}, "adversary is -1"),
        ({"untold_share": 2.0}, "lie"),
    ],
)
def test_regimes_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Regime(**values)
