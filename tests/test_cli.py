"""The command line as people use it: results on standard output, clear errors, exit statuses."""

import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from mdasr.cli.main import COMMANDS, main
from mdasr.corpus.records import Corpus
from mdasr.perturb import KIM_ROOMS, MeasuredRoom, Recipe, RoomRanges, draw_room
from mdasr.perturb.noises import make_noises
from mdasr.perturb.recipe import VERSION
from mdasr.recognize.transcript import Passage
from tests.toy_speech import toy_corpus, toy_language, untrained_recognizer

pytestmark = pytest.mark.usefixtures("few_noises")


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "in.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(22_050) / 5) * (np.arange(22_050) % 4000 < 2500), 22_050)
    return path


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Make a folder with words.txt, lexicon.txt, good.arpa, in.wav, the corpus toy and a model."""
    folder = tmp_path_factory.mktemp("things")
    untrained_recognizer(toy_language(folder / "model"), cells=4).write(folder / "model")
    toy_corpus(folder / "toy", [0.5] * 3)
    (folder / "words.txt").write_text("ah s\n")
    shutil.copyfile(folder / "model" / "lexicon.txt", folder / "lexicon.txt")
    shutil.copyfile(folder / "model" / "lm.arpa", folder / "good.arpa")
    soundfile.write(folder / "in.wav", 0.1 * np.sin(np.arange(16_000) / 5), 16_000)
    return folder


def test_perturb_prints_a_recipe_that_replays_to_the_same_samples(recording, tmp_path, capsys):
    first, again = tmp_path / "first.wav", tmp_path / "again.flac"
    assert main(["perturb", str(recording), str(first), "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert Recipe.from_json(printed).room is not None
    assert main(["perturb", str(recording), str(again), "--recipe", printed]) == 0
    (a, rate_hz), (b, _) = (soundfile.read(path, dtype="int16") for path in (first, again))
    assert rate_hz == 16_000
    np.testing.assert_array_equal(a, b)
    assert len(a) == 16_000  # the same second


def test_perturb_hears_through_measured_responses(recording, tmp_path, capsys):
    (tmp_path / "rooms").mkdir()
    response = np.zeros((4_000, 2))
    response[100, 0], response[900, 0] = 0.5, 0.25
    soundfile.write(tmp_path / "rooms" / "hall.wav", response, 16_000)
    out = tmp_path / "out.wav"
    assert main(["perturb", str(recording), str(out), "--responses", str(tmp_path / "rooms")]) == 0
    recipe = Recipe.from_json(capsys.readouterr().out)
    assert isinstance(recipe.room, MeasuredRoom) and recipe.room.response == "hall.wav"
    assert main(["perturb", str(recording), str(out), "--recipe", recipe.to_json()]) == 2
    assert "response 'hall.wav' is missing" in capsys.readouterr().err


def test_perturb_prints_its_schema(capsys):
    assert main(["perturb", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Recipe.json_schema()
    assert main(["perturb", "in.wav"]) == 2
    assert "give a recording IN and a file OUT to write" in capsys.readouterr().err


def test_rooms_are_exported_as_they_are_drawn(tmp_path, capsys, drawn):
    out, picture = tmp_path / "rooms.parquet", tmp_path / "rooms.png"
    arguments = ["rooms", "--out", str(out), "--first", "3000000", "--count", "40", "--seed", "3"]
    assert main([*arguments, "--tail-cut-db", "20", "--picture", str(picture)]) == 0
    assert "40 rooms" in capsys.readouterr().out
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["index"] for row in rows] == list(range(3_000_000, 3_000_040))
    snippets = sorted(make_noises("train"))
    for row in rows:
        room = draw_room(row["index"], 3, snippets, RoomRanges(tail_cut_db=20.0))
        assert row["rt60_s"] == pytest.approx(room.rt60_s) and row["snr_db"] == pytest.approx(room.snr_db)
        assert row["tail_cut_db"] == 20 and row["tail_seed"] == room.tail_seed
        assert [s["snippet"] for s in row["sources"]] == [s.snippet for s in room.sources]
        assert row["distance_m"] == pytest.approx(np.linalg.norm(np.subtract(row["target_m"], row["microphone_m"])))
    assert picture.is_file() and drawn["rooms.png"].get_suptitle().startswith("40 rooms")
    assert main([*arguments, "--rooms", "kim", "--picture", str(picture)]) == 0
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["rt60_s"] for row in rows] == pytest.approx(
        [draw_room(i, 3, snippets, KIM_ROOMS).rt60_s for i in range(3_000_000, 3_000_040)]
    )
    ends = [line.get_xdata()[0] for line in drawn["rooms.png"].axes[2].lines]
    assert ends == [*KIM_ROOMS.distance_m], "the picture has the ends of these rooms' distances"
    assert main(["rooms", "--out", str(out), "--count", "0"]) == 2


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("{", "not JSON"),
        ('{"version": 1}', f"recipe: has version 1, but this release replays only version {VERSION}"),
        ('{"room": null}', f"recipe: has no version, but this release replays only version {VERSION}"),
        (f'{{"version": {VERSION}, "room": null}}', "needs the fields"),
        ("my/recipe.json", "my/recipe.json: no such recipe (give the JSON that `mdasr perturb` prints, or a file"),
    ],
)
def test_a_broken_recipe_is_explained(recording, tmp_path, capsys, recipe, message):
    assert main(["perturb", str(recording), str(tmp_path / "out.wav"), "--recipe", recipe]) == 2
    assert message in capsys.readouterr().err


def test_import_tells_what_it_set_aside(recording, tmp_path, capsys):
    rows = [
        {"id": "a", "audio": "in.wav", "text": "Yes.", "speaker": "s", "domain": "d"},
        {"id": "b", "audio": "../in.wav", "text": "no", "speaker": "s", "domain": "d"},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["import", "manifest", str(manifest), "--corpus", "c", "--out", str(tmp_path / "c")]
    assert main(arguments) == 3
    printed = capsys.readouterr().out
    assert "1 utterances" in printed
    assert "line 2 (b)" in printed
    assert main(arguments) == 3, "what is done already is reported again"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("lm perplexity no words.txt", "no: no such n-gram model (an ARPA file; `mdasr lm train` writes one)"),
        ("lm perplexity good.arpa no", "no: no such text (a line a sentence)"),
        ("lm prune no --out x.arpa", "no: no such n-gram model"),
        ("lm mix no good.arpa --held-out words.txt --out x.arpa", "no: no such n-gram model"),
        ("lm train no --out x.arpa", "no: no such text (a line a sentence)"),
        ("lm train words.txt --vocabulary no --out x.arpa", "no: no such vocabulary (a line a word)"),
        ("graph model --lm no", "no: no such n-gram model"),
        ("graph model --lexicon no", "no: no such lexicon (in CMUdict's format"),
        ("graph no", "no is not a model"),
        ("tree show no b-ae+t", "no: no such tree of CDPhones (`mdasr train` writes a model's tree.txt)"),
        ("tree show model b-ae+t", "the tree has no phone 'B'; it has AA S SIL"),
        ("perturb no out.wav", "no: no such file; a recording should be there (WAV,"),
        ("perturb words.txt out.wav", "words.txt: this is text, not sound"),
        ("perturb in.wav out.what", "out.what: libsndfile cannot write the format WHAT; give a file .wav or .flac"),
        ("perturb in.wav out.wav --noises no", "no: not a folder; give one that holds noise recordings"),
        ("evaluate model toy --against no", "no: no such result of `mdasr evaluate --json`"),
        ("evaluate model no", "no is not a corpus"),
        ("align toy --lexicon no", "no: no such lexicon"),
        ("train toy --out m --lexicon lexicon.txt --questions no", "no: no such list of phonetic questions (a set of"),
        ("train toy --out m --lexicon no", "no: no such lexicon"),
        ("lm train words.txt --out words.txt/x.arpa", "words.txt: File exists"),
        ("train toy --out m --noises toy", "toy: these sounds are for training with noise; give --noise, too"),
        (
            "evaluate model toy --noises toy",
            "toy: no condition adds these sounds; give --condition noise:10 or room:10",
        ),
        (
            "import manifest m --corpus c --out c --where split=a --where split=b",
            "split=a split=b: a field is named twice",
        ),
        ("import kaldi no --domain d --corpus c --out c", "no/wav.scp: no such file; a Kaldi data directory has one"),
    ],
)
def test_what_is_missing_is_named_with_what_it_should_be(command, said, things, monkeypatch, capsys):
    monkeypatch.chdir(things)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert said in error and "Errno" not in error


def test_transcribe_goes_on_after_what_is_no_recording(things, monkeypatch, capsys):
    monkeypatch.chdir(things)
    assert main(["transcribe", "model", "no.wav", "words.txt", "in.wav"]) == 3
    printed = capsys.readouterr()
    missing, other, count = (line for line in printed.err.splitlines() if line.startswith("mdasr transcribe: "))
    assert "no.wav: no such file; a recording should be there" in missing
    assert "words.txt: this is text, not sound" in other
    assert count == "mdasr transcribe: 2 of 3 recordings were not transcribed"
    assert printed.out.startswith("in.wav\t")


def test_an_earlier_result_of_other_utterances_is_refused_before_recognising(things, tmp_path, monkeypatch, capsys):
    toy_corpus(tmp_path / "four", [0.5] * 4)
    model, earlier = str(things / "model"), str(tmp_path / "made" / "three.json")
    assert main(["evaluate", model, str(things / "toy"), "--json", earlier]) == 0
    assert main(["evaluate", model, str(things / "toy"), "--against", earlier]) == 0
    assert "matched pairs over" in capsys.readouterr().out
    monkeypatch.setattr("mdasr.recognize.network_scores.scores", None)
    assert main(["evaluate", model, str(tmp_path / "four"), "--against", earlier]) == 2
    assert f"{earlier}: a result of other utterances" in capsys.readouterr().err


def test_a_single_utterance_is_scored_without_an_interval(things, tmp_path, capsys):
    toy_corpus(tmp_path / "one", [0.5])
    command = ["evaluate", str(things / "model"), str(tmp_path / "one")]
    assert main([*command, "--json", str(tmp_path / "r.json")]) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())
    assert f"WER {found['wer']:.1f} % (" in printed and "; one utterance, so no interval)" in printed
    assert found["ci95"] is None and found["ci95_over"] is None
    assert main([*command, "--against", str(tmp_path / "r.json"), "--condition", "8khz"]) == 0
    assert "points (one utterance, so no interval); matched pairs over" in capsys.readouterr().out
    assert main([*command, "--condition", "clean", "--condition", "8khz"]) == 0
    assert f"| {found['wer']:.1f} |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ("in.wav words.txt", "srt", "--format srt of 2 recordings: subtitles belong to one recording"),
        ("in.wav sub/in.flac", "ctm", "in.wav and sub/in.flac would both be called 'in' in the output"),
        ("in.wav sub/in.flac", "json", "in.wav and sub/in.flac would both be called 'in' in the output"),
        ("in_a.wav in\ta.wav", "ctm", "in_a.wav and in\ta.wav would both be called 'in_a' in the output"),
    ],
)
def test_recordings_that_the_output_could_not_tell_apart_are_refused(files, kind, said, things, monkeypatch, capsys):
    monkeypatch.chdir(things)
    assert main(["transcribe", "model", *files.split(" "), "--format", kind]) == 2
    assert said in capsys.readouterr().err


def test_of_silence_no_subtitle_is_printed(things, monkeypatch, capsys):
    monkeypatch.chdir(things)
    monkeypatch.setattr("mdasr.recognize.transcript.transcribe", lambda *_, **__: [Passage(0.0, 1.0, ())])
    for kind, printed in (("srt", ""), ("ctm", ""), ("text", "\n"), ("vtt", "WEBVTT\n\n")):
        assert main(["transcribe", "model", "in.wav", "--format", kind]) == 0
        assert capsys.readouterr().out == printed


@pytest.fixture
def call(things, tmp_path):
    """A call of a tone and a hiss on the left, and later on the right, at 8 kHz."""
    wave = Corpus(things / "toy")[0].samples[::2]
    quiet = np.zeros(len(wave), np.float32)
    sides = np.stack([np.concatenate([wave, quiet]), np.concatenate([quiet, wave])], axis=1)
    soundfile.write(tmp_path / "call.wav", sides, 8000, subtype="PCM_16")
    return str(tmp_path / "call.wav")


def test_the_channels_of_a_call_are_each_transcribed_as_alone(call, things, small_lattices, tmp_path, capsys):
    """Each side has the words and times that it has as a file of its own, under the name of its channel."""
    model, alone = str(things / "model"), {}
    sides, rate_hz = soundfile.read(call)
    for name, number in (("A", 0), ("B", 1)):
        path = tmp_path / name / "call.wav"
        path.parent.mkdir()
        soundfile.write(path, sides[:, number], rate_hz, subtype="PCM_16")
        assert main(["transcribe", model, str(path), "--format", "ctm"]) == 0
        alone[name] = capsys.readouterr().out.replace("call 1 ", f"call {name} ")
        assert main(["transcribe", model, call, "--channel", str(number), "--format", "ctm"]) == 0
        assert capsys.readouterr().out == alone[name] and f"call {name} " in alone[name]
    assert main(["transcribe", model, call, "--channels", "all", "--format", "ctm"]) == 0
    assert capsys.readouterr().out == alone["A"] + alone["B"]
    assert main(["transcribe", model, "--channels", "all", call]) == 0
    starts = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert starts == sorted(starts) and {start[-1] for start in starts} == {"A", "B"}


def test_a_silent_side_of_a_call_is_named_and_a_mono_file_has_one_side(call, things, tmp_path, capsys):
    model, (sides, rate_hz) = str(things / "model"), soundfile.read(call)
    soundfile.write(tmp_path / "half.wav", sides * [1, 0], rate_hz, subtype="PCM_16")
    assert main(["transcribe", model, str(tmp_path / "half.wav"), "--channels", "all"]) == 0
    printed = capsys.readouterr()
    assert "half.wav: every sample of channel 1 is zero" in printed.err
    assert printed.out.splitlines() and all(" A: " in line for line in printed.out.splitlines())
    soundfile.write(tmp_path / "none.wav", 0 * sides, rate_hz, subtype="PCM_16")
    assert main(["transcribe", model, str(tmp_path / "none.wav"), "--channels", "all"]) == 3
    assert "none.wav: every sample is zero" in capsys.readouterr().err
    soundfile.write(tmp_path / "mono.wav", sides[:, 0], rate_hz, subtype="PCM_16")
    assert main(["transcribe", model, str(tmp_path / "mono.wav")]) == 0
    alone = capsys.readouterr().out
    assert main(["transcribe", model, str(tmp_path / "mono.wav"), "--channels", "all"]) == 0
    assert capsys.readouterr().out == alone
    for more in (["--channel", "0"], ["--nbest", "2"]):
        assert main(["transcribe", model, call, "--channels", "all", *more]) == 2
        assert "give no --nbest or --channel" in capsys.readouterr().err
    assert main(["transcribe", model, call, "--channel", "2"]) == 3
    assert "there is no channel 2; the file has 2, counted from 0" in capsys.readouterr().err


def test_options_and_files_come_in_any_order(call, things, capsys):
    model, printed = str(things / "model"), set()
    options = ["--channel", "1", "--format", "srt"]
    for order in (
        [model, call, *options],
        [model, *options, call],
        [*options, model, call],
        [*options[:2], model, *options[2:], call],
    ):
        assert main(["transcribe", *order]) == 0
        printed.add(capsys.readouterr().out)
    assert len(printed) == 1 and printed.pop()
    toy = str(things / "toy")
    assert main(["evaluate", model, toy, "--condition", "clean", toy]) == 0
    assert capsys.readouterr().out.count(": WER ") == 2
    for wrong in (["transcribe"], ["transcribe", model, call, "--nonsense"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "required: MODEL" in printed and "unrecognized arguments: --nonsense" in printed


def test_a_missing_manifest_is_an_error_not_a_traceback(tmp_path, capsys):
    assert main(["import", "manifest", str(tmp_path / "no"), "--corpus", "c", "--out", str(tmp_path / "c")]) == 2
    assert "no such manifest" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: mdasr" in printed and "%%" not in printed
