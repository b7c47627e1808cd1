"""Damaged files of every kind that is read: each is refused by name, or listed in `UNNOTICED`; none is unpickled."""

from __future__ import annotations

import faulthandler
import json
import pickle
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from mdasr.acoustic.checkpoints import Checkpoints, check_run, digest_of
from mdasr.acoustic.training_log import read_curves
from mdasr.align.tied_gmm import TOPOLOGY, GmmFeatures
from mdasr.align.tree import Tree
from mdasr.cli.evaluation import read_evaluation
from mdasr.cli.sounds import read_recipe
from mdasr.core.digests import digest
from mdasr.corpus.alignment_files import ctm_lines, read_ctm, read_textgrid, write_textgrid
from mdasr.corpus.audio_files import read_audio
from mdasr.corpus.entries import Choice
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import import_corpus
from mdasr.corpus.records import Corpus
from mdasr.decode.graph import build_graph
from mdasr.decode.search import SearchOptions, decode
from mdasr.language.arpa_reader import read_arpa
from mdasr.language.lexicon import Lexicon
from mdasr.language.text_files import read_sentences, read_vocabulary
from mdasr.model.directory import Recognizer, compose_language
from mdasr.model.gmm_directory import GmmRecognizer
from mdasr.perturb import Codec, MeasuredRoom, NoiseAlone, PacketLoss, Recipe, draw_room
from mdasr.perturb.masks import BandMask, TimeMask
from mdasr.perturb.noises import read_noises
from mdasr.training.word_models import read_questions
from tests.damage import BOMB, OF_BYTES, OF_TEXT
from tests.manifests import lines as write_lines
from tests.manifests import noise, recording, supervision
from tests.signs_training import state
from tests.toy_speech import LEXICON, NGRAM, TREE, toy_corpus, toy_gmm, toy_language, untrained_recognizer

LONGEST_S = 20  # what takes longer hangs; nothing here needs a tenth of it


class Kind(NamedTuple):
    """A kind of file: the function that writes it, the file to damage (a pattern), and the function that reads it.

    An import that sets lines aside returns the text of their reasons.
    """

    write: Callable[[Path], Any]
    damaged: str
    read: Callable[[Path], Any]
    text: bool = False
    cases: int = 6


def tone(path: Path) -> None:
    soundfile.write(path, 0.1 * np.sin(np.arange(4000) / 5), 16_000)


def m4a(path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise(0.5)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        file.mux([*stream.encode(frame), *stream.encode(None)])


def audio(name: str) -> Kind:
    write = m4a if name.endswith("m4a") else tone
    return Kind(lambda folder: write(folder / name), name, lambda folder: read_audio(folder / name))


def importing(kind: str, damaged: str, write: Callable[[Path], Any], at: str = "", **fields: str) -> Kind:
    def read(folder: Path) -> str:
        split = "train" if kind in ("commonvoice", "huggingface") else ""
        choice = Choice(domain="d", fields=fields, spell_numbers=True)
        report = import_corpus(Origin(kind, folder / at, split=split), folder / "out", "c", choice)
        assert len(report.corpus) == report.kept == len([*Corpus(folder / "out")])
        return "".join(f"line {each.line}: {each.reason}\n" for each in report.set_aside)

    return Kind(write, damaged, read, damaged.rpartition(".")[2] not in ("arrow", "parquet", "gz"))


def manifest(folder: Path) -> None:
    tone(folder / "a.wav")
    rows = [
        {"id": f"u{i}", "audio": "a.wav", "text": f"Good morning {i}.", "speaker": "s", "domain": "d",
         "sample_rate": 16_000, "duration_s": 0.25, "start_s": 0.0, "end_s": 0.2, "channel": 0}
        for i in range(3)
    ]  # fmt: skip
    rows[0] = {name: rows[0][name] for name in ("id", "audio", "text", "speaker", "domain")}
    write_lines(folder / "m.jsonl", rows)


def nemo(folder: Path) -> None:
    tone(folder / "a.wav")
    rows = [{"audio_filepath": "a.wav", "text": "yes", "duration": 0.1, "offset": 0.1 * i} for i in range(2)]
    write_lines(folder / "m.json", rows)


def lhotse(folder: Path) -> None:
    tone(folder / "a.wav")
    said = [supervision(f"s{i}", "r", 0.1 * i, 0.1) for i in range(2)]
    write_lines(folder / "recordings.jsonl", [recording("r", "a.wav", 0.25)])
    write_lines(folder / "supervisions.jsonl", said)
    cut = {"id": "c", "type": "MonoCut", "start": 0.0, "duration": 0.25, "channel": 0}
    cut |= {"supervisions": said, "recording": recording("r", "a.wav", 0.25)}
    write_lines(folder / "cuts.jsonl", [cut, {**cut, "id": "d"}])
    write_lines(folder / "cuts.jsonl.gz", [cut], compress=True)


def kaldi(folder: Path) -> None:
    tone(folder / "a.wav")
    (folder / "wav.scp").write_text("r a.wav\n")
    (folder / "text").write_text("u1 good morning\nu2 yes\n")
    (folder / "utt2spk").write_text("u1 s\nu2 s\n")
    (folder / "segments").write_text("u1 r 0.0 0.1\nu2 r 0.1 -1\n")
    (folder / "reco2file_and_channel").write_text("r a A\n")


def commonvoice(folder: Path) -> None:
    (folder / "clips").mkdir()
    tone(folder / "clips" / "a.mp3")
    (folder / "train.tsv").write_text(
        "client_id\tpath\tsentence\tage\ns\ta.mp3\tGood \u00ad morning\t40\ns\ta\tYes\t\n"
    )


def huggingface(folder: Path) -> None:
    tone(folder / "a.flac")
    cells = [{"bytes": (folder / "a.flac").read_bytes(), "path": "a.flac"}] * 2
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table({"audio": pyarrow.array(cells, kind), "text": ["good morning", "yes"], "age": [40, 41]})
    (folder / "parquet").mkdir()
    pyarrow.parquet.write_table(table, folder / "parquet" / "train-0.parquet")
    (folder / "arrow" / "train").mkdir(parents=True)
    with pyarrow.ipc.new_stream(folder / "arrow" / "train" / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    (folder / "arrow" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    told = {"_data_files": [{"filename": "data.arrow"}], "_split": "train"}
    (folder / "arrow" / "train" / "state.json").write_text(json.dumps(told))


def text(name: str, content: str, read: Callable[[Path], Any], cases: int = 8) -> Kind:
    return Kind(lambda folder: (folder / name).write_text(content), name, lambda f: read(f / name), True, cases)


def recipes() -> str:
    room = draw_room(3, 0, ["a", "b"])
    codec, masks = Codec("opus", 24, loss=PacketLoss(0.1, 2.0)), ((TimeMask(0.5, 0.2),), (BandMask(3, 9),))
    return Recipe(room, True, codec, 1.1, -3.0, 0.9, (1.5,) * 7, 0.1, *masks, NoiseAlone("a", 0.5)).to_json()


def recipe_in_words(path: Path) -> None:
    Recipe.from_json(path.read_bytes().decode(errors="replace"))


def tree() -> str:
    node = "root A\n  left 0\n    leaf 0\n    right 1\n      leaf 1\n      leaf 2\nroot SIL\n  leaf 3\n"
    return f"mdasr-tree 1\nphones A SIL\nquestion 0 A\nquestion 1 A SIL\n{node}"


def aligned(folder: Path) -> None:
    alignment = toy_corpus(folder / "c", [0.3]).alignments("exact")[0]
    write_textgrid(folder / "u.TextGrid", alignment, 0.3)
    (folder / "c.ctm").write_text("".join(f"{line}\n" for line in ctm_lines(alignment)))


def small_corpus(folder: Path) -> None:
    toy_corpus(folder, [0.3, 0.4])


def read_corpus(folder: Path) -> None:
    found = Corpus(folder)
    alignments = found.alignments("exact")
    assert len([*found]) == len(found.num_samples) == len(found) and len([*alignments]) == len(alignments)
    assert found.info["hours"] >= 0 and found.domain


def small_model(folder: Path) -> None:
    untrained_recognizer(toy_language(folder), cells=4).write(folder)


def read_model(folder: Path) -> None:
    found = Recognizer.read(folder)
    scores = np.random.default_rng(0).standard_normal((9, TREE.num_leaves)).astype(np.float32)
    decode(found.graph, scores, found.search)


def model(damaged: str, cases: int = 6) -> Kind:
    return Kind(small_model, damaged, read_model, damaged.endswith(("json", "txt", "arpa")), cases)


def small_gmm(folder: Path) -> None:
    features = GmmFeatures(bands=20, cepstra=1)
    language = compose_language(folder, LEXICON, TREE, NGRAM.to_arpa(), topology=TOPOLOGY)
    GmmRecognizer(toy_gmm(features), language, SearchOptions(), {"tree": digest(TREE)}).write(folder)


def stage(name: str, later: tuple[str, ...] = ()) -> Kind:
    """A stage of a graph that is built again without the stages `later`."""

    def write(folder: Path) -> None:
        build_graph(LEXICON, NGRAM.to_arpa(), TREE, cache=folder)
        for path in folder.glob("*.fst"):
            if path.name.partition("-")[0] in later:
                path.unlink()

    return Kind(write, f"{name}-*.fst", lambda folder: build_graph(LEXICON, NGRAM.to_arpa(), TREE, cache=folder))


def events(folder: Path) -> None:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for step in range(5):
            writer.add_scalar("train/loss", 1 / (1 + step), step)
    next(folder.glob("events*")).rename(folder / "events.out.tfevents.1.host")


def told(folder: Path) -> None:
    rows = [{"id": f"u{i}", "speaker": "s", "reference": "a", "hypothesis": "b"} for i in range(2)]
    (folder / "r.json").write_text(json.dumps({"wer": 1.5, "utterances": rows}, indent=1))


QUESTIONS, WORDS = "AA S\nSIL\n\nAA\n", "<unk>\nzebra\nit's\n"
MEASURED = Recipe(MeasuredRoom("hall", (), 10.0)).to_json()
PRONOUNCED = ";;; a comment\nTHE  DH AH0\nTHE(2)  DH IY1 # formal\nONE  W AH1 N\n"
KINDS: dict[str, Kind] = {
    **{name: audio(f"a.{name}") for name in ("wav", "flac", "ogg", "mp3", "aiff", "au", "m4a")},
    "noises": Kind(lambda folder: tone(folder / "n.wav"), "n.wav", read_noises),
    "noises in flac": Kind(lambda folder: tone(folder / "n.flac"), "n.flac", read_noises),
    "manifest": importing("manifest", "m.jsonl", manifest, "m.jsonl"),
    "audio of a manifest": importing("manifest", "a.wav", manifest, "m.jsonl"),
    "NeMo": importing("nemo", "m.json", nemo, "m.json"),
    "Lhotse's recordings": importing("lhotse", "recordings.jsonl", lhotse),
    "Lhotse's supervisions": importing("lhotse", "supervisions.jsonl", lhotse),
    "Lhotse's cuts": importing("lhotse", "cuts.jsonl", lhotse, "cuts.jsonl"),
    "Lhotse's cuts, gzipped": importing("lhotse", "cuts.jsonl.gz", lhotse, "cuts.jsonl.gz"),
    **{f"Kaldi's {name}": importing("kaldi", name, kaldi)
       for name in ("wav.scp", "text", "utt2spk", "segments", "reco2file_and_channel")},
    "Common Voice": importing("commonvoice", "train.tsv", commonvoice),
    "Hugging Face's Parquet": importing("huggingface", "parquet/train-0.parquet", huggingface, "parquet"),
    **{f"Hugging Face's {name}": importing("huggingface", f"arrow/{name}", huggingface, "arrow")
       for name in ("train/data.arrow", "train/state.json", "dataset_dict.json")},
    "ARPA": text("lm.arpa", NGRAM.to_arpa(), read_arpa, 12),
    "lexicon": text("cmudict", PRONOUNCED, Lexicon.read),
    "own lexicon": text("lexicon.txt", "a\t0.5\tAA S\na\t0.5\tAA\nb\t1\tS\n", Lexicon.read),
    "vocabulary": text("words", WORDS, read_vocabulary, 4),
    "sentences": text("s.txt", "Good morning.\nYes, it's 4!\n", lambda path: [*read_sentences([path], [])], 4),
    "questions": text("q.txt", QUESTIONS, lambda path: read_questions(path, LEXICON.phones), 4),
    "recipe": text("recipe", recipes(), recipe_in_words, 12),
    "recipe of a measured room": text("recipe", MEASURED, recipe_in_words, 4),
    "recipe in a file": text("r.json", recipes(), lambda path: read_recipe(str(path))),
    "tree": text("tree.txt", tree(), Tree.read, 10),
    "TextGrid": Kind(aligned, "u.TextGrid", lambda folder: read_textgrid(folder / "u.TextGrid", "u"), True, 10),
    "CTM": Kind(aligned, "c.ctm", lambda folder: read_ctm(folder / "c.ctm"), True),
    "corpus.json": Kind(small_corpus, "corpus.json", read_corpus, True, 8),
    **{name: Kind(small_corpus, name, read_corpus) for name in ("lengths.npy", "align-exact.npy",
       "audio-00000-of-00001.array_record", "align-exact-00000-of-00001.array_record")},
    **{name: model(name) for name in ("model.json", "params.npz", "priors.npy", "stats.json", "graph/HCLG.fst",
       "graph/graph.json", "graph/words.txt")},
    **{f"model's {name}": model(name, 2) for name in ("tree.txt", "lexicon.txt", "lm.arpa")},
    **{f"GMM's {name}": Kind(small_gmm, name, GmmRecognizer.read, name == "model.json", 4)
       for name in ("gmm.npz", "model.json")},
    "stage G": stage("G", ("LG", "CLG", "tied")),
    "stage tied": stage("tied"),
    "run.json": text("run.json", '{"data": ["1f"], "cells": [4]}', lambda path: check_run(path, {"data": ["1f"]}), 4),
    "training curves": Kind(events, "events.out.tfevents.1.host", read_curves),
    "evaluation": Kind(told, "r.json", lambda folder: read_evaluation(folder / "r.json"), True),
}  # fmt: skip
_SAMPLES = "a sample may have any value, so a damaged one looks like a loud one"
# The seeds of the damages that are not noticed, and the reason why that is right.
UNNOTICED: dict[str, tuple[tuple[int, ...], str]] = {
    "wav": ((0, 2), _SAMPLES),
    "aiff": ((1,), _SAMPLES),
    "au": ((0, 1, 3), _SAMPLES),
    "audio of a manifest": ((0, 2), _SAMPLES),
    "m4a": ((2,), "its header also states how long a frame lasts"),
    "noises": ((3, 4), "a part of a noise is a noise"),
    "noises in flac": ((5,), "FLAC's checksums do not cover the name of the program that wrote it"),
    "manifest": ((0, 4), "fewer lines, and another id, are a valid manifest"),
    "NeMo": ((4,), "fewer lines are a valid manifest"),
    "Lhotse's recordings": ((5,), "a recording that is listed twice is the same recording"),
    "Lhotse's supervisions": ((4,), "fewer lines are valid supervisions"),
    "Kaldi's wav.scp": ((5,), "no utterance is part of the recording that the garbage names"),
    "Kaldi's text": ((5,), "the end of a text is a text"),
    "Kaldi's utt2spk": ((5,), "the garbage names no utterance"),
    "Kaldi's reco2file_and_channel": ((1, 3, 5), "a recording of one channel needs no entry"),
    "lexicon": (
        (0, 1, 2, 3, 4, 5, 6, 7),
        "other words and phones, comments, and lines set aside are valid",
    ),
    "own lexicon": ((2, 3, 4), "lines that are not UTF-8 are set aside, and counted on standard error"),
    "vocabulary": ((0,), "fewer words are a valid vocabulary"),
    "sentences": ((0, 1, 2, 3), "any text is a text"),
    "questions": ((0, 1), "fewer phones are a valid question"),
    "recipe": ((6,), "a gain of -1 dB is valid"),
    "TextGrid": ((1, 3, 4), "the reader counts the intervals itself, as Praat does"),
    "CTM": ((2, 4, 5), "fewer phones are valid; whether they fit an utterance is checked with its audio"),
    "corpus.json": ((0, 1, 2), "only reading the whole corpus could check the number of words"),
    "audio-00000-of-00001.array_record": ((5,), "the damage lies in the padding of a block"),
    "params.npz": ((1,), "ZIP states the size of an array in two places, and the other one counts"),
    "run.json": ((1,), "facts that no command asks for are not compared"),
    "training curves": ((0, 3), "a killed training leaves such a file"),
    "evaluation": ((1, 2), "any text is a valid id, and the WER is counted again from the utterances"),
}
# The seeds of the damages whose message names something other than the damaged file, and the reason.
NAMED_OTHERWISE: dict[str, tuple[tuple[int, ...], str]] = {
    "Lhotse's supervisions": ((1,), "the message names the folder, as there is no line to blame"),
    "Kaldi's text": ((4,), "the message names `segments`, which lacks the utterances of the text"),
    "run.json": ((2, 3), "the message names the folder: another configuration was trained there"),
}
IN_WORDS = ("recipe", "recipe of a measured room")
FIELDS_OF_RECIPES = (
    "recipe: ",
    "room: ",
    "codec: ",
    "packet loss: ",
    "time mask: ",
    "band mask: ",
)  # these are given in words, not in a file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the undamaged folder of a kind; the first call writes it."""
    made: dict[Any, Path] = {}

    def of(kind: str) -> Path:
        if (write := KINDS[kind].write) not in made:
            made[write] = tmp_path_factory.mktemp("whole")
            write(made[write])
        return made[write]

    return of


@pytest.fixture
def original(kind, whole) -> Path:
    """The undamaged folder of the kind that a test is about, written before pickles are refused."""
    return whole(kind)


@pytest.fixture
def guarded(monkeypatch, tmp_path):
    """Fail the test if it takes long or loads a pickle; end the process if a signal cannot stop it."""

    def refused(*_: object, **__: object) -> None:
        pytest.fail("a pickle is being loaded")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refused)
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"nothing came of it within {LONGEST_S} s"))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    faulthandler.dump_traceback_later(3 * LONGEST_S, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    assert not Path(BOMB).exists(), "a pickle was loaded"


def attempt(kind: str, seed: int, original: Path, folder: Path) -> tuple[str, str]:
    """Damage the file of a copy and read it; return how it was refused, and the message."""
    chosen, rng = KINDS[kind], np.random.default_rng([seed, len(kind)])
    shutil.copytree(original, folder)
    (path,) = folder.glob(chosen.damaged)
    damages = OF_TEXT if chosen.text else OF_BYTES
    damage = damages[(seed + len(kind)) % len(damages)]
    whole = damaged = path.read_bytes()
    while damaged == whole:
        damaged = damage(whole, rng)
    path.write_bytes(damaged)
    try:
        said = chosen.read(folder)
    except (ValueError, OSError) as error:  # which the command line prints
        named = str(error).startswith(FIELDS_OF_RECIPES) if kind in IN_WORDS else path.name in str(error)
        assert kind in IN_WORDS or str(folder) in str(error)
        return "named" if named else "named otherwise", str(error)
    return ("named", said) if isinstance(said, str) and said else ("unnoticed", "")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_is_taken(kind, original, guarded, tmp_path):
    shutil.copytree(original, tmp_path / "copy")
    KINDS[kind].read(tmp_path / "copy")


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in KINDS for seed in range(KINDS[kind].cases)])
def test_what_is_damaged_is_refused_by_name_but_for_the_exceptions(kind, seed, original, guarded, tmp_path):
    """A line that an import sets aside counts as named: the report has its number and what is wrong with it."""
    expected = "named"
    for outcome, exceptions in (("unnoticed", UNNOTICED), ("named otherwise", NAMED_OTHERWISE)):
        if seed in exceptions.get(kind, ((),))[0]:
            expected = outcome
    found, said = attempt(kind, seed, original, tmp_path / "copy")
    assert found == expected, said


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder)
    for step in (20, 30):
        checkpoints.save(step, state(step))
    checkpoints.wait()
    checkpoints.close()
    return folder


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_checkpoint_is_whole_or_the_one_before_is_taken(seed, two_checkpoints, guarded, tmp_path):
    shutil.copytree(two_checkpoints, tmp_path / "copy" / "checkpoints")
    rng = np.random.default_rng(seed)
    files = sorted(path for path in (tmp_path / "copy" / "checkpoints" / "30").rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    path.write_bytes(OF_BYTES[seed % len(OF_BYTES)](path.read_bytes(), rng))
    checkpoints = Checkpoints(tmp_path / "copy" / "checkpoints")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = checkpoints.restore(state(0))
    checkpoints.close()
    assert found and digest_of(found) == digest_of(state(20 if (tmp_path / "copy" / "damaged" / "30").exists() else 30))
    assert any("training goes on from step 20" in str(each.message) for each in warned) == (found["step"] == 20)
