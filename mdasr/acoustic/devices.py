"""Arrays on several devices and hosts: replicated parameters, and the division of a batch's rows."""

from __future__ import annotations

import platform
from typing import Any

import jax
import numpy as np

from mdasr.acoustic.loader import Share

DEVICES = "devices"  # the name of pmap's axis


def replicate(tree: Any) -> Any:
    """Copy every array to each device, in the layout that the pmapped step returns; so the step compiles only once."""
    devices = jax.local_device_count()
    copies = jax.tree.map(lambda x: np.broadcast_to(x, (devices, *np.shape(x))), tree)
    return jax.pmap(lambda x: x, axis_name=DEVICES)(copies)


def local_value(x: jax.Array) -> np.ndarray:
    """This host's copy of a replicated array, without starting a collective."""
    return np.asarray(np.asarray(x.addressable_shards[0].data)[0])


def shard_batch(batch: dict[str, np.ndarray], share: Share) -> dict[str, np.ndarray]:
    """Add each row's place in the global batch, and split the rows over this host's devices."""
    devices = jax.local_device_count()
    batch = batch | {"row": np.arange(share.first, share.first + share.count, dtype=np.int32)}
    return {name: x.reshape(devices, share.count // devices, *x.shape[1:]) for name, x in batch.items()}


def host_share(batch: int) -> Share:
    """The rows of a global batch that this host trains on; raises ValueError where the devices cannot share it."""
    hosts, devices = jax.process_count(), jax.device_count()
    if batch % devices:
        raise ValueError(
            f"a batch of {batch} rows cannot be shared by {devices} devices; choose a multiple of {devices}"
        )
    return Share(batch, jax.process_index() * (batch // hosts), batch // hosts)


def device() -> str:
    """The number and kind of the devices that jax uses, such as "2 x cpu (x86_64)"."""
    devices = jax.devices()
    kind = platform.processor() or platform.machine() if devices[0].platform == "cpu" else devices[0].device_kind
    return f"{len(devices)} x {devices[0].platform} ({kind})"
