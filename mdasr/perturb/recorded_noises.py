"""Recorded noises of any size: equally loud, without DC and rumble, on disk, with a map of their silence."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from jaxtyping import Bool, Float

from mdasr.core.waveforms import RATE_HZ
from mdasr.perturb.loudness import FRAME, active_mean, frame_powers

VERSION = 1  # raise it with a change that gives a recording other samples, or another map
RMS = 0.1  # of the active stretches, as P.56 measures it
USED = "(in the channels that are used, above 50 Hz)"
_BLOCK = 5 * FRAME  # samples: 100 ms, which are silent or not
SOFTEST = 1 / 32768  # of a recording: one step of 16 bits
_SILENT = 1e-3  # of the active power: 30 dB
_HIGH_PASS = scipy.signal.butter(4, 50, "high", fs=RATE_HZ, output="sos")


Levelled = tuple[Float[np.ndarray, " samples"], Bool[np.ndarray, " blocks"]]


class RecordedNoises(Mapping[str, Float[np.ndarray, " samples"]]):
    """Noises by id: float32 samples at 16 kHz that lie in a file, mapped into memory.

    Worker processes share the file's pages. A copy that is sent to them holds only the file's name and the maps of
    silence. The file is temporary: it goes with the object that wrote it, or when its process ends.
    """

    def __init__(self, path: Path, places: Mapping[str, tuple[int, int]], active: Mapping[str, Bool[np.ndarray, " _"]]):
        self._path, self._places, self._active = path, dict(places), dict(active)
        self._samples: np.ndarray | None = None

    @classmethod
    def write(cls, noises: Iterable[tuple[str, Levelled]]) -> RecordedNoises:
        """Store noises, each with its id and as `levelled` returns it, in a temporary file.

        `tempfile.gettempdir` says where it lies; the variable TMPDIR changes that. It takes 4 bytes a sample: 230 MB an
        hour. Raises OSError where the disk is full.
        """
        handle, name = tempfile.mkstemp(prefix="mdasr-noises-")
        places, active, first = {}, {}, 0
        try:
            with os.fdopen(handle, "wb") as file:
                for noise, (wave, active[noise]) in noises:
                    file.write(wave.data)
                    places[noise] = first, first + len(wave)
                    first += len(wave)
        except BaseException:
            Path(name).unlink()
            raise
        written = cls(Path(name), places, active)
        weakref.finalize(written, _remove, Path(name), os.getpid())
        return written

    def __getitem__(self, noise: str) -> Float[np.ndarray, " samples"]:
        first, last = self._places[noise]
        if self._samples is None:
            self._samples = np.memmap(self._path, np.float32, mode="r").view(np.ndarray)
        return self._samples[first:last]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def begin(self, noise: str, share: float) -> int:
        """The sample where a noise begins to play: `share` in [0, 1) runs over the stretches that are not silent.

        A block of 100 ms that is not silent begins there, or at most 100 ms later. So 200 ms from there are never all
        silent. The result may be negative, which means before the end of a looped noise.
        """
        blocks = np.flatnonzero(self._active[noise])
        place = share * len(blocks)
        return int((blocks[int(place)] - place % 1) * _BLOCK)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_samples": None}

    def __deepcopy__(self, _memo: object) -> RecordedNoises:
        return self  # nothing in it changes, and the file goes with this object


def _remove(path: Path, owner: int) -> None:
    """Remove a file of noises, unless this is another process than its `owner`, such as a forked one."""
    if os.getpid() == owner:
        path.unlink(missing_ok=True)


def levelled(wave: Float[np.ndarray, " samples"]) -> Levelled:
    """Return a noise above 50 Hz with an active level (P.56) of 0.1, and whether each 100 ms of it is active.

    A block is silent where it lies 30 dB below the active level. Raises ValueError for a noise that is silent above 50
    Hz.
    """
    # Before the wave comes its first 100 ms in a mirror, so that DC and rumble do not begin with a jolt.
    before = 2 * wave[0] - wave[_BLOCK:0:-1]
    start = scipy.signal.sosfilt_zi(_HIGH_PASS) * (before[0] if len(before) else wave[0])
    filtered, _ = scipy.signal.sosfilt(_HIGH_PASS, np.concatenate([before, wave]), zi=start)
    wave = filtered[len(before) :].astype(np.float32)
    frames = frame_powers(wave)
    first = np.arange(0, len(frames), _BLOCK // FRAME)
    powers = np.add.reduceat(frames, first) / np.diff(first, append=len(frames))
    level = float(active_mean(frames, len(frames)))
    if level < SOFTEST**2:
        raise ValueError(f"is digital silence {USED}, so no SNR can be set; remove it")
    return wave * np.float32(RMS / np.sqrt(level)), powers >= min(_SILENT * level, powers.max())
