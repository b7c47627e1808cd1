"""Table 6 (§4.3.4): one model for all domains, alone, with simulated noise, and with simulated codecs.

python -m experiments table6 --scale mini --workdir runs

Result (frozen at 77a1e34, three seeds): T6.a, T6.b and T6.c hold. The model with noise is better in noise than the
domain-specific one (T6.d fails), and 9 to 13% better on clean speech. Codecs change clean speech by -9 to +1% (T6.e is
undecided). One seed trains for 285, 497 and 797 s, two models at a time.
"""

from experiments.models import MULTI, MULTI_CODEC, MULTI_NOISE
from experiments.nouns import Table
from experiments.testsets import (
    CALL_CENTER_8K,
    DICTATION,
    TELEPHONY_8K,
    VOICESEARCH,
    YOUTUBE_TEST,
    coded,
    narrow,
    noisy,
)

TABLE = Table(
    number=6,
    title="Results using multidomain models",
    columns={"Multidomain": MULTI, "Multidomain + Noise": MULTI_NOISE, "Multidomain + Codec": MULTI_CODEC},
    rows={
        "Voicesearch": VOICESEARCH,
        "Voicesearch + AAC 23k": coded(VOICESEARCH, "aac", 23),
        "Voicesearch + MP3 23k": coded(VOICESEARCH, "mp3", 23),
        "Voicesearch + Noise": noisy(VOICESEARCH),
        "Dictation": DICTATION,
        "Dictation + Noise": noisy(DICTATION),
        "Dictation 8 kHz": narrow(DICTATION),
        "Call-center 8 kHz": CALL_CENTER_8K,
        "YouTube": YOUTUBE_TEST,
        "Telephony 8 kHz": TELEPHONY_8K,
    },
    paper={
        "Voicesearch": (10.2, 11.2, 10.5),
        "Voicesearch + AAC 23k": (11.4, 11.7, 11.9),
        "Voicesearch + MP3 23k": (13.5, 14.5, 11.1),
        "Voicesearch + Noise": (15.6, 13.9, 15.8),
        "Dictation": (7.6, 8.4, 7.8),
        "Dictation + Noise": (24.5, 15.5, 24.3),
        "Dictation 8 kHz": (7.9, 10.1, 8.5),
        "Call-center 8 kHz": (16.4, 17.5, 17.6),
        "YouTube": (16.3, 16.3, 16.6),
        "Telephony 8 kHz": (20.9, 22.3, 22.8),
    },
)
