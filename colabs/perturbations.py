# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
# In Colab, choose *Upload* and this file.
#
# # From an utterance to features
#
# This notebook sends one utterance through every box of the paper's Fig. 1: room and noise (§3.1), bandwidth (§3.2),
# codec (§3.3) and features (§3.4). All random choices are written in a *recipe*, one line of JSON. The same recipe
# gives the same samples again. The output has as many samples as the input and stays aligned with it, so labels stay
# right.
#
# The players scale every sound to the same peak, so you cannot compare levels by ear.

# %%
# On Colab, where mdasr is missing, this cell clones REPOSITORY and installs it with pinned versions. If there is a GPU,
# it also installs CUDA for jax. That takes about two minutes. Where mdasr is installed, the cell does nothing.
# If Colab asks you to restart the session afterwards, restart it and run all cells again.
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = os.environ.get("MDASR_REPOSITORY", "")  # the Git address of mdasr, or the path of a checkout

if importlib.util.find_spec("mdasr") is None:
    if not REPOSITORY:
        raise RuntimeError("mdasr is not installed: set REPOSITORY in this cell to its Git address, and run it again")
    checkout = Path("mdasr-checkout")
    if not checkout.exists():
        subprocess.run(["git", "clone", "--quiet", "--depth=1", REPOSITORY, str(checkout)], check=True)
    pins = (checkout / "constraints.txt").read_text()
    if importlib.util.find_spec("jax"):  # pip keeps a jax that is installed already, unless it is too old
        pins = re.sub(r"(?m)^jax(lib)?==.*\n", "", pins)
    (checkout / "pins.txt").write_text(pins)
    package = ".[codecs,synth,cuda]" if shutil.which("nvidia-smi") else ".[codecs,synth]"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "-c", "pins.txt", package]
    subprocess.run(install, cwd=checkout, check=True)
    importlib.invalidate_caches()

# %%
from pathlib import Path

import numpy as np
from IPython.display import Audio, Image

from mdasr.analysis.pictures import draw_perturbations, draw_response
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import read_audio
from mdasr.frontend import PAPER_STEPS, log_mel
from mdasr.perturb import TRAINING_CODECS, Codec, Policy, Recipe, draw, draw_room, perturb
from mdasr.perturb.noises import make_noises
from mdasr.synth import embedded

RECORDING = ""  # a file of your own, a few seconds long; without one, the embedded corpus gives an utterance
WORK = Path("runs")
WORK.mkdir(exist_ok=True)

# %%
if RECORDING:
    wave, _ = read_audio(RECORDING)
else:
    corpus = embedded.make(WORK / "voicesearch", "Voicesearch", "dev", words=60)
    utterance = next(each for each in corpus if 2.0 < each.seconds < 2.4)
    wave = utterance.samples
    print(utterance.text)
Audio(wave, rate=RATE_HZ)

# %% [markdown]
# ## Room and noise (§3.1)
#
# Room `i` of a collection is a pure function of `i`, so three million rooms need no storage. This room is one of the
# worse that §3.1 allows: it is reverberant, and the speech is at most 10 dB above the noises.

# %%
noises = make_noises("train")
rooms = (draw_room(index, seed=0, snippets=sorted(noises)) for index in range(1000))
room = next(each for each in rooms if len(each.sources) == 2 and each.rt60_s > 0.5 and 5 < each.snr_db < 10)
in_room = Recipe(room=room)
print(in_room.to_json())
Audio(perturb(wave, in_room, noises), rate=RATE_HZ)

# %%
draw_response(WORK / "response.png", room)
Image(WORK / "response.png")

# %% [markdown]
# ## Bandwidth (§3.2)
#
# The speech is resampled to 8 kHz and back, which removes everything above 4 kHz.

# %%
narrow = Recipe(narrowband=True)
Audio(perturb(wave, narrow, noises), rate=RATE_HZ)

# %% [markdown]
# ## Codec (§3.3)
#
# The speech is encoded and decoded again, and the codec's delay is removed. Training draws from seven conditions:

# %%
print(*TRAINING_CODECS, sep=", ")
coded = Recipe(codec=Codec("mp3", 23))
Audio(perturb(wave, coded, noises), rate=RATE_HZ)

# %% [markdown]
# ## All together

# %%
everything = Recipe(room=room, narrowband=True, codec=Codec("mp3", 23))
Audio(perturb(wave, everything, noises), rate=RATE_HZ)

# %% [markdown]
# ## Features (§3.4)
#
# The network gets 128 log-mel bands every 10 ms. Four frames are stacked, and every third stack is kept. The pictures
# show these bands, down to 60 dB below the loudest.

# %%
frames = log_mel(perturb(wave, everything, noises))
steps = PAPER_STEPS.num_steps(len(frames))
print(f"{len(wave)} samples, {frames.shape[0]} frames of {frames.shape[1]}, {steps} steps of 512")

# %%
recipes = {
    "as recorded": Recipe(),
    f"room: RT60 {room.rt60_s:.2f} s, SNR {room.snr_db:.0f} dB": in_room,
    "8 kHz": narrow,
    "MP3 at 23 kbit/s": coded,
    "AAC at 23 kbit/s": Recipe(codec=Codec("aac", 23)),
    "room, 8 kHz, MP3 at 23 kbit/s": everything,
}
heard = [(title, perturb(wave, recipe, noises)) for title, recipe in recipes.items()]
draw_perturbations(WORK / "boxes.png", heard, columns=2)
Image(WORK / "boxes.png")

# %% [markdown]
# ## In training
#
# A policy says what may happen to the utterances of a domain, and how often. The recipe of a visit depends on the seed,
# the utterance and the number of the visit. It does not depend on workers or devices. Each visit sounds different.

# %%
policy = Policy(noise_probability=0.8, noises=tuple(sorted(noises)), codecs=TRAINING_CODECS)
visits = [draw(policy, seed=8, utterance_key="colab/utterance", visit=visit) for visit in range(4)]
for recipe in visits:
    print(recipe.to_json())


# %%
def title(visit: int, recipe: Recipe) -> str:
    room = f"SNR {recipe.room.snr_db:.0f} dB" if recipe.room else "no room"
    return f"visit {visit}: {room}, {'8' if recipe.narrowband else '16'} kHz, {recipe.codec or 'no codec'}"


heard = [(title(visit, recipe), perturb(wave, recipe, noises)) for visit, recipe in enumerate(visits)]
draw_perturbations(WORK / "visits.png", heard, columns=2)
Image(WORK / "visits.png")

# %% [markdown]
# A recipe that is read from its line of JSON gives the same samples, bit for bit:

# %%
replayed = perturb(wave, Recipe.from_json(visits[0].to_json()), noises)
assert np.array_equal(replayed, heard[0][1])
