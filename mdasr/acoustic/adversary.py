"""Domain-adversarial training (Ganin and Lempitsky, 2015): a classifier of domains whose gradient is reversed.

The classifier learns to tell from the encoder's output which domain is heard, and that layer learns to keep it
from telling. It is a matter of training alone: the network that comes of it is one like any other.
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
    """A classifier of so many domains, and the `weight` of its reversed gradient at the end of a training."""

    domains: int
    weight: float

    def __post_init__(self) -> None:
        if self.domains < 2 or self.weight <= 0:
            raise ValueError(f"an adversary needs two domains to tell apart and a weight above 0, not {self}")


@jax.custom_vjp
def reverse(x: Float[AnyArray, "*shape"], weight: Float[AnyArray, ""]) -> Float[AnyArray, "*shape"]:
    """x itself, whose gradient is turned round and multiplied by `weight` (which gets none)."""
    return x


def _reverse_forward(x, weight):
    return x, weight


def _reverse_backward(weight, gradient):
    return -weight * gradient, jnp.zeros_like(weight)


reverse.defvjp(_reverse_forward, _reverse_backward)


class Classifier(nn.Module):
    """Logits of domains from a hidden layer of rectified units."""

    domains: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "... width"]) -> Float[AnyArray, "... domains"]:
        return nn.Dense(self.domains, name="output")(nn.relu(nn.Dense(UNITS, name="hidden")(x)))


def init_classifiers(adversary: Adversary, config: ModelConfig, seed: int) -> dict:
    """Parameters of a classifier for each member of the network, with a leading axis for the members."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), config.members)
    classifier, hidden = Classifier(adversary.domains), jnp.zeros((1, config.encoder.width))
    return jax.vmap(lambda key: classifier.init(key, hidden)["params"])(keys)


def reversal_weight(adversary: Adversary, progress: Float[AnyArray, ""]) -> Array:
    """0 at the beginning of a training (progress 0), and nearly the whole weight at its end (1): their §3.1."""
    return adversary.weight * (2 / (1 + jnp.exp(-10 * progress)) - 1)


def domain_logits(
    adversary: Adversary, classifiers: dict, hidden: Any, progress: Float[AnyArray, ""]
) -> Float[Array, "members batch steps domains"]:
    """What each member's classifier makes of its `hidden` collection, the gradient reversed on the way back."""
    (last,) = jax.tree.leaves(hidden)  # [steps, batch, cells], with an axis for members before it in an ensemble
    last = last.reshape(-1, *last.shape[-3:]).astype(jnp.float32)
    seen = reverse(last, reversal_weight(adversary, progress))
    guesses: Any = jax.vmap(lambda params, x: Classifier(adversary.domains).apply({"params": params}, x))
    return guesses(classifiers, seen).swapaxes(1, 2)
