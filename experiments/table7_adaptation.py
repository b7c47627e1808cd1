"""Table 7 (§4.4): fine-tuning on a little speech of a new domain, from two start models and from scratch.

python -m experiments table7 --scale mini --workdir runs

Result (frozen at 77a1e34, three seeds): T7.a and T7.c hold. These are undecided:

* T7.g: before adaptation, the multidomain model is as good as training on Telephony from scratch (15.1 and 15.8%).
* T7.f: fine-tuning on Telephony costs the other domains 14 to 31%, except Call-center, which gains 3%.
* T7.b: the step from 1/70 to 3/70 of the data is not a sure gain.
* T7.d: with 3/70, the Voicesearch-Dictation model has 18.4%, which is not surely above 15.8%.

One seed trains for 87 s from scratch, 16 to 69 s for each of eight adaptations, and 386 s for the pooled model.

`COST` is a table that the paper mentions but does not show. It has the other domains' WERs after fine-tuning, and after
pooling the new domain with the rest.
"""

from experiments.models import AMOUNTS, IN_DOMAIN_ONLY, MULTI, POOLED, VSD, adapted_model
from experiments.nouns import Table
from experiments.testsets import CALL_CENTER_8K, DICTATION, TELEPHONY_8K, VOICESEARCH, YOUTUBE_TEST, narrow

TABLE = Table(
    number=7,
    title="Telephony test set after adaptation with in-domain data",
    columns={"WER": TELEPHONY_8K},
    rows={
        model.name: model
        for start in (MULTI, VSD)
        for model in (start, *(adapted_model(start, amount) for amount in AMOUNTS))
    }
    | {IN_DOMAIN_ONLY.name: IN_DOMAIN_ONLY},
    paper={
        "Multidomain": (20.9,),
        "Multidomain + 10 hrs": (13.2,),
        "Multidomain + 30 hrs": (12.2,),
        "Multidomain + 100 hrs": (11.3,),
        "Multidomain + 700 hrs": (10.1,),
        "Voicesearch-Dictation": (31.4,),
        "Voicesearch-Dictation + 10 hrs": (16.3,),
        "Voicesearch-Dictation + 30 hrs": (14.6,),
        "Voicesearch-Dictation + 100 hrs": (13.0,),
        "Voicesearch-Dictation + 700 hrs": (10.9,),
        "700 hrs": (13.5,),
    },
)

COST = Table(
    number=7,
    title="All domains after fine-tuning on Telephony, and after pooling with it (not tabulated in the paper)",
    columns={
        model.name: model for model in (MULTI, adapted_model(MULTI, "10 hrs"), adapted_model(MULTI, "700 hrs"), POOLED)
    },
    rows={
        "Voicesearch": VOICESEARCH,
        "Dictation": DICTATION,
        "Dictation 8 kHz": narrow(DICTATION),
        "Call-center 8 kHz": CALL_CENTER_8K,
        "YouTube": YOUTUBE_TEST,
        "Telephony 8 kHz": TELEPHONY_8K,
    },
    paper={},
)
