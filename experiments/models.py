"""The models that the paper's tables compare (§4.3), so far those of Table 3."""

from mdasr.spec import Model

_SEARCH_AND_DICTATION = ("Voicesearch", "Dictation", "Other search")

VSD = Model("Voicesearch-Dictation", _SEARCH_AND_DICTATION)
VSD_NOISE = Model("Voicesearch-Dictation + Noise", _SEARCH_AND_DICTATION, noise_on=_SEARCH_AND_DICTATION)
