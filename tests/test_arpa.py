"""ARPA files of other toolkits, and words in them that no transcript has."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest

from mdasr.cli.main import main
from mdasr.decode.grammar import build_grammar
from mdasr.decode.graph import build_graph
from mdasr.language.arpa_reader import announced, read_arpa
from mdasr.language.backoff import NGram
from mdasr.language.combine import respelled
from mdasr.language.ngram import train_ngrams
from mdasr.language.ngram_arrays import ngram_words
from mdasr.language.respelling import read_as_in_transcripts
from mdasr.language.text_files import read_vocabulary
from mdasr.language.vocabulary import UNKNOWN
from tests.toy_text import made_up, sums
from tests.toy_words import LEXICON, TREE

BIGRAMS = (
    "\\data\\\nngram 1=5\nngram 2=4\n\n\\1-grams:\n-1.0\t</s>\n-99\t<s>\t-0.3\n-0.5\ta\t-0.2\n-0.6\tb\t-0.2\n"
    "-0.9\tc\t-0.1\n\n\\2-grams:\n-0.2\t<s> a\n-0.3\t<s> b\n-0.2\ta </s>\n-0.9\tb c\n\n\\end\\\n"
)
UNIGRAMS = BIGRAMS[: BIGRAMS.index("\n\\2-grams")].replace("ngram 2=4\n", "") + "\n\\end\\\n"


def written(model: NGram, toolkit: str) -> str:
    """The model as another toolkit writes it, with its digits, marks, weights and order of lines."""
    kenlm = toolkit == "KenLM"
    lines = ["\\data\\"] if kenlm else ["", "\\data\\"]
    lines += [f"ngram {n}={len(level.keys)}" for n, level in enumerate(model.levels, start=1)]
    for n, level in enumerate(model.levels, start=1):
        lines += ["", f"\\{n}-grams:"]
        grams = [" ".join(model.words[i] for i in row) for row in ngram_words(model.levels[: n - 1], level.keys)]
        rows = [*zip(grams, level.log10_probability.tolist(), level.log10_backoff.tolist())]
        for gram, probability, backoff in rows[::-1] if kenlm else sorted(rows):
            mark = ("0" if kenlm else "-99") if gram == "<s>" else f"{probability:.7g}"
            weight = f"\t{backoff:.7g}" if n < len(model.levels) and (kenlm or backoff) else ""
            lines.append(f"{mark}\t{gram}{weight}")
    return "\n".join([*lines, "", "\\end\\", ""])


@pytest.mark.parametrize("toolkit", ["KenLM", "SRILM"])
@pytest.mark.parametrize("order", [1, 3])
def test_files_of_other_toolkits_give_the_same_scores_and_graphs(toolkit, order):
    own = train_ngrams(made_up(1, 300, "abc"), order, [*"abc", UNKNOWN])
    text = written(own, toolkit)
    theirs = read_arpa(text)
    sentences = made_up(2, 500, "abcz")
    np.testing.assert_allclose(theirs.log10_probabilities(sentences), own.log10_probabilities(sentences), atol=1e-5)
    graph, crlf = (build_graph(LEXICON, t, TREE) for t in (text, text.replace("\n", "\r\n")))
    assert graph.fst.num_states > 0 and graph.fst.to_str() == crlf.fst.to_str()
    assert build_grammar(text)[0].to_str() == build_grammar(theirs.to_arpa())[0].to_str()


@pytest.mark.parametrize(
    "text",
    [
        BIGRAMS.replace("\n", "\r\n"),
        "\ufeff" + BIGRAMS,
        "\n".join(f" {line}\t" for line in BIGRAMS.split("\n")),
        BIGRAMS.replace("<s> a", "<s> a\t-0.3").replace("b c", "b c 0"),  # weights of the highest order
        BIGRAMS.replace("\ta\t-0.2", "  a -0.2"),
    ],
    ids=["CRLF", "BOM", "blanks at the edges", "weights at the top", "blanks between"],
)
def test_layouts_that_mean_the_same_are_read_the_same(text, tmp_path):
    path = tmp_path / "lm.arpa.gz"
    path.write_bytes(gzip.compress(text.encode()))
    expected = build_grammar(BIGRAMS)
    for arpa in (text, path):
        assert read_arpa(arpa).to_arpa() == read_arpa(BIGRAMS).to_arpa()
        assert announced(arpa) == announced(BIGRAMS)
        grammar, words = build_grammar(arpa)
        assert (grammar.to_str(), words) == (expected[0].to_str(), expected[1])


def test_a_model_of_single_words_makes_a_graph():
    grammar, words = build_grammar(UNIGRAMS)
    assert (grammar.num_states, grammar.num_arcs(0), words) == (1, 3, ("a", "b", "c"))
    assert build_graph(LEXICON, UNIGRAMS, TREE).fst.num_states > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.6\tb", "-0.6\vb", r"9: the white space '\\x0b'; separate fields by blanks or tabs"),
        ("-0.6\tb", "-0.6\fb", r"9: the white space '\\x0c'"),
        ("-0.6\tb", "-0.6\u3000b", r"9: the white space '\\u3000'"),
        ("\tc\t", "\tc\xa0d\t", r"10: the white space '\\xa0'"),
        ("-0.9\tb", "-0_0.9\tb", r"16: '-0_0.9' is not a number"),
        ("-0.9\tb", "-0.٩\tb", r"16: '-0.٩' is not a number"),
        ("-0.3\n", "-0_0.3\n", r"7: '-0_0.3' is not a number"),
    ],
)
def test_what_toolkits_read_in_two_ways_is_refused(old, new, message):
    for read in (read_arpa, build_grammar):
        with pytest.raises(ValueError, match=f"ARPA text:{message}"):
            read(BIGRAMS.replace(old, new, 1))


def test_the_unknown_word_has_one_name(tmp_path):
    upper = BIGRAMS.replace("\tc\t", "\t<UNK>\t").replace("b c", "b <UNK>")
    assert read_arpa(upper).to_arpa() == read_arpa(upper.replace("UNK", "unk")).to_arpa()
    assert announced(upper).words == build_grammar(upper)[1] == ("a", "b")
    assert read_arpa(upper).log10_probability(["a", "zebra"]) == pytest.approx(-0.2 - 0.2 - 0.9 - 0.1 - 1.0)
    (tmp_path / "words").write_text("<UNK>\na\n")
    assert read_vocabulary(tmp_path / "words") == [UNKNOWN, "a"]


JOINED = {"A": "a", "C": "c", "D": "d", "B": "b"}


@pytest.fixture(scope="module")
def cased() -> NGram:
    return train_ngrams(made_up(1, 300, ["a", "A", "b", "C", "d", "D", "e"]), 3)


def test_other_names_change_no_number(cased):
    named = respelled(cased, {"A": "z", "e": "E"})
    sentences = made_up(3, 100, ["a", "A", "b", "C", "d", "D", "e"])
    renamed = [[{"A": "z", "e": "E"}.get(word, word) for word in sentence] for sentence in sentences]
    assert named.words == ("<s>", "</s>", "C", "D", "E", "a", "b", "d", "z")
    np.testing.assert_array_equal(named.log10_probabilities(renamed), cased.log10_probabilities(sentences))


def test_words_with_one_name_share_their_probability(cased):
    """Against the definition: sum over the old histories of P(h) sum over the old words of p(w | h), over sum P(h)."""
    joined = respelled(cased, JOINED)
    assert joined.words == ("<s>", "</s>", *"abcde")
    np.testing.assert_allclose(sums(joined, 3), 1, atol=1e-6)
    old = {name: [w for w in cased.words if JOINED.get(w, w) == name] for name in joined.words}

    def p(model: NGram, *words: str) -> float:
        return 10 ** float(model.log10_conditional(np.array([[model.words.index(word) for word in words]]))[0])

    for level, n in zip(joined.levels, (1, 2, 3)):
        for row in ngram_words(joined.levels[: n - 1], level.keys)[:: 5 if n == 3 else 1]:
            *history, word = (joined.words[i] for i in row)
            if word == "<s>":
                continue
            parts = [
                (np.prod([1.0 if w == "<s>" else p(cased, *h[:i], w) for i, w in enumerate(h)]), h)
                for h in itertools.product(*(old[name] for name in history))
                if _listed(cased, h)
            ]
            mean = sum(share * p(cased, *h, w) for share, h in parts for w in old[word]) / sum(s for s, _ in parts)
            assert p(joined, *history, word) == pytest.approx(mean, rel=1e-5)


def test_rounded_probabilities_that_are_added_are_never_above_one():
    """0.3 and 0.7 with six digits, both rounded up, are 1.000002 together."""
    rows = "-0.5\t</s>\n-99\t<s>\n-0.5\tyes\n-0.5\tYes\n\n\\2-grams:\n-0.522878\t<s> yes\n-0.154901\t<s> Yes\n"
    model = read_arpa(f"\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n{rows}\n\\end\\\n")
    joined = read_arpa(respelled(model, {"Yes": "yes"}).to_arpa())
    assert joined.log10_probability(["yes"]) == pytest.approx(0 - 0.5)


def _listed(model: NGram, words: tuple[str, ...]) -> bool:
    place = np.zeros(1, np.int64)
    for level, word in zip(model.levels, words):
        place = level.find(place, np.array([model.words.index(word)]))
    return bool(place[0] >= 0)


def test_every_command_reads_the_words_as_in_transcripts(tmp_path, capsys):
    text = made_up(1, 200, ["Yes,", "NO", "it’s", "4", "ah-s"])
    train_ngrams(text, 2).write_arpa(tmp_path / "cased.arpa")
    model = read_as_in_transcripts(tmp_path / "cased.arpa")
    assert model.words == ("<s>", "</s>", UNKNOWN, "it's", "no", "yes")
    np.testing.assert_allclose(sums(model, 2), 1, atol=1e-6)
    assert capsys.readouterr().err == (
        f"{tmp_path / 'cased.arpa'}: of 5 words, 3 are folded to lower case without punctuation ('NO', 'Yes,', 'it’s') "
        "and 2 that no transcript has count as <unk> ('4', 'ah-s')\n"
    )
    (tmp_path / "a.txt").write_text("yes no\n")
    assert main(["lm", "perplexity", str(tmp_path / "cased.arpa"), str(tmp_path / "a.txt")]) == 0
    assert f"perplexity {model.perplexity([['yes', 'no']]):.2f} (2 words in 1 sentences)" in capsys.readouterr().out
