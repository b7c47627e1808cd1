"""The aligner: its parts against independent references, and the whole on speech with known boundaries."""

import itertools
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.mixture

from mdasr import frontend
from mdasr.align import gmm, hmm
from mdasr.align.flat_start import (
    agreement,
    align,
    alignment_of_path,
    boundary_errors,
    make_features,
    shortest_share,
    usable_bands,
)
from mdasr.align.gmm import Mixtures
from mdasr.align.hmm import SILENT, output_posteriors, utterance_graph, viterbi
from mdasr.align.monophones import AlignerOptions, flat_labels, transcript_graph
from mdasr.corpus.manifest import import_manifest, to_int16
from mdasr.corpus.records import Alignment, Utterance, encode_utterance, seal_corpus, shard_path, write_shard
from mdasr.language import espeak
from mdasr.language.lexicon import SILENCE, Lexicon
from mdasr.synth import embedded

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech" / "manifest.jsonl"
LEXICON = Lexicon(
    {
        "ma": ((("M", "A"), 1.0),),
        "sa": ((("S", "A"), 0.75), (("Z", "A"), 0.25)),
        "i": ((("I",), 1.0),),
        "mis": ((("M", "I", "S"), 1.0),),
        "zu": ((("Z", "U"), 1.0),),
    }
)
SMALL = AlignerOptions(soft_iterations=5, iterations=9, components=4)


# --- paths


def every_path(graph, frames):
    """Return all state sequences that a graph allows, and the weight of each, by plain recursion."""
    found = []

    def go(path, weight):
        if len(path) == frames:
            if np.isfinite(graph.final[path[-1]]):
                found.append((path, weight + graph.final[path[-1]]))
            return
        go([*path, path[-1]], weight)
        for state in range(len(graph.outputs)):
            arcs = slice(graph.first_arc[state], graph.first_arc[state + 1])
            for source, arc in zip(graph.sources[arcs], graph.weights[arcs]):
                if source == path[-1]:
                    go([*path, state], weight + arc)

    for state in np.flatnonzero(np.isfinite(graph.entry)):
        go([int(state)], graph.entry[state])
    return found


def test_viterbi_finds_what_trying_every_path_finds():
    outputs = {phone: i for i, phone in enumerate(LEXICON.phones)}
    for seed, words in enumerate([["sa"], ["i", "ma"], ["sa", "i"], ["mis"]]):
        rng = np.random.default_rng(seed)
        graph = utterance_graph(words, LEXICON, outputs, 1, 0.3)
        stay = rng.uniform(0.1, 0.9, len(outputs))
        for frames in (graph.fewest_frames, 6):
            scores = rng.standard_normal((frames, len(outputs))).astype(np.float32)
            totals = []
            for path, weight in every_path(graph, frames):
                columns = graph.outputs[path]
                moved = np.diff(path) > 0
                loops = np.where(moved, np.log1p(-stay[columns[:-1]]), np.log(stay[columns[:-1]]))
                totals.append(weight + scores[np.arange(frames), columns].sum() + loops.sum())
            path, score = viterbi(scores, graph, stay)
            assert score == pytest.approx(max(totals), abs=1e-5)
            assert [*path] == every_path(graph, frames)[int(np.argmax(totals))][0]


def test_a_graph_holds_every_variant_and_pause_with_its_probability():
    outputs = {phone: i for i, phone in enumerate(LEXICON.phones)}
    graph = utterance_graph(["sa", "i"], LEXICON, outputs, 1, 0.3)
    said = {}
    for frames in range(2, 8):
        for path, weight in every_path(graph, frames):
            if len(set(path)) == len(path):  # no loops: one frame a state
                said[tuple(graph.segments[graph.segment_of[s]].phone for s in path)] = weight
    expected = {}
    for pauses in itertools.product((True, False), repeat=3):
        for first, probability in LEXICON.entries["sa"]:
            parts = [[SILENCE] * pauses[0], first, [SILENCE] * pauses[1], ["I"], [SILENCE] * pauses[2]]
            weight = np.log(probability) + sum(np.log(0.3 if pause else 0.7) for pause in pauses)
            expected[tuple(itertools.chain(*parts))] = weight
    assert said == pytest.approx(expected)
    assert graph.fewest_frames == 3
    assert utterance_graph(["sa", "i"], LEXICON, {p: 3 * i for p, i in outputs.items()}, 3, 0.3).fewest_frames == 9


def test_posteriors_are_those_of_all_paths_together():
    outputs = {phone: i for i, phone in enumerate(LEXICON.phones)}
    for seed, words in enumerate([["sa"], ["i", "ma"]]):
        rng = np.random.default_rng(seed)
        graph = utterance_graph(words, LEXICON, outputs, 1, 0.3)
        stay = rng.uniform(0.1, 0.9, len(outputs))
        scores = rng.standard_normal((6, len(outputs))).astype(np.float32)
        expected = np.zeros((6, len(graph.outputs)))
        for path, weight in every_path(graph, 6):
            columns = graph.outputs[path]
            moved = np.diff(path) > 0
            loops = np.where(moved, np.log1p(-stay[columns[:-1]]), np.log(stay[columns[:-1]]))
            expected[np.arange(6), path] += np.exp(weight + scores[np.arange(6), columns].sum() + loops.sum())
        expected /= expected.sum(axis=1, keepdims=True)
        of_outputs = np.stack([expected[:, graph.outputs == o].sum(axis=1) for o in range(len(outputs))], axis=1)
        np.testing.assert_allclose(output_posteriors(scores, graph, stay), of_outputs, atol=1e-6)
        # Scores this far apart leave only the best path.
        sharp = output_posteriors(1000 * scores, graph, stay)
        best, _ = viterbi(1000 * scores, graph, stay)
        assert np.array_equal(sharp.argmax(axis=1), graph.outputs[best])
    with pytest.raises(ValueError, match="1 frames for at least 3 states"):
        output_posteriors(scores[:1], graph, stay)


@pytest.fixture
def long_chain():
    """Scores of random words with a few frames a state, their graph, and loops: 200 states of a band are enough."""
    rng, outputs = np.random.default_rng(0), {phone: 3 * i for i, phone in enumerate(LEXICON.phones)}
    words = [str(word) for word in rng.choice(LEXICON.words, 100)]
    graph = utterance_graph(words, LEXICON, outputs, 3, 0.2)
    phones = [phone for word in words for phone in (*LEXICON.entries[word][0][0], *[SILENCE] * (rng.random() < 0.3))]
    spoken = np.concatenate([np.repeat(outputs[phone] + np.arange(3), rng.integers(1, 6, 3)) for phone in phones])
    scores = rng.normal(0, 1.5, (len(spoken), 3 * len(outputs))).astype(np.float32)
    scores[np.arange(len(spoken)), spoken] += 3
    return scores, graph, np.full(scores.shape[1], 0.6), spoken


def test_a_band_of_the_trellis_finds_what_the_whole_finds(long_chain, monkeypatch):
    scores, graph, stay, spoken = long_chain
    path, score = viterbi(scores, graph, stay)
    assert np.mean(graph.outputs[path] == spoken) > 0.9
    of_outputs = output_posteriors(scores, graph, stay)
    monkeypatch.setattr(hmm, "_BLOCK_CELLS", 1)  # of the forward pass, only the first row of each block is kept
    assert np.array_equal(output_posteriors(scores, graph, stay), of_outputs)
    monkeypatch.setattr(hmm, "_LEAST_WIDTH", 200)
    assert len(graph.outputs) > 1000
    banded, banded_score = viterbi(scores, graph, stay, most_cells=1)
    assert np.array_equal(banded, path) and banded_score == pytest.approx(score)
    monkeypatch.setattr(hmm, "_LEAST_WIDTH", 700)
    np.testing.assert_allclose(output_posteriors(scores, graph, stay, most_cells=1), of_outputs, atol=1e-6)


@pytest.mark.parametrize("spare", [0, 1, 7, 300])
def test_a_band_reaches_the_end_whatever_the_scores_say(long_chain, monkeypatch, spare):
    """The first state is the best one in every frame."""
    _, graph, stay, _ = long_chain
    monkeypatch.setattr(hmm, "_LEAST_WIDTH", 50)
    scores = np.zeros((graph.fewest_frames + spare, len(stay)), np.float32)
    scores[:, graph.outputs[0]] = 5
    path, score = viterbi(scores, graph, stay, most_cells=1)
    assert np.isfinite(score) and np.isfinite(graph.entry[path[0]]) and np.isfinite(graph.final[path[-1]])
    for before, after in itertools.pairwise(path):
        assert before == after or before in graph.sources[graph.first_arc[after] : graph.first_arc[after + 1]]


def test_too_few_frames_say_so():
    graph = transcript_graph("mis ma", LEXICON, AlignerOptions())
    scores = np.zeros((14, 3 * len(LEXICON.phones)), np.float32)
    with pytest.raises(ValueError, match="14 frames for at least 15 states"):
        viterbi(scores, graph)
    viterbi(np.zeros((15, scores.shape[1]), np.float32), graph)


# --- mixtures


def random_mixtures(rng, outputs=3, components=4, dim=5):
    log_weights = np.log(rng.dirichlet(np.ones(components), outputs))
    log_weights[0, 1:] = -np.inf
    means = rng.standard_normal((outputs, components, dim))
    variances = rng.uniform(0.2, 2, (outputs, components, dim))
    return Mixtures(*(part.astype(np.float32) for part in (log_weights, means, variances)))


def test_log_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    mixtures = random_mixtures(rng)
    features = rng.standard_normal((21, 5)).astype(np.float32) * 3
    chosen = np.array([2, 0])
    density = scipy.stats.norm(mixtures.means, np.sqrt(mixtures.variances)).logpdf(features[:, None, None])
    expected = scipy.special.logsumexp(density.sum(axis=-1) + mixtures.log_weights, axis=-1)[:, chosen]
    np.testing.assert_allclose(mixtures.log_likelihood(features, chosen), expected, rtol=1e-4, atol=1e-4)
    assert mixtures.log_likelihood(features[:0], chosen).shape == (0, 2)


def test_one_em_step_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    mixtures = random_mixtures(rng, outputs=2)
    features = rng.standard_normal((400, 5)).astype(np.float32)
    labels = np.repeat([1, 0], 200)
    stepped = gmm.reestimate(mixtures, features, labels, np.full(5, 1e-3, np.float32), fewest_frames=1)
    for output in (0, 1):
        used = np.isfinite(mixtures.log_weights[output])
        weights = np.exp(mixtures.log_weights[output][used])
        reference = sklearn.mixture.GaussianMixture(
            used.sum(),
            covariance_type="diag",
            max_iter=1,
            reg_covar=0,
            weights_init=weights / weights.sum(),
            means_init=mixtures.means[output][used],
            precisions_init=1 / mixtures.variances[output][used],
        )
        with pytest.warns(sklearn.exceptions.ConvergenceWarning):
            reference.fit(features[labels == output])
        np.testing.assert_allclose(stepped.means[output][used], reference.means_, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(stepped.variances[output][used], reference.covariances_, rtol=5e-3)
        np.testing.assert_allclose(np.exp(stepped.log_weights[output][used]), reference.weights_, rtol=2e-3)
    assert not np.isfinite(stepped.log_weights[0, 1:]).any()


def test_shares_of_one_are_labels():
    rng = np.random.default_rng(4)
    mixtures = random_mixtures(rng)
    features = rng.standard_normal((90, 5)).astype(np.float32)
    labels, floor = rng.integers(0, 3, 90), np.full(5, 1e-3, np.float32)
    hard = gmm.reestimate(mixtures, features, labels, floor, fewest_frames=1)
    outputs = np.array([2, 0, 1])
    parts = (slice(0, 40), slice(40, 90))
    examples = [(features[p], outputs, (labels[p, None] == outputs).astype(float)) for p in parts]
    soft = gmm.reestimate_softly(mixtures, examples, floor, fewest_frames=1)
    for name in ("log_weights", "means", "variances"):
        np.testing.assert_allclose(getattr(soft, name), getattr(hard, name), rtol=1e-6)


def test_starved_components_go_and_starved_outputs_stay():
    rng = np.random.default_rng(2)
    mixtures = random_mixtures(rng, outputs=3, components=2)
    mixtures.means[1, 1] = 100.0  # far from every frame
    features = rng.standard_normal((60, 5)).astype(np.float32)
    labels = np.where(np.arange(60) < 55, 1, 2)
    stepped = gmm.reestimate(mixtures, features, labels, np.full(5, 0.5, np.float32), fewest_frames=10)
    assert np.array_equal(np.isfinite(stepped.log_weights), [[True, False], [True, False], [True, True]])
    assert stepped.variances[1, 0].min() >= 0.5
    for before, after in ((mixtures.means[2], stepped.means[2]), (mixtures.variances[2], stepped.variances[2])):
        assert np.array_equal(before, after)


def test_splitting_keeps_the_mass_and_em_then_gains():
    rng = np.random.default_rng(3)
    features = np.concatenate([rng.normal(-2, 1, (300, 5)), rng.normal(2, 1, (300, 5))]).astype(np.float32)
    labels = np.zeros(600, np.int64)
    mixtures = gmm.one_gaussian_each(features, 2)
    likelihoods = [mixtures.log_likelihood(features, np.array([0])).mean()]
    mixtures = gmm.split(mixtures, np.array([600, 39]), components=4, frames_per_component=20)
    assert np.isfinite(mixtures.log_weights).sum(axis=1).tolist() == [4, 1]
    np.testing.assert_allclose(np.exp(mixtures.log_weights).sum(axis=1), 1, rtol=1e-6)
    for _ in range(5):
        mixtures = gmm.reestimate(mixtures, features, labels, np.full(5, 1e-3, np.float32))
        likelihoods.append(mixtures.log_likelihood(features, np.array([0])).mean())
    assert np.all(np.diff(likelihoods[1:]) > -1e-4)
    assert likelihoods[-1] > likelihoods[0] + 1


# --- speech whose boundaries are known


def sound(phone, samples, rng):
    """Make noise in two bands whose levels depend on the phone; a pause is nearly silent."""
    bands_hz = {
        "A": (700, 1100),
        "I": (300, 2300),
        "U": (300, 800),
        "M": (150, 250),
        "S": (5000, 7000),
        "Z": (200, 6000),
    }
    noise = rng.standard_normal(samples)
    if phone == SILENCE:
        return 0.001 * noise
    spectrum, hz = np.fft.rfft(noise), np.fft.rfftfreq(samples, 1 / 16000)
    shape = sum(np.exp(-(((hz - band) / 150) ** 2)) for band in bands_hz[phone]) + 1e-3
    loud = {"M": 0.1, "S": 0.05, "Z": 0.05}.get(phone, 0.2)
    shaped = np.fft.irfft(spectrum * shape, samples)
    return loud * shaped / np.sqrt(np.mean(shaped**2))


def toy_utterance(i, rng, text=None):
    """Make an utterance of words in noise bursts, and its exact alignment."""
    words = [str(word) for word in rng.choice(LEXICON.words, rng.integers(2, 6))]
    phones, lengths, spans = [SILENCE], [rng.integers(1600, 4800)], []
    for word in words:
        variants, probabilities = zip(*LEXICON.entries[word])
        said = variants[rng.choice(len(variants), p=probabilities)]
        spans.append((word, len(phones), len(phones) + len(said)))
        phones += said
        lengths += [int(n) for n in rng.integers(960, 3200, len(said))]
        if rng.random() < 0.3:
            phones.append(SILENCE)
            lengths.append(int(rng.integers(1600, 3200)))
    wave = np.concatenate([sound(phone, n, rng) for phone, n in zip(phones, lengths)]).astype(np.float32)
    ends_s = tuple(float(end) / 16000 for end in np.cumsum(lengths))
    name = f"u{i:03d}"
    utterance = Utterance(name, "toy", "d", f"s{i % 4}", text or " ".join(words), to_int16(np.clip(wave, -1, 0.999)))
    return utterance, Alignment(name, tuple(phones), ends_s, tuple(spans))


def make_corpus(directory, utterances):
    write_shard(shard_path(directory, "audio", 0, 1), map(encode_utterance, utterances))
    return seal_corpus(directory, utterances[0].corpus, "d")


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    return [toy_utterance(i, rng) for i in range(60)]


def every(sequence):
    return [sequence[i] for i in range(len(sequence))]


def test_flat_start_finds_known_boundaries_and_says_what_failed(tmp_path, toy):
    rng = np.random.default_rng(1)
    utterances, exact = [u for u, _ in toy], [a for _, a in toy]
    strange = replace(utterances[0], id="strange", text="ma xylophone ma qua")
    short = replace(utterances[0], id="short", text="mis mis mis", wave=utterances[0].wave[:4000])
    wrong = toy_utterance(99, rng, text="i i i i i i")[0]
    corpus = make_corpus(tmp_path / "c", [*utterances, strange, short, wrong])
    report = align([corpus], LEXICON, SMALL)
    failed = dict(report.failed)
    assert [*failed] == ["toy/strange", "toy/short", "toy/u099"]
    assert "no pronunciation for 'xylophone', 'qua'" in failed["toy/strange"]
    assert "frames for at least 27 states" in failed["toy/short"]
    assert "do not fit the sound" in failed["toy/u099"]
    assert report.aligned == 60
    assert "60 utterances aligned, 3 not" in str(report)
    assert np.mean(np.diff(report.log_likelihoods) > 0) > 0.8
    assert report.log_likelihoods[-1] > report.log_likelihoods[0] + 2
    found = every(corpus.alignments(report.name))
    within_20_ms, within_50_ms = agreement(exact, found[:60])
    assert within_20_ms > 0.9
    assert within_50_ms > 0.98
    for utterance, alignment in zip(utterances, found):
        assert alignment.ends_s[-1] == pytest.approx(utterance.seconds, abs=1e-4)
        assert np.all(np.diff((0.0, *alignment.ends_s)) >= 0.0299)  # three states of 10 ms
        assert [word for word, *_ in alignment.words] == utterance.text.split()
        spoken = [alignment.phones[first:last] for _, first, last in alignment.words]
        for (word, *_), phones in zip(alignment.words, spoken):
            assert phones in [variant for variant, _ in LEXICON.entries[word]]
        assert [p for p in alignment.phones if p != SILENCE] == [*itertools.chain(*spoken)]
    assert every(corpus.alignments(report.name).usable) == [True] * 60 + [False] * 3


def padded(utterance, before, after):
    wave = np.concatenate([np.zeros(before, np.int16), utterance.wave, np.zeros(after, np.int16)])
    return replace(utterance, id=f"p{utterance.id}", wave=wave)


def test_digital_silence_moves_no_boundary_and_noise_is_not_aligned(tmp_path, toy):
    """Zeros stand around every second utterance. Noises have words, and either a speaker of their own or another's."""
    rng = np.random.default_rng(2)
    zeros = [padded(u, 16_000, 32_000) if i % 2 else u for i, (u, _) in enumerate(toy[:30])]
    noises = [
        replace(toy[0][0], id=f"{kind}{who}", speaker=who, text="ma sa i mis zu", wave=wave.astype(np.int16))
        for who in ("s0", "noise")
        for kind, wave in (("hiss", rng.normal(0, 3000, 48_000)), ("zeros", np.zeros(48_000)))
    ]
    stretched = replace(toy[1][0], id="long", text="i", wave=(8000 * sound("I", 48_000, rng)).astype(np.int16))
    corpus = make_corpus(tmp_path / "c", [*zeros, *noises, stretched])
    report = align([corpus], LEXICON, replace(SMALL, soft_iterations=4, iterations=5, components=2))
    failed = dict(report.failed)
    assert [*failed] == ["toy/hisss0", "toy/zeross0", "toy/hissnoise", "toy/zerosnoise", "toy/long"]
    assert "noise, and no speech: a modulation of 0." in failed["toy/hissnoise"]
    assert failed["toy/zerosnoise"] == "there is no sound: all samples are equal"
    assert "the phone I lasts" in failed["toy/long"] or "noise, and no speech" in failed["toy/long"]
    found = every(corpus.alignments(report.name))[:30]
    for alignment, utterance in zip(found, zeros):
        assert alignment.ends_s[-1] == pytest.approx(utterance.seconds, abs=1e-4)
    shifted = [
        replace(exact, ends_s=tuple(end + i % 2 for end in exact.ends_s)) for i, (_, exact) in enumerate(toy[:30])
    ]
    assert agreement(shifted, found)[1] > 0.97


def test_the_same_call_gives_the_same_bits_and_a_done_one_is_not_done_again(tmp_path, toy):
    utterances = [u for u, _ in toy[:20]]
    options = replace(SMALL, iterations=4)
    corpora = [make_corpus(tmp_path / name, utterances) for name in ("a", "b")]
    reports = [align([corpus], LEXICON, options) for corpus in corpora]
    assert reports[0] == reports[1]
    assert every(corpora[0].alignments(reports[0].name)) == every(corpora[1].alignments(reports[0].name))
    unused = LEXICON.merged(Lexicon({"other": ((("A",), 1.0),)}))
    again = align(corpora[:1], unused, options)
    assert (again.name, again.failed, again.log_likelihoods) == (reports[0].name, reports[0].failed, ())
    other = LEXICON.merged(Lexicon({"zu": ((("Z", "I"), 1.0),)}))
    assert align(corpora[:1], other, options).name != reports[0].name
    assert align(corpora[:1], LEXICON, replace(options, components=2)).name != reports[0].name


def test_long_corpora_are_trained_on_in_part_and_aligned_in_whole(tmp_path, toy):
    corpus = make_corpus(tmp_path / "c", [u for u, _ in toy])
    report = align([corpus], LEXICON, replace(SMALL, iterations=8, train_hours=corpus.info["hours"] / 1.9))
    assert report.aligned + len(report.failed) == 60
    assert report.aligned > 50


def test_nothing_to_align_is_an_error(tmp_path, toy):
    corpus = make_corpus(tmp_path / "c", [u for u, _ in toy[:3]])
    with pytest.raises(ValueError, match=r"none of 3 utterances with words can be aligned.*no pronunciation"):
        align([corpus], Lexicon({"a": ((("A",), 1.0),)}), SMALL)
    silent = make_corpus(tmp_path / "silent", [replace(u, text="") for u, _ in toy[:3]])
    with pytest.raises(ValueError, match="none of 0 utterances with words can be aligned; none has words"):
        align([silent], LEXICON, SMALL)
    assert not [*corpus.directory.glob("align-*")]


def test_features_are_normalised_by_speaker_whatever_level_and_band(tmp_path, toy):
    utterances = [replace(u, speaker="s", source_rate_hz=8000 if i else 16000) for i, (u, _) in enumerate(toy[:4])]
    quiet = [replace(u, id=f"q{u.id}", speaker="q", wave=(u.wave // 4).astype(np.int16)) for u in utterances]
    corpus = make_corpus(tmp_path / "c", utterances + quiet)
    features = make_features([corpus], AlignerOptions())
    loud = np.concatenate([features(u) for u in utterances])
    soft = np.concatenate([features(u) for u in quiet])
    for x in (loud, soft):
        np.testing.assert_allclose(x[:, :13].mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(x[:, :13].std(axis=0), 1, atol=1e-3)
    assert np.corrcoef(loud[:, 0], soft[:, 0])[0, 1] > 0.98


def test_bands_that_a_narrow_recording_lacks_are_left_out():
    assert usable_bands(16000) >= 123
    bands = usable_bands(8000)
    assert 80 < bands < 100
    support_hz = np.flatnonzero(frontend.mel_filters()[:, :bands].any(axis=1)).max() * 16000 / frontend.FFT_SIZE
    assert support_hz <= 3600
    assert usable_bands(44100) == frontend.BANDS


def test_words_squeezed_into_a_corner_are_counted():
    """The share is that of phones with one frame for each state, without pauses."""
    options = AlignerOptions()
    graph = transcript_graph("mis ma i ma", LEXICON, options)
    path, _ = viterbi(np.zeros((24, 3 * len(LEXICON.phones)), np.float32), graph)
    assert shortest_share(graph, path) == 1.0
    assert shortest_share(graph, np.repeat(path, [2, *[1] * 23])) == pytest.approx(7 / 8)
    silent = np.flatnonzero(graph.segment_of == 0)  # the pause at the start
    assert shortest_share(graph, np.concatenate([silent, path])) == 1.0
    few = transcript_graph("i i", LEXICON, options)
    assert shortest_share(few, viterbi(np.zeros((6, 3 * len(LEXICON.phones)), np.float32), few)[0]) == 0.0


def test_flat_labels_put_speech_where_the_energy_is():
    features = np.full((100, 39), -1.0, np.float32)
    features[30:81, 0] = 1.0
    options = AlignerOptions(states_per_phone=2)
    phones = [LEXICON.phones[label // 2] for label in flat_labels(features, "ma i", LEXICON, options)]
    assert phones == [SILENCE] * 30 + ["M"] * 17 + ["A"] * 17 + ["I"] * 17 + [SILENCE] * 19
    assert len(flat_labels(features[:6], "ma i", LEXICON, options)) == 6
    rare = np.full((2000, 39), -1.0, np.float32)  # what is loud is 2% of it, less than a percentile of 95 sees
    rare[900:940, 0] = 1.0
    phones = [LEXICON.phones[label // 2] for label in flat_labels(rare, "ma i", LEXICON, options)]
    assert [i for i, phone in enumerate(phones) if phone != SILENCE] == [*range(900, 940)]


def test_a_boundary_lies_halfway_between_the_frames_around_it(toy):
    graph = utterance_graph(["i"], LEXICON, {p: i for i, p in enumerate(LEXICON.phones)}, 1, 0.5)
    utterance = replace(toy[0][0], text="i", wave=toy[0][0].wave[:2000])  # 10 frames
    silence, vowel = (next(s for s in range(3) if graph.segments[graph.segment_of[s]].word == w) for w in (SILENT, 0))
    path = np.array([silence] * 4 + [vowel] * 6)
    centres = 160 * np.arange(10) + 256
    alignment = alignment_of_path(path, graph, utterance, centres - 80)
    assert alignment.phones == (SILENCE, "I")
    assert alignment.ends_s == ((centres[3] + centres[4]) / 2 / 16000, 2000 / 16000)
    assert alignment.words == (("i", 1, 2),)


def test_agreement_by_hand():
    reference = Alignment("u", ("SIL", "M", "A", "SIL", "I"), (0.1, 0.2, 0.4, 0.5, 0.7))
    assert boundary_errors(reference, reference).tolist() == [0, 0, 0, 0, 0]  # M, A, A's end, I, I's end
    late = Alignment("u", ("SIL", "M", "A", "I"), (0.13, 0.21, 0.5, 0.7))
    np.testing.assert_allclose(boundary_errors(reference, late), [0.03, 0.01, 0.1, 0.0, 0.0], atol=1e-9)
    assert agreement([reference], [late]) == pytest.approx((3 / 5, 4 / 5))
    lost = Alignment("u", ("M", "I"), (0.5, 0.7))
    np.testing.assert_allclose(boundary_errors(reference, lost), [-0.1, np.inf, np.inf, 0.0, 0.0], atol=1e-9)
    assert agreement([reference, reference], [reference, lost], (0.05,)) == pytest.approx((7 / 10,))
    with pytest.raises(ValueError, match="zip"):
        agreement([reference], [])


@pytest.mark.skipif(not espeak.is_installed(), reason="eSpeak NG is not installed (extra `synth`)")
@pytest.mark.parametrize(
    ("domain", "minutes", "within_20_ms"),
    [
        pytest.param("Call-center", 2.0, 0.75, marks=pytest.mark.slow),
        pytest.param("Voicesearch", 13.0, 0.8, marks=pytest.mark.slow),
        pytest.param("Dictation", 13.0, 0.85, marks=pytest.mark.slow),
    ],
)
def test_boundaries_of_the_embedded_corpus_are_found(tmp_path, domain, minutes, within_20_ms):
    """The bounds are wider for telephone speech and for two minutes of it, which are little for a flat start."""
    corpus = embedded.make(tmp_path / "c", domain, "train", seed=1, workers=1, minutes=minutes)
    lexicon = Lexicon.from_counts(embedded.observed_pronunciations(corpus))
    report = align([corpus], lexicon)
    exact, found = every(corpus.alignments(embedded.ALIGNMENT)), every(corpus.alignments(report.name))
    pairs = [pair for pair in zip(exact, found) if pair[1].phones]
    shares = agreement(*zip(*pairs))
    print(f"{domain}: {len(pairs)} of {len(corpus)} aligned; boundaries within 20, 50 ms: {shares}")
    assert len(pairs) >= 0.95 * len(corpus)
    assert shares[0] > within_20_ms
    assert shares[1] > 0.92


@pytest.mark.slow
@pytest.mark.skipif(not SPEECH.exists(), reason="no real recordings beside the project (../shared/speech)")
@pytest.mark.skipif(not espeak.is_installed(), reason="eSpeak NG is not installed (extra `synth`)")
def test_an4_aligns_from_its_transcripts(tmp_path):
    """It aligns 39 minutes of real speech in under three CPU minutes, and notices the words of other recordings."""
    corpus = import_manifest(SPEECH, tmp_path / "an4", "an4", {"domain": "an4_16k", "split": "train"}).corpus
    texts = [corpus[i].text for i in range(len(corpus))]
    lexicon = Lexicon({}).covering({word for text in texts for word in text.split()}, espeak.pronounce)
    # Every fortieth utterance gets the words of another one, of about its own length.
    swapped = {}
    for i in range(0, len(texts), 40):
        others = [text for text in texts[i + 7 :] + texts[:i] if text != texts[i]]
        swapped[i] = others[np.argmin([abs(len(text) - len(texts[i])) for text in others])]
    utterances = [replace(corpus[i], text=swapped.get(i, texts[i])) for i in range(len(corpus))]
    mixed = make_corpus(tmp_path / "mixed", utterances)
    started_s = time.process_time()
    report = align([mixed], lexicon)
    cpu_s = time.process_time() - started_s
    print(report, f"{cpu_s:.0f} CPU s", [round(x, 2) for x in report.log_likelihoods])
    assert cpu_s < 180
    assert report.log_likelihoods[-1] > report.log_likelihoods[0] + 5
    failed = {key.removeprefix("an4/") for key, _ in report.failed}
    swapped_ids = {utterances[i].id for i in swapped}
    assert len(failed & swapped_ids) >= 0.9 * len(swapped_ids)
    assert len(failed - swapped_ids) <= 0.01 * len(utterances)
    durations_s = {}
    for alignment in every(mixed.alignments(report.name)):
        for phone, first, last in zip(alignment.phones, (0.0, *alignment.ends_s), alignment.ends_s):
            durations_s.setdefault(phone, []).append(last - first)
    medians_s = {phone: np.median(seen) for phone, seen in durations_s.items()}
    # Spelt letters are slow: their vowels are long, and a T is shorter than an S.
    assert 0.1 < medians_s["IY"] < 0.2
    assert 0.1 < medians_s["EY"] < 0.25
    assert 0.03 < medians_s["T"] < medians_s["S"] < 0.2


LONG = """
import resource, sys
from mdasr.align.flat_start import align
from mdasr.corpus.records import Corpus
from tests.test_align import LEXICON, SMALL
print(align([Corpus(sys.argv[1])], LEXICON, SMALL))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.slow
def test_half_an_hour_is_aligned_in_under_2_gb(tmp_path):
    """It is aligned by a model of three minutes of short utterances."""
    rng = np.random.default_rng(5)
    pairs = [toy_utterance(i, rng) for i in range(130)]
    parts, seconds = [], 0.0
    while seconds < 1800:
        parts.append(pairs[int(rng.integers(130))])
        seconds += parts[-1][0].seconds
    starts_s = np.cumsum([0.0, *(u.seconds for u, _ in parts)])
    wave, text = np.concatenate([u.wave for u, _ in parts]), " ".join(u.text for u, _ in parts)
    corpus = make_corpus(
        tmp_path / "c", [*(u for u, _ in pairs), replace(pairs[0][0], id="long", wave=wave, text=text)]
    )
    ran = subprocess.run(
        [sys.executable, "-c", LONG, str(corpus.directory)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "131 utterances aligned, 0 not" in ran.stdout
    assert float(ran.stdout.split()[-1]) < 2
    (sidecar,) = corpus.alignment_names()
    found = corpus.alignments(sidecar)[130]
    exact = [(s + start, e + start) for start, (_, a) in zip(starts_s, parts) for _, s, e in word_times(a)]
    errors = np.abs(np.array([(s, e) for _, s, e in word_times(found)]) - exact)
    assert np.mean(errors <= 0.05) > 0.97


def word_times(alignment):
    starts = (0.0, *alignment.ends_s)
    return [(word, starts[first], starts[last]) for word, first, last in alignment.words]
