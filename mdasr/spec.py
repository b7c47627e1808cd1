"""The paper's nouns as frozen values: what every other module agrees on and none of them owns."""

from __future__ import annotations

RATE_HZ = 16_000  # §3.2: the front end is configured to operate at 16 kHz
