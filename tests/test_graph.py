"""Making graphs: stages that are kept, their cost, their ingredients, and new graphs for old models."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import jax
import kaldifst
import numpy as np
import pytest
from tqdm import tqdm

from mdasr import frontend
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig, init_params
from mdasr.align.tree import Branch, Tree
from mdasr.cli.main import main
from mdasr.decode import build_stages
from mdasr.decode import graph as graphs
from mdasr.decode.cost import estimate, memory_at_hand_gb
from mdasr.decode.grammar import build_grammar
from mdasr.decode.graph import Graph, build_graph
from mdasr.decode.search import SearchOptions, decode
from mdasr.language import espeak, ngram
from mdasr.language.arpa_reader import announced, read_arpa
from mdasr.language.lexicon import Lexicon
from mdasr.language.phrases import raised
from mdasr.model.directory import Language, Recognizer, compose_language
from mdasr.training.word_models import make_language, train_ngram
from tests.tasks import monophone_tree
from tests.toy_words import ARPA, LEXICON, TREE

OTHER_TREE = Tree(TREE.phones, TREE.questions, (0, Branch("left", 0, 1, 2), Branch("left", 1, 3, 4), 5))


def same(one: Graph, other: Graph) -> bool:
    return one.fst.to_str() == other.fst.to_str() and (one.labels, one.words) == (other.labels, other.words)


def stamps(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.glob("*.fst")}


def test_a_graph_from_kept_stages_is_the_same(tmp_path):
    plain = build_graph(LEXICON, ARPA, TREE)
    for _ in range(2):
        assert same(build_graph(LEXICON, ARPA, TREE, cache=tmp_path), plain)
    assert sorted(name.split("-")[0] for name in stamps(tmp_path)) == ["CLG", "G", "LG", "tied"]


@pytest.mark.parametrize("killed_in", ["_grammar", "_pronounced", "_tied"])
def test_a_construction_that_was_stopped_goes_on(tmp_path, monkeypatch, killed_in):
    with monkeypatch.context() as patch:
        patch.setattr(graphs, killed_in, lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            build_graph(LEXICON, ARPA, TREE, cache=tmp_path)
    before = stamps(tmp_path)
    assert len(before) == {"_grammar": 0, "_pronounced": 1, "_tied": 3}[killed_in]
    done = {"_grammar", "_pronounced"} if killed_in == "_tied" else {"_grammar"} - {killed_in}
    for function in done:
        monkeypatch.setattr(graphs, function, lambda *_: pytest.fail("made again"))
    assert same(build_graph(LEXICON, ARPA, TREE, cache=tmp_path), build_graph_anew(monkeypatch))
    assert before.items() <= stamps(tmp_path).items(), "what was done is left alone"


def build_graph_anew(monkeypatch) -> Graph:
    monkeypatch.undo()
    return build_graph(LEXICON, ARPA, TREE)


def test_stages_are_shared_by_what_they_depend_on(tmp_path):
    build_graph(LEXICON, ARPA, TREE, cache=tmp_path)
    first = stamps(tmp_path)

    def new(*arguments) -> list[str]:
        known = stamps(tmp_path)
        graph = build_graph(*arguments, cache=tmp_path)
        assert same(graph, build_graph(*arguments))
        return sorted(name.split("-")[0] for name in stamps(tmp_path).keys() - known.keys())

    more = Lexicon({**LEXICON.entries, "unheard": ((("Y",), 1.0),)})
    changed = Lexicon({**LEXICON.entries, "c": ((("X", "Z"), 1.0),)})
    assert new(LEXICON, ARPA, OTHER_TREE) == ["tied"]
    assert new(more, ARPA, TREE) == []  # a word that the language model has not
    assert new(LEXICON, ARPA, TREE, 0.3) == ["CLG", "LG", "tied"]
    assert new(changed, ARPA, TREE) == ["CLG", "LG", "tied"]
    assert new(LEXICON, ARPA.replace("-0.9 c", "-0.8 c"), TREE) == ["CLG", "G", "LG", "tied"]
    assert first.items() <= stamps(tmp_path).items()


def test_another_version_of_the_code_begins_anew(tmp_path, monkeypatch):
    build_graph(LEXICON, ARPA, TREE, cache=tmp_path)
    monkeypatch.setattr(build_stages, "VERSION", build_stages.VERSION + 1)
    build_graph(LEXICON, ARPA, TREE, cache=tmp_path)
    assert len(stamps(tmp_path)) == 8


def test_a_damaged_stage_is_named(tmp_path, capfd):
    build_graph(LEXICON, ARPA, TREE, cache=tmp_path)
    (path,) = tmp_path.glob("tied-*.fst")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"tied-\w+\.fst: a stage of a graph that cannot be read; delete the file"):
        build_graph(LEXICON, ARPA, TREE, cache=tmp_path)
    path.unlink()
    assert same(build_graph(LEXICON, ARPA, TREE, cache=tmp_path), build_graph(LEXICON, ARPA, TREE))
    capfd.readouterr()  # kaldifst's own complaint


def test_the_bar_counts_what_is_done_now():
    """After a stage that existed already, the remaining time follows from the speed of the later stages."""
    progress = build_stages.Progress({"a": 30.0, "b": 10.0, "c": 60.0})
    bar = progress._bar = tqdm(total=100, file=io.StringIO())
    progress.found("a")
    fst = kaldifst.compile("0 1 1 1\n1\n")
    bar.start_t -= 5.0
    progress.done("b", fst)
    values = bar.format_dict
    assert (values["n"], values["initial"], values["total"]) == (40.0, 30.0, 100)
    assert values["postfix"] == "b: 2 states, 1 arcs"
    bar.close()


def test_size_and_words_are_read_from_the_first_lines(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA)
    for arpa in (ARPA, path):
        head = announced(arpa)
        assert head.counts == tuple(len(level.keys) for level in read_arpa(path).levels) == (6, 6, 3)
        assert head.words == build_grammar(arpa)[1]
    with pytest.raises(ValueError, match="ARPA text:1: no line"):
        announced("no model")


def test_a_graph_that_does_not_fit_is_refused_before_the_work(monkeypatch):
    """The advice is right: that number of n-grams fits, and a tenth more does not."""
    huge = ARPA.replace("ngram 3=3", "ngram 3=100000000")
    monkeypatch.setattr(graphs, "memory_at_hand_gb", lambda: 12.0)
    with pytest.raises(ValueError, match=r"100,000,012 n-grams.* only 12\.0 GB are available\. Prune ") as refused:
        build_graph(LEXICON, huge, TREE)
    advised = int(str(refused.value).split("model to ")[1].split(" n-grams")[0].replace(",", ""))
    shares = [n / 100_000_012 for n in announced(huge).counts]
    spoken = Lexicon({word: LEXICON.entries[word] for word in "abc"})
    estimate([int(advised * share) for share in shares], spoken).require(12.0)
    with pytest.raises(ValueError, match="machine with more memory"):
        estimate([int(1.1 * advised * share) for share in shares], spoken).require(12.0)
    with pytest.raises(ValueError, match="model to 0 n-grams"):
        estimate([100], LEXICON).require(0.01)


def test_the_estimate_grows_with_histories_phones_and_pronunciations():
    def seconds(counts: list[int], lexicon: Lexicon) -> float:
        return sum(estimate(counts, lexicon).seconds.values())

    short, long = (Lexicon({"a": ((("X",) * n, 1.0),)}) for n in (3, 6))
    both = Lexicon({"a": ((("X",) * 3, 0.5), (("X",) * 6, 0.5))})
    base = seconds([100, 1000, 2000], short)
    assert seconds([200, 2000, 4000], short) == pytest.approx(2 * base)
    assert seconds([100, 2000, 1000], short) > base  # as many n-grams, more histories
    assert seconds([100, 1000, 2000], both) > seconds([100, 1000, 2000], long) > base


def test_long_work_is_announced(capsys):
    estimate([600, 20_000], LEXICON).require(1e3)
    assert capsys.readouterr().err == ""
    estimate([50_000, 500_000, 1_450_000], LEXICON).require(1e3)
    assert "2,000,000 n-grams and 6 pronunciations takes about 4 min" in capsys.readouterr().err


def test_memory_at_hand_is_the_least_of_all_limits(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    group = tmp_path / "sys/fs/cgroup/job/task"
    group.mkdir(parents=True)
    mebi = 2**20
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable:  102400 kB\n")
    assert memory_at_hand_gb(tmp_path) == pytest.approx(100 * mebi / 1e9)
    (tmp_path / "proc/self/cgroup").write_text("0::/job/task\n")
    (group / "memory.max").write_text("max\n")
    assert memory_at_hand_gb(tmp_path) == pytest.approx(100 * mebi / 1e9)
    (group.parent / "memory.max").write_text(f"{50 * mebi}\n")
    assert memory_at_hand_gb(tmp_path) == pytest.approx(50 * mebi / 1e9)
    (tmp_path / "proc/self/cgroup").write_text("5:cpu:/x\n4:hugetlb,memory:/job\n")
    (tmp_path / "sys/fs/cgroup/memory/job").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory/job/memory.limit_in_bytes").write_text(f"{20 * mebi}\n")
    assert memory_at_hand_gb(tmp_path) == pytest.approx(20 * mebi / 1e9)
    assert memory_at_hand_gb() > 0


def test_a_graph_without_digests_does_not_reach_openfst(tmp_path):
    build_graph(LEXICON, ARPA, TREE).write(tmp_path)
    info = json.loads((tmp_path / "graph.json").read_text())
    (tmp_path / "graph.json").write_text(json.dumps({name: info[name] for name in info if name != "sha256"}))
    with pytest.raises(ValueError, match=r"HCLG.fst: damaged, or does not fit graph.json; build the graph again"):
        Graph.read(tmp_path)
    (tmp_path / "graph.json").write_text(json.dumps(info | {"format": 1}))
    with pytest.raises(ValueError, match="a graph of format 1, but this version reads 3; build it again"):
        Graph.read(tmp_path)


SAID = Lexicon({"ah": ((("AA",), 1.0),), "s": ((("S",), 2 / 3), (("S", "AA"), 1 / 3))})
PHONES = monophone_tree((*SAID.phones, "T"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    language = make_language(directory, SAID, PHONES, train_ngram(["ah s", "s", "ah"], 2, SAID))
    stats = frontend.FeatureStats(np.full(128, -5, np.float32), np.ones(128, np.float32))
    config = ModelConfig(LSTM((8,)), PHONES.num_leaves)
    priors = np.log(np.full(PHONES.num_leaves, 0.25, np.float32))
    facts = {"tree": build_stages.digest(PHONES), "dev_wer": 9.9, "tuned_on": ["dev"]}
    shapes = jax.eval_shape(lambda: init_params(config, 0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    search = SearchOptions(acoustic_scale=0.7, confidence_slope=0.5, confidence_offset=-1.0)
    Recognizer(config, params, stats, priors, language, search, facts).write(directory)
    (directory / "checkpoints").mkdir()
    return directory


def test_a_language_written_and_read_is_whole_and_without_stages(model):
    language = Language.read(model)
    assert sorted(language.graph.made_of) == ["lexicon.txt", "lm.arpa", "tree.txt"]
    assert not (model / "stages").exists()


def swap_leaves(text: str) -> str:
    return text.replace("leaf 1", "leaf x").replace("leaf 2", "leaf 1").replace("leaf x", "leaf 2")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tree.txt", swap_leaves),
        ("lexicon.txt", lambda text: text.replace("ah\t1\tAA", "ah\t1\tAA S")),
        ("lexicon.txt", lambda text: text.replace("ah\t1\tAA\n", "")),
        ("lm.arpa", lambda text: text.replace("ah", "s", 1)),
    ],
)
def test_a_file_of_another_model_is_named(model, tmp_path, name, change):
    """The numbers of outputs, words and n-grams are the same; only the recorded ingredients differ."""
    shutil.copytree(model, tmp_path / "m")
    path = tmp_path / "m" / name
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(ValueError, match=rf"m/{name} is not the file that .*m/graph was made of.*mdasr graph"):
        Recognizer.read(tmp_path / "m")


def test_a_network_of_another_tree_is_refused(model, tmp_path, capsys):
    """Tree and graph belong together; the network is free."""
    language = Language.read(model)
    shutil.copytree(model, tmp_path / "m")
    path = tmp_path / "m" / "tree.txt"
    path.write_text(swap_leaves(path.read_text()))
    compose_language(tmp_path / "m", language.lexicon, Tree.read(path), language.arpa)
    with pytest.raises(ValueError, match=r"m/tree\.txt is not the tree that the model was trained with"):
        Recognizer.read(tmp_path / "m")
    assert main(["graph", str(tmp_path / "m")]) == 2
    assert "tree.txt is not the tree that the model was trained with" in capsys.readouterr().err


def test_a_graph_made_before_a_training_was_killed_is_taken(model, tmp_path, monkeypatch):
    shutil.copytree(model, tmp_path / "m")
    before = (tmp_path / "m/graph/HCLG.fst").stat().st_mtime_ns
    make_language(tmp_path / "m", SAID, PHONES, train_ngram(["ah s", "s", "ah"], 2, SAID))
    assert (tmp_path / "m/graph/HCLG.fst").stat().st_mtime_ns == before
    changed = make_language(tmp_path / "m", SAID, PHONES, train_ngram(["ah s", "s", "ah ah"], 2, SAID))
    assert (tmp_path / "m/graph/HCLG.fst").stat().st_mtime_ns > before
    assert same(Language.read(tmp_path / "m").graph, changed.graph)


@pytest.fixture
def other_lm(tmp_path) -> Path:
    text = [["ah", "tas"], ["tas"], ["s", "ah"]]
    (tmp_path / "other.arpa").write_text(ngram.train_ngrams(text, 2).to_arpa())
    return tmp_path / "other.arpa"


def test_a_model_gets_another_language(model, other_lm, tmp_path, capsys):
    (tmp_path / "more.dict").write_text("TAS  T AA1 S\nah(2)  AA0 S\nUNHEARD  ZH\n")
    out = tmp_path / "out"
    given = ["graph", str(model), "--lm", str(other_lm), "--lexicon", str(tmp_path / "more.dict"), "--out", str(out)]
    assert main(given) == 0
    printed = capsys.readouterr()
    assert f"{out}: 3 words, " in printed.out
    said = f"pronunciations of 3 words: 2 from {tmp_path / 'more.dict'}, 1 from the model, 0 from eSpeak"
    assert said in printed.err
    found, old = Recognizer.read(out), Recognizer.read(model)
    assert found.language.graph.words == ("ah", "s", "tas")
    assert found.language.lexicon.entries["tas"] == ((("T", "AA", "S"), 1.0),)
    assert found.language.lexicon.entries["ah"] == ((("AA", "S"), 1.0),)
    assert found.language.arpa == other_lm.read_text()
    assert not {"dev_wer", "tuned_on"} & {*found.facts} and old.facts["dev_wer"] == 9.9
    assert (found.search, old.search.confidence_slope) == (SearchOptions(acoustic_scale=0.7), 0.5)
    for name in ("params.npz", "stats.json", "priors.npy"):
        assert (out / name).read_bytes() == (model / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {
        *("graph", "lexicon.txt", "lm.arpa", "model.json", "params.npz", "priors.npy", "stats.json", "tree.txt")
    }
    assert main(given) == 2
    assert "holds a model already" in capsys.readouterr().err


def test_a_model_gets_names_that_it_did_not_know(model, tmp_path, capsys):
    (tmp_path / "more.dict").write_text("TAS  T AA1 S\n")
    (tmp_path / "names.txt").write_text("Tas Ah\n")
    given = ["graph", str(model), "--phrases", str(tmp_path / "names.txt"), "--lexicon", str(tmp_path / "more.dict")]
    assert main([*given, "--boost", "5", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "3 words, " in printed.out and "names.txt: 1 phrases, 1 new words: 'tas T AA S'\n" in printed.err
    found, old = Recognizer.read(tmp_path / "out"), Recognizer.read(model)
    assert found.graph.words == ("ah", "s", "tas")
    assert not {"dev_wer", "tuned_on"} & {*found.facts}
    expected = raised(read_arpa(model / "lm.arpa"), [["tas", "ah"]], 5.0)
    assert found.language.arpa == expected.to_arpa()
    # What is said decides: T AA S AA is the name, and AA S is as it was.
    tree = found.language.tree
    for recognizer, phones, words in ((found, "T AA S AA", ("tas", "ah")), (found, "AA S", ("ah", "s"))):
        scores = sure_of(tree, f"SIL {phones} SIL".split())
        assert decode(recognizer.graph, scores, SearchOptions(acoustic_scale=1.0)).words == words
    assert "tas" not in old.graph.words
    assert (
        main([*given[:4], "--boost", "5", "--out", str(tmp_path / "again")]) == 2
    )  # eSpeak's T AE S has another phone
    assert not (tmp_path / "again" / "model.json").exists()
    assert main([*given, "--boost", "11", "--out", str(tmp_path / "again")]) == 2
    assert "boost 11: give a number from 0 to 10" in capsys.readouterr().err
    assert main(["graph", str(model), "--boost", "1", "--out", str(tmp_path / "again")]) == 2
    assert "give --phrases FILE, too" in capsys.readouterr().err


def sure_of(tree: Tree, phones: list[str]) -> np.ndarray:
    """Scores of three steps a phone that leave no doubt."""
    return np.where(np.eye(tree.num_leaves)[tree.leaves(phones).repeat(3)] > 0, 0, -20).astype(np.float32)


def test_words_without_pronunciation_are_espeaks_or_named(model, other_lm, tmp_path, monkeypatch, capsys):
    given = ["graph", str(model), "--lm", str(other_lm), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(espeak, "is_installed", lambda: False)
    assert main(given) == 2
    assert "1 words without pronunciation: 'tas'. Give them in a lexicon" in capsys.readouterr().err
    monkeypatch.setattr(espeak, "is_installed", lambda: True)
    monkeypatch.setattr(espeak, "pronounce", lambda words: dict.fromkeys(words, ("T", "AE", "S")))
    assert main(given) == 2
    said = capsys.readouterr().err
    assert (
        "phones that the tree does not know: 'AE' in 'tas'. Give these words pronunciations in its phones: AA S T"
        in said
    )
    monkeypatch.setattr(espeak, "pronounce", lambda words: dict.fromkeys(words, ("T", "AA", "S")))
    assert main(given) == 0


def test_a_lexicon_in_other_phones_is_named_with_its_line(model, other_lm, tmp_path, capsys):
    said = ";;; words\nUNHEARD  ZH\nTAS  T AA1 S\nTAS(2)  T AE1 S\n"
    for name, content in (("more.dict", said.encode()), ("more.dict.gz", gzip.compress(said.encode()))):
        (tmp_path / name).write_bytes(content)
        given = ["graph", str(model), "--lm", str(other_lm), "--lexicon", str(tmp_path / name)]
        assert main([*given, "--out", str(tmp_path / "out")]) == 2
        assert f"{name}:4: 'tas' has the unknown phone 'AE'; known: AA S SIL T" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_language_model_with_a_broken_line_leaves_the_model_as_it_was(model, other_lm, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "m")
    lines = other_lm.read_text().replace("tas", "s").splitlines()
    lines[-3] = "-0.1x " + lines[-3].split("\t")[1]
    other_lm.write_text("\n".join(lines) + "\n")
    assert main(["graph", str(tmp_path / "m"), "--lm", str(other_lm)]) == 2
    assert f"{other_lm}:" in capsys.readouterr().err
    assert same(Recognizer.read(tmp_path / "m").language.graph, Recognizer.read(model).language.graph)
    assert main(["graph", str(tmp_path)]) == 2
    assert "is not a model" in capsys.readouterr().err


@pytest.fixture
def tas(tmp_path) -> Path:
    """A pronunciation for the word that the model lacks."""
    (tmp_path / "tas.dict").write_text("TAS  T AA1 S\n")
    return tmp_path / "tas.dict"


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_gzipped_language_model_is_read(model, other_lm, tas, tmp_path):
    packed = tmp_path / "other.arpa.gz"
    packed.write_bytes(gzip.compress(other_lm.read_bytes()))
    given = [["graph", str(model), "--lm", str(lm), "--lexicon", str(tas), "--out"] for lm in (packed, other_lm)]
    assert main([*given[0], str(tmp_path / "out")]) == main([*given[1], str(tmp_path / "plain")]) == 0
    assert same(Language.read(tmp_path / "out").graph, Language.read(tmp_path / "plain").graph)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"other\.arpa\.gz: damaged gzip"):
        read_arpa(packed)


def test_case_and_punctuation_of_a_language_model_are_folded(model, other_lm, tas, tmp_path, capsys):
    """Every word stays sayable, so the graph is that of the model in lower case."""
    cased = tmp_path / "cased.arpa"
    cased.write_text(other_lm.read_text().replace("ah", "Ah,").replace("tas", "TAS"))
    for lm in (other_lm, cased):
        given = ["graph", str(model), "--lm", str(lm), "--lexicon", str(tas), "--out", str(tmp_path / lm.stem)]
        assert main(given) == 0
    said = "of 3 words, 2 are folded to lower case without punctuation ('Ah,', 'TAS')\n"
    assert f"{cased}: {said}" in capsys.readouterr().err
    assert same(*(Language.read(tmp_path / lm.stem).graph for lm in (other_lm, cased)))


@pytest.mark.parametrize("word", ["ah-s", "4", "[noise]"])
def test_words_that_no_transcript_can_have_are_left_out(model, other_lm, tas, word, tmp_path, capsys):
    other_lm.write_text(other_lm.read_text().replace("ah", word), encoding="utf-8")
    out = tmp_path / "out"
    assert main(["graph", str(model), "--lm", str(other_lm), "--lexicon", str(tas), "--out", str(out)]) == 0
    said = f"{other_lm}: of 3 words, 1 that no transcript has count as <unk> ({word!r})\n"
    assert said in capsys.readouterr().err
    assert Language.read(out).graph.words == ("s", "tas")
    assert read_arpa(out / "lm.arpa").words == ("<s>", "</s>", "<unk>", "s", "tas")


def test_words_that_espeak_cannot_say_are_named_and_left_out(model, other_lm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(espeak, "is_installed", lambda: True)
    monkeypatch.setattr(espeak, "to_arpabet", lambda *_: unknown_sound())
    given = ["graph", str(model), "--lm", str(other_lm), "--out", str(tmp_path / "out")]
    assert main(given) == 0
    assert "1 words are left out, because eSpeak NG cannot say them: 'tas'. To keep" in capsys.readouterr().err
    assert Recognizer.read(tmp_path / "out").language.graph.words == ("ah", "s")


def unknown_sound() -> None:
    raise ValueError("a phoneme that ARPAbet lacks")


@pytest.mark.parametrize("broken", ["write", "graph"])
def test_a_model_stays_whole_until_its_new_graph_is(model, other_lm, tas, broken, tmp_path, monkeypatch, capsys):
    """The disk is full while the graph is written, or the graph has no states."""
    shutil.copytree(model, tmp_path / "m")
    before = contents(tmp_path / "m")

    def full(self: Graph, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "HCLG.fst").write_text("half")
        raise OSError("No space left on device")

    if broken == "write":
        monkeypatch.setattr(Graph, "write", full)
    else:
        monkeypatch.setattr(graphs, "compose", lambda *_: kaldifst.StdVectorFst())
    assert main(["graph", str(tmp_path / "m"), "--lm", str(other_lm), "--lexicon", str(tas)]) == 2
    assert ("No space left" if broken == "write" else "the graph has no states") in capsys.readouterr().err
    shutil.rmtree(tmp_path / "m" / "stages")
    assert contents(tmp_path / "m") == before
