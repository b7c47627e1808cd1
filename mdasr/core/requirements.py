"""Packages that may be missing or of another version: errors that say what to install."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from types import ModuleType

JAX = ((0, 10), (0, 13))  # at least the first version, below the second
_NAMES = {"apache_beam": "Apache Beam", "av": "PyAV", "espeakng_loader": "eSpeak NG", "grain.python": "Grain"}


def optional(module: str, requirement: str) -> ModuleType:
    """Import and return a module; where it is missing, the ImportError says how pip installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        name = _NAMES.get(module, module)
        raise ImportError(f"{name} is missing; install it with pip install '{requirement}'") from error


@cache
def check_jax() -> None:
    """Raise ImportError where jax is missing, or its version is outside `JAX`; jax itself is not imported."""
    from importlib import metadata  # slow to import

    least, below = JAX
    wanted = f"jax>={least[0]}.{least[1]},<{below[0]}.{below[1]}"
    try:
        version = metadata.version("jax")
    except metadata.PackageNotFoundError:
        raise ImportError(f"jax is missing; install it with pip install '{wanted}'") from None
    if not least <= tuple(map(int, re.findall(r"\d+", version)[:2])) < below:
        raise ImportError(f"jax {version} is outside the range of mdasr; install another with pip install '{wanted}'")
