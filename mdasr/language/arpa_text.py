"""N-gram models written in ARPA's format, a block of lines at a time (§3.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from mdasr.language.levels import Level, ngram_words

_BLOCK = 1 << 16


def arpa_blocks(words: Sequence[str], levels: Sequence[Level]) -> Iterator[str]:
    """The text of an ARPA file in pieces of many lines, n-grams in the order of their keys.

    Numbers are the shortest decimals that read back as the same float32; a back-off weight of 0 is left out.
    """
    counts = "".join(f"ngram {n}={len(level.keys)}\n" for n, level in enumerate(levels, start=1))
    yield f"\\data\\\n{counts}"
    table = np.array(words, object)
    progress = tqdm(
        total=sum(len(level.keys) for level in levels), desc="writing", unit=" n-grams", unit_scale=True, delay=5
    )
    for n, level in enumerate(levels, start=1):
        yield f"\n\\{n}-grams:\n"
        for begin in range(0, len(level.keys), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            texts = map(" ".join, table[ngram_words(levels[: n - 1], level.keys[block])].tolist())
            numbers = [*zip(level.log10_probability[block], level.log10_backoff[block])]
            yield "".join(
                [f"{p!s}\t{text}\t{b!s}\n" if b else f"{p!s}\t{text}\n" for text, (p, b) in zip(texts, numbers)]
            )
            progress.update(len(numbers))
    progress.close()
    yield "\n\\end\\\n"
