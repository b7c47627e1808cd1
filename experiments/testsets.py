"""The test sets that the paper's tables evaluate on (§4.1): a domain and the condition it is heard in."""

import dataclasses

from experiments.nouns import TestSet

VOICESEARCH = TestSet("Voicesearch")
DICTATION = TestSet("Dictation")
CALL_CENTER_8K = TestSet("Call-center")  # recorded at 8 kHz, as Telephony is
YOUTUBE_TEST = TestSet("YouTube")
TELEPHONY_8K = TestSet("Telephony")


def noisy(test_set: TestSet) -> TestSet:
    """In simulated rooms, with configurations and noise snippets that training never used."""
    return dataclasses.replace(test_set, noise=True)


def narrow(test_set: TestSet) -> TestSet:
    """Downsampled to 8 kHz."""
    return dataclasses.replace(test_set, narrowband=True)


def telephoned(test_set: TestSet) -> TestSet:
    """Through a telephone line."""
    return dataclasses.replace(test_set, telephone=True)


def coded(test_set: TestSet, codec: str, kbps: int) -> TestSet:
    """Through a lossy codec at so many kbit/s."""
    return dataclasses.replace(test_set, codec=codec, kbps=kbps)


def told(test_set: TestSet) -> TestSet:
    """Heard by models that are told its domain, where they have parameters for it."""
    return dataclasses.replace(test_set, told=True)


def name(test_set: TestSet) -> str:
    """A test set in words, such as "Voicesearch + Noise"."""
    codec = f" + {test_set.codec.upper()} {test_set.kbps}k" if test_set.codec else ""
    heard = codec + " + Noise" * test_set.noise + " 8 kHz" * test_set.narrowband + " telephone" * test_set.telephone
    return test_set.domain + heard + " (told)" * test_set.told
