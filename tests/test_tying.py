"""The tree of CDPhones: its answers, its text form, and its growth against brute force."""

import itertools
import logging
import pickle

import numpy as np
import pytest

from mdasr.align import tree_growth
from mdasr.align.tree import Branch, Tree
from mdasr.align.tree_growth import TriphoneStatistics, accumulate, add_up, derive_questions, frame_ends, grow
from mdasr.cli.main import main
from mdasr.frontend import num_frames
from mdasr.language.lexicon import ARPABET, SILENCE
from tests.tasks import monophone_tree

PHONES = ("AA", "B", "D", "M", "SIL", "T")
HAND_MADE = Tree(
    PHONES,
    (("B", "D"), ("SIL",)),
    (Branch("left", 0, Branch("right", 1, 0, 1), 2), 3, 4, 5, 6, 7),
)


def planted(seed: int = 0, frames: int = 60, missing: tuple[tuple[str, str, str], ...] = ()) -> TriphoneStatistics:
    """Make data in which AA depends on a stop on its left, and T on M on its right."""
    rng = np.random.default_rng(seed)
    utterances = []
    for left, centre, right in itertools.product(PHONES, repeat=3):
        if (left, centre, right) in missing:
            continue
        mean = np.array([PHONES.index(centre), 0.0, 0.0])
        mean += [0, 1, 0] if centre == "AA" and left in ("B", "D") else 0
        mean += [0, 0, -1] if centre == "T" and right == "M" else 0
        features = rng.normal(mean, 0.1, (frames, 3)).astype(np.float32)
        # One frame each for the neighbours, which are the same whatever stands beside them.
        sides = [np.array([[PHONES.index(p), 0, 0]], np.float32) for p in (left, right)]
        ends = np.array([1, frames + 1, frames + 2])
        utterances.append(((left, centre, right), ends, np.concatenate([sides[0], features, sides[1]])))
    return accumulate(utterances, PHONES)


def test_monophones():
    tree = monophone_tree(("SIL", *ARPABET))
    assert tree.num_leaves == 40
    assert tree.leaf("SIL", "AA", "ZH") == tree.leaf("B", "AA", "SIL") == 1
    np.testing.assert_array_equal(tree.leaves(["SIL", "ZH", "AA", "AA"]), [0, 39, 1, 1])
    assert tree.leaves([]).shape == (0,)


def test_a_leaf_depends_on_the_neighbours_asked_about():
    assert HAND_MADE.num_leaves == 8
    for left, right in itertools.product(PHONES, repeat=2):
        expected = (0 if right == "SIL" else 1) if left in ("B", "D") else 2
        assert HAND_MADE.leaf(left, "AA", right) == expected
        assert HAND_MADE.leaf(left, "T", right) == 7


def test_an_utterance_ends_in_silence_on_both_sides():
    phones = ["AA", "B", "AA", "SIL", "D", "AA"]
    sides = ["SIL", *phones, "SIL"]
    expected = [HAND_MADE.leaf(*sides[i : i + 3]) for i in range(len(phones))]
    np.testing.assert_array_equal(HAND_MADE.leaves(phones), expected)
    assert expected == [2, 3, 0, 6, 4, 0]


def test_unknown_phones_are_named():
    with pytest.raises(ValueError, match=r"'QQ' is not one of the tree's 6"):
        HAND_MADE.leaf("AA", "QQ", "B")
    with pytest.raises(ValueError, match="'aa'"):
        HAND_MADE.leaves(["AA", "aa"])


@pytest.mark.parametrize("tree", [HAND_MADE, monophone_tree(PHONES)])
def test_a_tree_survives_its_text_and_its_pickle(tree, tmp_path):
    path = tmp_path / "tree.txt"
    tree.write(path)
    assert Tree.read(path) == tree
    tree.leaf("SIL", "AA", "B")
    again = pickle.loads(pickle.dumps(tree))
    assert again == tree
    np.testing.assert_array_equal(again.table, tree.table)
    assert len(pickle.dumps(tree)) < tree.table.nbytes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mdasr-tree 1", "mdasr-tree 2", r":1: not a tree of this version"),
        ("root T", "root Q", r":19: unexpected 'root Q'"),
        ("root T", "root D", r":19: unexpected 'root D'"),
        ("question 1 SIL", "question 2 SIL", r":4: unexpected"),
        ("question 1 SIL", "question 1 Q", r":1: phone 'Q'"),
        ("  left 0", "  left 2", r":6: 'left 2' is neither a leaf nor a split"),
        ("  left 0", "  up 0", r":6: 'up 0' is neither"),
        ("  leaf 7\n", "", r":20: '' is neither"),
        ("root T\n  leaf 7\n", "", r":18: the file ends before the roots of T"),
        ("  leaf 7", "  leaf 9", r":1: tree: its 8 leaves must be numbered 0 to 7"),
        ("  leaf 7", "  leaf 6", r":1: tree: its 8 leaves must be numbered 0 to 7"),
        ("  leaf 6", "  left 0\n    leaf 6\n    leaf 8", r":1: tree: SIL must be a single leaf"),
    ],
)
def test_a_broken_tree_file_names_file_and_line(old, new, message, tmp_path):
    path = tmp_path / "tree.txt"
    HAND_MADE.write(path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        Tree.read(path)
    assert str(caught.value).startswith(str(path))


def test_phone_sets_that_cannot_be():
    with pytest.raises(ValueError, match="SIL is missing"):
        monophone_tree(("AA", "B"))
    with pytest.raises(ValueError, match="'B'] occur twice"):
        monophone_tree(("SIL", "B", "B"))
    with pytest.raises(ValueError, match="without white space"):
        monophone_tree(("SIL", "A B"))
    with pytest.raises(ValueError, match="5 roots for 6 phones"):
        Tree(PHONES, (), (0, 1, 2, 3, 4))


def test_a_frame_belongs_to_the_phone_at_its_centre():
    frames = num_frames(16_000)
    ends_s = (0.0151, 0.016, 0.0161, 0.5, 1.2)
    centres = (160 * np.arange(frames) + 256) / 16_000
    expected = [(centres < end).sum() for end in ends_s]
    np.testing.assert_array_equal(frame_ends(ends_s, frames), expected)
    assert expected == [0, 0, 1, 49, frames]


def test_statistics_equal_a_plain_loop(monkeypatch):
    monkeypatch.setattr(tree_growth, "COMPACT_AT", 7)
    rng = np.random.default_rng(1)
    utterances, expected = [], {}
    for _ in range(30):
        phones = [PHONES[i] for i in rng.integers(0, len(PHONES), rng.integers(1, 9))]
        features = rng.normal(size=(40, 2))
        ends = np.sort(rng.integers(0, 39, len(phones)))
        utterances.append((phones, ends, features))
        for i, phone in enumerate(phones):
            context = (SILENCE, *phones, SILENCE)[i], phone, (SILENCE, *phones, SILENCE)[i + 2]
            for frame in features[0 if i == 0 else ends[i - 1] : ends[i]]:
                expected[context] = expected.get(context, 0) + np.array([1, *frame, *frame**2])
    found = accumulate(utterances, PHONES)
    names = [tuple(PHONES[i] for i in row) for row in found.triphones]
    assert sorted(names) == sorted(expected)
    np.testing.assert_allclose(found.moments, [expected[name] for name in names])
    halves = add_up([accumulate(utterances[:11], PHONES), accumulate(utterances[11:], PHONES)])
    np.testing.assert_array_equal(halves.triphones, found.triphones)
    np.testing.assert_allclose(halves.moments, found.moments)


def test_alignments_that_cannot_be_are_refused():
    features = np.zeros((5, 2))
    for phones, ends, values, message in [
        (["AA", "Q"], [2, 4], features, "utterance 0: unknown phone 'Q'"),
        (["AA", "B"], [2], features, "2 phones but 1 ends"),
        (["AA", "B"], [4, 2], features, "ends must rise"),
        (["AA", "B"], [2, 6], features, "within the 5 frames"),
        (["AA", "B"], [2, 4], features + np.nan, "not finite"),
        (["AA", "B"], [0, 0], features, "no aligned frames"),
    ]:
        with pytest.raises(ValueError, match=message):
            accumulate([(phones, np.array(ends), values)], PHONES)
    with pytest.raises(ValueError, match="no aligned frames"):
        accumulate([], PHONES)
    with pytest.raises(ValueError, match="different phone sets"):
        add_up([planted(), TriphoneStatistics(PHONES[1:], np.zeros((0, 3), int), np.zeros((0, 7)))])


def test_planted_contexts_are_found_and_answer_for_triphones_never_seen():
    unseen = tuple((left, "AA", right) for left in PHONES for right in ("M", "T"))
    tree = grow(planted(missing=unseen), 8, questions=[("B", "D"), ("M",), ("AA", "M"), ("T", "SIL")])
    stop, other = tree.leaf("B", "AA", "B"), tree.leaf("AA", "AA", "B")
    nasal, rest = tree.leaf("B", "T", "M"), tree.leaf("B", "T", "AA")
    assert len({stop, other, nasal, rest}) == 4
    for left, right in itertools.product(PHONES, repeat=2):
        assert tree.leaf(left, "AA", right) == (stop if left in ("B", "D") else other)
        assert tree.leaf(left, "T", right) == (nasal if right == "M" else rest)
        assert len({tree.leaf(left, p, right) for p in PHONES}) == len(PHONES)


def gaussian_log_likelihood(moments: np.ndarray) -> float:
    """Compute the same in another way: the log density of n frames under their own mean and variance."""
    count, dims = moments[0], (len(moments) - 1) // 2
    mean, square = moments[1 : 1 + dims] / count, moments[1 + dims :] / count
    return float(-0.5 * count * (np.log(2 * np.pi * (square - mean**2)) + 1).sum())


def test_the_first_split_is_the_best_of_all():
    rng = np.random.default_rng(2)
    triphones = np.array([*itertools.product(range(len(PHONES)), repeat=3)])
    count = rng.integers(20, 200, (len(triphones), 1)).astype(float)
    mean, variance = rng.normal(size=(len(triphones), 4)), rng.gamma(5, 0.2, (len(triphones), 4))
    moments = np.concatenate([count, count * mean, count * (variance + mean**2)], axis=1)
    questions = [("AA",), ("B", "D"), ("M", "SIL"), ("AA", "T", "M")]
    gains = {}
    for centre, side, question in itertools.product(PHONES, ("left", "right"), range(len(questions))):
        here = triphones[:, 1] == PHONES.index(centre)
        asked = [PHONES.index(p) for p in questions[question]]
        yes = here & np.isin(triphones[:, 0 if side == "left" else 2], asked)
        whole, part = moments[here].sum(0), moments[yes].sum(0)
        after = gaussian_log_likelihood(part) + gaussian_log_likelihood(whole - part)
        gains[centre, side, question] = after - gaussian_log_likelihood(whole)
    best = max((key for key in gains if key[0] != SILENCE), key=gains.__getitem__)
    tree = grow(TriphoneStatistics(PHONES, triphones, moments), 7, questions=questions)
    centre, split = next((p, r) for p, r in zip(PHONES, tree.roots) if isinstance(r, Branch))
    assert (centre, split.side, split.question) == best


def test_growth_stops_at_exactly_so_many_leaves(caplog):
    statistics = planted(3)
    for wanted in (6, 7, 13, 40):
        assert grow(statistics, wanted, min_count=1.0).num_leaves == wanted
    assert not caplog.records


def test_min_count_can_forbid_more_leaves_and_says_so(caplog):
    statistics = planted(4)
    with caplog.at_level(logging.WARNING):
        tree = grow(statistics, 500, min_count=400.0)
    assert len(PHONES) < tree.num_leaves < 500
    assert f"the tree has {tree.num_leaves} leaves, not 500" in caplog.text
    leaf = tree.table[tuple(statistics.triphones.T)]
    assert np.bincount(leaf, statistics.moments[:, 0]).min() >= 400


def test_silence_is_one_leaf_and_an_unseen_phone_has_one():
    statistics = planted(5)
    seen = statistics.triphones[:, 1] != PHONES.index("D")
    tree = grow(TriphoneStatistics(PHONES, statistics.triphones[seen], statistics.moments[seen]), 30, min_count=1.0)
    for centre in ("SIL", "D"):
        assert len({tree.leaf(a, centre, b) for a in PHONES for b in PHONES}) == 1


def test_the_order_of_the_data_does_not_matter():
    statistics = planted(6)
    order = np.random.default_rng(7).permutation(len(statistics.triphones))
    shuffled = TriphoneStatistics(PHONES, statistics.triphones[order], statistics.moments[order])
    assert grow(shuffled, 20) == grow(statistics, 20)


def test_derived_questions_hold_phones_that_sound_alike():
    means = {"AA": 0.0, "B": 5.0, "D": 5.3, "M": 9.0, "T": 5.9, "SIL": 20.0}
    triphones = np.array([[0, PHONES.index(phone), 0] for phone in means])
    moments = np.array([[100.0, 100 * m, 100 * (m**2 + 1)] for m in means.values()])
    questions = derive_questions(TriphoneStatistics(PHONES, triphones, moments))
    assert questions[:6] == tuple((phone,) for phone in PHONES)
    assert questions[6:] == (("B", "D"), ("B", "D", "T"), ("B", "D", "M", "T"), ("AA", "B", "D", "M", "T"))


def test_a_feature_that_never_varies_does_no_harm():
    statistics = planted(8)
    count = statistics.moments[:, :1]
    constant = np.concatenate([count, statistics.moments[:, 1:4], 7 * count, statistics.moments[:, 4:], 49 * count], 1)
    assert grow(TriphoneStatistics(PHONES, statistics.triphones, constant), 12) == grow(statistics, 12)


def test_growth_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="5 leaves for 6 phones"):
        grow(planted(), 5)
    with pytest.raises(ValueError, match="phone 'Q'"):
        grow(planted(), 8, questions=[("AA", "Q")])


def test_the_command_walks_a_tree(tmp_path, capsys):
    phones, questions = ("AE", "B", "SIL", "T"), (("B",), ("B", "T"))
    tree = Tree(phones, questions, (Branch("left", 0, 0, Branch("right", 1, 1, 2)), 3, 4, 5))
    tree.write(tmp_path / "tree.txt")
    assert main(["tree", "show", str(tmp_path), "t-ae+sil"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "left neighbour T in {B}? no", "right neighbour SIL in {B T}? no", "CDPhone 2",
    ]  # fmt: skip
    for left, right in itertools.product(phones, repeat=2):
        assert [*tree.walk(left, "AE", right)][-1] == f"CDPhone {tree.leaf(left, 'AE', right)}"
    Tree(("s", "t͡ʃ", "ɛ", "SIL"), (("t͡ʃ",),), (0, 1, Branch("left", 0, 2, 3), 4)).write(tmp_path / "ipa.txt")
    assert main(["tree", "show", str(tmp_path / "ipa.txt"), "t͡ʃ-ɛ+sil"]) == 0
    assert capsys.readouterr().out.splitlines() == ["left neighbour t͡ʃ in {t͡ʃ}? yes", "CDPhone 2"]
    assert main(["tree", "show", str(tmp_path / "tree.txt"), "b-ae"]) == 2
    assert main(["tree", "show", str(tmp_path), "x-ae+t"]) == 2
    assert "is not a triphone" in (errors := capsys.readouterr().err) and "X" in errors
