"""Table 3 (§4.3.1): training with simulated noise costs nothing on clean speech, and helps much in noise.

make demo        (= python -m experiments table3 --scale mini --workdir runs)

Result (frozen at 77a1e34, three seeds): WERs in noise fall from 36.9 and 36.8% to 13.1 and 16.8% (T3.b holds). The
clean sets gain 5%, and 8 kHz gains 8%. Their intervals reach beyond 15% (T3.a and T3.c are undecided). One seed takes
412 s on two CPU cores.
"""

from experiments.models import VSD, VSD_NOISE
from experiments.nouns import Table
from experiments.testsets import DICTATION, VOICESEARCH, narrow, noisy

TABLE = Table(
    number=3,
    title="Results using models trained with and without noise",
    columns={"w/o Noise": VSD, "w/ Noise": VSD_NOISE},
    rows={
        "Voicesearch": VOICESEARCH,
        "Voicesearch + Noise": noisy(VOICESEARCH),
        "Dictation": DICTATION,
        "Dictation + Noise": noisy(DICTATION),
        "Dictation 8 kHz": narrow(DICTATION),
    },
    paper={
        "Voicesearch": (10.5, 10.4),
        "Voicesearch + Noise": (17.7, 12.3),
        "Dictation": (7.7, 7.8),
        "Dictation + Noise": (30.6, 12.3),
        "Dictation 8 kHz": (8.2, 8.4),
    },
)
