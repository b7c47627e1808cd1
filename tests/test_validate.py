"""Validation: each measure against a reference on signals whose answer is known, each problem provoked once."""

import itertools
import json

import numpy as np
import pytest
import scipy.signal
import soundfile

from mdasr.cli.main import main
from mdasr.corpus.audio_files import to_int16
from mdasr.corpus.entries import Choice
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import import_manifest
from mdasr.corpus.measures import bandwidth_hz, clipped_share, implausible, measure, silent_share
from mdasr.corpus.records import Alignment, Utterance, write_alignments
from mdasr.corpus.validate import Limits, validate_corpora, validate_source, validation
from mdasr.perturb import narrowband
from tests.toy_speech import toy_corpus

RATE_HZ = 16_000


def babble(seconds, seed=0, peak=0.5):
    """Make noise with the slope of speech (-9 dB an octave above 500 Hz) in syllables, with pauses down to silence."""
    rng = np.random.default_rng(seed)
    noise = scipy.signal.lfilter([1.0], [1.0, -0.8], rng.standard_normal(round(seconds * RATE_HZ)))
    syllables = np.maximum(0, np.sin(2 * np.pi * 3 * np.arange(len(noise)) / RATE_HZ)) ** 2
    wave = noise * syllables
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


@pytest.mark.parametrize("cutoff_hz", [2_000, 3_400, 5_750, 7_250])
@pytest.mark.parametrize("peak", [0.9, 0.02])
def test_the_cut_off_of_a_filter_is_found(cutoff_hz, peak):
    taps = scipy.signal.firwin(401, cutoff_hz, fs=RATE_HZ, window=("kaiser", 10))
    wave = scipy.signal.lfilter(taps, 1, babble(3)).astype(np.float32)
    assert abs(bandwidth_hz(to_int16(peak * wave / np.abs(wave).max())) - cutoff_hz) < 200
    assert bandwidth_hz(to_int16(babble(3, peak=peak))) > 7_800


def test_the_traces_of_codecs_and_telephones_are_seen():
    pytest.importorskip("av", reason="PyAV is not installed (extra `codecs`)")
    from mdasr.perturb import TRAINING_CODECS, encode_decode

    wave = babble(3)
    assert not measured(wave).narrowed
    assert measured(narrowband(wave)).narrowed
    (mp3,) = [codec for codec in TRAINING_CODECS if str(codec) == "mp3 23k"]
    coded = measured(encode_decode(wave, mp3))
    assert coded.narrowed and 5_500 < coded.bandwidth_hz < 6_200


def runs_by_hand(wave):
    """Count samples in runs of three or more at the top or the bottom, one by one."""
    count = 0
    for near in ([x >= 0.99 * wave.max() for x in wave], [x <= 0.99 * wave.min() for x in wave]):
        lengths = [len(list(run)) for inside, run in itertools.groupby(near) if inside]
        count += sum(n for n in lengths if n >= 3)
    return count / len(wave)


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_clipping_is_found_after_the_audio_was_made_softer(gain):
    wave = babble(2, peak=0.8)
    clipped = to_int16((gain * np.clip(wave, -0.2, 0.25)).astype(np.float32))
    assert clipped_share(clipped) == pytest.approx(runs_by_hand(clipped.astype(int)))
    # Most samples beyond the limits have neighbours there, too.
    assert clipped_share(clipped) > 0.5 * np.mean((wave > 0.25) | (wave < -0.2))
    assert clipped_share(to_int16(gain * wave)) < 1e-4


def test_silence_is_counted():
    wave = np.concatenate([babble(2), np.zeros(2 * RATE_HZ, np.float32), 1e-4 * babble(4, seed=1)])
    steady = to_int16(np.sin(np.arange(8 * RATE_HZ)).astype(np.float32) / 2)
    assert silent_share(steady) == 0
    assert 0.75 <= silent_share(to_int16(wave)) < 0.95
    assert silent_share(to_int16(babble(0.02))) in (0, 1), "less than a frame"


def measured(wave, text="words"):
    return measure(Utterance("u", "c", "d", "s", text, to_int16(np.asarray(wave, np.float32))))


@pytest.mark.parametrize("offset", [0.0, 0.05, -0.2])
@pytest.mark.parametrize("peak", [0.5, 0.02])
def test_an_offset_is_measured_and_changes_no_other_measure(offset, peak):
    wave = babble(3, peak=peak)
    plain, moved = measured(wave), measured(wave + offset)
    assert moved.dc == pytest.approx(plain.dc + offset, abs=2 / 32768), "both are rounded to 16 bits"
    assert moved.dc_share == pytest.approx(abs(moved.dc) / 10 ** (plain.level_dbfs / 20), rel=0.02, abs=0.02)
    assert moved.level_dbfs == pytest.approx(plain.level_dbfs, abs=0.1)
    assert moved.modulation == pytest.approx(plain.modulation, rel=0.01)
    assert moved.silent == pytest.approx(plain.silent, abs=0.05)
    assert moved.bandwidth_hz == pytest.approx(plain.bandwidth_hz, abs=100)


def test_levels_are_those_where_it_is_loud():
    sine = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    for db in (-6, -40, -70):
        tone = 10 ** (db / 20) * sine
        padded = np.concatenate([np.zeros(9 * RATE_HZ), tone])
        assert measured(tone).level_dbfs == pytest.approx(db - 3.01, abs=0.2)
        assert measured(padded).level_dbfs == pytest.approx(db - 3.01, abs=0.2)
    assert measured([0.1] * RATE_HZ).level_dbfs == pytest.approx(-101, abs=0.2), "an offset is no sound"
    assert measured([0.1] * RATE_HZ).modulation < 1e-9


@pytest.mark.parametrize("rate_hz", [3, 5, 8])
@pytest.mark.parametrize("depth", [0.25, 0.5, 1.0])
def test_the_modulation_of_a_modulated_tone_is_its_depth(rate_hz, depth):
    """A sine varies about its mean with the amplitude `depth`: its modulation is `depth` over the root of 2."""
    seconds = np.arange(4 * RATE_HZ) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 1000 * seconds) * (1 + depth * np.sin(2 * np.pi * rate_hz * seconds))
    assert measured(tone).modulation == pytest.approx(depth / np.sqrt(2), rel=0.06)


@pytest.mark.parametrize("rate_hz", [0.5, 40])
def test_slow_and_fast_changes_are_no_speech(rate_hz):
    seconds = np.arange(8 * RATE_HZ) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 1000 * seconds) * (1 + np.sin(2 * np.pi * rate_hz * seconds))
    assert measured(tone).modulation < 0.1


def test_steady_noises_are_told_from_speech_in_noise():
    rng, limit = np.random.default_rng(0), Limits.modulation
    band = scipy.signal.butter(2, [300, 600], "bandpass", fs=RATE_HZ, output="sos")
    hum = sum(np.sin(2 * np.pi * 50 * k * np.arange(3 * RATE_HZ) / RATE_HZ) / k for k in range(1, 8))
    for seed in range(10):
        white = rng.standard_normal(3 * RATE_HZ)
        pink = scipy.signal.lfilter([1], [1, -0.95], white)
        fading = np.linspace(0.1, 1, len(white)) * white
        for noise in (white, pink, fading, hum + 0.01 * white, scipy.signal.sosfilt(band, white)):
            assert measured(0.01 * noise).modulation < limit
        speech = babble(3, seed=seed)
        loud = np.sqrt(np.mean(speech**2))
        assert measured(speech).modulation > 4 * limit
        assert measured(0.1 * (speech + loud * white)).modulation > 1.5 * limit, "speech at an SNR of 0 dB"


def test_noise_alone_is_a_problem_only_where_words_are_claimed():
    hiss = 0.01 * np.random.default_rng(0).standard_normal(2 * RATE_HZ)
    for wave, text, kinds in ((hiss, "words", ["noise alone"]), (hiss, "", []), (hiss[:9_000], "words", [])):
        assert [problem.kind for problem in validation("w", [measured(wave, text)], Limits()).problems] == kinds


@pytest.fixture
def folder(tmp_path):
    clipped = np.clip(babble(2, seed=3, peak=4.0), -0.9, 0.9)
    quiet = np.concatenate([babble(0.5), np.zeros(30 * RATE_HZ, np.float32)])
    hiss = 0.01 * np.random.default_rng(4).standard_normal(3 * RATE_HZ)
    waves = {"good": babble(2), "again": babble(2), "fast": babble(1, seed=2), "clipped": clipped, "quiet": quiet}
    waves |= {"offset": babble(2, seed=5) + 0.05, "faint": babble(2, seed=6, peak=0.005), "hiss": hiss}
    waves["whisper"] = np.concatenate([babble(1, seed=7, peak=0.1)] * 61)
    rows = []
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", to_int16(wave.astype(np.float32)), RATE_HZ)
        text = "a naïve remark of some length that nobody says in a second" if name == "fast" else "good morning"
        rows.append({"id": name, "audio": f"{name}.wav", "text": text, "speaker": name, "domain": "d"})
    rows.append({**rows[0], "audio": "absent.wav"})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


KINDS = {
    "audio twice": "again",
    "transcript too long for its audio": "fast",
    "clipped": "clipped",
    "silent": "quiet",
    "offset (DC)": "offset",
    "quiet": "faint",
    "noise alone": "hiss",
    "long": "whisper",
}


def test_each_problem_is_told_with_its_utterance(folder, capsys):
    import_manifest(folder / "m.jsonl", folder / "out", "c")
    found = validate_corpora([folder / "out"], Limits())
    assert {problem.kind: problem.key for problem in found.problems} == {k: f"c/{v}" for k, v in KINDS.items()}
    before = validate_source(Origin("manifest", folder / "m.jsonl"), Choice(), Limits())
    assert {(p.kind, p.key) for p in before.problems} == {
        ("not usable", "good"),
        *((kind, f"m/{name}") for kind, name in KINDS.items()),
    }
    assert main(["validate", str(folder / "out"), "--json", str(folder / "v.json"), "--workers", "1"]) == 3
    printed = capsys.readouterr().out
    assert "problem: clipped: 1\n  c/clipped: " in printed and "ï:1" in printed and "16000: 9" in printed
    written = json.loads((folder / "v.json").read_text())
    assert (written["utterances"], len(written["all"])) == (9, 9)
    assert written["hours"] == pytest.approx((2 + 2 + 1 + 2 + 30.5 + 2 + 2 + 3 + 61) / 3600, abs=1e-4)
    assert main(["validate", str(folder / "m.jsonl"), "--format", "manifest", "--workers", "1"]) == 3


def test_what_is_good_ends_with_0_and_limits_are_the_users(folder, capsys):
    import_manifest(folder / "m.jsonl", folder / "out", "c", {"id": "good"})
    import_manifest(folder / "m.jsonl", folder / "valid", "v", {"id": "again"})
    assert main(["validate", str(folder / "out"), "--workers", "1"]) == 0
    assert "no problems" in capsys.readouterr().out
    strict = {"--chars-per-s": "2", "--dc": "1e-9", "--dbfs": "-5", "--modulation": "3", "--seconds": "1.9"}
    for option, limit in strict.items():
        assert main(["validate", str(folder / "out"), option, limit, "--workers", "1"]) == 3, option
    assert main(["validate", str(folder / "out"), str(folder / "valid"), "--workers", "1"]) == 3
    assert "v/again: the same samples as c/good" in capsys.readouterr().out
    twice = validate_corpora([folder / "out", folder / "out"], Limits())
    assert [problem.kind for problem in twice.problems] == ["id twice"]
    assert main(["validate", str(folder / "nowhere")]) == 2


PHONES = ("SIL", "M", "A", "S", "I", "Z", "U")


@pytest.mark.parametrize(
    ("phones", "lengths_s", "reason"),
    [
        (PHONES, (2.0, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2), ""),  # a pause may be long
        (("SIL", "Y", "EH", "S", "SIL"), (0.5, 0.03, 8.2, 0.03, 0.5), "the phone EH lasts 8.20 s; at most 1 s"),
        (("SIL",), (5.0,), ""),
        ((), (), ""),
    ],
)
def test_phones_of_implausible_length_are_named(phones, lengths_s, reason):
    found = implausible(Alignment("u", phones, tuple(np.cumsum(lengths_s).tolist())))
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_what_is_wrong_with_alignments_is_told(tmp_path, capsys):
    corpus = toy_corpus(tmp_path / "toy", [0.9, 0.9, 0.9])
    good = corpus.alignments("exact")[0]
    long = Alignment("u1", ("AA", "S"), (3.5, 3.6))
    write_alignments(corpus, "mfa", [good, long, Alignment("u2", (), (), reason="no pronunciation for 'qua'")])
    assert main(["validate", str(corpus.directory), "--workers", "1"]) == 3
    printed = capsys.readouterr().out
    assert "problem: alignment: 2\n  toy/u1: mfa: the phone AA lasts 3.50 s" in printed
    assert "  toy/u2: mfa: no pronunciation for 'qua'" in printed


@pytest.mark.slow
def test_workers_change_nothing(folder):
    import_manifest(folder / "m.jsonl", folder / "out", "c")
    found = [validate_corpora([folder / "out"] * 2, Limits(), workers) for workers in (1, 2)]
    assert found[0] == found[1]
