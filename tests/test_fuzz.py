"""Damaged files of every kind: each is accepted, or refused by name; none hangs, and none is unpickled."""

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

from mdasr import frontend
from mdasr.acoustic.checkpoints import Checkpoints, check_run, digest_of
from mdasr.acoustic.encoders.lstm import LSTM
from mdasr.acoustic.network import ModelConfig, init_params
from mdasr.acoustic.training_log import read_curves
from mdasr.align.tree import Tree
from mdasr.cli.recognition import read_evaluation
from mdasr.cli.sounds import read_recipe
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
from mdasr.model.directory import Recognizer
from mdasr.perturb import Codec, MeasuredRoom, PacketLoss, Recipe, draw_room
from mdasr.perturb.noises import read_noises
from mdasr.training.word_models import make_language, read_questions, train_ngram
from tests.damage import BOMB, OF_BYTES, OF_TEXT
from tests.tasks import monophone_tree
from tests.test_checkpoints import state
from tests.test_importers import lines as write_lines
from tests.test_importers import noise, recording, supervision
from tests.test_loader import toy_corpus

LONGEST_S = 20  # what takes longer hangs; nothing here needs a tenth of it
LEXICON = Lexicon({"ah": ((("AA",), 1.0),), "s": ((("S",), 1.0),)})
TREE = monophone_tree(LEXICON.phones)
ARPA = train_ngram(["ah s", "ah s", "s", "ah"], 2, LEXICON)


class Kind(NamedTuple):
    """A kind of file: the function that writes it, the file to damage, and the function that reads it."""

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
    def read(folder: Path) -> None:
        split = "train" if kind in ("commonvoice", "huggingface") else ""
        choice = Choice(domain="d", fields=fields, spell_numbers=True)
        report = import_corpus(Origin(kind, folder / at, split=split), folder / "out", "c", choice)
        assert len(report.corpus) == report.kept == len([*Corpus(folder / "out")])

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
    return Recipe(room, True, Codec("opus", 24, loss=PacketLoss(0.1, 2.0)), 1.1).to_json()


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
    language, config = make_language(folder, LEXICON, TREE, ARPA), ModelConfig(LSTM((4,)), TREE.num_leaves)
    stats = frontend.FeatureStats(np.full(128, -5, np.float32), np.ones(128, np.float32))
    priors = np.zeros(TREE.num_leaves, np.float32)
    Recognizer(config, init_params(config, 0), stats, priors, language, SearchOptions(), {}).write(folder)


def read_model(folder: Path) -> None:
    found = Recognizer.read(folder)
    scores = np.random.default_rng(0).standard_normal((9, TREE.num_leaves)).astype(np.float32)
    decode(found.graph, scores, found.search)


def model(damaged: str, cases: int = 6) -> Kind:
    return Kind(small_model, damaged, read_model, damaged.endswith(("json", "txt", "arpa")), cases)


def stages(damaged: str) -> Kind:
    def read(folder: Path) -> None:
        (name,) = folder.glob(f"{damaged}-*.fst")
        (folder / f"kept-{damaged}").rename(name)  # as it was called before it was damaged
        build_graph(LEXICON, ARPA.to_arpa(), TREE, cache=folder)

    return Kind(all_stages, f"kept-{damaged}", read)


def all_stages(folder: Path) -> None:
    build_graph(LEXICON, ARPA.to_arpa(), TREE, cache=folder)
    for path in [*folder.glob("*.fst")]:
        shutil.copyfile(path, folder / f"kept-{path.name.partition('-')[0]}")


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
    "ARPA": text("lm.arpa", ARPA.to_arpa(), read_arpa, 12),
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
    "stage G": stages("G"),
    "stage tied": stages("tied"),
    "run.json": text("run.json", '{"data": ["1f"], "cells": [4]}', lambda path: check_run(path, {"data": ["1f"]}), 4),
    "training curves": Kind(events, "events.out.tfevents.1.host", read_curves),
    "evaluation": Kind(told, "r.json", lambda folder: read_evaluation(folder / "r.json"), True),
}  # fmt: skip
IN_WORDS = ("recipe", "recipe of a measured room")
FIELDS_OF_RECIPES = ("recipe: ", "room: ", "codec: ", "packet loss: ")  # these are given in words, not in a file


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


def attempt(kind: str, seed: int, original: Path, folder: Path) -> str:
    """Damage the file of a copy and read it; return "" if it was accepted, and the error's text otherwise."""
    chosen, rng = KINDS[kind], np.random.default_rng([seed, len(kind)])
    shutil.copytree(original, folder)
    path = folder / chosen.damaged
    damages = OF_TEXT if chosen.text else OF_BYTES
    damage = damages[(seed + len(kind)) % len(damages)]
    path.write_bytes(damage(path.read_bytes(), rng))
    try:
        chosen.read(folder)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_is_taken(kind, whole, guarded, tmp_path):
    shutil.copytree(whole(kind), tmp_path / "copy")
    KINDS[kind].read(tmp_path / "copy")


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in KINDS for seed in range(KINDS[kind].cases)])
def test_what_is_damaged_is_taken_or_refused_by_name(kind, seed, whole, guarded, tmp_path):
    said = attempt(kind, seed, whole(kind), tmp_path / "copy")
    named = FIELDS_OF_RECIPES if kind in IN_WORDS else (str(tmp_path / "copy"),)
    assert not said or any(name in said for name in named)


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
