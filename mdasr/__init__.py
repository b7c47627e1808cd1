"""Domain-invariant speech recognition: Narayanan et al. (2018) rebuilt in JAX/Flax."""

import sys

__version__ = "0.2.0"

if not (3, 11) <= sys.version_info[:2] < (3, 13):
    raise ImportError(f"mdasr needs Python 3.11 or 3.12, and this is {sys.version.split()[0]}; install one of these")
