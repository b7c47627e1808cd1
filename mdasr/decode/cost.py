"""The cost of a decoding graph, estimated before the work begins, and the memory that is available for it."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdasr.language.lexicon import Lexicon

# LG has a copy of a word's phones for every history that ends in it, and an arc for every n-gram and pronunciation.
# These are CPU seconds, and GB at the peak, for a million such phones and for a million such arcs. The times fit the
# trigrams of `benchmarks/decode.py` (5,000 words and 1.0 M n-grams, 50,000 and 1.5 M) on a busy x86-64 of 2026. They
# were right within 20% for 600 words with bigrams, 5-grams, words twice as long, and two pronunciations each. Memory
# was measured only with trigrams of 5,000 to 50,000 words, where it is up to 15% less than estimated here.
SECONDS = (50.0, 50.0)
PEAK_GB = (0.6, 0.25)
OWN_GB = 0.1  # Python and its libraries
# Each step's share of the time, in their order.
SHARES = {
    "G": 0.06,
    "L∘G": 0.04,
    "LG determinised": 0.06,
    "LG": 0.17,
    "CLG": 0.11,
    "relabelled": 0.05,
    "tied determinised": 0.09,
    "tied": 0.23,
    "HCLG": 0.19,
}
LONG_S = 60.0


@dataclass(frozen=True)
class Cost:
    """The cost of a graph: CPU seconds of each step, and memory at its peak in GB (10^9 bytes)."""

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
        """Print the cost if the work is long; raises ValueError, with advice, where it needs more than `at_hand_gb`."""
        if self.gb > at_hand_gb:
            fitting = int(self.ngrams * max(0.0, at_hand_gb - OWN_GB) / (self.gb - OWN_GB))
            raise ValueError(
                f"{self}, but only {at_hand_gb:.1f} GB are available. Prune the language model to {fitting:,} n-grams "
                "(mdasr.language.combine.prune, with a higher threshold), or use a machine with more memory"
            )
        if sum(self.seconds.values()) > LONG_S:
            print(self, file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def estimate(counts: Sequence[int], lexicon: Lexicon) -> Cost:
    """Estimate the cost of a graph of `counts[n-1]` n-grams of each order n, over the words of `lexicon`.

    It was measured up to 50,000 words and 1.5 M n-grams, and is assumed to grow in proportion. The number of outputs
    hardly matters.
    """
    pronunciations = [phones for variants in lexicon.entries.values() for phones, _ in variants]
    words = max(1, len(lexicon))
    phones = sum(counts[:-1]) * sum(map(len, pronunciations)) / words / 1e6
    arcs = sum(counts) * len(pronunciations) / words / 1e6
    total_s = SECONDS[0] * phones + SECONDS[1] * arcs
    gb = OWN_GB + PEAK_GB[0] * phones + PEAK_GB[1] * arcs
    return Cost(sum(counts), len(pronunciations), {step: share * total_s for step, share in SHARES.items()}, gb)


def memory_at_hand_gb(root: Path = Path("/")) -> float:
    """The memory that this process may take, in GB.

    It is the system's available memory, or a lower limit of the process or its control group. `root` is where the
    system's /proc and /sys lie; without these, the size of the memory counts.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_available(root), *_group_limits(root)]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        limits.append(limit)
    return min(limits) / 1e9


def _available(root: Path) -> Iterator[int]:
    path = root / "proc/meminfo"
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _group_limits(root: Path) -> Iterator[int]:
    """The memory limits of this process' control group and of the groups around it, in either version of cgroups."""
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
