"""The decoder against an enumeration of all possible sentences, and the inputs that it must refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from mdasr.align.tree import Tree
from mdasr.decode.grammar import build_grammar
from mdasr.decode.graph import Graph, build_graph
from mdasr.decode.lattice import search_lattice
from mdasr.decode.search import SearchOptions, decode
from mdasr.language import ngram
from mdasr.language.backoff import NGram
from mdasr.language.lexicon import ARPABET, SILENCE, Lexicon
from tests.tasks import monophone_tree
from tests.toy_words import ARPA, LEXICON, TREE, WIDE, draw, enumerate_hypotheses, scores_of


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("penalty", [0.0, 3.0, -4.0])
def test_best_of_all_word_sequences(graph, steps, penalty):
    rng = np.random.default_rng(steps)
    seen = set()
    for _ in range(2 if steps > 4 else 8):
        scores = draw(rng, steps)
        found = decode(graph, scores, replace(WIDE, insertion_penalty=penalty))
        ranked = sorted(enumerate_hypotheses(scores, WIDE.acoustic_scale, penalty, TREE))
        assert found.reached_final
        assert found.cost == pytest.approx(ranked[0][0], abs=0.01)  # minimisation rounds weights to 1/1024
        assert found.cost == pytest.approx(found.graph_cost + found.acoustic_cost)
        near = [each[1:] for each in ranked if each[0] < ranked[0][0] + 0.02]
        assert (found.words, found.starts, found.ends) in near
        seen.add(found.words)
    assert len(seen) > 1 or steps in (1, 5) or penalty > 0


@pytest.mark.parametrize("steps", [2, 3, 5, 6, 8, 9])
def test_a_phone_of_three_states_lasts_three_steps_or_more(steps):
    graph = build_graph(LEXICON, ARPA, TREE, silence_probability=0.4, topology="three-state")
    assert graph.num_outputs == 3 * TREE.num_leaves
    rng = np.random.default_rng(steps)
    for penalty in (0.0, -4.0):
        scores = draw(rng, steps, 18)
        options = replace(WIDE, insertion_penalty=penalty)
        found = decode(graph, scores, options)
        ranked = sorted(enumerate_hypotheses(scores, WIDE.acoustic_scale, penalty, TREE, states=3))
        assert found.reached_final == bool(ranked) == (steps > 2)
        if ranked:
            assert found.cost == pytest.approx(ranked[0][0], abs=0.01)
            near = [each[1:] for each in ranked if each[0] < ranked[0][0] + 0.02]
            assert (found.words, found.starts, found.ends) in near
            assert search_lattice(graph, scores, options)[0].cost == pytest.approx(found.cost, abs=1e-4)


def test_phones_that_share_an_output_stay_apart():
    """A tree may tie different phones. Then x and z have the same scores, and the grammar decides."""
    shared = Tree(("SIL", "X", "Y", "Z"), (), (0, 1, 2, 3))

    @dataclass
    class Blurred:
        phones, num_leaves = shared.phones, 3

        def leaf(self, left, centre, right):
            return min(2, shared.leaf(left, centre, right))

    graph = build_graph(LEXICON, ARPA, Blurred(), silence_probability=0.4)
    for seed in range(5):
        scores = draw(np.random.default_rng(seed), 4, outputs=3)
        best = min(enumerate_hypotheses(scores, WIDE.acoustic_scale, 0.0, Blurred()))
        assert decode(graph, scores, WIDE).cost == pytest.approx(best[0], abs=0.01)


def test_finds_words_and_times_in_a_larger_vocabulary():
    rng = np.random.default_rng(5)
    lexicon = Lexicon({f"w{i}": ((tuple(rng.choice(ARPABET, size=4).tolist()), 1.0),) for i in range(120)})
    text = [rng.choice(lexicon.words, size=rng.integers(1, 9)).tolist() for _ in range(200)]
    tree = monophone_tree((SILENCE, *ARPABET))
    graph = build_graph(lexicon, ngram.train_ngrams(text, 3, lexicon.words).to_arpa(), tree)
    for sentence in text[:10]:
        phones, starts, ends, now = [(SILENCE, 3)], [], [], 3
        for word in sentence:
            starts.append(now)
            for phone in lexicon.entries[word][0][0]:
                phones.append((phone, int(rng.integers(1, 5))))
                now += phones[-1][1]
            ends.append(now)
            if rng.random() < 0.5:
                phones.append((SILENCE, 2))
                now += 2
        found = decode(graph, scores_of(phones, tree), SearchOptions())
        assert found.words == tuple(sentence) and found.text == " ".join(sentence)
        # Where a phone repeats itself over a word's edge, the edge is anywhere inside.
        assert np.abs(np.subtract(found.starts, starts)).max() <= 4
        assert np.mean(np.equal(found.starts, starts)) > 0.7
        assert np.mean(np.equal(found.ends, ends)) > 0.7


def test_search_that_finds_no_end_is_repeated_with_a_wider_beam():
    """The scores stop in the middle of the only word, and everything else is very unlikely."""
    lexicon = Lexicon({"long": ((("X", "Y", "X", "Z"), 1.0),)})
    arpa = ngram.train_ngrams([["long"]], 2).to_arpa()
    tree = monophone_tree(("SIL", "X", "Y", "Z"))
    graph = build_graph(lexicon, arpa, tree)
    scores = scores_of([("X", 1), ("Y", 1), ("X", 1)], tree, height=30.0)
    narrow = SearchOptions(beam=1.0, min_active=0, retries=0)
    cut = decode(graph, scores, narrow)
    assert not cut.reached_final and cut.beam == 1.0
    assert cut.words == ("long",) and cut.starts == (0,) and cut.ends == (3,)
    whole = decode(graph, scores, replace(narrow, retries=12))
    assert whole.reached_final and whole.beam > 1.0
    assert whole.words == ()  # silence all along: nothing else ends here


def test_a_word_that_is_not_named_yet_is_left_out():
    lexicon = Lexicon({"one": ((("X", "Y", "X"), 1.0),), "other": ((("X", "Y", "Z"), 1.0),)})
    tree = monophone_tree(("SIL", "X", "Y", "Z"))
    graph = build_graph(lexicon, ngram.train_ngrams([["one"], ["other"]], 2).to_arpa(), tree)
    scores = scores_of([("X", 2), ("Y", 2)], tree, height=30.0)
    found = decode(graph, scores, SearchOptions(beam=1.0, min_active=0, retries=0))
    assert not found.reached_final and found.words == found.starts == found.ends == ()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((4, 5), np.float32), r"scores of 5 outputs, but the graph was built for 6"),
        (np.zeros((0, 6), np.float32), "no steps to decode"),
        (np.full((4, 6), np.nan, np.float32), "NaN or infinity"),
        (np.full((4, 6), np.inf, np.float32), "NaN or infinity"),
    ],
)
def test_scores_that_cannot_be_decoded(graph, scores, message):
    with pytest.raises(ValueError, match=message):
        decode(graph, scores, WIDE)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"beam": 0.0}, "must be above 0"),
        ({"acoustic_scale": -1.0}, "must be above 0"),
        ({"max_active": 20}, "min_active must be 0 or more and below max_active"),
        ({"retries": -1}, "retries between 0 and 20"),
    ],
)
def test_search_options_are_checked(bad, message):
    with pytest.raises(ValueError, match=message):
        SearchOptions(**bad)


def test_graph_needs_pronunciations_and_phones():
    few = Lexicon({"a": LEXICON.entries["a"]})
    with pytest.raises(ValueError, match=r"2 words of the language model are not in the lexicon: 'b', 'c'\. Add"):
        build_graph(few, ARPA, TREE)
    with pytest.raises(ValueError, match="phones that the tree does not know: 'Y', 'Z'"):
        build_graph(LEXICON, ARPA, monophone_tree(("SIL", "X")))
    with pytest.raises(ValueError, match=r"silence_probability is 1\.0"):
        build_graph(LEXICON, ARPA, TREE, silence_probability=1.0)


def test_grammar_leaves_out_the_unknown_word():
    _, words = build_grammar(ARPA)
    assert words == ("a", "b", "c")


def test_broken_language_models_are_named(tmp_path, monkeypatch):
    broken = ARPA.replace("-0.5 a b", "-0.5x a b")
    (tmp_path / "lm.arpa").write_text(broken)
    with pytest.raises(ValueError, match=r"lm\.arpa:16: .*-0\.5x"):
        build_graph(LEXICON, tmp_path / "lm.arpa", TREE)
    with pytest.raises(ValueError, match=r"^ARPA text:16: .*-0\.5x"):
        build_graph(LEXICON, broken, TREE)
    with pytest.raises(ValueError, match=r"^ARPA text:1: "):  # a path is a Path, not a str
        build_graph(LEXICON, str(tmp_path / "lm.arpa"), TREE)
    nothing = "\\data\\\nngram 1=2\n\n\\1-grams:\n-99 <s>\n-0.1 </s>\n\n\\end\\\n"
    with pytest.raises(ValueError, match="ARPA text: the model has no words"):
        build_graph(LEXICON, nothing, TREE)
    # kaldilm aborts the process that it is in.
    weights_at_the_top = ARPA.replace("-0.9 a b a", "-0.9 a b a -0.1")
    monkeypatch.setattr(NGram, "write_arpa", lambda _, path: path.write_text(weights_at_the_top))
    with pytest.raises(RuntimeError, match="kaldilm could not convert the language model: "):
        build_graph(LEXICON, ARPA, TREE)


def test_graph_is_the_same_after_writing_and_reading(graph, tmp_path):
    graph.write(tmp_path / "graph")
    read = Graph.read(tmp_path / "graph")
    assert (read.words, read.labels, read.num_outputs) == (graph.words, graph.labels, graph.num_outputs)
    scores = draw(np.random.default_rng(0), 30)
    assert decode(read, scores, WIDE) == decode(graph, scores, WIDE)


def test_incomplete_graphs_are_named(graph, tmp_path, capfd):
    graph.write(tmp_path)
    whole = (tmp_path / "HCLG.fst").read_bytes()
    (tmp_path / "HCLG.fst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"HCLG\.fst: damaged, or does not fit graph\.json"):
        Graph.read(tmp_path)
    (tmp_path / "HCLG.fst").unlink()
    with pytest.raises(FileNotFoundError, match=r"HCLG\.fst is missing"):
        Graph.read(tmp_path)
    graph.write(tmp_path)
    (tmp_path / "graph.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="a graph of format 0"):
        Graph.read(tmp_path)
    capfd.readouterr()  # kaldifst's own complaint
