"""Four words, a trigram and a tree for the decoder, and an enumeration of everything that can be said with them."""

import itertools
import math

import numpy as np

from mdasr.align.tree import Branch, Tree
from mdasr.decode.search import SearchOptions
from mdasr.language.lexicon import SILENCE, Lexicon

# Homophones (a, c), a word that begins another (a, b), variants, a word of one phone that can repeat itself.
LEXICON = Lexicon(
    {
        "a": ((("X",), 0.6), (("X", "Y"), 0.4)),
        "b": ((("X", "Y"), 0.7), (("Z",), 0.3)),
        "c": ((("X",), 1.0),),
        "unwritten": ((("Z", "Z"), 1.0),),
    }
)
ARPA = """\
\\data\\
ngram 1=6
ngram 2=6
ngram 3=3

\\1-grams:
-99 <s> -0.30
-0.8 </s>
-0.7 a -0.2
-0.6 b -0.4
-0.9 c
-1.5 <unk>

\\2-grams:
-0.3 <s> a -0.15
-0.5 a b -0.1
-0.4 b a -0.25
-0.6 b </s>
-0.2 a a -0.3
-0.3 <unk> b

\\3-grams:
-0.9 a b a
-0.2 a a a
-0.05 <s> a b

\\end\\
"""
# Leaves 1 and 2 are X before silence and X elsewhere, 3 and 4 are Y after X and after anything else.
TREE = Tree(
    ("SIL", "X", "Y", "Z"),
    (("SIL",), ("X",)),
    (0, Branch("right", 0, 1, 2), Branch("left", 1, 3, 4), 5),
)
WIDE = SearchOptions(beam=1000.0, max_active=100_000, acoustic_scale=0.7)


def ngrams() -> dict[tuple[str, ...], tuple[float, float]]:
    """(cost, back-off cost) of every n-gram of ARPA without <unk>, in nats."""
    found = {}
    for line in ARPA.splitlines():
        fields = line.split()
        order = sum(not field.lstrip("-").replace(".", "").isdigit() for field in fields)
        if line[:1] == "-" and "<unk>" not in fields:
            numbers = [-math.log(10) * float(n) for n in (fields[0], *fields[order + 1 :])]
            found[tuple(fields[1 : order + 1])] = (numbers[0], (*numbers, 0.0)[1])
    return found


def grammar_cost(words: tuple[str, ...]) -> float:
    """The cheapest way through the back-off model: at each word it may use the longest n-gram or back off."""
    model = ngrams()
    states = {("<s>",): 0.0}
    for word in (*words, "</s>"):
        reached: dict[tuple[str, ...], float] = {}
        for history, cost in states.items():
            while True:
                if (found := (*history, word)) in model:
                    after = found[-2:]
                    while after not in model:
                        after = after[1:]
                    total = cost + model[found][0]
                    reached[after] = min(reached.get(after, math.inf), total)
                if not history:
                    break
                cost, history = cost + model[history][1], history[1:]
        states = reached
    return min(states.values())


def sayings(steps: int):
    """Every (words, [(phone, index of its word or None)], cost) of at most `steps` phones; costs but G's."""
    silence, none = -math.log(0.4), -math.log(0.6)

    def grow(words, phones, cost):
        yield words, phones, cost + none
        if len(phones) < steps:
            yield words, [*phones, (SILENCE, None)], cost + silence
        for pause, price in (([], none), ([(SILENCE, None)], silence)):
            for word in ("a", "b", "c"):
                for said, probability in LEXICON.entries[word]:
                    longer = [*phones, *pause, *((phone, len(words)) for phone in said)]
                    if len(longer) <= steps:
                        variant = math.log(LEXICON.entries[word][0][1] / probability)
                        yield from grow((*words, word), longer, cost + price + variant)

    return (saying for saying in grow((), [], 0.0) if saying[1])


def enumerate_hypotheses(scores: np.ndarray, scale: float, penalty: float, tree: Tree, states: int = 1):
    """Every (cost, words, starts, ends): each saying with each way to divide the steps among its phones' states."""
    steps = len(scores)
    for words, phones, cost in sayings(steps // states):
        names = [SILENCE, *(phone for phone, _ in phones), SILENCE]
        leaves = [tree.leaf(*names[i : i + 3]) for i in range(len(phones))]
        outputs = [states * leaf + k for leaf in leaves for k in range(states)]
        total = cost + grammar_cost(words) + penalty * len(words)
        for cuts in itertools.combinations(range(1, steps), len(outputs) - 1):
            bounds = [0, *cuts, steps]
            acoustic = sum(-scale * scores[i:j, k].sum() for (i, j), k in zip(itertools.pairwise(bounds), outputs))
            spans = list(itertools.pairwise(bounds[::states]))
            owned = [[s for s, (_, owner) in zip(spans, phones) if owner == w] for w in range(len(words))]
            starts, ends = tuple(o[0][0] for o in owned), tuple(o[-1][1] for o in owned)
            yield total + float(acoustic), words, starts, ends


def draw(rng: np.random.Generator, steps: int, outputs: int = 6) -> np.ndarray:
    return rng.normal(scale=3, size=(steps, outputs)).astype(np.float32)


def scores_of(phones: list[tuple[str, int]], tree: Tree, height: float = 8.0) -> np.ndarray:
    """Scores that favour these phones, each for so many steps."""
    names = [SILENCE, *(phone for phone, _ in phones), SILENCE]
    leaves = [tree.leaf(*names[i : i + 3]) for i in range(len(phones))]
    path = np.repeat(leaves, [steps for _, steps in phones])
    return np.where(path[:, None] == np.arange(tree.num_leaves), height, 0).astype(np.float32)
