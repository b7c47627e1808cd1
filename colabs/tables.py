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

# %%
# Where mdasr is not installed, as on Colab, this installs it from a checkout: there is no release on PyPI. Upload the
# folder there, or clone it, and name it here. In a checkout after `make env` there is nothing to do.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mdasr") is None:
    checkout = ".."
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", f"{checkout}[codecs,synth]"], check=True)

# %% [markdown]
# # Table 3: train and read it
#
# The paper's Table 3 (§4.3.1) asks what simulated rooms and noise in training cost on clean speech, and what they bring
# in noise. Here its two models are trained on the embedded synthetic corpus. From a shell the same is
# `python -m experiments table3 --scale mini --workdir runs`, with `--set NAME=VALUE` for each of the settings below.
#
# **The settings below are small**, so that this takes minutes: the networks see their data three times instead of
# eight, and the test sets are an eighth as long. Word error rates are bad, intervals are wide, and verdicts may come
# out otherwise than with `SETTINGS = []`, which makes the table of `make demo`.

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
# ## What is compared
#
# Columns are models, rows are test sets: a domain, and the condition in which its test utterances are heard.

# %%
for name, model in TABLE.columns.items():
    print(f"{name}: trained on {', '.join(model.domains)}; with noise on {', '.join(model.noise_on) or 'none of them'}")
for name, test_set in TABLE.rows.items():
    conditions = " in rooms, with noise" * test_set.noise + " at 8 kHz" * test_set.narrowband
    print(f"{name}: test utterances of {test_set.domain}{conditions}")

# %% [markdown]
# ## The data
#
# Made once, and found again by every later run. The training corpora have their full size whatever the settings are.

# %%
laboratory.gather(TABLE.pairs().values())
for domain in TABLE.columns["w/ Noise"].domains:
    corpus = laboratory.corpus(domain, "train")
    print(f"{domain}: {len(corpus)} utterances, {60 * corpus.info['hours']:.0f} minutes")

# %% [markdown]
# ## Train, distort, recognise
#
# Lexicon, tree, language model and graph; the two networks; the five test sets, each distorted once for both models.
# Interrupted at any moment, this cell goes on where it was.

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
# Each cell is a word error rate in percent with its 95% interval over speakers, beside the paper's. The speech is
# synthetic, so the numbers cannot be compared with the paper's; the pattern can.

# %%
table = table_json(TABLE, [results])
print(table_text(TABLE, table))

# %%
draw_errors(picture := BytesIO(), table["cells"])
SVG(picture.getvalue())

# %% [markdown]
# ## The paper's claims
#
# A claim holds if the paired 95% interval of the difference says so, and is undecided where the test sets are too small
# to tell (docs/experiments.md).

# %%
for claim in judged([laboratory]):
    print(f"{claim['id']} {claim['verdict']}: {claim['claim']}\n     {claim['evidence']}")

# %% [markdown]
# ## Behind a cell
#
# The utterance of "Voicesearch + Noise" of at most 3 s to which training with noise made the greatest difference, as
# the models hear it, and their words:

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
