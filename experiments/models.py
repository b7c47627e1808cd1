"""The models of the paper (§4.3, §4.4): 17 that Tables 3 to 7 compare, and one that the paper only mentions."""

from experiments.nouns import Model

SEARCH_AND_DICTATION = ("Voicesearch", "Dictation", "Other search")
MULTIDOMAIN = (*SEARCH_AND_DICTATION, "Farfield", "Call-center", "YouTube")
NOISY_DOMAINS = ("Voicesearch", "Dictation", "Call-center")  # §4.3.4: noise is added where speech is relatively clean
IN_DOMAIN = "Telephony"

VSD = Model("Voicesearch-Dictation", SEARCH_AND_DICTATION)
VSD_NOISE = Model("Voicesearch-Dictation + Noise", SEARCH_AND_DICTATION, noise_on=SEARCH_AND_DICTATION)
VSD_CODEC = Model("Voicesearch-Dictation + Codec", SEARCH_AND_DICTATION, codecs=True)
CALL_CENTER = Model("Call-center", ("Call-center",))
YOUTUBE = Model("YouTube", ("YouTube",))
MULTI = Model("Multidomain", MULTIDOMAIN)
MULTI_NOISE = Model("Multidomain + Noise", MULTIDOMAIN, noise_on=NOISY_DOMAINS)
MULTI_CODEC = Model("Multidomain + Codec", MULTIDOMAIN, codecs=True)

# The paper's amounts of in-domain data, as shares of all of it.
AMOUNTS = {"10 hrs": 1 / 70, "30 hrs": 3 / 70, "100 hrs": 1 / 7, "700 hrs": 1.0}


def adapted_model(parent: Model, amount: str) -> Model:
    """Return `parent`, fine-tuned on one of the `AMOUNTS` of Telephony (§4.4)."""
    return Model(f"{parent.name} + {amount}", (IN_DOMAIN,), share=AMOUNTS[amount], parent=parent)


IN_DOMAIN_ONLY = Model("700 hrs", (IN_DOMAIN,))
POOLED = Model("Multidomain with Telephony", (*MULTIDOMAIN, IN_DOMAIN))  # §4.4: "in experiments not reported here"
