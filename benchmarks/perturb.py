"""How fast perturbations and features are made, in CPU seconds of one core, beside peers that are installed.

python benchmarks/perturb.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: CPU seconds of one core

import librosa
import numpy as np
import pyroomacoustics

from mdasr.data.noises import KINDS, make_noises
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
    stream,
)

SECONDS = 5
COUNT = 14  # utterances a round: two of each codec condition

NOISES = make_noises("dev")
# Many talkers at once stand for speech: on white noise or on a tone codecs take another time.
BABBLE = [KINDS["babble"](stream("benchmark", i)) for i in range(COUNT // 2)]
WAVES = [
    (0.3 * part / np.abs(wave).max()).astype(np.float32)
    for wave in BABBLE
    for part in (wave[: SECONDS * 16_000], wave[SECONDS * 16_000 :])
]
# A room with three noise sources, bandwidth with probability 0.5, each codec as often as the others.
POLICY = Policy(1.0, RoomRanges(sources=(3, 3)), tuple(NOISES))
PLAIN = [draw(POLICY, 0, f"benchmark/{i}", 0) for i in range(COUNT)]
CODED = [dataclasses.replace(r, codec=TRAINING_CODECS[i % 7]) for i, r in enumerate(PLAIN)]
FAST = [dataclasses.replace(r, codec=r.codec and dataclasses.replace(r.codec, search="fast")) for r in CODED]
ROOMS = [dataclasses.replace(draw_room(i, 1, (), RoomRanges(sources=(0, 0))), rt60_s=0.9) for i in range(COUNT)]


def chain(recipes: list[Recipe]) -> float:
    for wave, recipe in zip(WAVES, recipes):
        log_mel(perturb(wave, recipe, NOISES))
    return COUNT * SECONDS


def responses() -> float:
    for room in ROOMS:
        impulse_responses(room)
    return COUNT


def pyroomacoustics_hybrid() -> float:
    """Image method up to order 3, then ray tracing; its image method alone would take seconds a response."""
    room = ROOMS[0]
    absorption, _ = pyroomacoustics.inverse_sabine(room.rt60_s, room.size_m)
    theirs = pyroomacoustics.ShoeBox(
        room.size_m,
        fs=16_000,
        max_order=3,
        ray_tracing=True,
        materials=pyroomacoustics.Material(absorption),
    )
    theirs.add_source(room.target_m)
    theirs.add_microphone(room.microphone_m)
    theirs.compute_rir()
    return 1


def ours_log_mel() -> float:
    for wave in WAVES:
        log_mel(wave)
    return COUNT * SECONDS


def librosa_log_mel() -> float:
    for wave in WAVES:
        power = librosa.feature.melspectrogram(
            y=wave, sr=16_000, n_fft=1024, win_length=512, hop_length=160, center=False, n_mels=128, fmin=125,
            fmax=7500, htk=True, norm=None,
        )  # fmt: skip
        np.log(power + 1e-6)
    return COUNT * SECONDS


AUDIO, RESPONSES = "s of audio per CPU s", "responses per CPU s"
FIGURES: dict[str, tuple[str, Callable[[], float], dict[str, Callable[[], float]]]] = {
    "chain_codec": (AUDIO, lambda: chain(CODED), {}),
    "chain_codec_fast_search": (AUDIO, lambda: chain(FAST), {}),
    "chain_plain": (AUDIO, lambda: chain(PLAIN), {}),
    "rir_rt60_0.9": (RESPONSES, responses, {"pyroomacoustics (hybrid)": pyroomacoustics_hybrid}),
    "logmel": (AUDIO, ours_log_mel, {"librosa": librosa_log_mel}),
}


def measure(rounds: int) -> dict[str, dict]:
    """The best of several rounds of each figure, ours and the peers' taking turns."""
    best: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for figure, (_, ours, peers) in FIGURES.items():
            for name, work in {"ours": ours, **peers}.items():
                start = time.process_time()
                amount = work()
                speed = amount / (time.process_time() - start)
                best[figure, name] = max(speed, best.get((figure, name), 0.0))
    return {
        figure: {
            "unit": unit,
            "ours": round(best[figure, "ours"], 1),
            "peers": {name: round(best[figure, name], 2) for name in peers},
        }
        for figure, (unit, _, peers) in FIGURES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures = measure(options.rounds)
    for name, figure in figures.items():
        peers = ", ".join(f"{peer} {speed}" for peer, speed in figure["peers"].items())
        print(f"{name:25} {figure['ours']:9.1f} {figure['unit']:22} {peers}")
    if options.json:
        versions = {name: version(name) for name in ("numpy", "scipy", "soxr", "av", "librosa", "pyroomacoustics")}
        device = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        content = {"figures": figures, "device": device, "versions": versions}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
