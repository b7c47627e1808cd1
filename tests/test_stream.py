"""Streaming against the whole recording, and long recordings against their pieces."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import math
import os
import pty
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mdasr.cli import recognition
from mdasr.cli.main import main
from mdasr.decode.lattice import word_times
from mdasr.decode.live_search import Search
from mdasr.decode.search import SearchOptions, decode
from mdasr.frontend import PAPER_STEPS
from mdasr.recognize.network_scores import Streamed, features_of, scores
from mdasr.recognize.streaming import Heard, Listener, listen
from mdasr.recognize.transcript import (
    Alternative,
    Depth,
    Passage,
    Word,
    alternatives,
    channel_name,
    merged,
    quiet_cuts,
    runs,
    transcribe,
)
from mdasr.recognize.transcript_formats import as_ctm, as_json, as_srt, as_text, as_vtt
from mdasr.recognize.words import recognize
from tests.toy_speech import TREE


def heard(recognizer, wave, rng, pause_s=np.inf):
    listener, found, first = Listener(Streamed(recognizer), pause_s), [], 0
    while first < len(wave):
        size = int(rng.integers(1, 5_000))
        found += listener.accept(wave[first : first + size])
        first += size
    return [*found, *listener.finish()]


def test_words_of_a_stream_are_those_of_the_whole(untrained, corpus):
    rng = np.random.default_rng(0)
    for utterance in [corpus[i] for i in range(8)]:
        (whole,) = recognize(untrained, [utterance.samples])
        found = heard(untrained, utterance.samples, rng)
        assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
        assert found[-1].words == whole.words
        for mine, theirs in zip(found[-1].times, word_times(whole, untrained.subsampling), strict=True):
            assert mine == pytest.approx(theirs)
        assert all(a.time_s < b.time_s for a, b in itertools.pairwise(found[:-1]))
        for before, after in itertools.pairwise(found):
            assert before.words[: before.stable] == after.words[: before.stable] and before.stable <= after.stable


def test_a_search_in_parts_is_the_search_of_the_whole(untrained, corpus):
    graph = untrained.language.graph
    (found,) = scores(untrained, [features_of(untrained, corpus[3].samples)])
    search = Search(graph, untrained.search)
    with pytest.raises(ValueError, match="no steps"):
        search.best()
    for first in range(0, len(found), 7):
        search.accept(found[first : first + 7])
        assert search.best().ends == tuple(sorted(search.best().ends))
    assert search.steps == len(found)
    assert search.finish().words == decode(graph, found, untrained.search).words


@pytest.mark.parametrize("beam", [0.05, 0.5, 4.0])
def test_a_narrow_beam_is_widened_in_a_stream_as_in_the_whole(graph, beam):
    """Paths that need an arc without a step are lost by a narrow beam. The search begins again, twice as wide."""
    rng, options, lost = np.random.default_rng(0), SearchOptions(beam=beam, acoustic_scale=1.0, retries=9), 0
    for _ in range(20):
        found = rng.normal(0, 2, (24, graph.num_outputs)).astype(np.float32)
        search = Search(graph, options)
        for first in range(0, len(found), 5):
            search.accept(found[first : first + 5])
        whole = decode(graph, found, options)
        assert search.finish().words == whole.words
        lost += whole.beam > beam
    assert lost or beam > 1


def test_words_that_are_settled_never_change(graph):
    """However the scores go on, the decoder hears the settled words first; and nearly every word settles early."""
    rng, settled, spoken = np.random.default_rng(0), 0, 0
    for _ in range(40):
        found = rng.normal(0, 3, (60, graph.num_outputs)).astype(np.float32)
        search = Search(graph, SearchOptions(beam=6.0))
        for first in range(0, 36, 6):
            search.accept(found[first : first + 6])
        best = search.best()
        count = search.settled(best)
        settled, spoken = settled + count, spoken + len(best.words)
        for _ in range(5):
            onward = rng.normal(0, 3, (24, graph.num_outputs)).astype(np.float32)
            whole = decode(graph, np.concatenate([found[:36], onward]), SearchOptions(beam=6.0))
            assert whole.words[:count] == best.words[:count] and whole.ends[:count] == best.ends[:count]
    assert settled > spoken / 2


@pytest.fixture
def by_level(untrained, monkeypatch):
    """A recogniser whose scores are made up from the level, as late as its delay: a tone is AA, a hiss S, quiet SIL."""

    def answer(self, samples, heard, state):
        frames = features_of(self.recognizer, samples)
        bands = np.stack([frames[3 * step : 3 * step + 4].mean(axis=0) for step in range(self.chunk)])
        bands[PAPER_STEPS.num_steps(heard[1]) :] = 0
        low, high = bands[:, :40].mean(axis=1), bands[:, 60:].mean(axis=1)
        quiet = np.maximum(low, high) < bands.min() + 1
        kinds = np.where(quiet, 2, np.where(low > high, 0, 1))
        leaves = TREE.leaves(("AA", "S", "SIL"))
        scores = np.full((self.chunk, TREE.num_leaves), -20.0, np.float32)
        scores[np.arange(self.chunk), leaves[kinds]] = 0
        late = np.concatenate(
            [np.zeros((self.output_delay, TREE.num_leaves), np.float32) if state is None else state, scores]
        )
        return late[: self.chunk], late[self.chunk :]

    # Words settle as in a large graph: no path is followed beyond the beam.
    network = Streamed(dataclasses.replace(untrained, search=SearchOptions(min_active=0)))
    monkeypatch.setattr(Streamed, "answer", answer)
    return network


def finals(network, wave, pause_s=0.5):
    return [each for each in listen(network, np.array_split(wave, 60), pause_s) if each.final]


def test_pauses_end_sentences(by_level, corpus):
    """Every pause ends one, and the times are those of the whole stream."""
    pause = np.zeros(40_000, np.float32)
    wave = np.concatenate([corpus[1].samples, pause, corpus[2].samples, pause, corpus[4].samples])
    found = finals(by_level, wave)
    assert [each.words for each in found] == [("ah", "s")] * 3
    starts = [each.times[0][1] for each in found]
    gaps = [later.times[0][1] - before.times[-1][2] for before, later in itertools.pairwise(found)]
    assert starts == sorted(starts) and min(gaps) > 2.5  # the pause, and the silence that an utterance begins with
    assert not Listener(by_level).finish()


def times(found):
    return [(word, round(start, 6), round(end, 6)) for each in found for word, start, end in each.times]


def test_speech_without_a_pause_ends_between_words(by_level, monkeypatch):
    """The parts give the same words as the whole in one sentence: cut at the gaps, or after words without gaps."""
    rng = np.random.default_rng(0)
    tone, hiss = 0.25 * np.sin(np.arange(4800) * 0.1178), 0.1 * rng.standard_normal(4800)
    for gap in (np.zeros(4800), np.zeros(0)):
        wave = np.concatenate([part for _ in range(8) for part in (tone, hiss, tone, hiss, gap)]).astype(np.float32)
        (whole,) = finals(by_level, wave)
        assert whole.words == ("ah", "s") * 16
        with monkeypatch.context() as patch:
            patch.setattr("mdasr.recognize.streaming.LONGEST_SENTENCE_S", 3.0)
            patch.setattr("mdasr.recognize.streaming.GAP_WAIT_S", 1.6)
            parts = [*listen(by_level, np.array_split(wave, 60), 0.5)]
            for before, after in itertools.pairwise(parts):
                stay = 0 if before.final else before.stable
                assert before.words[:stay] == after.words[:stay], "a cut keeps the words that were to stay"
            found = finals(by_level, wave)
            (one,) = finals(by_level, wave, np.inf)
        assert len(found) >= 3 and times(found) == times([whole]) == times([one])
        assert all(each.times[-1][2] - each.times[0][1] < 4.8 for each in found)
        if len(gap):
            assert {len(each.words) % 4 for each in found} == {0}, "sentences end where it is quiet"


def test_nothing_is_lost_when_a_silence_has_been_long(by_level):
    """A short word at the moment when the search begins anew is heard as after a shorter silence."""
    tone, hiss = 0.25 * np.sin(np.arange(2400) * 0.1178), 0.1 * np.random.default_rng(0).standard_normal(2400)
    for longer_s in (5.04, 5.07, 5.1, 5.13, 5.16, 5.19, 5.22, 25.2):
        (short,), (long,) = (
            finals(
                by_level, np.concatenate([np.zeros(round(s * 16_000)), tone, hiss, np.zeros(3200)]).astype(np.float32)
            )
            for s in (5.0, 5.0 + longer_s)
        )
        assert long.words == short.words == ("ah", "s")
        expected = [(word, start + longer_s, end + longer_s) for word, start, end in short.times]
        assert times([long]) == times([short._replace(times=tuple(expected))])


def test_long_recordings_are_cut_where_it_is_quiet():
    rng = np.random.default_rng(1)
    wave = (0.1 * rng.standard_normal(16_000 * 95)).astype(np.float32)
    quiet_s = [12.0, 27.5, 44.0, 61.2, 78.0]
    for at in quiet_s:
        wave[round(at * 16_000) : round((at + 0.3) * 16_000)] *= 0.01
    found = quiet_cuts(wave)
    assert found[0] == 0 and found[-1] == len(wave)
    for at, cut in zip(quiet_s, found[1:-1], strict=True):
        assert at < cut / 16_000 < at + 0.3
    assert quiet_cuts(wave[:1000]) == [0, 1000]


def test_pieces_keep_their_times(untrained, corpus):
    gap = np.zeros(16_000 * 9, np.float32)
    wave = np.concatenate([part for i in range(4) for part in (corpus[i].samples, gap)])
    pieces = list(transcribe(untrained, wave))
    assert len(pieces) >= 3
    assert [p.end_s for p in pieces[:-1]] == [p.start_s for p in pieces[1:]]
    for piece in pieces:
        (alone,) = recognize(untrained, [wave[round(piece.start_s * 16_000) : round(piece.end_s * 16_000)]])
        assert piece.text == alone.text
        assert all(piece.start_s <= start < end <= piece.end_s + 0.03 for _, start, end, _ in piece.words)


PIECES = [
    Passage(0.0, 4.0, (Word("good", 0.5, 0.82), Word("morning", 0.9, 1.4, 0.875))),
    Passage(4.0, 8.0, ()),
    Passage(3600.0, 3604.0, (Word("bye", 3601.0004, 3601.5),)),
]


def test_formats():
    assert as_text("talk", PIECES) == "good morning bye"
    assert as_ctm("my talk", PIECES).split("\n") == [
        "my_talk 1 0.500 0.320 good",
        "my_talk 1 0.900 0.500 morning 0.88",
        "my_talk 1 3601.000 0.500 bye",
    ]
    assert as_srt("talk", PIECES) == (
        "1\n00:00:00,500 --> 00:00:01,400\ngood morning\n\n2\n01:00:01,000 --> 01:00:01,500\nbye\n"
    )
    assert as_vtt("talk", PIECES) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.400\ngood morning\n\n01:00:01.000 --> 01:00:01.500\nbye\n"
    )
    found = json.loads(as_json("talk", PIECES))
    assert found["text"] == "good morning bye" and found["pieces"][0]["words"][1] == ["morning", 0.9, 1.4, 0.875]
    assert found["pieces"][0]["words"][0] == ["good", 0.5, 0.82, None] and found["pieces"][0]["channel"] == "1"


def said(words, channel="1"):
    """A passage of words with their starts and ends."""
    return Passage(0.0, 20.0, tuple(Word(*each) for each in words), channel=channel)


def test_subtitles_end_where_there_is_a_pause():
    """The words of shared/cases/decode/gap8.wav, where one subtitle spanned 8.5 s of silence."""
    heard = [("call", 0.28, 0.55), ("phil", 0.55, 1.48), ("every", 9.97, 10.39), ("bakery", 10.39, 11.35)]
    assert as_srt("gap8", [said(heard)]) == (
        "1\n00:00:00,280 --> 00:00:01,480\ncall phil\n\n2\n00:00:09,970 --> 00:00:11,350\nevery bakery\n"
    )
    short = [("a", 0.0, 0.4), ("b", 1.0, 1.1), ("c", 1.701, 2.0)]
    assert [[word.word for word in run] for run in runs(said(short).words)] == [["a", "b"], ["c"]]
    many = [said([(str(i), i * 0.3, i * 0.3 + 0.3) for i in range(8 * k, 8 * k + 8)]) for k in range(4)]
    lines = as_srt("talk", many).split("\n")
    assert [len(line.split()) for line in lines[2::4]] == [12, 12, 8], "a cut between pieces is no pause"
    assert as_vtt("talk", [said([("r&b", 0.0, 0.5), ("<x>", 0.5, 0.8)])]).endswith("\nr&amp;b &lt;x&gt;\n")


def test_subtitles_of_a_speaker_do_not_overlap():
    """A word at the end of a piece may end after the next piece's first word has begun."""
    pieces = [said([(str(i), i * 0.3, i * 0.3 + 0.33) for i in range(12)]), said([("next", 3.6, 4.0)])]
    assert "00:00:00,000 --> 00:00:03,600" in as_srt("talk", pieces)


CALL = [
    [said([("hello", 0.5, 0.9), ("there", 0.9, 1.2), ("fine", 4.0, 4.5)], "A"), said([("thanks", 4.6, 5.0)], "A")],
    [said([("hi", 1.1, 1.4), ("how", 1.5, 1.7), ("are", 1.7, 1.9), ("you", 1.9, 2.2)], "B")],
]


def test_the_sides_of_a_call_are_merged_by_time():
    turns = merged(CALL)
    assert [(turn.channel, turn.text, turn.start_s, turn.end_s) for turn in turns] == [
        ("A", "hello there", 0.5, 1.2),
        ("B", "hi how are you", 1.1, 2.2),
        ("A", "fine thanks", 4.0, 5.0),
    ]
    assert as_text("call", turns).split("\n") == [
        "00:00:00.500 A: hello there",
        "00:00:01.100 B: hi how are you",
        "00:00:04.000 A: fine thanks",
    ]
    columns = [line.split() for line in as_ctm("call", turns).split("\n")]
    assert [(row[1], row[4]) for row in columns] == [
        *(("A", word) for word in ("hello", "there", "fine", "thanks")),
        *(("B", word) for word in ("hi", "how", "are", "you")),
    ], "sclite wants channel after channel"
    assert [block.split("\n")[1:3] for block in as_srt("call", turns).split("\n\n")] == [
        ["00:00:00,500 --> 00:00:01,200", "A: hello there"],
        ["00:00:01,100 --> 00:00:02,200", "B: hi how are you"],
        ["00:00:04,000 --> 00:00:05,000", "A: fine thanks"],
    ]
    assert "00:00:01.100 --> 00:00:02.200\n<v B>hi how are you\n" in as_vtt("call", turns)
    assert [(piece["channel"], piece["text"]) for piece in json.loads(as_json("call", turns))["pieces"]] == [
        ("A", "hello there"), ("B", "hi how are you"), ("A", "fine thanks"),
    ]  # fmt: skip
    silent = merged([CALL[0], [Passage(0.0, 5.0, (), channel="B")]])
    assert as_text("call", silent).split("\n") == ["00:00:00.500 A: hello there", "00:00:04.000 A: fine thanks"]
    assert [channel_name(number) for number in (None, 0, 1, 25, 26)] == ["1", "A", "B", "Z", "26"]


def test_alternatives_of_a_recording_are_ranked_over_its_pieces():
    first, second = [("a", 1.0), ("b", 1.5), ("c", 9.0)], [("", 2.0), ("x", 2.2)]
    pieces = [
        Passage(float(i), i + 1.0, (), tuple(Alternative(*each) for each in ranked))
        for i, ranked in enumerate([first, [], second])
    ]
    assert [each.text for each in alternatives(pieces, 4)] == ["a", "a x", "b", "b x"]
    assert [each.cost for each in alternatives(pieces, 4)] == pytest.approx([3.0, 3.2, 3.5, 3.7])
    assert alternatives([Passage(0.0, 1.0, ())], 3) == [Alternative("", 0.0)]


def test_alternatives_that_say_the_same_are_one():
    """A word may be recognised at the end of a piece or at the beginning of the next."""
    rng = random.Random(0)
    for count in (1, 2, 3, 5, 8) * 5:
        rankings = []
        for _ in range(3):
            texts = rng.sample(["", "a", "b", "a a", "a b", "b a"], 5)
            rankings.append([Alternative(text, cost) for cost, text in zip(sorted(rng.random() for _ in texts), texts)])
        cheapest: dict[str, float] = {}
        for chosen in itertools.product(*rankings):
            text = " ".join(each.text for each in chosen if each.text)
            cheapest[text] = min(cheapest.get(text, math.inf), sum(each.cost for each in chosen))
        pieces = [Passage(float(i), i + 1.0, (), tuple(ranked[:count])) for i, ranked in enumerate(rankings)]
        found = alternatives(pieces, count)
        assert [each.text for each in found] == sorted(cheapest, key=cheapest.__getitem__)[:count]
        assert [each.cost for each in found] == pytest.approx(sorted(cheapest.values())[:count])


def test_looking_deeper_leaves_the_words_as_they_are(untrained, corpus, small_lattices):
    wave = corpus[2].samples
    (plain,), (deep,) = (list(transcribe(untrained, wave, depth=depth)) for depth in (Depth(), Depth(True, 4)))
    assert [word[:3] for word in deep.words] == [word[:3] for word in plain.words]
    assert all(word.confidence is None for word in plain.words) and not plain.alternatives
    assert all(0 <= word.confidence <= 1 for word in deep.words)
    assert deep.alternatives[0].text == deep.text and len({each.text for each in deep.alternatives}) == 4
    own = untrained.language.directory / "lm.arpa"
    (same,) = transcribe(untrained, wave, depth=Depth(True, 4, own))
    assert same.text == plain.text and [a.text for a in same.alternatives] == [a.text for a in deep.alternatives]


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
def test_a_resampled_stream_keeps_its_end(rate_hz, monkeypatch):
    samples, heard = np.full(3 * rate_hz + 7, 1000, "<i2"), []
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(samples.tobytes())}))
    monkeypatch.setattr("mdasr.recognize.streaming.listen", lambda network, chunks, pause_s: heard.extend(chunks) or [])
    assert recognition.listen_to_stdin(None, rate_hz, 0.6) == 0
    assert sum(map(len, heard)) == pytest.approx(len(samples) * 16_000 / rate_hz, abs=1)


def test_a_terminal_shows_each_sentence_once(monkeypatch):
    """Standard output and error are one terminal: the whole sentence replaces the parts that were shown."""
    spoken = [(("he",), False), (("help",), False), (("help",), True), (("yes",), False), (("no",), True), ((), True)]
    monkeypatch.setattr("mdasr.recognize.streaming.listen", lambda *_: [Heard(0.0, *each) for each in spoken])
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO()}))
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert recognition.listen_to_stdin(None, 16_000, 0.6) == 0
    shown = ""
    with contextlib.suppress(OSError):  # what a terminal says once nobody writes to it any more
        while block := os.read(reader, 4096):
            shown += block.decode()
    os.close(reader)
    rows = [row.rpartition("\r\033[K")[2] for row in shown.split("\r\n")]
    assert rows == ["help", "no", ""], "of each row the terminal keeps what comes after the last clearing"


def test_the_command_reads_a_stream(untrained, corpus, tmp_path, monkeypatch, capsys):
    untrained.write(tmp_path / "model")
    samples = corpus[1].wave.astype("<i2")
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(samples.tobytes())}))
    assert main(["transcribe", str(tmp_path / "model"), "--stream"]) == 0
    expected = [" ".join(h.words) for h in listen(Streamed(untrained), [corpus[1].samples]) if h.final]
    assert capsys.readouterr().out.splitlines() == expected
    interrupted = io.BytesIO(samples.tobytes())
    source = type(
        "Buffer", (), {"read": lambda self, size: interrupted.read(size) or signal.raise_signal(signal.SIGINT)}
    )
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": source()}))
    assert main(["transcribe", str(tmp_path / "model"), "--stream"]) == 0
    assert capsys.readouterr().out.splitlines() == expected, "what was said before Ctrl-C"
    assert main(["transcribe", str(tmp_path / "model"), "--stream", "--rate-hz", "8"]) == 2
    assert "--rate-hz 8: give samples a second (not kHz), 1000 or more" in capsys.readouterr().err
    for unused in (["--format", "vtt"], ["--channel", "0"], ["--channels", "all"], ["--nbest", "2"]):
        assert main(["transcribe", str(tmp_path / "model"), "--stream", *unused]) == 2
        assert "give no files, --nbest, --rescore, --channel, --channels or another --format" in capsys.readouterr().err
    for pause_s in ("0", "-1", "nan"):
        assert main(["transcribe", str(tmp_path / "model"), "--stream", "--pause-s", pause_s]) == 2
        assert "a sentence ends with a pause of more than 0 s" in capsys.readouterr().err
    assert main(["transcribe", str(tmp_path / "model"), "a.wav", "--pause-s", "1"]) == 2
    assert "--pause-s 1.0: this is for --stream" in capsys.readouterr().err
    assert main(["transcribe", str(tmp_path / "model"), "a.wav", "--rate-hz", "8000"]) == 2
    assert "--rate-hz 8000: this is for --stream" in capsys.readouterr().err
    assert main(["transcribe", str(tmp_path / "model")]) == 2
    assert "give recordings to transcribe" in capsys.readouterr().err


def spoken_into(monkeypatch, wave):
    samples = (32768 * wave).astype("<i2").tobytes()
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(samples)}))


def test_a_stream_is_written_with_times_and_its_pause_can_be_set(by_level, corpus, tmp_path, monkeypatch, capsys):
    by_level.recognizer.write(tmp_path / "model")
    gap = np.zeros(16_000, np.float32)
    wave = np.concatenate([corpus[1].samples, gap, corpus[2].samples, gap])
    command = ["transcribe", str(tmp_path / "model"), "--stream", "--format"]
    found = [each for each in listen(by_level, np.array_split(wave, 60)) if each.final and each.words]
    assert [each.words for each in found] == [("ah", "s")] * 2
    spoken_into(monkeypatch, wave)
    assert main([*command, "ctm"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[:2], row[4:]) for row in rows] == [(["stream", "1"], [word]) for word in ("ah", "s") * 2]
    for row, (_, start, end) in zip(rows, (each for one in found for each in one.times), strict=True):
        assert (float(row[2]), float(row[3])) == pytest.approx((start, end - start), abs=2e-3)
    spoken_into(monkeypatch, wave)
    assert main([*command, "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = [line for line in lines if line["final"]]
    assert [line["text"] for line in last] == ["ah s", "ah s"] and all(line["stable"] == 2 for line in last)
    assert [word for line in last for word in line["words"]] == [
        [word, pytest.approx(start, abs=2e-3), pytest.approx(end, abs=2e-3)]
        for one in found
        for word, start, end in one.times
    ]
    partial = [line for line in lines if not line["final"]]
    assert {(line["text"], line["stable"]) for line in partial} >= {("ah", 0), ("ah s", 1)}
    assert all(
        (a["text"], a["stable"], a["final"]) != (b["text"], b["stable"], b["final"])
        for a, b in itertools.pairwise(lines)
    )
    spoken_into(monkeypatch, wave)
    assert main([*command, "text", "--pause-s", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == ["ah s ah s"]


TRANSCRIBE = """
import resource, sys
from mdasr.cli.main import main
status = main(["transcribe", *sys.argv[1:], "--format", "srt"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.slow
def test_a_long_recording_takes_the_memory_of_its_samples(untrained, corpus, tmp_path):
    """26 minutes take no more than 6, but for their samples as float32, twice: while they are read, and joined."""
    untrained.write(tmp_path / "model")
    spoken = np.concatenate([corpus[i].wave for i in range(len(corpus))])
    peaks_kb, ends_s = [], []
    for minutes in (6, 26):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.resize(spoken, minutes * 60 * 16_000), 16_000)
        command = [sys.executable, "-c", TRANSCRIBE, str(tmp_path / "model"), str(path)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks_kb.append(int(done.stderr.split()[-1]))
        hours, rest, seconds = done.stdout.rpartition(" --> ")[2].split("\n")[0].replace(",", ".").split(":")
        ends_s.append(3600 * int(hours) + 60 * int(rest) + float(seconds))
    assert ends_s == pytest.approx([360, 1560], abs=5), "the last word is near the end"
    assert peaks_kb[1] - peaks_kb[0] < 2 * 20 * 60 * 16_000 * 4 / 1024
