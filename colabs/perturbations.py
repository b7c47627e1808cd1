# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---
# %% [markdown]
# # What happens to an utterance
# One utterance through every box of the paper's Fig. 1: room and noise, bandwidth, codec. The recipe of each is one
# line of JSON, and replays to the same samples.

# %%
# In a notebook elsewhere, in a checkout: !pip install ".[codecs]"
import numpy as np

from mdasr.data.noises import make_noises
from mdasr.perturb import TRAINING_CODECS, Policy, Recipe, draw, perturb

# %%
seconds = np.arange(3 * 16_000) / 16_000
voice = sum(np.sin(2 * np.pi * 120 * k * seconds) / k for k in range(1, 40)) * (np.sin(2 * np.pi * 2 * seconds) > 0)
wave = (0.05 * voice).astype(np.float32)  # or a recording of your own: float32 at 16 kHz

# %%
noises = make_noises("train")
policy = Policy(noise_probability=1.0, noises=tuple(noises), codecs=TRAINING_CODECS)
recipes = [draw(policy, seed=0, utterance_key="colab/voice", visit=visit) for visit in range(3)]
heard = [perturb(wave, recipe, noises) for recipe in recipes]
for recipe in recipes:
    print(recipe.to_json())

# %%
again = perturb(wave, Recipe.from_json(recipes[0].to_json()), noises)
assert np.array_equal(again, heard[0])

# %%
from pathlib import Path  # noqa: E402

from mdasr.plots import draw_perturbations  # noqa: E402

titles = [f"visit {visit}: {recipe.codec or 'no codec'}" for visit, recipe in enumerate(recipes)]
draw_perturbations(Path("perturbations.png"), [("as recorded", wave), *zip(titles, heard)], columns=2)
