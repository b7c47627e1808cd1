"""Progress: a bar for people, lines for files; and processes that share them."""

import io
import subprocess
import sys
from functools import partial

from tqdm import tqdm

from mdasr.core.processes import Task, side_by_side
from mdasr.core.progress import track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_at_every_tenth(capsys):
    assert [*track(range(1000), "aligning", unit="utt")] == [*range(1000)]
    written = capsys.readouterr().err
    lines = written.splitlines()
    assert "\r" not in written
    assert len(lines) == 10
    assert lines[2].startswith("aligning: 30%, utt 300 of 1,000, 00:00 gone, 00:00 left")


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = track(range(1000), "aligning", unit="utt")
    assert isinstance(bar, tqdm) and len([*bar]) == 1000
    assert "\r" in terminal.getvalue() and "1000/1000" in terminal.getvalue() and "utt/s" in terminal.getvalue()


def test_the_time_left_is_that_of_what_this_run_has_done(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("mdasr.core.progress.time.monotonic", lambda: now[0])
    with track(total=100, desc="model", unit="step", initial=50) as bar:
        now[0] += 60
        bar.set_postfix_str("loss 1.5")
        bar.update(25)  # two tenths at once, one line
    assert capsys.readouterr().err == "model: 75%, step 75 of 100, 01:00 gone, 01:00 left, loss 1.5\n"


def test_short_work_and_work_of_unknown_length_write_nothing(capsys):
    assert [*track(range(10), delay=60)] == [*range(10)]
    assert [*track(letter for letter in "abc")] == [*"abc"]
    assert [*track(range(10), disable=True)] == [*range(10)]
    assert capsys.readouterr().err == ""


def work(name: str) -> None:
    for _ in track(range(20), name, unit="step"):
        pass


def test_lines_of_jobs_side_by_side_are_whole_and_named():
    code = "from tests.test_progress import jobs; jobs()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = ended.stderr.splitlines()
    for name, count in (("one", 10), ("two", 10), ("jobs", 2)):
        assert sum(line.startswith(f"{name}: ") and line.endswith("left") for line in lines) == count
    assert len(lines) == 22 and "\r" not in ended.stderr


def jobs() -> None:
    side_by_side({name: Task(partial(work, name)) for name in ("one", "two")}, 2, "jobs")
