"""The sentences of the embedded corpus: a grammar for each domain, over one vocabulary of easily confused words.

A rule is `name: alternative | alternative`. `<name>` stands for a rule, and `3*` before an alternative makes it three
times as likely. A comma is a pause, which is spoken but not written. Domains share word classes, and differ in topic,
length and style. The hash of a sentence decides its split. So no sentence of a test set is in the training text or in
the text of the language model.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "dev", "test")
SHORTEST = 3  # words: there are too few shorter sentences to divide among the splits

_WORDS = """
digit: one | two | three | four | five | six | seven | eight | nine
teen: ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen
tens: twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety
number: 2* <digit> | <teen> | <tens> | <tens> <digit>
name: ann | dan | jan | stan | ben | jen | ken | kim | tim | jim | sam | pam | bill | jill | phil | paul
    | carl
    | mark | clark | jack | zack | mike | kate | nate | jane | wayne | mary | harry | larry | barry | terry
    | jerry
    | peter | rita | anna | hannah | bob | rob | rose | joan | john
city: boston | austin | houston | dallas | denver | dover | london | paris | rome | dublin | berlin | turin
    | milan
    | cairo | moscow | vienna | burton | norton | newton | hudson | madison | salem | seattle | portland
    | oakland
when: monday | tuesday | wednesday | thursday | friday | saturday | sunday | today | tomorrow | tonight
month: january | march | april | may | june | july | august | october | november | december
hour: <digit> | <digit> | <digit> | ten | eleven | twelve
clock: <hour> | <hour> thirty | <hour> fifteen | half past <hour> | noon | midnight
food: pasta | pizza | bread | butter | batter | cheese | cherries | berries | curry | carrots | chicken
    | turkey
    | ham | jam | lamb | beef | beans | peas | plums | rice | spice | soup | salad | salt | pepper | fish
    | chips
    | cake | steak | bacon | onions | lemons | melons | honey | milk | tea | coffee | toast | oats
thing: book | bag | box | boots | boat | coat | shirt | skirt | shoes | jacket | jeans | hat | mat | map
    | lamp | lock
    | clock | rock | chair | table | cable | camera | piano | guitar | drum | ball | bell | bowl | pan
    | pen | pin
    | phone | radio | ring | string | rug | mug | jug | tent | bike | kite | ladder | letter | mirror | pillow
place: bank | park | station | museum | library | school | pool | mall | hall | hotel | airport | harbour
    | church
    | market | beach | bridge | theatre | clinic | bakery | garage | college | cottage | lake | farm
    | office | tower
adjective: big | small | old | cold | gold | warm | hot | good | bad | cheap | deep | new | blue | green
    | grey
    | great | red | black | white | bright | light | brown | round | long | strong | short | sharp | fast
    | last
    | late | hard | dark | clean | soft | sweet | quiet | pretty | funny | sunny | heavy | ready | busy
    | dusty
animal: cat | rat | bat | dog | frog | horse | mouse | cow | sheep | bird | bear | duck | snake | whale | wolf
person: doctor | teacher | driver | writer | painter | baker | banker | singer | sister | brother | mother
    | father
    | neighbour | manager | lawyer | farmer | player | captain | cousin | son | daughter | friend
device: lights | fan | heater | radio | oven | alarm | camera | speaker | television | lamp | washer
    | dryer | door
room: kitchen | bedroom | bathroom | garage | garden | office | hall | basement | attic | den
unit: minutes | hours | days | weeks | months | years
subject: i | we | they | you | he | she | 2* <name> | my <person> | <det> <person>
past: found | lost | bought | brought | sold | told | saw | caught | kept | left | made | paid | sent
    | took | met | read
    | heard | liked | needed | wanted | washed | watched | walked | worked | dropped | fixed | mixed | used
    | broke
join: and | but | so | because | when | while | before | after
det: 3* the | a | a | my | your | his | her | our | their | this | that | some | every | no | another
prep: in | at | by | near | behind | under | from | to | with | for | about | after | before | like
    | beside | past
adverb: really | just | still | also | never | always | often | only | soon | again | almost | nearly | hardly
modal: can | could | will | would | should | must | might | may | did | can't | won't | didn't
verb: find | lose | buy | bring | sell | tell | see | catch | keep | leave | make | pay for | send | take
    | meet | read
    | hear | like | need | want | wash | watch | drop | fix | mix | use | break | move | love | paint
    | hold | fold | feed
np: <det> <thing> | <det> <animal> | <det> <food> | <det> <adjective> <thing> | <det> <adjective> <animal>
    | <det> <person> | <name> | <det> <place> | <number> <food>
pp: <prep> <det> <place> | <prep> <det> <adjective> <place> | <prep> <name> | in <city> | from <city>
    | on <when>
    | at <clock> | in <month> | <prep> <det> <room> | <prep> <det> <person>
"""

_SENTENCES = {
    "Voicesearch": """
start: 3* <weather> | 3* <route> | 2* <fact> | 2* <play> | 3* <find> | 2* <remind> | 2* <call>
weather: weather in <city> <when> | will it rain in <city> <when> | how <adjective> is it in <city>
    | <city> weather <month>
route: directions to <city> <place> | how far is <city> from <city> | <adjective> <place> near <city>
    | nearest <place> to <name> street | how long to walk to <det> <place>
    | bus from <city> to <city> at <clock>
fact: how old is <det> <animal> | how long do you cook <food> | what is <number> times <number>
    | who is <name> <city>
    | what does <det> <animal> eat | how many <unit> in <number> <unit> | when was <city> <place> made
play: play <name> and the <adjective> <animal> | play <adjective> <thing> by <name>
    | show me <det> <adjective> <animal>
    | songs about <food> and <thing> | <adjective> <animal> video
find: where can i buy <det> <adjective> <thing> | <adjective> <food> in <city> | <place> opening hours <when>
    | <food> and <food> recipe | pictures of <adjective> <animal> | <name> <name> <city> <person>
remind: remind me to <verb> <np> at <clock> | remind me <when> to <verb> <np>
    | set a timer for <number> <unit>
call: call <name> <name> | text <name> i am <pp> | call <det> <place> in <city>
""",
    "Dictation": """
start: 2* <letter> | 3* <story> | 2* <plan> | <note> | 2* <thought>
letter: dear <name>, <thanks> | hi <name>, <thanks>, <meet> | <thanks>, <meet>
thanks: thank you for <np> that you <past> <when> | i read your letter about <np> <pp>
    | we were <adverb> glad that your <person> <past> <np>
meet: i will meet you <pp> at <clock> | please <verb> <np> and <np> | <modal> we <verb> <np> <pp>
    | tell <name> that <np> is <adverb> <adjective>
story: <clause> <join> <clause> | <clause>, <join> <clause> | on <when> <clause>
clause: <subject> <adverb> <past> <np> <pp> | <subject> <past> <np> <pp> | <subject> <past> <np> and <np>
    | <np> was <adverb> <adjective> | <subject> <past> <food> for <np>
plan: we plan to <verb> <np> on the <tens> of <month>
    | i would <adverb> like to <verb> <np> <join> we <verb> <np>
    | <subject> <modal> <verb> <np> <when> at <clock>
note: note to self, buy <food> and <food> for <name> | new paragraph, <np> cost <number> pounds
    | <verb> <number> <food> and <number> <food> <pp>
thought: i think <np> is too <adjective> for <np> | it seems that <name> and <name> are both <adjective>
    | there is <det> <adjective> <place> <pp>
""",
    "Other search": """
start: <adjective> <adjective> <thing> | <adjective> <thing> for <person> | <thing> and <thing> price
    | <food> near <place> | buy <adjective> <thing> <city> | <place> jobs in <city>
    | used <thing> under <number> dollars
    | <animal> food <city> | <name> <person> <city> | <food> with <food> and <food> | <city> <place> map
    | how to <verb> <det> <thing> | <number> <thing> ideas | <room> <thing> with <thing>
    | <city> to <city> train <when> | best <food> in <city> | <adjective> <room> paint
""",
    "Farfield": """
start: 3* <switch> | 2* <timer> | 3* <music> | 2* <ask> | 2* <shop> | 2* <talk>
switch: turn <det> <device> <onoff> <pp> | turn <det> <adjective> <device> in the <room> <onoff>
    | set <det> <room> <device> to <number> | is <det> <device> in <det> <room> <onoff>
    | make <det> <room> <adjective>
onoff: on | off
timer: set a timer for <number> <unit> | wake <name> at <clock> <when>
    | add <number> <unit> to <det> <adjective> timer
    | remind <name> to <verb> <np> at <clock>
music: play <adjective> music in <det> <room> | play <det> song about <np> and <np>
    | play <name> and <name> <pp>
    | stop <det> <device> <pp>
ask: will it be <adjective> in <city> <when> | how do you <verb> <food>
    | what sound does <det> <adjective> <animal> make
    | how far is <det> <place> from <det> <place> | who is <pp>
shop: add <food> and <food> to my list | order <number> <food> and <det> <thing>
    | put <np> and <np> on <det> list
talk: call <name> on <det> <device> | tell <name> to <verb> <np> | ask <name> if <subject> <past> <np>
""",
    "Call-center": """
start: 2* <hello> | 3* <problem> | <account> | 2* <visit> | 2* <price>
hello: thank you for calling <city> <place>, this is <name>
    | hello this is <name> <name>, i am calling about <np>
    | you are speaking to <name>, <modal> you <verb> <np> | <name> <modal> help you with <np> <when>
problem: <np> that i <past> on <when> is <adverb> <broken>
    | <det> <device> is <broken>, and <subject> <modal> <verb> it <when>
    | <subject> was told <det> <thing> would come <when>, but it went to <city>
    | <np> <pp> was <adverb> <broken>
broken: broken | late | lost | too <adjective> | <adverb> <adjective> | <adjective>
account: my number is <digits> | the order number is <digits>
    | it ends with <digit> <digit>, and the name is <name>
    | could you spell <name> <name> for me
digits: <digit> <digit> <digit> | <digit> <digit> <tens> | <digit> zero <digit>
visit: we <modal> send <det> <person> <when> at <clock> | i <modal> book <np> in <city> for <number> <unit>
    | please hold while i <verb> <np> | <subject> <modal> <verb> <np> <pp>
price: that is <number> dollars for <np> and <np> | you <past> <np> for <number> pounds in <month>
    | there is no charge for <np> <pp>
""",
    "YouTube": """
start: 24* <vlog> | 20* <gaming> | 16* <lessons> | 14* <news> | 10* <cooking> | 9* <sports> | 7* <reviews>
vlog: hey everyone, <when> we <adverb> <past> <np> <pp> | so <subject> <past> <np> and <subject> <past> <np>
    | <det> <person> and i <past> <np> <pp>, <join> <np> was <adjective>
    | this is where i <verb> <np> and <np>
gaming: now you <modal> <verb> <np> from <np> | watch out for <np> <pp>
    | come on, <verb> <np> <join> <subject> <verb> <np>
    | i need <number> gold to <verb> <np> | go <pp> and <verb> <np>
lessons: <det> <animal> is <det> <adjective> animal that likes <food>
    | in <month> <det> king of <city> <past> <number> <thing>
    | if you take <number> from <number> you get <number> | the word <thing> is <adverb> like the word <thing>
news: <det> <person> of <city> said <when> that <np> is <adverb> <adjective>
    | police in <city> <past> <np> <pp>
    | <number> people <past> <np> <pp> in <month> | good evening, <det> <person> from <city> <past> <np>
cooking: add <food> and <number> spoons of <food>, <join> <verb> <np>
    | first <verb> the <food> and the <food> with <det> <thing>
    | leave <det> <food> <pp> for <number> <unit> <join> you <verb> <food>
sports: <name> <past> the ball from <name> and runs to <np> | <city> beat <city> by <number> points on <when>
    | what <det> <adjective> shot by <name>, number <number>
    | <det> <adjective> player from <city> <past> <name> <pp>
reviews: <np> is <adverb> <adjective> but <np> feels <adjective> | i paid <number> dollars for <np>
    | out of ten i give <np> <digit>, because it is <adverb> <adjective>
""",
    "Telephony": """
start: <open>, <chat> | <chat> | <chat>, <close> | <open>, <chat>, <close> | <open> <chat> <join>, <chat>
open: yeah | well | oh | no | right | okay | um | uh | so | you know | i mean | oh yeah | really | yeah no
close: you know | right | is that so | i guess | i think | or something | and all that | you see | isn't it
chat: i don't know if <subject> <past> <np> | <subject> was <doing> <pp> with <name>
    | <det> <person> lives in <city> now
    | it's been <number> <unit> since <subject> <past> <np> | do you still <verb> <np>
    | it was <adverb> <adjective>
    | i can't stand <np> | he's been <doing> <pp> | they said it's going to be <adjective> <when>
    | <subject> <adverb> <past> <np> <pp> | that's what <np> told me
    | <subject> <past> <np> when <np> was <adjective>
    | are you <doing> <pp> <when> | we <modal> <verb> <np> and <np> | <det> kids want <np>
    | i used to <do> <pp>
doing: working | walking | talking | waiting | looking | cooking | shopping | living | driving | reading
    | sleeping
do: work | walk | talk | live | ski | swim | sing | teach | paint | run
""",
}
_BEFORE_VOWEL = re.compile(r"\ba(?= [aeio](?!ne\b))")  # "a old clock"; not "a one"


@dataclass(frozen=True)
class Rule:
    """The alternatives of a rule, as words and rules, and their cumulative probabilities."""

    alternatives: tuple[tuple[str, ...], ...]
    cumulative: tuple[float, ...]


@functools.cache
def _grammar(domain: str) -> dict[str, Rule]:
    if domain not in _SENTENCES:
        raise ValueError(f"no domain {domain!r} in the embedded corpus; it has {', '.join(_SENTENCES)}")
    rules = {}
    for line in re.sub(r"\n\s+\|", " |", _WORDS + _SENTENCES[domain]).strip().splitlines():
        name, _, body = line.partition(":")
        weights, alternatives = [], []
        for alternative in body.split("|"):
            weight, star, words = alternative.rpartition("*")
            weights.append(float(weight) if star else 1.0)
            alternatives.append(tuple(words.replace(",", " ,").split()))
        cumulative = itertools.accumulate(weight / sum(weights) for weight in weights)
        rules[name] = Rule(tuple(alternatives), tuple(cumulative))
    return rules


def _expand(grammar: dict[str, Rule], symbol: str, rng: np.random.Generator) -> list[str]:
    if not symbol.startswith("<"):
        return [symbol]
    rule = grammar[symbol[1:-1]]
    chosen = min(bisect.bisect(rule.cumulative, rng.random()), len(rule.alternatives) - 1)
    return [word for part in rule.alternatives[chosen] for word in _expand(grammar, part, rng)]


def split_of(text: str) -> str:
    """The split of a sentence, for every domain: 70% train, 10% dev, 20% test."""
    share = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") / 2**32
    return "train" if share < 0.7 else "dev" if share < 0.8 else "test"


def sentences(domain: str, split: str, rng: np.random.Generator, topic: str = "start") -> Iterator[str]:
    """Yield sentences of a domain without end, in the form for eSpeak; `written` removes the pauses.

    `topic` is a rule of the domain's grammar, such as YouTube's sub-domains. Raises ValueError for a domain, split or
    topic that does not exist.
    """
    grammar = _grammar(domain)
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
    if topic not in grammar:
        raise ValueError(f"no topic {topic!r} in {domain}'s grammar")
    while True:
        spoken = " ".join(_expand(grammar, f"<{topic}>", rng)).replace(" ,", ",")
        spoken = _BEFORE_VOWEL.sub("an", spoken)
        text = written(spoken)
        if len(text.split()) >= SHORTEST and split_of(text) == split:
            yield spoken


def written(spoken: str) -> str:
    """The transcript of a sentence: its words without pauses."""
    return spoken.replace(",", "")


def topics(domain: str) -> dict[str, float]:
    """The sub-domains of a domain's grammar, and their shares of its sentences. Those of YouTube are Fig. 2's."""
    start = _grammar(domain)["start"]
    shares = np.diff(start.cumulative, prepend=0)
    return {" ".join(words).strip("<>"): float(share) for words, share in zip(start.alternatives, shares)}


def all_words() -> tuple[str, ...]:
    """All words of the grammars of all domains, sorted."""
    words = {"an"}
    for domain in _SENTENCES:
        for rule in _grammar(domain).values():
            words.update(word for parts in rule.alternatives for word in parts if word[0] not in "<,")
    return tuple(sorted(words))
