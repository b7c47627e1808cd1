"""Progress of long work: a bar on a terminal; in a file or a pipe, a line at every tenth."""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partialmethod
from multiprocessing.synchronize import RLock
from typing import Any, Generic, TypeAlias, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


class Lines(Generic[Item]):
    """Progress as lines of text: the attributes and methods of a tqdm bar that this package uses."""

    def __init__(
        self, iterable: Iterable[Item], desc: str, total: int | float, unit: str, initial: int, delay: int
    ) -> None:
        self.iterable, self.desc, self.total, self.unit = iterable, desc, total, unit
        self.n: int | float = initial
        self.initial: int | float = initial
        self.delay, self.postfix, self._began = delay, "", time.monotonic()

    def __iter__(self) -> Iterator[Item]:
        for item in self.iterable:
            yield item
            self.update()

    def __enter__(self) -> Lines[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the last line is written by the last update."""

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        """Set the text at the end of the lines to come."""
        self.postfix = text

    def update(self, n: int | float = 1) -> None:
        """Count `n` more as done; write a line if this completes another tenth and `delay` seconds have passed."""
        before, self.n = self._tenths(), self.n + n
        elapsed = time.monotonic() - self._began
        if self._tenths() > before and elapsed >= self.delay:
            left = elapsed / (self.n - self.initial) * (self.total - self.n)
            facts = [f"{self.n / self.total:.0%}"]
            facts += [f"{self.unit.strip()} {self.n:,} of {self.total:,}"] if self.unit else []
            facts += [f"{tqdm.format_interval(elapsed)} gone", f"{tqdm.format_interval(left)} left"]
            facts += [self.postfix] if self.postfix else []
            sys.stderr.write(f"{self.desc}: {', '.join(facts)}\n")  # whole, whoever else writes there
            sys.stderr.flush()

    def _tenths(self) -> int:
        return int(10 * self.n / self.total + 1e-9) if self.total else 0


Bar: TypeAlias = tqdm | Lines  # what `track` returns


def track(
    iterable: Iterable[Item] = (),
    desc: str = "",
    total: int | float | None = None,
    *,
    unit: str = "",
    initial: int = 0,
    delay: int = 0,
    disable: bool = False,
    **bar: Any,
) -> Bar:
    """Show on standard error how far `iterable` is, or work that calls `update`, of which there is `total`.

    Nothing is shown in the first `delay` seconds. `unit` is one piece of the work; without it a line has no counts.
    `bar` holds further arguments of tqdm.
    """
    total = operator.length_hint(iterable) if total is None else total
    if disable or sys.stderr.isatty():
        bar |= {"desc": desc, "total": total, "unit": unit, "initial": initial, "delay": delay}
        return tqdm(iterable, disable=disable, **bar)
    return Lines(iterable, desc, total, unit, initial, delay)


def share_terminal(lock: RLock, line: int | None = None) -> None:
    """Let several processes draw bars on one terminal; those of a worker stand in line `line` and vanish at the end."""
    tqdm.set_lock(lock)
    if line is not None:
        tqdm.__init__ = partialmethod(tqdm.__init__, position=line, leave=False)
