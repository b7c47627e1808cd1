"""A preparation job that is killed again and again ends with the same files as one that is not."""

import json
import multiprocessing
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mdasr.cli.main import main
from mdasr.corpus.entries import Choice
from mdasr.corpus.listing import Origin
from mdasr.corpus.manifest import import_corpus
from mdasr.corpus.records import Corpus

# Separate child processes, so that SIGKILL can hit them; from a fork server, so that they start quickly.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mdasr.corpus.manifest"])


def ids(utterances, good):
    """Every fifteenth recording is broken."""
    return [f"u{i:03d}" for i in range(utterances) if (i % 15 != 4) == good]


def kaldi(folder, utterances):
    """Make a Kaldi directory whose recordings take a moment each."""
    data = folder / "data"
    data.mkdir()
    for i in range(utterances):
        soundfile.write(data / f"{i}.flac", np.random.default_rng(i).uniform(-0.1, 0.1, 3200 + 10 * i), 16_000)
    names = [f"u{i:03d}" for i in range(utterances)]
    wav = [f"{name} sleep 0.02; cat {'no' if i % 15 == 4 else i}.flac |" for i, name in enumerate(names)]
    (data / "wav.scp").write_text("\n".join(wav) + "\n")
    (data / "text").write_text("".join(f"{name} good morning\n" for name in names))
    (data / "utt2spk").write_text("".join(f"{name} s\n" for name in names))


def start(folder, out, workers):
    source = Origin("kaldi", folder / "data", allow_commands=True)
    arguments = (source, folder / out, "c", Choice(domain="d"), workers, 3)
    process = SERVER.Process(target=import_corpus, args=arguments)
    process.start()
    return process


def finish(process):
    process.join()
    assert process.exitcode == 0


def files(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(child) for child in listed.split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_death(pids):
    for _ in range(200):
        if not any(map(alive, pids)):
            return
        time.sleep(0.05)
    raise AssertionError("workers outlive the job")


def check_kills(folder, utterances, kills, workers):
    kaldi(folder, utterances)
    finish(start(folder, "whole", workers))
    rng, out = random.Random(0), folder / "killed"
    for _ in range(kills):
        # It is killed at some moment after it has written something more.
        before = len(list(out.glob("audio-*.array_record")))
        job = start(folder, "killed", workers)
        while job.is_alive() and len(list(out.glob("audio-*.array_record"))) <= before:
            time.sleep(0.005)
        time.sleep(0.06 * rng.random())
        processes = children(job.pid)
        assert job.is_alive(), "it was done before it could be killed: more utterances are needed"
        job.kill()
        job.join()
        wait_for_death(processes)
        with pytest.raises(FileNotFoundError, match="run the same command again"):
            Corpus(out)
    finish(start(folder, "killed", workers))
    assert files(out) == files(folder / "whole"), "bit for bit, and nothing left over"
    assert [utterance.id for utterance in Corpus(out)] == ids(utterances, good=True)
    aside = [json.loads(line)["id"] for line in (out / "set_aside.jsonl").read_text().splitlines()]
    assert aside == ids(utterances, good=False)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_three_kills_change_nothing(tmp_path):
    check_kills(tmp_path, 40, 3, workers=1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ten_kills_of_a_job_with_two_workers_change_nothing(tmp_path):
    check_kills(tmp_path, 240, 10, workers=2)


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_the_rest_is_kept(tmp_path, capsys):
    kaldi(tmp_path, 12)
    scp = tmp_path / "data" / "wav.scp"
    good = scp.read_text()
    scp.write_text(good.replace("u007 sleep 0.02;", "u007 sleep 2; kill -9 $PPID;"))
    arguments = ["import", "kaldi", str(tmp_path / "data"), "--allow-commands", "--corpus", "c", "--domain", "d"]
    arguments += ["--rows-per-shard", "3", "--workers", "2", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "a worker process died" in capsys.readouterr().err
    assert (tmp_path / "out" / "audio-00000-of-00004.array_record").exists()
    assert not (tmp_path / "out" / "audio-00002-of-00004.array_record").exists()
    scp.write_text(good)
    assert main(arguments) == 3
    assert [utterance.id for utterance in Corpus(tmp_path / "out")] == ids(12, good=True)


def test_prepare_imports_and_validates(tmp_path, capsys):
    kaldi(tmp_path, 10)
    arguments = ["prepare", "kaldi", str(tmp_path / "data"), "--corpus", "c", "--domain", "d", "--workers", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--allow-commands", "--chars-per-s", "100"]) == 3
    printed = capsys.readouterr().out
    assert "9 utterances" in printed and "1 lines set aside" in printed and "no problems" in printed
    assert json.loads((tmp_path / "out" / "validation.json").read_text())["utterances"] == 9
