"""A GMM as a recogniser, against scipy's densities and hand-worked moments; its directory; the floor of a training."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import scipy.special
import scipy.stats
import soundfile

from mdasr import frontend
from mdasr.acoustic.row_schedule import Source
from mdasr.align import tied_gmm
from mdasr.align.tied_gmm import Aligned, GmmFeatures, Sounds, TiedGmm, train_gmm
from mdasr.cli.main import main
from mdasr.model.gmm_directory import GmmRecognizer, read_model
from mdasr.recognize.words import recognize
from mdasr.training import floor
from mdasr.training.floor import make_floor, verdict
from mdasr.training.pool import Pool
from mdasr.training.speech_split import STILL
from tests.toy_speech import NGRAM, TREE, toy_corpus, toy_gmm

SMALL = GmmFeatures(bands=20, cepstra=1)  # frames of three numbers


def wave(seconds: float = 0.3) -> np.ndarray:
    """Noise, and digital silence before it."""
    noise = np.random.default_rng(1).normal(0, 0.1, round(16_000 * seconds))
    return np.concatenate([np.zeros(3200), noise]).astype(np.float32)


def test_features_are_cepstra_of_the_sound_without_their_mean():
    found, sounding = GmmFeatures(bands=90, cepstra=5).of(wave())
    assert not sounding[:17].any() and sounding[17:].all()  # 512 zeros lie in the 3,200 for the last time at frame 16
    mel = frontend.log_mel(wave())[17:, :90].astype(np.float64)
    angles = np.pi * np.outer(np.arange(90) + 0.5, np.arange(5)) / 90
    cepstra = mel @ np.cos(angles) * np.sqrt(np.where(np.arange(5) > 0, 2, 1) / 90)
    cepstra -= cepstra.mean(axis=0)
    np.testing.assert_allclose(found[:, :5], cepstra, atol=1e-4)
    slopes = sum(k * cepstra[2 + k : len(cepstra) - 2 + k] for k in (-2, -1, 1, 2)) / 10
    np.testing.assert_allclose(found[2:-2, 5:10], slopes, atol=1e-4)
    silent = GmmFeatures().of(np.zeros(4000, np.float32))
    assert silent.features.shape == (0, 39) and len(silent.sounding) == 22


def test_scores_are_log_densities_and_digital_silence_is_a_pause():
    gmm = toy_gmm(SMALL)
    features, sounding = SMALL.of(wave())
    found, mixtures = gmm.scores(wave()), gmm.mixtures
    assert found.shape == (len(sounding), 9) and found.dtype == np.float32
    for output in range(9):
        parts = [
            mixtures.log_weights[output, m] + scipy.stats.multivariate_normal(mean, np.diag(variance)).logpdf(features)
            for m, (mean, variance) in enumerate(zip(mixtures.means[output], mixtures.variances[output]))
        ]
        wanted = scipy.special.logsumexp(parts, axis=0)
        np.testing.assert_allclose(found[sounding, output], wanted, rtol=1e-4, atol=1e-4)
    silence = 3 * TREE.leaf("SIL", "SIL", "SIL") + np.arange(3)
    others = np.setdiff1d(np.arange(9), silence)
    assert (found[~sounding][:, silence] == 0).all() and (found[~sounding][:, others] == -5).all()


def spoken(rng: np.random.Generator, count: int) -> tuple[list[Aligned], np.ndarray, np.ndarray]:
    """Utterances of SIL AA S SIL, in which the states have means 6 apart; all frames, and their true outputs.

    The ends of the alignments are up to two frames wrong.
    """
    utterances, labels = [], []
    phones = ("SIL", "AA", "S", "SIL")
    for _ in range(count):
        outputs = (3 * TREE.leaves(phones)[:, None] + np.arange(3)).reshape(-1)
        lengths = rng.integers(5, 9, len(outputs))
        label = np.repeat(outputs, lengths)
        frames = (6 * label[:, None] * [1, -1, 1] + rng.standard_normal((len(label), 3))).astype(np.float32)
        ends = lengths.reshape(4, 3).sum(axis=1).cumsum() + np.append(rng.integers(-2, 3, 3), 0)
        utterances.append(Aligned(Sounds(frames, np.ones(len(label), bool)), phones, ends))
        labels.append(label)
    return utterances, np.concatenate([u.sounds.features for u in utterances]), np.concatenate(labels)


def test_single_gaussians_get_the_moments_of_their_frames(monkeypatch):
    monkeypatch.setattr(tied_gmm, "COMPONENTS", (1, 1))
    utterances, frames, labels = spoken(np.random.default_rng(0), 30)
    trained = train_gmm(iter(utterances), TREE, SMALL).mixtures
    assert trained.log_weights.shape == (9, 1)
    for output in range(9):
        own = frames[labels == output].astype(np.float64)
        np.testing.assert_allclose(trained.means[output, 0], own.mean(axis=0), atol=1e-3)
        wanted = np.maximum(own.var(axis=0), 0.01 * frames.var(axis=0))
        np.testing.assert_allclose(trained.variances[output, 0], wanted, rtol=1e-3)


def test_mixtures_grow_where_there_are_frames_for_them():
    rng = np.random.default_rng(0)
    utterances, _, labels = spoken(rng, 60)
    two = 3 * TREE.leaf("SIL", "AA", "S")  # its frames come from two places, 4 apart
    start, halves = 0, []
    for u in utterances:
        own = labels[start : start + len(u.sounds.features)] == two
        moved = u.sounds.features + np.float32(2) * np.where(own, rng.choice([-1, 1], len(own)), 0)[:, None]
        halves.append(u._replace(sounds=u.sounds._replace(features=moved.astype(np.float32))))
        start += len(own)
    trained = train_gmm(halves, TREE, SMALL)
    used = np.isfinite(trained.mixtures.log_weights).sum(axis=1)
    counts = np.bincount(labels, minlength=9)
    assert (used <= 8).all() and (used <= np.maximum(1, counts // 40 + 1)).all() and used[two] > 1
    centre = 6 * two * np.array([1, -1, 1], np.float32)
    places = np.stack([centre - 2, centre, centre + 2])
    low, middle, high = trained.mixtures.log_likelihood(places, np.array([two]))
    assert min(low, high) > middle + 1


def test_utterances_with_fewer_frames_than_states_are_left_out():
    (long,), _, _ = spoken(np.random.default_rng(0), 1)
    short = Aligned(Sounds(long.sounds.features[:11], np.ones(11, bool)), long.phones, np.array([3, 6, 9, 11]))
    both = train_gmm([short, long], TREE, SMALL).mixtures
    np.testing.assert_array_equal(both.means, train_gmm([long], TREE, SMALL).mixtures.means)
    with pytest.raises(ValueError, match="no aligned speech to train a GMM on"):
        train_gmm([short], TREE, SMALL)


def test_features_that_never_change_are_no_error():
    (one,), _, _ = spoken(np.random.default_rng(0), 1)
    still = one._replace(sounds=one.sounds._replace(features=np.ones_like(one.sounds.features)))
    trained = train_gmm([still], TREE, SMALL)
    assert np.isfinite(trained.mixtures.log_likelihood(still.sounds.features, np.arange(9))).all()


def test_mixtures_are_read_as_they_were_written(tmp_path):
    gmm = toy_gmm(SMALL)
    gmm.write(tmp_path / "gmm.npz")
    again = TiedGmm.read(tmp_path / "gmm.npz", TREE, SMALL)
    for name in ("log_weights", "means", "variances"):
        np.testing.assert_array_equal(getattr(again.mixtures, name), getattr(gmm.mixtures, name))


FIT, SANE = (
    "of another model than tree.txt and model.json",
    "not finite float32 numbers, variances above 0, and weights",
)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("means", lambda x: x[:, :, :2], FIT),
        ("means", lambda x: x[:6], FIT),
        ("means", lambda x: x[0, 0], FIT),
        ("log_weights", lambda x: x[:, :1], FIT),
        ("log_weights", lambda x: np.float32(0), FIT),
        ("log_weights", lambda x: x[:, :0], FIT),
        ("variances", None, FIT),
        ("means", lambda x: x.astype(np.float64), SANE),
        ("means", lambda x: x * np.float32("inf"), SANE),
        ("variances", lambda x: x * 0, SANE),
        ("log_weights", lambda x: x + np.float32(0.1), SANE),
        ("log_weights", lambda x: x * np.float32("nan"), SANE),
    ],
)
def test_mixtures_that_do_not_fit_are_refused_by_name(tmp_path, name, change, said):
    arrays = dataclasses.asdict(toy_gmm(SMALL).mixtures)
    arrays = {key: change(x) if key == name else x for key, x in arrays.items() if change or key != name}
    np.savez(tmp_path / "gmm.npz", **arrays)
    with pytest.raises(ValueError, match=rf"gmm\.npz: .*{said}"):
        TiedGmm.read(tmp_path / "gmm.npz", TREE, SMALL)


@pytest.fixture(scope="module")
def pool(corpus):
    """Train on 20 utterances of the toy corpus, and hold four out."""
    numbers = tuple(range(24))
    return Pool(
        (Source(corpus, "exact", STILL, numbers[:20]),), (Source(corpus, "exact", STILL, numbers[20:]),), {}, {}
    )


@pytest.fixture(scope="module")
def made(pool, language, tmp_path_factory):
    directory = tmp_path_factory.mktemp("floor") / "gmm"
    return make_floor(pool, language, directory), directory


def test_a_floor_is_made_once_and_always_the_same(made, pool, language, tmp_path, monkeypatch, capsys):
    model, directory = made
    assert model.facts["dev_wer"] == 0 and model.facts["dev_words"] == 8
    assert not (directory / "stages").exists()
    again = make_floor(pool, language, tmp_path / "gmm")
    assert (tmp_path / "gmm" / "gmm.npz").read_bytes() == (directory / "gmm.npz").read_bytes()
    assert dict(again.facts) | {"seconds": 0} == dict(model.facts) | {"seconds": 0}
    capsys.readouterr()
    trained = []
    monkeypatch.setattr(floor, "train_gmm", lambda *given: trained.append(given) or train_gmm(*given))
    assert make_floor(pool, language, tmp_path / "gmm").facts == again.facts and not trained
    assert "floor: monophone GMM WER 0.0 % on 8 held-out words, triphone GMM 0.0 % (" in capsys.readouterr().err
    fewer = dataclasses.replace(pool, sources=(dataclasses.replace(pool.sources[0], indices=tuple(range(19))),))
    assert make_floor(fewer, language, tmp_path / "gmm").facts["name"] != again.facts["name"] and len(trained) == 2


def test_a_gmm_transcribes_evaluates_and_gets_another_graph(made, tmp_path, capsys):
    (_, directory), corpus = made, toy_corpus(tmp_path / "toy", [0.8, 1.1, 1.2])
    moved, audio = tmp_path / "moved", tmp_path / "said.wav"
    shutil.copytree(directory, moved)
    soundfile.write(audio, corpus[2].wave, 16_000)
    for form, expected in (("text", "ah s\n"), ("ctm", " s 0.")):
        assert main(["transcribe", str(moved), str(audio), "--format", form]) == 0
        assert expected in capsys.readouterr().out
    third = len(corpus[2].wave) / 3 / 16_000
    (best,) = recognize(read_model(moved), [corpus[2].samples])
    np.testing.assert_allclose(np.array([*best.starts, best.ends[-1]]) / 100, [third, 2 * third, 3 * third], atol=0.04)
    assert main(["evaluate", str(moved), str(corpus.directory), "--oracle"]) == 0
    assert "WER 0.0 [0.0, 0.0] %" in capsys.readouterr().out
    assert main(["tune", str(moved), str(corpus.directory)]) == 0
    tuned = read_model(moved)
    assert isinstance(tuned, GmmRecognizer) and tuned.facts["tuned_on"] == ["toy"]
    (tmp_path / "lm.arpa").write_text(NGRAM.to_arpa().replace("ah", "s's"))
    (tmp_path / "said.dict").write_text("s's  S AA\n")
    given = ["graph", str(moved), "--lm", str(tmp_path / "lm.arpa"), "--lexicon", str(tmp_path / "said.dict")]
    assert main([*given, "--out", str(tmp_path / "other")]) == 0
    other = read_model(tmp_path / "other")
    assert other.graph.words == ("s", "s's") and other.graph.topology == "three-state"
    assert not {"dev_wer", "monophone_wer"} & {*other.facts}
    assert (tmp_path / "other" / "gmm.npz").read_bytes() == (directory / "gmm.npz").read_bytes()


@pytest.mark.parametrize("command", ["export MODEL --out x", "transcribe MODEL --stream", "adapt MODEL TOY --out x"])
def test_what_needs_a_network_says_so(command, made, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [{"MODEL": str(made[1]), "TOY": str(corpus.directory)}.get(word, word) for word in command.split()]
    assert main(words) == 2
    assert f"{made[1]} holds a GMM, and this needs a network" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_directory_whose_files_do_not_fit_is_refused_by_name(made, language, tmp_path):
    shutil.copytree(made[1], tmp_path / "gmm")
    described = json.loads((tmp_path / "gmm" / "model.json").read_text())
    for features, said in (
        ({"bands": 90, "cepstra": 20}, r"gmm\.npz: .*60 features"),
        ({"bands": 9, "cepstra": 20}, "cepstra is 20; it must lie between 1 and 9"),
        ({"bands": 90}, r"model\.json: field gmm: needs the fields \['bands', 'cepstra'\]"),
    ):
        (tmp_path / "gmm" / "model.json").write_text(json.dumps(described | {"gmm": features}))
        with pytest.raises(ValueError, match=said):
            read_model(tmp_path / "gmm")
    (tmp_path / "gmm" / "model.json").write_text(json.dumps(described))
    language.graph.write(tmp_path / "gmm" / "graph")
    with pytest.raises(ValueError, match=r"graph: HMMs of 'one-state', but a GMM needs 'three-state'"):
        read_model(tmp_path / "gmm")
    with pytest.raises(FileNotFoundError, match=r"is not a model: it has no model\.json"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("network", "gmm", "said"),
    [
        (
            15.14,
            12.3,
            "The network (15.1 %) does not beat the GMM (12.3 %) on the held-out speech; M recognises it better.",
        ),
        (
            12.3,
            12.3,
            "The network (12.3 %) does not beat the GMM (12.3 %) on the held-out speech; M recognises it as well.",
        ),
        (12.2, 12.3, ""),
    ],
)
def test_a_network_that_does_not_beat_the_floor_is_told_so(tmp_path, network, gmm, said):
    found = verdict(tmp_path, {"dev_wer": network, "gmm_wer": gmm})
    assert found.replace(str(tmp_path / "gmm"), "M") == said
    assert not verdict(tmp_path, {"dev_wer": 99.0, "gmm_wer": gmm, "tuned_on": ["other"]})
    assert not verdict(tmp_path, {"dev_wer": network}) and not verdict(tmp_path, {"gmm_wer": gmm})
