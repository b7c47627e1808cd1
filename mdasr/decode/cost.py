"""What a decoding graph will cost, reckoned before the work begins, and the memory that there is for it."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdasr.language.lexicon import Lexicon

# LG has a copy of a word's phones for every history that ends in it, and an arc for every n-gram and pronunciation.
# CPU seconds and GB at the peak of a million such phones, and of a million such arcs. Time was fitted to trigrams of
# `benchmarks/decode.py` (5,000 words and 1.0 M n-grams, 50,000 and 1.5 M) on a busy x86-64 of 2026, and held within 20%
# for 600 words with bigrams, 5-grams, words twice as long, and two pronunciations each. Memory was measured with
# trigrams of 5,000 to 50,000 words alone, where it is up to 15% less than this says.
SECONDS = (50.0, 50.0)
PEAK_GB = (0.6, 0.25)
OWN_GB = 0.1  # Python and its libraries
# How the time is divided among the steps, in their order.
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
    """What a graph costs: CPU seconds of each step, and memory at its peak in GB (10^9 bytes)."""

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
            fitting = int(self.ngrams * max(0.0, at_hand_gb - OWN_GB) / (self.gb - OWN_GB))
            raise ValueError(
                f"{self}, but {at_hand_gb:.1f} GB are at hand. Prune the language model to {fitting:,} n-grams "
                "(mdasr.language.combine.prune, with a higher threshold), or use a machine with more memory"
            )
        if sum(self.seconds.values()) > LONG_S:
            print(self, file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def estimate(counts: Sequence[int], lexicon: Lexicon) -> Cost:
    """What a graph of `counts[n-1]` n-grams of each order n, over the words of `lexicon`, will cost.

    Measured up to 50,000 words and 1.5 M n-grams, and taken to grow in proportion. The number of outputs hardly counts.
    """
    said = [phones for variants in lexicon.entries.values() for phones, _ in variants]
    words = max(1, len(lexicon))
    phones = sum(counts[:-1]) * sum(map(len, said)) / words / 1e6
    arcs = sum(counts) * len(said) / words / 1e6
    total_s = SECONDS[0] * phones + SECONDS[1] * arcs
    gb = OWN_GB + PEAK_GB[0] * phones + PEAK_GB[1] * arcs
    return Cost(sum(counts), len(said), {step: share * total_s for step, share in SHARES.items()}, gb)


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
