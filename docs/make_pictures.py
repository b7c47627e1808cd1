"""Draw the README's pictures, after `make env`: `.venv/bin/python docs/make_pictures.py`."""

import dataclasses
from pathlib import Path

from mdasr.align.flat_start import agreement, align
from mdasr.analysis.pictures import draw_alignment, draw_perturbations, draw_response
from mdasr.language.lexicon import Lexicon
from mdasr.perturb import EVALUATION_ROOMS, FURTHER_CODECS, TRAINING_CODECS, UNSEEN_CODECS, Recipe, draw_room, perturb
from mdasr.perturb.noises import make_noises
from mdasr.synth import embedded

HERE = Path(__file__).parent


def main() -> None:
    corpus = embedded.make(HERE.parent / "runs" / "mini" / "corpus" / "voicesearch-train", "Voicesearch", "train")
    lexicon = Lexicon.from_counts(embedded.observed_pronunciations(corpus))
    found, exact = corpus.alignments(align([corpus], lexicon).name), corpus.alignments(embedded.ALIGNMENT)
    within = agreement(*zip(*(pair for pair in zip(exact, found) if pair[1].phones)))
    print(f"the aligner's boundaries: {within[0]:.1%} within 20 ms of the exact ones, {within[1]:.1%} within 50 ms")
    chosen = next(i for i, u in enumerate(corpus) if 2.5 < u.seconds < 3.2 and len(u.text.split()) >= 6)
    utterance = corpus[chosen]
    draw_alignment(HERE / "alignment.png", utterance, {"exact": exact[chosen], "aligner": found[chosen]})

    noises = make_noises("test")
    rooms = (draw_room(index, 0, sorted(noises)) for index in range(*EVALUATION_ROOMS))
    room = next(room for room in rooms if len(room.sources) == 2)
    sounds = f"{len(room.sources)} noises, {room.snr_db:.0f} dB, RT60 {room.rt60_s:.2f} s"
    recipes = [("as recorded", Recipe()), (f"room: {sounds}", Recipe(room=room)), ("8 kHz", Recipe(narrowband=True))]
    for codec in (*TRAINING_CODECS, *UNSEEN_CODECS):
        if codec is not None:
            unseen = " (unseen)" if codec in UNSEEN_CODECS else ""
            recipes.append((f"{codec.name.upper()} {codec.kbps} kbps{unseen}", Recipe(codec=codec)))
    waves = [(title, perturb(utterance.samples, recipe, noises)) for title, recipe in recipes]
    draw_perturbations(HERE / "perturbations.png", waves)
    heard = [(str(codec), perturb(utterance.samples, Recipe(codec=codec), {})) for codec in FURTHER_CODECS]
    draw_perturbations(HERE / "codecs.png", [("as recorded", utterance.samples), *heard])
    draw_response(HERE / "room.png", dataclasses.replace(draw_room(5, 0, sorted(noises)), rt60_s=0.5))


if __name__ == "__main__":
    main()
