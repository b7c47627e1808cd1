"""Domain-specific parameters: each domain has a scale and a bias for every unit of every layer.

The scales are those of LHUC (Swietojanski and Renals, 2014); with the biases they are FiLM (Perez et al., 2018). At the
start they change nothing. They act only where the network is told a domain. Where it is told none, as for a domain that
it has not seen, the network works as if it had no such parameters. An encoder calls them with the output of every
layer, and they depend on nothing else in it.
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
    """Scale and shift x by the parameters `own` of the domain that `told` names at each step (from 1; 0: no change)."""
    chosen = jax.nn.one_hot(told.swapaxes(0, 1) - 1, len(own), dtype=x.dtype)
    scale, bias = jnp.moveaxis(jnp.tensordot(chosen, own.astype(x.dtype), 1), 2, 0)
    return x * (1 + scale) + bias


def domain_place(domain: str, domains: Sequence[str]) -> int:
    """The place of a domain among those that have their own parameters; raises ValueError where it has none."""
    if domain not in domains:
        raise ValueError(f"the network has parameters for {', '.join(domains) or 'no domain'}, not for {domain}")
    return domains.index(domain)


def is_own(path: tuple[Any, ...]) -> bool:
    """Whether the parameters at a path of the tree belong to domains."""
    return path[-1].key.startswith("domains_")


def widened(params: Mapping[str, Any], wider: Mapping[str, Any]) -> dict[str, Any]:
    """Add parameters of further domains, all zero, so that `params` has the shapes of `wider`.

    The new domains come last in `wider`, and only its shapes are used. Zeros change nothing yet. All other parameters
    stay as they are.
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
    """Set all gradients to zero but those of the domains' own parameters.

    Adam then leaves the other parameters unchanged, bit for bit.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if is_own(path) else jnp.zeros_like(leaf), gradients
    )
