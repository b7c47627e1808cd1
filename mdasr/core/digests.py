"""Names of values: equal values, equal names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict


def digest(value: object) -> str:
    """Twelve hex digits that name a value made of dataclasses and what JSON can hold: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=lambda part: asdict(part))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
