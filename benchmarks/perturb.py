"""Speed of perturbations and features in CPU seconds of one core, beside the peers that are installed.

make bench, or python benchmarks/perturb.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: CPU seconds of one core

import numpy as np
import peers
from peers import Work

from mdasr.frontend import log_mel
from mdasr.perturb import (
    TRAINING_CODECS,
    Policy,
    Recipe,
    RoomRanges,
    draw,
    draw_room,
    impulse_responses,
    perturb,
    random_stream,
)
from mdasr.perturb.noises import KINDS, make_noises

SECONDS = 5
COUNT = 14  # utterances a round: two of each codec condition

NOISES = make_noises("dev")
# Many talkers at once take the place of speech: codecs need another time for white noise or a tone.
BABBLE = [KINDS["babble"](random_stream("benchmark", i)) for i in range(COUNT // 2)]
WAVES = [
    (0.3 * part / np.abs(wave).max()).astype(np.float32)
    for wave in BABBLE
    for part in (wave[: SECONDS * 16_000], wave[SECONDS * 16_000 :])
]
# A room with three noise sources, 8 kHz with probability 0.5, and each codec equally often.
POLICY = Policy(1.0, RoomRanges(sources=(3, 3)), tuple(NOISES))
PLAIN = [draw(POLICY, 0, f"benchmark/{i}", 0) for i in range(COUNT)]
CODED = [dataclasses.replace(r, codec=TRAINING_CODECS[i % 7]) for i, r in enumerate(PLAIN)]
FAST = [dataclasses.replace(r, codec=r.codec and dataclasses.replace(r.codec, search="fast")) for r in CODED]
PACKAGES = (
    "numpy", "scipy", "soxr", "av", "lameenc", "soundfile", "librosa", "pyroomacoustics", "lhotse", "audiomentations",
    "torch", "rir-generator", "kaldi-native-fbank",
)  # fmt: skip
ROOMS = [dataclasses.replace(draw_room(i, 1, (), RoomRanges(sources=(0, 0))), rt60_s=0.9) for i in range(COUNT)]


def chain(recipes: list[Recipe]) -> Work:
    def work() -> float:
        for wave, recipe in zip(WAVES, recipes):
            log_mel(perturb(wave, recipe, NOISES))
        return COUNT * SECONDS

    return work


def responses() -> float:
    for room in ROOMS:
        impulse_responses(room)
    return COUNT


def features() -> float:
    for wave in WAVES:
        log_mel(wave)
    return COUNT * SECONDS


class Figure(NamedTuple):
    unit: str
    ours: Work
    peers: dict[str, Callable[[], Work]]


AUDIO, RESPONSES = "s of audio per CPU s", "responses per CPU s"
CHAIN_PEERS = {"glue": peers.glue, "lhotse": peers.lhotse_chain, "audiomentations": peers.audiomentations_chain}
FIGURES = {
    "chain_codec": Figure(
        AUDIO,
        chain(CODED),
        {name: partial(peer, WAVES, CODED, NOISES) for name, peer in CHAIN_PEERS.items()}
        | {"ffmpeg subprocess, codecs alone": partial(peers.ffmpeg_codecs, WAVES, CODED)},
    ),
    "chain_codec_fast_search": Figure(AUDIO, chain(FAST), {}),
    "chain_plain": Figure(
        AUDIO,
        chain(PLAIN),
        {name: partial(peer, WAVES, PLAIN, NOISES) for name, peer in CHAIN_PEERS.items()}
        | {"ours, jitted": partial(peers.jitted_chain, WAVES, PLAIN, NOISES, POLICY.rooms)},
    ),
    "rir_rt60_0.9": Figure(
        RESPONSES,
        responses,
        {
            "pyroomacoustics hybrid": partial(peers.pyroomacoustics_hybrid, ROOMS),
            "rir-generator": partial(peers.rir_generator, ROOMS),
            "lhotse statistical": partial(peers.lhotse_responses, ROOMS),
        },
    ),
    "logmel": Figure(
        AUDIO,
        features,
        {
            "librosa": partial(peers.librosa_mel, WAVES),
            "kaldi-native-fbank": partial(peers.kaldi_fbank, WAVES),
            "lhotse": partial(peers.lhotse_fbank, WAVES),
        },
    ),
}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(rounds: int) -> tuple[dict[str, dict], list[str]]:
    """Return the best of several rounds of each figure, and the peers that are not installed.

    Ours and the peers take turns.
    """
    best: dict[tuple[str, str], float] = {}
    missing: set[str] = set()
    works: dict[tuple[str, str], Work] = {}
    for name, figure in FIGURES.items():
        works[name, "ours"] = figure.ours
        for peer, make in figure.peers.items():
            try:
                works[name, peer] = make()
                works[name, peer]()  # to warm up, and to see whether anything is missing
            except (ImportError, OSError, RuntimeError) as error:
                missing.add(f"{peer}: {error}")
                works.pop((name, peer), None)
    for _ in range(rounds):
        for key, work in works.items():
            start = cpu_seconds()
            amount = work()
            best[key] = max(amount / (cpu_seconds() - start), best.get(key, 0.0))
    return {
        name: {
            "unit": figure.unit,
            "ours": round(best[name, "ours"], 1),
            "peers": {peer: round(best[name, peer], 2) for peer in figure.peers if (name, peer) in best},
        }
        for name, figure in FIGURES.items()
    }, sorted(missing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each figure (3)")
    options = parser.parse_args()
    figures, missing = measure(options.rounds)
    for name, figure in figures.items():
        peers = ", ".join(f"{peer} {speed}" for peer, speed in figure["peers"].items())
        print(f"{name:25} {figure['ours']:9.1f} {figure['unit']:22} {peers}")
    for peer in missing:
        print(f"peer not measured: {peer}")
    if options.json:
        versions = {name: version(name) for name in PACKAGES if find_spec(name.replace("-", "_"))}
        device = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        content = {"figures": figures, "device": device, "versions": versions}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
