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
# # Your own recordings
#
# You have a model and some transcribed recordings of a new domain. Are they like anything that the model knows? What
# would how much of them buy? This notebook imports them, measures how alike the domains sound (§4.2), draws the
# adaptation curve (§4.4), and transcribes.
#
# Recordings are described by a manifest: a JSON line for each with `id`, `audio` (a path inside the manifest's folder),
# `text`, `speaker`, `domain` and here `split`, which is `train` or `test`; keep each speaker in one split. Without any,
# synthetic telephone calls stand in, and without a model a small one is trained on two other synthetic domains.
#
# **The settings below are small**, so that this takes minutes: minutes of speech and a few hundred steps of training
# give bad word error rates. What `mdasr train` takes for your own recordings is the scale `small`, without settings.

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
from mdasr.recognize.transcript import as_srt, transcribe
from mdasr.synth import embedded
from mdasr.training.adaptation_curve import adaptation_curve, curve_text
from mdasr.training.ingredients import Training
from mdasr.training.pipeline import train_recognizer
from mdasr.training.scales import MINI, override
from mdasr.training.speech_split import DomainSpeech

MANIFEST = ""  # yours, such as "my/manifest.jsonl"
MODEL = ""  # a model directory, and
KNOWN = []  # the corpora that it was trained on, as directories: what yours are compared with
KNOWN_TEST = ""  # test speech of one of them, to see what it loses
scale = override(MINI, ["leaves=60", "min_steps=300", "max_steps=300", "adapt_rate=2e-3", "adapt_steps=160"])
WORK = Path("runs")

# %% [markdown]
# ## Import
#
# Any format and rate that libsndfile or FFmpeg reads; lines that are no good are set aside with the reason. From a
# shell: `mdasr import manifest MANIFEST --where split=train --corpus own --out own-train`. Lhotse, Kaldi, NeMo, Common
# Voice and Hugging Face data sets are read as they are (docs/corpora.md). The players have the first three seconds.

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
# Whoever has one names it above. Here one is trained on two other domains, from transcripts alone: aligned from a flat
# start, with a tree of CDPhones, an n-gram model of the transcripts, and the network. From a shell: `mdasr train`.

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
# i-vectors trained on all of them together; the nearest domain stands first (eqs. 1 and 2 of §4.2: the lower the
# silhouette and the higher the similarity, the more alike). Everything is heard at 8 kHz, since otherwise a sample rate
# would be all that there is to hear. From a shell: `mdasr similarity --narrowband`.

# %%
corpora = by_domain([*map(Corpus, KNOWN), own])
clusters = domain_ivectors(corpora, AnalysisOptions(narrowband=True))
print(similarity_text(similarity_cells(resemblances(clusters, own.domain), clusters), own.domain))

# %%
draw_domains(WORK / "domains.png", {name: cluster.points for name, cluster in clusters.items()})
Image(WORK / "domains.png")

# %% [markdown]
# ## What would how much of it buy?
#
# The model is adapted to shares of your training speech, and others are trained on those alone, from scratch; all are
# tested on your test speech, and on that of a domain known before. A start that was trained for minutes, as here,
# helps with the least speech alone; `docs/results.md` has one that is worth more. What has been trained stays.
# From a shell: `mdasr adapt MODEL own-train --test own-test --report --out adapted`.

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
# A recording of any length, before and after adaptation, and with times as subtitles. From a shell:
# `mdasr transcribe runs/adapted/adapted-1.000 recording.wav --format srt`.

# %%
recording = next(line for line in lines if line["split"] == "test")
wave, _ = read_audio(Path(MANIFEST).parent / recording["audio"])
print(f"said:    {recording['text']}")
for name, directory in {"before": MODEL, "after": WORK / "adapted" / "adapted-1.000"}.items():
    pieces = [*transcribe(Recognizer.read(directory), wave)]
    print(f"{name + ':':8}", *(piece.text for piece in pieces))
print(as_srt(recording["id"], pieces))
Audio(wave[: 3 * RATE_HZ], rate=RATE_HZ)
