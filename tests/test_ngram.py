"""Modified Kneser-Ney by hand, against a plain implementation with dictionaries, and as kaldilm reads it."""

import gzip
import itertools
import math
from collections import Counter, defaultdict
from pathlib import Path

import kaldilm
import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams

from mdasr.language.arpa_reader import read_arpa
from mdasr.language.arpa_writer import decimals
from mdasr.language.backoff import NGram
from mdasr.language.ngram import train_ngrams
from mdasr.language.vocabulary import BEGIN, END, UNKNOWN
from tests.toy_text import made_up

SMALL = [["a", "b"], ["a", "b"], ["a", "c"]]


def plain_kneser_ney(text: list[list[str]], order: int, vocabulary: set[str], discounting="modified"):
    """Return p(word, history) by the definition, with a dictionary for each order, without arrays or back-off form."""
    raw = [Counter() for _ in range(order + 1)]
    for sentence in text:
        marked = (BEGIN, *sentence, END)
        for n in range(1, order + 1):
            raw[n].update(marked[i : i + n] for i in range(len(marked) - n + 1))
    counts = [Counter() for _ in range(order + 1)]
    for n in range(1, order + 1):
        before = defaultdict(set)
        for gram in raw[n + 1] if n < order else ():
            before[gram[1:]].add(gram[0])
        for gram, count in raw[n].items():
            counts[n][gram] = count if n == order or gram[0] == BEGIN else len(before[gram])
    del counts[1][(BEGIN,)]
    discounts = [None, *(plain_discounts(counts[n], discounting) for n in range(1, order + 1))]

    def probability(word: str, history: tuple[str, ...]) -> float:
        n = len(history) + 1
        lower = probability(word, history[1:]) if history else 1 / (len(vocabulary) + 1)
        following = {g[-1]: c for g, c in counts[n].items() if g[:-1] == history}
        if not following:
            return lower
        taken = sum(discounts[n][min(c, 3)] for c in following.values())
        count = following.get(word, 0)
        own = count - discounts[n][min(count, 3)] if count else 0
        return (own + taken * lower) / sum(following.values())

    return probability


def plain_discounts(counts: Counter, discounting) -> dict[int, float]:
    seen = Counter(counts.values())
    share = seen[1] / (seen[1] + 2 * seen[2]) if seen[1] else 0
    if discounting != "modified":
        single = share if seen[1] and seen[2] else 0.5
        return dict.fromkeys((1, 2, 3), single if discounting == "single" else discounting)
    found = {}
    for k in (1, 2, 3):
        found[k] = k / 2
        if all(seen[i] for i in range(1, k + 2)) and k - (k + 1) * share * seen[k + 1] / seen[k] > 0:
            found[k] = k - (k + 1) * share * seen[k + 1] / seen[k]
    return found


def next_word(model: NGram, history: list[str]) -> dict[str, float]:
    """Return the distribution of the next word after a sentence's first words."""
    after = {w: 10 ** model.log10_probabilities([[*history, w]])[len(history)] for w in model.words[2:]}
    # There is no empty sentence, so the end comes after words only.
    return after | ({END: 10 ** model.log10_probabilities([history])[-1]} if history else {})


def test_hand_worked_case():
    # Bigrams seen once, twice, thrice: 2, 2, 1. So D = 1/3, 3/2, and 3/2 again, since none is seen four times.
    # Words that follow one word, two words: a b c, </s>. So D = 3/5, and 1, since none follows three words.
    model = train_ngrams(SMALL, 2)
    for history, expected in {
        "a": {"a": 0.1344444, "b": 0.3011111, "c": 0.3566667, END: 0.2077778},
        "ab": {END: 0.505, "a": 0.75 * 0.22},
        "ac": {END: 0.78},
    }.items():
        found = next_word(model, [*history])
        assert {word: found[word] for word in expected} == pytest.approx(expected, rel=1e-6)
    assert 10 ** model.log10_probability(["a", "b"]) == pytest.approx(0.61 * 0.3011111 * 0.505, rel=1e-6)
    assert "\n-0.65757734\ta\t-0.2138" in model.to_arpa()  # log10 of 0.22 and of 11/18


@pytest.mark.parametrize(
    ("order", "discounting"),
    [(1, "modified"), (2, "modified"), (3, "modified"), (5, "modified"), (1, 0.5), (3, 0.75), (3, "single")],
)
def test_equals_a_plain_implementation(order, discounting):
    text = made_up(order)
    vocabulary = {*"abcdef", "unseen"}
    model = train_ngrams(text, order, vocabulary, discounting)
    probability = plain_kneser_ney(text, order, vocabulary, discounting)
    sentences = [*made_up(9, 10), ["unseen", "a", "unseen"], [*"aaaaaaaa"]]
    expected = []
    for sentence in sentences:
        marked = (BEGIN, *sentence, END)
        for i in range(1, len(marked)):
            expected.append(math.log10(probability(marked[i], marked[max(0, i - order + 1) : i])))
    np.testing.assert_allclose(model.log10_probabilities(sentences), expected, atol=1e-5)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_a_single_discount_is_nltks_kneser_ney(order):
    """Both agree to seven digits where the definitions agree.

    Both take a constant from every count and give it to the next shorter history. The counts are true counts at the
    highest order, and numbers of preceding words below. Ours discounts single words too, for unseen words. If all words
    of the vocabulary were seen, they get it back in equal parts, so that it makes no difference.
    NLTK's own padding would put several <s> and </s> around a sentence, and count </s> as a word that follows </s>.
    It therefore gets the n-grams of sentences with one mark on each side. Below its order NLTK has no probability after
    a history that begins with <s>, because no word is before that. We take true counts there, as Chen and Goodman do.
    """
    text, words = made_up(order, 60), [*"abcdef", END]
    theirs = KneserNeyInterpolated(order, discount=0.6)
    theirs.fit((everygrams([BEGIN, *sentence, END], max_len=order) for sentence in text), [BEGIN, *words])
    model = train_ngrams(text, order, discounting=0.6)
    compared = 0
    for history in itertools.chain.from_iterable(itertools.product(words[:-1], repeat=k) for k in range(order)):
        begins = [(BEGIN, *history)] if len(history) == order - 2 else []
        for before in [history, *begins]:
            ids = np.array([[model.words.index(word) for word in (*before, last)] for last in words])
            expected = [theirs.score(word, before) for word in words]
            np.testing.assert_allclose(10 ** model.log10_conditional(ids), expected, rtol=2e-6)
            compared += len(words)
    assert compared >= 7 * (6 ** (order - 1) + 6 ** (order - 2))


def test_one_discount_is_estimated_for_each_order():
    # Bigrams seen once and twice: 2 and 2. D = 1/3, and two of three times that stays with the history "a".
    model = train_ngrams(SMALL, 2, discounting="single")
    assert 10 ** float(model.levels[0].log10_backoff[2]) == pytest.approx(2 / 3 * 1 / 3, rel=1e-6)
    assert min(next_word(train_ngrams([["a"]] * 3, 2, ["a", "b"], "single"), ["a"]).values()) > 0  # nothing seen once
    for value in (0.0, 1.0, -0.5, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            train_ngrams(SMALL, 2, discounting=value)


@pytest.mark.parametrize("discounting", ["modified", "single", 0.9])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_of_every_history_sum_to_one(order, discounting):
    model = train_ngrams(made_up(0), order, [*"abcdefg", UNKNOWN], discounting)
    for history in itertools.chain.from_iterable(itertools.product("abg", repeat=k) for k in (1, 2, 3)):
        assert sum(next_word(model, [*history]).values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        [["a"]],
        [["a"]] * 7,
        [["a", "b"], ["b", "a"]] * 3,
        [[word] for word in "abcdefgh"],
        [[*"aaaaaaaaaaaaaaaa"]],
    ],
)
def test_counts_too_odd_for_the_formula_still_give_a_distribution(text):
    model = train_ngrams(text, 3, ["a", "b", *"cdefgh"])
    for history in (["a"], ["b", "a"], ["h", "h", "h"]):
        found = next_word(model, history)
        assert min(found.values()) > 0
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_more_history_helps_on_text_that_depends_on_it():
    text = made_up(3, 1500)
    held_out = made_up(4, 200)
    perplexities = [train_ngrams(text, order).perplexity(held_out) for order in (1, 2, 3)]
    assert perplexities[0] > 1.2 * perplexities[1]
    assert perplexities[2] < 1.05 * perplexities[1]
    values = train_ngrams(text, 2).log10_probabilities(held_out)
    assert perplexities[1] == pytest.approx(10 ** -(values.sum() / sum(len(s) + 1 for s in held_out)))


def test_an_order_beyond_the_longest_sentence_is_lowered():
    model = train_ngrams(SMALL, 9)
    assert model.order == 4
    assert model.log10_probability(["c"]) == train_ngrams(SMALL, 4).log10_probability(["c"])


def test_order_of_the_sentences_does_not_matter():
    text = made_up(5)
    assert train_ngrams(text, 3).to_arpa() == train_ngrams(text[::-1], 3).to_arpa()


def test_words_outside_the_vocabulary():
    closed = train_ngrams(SMALL, 2)
    with pytest.raises(ValueError, match=r"'zebra' is not in the language model's vocabulary of 3 words"):
        closed.log10_probability(["a", "zebra"])
    with pytest.raises(ValueError, match="'c' is not in"):
        train_ngrams(SMALL, 2, ["a", "b"])
    with pytest.raises(ValueError, match="'<s>' is not in"):
        closed.perplexity([["<s>", "a"]])
    open_ = train_ngrams(SMALL, 2, ["a", "b", UNKNOWN])
    assert open_.log10_probability(["a", "zebra"]) == open_.log10_probability(["a", "c"])
    assert sum(next_word(open_, ["a"]).values()) == pytest.approx(1, abs=1e-5)


def test_empty_sentences_are_passed_over():
    assert train_ngrams([[], *SMALL, []], 2).to_arpa() == train_ngrams(SMALL, 2).to_arpa()
    assert len(train_ngrams(SMALL, 2).log10_probabilities([[], ["a"], []])) == 2


def test_training_on_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        train_ngrams(SMALL, 0)
    with pytest.raises(ValueError, match="no sentences"):
        train_ngrams([[]], 2)
    with pytest.raises(TypeError, match="split the string first"):
        train_ngrams(["a b"], 2)
    for word in ("", "a b", "a\u00a0b", "a\0", "</s>"):
        with pytest.raises(ValueError, match="cannot be a word"):
            train_ngrams([["a", word]], 2)
        with pytest.raises(ValueError, match="cannot be a word"):
            train_ngrams(SMALL, 2, ["a", "b", "c", word])
    with pytest.raises(ValueError, match="no perplexity"):
        train_ngrams(SMALL, 2).perplexity([])


@pytest.mark.parametrize("order", [1, 2, 4])
def test_arpa_reads_back_to_the_same_bits(order, tmp_path):
    model = train_ngrams(made_up(6, words=["d'accord", "naïve", "日本", "-1", "e", "\\x"]), order)
    path = tmp_path / "model.arpa"
    model.write_arpa(path)
    back = read_arpa(path)
    assert back.words == model.words
    for ours, theirs in zip(model.levels, back.levels, strict=True):
        for field in ("keys", "log10_probability", "log10_backoff"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    assert [p.name for p in tmp_path.iterdir()] == ["model.arpa"]


def test_decimals_are_the_shortest_that_read_back():
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-12, 5, 20_000)
    few = rng.integers(-9999, 9999, 5_000) / 10.0 ** rng.integers(0, 5, 5_000)
    edges = [0, -0.0, 0.1, -99, 99.99999, 100, -100.5, 1e-9, 5e-10, 1.5e-7, 3.4e38, 1e-45, 0.99999994, 9.9999998e-10]
    values = np.concatenate([sizes, -sizes, few, edges]).astype(np.float32)
    texts = [text.decode() for text in decimals(values).tolist()]
    np.testing.assert_array_equal(np.array(texts, np.float64).astype(np.float32), values)
    for text, value in zip(texts, values):
        if 1e-4 <= abs(value) < 1e15:  # where NumPy has no exponent either
            assert text == str(value)
    assert decimals(values[:0]).tolist() == []


def test_another_toolkits_arpa_in_another_order(tmp_path):
    path = tmp_path / "theirs.arpa"
    path.write_text(
        "made by hand\n\n\\data\\\nngram 1 = 4\nngram 2 = 3\n\n"
        "\\1-grams:\n-1.0 b -0.25\n-0.5 </s>\n-99 <s> 0.1\n-0.75 a -0.3\n\n"
        "\\2-grams:\n-0.125 b </s>\n-0.2\t<s> a\n-0.4 a b\n\n\\end\\\nnotes\n"
    )
    model = read_arpa(path)
    assert model.words == (BEGIN, END, "a", "b")
    np.testing.assert_allclose(model.log10_probabilities([["a", "b"]]), [-0.2, -0.4, -0.125])
    np.testing.assert_allclose(model.log10_probabilities([["b", "a"]]), [0.1 - 1, -0.25 - 0.75, -0.3 - 0.5])


def kaldilm_cost(lines: list[list[str]], symbols: dict[str, str], sentence: list[str]) -> float:
    """Return -ln p of a sentence in kaldilm's transducer; without an arc for a word, it follows #0 and tries again."""
    # A weight of 0 is left out of the text.
    arcs = {(row[0], row[2]): (row[1], float(row[4]) if len(row) == 5 else 0.0) for row in lines if len(row) > 3}
    final = {row[0]: float(row[1]) if len(row) == 2 else 0.0 for row in lines if len(row) <= 2}
    state, cost = lines[0][0], 0.0
    for word in [*sentence, None]:
        while (state, symbols[word]) not in arcs if word else state not in final:
            state, weight = arcs[state, symbols["#0"]]
            cost += weight
        if word:
            state, weight = arcs[state, symbols[word]]
            cost += weight
    return cost + final[state]


def test_kaldilm_reads_the_arpa_and_gives_the_same_probabilities(tmp_path):
    model = train_ngrams(made_up(7), 3, ["a", "b", "c", "d", "e", "f", "unseen"])
    model.write_arpa(tmp_path / "model.arpa")
    table = tmp_path / "words.txt"
    text = kaldilm.arpa2fst(
        str(tmp_path / "model.arpa"), disambig_symbol="#0", write_symbol_table=str(table), max_order=3
    )
    symbols = dict(line.split() for line in table.read_text().splitlines())
    lines = [line.split() for line in text.strip().splitlines()]
    for sentence in [*made_up(8, 30), ["unseen", "unseen"], ["f", "unseen", "a"]]:
        expected = -math.log(10) * model.log10_probability(sentence)
        assert kaldilm_cost(lines, symbols, sentence) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("\\data\\", "data", 1, "not a model in ARPA's format"),
        ("ngram 2=5", "ngram 3=5", 3, "expected 'ngram 2=COUNT'"),
        ("ngram 2=5", "ngram 2=many", 3, "expected 'ngram 2=COUNT'"),
        ("ngram 2=5", "ngram 2=6", 19, r"after 5 2-grams, but \\data\\ announces 6"),
        ("ngram 2=5", "ngram 2=4", 17, r"after 4 2-grams, but \\data\\ announces 4"),
        ("ngram 1=5", "ngram 1=4", 10, r"after 4 1-grams, but \\data\\ announces 4"),
        ("\\2-grams:", "\\3-grams:", 12, "after 5 1-grams"),
        ("\tb </s>", "\tb", 16, "expected a log10 probability, 2 words"),
        ("\tb </s>", "\tb c d e", 16, "expected a log10 probability, 2 words"),
        ("\tb </s>", "\tb zebra", 16, "'zebra', a word of this 2-gram, is not among the 1-grams"),
        ("\tb </s>", "\t</s>", 16, "expected a log10 probability, 2 words"),
        ("\tb </s>", "\tb </s>\t1e99", 16, "1e99 is not finite"),
        ("\tb </s>", "\tb </s>\tb", 16, "'b' is not a number"),
        ("\t<s>\t", "\ta\t", 10, "the 1-grams lack <s>"),
        ("\ta\t", "\tb\t", 9, "this 1-gram is on an earlier line, too"),
        ("\tb </s>", "\t</s> b", None, None),
        ("\tb </s>", "\ta c", 16, "is on an earlier line"),
        ("-99.0\t", "minus\t", 6, "'minus' is not a number"),
        ("-99.0\t", "nan\t", 6, "nan is not finite"),
        ("-99.0\t", "0.5\t", 6, "0.5 is above 0"),
        ("\t<s>\t", "\tstart\t", 10, "the 1-grams lack <s>"),
        ("\n\\end\\\n", "", 17, r"the file ends before \\end\\; was it cut off"),
        ("\\end\\", "\\end", 19, r"'\\\\end' after 5 2-grams"),
    ],
)
def test_a_broken_arpa_names_file_and_line(old, new, line, message, tmp_path):
    text = train_ngrams(SMALL, 2).to_arpa()
    assert text.count(old) == 1, (old, text)
    path = tmp_path / "broken.arpa"
    path.write_text(text.replace(old, new))
    if message is None:  # an n-gram that no one would train, and yet a file in order
        assert read_arpa(path).order == 2
        return
    with pytest.raises(ValueError, match=message) as caught:
        read_arpa(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_an_ngram_without_its_history_is_refused(tmp_path):
    path = tmp_path / "broken.arpa"
    lines = train_ngrams(SMALL, 3).to_arpa().splitlines()
    orphaned = [line for line in lines if "\ta b" not in line or line.endswith("</s>")]
    path.write_text("\n".join(orphaned).replace("ngram 2=5", "ngram 2=4") + "\n")
    with pytest.raises(ValueError, match=r"the file has no 2-gram of the first 2 words of this 3-gram"):
        read_arpa(path)


def test_a_file_that_lacks_its_rest_or_a_line_is_refused(tmp_path):
    whole, path = train_ngrams(SMALL, 3).to_arpa(), tmp_path / "model.arpa"
    lines = whole.splitlines(keepends=True)
    cut = [whole[:i] for i in range(whole.index("\\end\\") + 5)]
    without = ["".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines)) if lines[i].strip()]
    for content in [*cut, *without]:
        path.write_text(content)
        with pytest.raises(ValueError, match=r"model\.arpa:\d+: "):
            read_arpa(path)


def test_files_that_are_no_text_or_cut_off(tmp_path):
    path = tmp_path / "model.arpa"
    for content, message in {
        b"": "not a model",
        b"\\data\\\n": "ends before its 1-grams",
        b"\\data\\\nngram 1=2\n": "ends before its 1-grams",
        b"\xff\xfe\x00": "1: not UTF-8",
        gzip.compress(b"\\data\\\n"): "ends before its 1-grams",
        b"\\data\\\nngram 1=2\0\n": "2: a NUL byte",
    }.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_arpa(Path(path))
