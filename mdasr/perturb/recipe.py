"""Recipes: what happens to one utterance, drawn once, printed, stored and replayed (§3, Fig. 1)."""

from __future__ import annotations
