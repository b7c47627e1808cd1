"""The test sets that the paper's tables evaluate on (§4.1): a domain and the condition it is heard in."""

import dataclasses

from mdasr.spec import TestSet

VOICESEARCH = TestSet("Voicesearch")
DICTATION = TestSet("Dictation")


def noisy(test_set: TestSet) -> TestSet:
    """In simulated rooms, with configurations and noise snippets that training never used."""
    return dataclasses.replace(test_set, noise=True)


def narrow(test_set: TestSet) -> TestSet:
    """Downsampled to 8 kHz."""
    return dataclasses.replace(test_set, narrowband=True)
