"""Domain-specific parameters: a scale and a bias for every unit of every LSTM layer, domain by domain.

Scales are LHUC's (Swietojanski and Renals, 2014), and with biases they are FiLM's (Perez et al., 2018). They begin at
no change, and act where the network is told a domain; told nothing, as of domains that it has not seen, it is a network
without them. A network that is to hear one domain alone needs none either: they are worked into its weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

AnyArray = Array | np.ndarray


def adapted(
    x: Float[AnyArray, "steps batch cells"],
    own: Float[AnyArray, "domains 2 cells"],
    told: Int[AnyArray, "batch steps"],
) -> Float[Array, "steps batch cells"]:
    """x, scaled and shifted as `own` says of the domain that `told` names at each step (from 1; 0 is none)."""
    chosen = jax.nn.one_hot(told.swapaxes(0, 1) - 1, len(own), dtype=x.dtype)
    scale, bias = jnp.moveaxis(jnp.tensordot(chosen, own.astype(x.dtype), 1), 2, 0)
    return x * (1 + scale) + bias


def widened(config: Any, params: Mapping[str, Any], domains: Iterable[str]) -> tuple[Any, dict[str, Any]]:
    """Configuration and parameters with those of further `domains` among them, which change nothing yet."""
    added = tuple(domain for domain in domains if domain not in config.domains)
    layers = dict(params["members"] if config.members > 1 else params)
    for layer, cells in enumerate(config.cells):
        members = (config.members,) if config.members > 1 else ()
        own = np.zeros((*members, len(added), 2, cells), np.float32)
        if config.domains:
            own = np.concatenate([layers[f"domains_{layer}"], own], axis=-3)
        layers[f"domains_{layer}"] = own
    wider = dataclasses.replace(config, domains=(*config.domains, *added))
    return wider, ({"members": layers} if config.members > 1 else layers)


def own_alone(gradients: Any) -> Any:
    """Gradients of the domains' own parameters, and zeros for all others: Adam then leaves those at their very bits."""

    def kept(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return leaf if path[-1].key.startswith("domains_") else jnp.zeros_like(leaf)

    return jax.tree_util.tree_map_with_path(kept, gradients)


def worked_in(config: Any, params: Mapping[str, Any], domain: str) -> tuple[Any, dict[str, Any]]:
    """Configuration and parameters of the plain network that answers as this one does when told `domain`.

    The scale of a layer's output goes into the weights of the layer after it, and the bias through them into its bias;
    a layer's own recurrence sees neither. ValueError for a domain that has no parameters of its own.
    """
    if domain not in config.domains:
        raise ValueError(f"the network has parameters for {', '.join(config.domains) or 'no domain'}, not for {domain}")
    place = config.domains.index(domain)
    layers = dict(params["members"] if config.members > 1 else params)
    after = [*((f"lstm_{layer}", "input") for layer in range(1, len(config.cells))), ("output", "kernel")]
    for layer, (name, weights) in enumerate(after):
        own = np.asarray(layers.pop(f"domains_{layer}"))[..., place, :, :]
        scale, bias = own[..., 0, :], own[..., 1, :]
        old, old_bias = np.asarray(layers[name][weights]), np.asarray(layers[name]["bias"])
        layers[name] = {
            **layers[name],
            weights: old * (1 + scale)[..., None],
            "bias": old_bias + np.einsum("...c,...cg->...g", bias, old),
        }
    plain = dataclasses.replace(config, domains=())
    return plain, ({"members": layers} if config.members > 1 else layers)
