"""Jobs in processes of their own: their order, their bits, and how they end."""

import os
import platform
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mdasr.core.processes import Task, side_by_side
from tests.jobs import fail, note, product, wait_for_ever


def ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def without_nproc() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NPROC"}


def waited_for(path: Path) -> int:
    for _ in range(600):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.1)
    raise TimeoutError(path)


def test_a_job_runs_after_those_that_it_names_and_jobs_done_before_count_as_done(tmp_path):
    jobs = {
        "last": Task(partial(note, tmp_path, "last", ("first", "middle")), ["middle", "done long ago"]),
        "middle": Task(partial(note, tmp_path, "middle", ("first",)), ["first"]),
        "first": Task(partial(note, tmp_path, "first")),
    }
    side_by_side(jobs, 2, "jobs")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"first": "", "middle": "", "last": ""}


def test_a_jobs_bits_depend_neither_on_the_processes_nor_on_the_cores(tmp_path):
    for processes in (1, 2):
        names = [f"{processes}-{i}" for i in range(2)]
        side_by_side({name: Task(partial(product, tmp_path / name)) for name in names}, processes, "jobs")
    one_core = (
        "import os; os.sched_setaffinity(0, {0}); from pathlib import Path; from tests.jobs import product\n"
        f"product(Path({str(tmp_path / 'one')!r}))"
    )
    subprocess.run([sys.executable, "-c", one_core], check=True, env=without_nproc())
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 1


def test_the_first_failure_ends_the_other_jobs(tmp_path):
    jobs = {
        "waits": Task(partial(wait_for_ever, tmp_path / "pid")),
        "fails": Task(partial(fail, "no such codec")),
        "never": Task(partial(note, tmp_path, "never"), ["waits"]),
    }
    with pytest.raises(ValueError, match="no such codec"):
        side_by_side(jobs, 2, "jobs")
    assert not (tmp_path / "never").exists()
    if (tmp_path / "pid").exists():
        assert ended(int((tmp_path / "pid").read_text()))


def started(folder: Path, jobs: str) -> subprocess.Popen:
    """Start a process that runs `jobs`, the text of a dictionary, two at a time."""
    script = folder / "script.py"
    script.write_text(
        "import signal; from functools import partial; from pathlib import Path\n"
        "from mdasr.core.processes import Task, side_by_side\n"
        "from tests.jobs import save_and_end, wait_for_ever\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it\n"
        f"if __name__ == '__main__':\n    side_by_side({jobs}, 2, 'jobs')\n"
    )
    root = Path(__file__).parents[1]
    env = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, script], cwd=root, env=env, stderr=subprocess.PIPE, text=True)


def test_at_sigterm_what_runs_is_saved_and_what_waits_is_not_begun(tmp_path):
    parent = started(tmp_path, f"{{i: Task(partial(save_and_end, Path({str(tmp_path)!r}), str(i))) for i in range(6)}}")
    for i in range(2):
        waited_for(tmp_path / f"{i}-began")
    parent.send_signal(signal.SIGTERM)
    parent.communicate(timeout=60)
    assert sorted(path.name for path in tmp_path.glob("*-*")) == ["0-began", "0-saved", "1-began", "1-saved"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_jobs_end_with_the_process_that_started_them(tmp_path, number):
    parent = started(tmp_path, f"{{'a': Task(partial(wait_for_ever, Path({str(tmp_path / 'pid')!r})))}}")
    pid = waited_for(tmp_path / "pid")
    parent.send_signal(number)
    _, said = parent.communicate(timeout=60)
    assert ended(pid)
    if number == signal.SIGTERM:
        assert "InterruptedError: ended by SIGTERM" in said


TAKES_MEMORY_TWICE = """
import resource
from concurrent.futures import ThreadPoolExecutor
from mdasr.core.processes import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (80 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{}
with ThreadPoolExecutor(1) as thread:
    print([thread.submit(faults).result() for _ in range(2)][1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can keep freed memory")
@pytest.mark.parametrize("call", ["", "keep_freed_memory()"])
def test_kept_memory_is_not_cleared_again(call):
    """80 MiB have 20,480 pages of 4 KiB, or 40 of 2 MiB. No thread's own heap can hold them."""
    run = subprocess.run([sys.executable, "-c", TAKES_MEMORY_TWICE.format(call)], capture_output=True, check=True)
    assert (int(run.stdout) < 10) == bool(call)
