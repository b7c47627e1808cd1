"""Domain-specific parameters: a scale and a bias for every unit of every layer, domain by domain.

Scales are LHUC's (Swietojanski and Renals, 2014), and with biases they are FiLM's (Perez et al., 2018). They begin at
no change, and act where the network is told a domain; told nothing, as of domains that it has not seen, it is a network
without them. An encoder hands them every layer's output, and they know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def domain_place(domain: str, domains: Sequence[str]) -> int:
    """Where a domain stands among those that have parameters of their own; ValueError where it has none."""
    if domain not in domains:
        raise ValueError(f"the network has parameters for {', '.join(domains) or 'no domain'}, not for {domain}")
    return domains.index(domain)


def is_own(path: tuple[Any, ...]) -> bool:
    """Whether the parameters at a path of the tree are those of domains."""
    return path[-1].key.startswith("domains_")


def widened(params: Mapping[str, Any], wider: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters shaped as `wider`, which has those of further domains at the end: zeros, which change nothing yet.

    Of `wider` only shapes are looked at. All other parameters are taken as they are.
    """
    before = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}

    def grown(path: tuple[Any, ...], shape: Any) -> Any:
        old = before.get(jax.tree_util.keystr(path))
        if not is_own(path):
            return old
        added = shape.shape[-3] - (0 if old is None else old.shape[-3])
        new = np.zeros((*shape.shape[:-3], added, *shape.shape[-2:]), np.float32)
        return new if old is None else np.concatenate([old, new], axis=-3)

    return jax.tree_util.tree_map_with_path(grown, dict(wider))


def own_alone(gradients: Any) -> Any:
    """Gradients of the domains' own parameters, and zeros for all others: Adam then leaves those at their very bits."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if is_own(path) else jnp.zeros_like(leaf), gradients
    )
