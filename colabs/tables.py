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
# # Table 3: train and read it
#
# The paper's Table 3 (§4.3.1) compares a model trained with simulated rooms and noise with one trained without them, on
# clean and on noisy speech. This notebook trains both models on the embedded synthetic corpus. The same from a shell is
# `python -m experiments table3 --scale mini --workdir runs`, with `--set NAME=VALUE` for each of the settings below.
#
# **The settings below are small**, so that this takes minutes. The networks see their data three times instead of
# eight, and the test sets are an eighth as long. The word error rates are therefore bad and the intervals are wide.
# Verdicts may differ from those of `SETTINGS = []`, which makes the table of `make demo`.

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
from io import BytesIO
from pathlib import Path

from IPython.display import SVG, Audio

from experiments.charts import Course, draw_errors, draw_training
from experiments.laboratory import Laboratory
from experiments.outcome import judged
from experiments.results import table_json, table_text
from experiments.table3_noise import TABLE
from experiments.testsets import VOICESEARCH, noisy
from mdasr.acoustic.training_log import read_curves
from mdasr.core.waveforms import RATE_HZ
from mdasr.training.scales import MINI, override

SETTINGS = ["epochs=3", "min_steps=100", "lm_sentences=5000", "test_words=600", "dev_words=300"]
laboratory = Laboratory(Path("runs"), override(MINI, SETTINGS))

# %% [markdown]
# ## Models and test sets
#
# Each column is a model. Each row is a test set: a domain, and the condition in which its test utterances are heard.

# %%
for name, model in TABLE.columns.items():
    print(f"{name}: trained on {', '.join(model.domains)}; with noise on {', '.join(model.noise_on) or 'none of them'}")
for name, test_set in TABLE.rows.items():
    conditions = " in rooms, with noise" * test_set.noise + " at 8 kHz" * test_set.narrowband
    print(f"{name}: test utterances of {test_set.domain}{conditions}")

# %% [markdown]
# ## The data
#
# The corpora are made once, and later runs use them again. The training corpora always have their full size.

# %%
laboratory.gather(TABLE.pairs().values())
for domain in TABLE.columns["w/ Noise"].domains:
    corpus = laboratory.corpus(domain, "train")
    print(f"{domain}: {len(corpus)} utterances, {60 * corpus.info['hours']:.0f} minutes")

# %% [markdown]
# ## Train, distort, recognise
#
# This cell makes lexicon, tree, language model and graph. It trains the two networks, and distorts each of the five
# test sets once for both. If you interrupt it at any moment and run it again, it continues where it was.

# %%
results = laboratory.results([TABLE])

# %%
courses = {}
for model in TABLE.columns.values():
    curves = read_curves(laboratory.directory(model) / "tensorboard")
    steps = laboratory.recognizer(model).facts["steps"]
    courses[model.name] = [Course(curves["train/loss"], curves["train/frame_accuracy"], steps)]
draw_training(picture := BytesIO(), courses)
SVG(picture.getvalue())

# %% [markdown]
# ## The table
#
# Each cell is a word error rate in percent with its 95% interval over speakers, beside the paper's. The speech here is
# synthetic, so do not compare the numbers with the paper's. Compare the pattern.

# %%
table = table_json(TABLE, [results])
print(table_text(TABLE, table))

# %%
draw_errors(picture := BytesIO(), table["cells"])
SVG(picture.getvalue())

# %% [markdown]
# ## The paper's claims
#
# The paired 95% interval of the difference decides whether a claim holds or fails. A claim is undecided if the test
# sets are too small to tell (docs/experiments.md).

# %%
for claim in judged([laboratory]):
    print(f"{claim['id']} {claim['verdict']}: {claim['claim']}\n     {claim['evidence']}")

# %% [markdown]
# ## Behind a cell
#
# This is one utterance of "Voicesearch + Noise", of at most 3 s, as the models hear it. It is the one that training
# with noise improved most. The words of both models stand above the player.

# %%
test_set = noisy(VOICESEARCH)
without, with_noise = (results[model, test_set] for model in TABLE.columns.values())
waves = laboratory.waves(test_set)
short = [i for i, wave in enumerate(waves) if len(wave) < 3 * RATE_HZ]
chosen = max(short, key=lambda i: without[i].errors.wer - with_noise[i].errors.wer)
print(f"said:      {without[chosen].reference}")
print(f"w/o Noise: {without[chosen].hypothesis}")
print(f"w/ Noise:  {with_noise[chosen].hypothesis}")
Audio(waves[chosen], rate=RATE_HZ)
