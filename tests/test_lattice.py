"""Lattices and their queries against an enumeration of all possible sentences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mdasr.decode.graph import Graph, build_graph
from mdasr.decode.lattice import Lattice, pruned, search_lattice
from mdasr.decode.paths import arc_posteriors, confidences, nbest, oracle_errors, shares
from mdasr.decode.rescore import GrammarCosts, rescore
from mdasr.decode.search import SearchOptions, decode
from mdasr.decode.token_links import state_lattice
from mdasr.decode.tokens import pass_tokens
from mdasr.language import ngram
from mdasr.language.arpa_reader import read_arpa
from mdasr.language.lexicon import Lexicon
from tests.tasks import monophone_tree
from tests.toy_words import ARPA, LEXICON, TREE, WIDE, draw, enumerate_hypotheses, grammar_cost, scores_of


def lattice_of(*arguments) -> Lattice:
    return search_lattice(*arguments)[1]


def best_by(hypotheses, columns: int) -> dict:
    """Return the lowest cost for each value of the first columns: words, starts, ends."""
    found: dict = {}
    for cost, *rest in hypotheses:
        key = tuple(rest[:columns])
        found[key] = min(cost, found.get(key, math.inf))
    return found


def paths(lattice: Lattice):
    """Return every path with its cost, arcs, words, starts and ends."""
    first, end = lattice.first, len(lattice.steps) - 1

    def grow(node, arcs):
        if node == end:
            said = [a for a in arcs if lattice.labels[a]]
            yield (
                float(lattice.costs[list(arcs)].sum()),
                arcs,
                tuple(lattice.words[lattice.labels[a] - 1] for a in said),
                tuple(int(lattice.steps[lattice.sources[a]]) for a in said),
                tuple(int(lattice.ends[a]) for a in said),
            )
        for arc in range(first[node], first[node + 1]):
            yield from grow(lattice.targets[arc], (*arcs, arc))

    return list(grow(0, ()))


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("penalty", [0.0, 2.5])
def test_a_lattice_holds_every_word_sequence_and_every_start_within_the_beam(graph, steps, penalty):
    rng = np.random.default_rng(10 + steps)
    for beam in (2.0, 7.0, 500.0):
        scores = draw(rng, steps)
        lattice = lattice_of(graph, scores, replace(WIDE, insertion_penalty=penalty), beam)
        everything = list(enumerate_hypotheses(scores, WIDE.acoustic_scale, penalty, TREE))
        best = min(everything)[0]
        for columns in (1, 2):  # words alone; words and where they start
            wanted = best_by(everything, columns)
            found = best_by(((cost, *rest) for cost, _, *rest in paths(lattice)), columns)
            # Minimisation rounds weights to 1/1024, so what lies at the edge of the beam may be in or out.
            within = {k for k, cost in wanted.items() if cost < best + beam - 0.02}
            assert within <= found.keys()
            assert all(found[k] == pytest.approx(wanted[k], abs=0.02) for k in within)
            assert all(found[k] > wanted[k] - 0.02 for k in found)  # arcs may make further paths, but none too cheap


def test_arcs_are_sorted_and_no_two_say_the_same(graph):
    lattice = lattice_of(graph, draw(np.random.default_rng(0), 20), WIDE, 8.0)
    assert (lattice.targets > lattice.sources).all() and (np.diff(lattice.sources) >= 0).all()
    assert (np.diff(lattice.steps[lattice.sources]) >= 0).all()
    rows = list(zip(lattice.sources, lattice.targets, lattice.labels))
    assert len(rows) == len(set(rows)) > 100
    said = lattice.labels > 0
    assert (lattice.ends > lattice.steps[lattice.sources])[said].all()
    assert (lattice.ends <= lattice.steps[lattice.targets])[said].all()
    assert len(pruned(lattice, 3.0).labels) < len(lattice.labels)


def test_nbest_is_the_ranking_of_all_word_sequences(graph):
    for seed in range(4):
        scores = draw(np.random.default_rng(seed), 4)
        lattice = lattice_of(graph, scores, WIDE, 500.0)
        everything = list(enumerate_hypotheses(scores, WIDE.acoustic_scale, 0.0, TREE))
        wanted = best_by(everything, 1)
        found = nbest(lattice, 10_000)
        assert len(found) == len(wanted) > 20
        assert [h.cost for h in found] == sorted(h.cost for h in found)
        spans = best_by(everything, 3)
        for hypothesis in found:
            assert hypothesis.cost == pytest.approx(wanted[hypothesis.words,], abs=0.02)
            span = hypothesis.words, hypothesis.starts, hypothesis.ends
            assert spans[span] == pytest.approx(hypothesis.cost, abs=0.02)
        assert nbest(lattice, 3) == found[:3]
        best = decode(graph, scores, WIDE)
        assert (found[0].words, found[0].starts, found[0].ends) == (best.words, best.starts, best.ends)
        assert found[0].graph_cost == pytest.approx(best.graph_cost, abs=1e-3)
        assert found[0].acoustic_cost == pytest.approx(best.acoustic_cost, abs=1e-3)
    with pytest.raises(ValueError, match="at least 1"):
        nbest(lattice, 0)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_posteriors_and_confidences_are_sums_over_all_paths(graph, scale):
    for seed in range(4):
        lattice = lattice_of(graph, draw(np.random.default_rng(seed), 5), WIDE, 9.0)
        all_paths = paths(lattice)
        weights = np.exp([-scale * cost for cost, *_ in all_paths])
        weights /= weights.sum()
        wanted = np.zeros(len(lattice.labels))
        for weight, (_, arcs, *_) in zip(weights, all_paths):
            wanted[list(arcs)] += weight
        np.testing.assert_allclose(arc_posteriors(lattice, scale), wanted, atol=1e-9)
        for hypothesis in nbest(lattice, 5):
            sure = shares(lattice, hypothesis, scale)
            assert len(sure) == len(hypothesis.words)
            for word, start, end, value in zip(hypothesis.words, hypothesis.starts, hypothesis.ends, sure):
                at = [
                    sum(
                        weight
                        for weight, (_, _, *said) in zip(weights, all_paths)
                        if any(w == word and s <= step < e for w, s, e in zip(*said))
                    )
                    for step in range(start, end)
                ]
                assert value == pytest.approx(max(at), abs=1e-9)


def test_a_word_that_nothing_contests_is_certain_and_one_that_is_not_there_is_not():
    lexicon = Lexicon({"long": ((("X", "Y", "X", "Z"), 1.0),), "other": ((("Y", "Z"), 1.0),)})
    tree = monophone_tree(("SIL", "X", "Y", "Z"))
    own = build_graph(lexicon, ngram.train_ngrams([["long"], ["other"]], 2).to_arpa(), tree)
    scores = scores_of([("X", 2), ("Y", 2), ("X", 2), ("Z", 2)], tree, height=40.0)
    heard = decode(own, scores, SearchOptions())
    lattice = lattice_of(own, scores, SearchOptions())
    assert shares(lattice, heard) == pytest.approx((1.0,))
    assert shares(lattice, replace(heard, words=("other",))) == (0.0,)
    assert confidences(lattice, heard, SearchOptions()) == pytest.approx((0.99,))
    # log odds of 99 to 1 are 4.595: half of that, less 1, is 1.298
    calibrated = SearchOptions(confidence_slope=0.5, confidence_offset=-1.0)
    assert confidences(lattice, heard, calibrated) == pytest.approx((0.7855,), abs=1e-4)


def edit_distance(a, b) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(row[-1] + 1, before[j] + 1, before[j - 1] + (x != y)))
    return row[-1]


@pytest.mark.parametrize("beam", [0.5, 4.0, 9.0])
def test_oracle_errors_are_the_fewest_of_all_paths(graph, beam):
    rng = np.random.default_rng(3)
    for steps in (1, 3, 5):
        lattice = lattice_of(graph, draw(rng, steps), WIDE, beam)
        said = {words for _, _, words, *_ in paths(lattice)}
        for length in range(5):
            reference = rng.choice(["a", "b", "c", "never"], length).tolist()
            assert oracle_errors(lattice, reference) == min(edit_distance(reference, words) for words in said)
    with pytest.raises(TypeError, match="split the string"):
        oracle_errors(lattice, "a b")


def arpa_of(tmp_path, text: str):
    (tmp_path / "lm.arpa").write_text(text)
    return read_arpa(tmp_path / "lm.arpa")


def test_the_grammar_charges_what_the_graph_does(tmp_path):
    grammar = GrammarCosts(arpa_of(tmp_path, ARPA))
    rng = np.random.default_rng(0)
    for length in range(9):
        for _ in range(20):
            words, state, total = tuple(rng.choice(["a", "b", "c"], length).tolist()), grammar.start, 0.0
            for word in (*words, "</s>"):
                cost, state = grammar.advance(state, word)
                total += cost
            assert total == pytest.approx(grammar_cost(words), abs=1e-5)


def other_model(order: int) -> ngram.NGram:
    rng = np.random.default_rng(order)
    text = [rng.choice(["a", "b", "c"], rng.integers(1, 7), p=[0.2, 0.3, 0.5]).tolist() for _ in range(60)]
    return ngram.train_ngrams(text, order, ["a", "b", "c"])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_rescoring_is_decoding_with_the_other_models_graph(graph, tmp_path, order):
    old, model = GrammarCosts(arpa_of(tmp_path, ARPA)), other_model(order)
    other = build_graph(LEXICON, model.to_arpa(), TREE, silence_probability=0.4)
    new = GrammarCosts(model)
    for seed in range(2):
        scores = draw(np.random.default_rng(seed), 4)
        lattice = lattice_of(graph, scores, WIDE, 500.0)
        same = nbest(rescore(lattice, old, old), 50)
        assert [(h.words, h.starts) for h in same] == [(h.words, h.starts) for h in nbest(lattice, 50)]
        wanted = {h.words: h.cost for h in nbest(lattice_of(other, scores, WIDE, 500.0), 10_000)}
        found = nbest(rescore(lattice, old, new), 10_000)
        assert {h.words for h in found} == wanted.keys()
        for hypothesis in found:
            assert hypothesis.cost == pytest.approx(wanted[hypothesis.words], abs=0.03)
        near = rescore(lattice, old, new, beam=5.0)
        within = [h for h in found if h.cost < found[0].cost + 4.99]
        assert nbest(near, len(within)) == within and len(near.labels) < len(rescore(lattice, old, new).labels)


def test_rescoring_with_a_longer_model_finds_what_decoding_finds_in_a_longer_utterance(graph, tmp_path):
    old, model = GrammarCosts(arpa_of(tmp_path, ARPA)), other_model(4)
    other = build_graph(LEXICON, model.to_arpa(), TREE, silence_probability=0.4)
    for seed in range(2):
        scores = draw(np.random.default_rng(seed), 8)
        found = nbest(rescore(lattice_of(graph, scores, WIDE, 12.0), old, GrammarCosts(model), beam=6.0), 1)[0]
        best = decode(other, scores, WIDE)
        assert found.words == best.words and found.cost == pytest.approx(best.cost, abs=0.1)


def test_a_model_that_lacks_a_word_must_have_the_unknown_one(graph, tmp_path):
    old = GrammarCosts(arpa_of(tmp_path, ARPA))
    lattice = lattice_of(graph, draw(np.random.default_rng(0), 4), WIDE, 50.0)
    with pytest.raises(ValueError, match=r"lacks the word '[ac]', and has no <unk>"):
        rescore(lattice, old, GrammarCosts(ngram.train_ngrams([["b"]], 2)))
    with_unknown = ngram.train_ngrams([["b"], ["x", "b"]], 2, ["b", "<unk>"])
    assert nbest(rescore(lattice, old, GrammarCosts(with_unknown)), 5)


def test_silence_alone_is_a_lattice_without_words(graph):
    scores = np.full((6, 6), -50.0, np.float32)
    scores[:, TREE.leaf("SIL", "SIL", "SIL")] = 0
    lattice = lattice_of(graph, scores, WIDE, 2.0)
    assert lattice.words == () and lattice.reached_final
    (only,) = nbest(lattice, 5)
    assert only.words == () and confidences(lattice, only, SearchOptions()) == ()
    assert only.cost == pytest.approx(decode(graph, scores, WIDE).cost, abs=1e-3)
    assert oracle_errors(lattice, []) == 0 and oracle_errors(lattice, ["a", "b"]) == 2


def test_where_no_sentence_ends_the_beginning_of_one_is_kept():
    lexicon = Lexicon({"long": ((("X", "Y", "X", "Z"), 1.0),)})
    tree = monophone_tree(("SIL", "X", "Y", "Z"))
    own = build_graph(lexicon, ngram.train_ngrams([["long"]], 2).to_arpa(), tree)
    scores = scores_of([("X", 1), ("Y", 1), ("X", 1)], tree, height=30.0)
    narrow = SearchOptions(beam=1.0, min_active=0, retries=0)
    lattice = lattice_of(own, scores, narrow, 1.0)
    (cut,) = nbest(lattice, 3)
    best = decode(own, scores, narrow)
    assert not lattice.reached_final and not cut.reached_final
    assert (cut.words, cut.starts, cut.ends) == (best.words, best.starts, best.ends) == (("long",), (0,), (3,))
    grammar = GrammarCosts(ngram.train_ngrams([["long"]], 2))
    assert nbest(rescore(lattice, grammar, grammar), 1)[0].cost == pytest.approx(cut.cost)  # no </s> is charged
    whole = lattice_of(own, scores, replace(narrow, retries=12), 1.0)
    assert whole.reached_final and whole.beam > 1.0


def test_a_word_that_is_not_named_yet_is_left_out_of_the_lattice():
    lexicon = Lexicon({"one": ((("X", "Y", "X"), 1.0),), "other": ((("X", "Y", "Z"), 1.0),)})
    tree = monophone_tree(("SIL", "X", "Y", "Z"))
    own = build_graph(lexicon, ngram.train_ngrams([["one"], ["other"]], 2).to_arpa(), tree)
    scores = scores_of([("X", 2), ("Y", 2)], tree, height=30.0)
    lattice = lattice_of(own, scores, SearchOptions(beam=1.0, min_active=0, retries=0), 1.0)
    assert not lattice.reached_final
    assert [h.words for h in nbest(lattice, 3)] == [()]


def random_task(rng: np.random.Generator) -> tuple[Graph, int]:
    """Make a graph of 30 words with a trigram, and return it with its number of phones."""
    phones = ("SIL", *(f"P{i}" for i in range(12)))
    lexicon = Lexicon({f"w{i}": ((tuple(rng.choice(phones[1:], 4).tolist()), 1.0),) for i in range(30)})
    text = [rng.choice(lexicon.words, size=rng.integers(1, 9)).tolist() for _ in range(200)]
    return build_graph(lexicon, ngram.train_ngrams(text, 3, lexicon.words).to_arpa(), monophone_tree(phones)), len(
        phones
    )


@pytest.mark.parametrize(
    "limits",
    [
        {"max_active": 60},
        {"max_active": 21, "retries": 4},
        {"max_active": 300, "insertion_penalty": 1.5},
        {"beam": 3.0, "min_active": 0},
        {"beam": 0.3, "min_active": 2, "retries": 1},
        {"beam": 6.0, "acoustic_scale": 2.0},
        {"beam": 30.0, "max_active": 4000},
    ],
)
def test_a_search_for_a_lattice_finds_what_kaldis_decoder_finds_whatever_it_cuts_off(limits):
    rng = np.random.default_rng(5)
    own, num_phones = random_task(rng)
    options = replace(SearchOptions(), **limits)
    for steps in (1, 7, 40, 40, 120):
        scores = draw(rng, steps, num_phones)
        wanted = decode(own, scores, options)
        best, lattice = search_lattice(own, scores, options)
        assert replace(best, graph_cost=0.0, acoustic_cost=0.0) == replace(wanted, graph_cost=0.0, acoustic_cost=0.0)
        assert best.graph_cost == pytest.approx(wanted.graph_cost, rel=1e-4, abs=1e-3)
        assert best.acoustic_cost == pytest.approx(wanted.acoustic_cost, rel=1e-4, abs=1e-3)
        # A path that was cut off may stand in the lattice all the same, where others kept its states.
        assert nbest(lattice, 1)[0].cost <= best.cost + 1e-6
        assert len(shares(lattice, best)) == len(best.words)


def test_noise_narrows_the_beam_instead_of_filling_the_memory(graph):
    flat = draw(np.random.default_rng(0), 300) * np.float32(0.01)
    found = state_lattice(pass_tokens(graph, flat, SearchOptions()), 8.0)
    assert found.lattice_beam < 8.0 and len(found.sources) <= 5_000 + 60 * 300
    assert state_lattice(pass_tokens(graph, flat[:20], SearchOptions()), 8.0).lattice_beam == 8.0


def test_lattices_check_scores_and_beam(graph):
    with pytest.raises(ValueError, match="the graph was built for 6"):
        lattice_of(graph, np.zeros((4, 5), np.float32), WIDE)
    with pytest.raises(ValueError, match=r"lattice beam is 0\.0"):
        search_lattice(graph, np.zeros((4, 6), np.float32), WIDE, 0.0)


def test_a_lattice_of_a_graph_from_a_file_is_the_same(graph, tmp_path):
    graph.write(tmp_path)
    scores = draw(np.random.default_rng(1), 12)
    for h, again in zip(*(nbest(lattice_of(g, scores, WIDE), 9) for g in (graph, Graph.read(tmp_path)))):
        assert h == again
