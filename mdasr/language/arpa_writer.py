"""Writing of n-gram models in ARPA's format, a block of lines at a time (§3.6).

The fields of a block are NumPy byte strings of one width. They are joined to lines without a loop, which is several
times as fast as line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Shaped

from mdasr.core.progress import track
from mdasr.language.ngram_arrays import Level, ngram_words

_BLOCK = 1 << 14
_PLACES = 9  # after the point
_WHOLE = np.array([f"{sign}{whole}." for sign in ("", "-") for whole in range(100)], "S")
_THREE_DIGITS = np.array([[*f"{i:03}".encode()] for i in range(1000)], np.uint8)


def arpa_blocks(words: Sequence[str], levels: Sequence[Level]) -> Iterator[bytes]:
    """Yield the text of an ARPA file in pieces of many lines. N-grams are in the order of their keys.

    Numbers are the shortest decimals that read back as the same float32. A back-off weight of 0 is left out.
    """
    counts = "".join(f"ngram {n}={len(level.keys)}\n" for n, level in enumerate(levels, start=1))
    yield f"\\data\\\n{counts}".encode()
    first, further = (np.array([mark + word.encode() for word in words]) for mark in (b"\t", b" "))
    total = sum(len(level.keys) for level in levels)
    with track(total=total, desc="writing", unit=" n-grams", unit_scale=True, delay=5) as progress:
        for n, level in enumerate(levels, start=1):
            yield f"\n\\{n}-grams:\n".encode()
            for begin in range(0, len(level.keys), _BLOCK):
                block = slice(begin, begin + _BLOCK)
                columns = ngram_words(levels[: n - 1], level.keys[block]).T
                texts = first[columns[0]]
                for column in columns[1:]:
                    texts = np.strings.add(texts, further[column])
                lines = np.strings.add(decimals(level.log10_probability[block]), texts)
                if (backoff := level.log10_backoff[block]).any():
                    weights = np.strings.add(b"\t", decimals(backoff))
                    lines = np.strings.add(lines, np.where(backoff == 0, b"", weights))
                yield b"\n".join([*lines.tolist(), b""])
                progress.update(len(lines))
    yield b"\n\\end\\\n"


def decimals(values: Float32[np.ndarray, " values"]) -> Shaped[np.ndarray, " values"]:
    """Write numbers as the shortest decimals that read back as the same float32, in byte strings."""
    size = np.abs(values)
    exact, fixed = size.astype(np.float64), np.zeros(len(values), np.int64)  # the latter in units of the last place
    left = np.flatnonzero(size < 100)
    for places in range(1, _PLACES + 1):
        rounded = np.rint(exact[left] * 10**places)
        fits = (rounded / 10**places).astype(np.float32) == size[left]
        fixed[left[fits]] = rounded[fits].astype(np.int64) * 10 ** (_PLACES - places)
        left = left[~fits]
    whole, fraction = np.divmod(fixed, 10**_PLACES)
    groups = np.stack([fraction // 10**6, fraction // 10**3 % 1000, fraction % 1000], axis=1)
    digits = _THREE_DIGITS[groups].reshape(-1, _PLACES).view(f"S{_PLACES}")[:, 0]
    digits = np.where(fraction == 0, b"0", np.strings.rstrip(digits, b"0"))
    texts = np.strings.add(_WHOLE[whole + 100 * (values < 0)], digits)
    others = np.union1d(left, np.flatnonzero(size >= 100))  # too small for these places, or too large
    texts = texts.astype("S24")
    texts[others] = [str(value).encode() for value in values[others]]
    return texts
