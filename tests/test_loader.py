"""Rows: their content depends only on seed and number, and their labels fit their features."""

import dataclasses
import itertools
import resource

import numpy as np
import pytest

from mdasr.acoustic import loader
from mdasr.acoustic.loader import Batches, PartMaker, RowMaker, Share, measure_stats, step_labels
from mdasr.acoustic.row_schedule import (
    BLOCK,
    MISSES,
    SHORTEST,
    RowOptions,
    RowPlan,
    Source,
    cut,
    lane_numbers,
    pack_rows,
    place_pieces,
)
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


def libri_like(count: int) -> np.ndarray:
    """Steps of utterances that are as long as LibriSpeech's: a third of 2 to 12 s, the others near 15 s."""
    rng = np.random.default_rng(3)
    seconds = np.where(rng.random(count) < 0.3, rng.uniform(2, 12, count), rng.triangular(12, 15.3, 16.8, count))
    return PAPER_STEPS.steps_in((16_000 * seconds).astype(int))


@pytest.mark.parametrize("steps", [100, 200, 400])
def test_long_utterances_fill_their_rows(steps):
    options, total = RowOptions(steps, 3), libri_like(3000)
    pieces = cut(total, steps - 3, np.random.default_rng(0))
    placed = place_pieces(pieces.steps, options)
    assert total.sum() / (placed.rows * steps) >= 0.9
    # Rows hold their pieces without overlap, and the pieces of an utterance stand near each other.
    ends = np.zeros(placed.rows, int)
    for i in np.lexsort((placed.slot, placed.row)):
        assert placed.slot[i] >= ends[placed.row[i]]
        ends[placed.row[i]] = placed.slot[i] + pieces.steps[i] + 3
    assert ends.max() <= steps and ends.min() > 0
    apart = [np.ptp(placed.row[pieces.of == u]) for u in range(0, 3000, 10)]
    assert max(apart) < 60


@pytest.mark.parametrize("longest", [1, 2, 40, 97, 397])
def test_cuts_cover_an_utterance_in_as_few_pieces_as_possible(longest):
    total = np.arange(1, 700)
    pieces = cut(total, longest, np.random.default_rng(1))
    for utterance, steps in enumerate(total):
        mine = pieces.of == utterance
        first, lengths = pieces.first[mine], pieces.steps[mine]
        assert len(lengths) == -(-steps // longest)
        assert first.tolist() == [0, *np.cumsum(lengths)[:-1]] and lengths.sum() == steps
        assert lengths.max() <= longest
        assert len(lengths) == 1 or lengths.min() >= min(SHORTEST, longest // 3)
        assert (lengths < longest).sum() <= 2
    again = cut(total, longest, np.random.default_rng(2))
    assert longest in (1, 2) or (again.first != pieces.first).any(), "another epoch cuts elsewhere"


@pytest.mark.parametrize(("rows", "lanes", "stretch"), [(50, 8, 3), (64, 8, 100), (5, 8, 1), (30, 1, 4)])
def test_every_lane_shows_adjoining_rows(rows, lanes, stretch):
    numbers = lane_numbers(rows, lanes, stretch, np.random.default_rng(0))
    assert sorted(numbers) == list(range(rows))
    lane, time = numbers % lanes, numbers // lanes
    assert (np.diff(lane) >= 0).all()
    for each in range(lanes):
        assert (np.diff(time[lane == each] // stretch) >= 0).all(), "shuffled within stretches alone"


class CountingMaker(RowMaker):
    """A maker that notes each distortion."""

    def features_of(self, source, utterance, visit, since):
        self.__dict__.setdefault("made", []).append((source, utterance, visit, self.options.strength(since)))
        return super().features_of(source, utterance, visit, since)


LANES = 4


@pytest.fixture(scope="module")
def long_sources(tmp_path_factory):
    """36 utterances, most of which fill three to five rows of 60 steps (1.8 s)."""
    seconds = [*np.random.default_rng(2).uniform(5, 9, 30).round(2).tolist(), *[0.8] * 6]
    return [Source(toy_corpus(tmp_path_factory.mktemp("long"), seconds), "exact", Policy(narrowband_probability=0.5))]


def counting(sources, **options) -> CountingMaker:
    chosen = RowOptions(60, 3, lanes=LANES, **options)
    return CountingMaker(sources, TREE, "log_mel", measure_stats(sources, "log_mel", {}, 0), {}, chosen, seed=4)


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_a_visit_is_distorted_once_for_all_its_pieces(long_sources, parts):
    """Each part of a batch has a worker, with a maker of its own; few utterances come twice: those at a lane's end."""
    made, cuts = [], 0
    for part in range(parts):
        maker = counting(long_sources, curriculum_rows=200)
        rows = maker._plan.rows_in_epoch()
        worker = PartMaker(maker, Share(LANES, 0, LANES), parts)
        for step in range(rows // LANES):
            worker.map(step * parts + part)
        made += maker.made
        cuts += sum(len(maker._plan.locate(row)[1]) for row in range(rows)) if not part else 0
    assert cuts > 120, "pieces"
    assert len({visit[:3] for visit in made}) == 36
    assert len(made) < 36 + 2 * LANES
    assert len({*made}) == 36, "one strength of a curriculum for all pieces of a visit"


def test_a_batch_holds_one_piece_of_a_visit(long_sources):
    plan = RowPlan(long_sources, RowOptions(60, 3, lanes=LANES), 4)
    rows, twice = rows_of(plan, 1), 0
    assert len(rows) % LANES, "the second epoch begins within a batch"
    before, lanes = plan.rows_in_epoch(0), {}
    for number, row in enumerate(rows, start=before):
        for piece in row:
            lanes.setdefault(piece.utterance, set()).add(number % LANES)
            assert piece.since <= number <= piece.until
    for first in range(0, len(rows), LANES):
        batch = [piece.utterance for row in rows[first : first + LANES] for piece in row]
        twice += len(batch) - len({*batch})
    assert len(lanes) == 36 and sum(len(each) - 1 for each in lanes.values()) < 2 * LANES
    assert twice <= 2


def test_a_row_is_a_function_of_its_number(long_sources, monkeypatch):
    """Rows of a maker that keeps frames are those of one that has just begun there, and of one that may keep none."""
    steady = counting(long_sources)
    rows = [steady.map(row) for row in range(150)]  # into the second epoch
    assert steady._plan.rows_in_epoch() < 140
    for row in (0, 37, 90, 149, 61):
        for maker in (counting(long_sources), steady):
            for name, array in maker.map(row).items():
                np.testing.assert_array_equal(array, rows[row][name])
    monkeypatch.setattr(loader, "MOST_KEPT", 0)
    forgetful = counting(long_sources)
    for row in range(20):
        np.testing.assert_array_equal(forgetful.map(row)["frames"], rows[row]["frames"])
    assert len(forgetful.made) == sum(len(forgetful._plan.locate(row)[1]) for row in range(20))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_restart_between_the_pieces_of_an_utterance_changes_no_batch(long_sources, workers):
    maker = counting(long_sources)
    assert any(piece.since < 7 * LANES <= piece.until for piece in maker._plan.locate(7 * LANES)[1])
    wanted = list(Batches(maker, Share(LANES, 0, LANES), 0, 12, workers=0))
    again = Batches(counting(long_sources), Share(LANES, 0, LANES), 7, 12, workers)
    for expected, found in zip(wanted[7:], again, strict=True):
        assert expected.keys() == found.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    again.close()


@pytest.mark.slow
def test_more_workers_than_rows_make_the_same_batches(long_sources):
    maker = counting(long_sources)
    alone, many = (list(Batches(maker, Share(LANES, 1, 2), 3, 8, workers)) for workers in (0, 3))
    for wanted, found in zip(alone, many, strict=True):
        np.testing.assert_array_equal(found["frames"], wanted["frames"])


def test_makers_keep_no_more_frames_than_wait(long_sources):
    maker = counting(long_sources)
    rows = maker._plan.rows_in_epoch()
    for row in range(rows):
        maker.map(row)
        assert all(until >= row for until, _ in maker._kept.frames.values())
    maker.map(0)
    assert len(maker._kept.frames) <= len(maker._plan.locate(0)[1])
    with pytest.raises(ValueError, match="lanes is 0"):
        RowOptions(60, 3, lanes=0)


def test_labels_follow_the_sound(maker):
    """Where the label says silence, the level is low; where it says a tone, the low bands are louder than the high."""
    stats, (silence, aa, s) = maker.stats, TREE.leaves(("SIL", "AA", "S"))
    frames, labels = maker.features_of(0, 40, visit=0), maker.labels(0, 40, visit=0)
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
        x, y = maker.features_of(piece.source, piece.utterance, 0), maker.labels(piece.source, piece.utterance, 0)
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
    """Each array of a waiting part is an open file; when each row was a part, 96 rows were too many for this limit."""
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
