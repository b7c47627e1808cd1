"""The recording that was decoded last: its parts are decoded once, as long as they are read in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable

import numpy as np

from mdasr.corpus.libsndfile_reader import SLACK_S, Recording, beyond

KEPT_BYTES = 1 << 27  # of decoded samples


def part_of(
    key: Hashable, opened: Callable[[], Recording], name: str, start_s: float, end_s: float | None
) -> Recording:
    """Return a part of the recording that `opened` opens and `key` stands for.

    The part is the same in whatever order parts are read. Before a part that begins before what is kept, the recording
    is decoded again. Raises as `opened` and its blocks, and ValueError where the recording ends before the part does.
    """
    recent = kept.recent if kept.key == key else None
    if recent is None or round(start_s * recent.rate_hz) < recent.first:
        kept.forget()
        recent = _Recent(opened())
    try:
        found = recent.part(name, start_s, end_s)
    except ValueError:
        kept.forget()
        raise
    kept.key, kept.recent = key, recent
    return found


class _Recent:
    """The latest samples of a recording, and the decoder that makes more of them."""

    def __init__(self, recording: Recording):
        self.rate_hz, self._channels, self._rest = recording
        self._blocks, self._more = deque[np.ndarray](), True
        self.first = self._last = 0  # the place of the first sample that is kept, and of the first one to come

    def part(self, name: str, start_s: float, end_s: float | None) -> Recording:
        """Return a part that does not begin before `first`."""
        begin, end = round(start_s * self.rate_hz), None if end_s is None else round(end_s * self.rate_hz)
        while self._more and (end is None or self._last < end):
            self._decode(begin)
        if begin >= max(self._last, 1) or (end or 0) > self._last + SLACK_S * self.rate_hz:
            raise beyond(name, start_s, end_s, self._last / self.rate_hz)
        at, found = self.first, []
        for block in self._blocks:
            found.append(block[max(begin - at, 0) : None if end is None else max(end - at, 0)])
            at += len(block)
        return Recording(self.rate_hz, self._channels, iter(found))

    def _decode(self, begin: int) -> None:
        """Decode a block, and forget the first ones, but none after `begin`."""
        block = next(self._rest, None)
        if block is None:
            self._more = False
            return
        self._blocks.append(block)
        self._last += len(block)
        size = 4 * self._channels  # bytes of a sample of all channels
        while size * (self._last - self.first) > KEPT_BYTES and self.first + len(self._blocks[0]) <= begin:
            self.first += len(self._blocks.popleft())


class _Kept(threading.local):
    """The recording that this thread has decoded last, and its key."""

    key: Hashable = None
    recent: _Recent | None = None

    def forget(self) -> None:
        self.key = self.recent = None


kept = _Kept()
