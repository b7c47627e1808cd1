"""`mdasr lm` as people use it, and how it reads text."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import numpy as np
import pytest

from mdasr.cli.main import main
from mdasr.language.arpa_reader import read_arpa
from mdasr.language.combine import interpolate, widen
from mdasr.language.ngram import train_ngrams
from mdasr.language.text import normalize_text
from mdasr.language.text_files import read_sentences, read_vocabulary
from mdasr.language.vocabulary import BEGIN, END, UNKNOWN
from tests.toy_text import made_up, sums


def write(path, sentences):
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
    return str(path)


def test_train_prune_and_measure(tmp_path, capsys):
    text, held_out = made_up(1, 300), made_up(2, 50)
    texts = [write(tmp_path / "a.txt", text[:100]), write(tmp_path / "b.txt", text[100:])]
    arpa, pruned = tmp_path / "new" / "lm.arpa", tmp_path / "pruned.arpa"
    assert main(["lm", "train", *texts, "--order", "3", "--out", str(arpa)]) == 0
    model = train_ngrams(text, 3)
    assert read_arpa(arpa).to_arpa() == model.to_arpa()
    counts = [len(level.keys) for level in model.levels]
    assert f"order 3, {sum(counts)} n-grams ({counts[0]} {counts[1]} {counts[2]})" in capsys.readouterr().out

    assert main(["lm", "perplexity", str(arpa), write(tmp_path / "held.txt", held_out)]) == 0
    words = sum(map(len, held_out))
    expected = f"perplexity {model.perplexity(held_out):.2f} ({words} words in 50 sentences)"
    assert expected in capsys.readouterr().out

    assert main(["lm", "prune", str(arpa), "--threshold", "1e-3", "--out", str(pruned)]) == 0
    before, after = capsys.readouterr().out.splitlines()
    left = sum(len(level.keys) for level in read_arpa(pruned).levels)
    assert f" {sum(counts)} n-grams" in before and f" {left} n-grams" in after and left < sum(counts)


@pytest.mark.parametrize("discount", ["single", "0.3"])
def test_other_discounts(discount, tmp_path):
    text, arpa = write(tmp_path / "a.txt", made_up(3)), tmp_path / "lm.arpa"
    assert main(["lm", "train", text, "--order", "2", "--discount", discount, "--out", str(arpa)]) == 0
    chosen = discount if discount == "single" else float(discount)
    assert read_arpa(arpa).to_arpa() == train_ngrams(made_up(3), 2, discounting=chosen).to_arpa()


@pytest.mark.parametrize("how", ["bayesian", "linear"])
def test_sources_of_other_vocabularies_are_mixed(how, tmp_path, capsys):
    first, second = made_up(1, 80), made_up(2, 80, "cdefgh")
    held_out = write(tmp_path / "held.txt", made_up(1, 20) + made_up(2, 30, "cdefgh"))
    arpas = []
    for name, text in (("first", first), ("second", second)):
        arpas.append(str(tmp_path / f"{name}.arpa"))
        main(["lm", "train", write(tmp_path / f"{name}.txt", text), "--order", "3", "--out", arpas[-1]])
    capsys.readouterr()
    mixed = tmp_path / "mixed.arpa"
    assert main(["lm", "mix", *arpas, "--held-out", held_out, "--how", how, "--out", str(mixed)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{arpas[0]}: perplexity infinite (") and "words that it lacks" in printed[0]
    model = read_arpa(mixed)
    assert model.words == (BEGIN, END, *"abcdefgh")
    np.testing.assert_allclose(sums(model, 3), 1, atol=1e-4)
    told = {line.split()[0]: float(line.split("perplexity ")[1].split()[0]) for line in printed[2:4]}
    assert model.perplexity([*made_up(1, 20), *made_up(2, 30, "cdefgh")]) == pytest.approx(told[how], abs=0.01)
    given = tmp_path / "given.arpa"
    assert main(["lm", "mix", *arpas, "--weights", "0.7,0.3", "--how", how, "--out", str(given)]) == 0
    sources = widen([read_arpa(Path(arpa)) for arpa in arpas])
    assert given.read_text() == interpolate(sources, [0.7, 0.3], how).to_arpa()


def test_a_word_that_a_source_lacks_has_no_probability_there():
    models = widen([train_ngrams(made_up(1), 3, [*"abcdef", UNKNOWN]), train_ngrams(made_up(2, words="efgh"), 2)])
    for model, lacking, order in zip(models, ("gh", ["a", "b", "c", "d", UNKNOWN]), (3, 2)):
        assert model.words == (BEGIN, END, *sorted([UNKNOWN, *"abcdefgh"]))
        assert model.order == order
        assert (model.log10_probabilities([[word] for word in lacking])[::2] < -98).all()
        np.testing.assert_allclose(sums(model, 3), 1, atol=1e-4)
    # Where only one source has the word before, Bayesian interpolation is that source.
    mixture = interpolate(models, [0.5, 0.5])
    after_g = np.array([[mixture.words.index("g"), word] for word in range(1, len(mixture.words))])
    np.testing.assert_allclose(
        10 ** mixture.log10_conditional(after_g), 10 ** models[1].log10_conditional(after_g), atol=1e-6
    )


def test_lines_that_are_no_good_are_set_aside(tmp_path, capsys):
    text = tmp_path / "a.txt"
    text.write_bytes(b"Hello, World!\n\nflight 12\r\n[noise] a\n" + b"\xff\n" + "It’s …\n—\n".encode())
    arpa = tmp_path / "lm.arpa"
    assert main(["lm", "train", str(text), "--order", "2", "--out", str(arpa)]) == 3
    errors = capsys.readouterr().err
    for line, reason in ((3, "digits"), (4, "mark-up"), (5, "not UTF-8")):
        assert f"{text}:{line}: {reason}" in errors
    assert "3 lines of text set aside\n" in errors
    assert read_arpa(arpa).words == (BEGIN, END, "hello", "it's", "world")
    assert main(["lm", "train", str(text), "--order", "2", "--spell-numbers", "--out", str(arpa)]) == 3
    assert "twelve" in read_arpa(arpa).words
    capsys.readouterr()
    assert main(["lm", "perplexity", str(arpa), write(tmp_path / "b.txt", [["hello"], ["hello", "zebra"]])]) == 3
    printed = capsys.readouterr()
    assert "1 words in 1 sentences" in printed.out and "b.txt:2: 'zebra' is not in the vocabulary" in printed.err


def test_a_vocabulary_file_closes_or_opens_the_vocabulary(tmp_path, capsys):
    text, words, arpa = write(tmp_path / "a.txt", [["a", "b"], ["a", "c"]]), tmp_path / "words", tmp_path / "lm.arpa"
    arguments = ["lm", "train", text, "--order", "2", "--vocabulary", str(words), "--out", str(arpa)]
    words.write_text("b\na\n\nz\n")
    assert main(arguments) == 3
    assert read_arpa(arpa).to_arpa() == train_ngrams([["a", "b"]], 2, "abz").to_arpa()
    words.write_text("<unk>\na\nb\n")
    assert main(arguments) == 0
    assert read_arpa(arpa).to_arpa() == train_ngrams([["a", "b"], ["a", UNKNOWN]], 2, ["a", "b", UNKNOWN]).to_arpa()
    capsys.readouterr()
    assert main(["lm", "perplexity", str(arpa), text]) == 0
    assert "4 words in 2 sentences, 1 as <unk>" in capsys.readouterr().out
    for content, message in (
        ("a\nB\n", "words:2: 'B' is 'b' in normalised text"),
        ("a\n4\n", "words:2: digits"),
        ("\n", "no words"),
    ):
        words.write_text(content)
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.txt", "--out", "x.arpa"], "none.txt"),
        (["train", "digits.txt", "--out", "x.arpa"], "no sentences"),
        (["train", "good.txt", "--order", "0", "--out", "x.arpa"], "at least 1"),
        (["train", "good.txt", "--discount", "much", "--out", "x.arpa"], "give modified, single or a number"),
        (["prune", "good.txt", "--out", "x.arpa"], "good.txt:1: no line"),
        (["prune", "good.arpa", "--threshold", "-1", "--out", "x.arpa"], "threshold"),
        (["perplexity", "good.arpa", "digits.txt"], "the text has no usable line"),
        (["mix", "good.arpa", "--held-out", "digits.txt", "--out", "x.arpa"], "the text has no usable line"),
        (
            ["mix", "good.arpa", "--weights", "0.7,0.3", "--out", "x.arpa"],
            "1 models need 1 weights >= 0",
        ),
        (["mix", "good.arpa", "--weights", "1;0", "--out", "x.arpa"], "give a number for each model, with commas"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.txt", [["a", "b"]])
    write(tmp_path / "digits.txt", [["4"]])
    train_ngrams([["a", "b"]], 2).write_arpa("good.arpa")
    assert main(["lm", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.arpa").exists()


def test_normalising_words_one_by_one_is_normalising_lines(tmp_path):
    """Make lines of letters, accents, apostrophes, spaces and signs in random order."""
    rng = random.Random(0)
    signs = [*"abzÀΣσß'’`-.,!?%[4\u0301\u00ad\ufeff\u00a0\u2003\u3000\x1c\t", " ", " ", "İ", "ﬁ", "한", "ㄱ"]
    lines = ["".join(rng.choices(signs, weights=[6] * 9 + [1] * (len(signs) - 9), k=12)) for _ in range(3000)]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    expected, refused = [], 0
    for line in lines:
        try:
            expected.append(normalize_text(line).split())
        except ValueError:
            refused += 1
    set_aside: list[str] = []
    assert [*read_sentences([path], set_aside)] == [words for words in expected if words]
    assert len(set_aside) == refused and 100 < refused < 2900


def test_a_vocabulary_is_read_in_order(tmp_path):
    path = tmp_path / "words"
    path.write_text("<unk>\r\nzebra\n it's \n", encoding="utf-8")
    assert read_vocabulary(path) == [UNKNOWN, "zebra", "it's"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_text_trains_the_same_model_and_damage_is_named(pack, tmp_path, capsys):
    plain, packed = tmp_path / "a.txt", tmp_path / "packed"
    write(plain, made_up(1, 50))
    content = pack(plain.read_bytes())
    packed.write_bytes(content)
    for text in (plain, packed):
        assert main(["lm", "train", str(text), "--order", "2", "--out", f"{text}.arpa"]) == 0
    assert Path(f"{plain}.arpa").read_bytes() == Path(f"{packed}.arpa").read_bytes()
    packed.write_bytes(content[:-20])
    assert main(["lm", "train", str(packed), "--out", str(tmp_path / "x.arpa")]) == 2
    assert "packed: damaged" in capsys.readouterr().err


def test_a_vocabulary_of_the_most_frequent_words(tmp_path, capsys):
    text = write(tmp_path / "a.txt", [["b", "a", "c"], ["b", "a"], ["d", "b", "a"]])
    arpa = tmp_path / "lm.arpa"
    assert main(["lm", "train", text, "--order", "2", "--vocabulary", "3", "--out", str(arpa)]) == 0
    assert {*read_arpa(arpa).words} - {BEGIN, END} == {UNKNOWN, "a", "b", "c"}
    assert main(["lm", "train", text, "--vocabulary", "0", "--out", str(arpa)]) == 2
    assert "a vocabulary of 0 words" in capsys.readouterr().err
