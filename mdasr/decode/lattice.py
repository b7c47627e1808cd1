"""Word times of what was decoded, as CTM lines (NIST's format for time-marked words)."""

from __future__ import annotations

from mdasr.decode.search import Hypothesis
from mdasr.frontend import HOP, STRIDE, step_centres
from mdasr.spec import RATE_HZ

STEP = STRIDE * HOP  # samples from one step to the next


def word_times(hypothesis: Hypothesis) -> list[tuple[str, float, float]]:
    """(word, start, end) in seconds; a step covers 15 ms on either side of its label frame's centre."""
    centres = step_centres(max(hypothesis.ends, default=0))
    first, last = (centres - STEP // 2) / RATE_HZ, (centres + STEP // 2) / RATE_HZ
    return [
        (word, float(first[start]), float(last[end - 1]))
        for word, start, end in zip(hypothesis.words, hypothesis.starts, hypothesis.ends)
    ]


def ctm_lines(utterance_id: str, hypothesis: Hypothesis, channel: str = "1", offset_s: float = 0.0) -> list[str]:
    """A line a word: utterance, channel, start and duration in s, word; `offset_s` is added to the starts.

    Raises ValueError for an id with white space, which the format cannot hold.
    """
    if utterance_id.split() != [utterance_id]:
        raise ValueError(f"utterance id {utterance_id!r}: CTM's fields are split at white space; use another id")
    return [
        f"{utterance_id} {channel} {offset_s + start:.3f} {end - start:.3f} {word}"
        for word, start, end in word_times(hypothesis)
    ]
