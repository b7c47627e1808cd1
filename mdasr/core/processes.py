"""Jobs side by side, each in a process of its own whose XLA has one thread.

On CPUs, small networks train faster this way than one after the other. A sum that threads share depends on their
number. With one thread, the bits of a job depend neither on the machine's cores nor on the other jobs.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import RLock
from types import FrameType
from typing import NamedTuple, TypeVar

from mdasr.core.progress import share_terminal, track

Name = TypeVar("Name", bound=Hashable)


class Task(NamedTuple):
    """A job for another process: `run` is pickled, and starts when the jobs named in `after` have ended."""

    run: Callable[[], object]
    after: Sequence[Hashable] = ()


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Keep freed memory for what this process allocates next, instead of returning it to the system.

    Each training step on a CPU allocates tens of megabytes. Linux clears every page that it lends again, which takes a
    fifth of a step. Call this before jax starts its threads: each would otherwise get a small heap of its own. It does
    nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        arena_max, mmap_max, trim_threshold = -8, -4, -1  # M_ARENA_MAX and so on, from malloc.h
        mallopt(arena_max, 1)
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def side_by_side(jobs: Mapping[Name, Task], processes: int, desc: str) -> None:
    """Run jobs in a number of processes. They start in their order, unless one waits for another.

    The first exception ends the other jobs; SIGTERM (as InterruptedError) and Ctrl-C do the same. The jobs get a
    SIGTERM, at which a training saves its state before it ends.
    """
    context = multiprocessing.get_context("spawn")
    lines: SimpleQueue[int] = context.SimpleQueue()
    for line in range(processes):
        lines.put(line + 1)
    lock = context.RLock()
    share_terminal(lock)
    pool = ProcessPoolExecutor(processes, context, partial(_settle, lines, lock))
    with _sigterm_raises(), track(total=len(jobs), desc=desc, unit="job", disable=not jobs) as progress, pool:
        try:
            for _ in _done(jobs, pool, processes):
                progress.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _done(jobs: Mapping[Name, Task], pool: ProcessPoolExecutor, processes: int) -> Iterator[Name]:
    """Submit each job when the jobs that it waits for have ended. Yield the names of jobs as they end.

    No job waits in the pool's queue, since the pool would still start it after a SIGTERM.
    """
    waiting, running = dict(jobs), dict[Future, Name]()
    while waiting or running:
        unfinished = {*waiting, *running.values()}
        ready = [name for name, job in waiting.items() if unfinished.isdisjoint(job.after)]
        for name in ready[: processes - len(running)]:
            running[pool.submit(waiting.pop(name).run)] = name
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            future.result()
            yield running.pop(future)


def _settle(lines: SimpleQueue[int], lock: RLock) -> None:
    """Give this worker process one XLA thread and a line of the terminal."""
    keep_freed_memory()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the parent ends this one gently
    os.environ["NPROC"] = "1"  # XLA reads this as the number of cores when it is first used
    share_terminal(lock, lines.get())


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an InterruptedError, in the main thread (only there signals can be handled)."""

    def ended(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedError("ended by SIGTERM; trainings are saved, and the same command goes on from there")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def die_with_parent() -> None:
    """End this worker process if its parent is killed. Otherwise it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
