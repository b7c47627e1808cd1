"""The test sets of the paper's tables (§4.1): a domain, and the condition in which it is heard."""

import dataclasses

from experiments.nouns import TestSet

VOICESEARCH = TestSet("Voicesearch")
DICTATION = TestSet("Dictation")
CALL_CENTER_8K = TestSet("Call-center")  # recorded at 8 kHz, as Telephony is
YOUTUBE_TEST = TestSet("YouTube")
TELEPHONY_8K = TestSet("Telephony")


def noisy(test_set: TestSet) -> TestSet:
    """Return the test set in simulated rooms with noise; training never uses these rooms and noise snippets."""
    return dataclasses.replace(test_set, noise=True)


def narrow(test_set: TestSet) -> TestSet:
    """Return the test set downsampled to 8 kHz."""
    return dataclasses.replace(test_set, narrowband=True)


def telephoned(test_set: TestSet) -> TestSet:
    """Return the test set through a telephone line."""
    return dataclasses.replace(test_set, telephone=True)


def coded(test_set: TestSet, codec: str, kbps: int) -> TestSet:
    """Return the test set through a lossy codec at `kbps` kbit/s."""
    return dataclasses.replace(test_set, codec=codec, kbps=kbps)


def told(test_set: TestSet) -> TestSet:
    """Return the test set for models that are told its domain, if they have parameters for it."""
    return dataclasses.replace(test_set, told=True)


def name(test_set: TestSet) -> str:
    """Return a test set's name, such as "Voicesearch + Noise"."""
    codec = f" + {test_set.codec.upper()} {test_set.kbps}k" if test_set.codec else ""
    heard = codec + " + Noise" * test_set.noise + " 8 kHz" * test_set.narrowband + " telephone" * test_set.telephone
    return test_set.domain + heard + " (told)" * test_set.told
