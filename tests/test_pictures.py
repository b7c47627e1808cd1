"""Pictures: that their lines, bars and words are the numbers they were given; `drawn` reads every file back."""

from io import BytesIO

import numpy as np
import pytest

from experiments.charts import Adaptation, Course, Point, draw_errors, draw_starts, draw_training
from mdasr.acoustic.training_log import Curve
from mdasr.analysis.pictures import (
    draw_adaptation,
    draw_alignment,
    draw_domains,
    draw_perturbations,
    draw_response,
    draw_rooms,
    draw_trials,
)
from mdasr.corpus.records import Alignment, Utterance
from mdasr.decode.search import SearchOptions
from mdasr.frontend import log_mel
from mdasr.perturb import draw_room
from mdasr.recognize.tune import Trial

ROOMS = [draw_room(i, 0, ["a", "b"]) for i in range(30)]
WAVE = np.random.default_rng(0).normal(0, 3000, 16_000).astype(np.int16)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend(holder) -> list[str]:
    (found,) = holder.legends if hasattr(holder, "legends") else [holder.get_legend()]
    return texts(found)


def points(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data())]


def test_an_alignment_has_its_phones_where_they_are_heard(tmp_path, drawn):
    spoken = Alignment("u", ("SIL", "AA", "SIL"), (0.2, 0.7, 1.0))
    draw_alignment(tmp_path / "a.png", Utterance("u", "c", "Toy", "s", "ah", WAVE), {"one": spoken, "two": spoken})
    features, *rows = drawn["a.png"].axes
    assert features.get_title("left") == "Toy: “ah”" and features.get_xlim() == (0, 1)
    (shown,) = features.collections
    np.testing.assert_allclose(shown.get_array(), 10 / np.log(10) * log_mel(WAVE.astype(np.float32) / 32768).T)
    for axes, name in zip(rows, ("one", "two"), strict=True):
        assert axes.get_ylabel() == name and texts(axes) == ["SIL", "AA", "SIL"]
        assert [text.get_position()[0] for text in axes.texts] == pytest.approx([0.1, 0.45, 0.85])
        assert [line.get_xdata()[0] for line in axes.lines] == [0.2, 0.7, 1.0]


def test_perturbations_stand_in_a_grid_with_their_titles(tmp_path, drawn):
    waves = [(name, WAVE.astype(np.float32) / 32768 / (1 + i)) for i, name in enumerate("abcd")]
    draw_perturbations(tmp_path / "p.png", waves)
    panels = drawn["p.png"].axes
    assert [axes.get_title("left") for axes in panels] == [*"abcd", "", ""]
    assert [len(axes.collections) for axes in panels] == [1, 1, 1, 1, 0, 0] and not panels[5].axison
    loudest = [axes.collections[0].get_array().max() for axes in panels[:4]]
    np.testing.assert_allclose(np.subtract(loudest[0], loudest), 20 * np.log10([1, 2, 3, 4]), atol=0.1)


def test_histograms_count_every_room(tmp_path, drawn):
    draw_rooms(tmp_path / "r.png", ROOMS)
    *histograms, sources = drawn["r.png"].axes
    assert [sum(bar.get_height() for bar in axes.patches) for axes in (*histograms, sources)] == [30] * 4
    assert histograms[0].get_xlabel() == f"RT60 (s): mean {np.mean([room.rt60_s for room in ROOMS]):.2f}"
    assert [bar.get_height() for bar in sources.patches] == [*np.bincount([len(room.sources) for room in ROOMS])]


def test_a_response_decays_along_the_line_of_its_reverberation_time(tmp_path, drawn):
    room = max(ROOMS, key=lambda room: room.rt60_s)
    draw_response(tmp_path / "r.png", room)
    wave, decay = drawn["r.png"].axes
    assert np.abs(wave.lines[0].get_ydata()).max() == 1
    energy, line = decay.lines
    assert legend(decay) == ["energy still to come", f"RT60 {room.rt60_s:.2f} s"]
    assert energy.get_ydata()[0] == pytest.approx(0, abs=1e-9) and (np.diff(energy.get_ydata()) <= 0).all()
    (x, *_, last), (y, *_, low) = line.get_data()
    assert (y - low) / (last - x) == pytest.approx(60 / (1000 * room.rt60_s))
    late = np.searchsorted(energy.get_xdata(), 500 * room.rt60_s)
    assert energy.get_ydata()[late] == pytest.approx(line.get_ydata()[late], abs=5)


def test_an_adaptation_has_a_line_a_start_and_needs_no_interval(tmp_path, drawn):
    wers = {("before", 0): 40.0, ("adapted", 30): 25.0, ("adapted", 60): 20.0, ("from scratch", 60): 30.0}
    told = [
        {"start": start, "share": s / 60, "seconds": s, "wer": {"toy": {"wer": wer, "ci95": None}}}
        for (start, s), wer in wers.items()
    ]
    draw_adaptation(tmp_path / "c.png", {"points": told})
    (axes,) = drawn["c.png"].axes
    adapted, scratch, before = axes.lines[:3]
    assert points(adapted) == [(0.5, 25.0), (1.0, 20.0)] and points(scratch) == [(1.0, 30.0)]
    assert before.get_ydata()[0] == 40 and axes.get_xscale() == "log"
    assert legend(axes) == ["toy", "adapted", "from scratch", "before adaptation"]


def test_trials_are_marked_with_their_beams(tmp_path, drawn):
    tried = [Trial(SearchOptions(beam=beam), wer, beam / 100) for beam, wer in ((4.0, 30.0), (8.0, 21.0), (12.0, 20.0))]
    draw_trials(tmp_path / "t.png", tried, tried[1], 1.5)
    (axes,) = drawn["t.png"].axes
    assert points(axes.lines[0]) == [(0.04, 30.0), (0.08, 21.0), (0.12, 20.0)]
    assert points(axes.lines[1]) == [(0.08, 21.0)] and texts(axes) == ["4", "8", "12"]
    assert legend(axes) == ["widest + 1.5 points", "beam 8, chosen"]


@pytest.mark.parametrize("sizes", [(5, 6), (5, 1, 2)], ids=["two domains", "a single point"])
def test_every_utterance_is_a_point_around_its_domains_cross(sizes, tmp_path, drawn):
    rng = np.random.default_rng(0)
    draw_domains(tmp_path / "d.png", {name: rng.normal(size=(size, 3)) for name, size in zip("abc", sizes)})
    (axes,) = drawn["d.png"].axes
    assert [len(cloud.get_offsets()) for cloud in axes.collections] == [*sizes]
    assert legend(axes) == [*"abc"[: len(sizes)]]
    for cloud, cross in zip(axes.collections, axes.lines[1::2], strict=True):
        np.testing.assert_allclose(cross.get_xydata()[0], cloud.get_offsets().mean(axis=0), atol=1e-9)


def test_bars_are_the_cells_of_a_table_and_diamonds_the_papers(drawn):
    cells = [
        {"row": row, "column": column, "wer": wer, "ci95": ci95, "paper": paper}
        for row, column, wer, ci95, paper in (
            ("V", "w/o", 10.0, [8.0, 12.0], 9.0),
            ("V", "w/", 11.0, None, None),
            ("V + Noise", "w/", 20.0, [15.0, 25.0], 18.0),
        )
    ]
    draw_errors(BytesIO(), cells)
    figure = drawn["svg"]
    (axes,) = figure.axes
    assert sorted((bar.get_width(), round(bar.get_y() + bar.get_height() / 2)) for bar in axes.patches) == [
        (10.0, 0), (11.0, 0), (20.0, 1),
    ]  # fmt: skip
    assert [label.get_text() for label in axes.get_yticklabels()] == ["V", "V + Noise"]
    assert [x for line in axes.lines for x in line.get_xdata()] == [9.0, 18.0]
    assert [segment[:, 0].tolist() for c in axes.collections for segment in c.get_segments()] == [
        [8.0, 12.0], [11.0, 11.0], [15.0, 25.0],
    ]  # fmt: skip
    assert legend(figure) == ["w/o", "w/", "the paper's"]


def test_curves_over_amounts_begin_before_any(drawn):
    curve = [Point(0.0, 40.0, (38.0, 42.0)), Point(30.0, 20.0, (18.0, 22.0))]
    draw_starts(BytesIO(), {"Telephony": Adaptation("s", {"VSD": curve}, Point(30.0, 35.0, (33.0, 37.0)))})
    (axes,) = drawn["svg"].axes
    assert points(axes.lines[0]) == [(10.0, 40.0), (30.0, 20.0)]  # 0 has its place at a third of the least
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "30"]
    assert legend(axes) == ["from VSD", "from scratch, 30 s"] and axes.lines[1].get_ydata()[0] == 35


def test_courses_of_training_show_which_step_was_kept(drawn):
    steps = np.arange(20, 101, 20)
    loss, right = Curve(steps, 1 / steps), Curve(steps, steps / 100)
    draw_training(BytesIO(), {"one": [Course(loss, right, 60), Course(loss, right, 100)]})
    left, empty, shares = drawn["svg"].axes
    assert left.get_title("left") == "one" and not empty.axison
    assert [line.get_xdata()[0] for line in left.lines] == [20, 60, 20], "what was kept at the end has no mark"
    np.testing.assert_array_equal(left.lines[0].get_ydata(), loss.values)
    np.testing.assert_array_equal(shares.lines[0].get_ydata(), right.values)
