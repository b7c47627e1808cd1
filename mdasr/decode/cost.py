"""What a decoding graph will cost, reckoned before the work begins, and the memory that there is for it."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# CPU seconds of each step for a million n-grams and for a million pronunciations, in the order of the steps.
STEPS_S = {
    "G": (7.0, 0.0),
    "L∘G": (4.0, 60.0),
    "LG determinised": (6.0, 20.0),
    "LG": (17.0, 100.0),
    "CLG": (11.0, 120.0),
    "relabelled": (5.0, 50.0),
    "tied determinised": (9.0, 150.0),
    "tied": (22.0, 350.0),
    "HCLG": (20.0, 200.0),
}
# Peak memory: of the process itself, of a million n-grams, of a million pronunciations.
PEAK_GB = (0.1, 0.85, 9.0)
LONG_S = 60.0


@dataclass(frozen=True)
class Cost:
    """What `ngrams` over `pronunciations` cost: CPU seconds of each step, and memory at its peak in GB (10^9 bytes)."""

    ngrams: int
    pronunciations: int
    seconds: Mapping[str, float]
    gb: float

    def __str__(self) -> str:
        return (
            f"a graph of {self.ngrams:,} n-grams and {self.pronunciations:,} pronunciations takes about "
            f"{_time(sum(self.seconds.values()))} and {self.gb:.1f} GB"
        )

    def require(self, at_hand_gb: float) -> None:
        """Say what is to come if it is long; raises ValueError with a way out if it is more than `at_hand_gb`."""
        if self.gb > at_hand_gb:
            own, per_ngram, per_pronunciation = PEAK_GB
            fitting = ((at_hand_gb - own) * 1e6 - per_pronunciation * self.pronunciations) / per_ngram
            raise ValueError(
                f"{self}, but {at_hand_gb:.1f} GB are at hand. Prune the language model to {max(0, int(fitting)):,} "
                "n-grams (mdasr.language.combine.prune, with a higher threshold), leave out rare words, or use a "
                "machine with more memory"
            )
        if sum(self.seconds.values()) > LONG_S:
            print(self, file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def estimate(ngrams: int, pronunciations: int) -> Cost:
    """CPU seconds and memory of a graph of so many n-grams (of all orders) and pronunciations."""
    seconds = {step: (a * ngrams + b * pronunciations) / 1e6 for step, (a, b) in STEPS_S.items()}
    own, per_ngram, per_pronunciation = PEAK_GB
    return Cost(ngrams, pronunciations, seconds, own + (per_ngram * ngrams + per_pronunciation * pronunciations) / 1e6)


def memory_at_hand_gb(root: Path = Path("/")) -> float:
    """Memory that this process may take, in GB: what the system has left, or a lower limit of its own or its group's.

    `root` is where the system's /proc and /sys lie; where there are none, the size of the memory counts.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_available(root), *_group_limits(root)]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    return min(found) / 1e9


def _available(root: Path) -> Iterator[int]:
    path = root / "proc/meminfo"
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _group_limits(root: Path) -> Iterator[int]:
    """The memory limits of this process' control group and of those that it lies in, of either version."""
    path = root / "proc/self/cgroup"
    for line in path.read_text().splitlines() if path.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        top = root / "sys/fs/cgroup" / mount
        inner = top / group.lstrip("/")
        for directory in (inner, *inner.parents):
            if directory.is_relative_to(top) and (limit := directory / name).exists():
                text = limit.read_text().strip()
                if text != "max":
                    yield int(text)
