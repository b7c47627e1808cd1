"""The formats of a transcript: text, CTM, SRT, WebVTT, and JSON.

Where its passages are of several channels, text and subtitles tell whose words they are.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from mdasr.recognize.streaming import Heard
from mdasr.recognize.transcript import Passage, Word, runs

SUBTITLE_WORDS = 12


def as_text(name: str, pieces: Sequence[Passage]) -> str:
    """The words alone, in one line; of several channels, a line for each turn with its time and channel."""
    spoken = [piece for piece in pieces if piece.words]
    if _several(pieces):
        return "\n".join(f"{_clock(piece.start_s, '.')} {piece.channel}: {piece.text}" for piece in spoken)
    return " ".join(piece.text for piece in spoken)


def ctm_name(name: str) -> str:
    """The name of a recording in a CTM: blanks become underscores, because blanks separate columns."""
    return "_".join(name.split())


def ctm_line(recording: str, channel: str, word: Word) -> str:
    """A line of CTM: recording, channel, start, duration, word and, if there is one, confidence."""
    sure = "" if word.confidence is None else f" {word.confidence:.2f}"
    return f"{recording} {channel} {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.word}{sure}"


def as_ctm(name: str, pieces: Sequence[Passage]) -> str:
    """NIST's CTM, a `ctm_line` for each word: channel after channel, as sclite needs it, and by time."""
    ordered = sorted(pieces, key=lambda piece: piece.channel)
    return "\n".join(ctm_line(ctm_name(name), piece.channel, word) for piece in ordered for word in piece.words)


class Cue(NamedTuple):
    """A subtitle: the words from its start to its end, and their channel."""

    start_s: float
    end_s: float
    channel: str
    text: str


def cues(pieces: Sequence[Passage]) -> list[Cue]:
    """Subtitles of at most `SUBTITLE_WORDS` words each, by time; pauses end them, and their words time them."""
    found: list[Cue] = []
    for channel in dict.fromkeys(piece.channel for piece in pieces):
        words = (word for piece in pieces if piece.channel == channel for word in piece.words)
        parts = runs(words, SUBTITLE_WORDS)
        ends = [*(part[0].start_s for part in parts[1:]), float("inf")]
        found += [
            Cue(part[0].start_s, min(part[-1].end_s, end_s), channel, " ".join(word.word for word in part))
            for part, end_s in zip(parts, ends)
        ]
    return sorted(found)


def as_srt(name: str, pieces: Sequence[Passage]) -> str:
    """SubRip's subtitles, with the channel before the words where there are several."""
    several = _several(pieces)
    return "\n".join(
        f"{number}\n{_clock(start_s, ',')} --> {_clock(end_s, ',')}\n{f'{channel}: ' if several else ''}{text}\n"
        for number, (start_s, end_s, channel, text) in enumerate(cues(pieces), start=1)
    )


def as_vtt(name: str, pieces: Sequence[Passage]) -> str:
    """WebVTT, with the channel as the voice where there are several."""
    several = _several(pieces)
    blocks = [
        f"{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n"
        f"{f'<v {channel}>' if several else ''}{html.escape(text, quote=False)}\n"
        for start_s, end_s, channel, text in cues(pieces)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def as_json(name: str, pieces: Sequence[Passage]) -> str:
    """One line of JSON: the recording and its pieces, with words as [word, start, end, confidence or null]."""
    content = [asdict(piece) | {"text": piece.text} for piece in pieces]
    return json.dumps({"recording": name, "text": as_text(name, pieces), "pieces": content}, ensure_ascii=False)


def stream_lines(known: Iterable[Heard], form: str) -> Iterator[str]:
    """The lines of a stream in a format: text and CTM when a sentence is final, JSON whenever there is news.

    A line of JSON has the time, the words as [word, start, end], whether they are final, and how many of them stay.
    """
    nothing: tuple[tuple[str, ...], int] = (), 0
    shown = nothing
    for heard in known:
        final, news = heard.final and heard.words, (heard.words, heard.stable)
        if form == "json" and (final or news != shown):
            words = [[word, round(start, 3), round(end, 3)] for word, start, end in heard.times]
            content = {"time_s": round(heard.time_s, 3), "final": heard.final, "stable": heard.stable, "words": words}
            yield json.dumps(content | {"text": " ".join(heard.words)}, ensure_ascii=False)
        elif form == "ctm" and final:
            yield from (ctm_line("stream", "1", Word(*each)) for each in heard.times)
        elif form == "text" and final:
            yield " ".join(heard.words)
        shown = nothing if heard.final else news


FORMATS = {"text": as_text, "ctm": as_ctm, "srt": as_srt, "vtt": as_vtt, "json": as_json}


def _several(pieces: Sequence[Passage]) -> bool:
    return len({piece.channel for piece in pieces}) > 1


def _clock(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and milliseconds, with `mark` before the last."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
