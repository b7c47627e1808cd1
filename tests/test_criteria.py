"""Training criteria: their sums by hand, and a toy criterion over whole utterances through the whole pipeline."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mdasr.acoustic.criteria import CRITERIA, MMI, CrossEntropy, LabelSmoothing, read_criterion
from mdasr.acoustic.criteria.cross_entropy import frame_errors
from mdasr.acoustic.criteria.interface import Criterion, Loss, Outputs
from mdasr.acoustic.network import ModelConfig
from mdasr.decode.search import SearchOptions
from mdasr.frontend import PAPER_STEPS
from mdasr.model.directory import Recognizer, check_topology
from mdasr.perturb import Policy
from mdasr.recognize.export import export_model, same_words
from mdasr.recognize.network_scores import Streamed, features_of, scores
from mdasr.recognize.streaming import listen
from mdasr.recognize.words import recognize
from mdasr.training.ingredients import Training, adapting
from mdasr.training.pipeline import train_recognizer
from mdasr.training.pool import label_statistics, labels_of, log_priors
from mdasr.training.scales import MINI, override
from mdasr.training.word_models import Shared, make_language, train_ngram
from tests.toy_speech import LEXICON, TREE, all_of, toy_corpus


@dataclass(frozen=True)
class PerUtterance:
    """Cross-entropy in which every utterance of a row has the same weight, whatever its length."""

    name: Literal["per_utterance"] = "per_utterance"

    outputs: ClassVar[Outputs] = Outputs(subtracts_priors=False, acoustic_scale=0.8)
    uses_transitions: ClassVar[bool] = False

    def loss(self, logits, batch) -> Loss:
        steps = batch["labels"].shape[-1]
        begins = batch["segments"][:, : 3 * steps : 3]
        number = jax.lax.cummax(begins, axis=1)  # answers come late: those of a gap are to the utterance before it
        lengths = jax.vmap(lambda n, w: jnp.zeros(steps + 1).at[n].add(w))(number, batch["weights"])
        weights = batch["weights"] / jnp.maximum(jnp.take_along_axis(lengths, number, axis=1), 1)
        total, _ = frame_errors(logits, batch["labels"], weights)
        plain, right = frame_errors(logits, batch["labels"], batch["weights"])
        return Loss(100 * total, {"loss": plain, "right": right})

    def watched(self, logits, batch):
        return self.loss(logits, batch).total


@pytest.fixture(autouse=True)
def toy_is_listed(monkeypatch):
    monkeypatch.setitem(CRITERIA, "per_utterance", PerUtterance)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    segments = np.zeros((3, PAPER_STEPS.num_frames(11)), np.int32)
    segments[:, :13], segments[:, 18:] = 1, 2
    weights = (rng.random((3, 11)) > 0.3).astype(np.float32)
    return {"labels": rng.integers(0, 5, (3, 11)).astype(np.int32), "weights": weights, "segments": segments}


@pytest.fixture
def logits():
    return np.random.default_rng(1).standard_normal((3, 11, 5)).astype(np.float32)


@pytest.mark.parametrize("criterion", [CrossEntropy(), LabelSmoothing(), LabelSmoothing(0.0), MMI(), PerUtterance()])
def test_the_interface_is_kept(criterion, batch, logits, statistics):
    batch = batch | (statistics if criterion.uses_transitions else {})
    assert isinstance(criterion, Criterion)
    loss = criterion.loss(logits, batch)
    assert loss.sums.keys() >= {"loss", "right"}
    assert float(criterion.watched(logits, batch)) > 0
    assert read_criterion(json.loads(json.dumps(dataclasses.asdict(criterion))), "field criterion") == criterion
    # An ensemble's sums are those of its members.
    both = criterion.loss(np.stack([logits, -logits]), batch)
    apart = float(loss.total) + float(criterion.loss(-logits, batch).total)
    assert float(both.total) == pytest.approx(apart, rel=1e-5)


def test_cross_entropy_is_scipys(batch, logits):
    log_p = scipy.special.log_softmax(logits.astype(float), axis=-1)
    wanted = -(np.take_along_axis(log_p, batch["labels"][..., None], -1)[..., 0] * batch["weights"]).sum()
    loss = CrossEntropy().loss(logits, batch)
    assert float(loss.total) == pytest.approx(wanted, rel=1e-6)
    assert float(loss.sums["right"]) == ((logits.argmax(-1) == batch["labels"]) * batch["weights"]).sum()
    assert float(LabelSmoothing(0.0).loss(logits, batch).total) == pytest.approx(wanted, rel=1e-6)


def test_smoothed_labels_are_cross_entropy_with_the_smoothed_distribution(batch, logits):
    log_p = scipy.special.log_softmax(logits.astype(float), axis=-1)
    target = 0.8 * np.eye(5)[batch["labels"]] + 0.2 / 5
    wanted = -((target * log_p).sum(-1) * batch["weights"]).sum()
    assert float(LabelSmoothing(0.2).loss(logits, batch).total) == pytest.approx(wanted, rel=1e-6)
    plain = float(CrossEntropy().loss(logits, batch).total)
    assert float(LabelSmoothing(0.2).watched(logits, batch)) == pytest.approx(plain, rel=1e-6)


def test_what_is_not_there_is_named():
    known = "there are cross_entropy, label_smoothing, mmi"
    with pytest.raises(ValueError, match=f"field criterion: no 'ctc'; {known}"):
        read_criterion({"name": "ctc"}, "field criterion")
    with pytest.raises(ValueError, match=f"no criterion called 'ctc'; {known}"):
        override(MINI, ["criterion=ctc"])
    with pytest.raises(ValueError, match=r"share is 2\.0; it must lie between 0 and 1"):
        LabelSmoothing(2.0)


@pytest.mark.slow
def test_a_criterion_goes_the_whole_way(tmp_path):
    """Batches tell it where utterances begin. Decoding subtracts no priors for it, and tuning starts at its scale."""
    corpus = toy_corpus(tmp_path / "toy", [0.8, 1.1, 1.4, 0.9] * 4)
    language = make_language(tmp_path / "language", LEXICON, TREE, train_ngram(["ah s", "s"], 2, LEXICON))
    settings = ["encoder.cells=12", "encoder.forget_steps=0", "batch=4", "row_steps=120", "learning_rate=0.02"]
    scale = override(MINI, [*settings, "min_steps=60", "max_steps=60", "criterion=per_utterance", "adapt_steps=40"])
    words = Shared({"words": "toy"}, lambda _: "exact", lambda: language)
    training = Training((all_of(corpus),), scale, words=words)
    train_recognizer(training, tmp_path / "model", workers=0)
    made = Recognizer.read(tmp_path / "model")
    assert made.config.criterion == PerUtterance()
    assert made.facts["frame_accuracy"] > 0.6
    (found,) = scores(made, [features_of(made, corpus[0].samples)])
    np.testing.assert_allclose(np.exp(found).sum(1), 1, atol=1e-4)  # posteriors: nothing was subtracted
    assert made.search.acoustic_scale != SearchOptions().acoustic_scale
    waves = [corpus[i].samples for i in range(2)]
    streamed = [[h.words for h in listen(Streamed(made), [wave], np.inf) if h.final] for wave in waves]
    assert streamed == [[best.words] for best in recognize(made, waves)]
    export_model(made, tmp_path / "served")
    assert same_words(made, tmp_path / "served", waves) == 2
    adapted = train_recognizer(adapting(training, made), tmp_path / "adapted", workers=0)
    assert adapted.config == made.config

    @dataclass(frozen=True)
    class TwoStates(PerUtterance):
        outputs: ClassVar[Outputs] = Outputs(topology="two-state")

    config: ModelConfig = dataclasses.replace(made.config, criterion=TwoStates())
    with pytest.raises(ValueError, match="HMMs of 'one-state', but a network trained by 'per_utterance' needs 'two-"):
        check_topology(tmp_path / "model", config, language)
    with pytest.raises(ValueError, match="no HMM topology is called 'two-state'; there are one-state"):
        make_language(tmp_path / "other", LEXICON, TREE, train_ngram(["ah s"], 2, LEXICON), "two-state")


@pytest.fixture
def statistics():
    rng = np.random.default_rng(2)
    transitions, priors = rng.dirichlet(np.ones(5), 5), rng.dirichlet(np.ones(5))
    return {"transitions": transitions.astype(np.float32), "log_priors": np.log(priors).astype(np.float32)}


def sequences_by_hand(scores, weights, statistics, allowed):
    """Enumerate every sequence of labels of a row, stretch by stretch, and sum their products in double precision."""
    transitions, start = statistics["transitions"].astype(float), np.exp(statistics["log_priors"].astype(float))
    total = 0.0
    for counts, run in itertools.groupby(range(len(weights)), lambda t: weights[t] > 0):
        if not counts:
            continue
        steps, found = [*run], 0.0
        for path in itertools.product(*(np.flatnonzero(allowed[t]) for t in steps)):
            product = (start @ transitions)[path[0]] * np.prod([transitions[a, b] for a, b in itertools.pairwise(path)])
            found += product * np.exp(sum(scores[t, label] for t, label in zip(steps, path)))
        total += np.log(found)
    return total


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_mmi_counts_sequences_as_by_hand(tolerance, batch, logits, statistics):
    weights = np.array([[1] * 7, [0, 1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 0, 1, 0]], np.float32)
    labels, ratios, wanted = batch["labels"][:, :7], logits[:, :7].astype(float) - statistics["log_priors"], 0.0
    for row in range(3):
        spoken = np.zeros((7, 5), bool)
        for t, other in itertools.product(range(7), repeat=2):
            together = weights[row, min(t, other) : max(t, other) + 1].all()
            if together and abs(t - other) <= tolerance:
                spoken[t, labels[row, other]] = True
        wanted += sequences_by_hand(ratios[row], weights[row], statistics, np.ones((7, 5), bool))
        wanted -= sequences_by_hand(ratios[row], weights[row], statistics, spoken)
    short = {"labels": labels, "weights": weights, **statistics}
    assert float(MMI(1.0, tolerance).loss(logits[:, :7], short).total) == pytest.approx(wanted, rel=1e-5)
    plain = float(CrossEntropy().loss(logits[:, :7], short).total)
    mixed = float(MMI(0.25, tolerance).loss(logits[:, :7], short).total)
    assert mixed == pytest.approx(0.25 * wanted + 0.75 * plain, rel=1e-5)
    assert float(MMI(0.25, tolerance).watched(logits[:, :7], short)) == pytest.approx(plain, rel=1e-6)


def test_the_gradient_of_mmi_is_finite_and_zero_where_nothing_counts(batch, logits, statistics):
    batch = batch | statistics
    extreme = np.where(np.arange(5) == batch["labels"][..., None], 80, -80).astype(np.float32)
    gradient_of = jax.jit(jax.grad(lambda x: MMI(1.0).loss(x, batch).total))
    for each in (logits, extreme, -extreme, np.zeros_like(logits)):
        gradient = np.asarray(gradient_of(each))
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-4)  # posteriors of both sums add up to 1
        assert not gradient[batch["weights"] == 0].any()


def test_statistics_of_labels_are_counted(tmp_path):
    source = all_of(toy_corpus(tmp_path, [0.8, 1.1], {1})).to_train_on(lambda _: "exact", Policy())
    (labels,) = labels_of(source, TREE, PAPER_STEPS)
    found = label_statistics([source], TREE, PAPER_STEPS)
    assert found["log_priors"].tolist() == log_priors([source], TREE, PAPER_STEPS).tolist()
    counts = np.exp(found["log_priors"].astype(float)) + np.zeros((TREE.num_leaves, 1))
    for one, other in itertools.pairwise(labels):
        counts[one, other] += 1
    np.testing.assert_allclose(found["transitions"], counts / counts.sum(1, keepdims=True), rtol=1e-5)
