"""Table 5 (§4.3.3): models of single domains work where they were trained and poorly elsewhere.

python -m experiments table5 --scale mini --workdir runs

Frozen at 77a1e34, one seed, two CPU cores: 88 and 94 s of training, Table 3's apart. T5.a holds; the Call-center
model does not recover at 8 kHz (93.5%, T5.b fails); YouTube's is the best on Telephony, and 12% better on Call-center
(T5.c undecided).
"""

from experiments.models import CALL_CENTER, VSD, YOUTUBE
from experiments.testsets import CALL_CENTER_8K, DICTATION, TELEPHONY_8K, VOICESEARCH, YOUTUBE_TEST, narrow
from mdasr.spec import Table

TABLE = Table(
    number=5,
    title="Results using domain-specific models",
    columns={"Voicesearch-Dictation": VSD, "Call-center": CALL_CENTER, "YouTube": YOUTUBE},
    rows={
        "Voicesearch": VOICESEARCH,
        "Dictation": DICTATION,
        "Dictation 8 kHz": narrow(DICTATION),
        "Call-center 8 kHz": CALL_CENTER_8K,
        "YouTube": YOUTUBE_TEST,
        "Telephony 8 kHz": TELEPHONY_8K,
    },
    paper={
        "Voicesearch": (10.5, 98.6, 16.3),
        "Dictation": (7.7, 97.8, 13.9),
        "Dictation 8 kHz": (8.2, 24.1, 13.9),
        "Call-center 8 kHz": (25.4, 20.5, 20.4),
        "YouTube": (54.9, 97.2, 15.9),
        "Telephony 8 kHz": (31.4, 27.8, 24.2),
    },
)
