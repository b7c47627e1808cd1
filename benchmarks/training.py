"""Speed of training with the loader: `benchmarks/training.py [--scale paper] [--hours 20] [--steps 100] [--json FILE]`.

The script makes a corpus of the embedded domains with --hours of speech, and keeps it in --workdir. It then takes
--steps training steps from the shards as `mdasr train` does, with the rooms and noise of the scale, 8 kHz and codecs.
The alignment is the corpus' own. The tree is small, but the network has as many outputs as the scale says. Speed is
hours of audio a second. The share of time spent waiting shows whether the loader keeps up.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from pathlib import Path

from mdasr.acoustic.devices import device
from mdasr.acoustic.row_schedule import Source
from mdasr.acoustic.train import train
from mdasr.core.waveforms import RATE_HZ
from mdasr.frontend import PAPER_STEPS
from mdasr.language.lexicon import ARPABET, SILENCE
from mdasr.perturb import Policy
from mdasr.perturb.noises import make_noises
from mdasr.synth import embedded
from mdasr.training.plan import FAST_CODECS, ROW_PIECES, make_rows, plan_training, room_ranges
from mdasr.training.pool import Pool
from mdasr.training.regimes import AS_PUBLISHED
from mdasr.training.scales import SCALES, Scale, override
from mdasr.training.word_models import grow_tree

TREE_UTTERANCES, LEAVES = 400, 100


def make_pool(root: Path, scale: Scale, hours: float, workers: int, codecs: bool) -> Pool:
    """Make a pool of all domains that are not held out, with the same hours of each."""
    noises = make_noises("train")
    policy = Policy(
        noise_probability=scale.noise_probability,
        rooms=room_ranges(scale),
        noises=tuple(sorted(noises)),
        codecs=FAST_CODECS if codecs else (None,),
    )
    domains = [domain for domain in embedded.DOMAINS.values() if not domain.held_out]
    minutes = 60 * hours / len(domains)
    made = [
        embedded.make(root / f"{each.slug}-{minutes:g}", each.name, "train", workers=workers, minutes=minutes)
        for each in domains
    ]
    sources = tuple(Source(corpus, embedded.ALIGNMENT, policy) for corpus in made)
    return Pool(sources, (), noises, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="paper", choices=SCALES)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting, such as batch=128"
    )
    parser.add_argument("--hours", type=float, default=20.0, help="hours of speech in the corpus (20)")
    parser.add_argument("--steps", type=int, default=100, help="training steps (100)")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="number of the loader's processes"
    )
    parser.add_argument(
        "--features-on", choices=["host", "accelerator"], default="host", help="where features are made (host)"
    )
    parser.add_argument(
        "--no-codecs", action="store_true", help="leave out codecs: an accelerator cannot simulate them"
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/bench"), help="folder of the corpus (runs/bench)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()

    scale = override(SCALES[chosen.scale], chosen.set)
    pool = make_pool(chosen.workdir, scale, chosen.hours, chosen.workers, not chosen.no_codecs)
    some = dataclasses.replace(pool.sources[0], indices=tuple(range(min(TREE_UTTERANCES, len(pool.sources[0].corpus)))))
    tree = grow_tree([some], (*ARPABET, SILENCE), LEAVES)
    pieces = ROW_PIECES if chosen.features_on == "accelerator" else 0
    plan = plan_training(pool, tree, scale, 0, AS_PUBLISHED, pieces)
    plan = dataclasses.replace(
        plan,
        config=dataclasses.replace(plan.config, num_outputs=scale.leaves),
        options=dataclasses.replace(plan.options, steps=chosen.steps, checkpoint_every=chosen.steps),
    )
    maker, featurize = make_rows(pool, tree, plan, 0, chosen.features_on)
    shutil.rmtree(chosen.workdir / "training", ignore_errors=True)
    done = train(
        plan.config, plan.options, maker, chosen.workdir / "training", workers=chosen.workers, featurize=featurize
    )
    hours = chosen.steps * scale.batch * scale.row_steps * PAPER_STEPS.step_samples / RATE_HZ / 3600
    figures = {
        "scale": scale.name,
        "batch": scale.batch,
        "corpus_hours": round(sum(source.seconds() for source in pool.sources) / 3600, 2),
        "workers": chosen.workers,
        "hours_per_s": round(hours / done.seconds, 4),
        **done.facts(),
        "device": device(),
    }
    print("\n".join(f"{name:18} {value}" for name, value in figures.items()))
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
