"""Rows: their content depends only on seed and number, and their labels fit their features."""

import dataclasses
import itertools
import resource

import numpy as np
import pytest

from mdasr.acoustic.loader import Batches, RowMaker, Share, measure_stats, step_labels
from mdasr.acoustic.row_schedule import BLOCK, MISSES, RowOptions, RowPlan, Source, pack_rows
from mdasr.corpus.records import (
    Alignment,
    Corpus,
    Utterance,
    encode_utterance,
    seal_corpus,
    shard_path,
    write_shard,
)
from mdasr.frontend import BANDS, PAPER_STEPS
from mdasr.perturb import Policy
from tests.tasks import rows_of
from tests.toy_speech import TREE, toy_corpus


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    seconds = [*np.random.default_rng(1).uniform(0.5, 2.5, 40).round(2).tolist(), 7.3]
    return [
        Source(toy_corpus(tmp_path_factory.mktemp("toy"), seconds, {5}), "exact", Policy(narrowband_probability=0.5))
    ]


@pytest.fixture(scope="module")
def maker(sources):
    return RowMaker(sources, TREE, "log_mel", measure_stats(sources, "log_mel", {}, 0), {}, RowOptions(100, 3), seed=4)


def test_an_epoch_shows_every_aligned_step_once(sources):
    plan = RowPlan(sources, RowOptions(100, 3), seed=1)
    lengths = sources[0].corpus.num_samples
    for epoch in range(2):
        rows = rows_of(plan, epoch)
        seen = {}
        for row in rows:
            slots = sorted((piece.slot, piece.slot + piece.steps + 3) for piece in row)
            assert slots[-1][1] <= 100
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(slots))
            for piece in row:
                seen.setdefault(piece.utterance, []).append((piece.first, piece.steps))
        assert set(seen) == set(range(41)) - {5}  # 5 is not aligned
        for utterance, parts in seen.items():
            covered = sorted(step for first, steps in parts for step in range(first, first + steps))
            assert covered == list(range(PAPER_STEPS.steps_in(int(lengths[utterance]))))
    filled = sum(piece.steps for row in rows for piece in row) / (100 * len(rows))
    assert filled > 0.7  # with utterances of up to 0.9 rows


def test_epochs_differ_and_any_row_can_be_asked_for_first(sources):
    forwards, jumped = (RowPlan(sources, RowOptions(100, 3), seed=1) for _ in range(2))
    every = [forwards.locate(row) for row in range(2 * forwards.rows_in_epoch())]
    assert every[0][1] != every[forwards.rows_in_epoch()][1]
    late = len(every) - 3
    assert jumped.locate(late) == every[late]
    assert jumped.locate(0) == every[0]


def first_fit(lengths: list[int], capacity: int, most: int) -> list[tuple[int, int]]:
    """Return the row and slot of every piece by a plain loop."""
    found, opened, rows = [], [], 0  # opened: [number, slots used, pieces held, misses]
    for length in lengths:
        fitting = [row for row in opened if row[1] + length <= capacity and row[2] < most]
        chosen = fitting[0] if fitting else [rows, 0, 0, 0]
        for row in opened[: opened.index(chosen)] if fitting else opened:
            row[3] += 1
        if not fitting:
            opened.append(chosen)
            rows += 1
        found.append((chosen[0], chosen[1]))
        chosen[1] += length
        chosen[2] += 1
        opened = [row for row in opened if row[3] < MISSES]
    return found


@pytest.mark.parametrize(("capacity", "most"), [(100, 100), (100, 3), (40, 1), (300, 7)])
def test_packing_is_first_fit_within_blocks(capacity, most):
    lengths = np.random.default_rng(capacity).integers(1, 41, 2 * BLOCK + 700)
    wanted, rows = [], 0
    for start in range(0, len(lengths), BLOCK):
        block = first_fit(lengths[start : start + BLOCK].tolist(), capacity, most)
        wanted += [(rows + row, slot) for row, slot in block]
        rows += 1 + max(row for row, _ in block)
    placed = pack_rows(lengths, capacity, most)
    assert [*zip(placed.row.tolist(), placed.slot.tolist())] == wanted
    assert placed.rows == rows


def test_labels_follow_the_sound(maker):
    """Where the label says silence, the level is low; where it says a tone, the low bands are louder than the high."""
    stats, (silence, aa, s) = maker.stats, TREE.leaves(("SIL", "AA", "S"))
    frames, labels = maker.features_of(0, 40, visit=0), maker.labels(0, 40)
    level = frames[PAPER_STEPS.label_frame :: PAPER_STEPS.stride][: len(labels)] * stats.std + stats.mean
    assert (level[labels == silence].max(axis=1) < -13).mean() > 0.95
    tone, hiss = level[labels == aa], level[labels == s]
    assert (tone[:, :30].max(1) > tone[:, 60:].max(1) + 5).mean() > 0.95
    assert (hiss[:, 30:60].mean(1) > tone[:, 30:60].mean(1).max()).mean() > 0.95


def test_step_labels_hand_worked():
    # Label frames of steps 0.. are centred on samples 416, 896, 1376, 1856, 2336: 26, 56, 86, 116, 146 ms.
    alignment = Alignment("u", ("SIL", "AA", "S"), (0.056, 0.0861, 0.12))
    said = TREE.leaves(("SIL", "AA", "AA", "S", "SIL"))  # after the last phone: silence
    assert step_labels(alignment, TREE, 5, PAPER_STEPS).tolist() == said.tolist()


def test_rows_hold_delayed_labels_and_where_utterances_stand(maker):
    row = maker.map(3)
    _, pieces = maker._plan.locate(3)
    assert row["frames"].shape == (PAPER_STEPS.num_frames(100), BANDS)
    assert row["weights"].sum() == sum(piece.steps for piece in pieces)
    assert "forget" not in row
    nobody = np.ones(len(row["frames"]), bool)
    for number, piece in enumerate(pieces, start=1):
        x, y = maker.features_of(piece.source, piece.utterance, 0), maker.labels(piece.source, piece.utterance)
        count, part = PAPER_STEPS.num_frames(piece.steps), slice(piece.first, piece.first + piece.steps)
        place = slice(3 * piece.slot, 3 * piece.slot + count)
        np.testing.assert_array_equal(row["frames"][place], x[3 * piece.first : 3 * piece.first + count])
        np.testing.assert_array_equal(np.flatnonzero(row["segments"] == number), np.arange(place.start, place.stop))
        np.testing.assert_array_equal(row["labels"][piece.slot + 3 : piece.slot + 3 + piece.steps], y[part])
        assert not row["weights"][piece.slot : piece.slot + 3].any()
        nobody[place] = False
    assert nobody.any() and not row["frames"][nobody].any() and not row["segments"][nobody].any()


def test_moments_of_forgetting_excuse_what_was_still_to_be_answered(maker):
    forgetful = dataclasses.replace(maker, options=RowOptions(100, 3, forget_steps=20))
    moments = []
    for row in range(20):
        plain, found = maker.map(row), forgetful.map(row)
        for name in ("frames", "segments", "labels"):
            np.testing.assert_array_equal(found[name], plain[name])
        assert found["forget"].dtype == bool
        forgotten = np.flatnonzero(found["forget"])
        for step in forgotten:
            assert not found["weights"][step : step + 3].any()
        assert (found["weights"] <= plain["weights"]).all()
        excused = np.flatnonzero(found["weights"] < plain["weights"])
        assert all(((step - 2 <= forgotten) & (forgotten <= step)).any() for step in excused)
        moments += [*forgotten]
        np.testing.assert_array_equal(forgetful.map(row)["forget"], found["forget"])
    assert 60 < len(moments) < 140  # of 2,000 steps, a twentieth
    with pytest.raises(ValueError, match="forget_steps"):
        RowOptions(100, 3, -1)


def test_batches_do_not_depend_on_workers_hosts_or_where_they_start(maker):
    alone = Batches(maker, Share(8, 0, 8), 0, 4, workers=0)
    wanted = list(alone)
    assert len(wanted) == 4
    halves = [Batches(maker, Share(8, first, 4), 2, 4, workers) for first, workers in ((0, 1), (4, 2))]
    for step in (2, 3):
        parts = [next(half) for half in halves]
        for name, array in wanted[step].items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)
    for half in halves:
        half.close()


@pytest.mark.slow
def test_many_rows_ahead_do_not_run_out_of_files(maker):
    """Each array of a waiting row is an open file, and 96 rows of four were too many for a limit of 128."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        batches = Batches(maker, Share(96, 0, 96), 0, 2, workers=2)
        assert [next(batches)["frames"].shape[0] for _ in range(2)] == [96, 96]
        batches.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_visit_is_distorted_anew_and_a_seed_changes_it(sources, maker):
    first, again, later = (maker.features_of(0, 40, visit) for visit in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    narrow = [maker.features_of(0, 40, visit)[600:, 116:].mean() for visit in range(12)]
    assert max(narrow) - min(narrow) > 0.5, "some of twelve visits are narrow band and some are not"
    assert first.shape == later.shape


def test_nothing_to_train_on_is_an_error(sources):
    empty = Source(sources[0].corpus, "exact", Policy(), indices=(5,))
    with pytest.raises(ValueError, match="nothing to train on"):
        RowPlan([empty], RowOptions(100), 0)
    with pytest.raises(ValueError, match="output delay"):
        RowOptions(3, 3)


def test_missing_or_damaged_corpora_are_named(tmp_path, sources):
    with pytest.raises(FileNotFoundError, match=r"is not a corpus: it has no corpus\.json"):
        Corpus(tmp_path)
    with pytest.raises(FileNotFoundError, match="no alignment named 'other'"):
        sources[0].corpus.alignments("other")
    corpus = toy_corpus(tmp_path / "a", [1.0])
    (tmp_path / "a" / corpus.info["shards"][0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"shard audio-00000.* is missing"):
        Corpus(tmp_path / "a")
    twice = Utterance("same", "c", "d", "s", "a", np.zeros(10, np.int16))
    write_shard(shard_path(tmp_path / "b", "audio", 0, 1), [encode_utterance(twice)] * 2)
    with pytest.raises(ValueError, match="id 'same' occurs twice"):
        seal_corpus(tmp_path / "b", "c", "d")
