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
# # Your own recordings
#
# You have a model and some transcribed recordings of a new domain. This notebook imports the recordings and measures
# how similar the new domain is to the domains that the model knows (§4.2). It then shows how the word error rate falls
# with more training speech of the new domain (§4.4), and transcribes a recording.
#
# A manifest describes the recordings, with one line of JSON for each. Its fields are `id`, `audio` (a path inside the
# manifest's folder), `text`, `speaker`, `domain` and `split`. The split is `train` or `test`; keep each speaker in one
# split. If you give no manifest, the notebook uses synthetic telephone calls. If you give no model, it trains a small
# one on two other synthetic domains.
#
# **The settings below are small**, so that this takes minutes. With minutes of speech and a few hundred steps of
# training, word error rates are bad. The level of the speech stays as it is, too (`gain_db`). For your own recordings,
# `mdasr train` uses the scale `little` without changes.

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
import json
from pathlib import Path

from IPython.display import Audio, Image

from mdasr.analysis.domain_ivectors import AnalysisOptions, by_domain, domain_ivectors
from mdasr.analysis.pictures import draw_adaptation, draw_domains
from mdasr.analysis.similarity import resemblances, similarity_cells, similarity_text
from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.audio_files import read_audio
from mdasr.corpus.manifest import export_manifest, import_manifest
from mdasr.corpus.records import Corpus
from mdasr.model.directory import Recognizer
from mdasr.recognize.transcript import transcribe
from mdasr.recognize.transcript_formats import as_srt
from mdasr.synth import embedded
from mdasr.training.adaptation_curve import adaptation_curve, curve_text
from mdasr.training.ingredients import Training
from mdasr.training.pipeline import train_recognizer
from mdasr.training.scales import MINI, override
from mdasr.training.speech_split import DomainSpeech

MANIFEST = ""  # yours, such as "my/manifest.jsonl"
MODEL = ""  # a model directory
KNOWN = []  # the directories of the corpora that it was trained on; your recordings are compared with these
KNOWN_TEST = ""  # the directory of test speech of a known domain, to see what adaptation costs there
scale = override(
    MINI, ["leaves=60", "min_steps=300", "max_steps=300", "adapt_rate=2e-3", "adapt_steps=160", "gain_db=0,0"]
)
WORK = Path("runs")

# %% [markdown]
# ## Import
#
# Recordings may have any format and sample rate that libsndfile or FFmpeg reads. Bad lines are set aside, each with the
# reason. From a shell: `mdasr import manifest MANIFEST --where split=train --corpus own --out own-train`. There are
# also importers for Lhotse, Kaldi, NeMo, Common Voice and Hugging Face data sets (docs/corpora.md). The players below
# play the first three seconds.

# %%
if not MANIFEST:
    calls = {
        "train": embedded.make(WORK / "calls-train", "Telephony", "train", minutes=6.0),
        "test": embedded.make(WORK / "calls-test", "Telephony", "test", words=500),
    }
    MANIFEST = export_manifest(calls, WORK / "recordings")
lines = [json.loads(line) for line in Path(MANIFEST).read_text(encoding="utf-8").splitlines()]
print(json.dumps(lines[0]))

# %%
imported = {
    split: import_manifest(MANIFEST, WORK / f"own-{split}", corpus=f"own-{split}", where={"split": split})
    for split in ("train", "test")
}
print(*imported.values(), sep="\n")
own, own_test = (report.corpus for report in imported.values())
print(f"{own[0].speaker}: {own[0].text}")
Audio(own[0].samples[: 3 * RATE_HZ], rate=RATE_HZ)

# %% [markdown]
# ## A model to start from
#
# If you have a model, name it above. Otherwise this cell trains one on two other domains, from speech and transcripts
# alone. It aligns the speech from a flat start, grows a tree of CDPhones, makes an n-gram model of the transcripts, and
# trains the network. From a shell: `mdasr train`.

# %%
if not MODEL:
    KNOWN = [WORK / "voicesearch", WORK / "dictation"]
    KNOWN_TEST = WORK / "voicesearch-test"
    for directory, domain in zip(KNOWN, ("Voicesearch", "Dictation")):
        embedded.make(directory, domain, "train", minutes=6.0)
    embedded.make(KNOWN_TEST, "Voicesearch", "test", words=500)
    MODEL = WORK / "model"
    known = tuple(DomainSpeech.of(Corpus(directory)) for directory in KNOWN)
    facts = train_recognizer(Training(known, scale), MODEL).facts
    print(f"{facts['steps']} steps, {facts['frame_accuracy']:.0%} of frames right, WER {facts['dev_wer']} % held out")

# %% [markdown]
# ## How alike do the domains sound?
#
# i-vectors are trained on all the domains together. The most similar domain stands first: it has a low silhouette and a
# high similarity (eqs. 1 and 2 of §4.2). All speech is reduced to 8 kHz, because a different sample rate would hide all
# other differences. From a shell: `mdasr similarity --narrowband`.

# %%
corpora = by_domain([*map(Corpus, KNOWN), own])
clusters = domain_ivectors(corpora, AnalysisOptions(narrowband=True))
print(similarity_text(similarity_cells(resemblances(clusters, own.domain), clusters), own.domain))

# %%
draw_domains(WORK / "domains.png", {name: cluster.points for name, cluster in clusters.items()})
Image(WORK / "domains.png")

# %% [markdown]
# ## How much does more speech help?
#
# The model is adapted to shares of your training speech. Other models are trained from scratch on the same shares. All
# are tested on your test speech and on a domain that the model knew before. A start model that was trained for minutes,
# as here, does not help; `docs/results.md` shows one that does. Models that are trained are kept for later runs. From a
# shell: `mdasr adapt MODEL own-train --test own-test --report --out adapted`.

# %%
tests = [own_test, *([Corpus(KNOWN_TEST)] if KNOWN_TEST else [])]
training = Training((DomainSpeech.of(own),), scale)
curve = adaptation_curve(training, Path(MODEL), WORK / "adapted", tests, shares=(1 / 4, 1 / 2, 1.0))
print(curve_text(curve))

# %%
draw_adaptation(WORK / "curve.png", curve)
Image(WORK / "curve.png")

# %% [markdown]
# ## Transcribe
#
# A recording may have any length. This one is transcribed before and after adaptation, and once with times as
# subtitles. From a shell: `mdasr transcribe runs/adapted/adapted-1.000 recording.wav --format srt`.

# %%
recording = next(line for line in lines if line["split"] == "test")
wave, _ = read_audio(Path(MANIFEST).parent / recording["audio"])
print(f"said:    {recording['text']}")
for name, directory in {"before": MODEL, "after": WORK / "adapted" / "adapted-1.000"}.items():
    pieces = [*transcribe(Recognizer.read(directory), wave)]
    print(f"{name + ':':8}", *(piece.text for piece in pieces))
print(as_srt(recording["id"], pieces))
Audio(wave[: 3 * RATE_HZ], rate=RATE_HZ)
