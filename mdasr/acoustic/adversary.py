"""Domain-adversarial training (Ganin and Lempitsky, 2015): a classifier of domains whose gradient is reversed.

The classifier learns to recognise the domain from the encoder's output. Through the reversed gradient, the encoder
learns to hide it. Only training uses the classifier: the trained network is like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mdasr.acoustic.encoders.interface import AnyArray
from mdasr.acoustic.network import ModelConfig

UNITS = 64  # of the classifier's hidden layer


@dataclass(frozen=True)
class Adversary:
    """A classifier of `domains` domains, and the `weight` that its reversed gradient has at the end of training."""

    domains: int
    weight: float

    def __post_init__(self) -> None:
        if self.domains < 2 or self.weight <= 0:
            raise ValueError(f"an adversary needs at least two domains and a weight above 0, not {self}")


@jax.custom_vjp
def reverse(x: Float[AnyArray, "*shape"], weight: Float[AnyArray, ""]) -> Float[AnyArray, "*shape"]:
    """Return x unchanged; on the way back, its gradient is multiplied by -`weight`, and `weight` gets no gradient."""
    return x


def _reverse_forward(x, weight):
    return x, weight


def _reverse_backward(weight, gradient):
    return -weight * gradient, jnp.zeros_like(weight)


reverse.defvjp(_reverse_forward, _reverse_backward)


class Classifier(nn.Module):
    """Logits of domains, from one hidden layer of rectified units."""

    domains: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "... width"]) -> Float[AnyArray, "... domains"]:
        return nn.Dense(self.domains, name="output")(nn.relu(nn.Dense(UNITS, name="hidden")(x)))


def init_classifiers(adversary: Adversary, config: ModelConfig, seed: int) -> dict:
    """Parameters of one classifier for each member of the network, with a leading axis for the members."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), config.members)
    classifier, hidden = Classifier(adversary.domains), jnp.zeros((1, config.encoder.width))
    return jax.vmap(lambda key: classifier.init(key, hidden)["params"])(keys)


def reversal_weight(adversary: Adversary, progress: Float[AnyArray, ""]) -> Array:
    """The weight at a `progress` from 0 to 1: 0 at the start of training, nearly all of it at the end (their §3.1)."""
    return adversary.weight * (2 / (1 + jnp.exp(-10 * progress)) - 1)


def domain_logits(
    adversary: Adversary, classifiers: dict, hidden: Any, progress: Float[AnyArray, ""]
) -> Float[Array, "members batch steps domains"]:
    """The classifiers' logits for the `hidden` collection of each member; the gradient is reversed on the way back."""
    (last,) = jax.tree.leaves(hidden)  # [steps, batch, cells], with an axis for members before it in an ensemble
    last = last.reshape(-1, *last.shape[-3:]).astype(jnp.float32)
    seen = reverse(last, reversal_weight(adversary, progress))
    guesses: Any = jax.vmap(lambda params, x: Classifier(adversary.domains).apply({"params": params}, x))
    return guesses(classifiers, seen).swapaxes(1, 2)
