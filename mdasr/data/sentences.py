"""What the embedded corpus says: a grammar for each domain, over one vocabulary of words that are easily confused.

A rule is `name: alternative | alternative ...`. `<name>` stands for a rule, `3*` before an alternative makes it
three times as likely, and a comma is a pause that is heard and not written. Domains share word classes and differ
in topic, length and style. A sentence belongs to one split by its hash, so that no sentence of a test set is in the
training text, nor in that of the language model.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator

import numpy as np

SPLITS = ("train", "dev", "test")
SHORTEST = 3  # words: shorter sentences would be too few to divide among the splits

_WORDS = """
digit: one | two | three | four | five | six | seven | eight | nine
teen: ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen
tens: twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety
number: 2* <digit> | <teen> | <tens> | <tens> <digit>
name: ann | dan | jan | stan | ben | jen | ken | kim | tim | jim | sam | pam | bill | jill | phil | paul | carl
    | mark | clark | jack | zack | mike | kate | nate | jane | wayne | mary | harry | larry | barry | terry | jerry
    | peter | rita | anna | hannah | bob | rob | rose | joan | john
city: boston | austin | houston | dallas | denver | dover | london | paris | rome | dublin | berlin | turin | milan
    | cairo | moscow | vienna | burton | norton | newton | hudson | madison | salem | seattle | portland | oakland
when: monday | tuesday | wednesday | thursday | friday | saturday | sunday | today | tomorrow | tonight
month: january | march | april | may | june | july | august | october | november | december
hour: <digit> | <digit> | <digit> | ten | eleven | twelve
clock: <hour> | <hour> thirty | <hour> fifteen | half past <hour> | noon | midnight
food: pasta | pizza | bread | butter | batter | cheese | cherries | berries | curry | carrots | chicken | turkey
    | ham | jam | lamb | beef | beans | peas | plums | rice | spice | soup | salad | salt | pepper | fish | chips
    | cake | steak | bacon | onions | lemons | melons | honey | milk | tea | coffee | toast | oats
thing: book | bag | box | boots | boat | coat | shirt | skirt | shoes | jacket | jeans | hat | mat | map | lamp | lock
    | clock | rock | chair | table | cable | camera | piano | guitar | drum | ball | bell | bowl | pan | pen | pin
    | phone | radio | ring | string | rug | mug | jug | tent | bike | kite | ladder | letter | mirror | pillow
place: bank | park | station | museum | library | school | pool | mall | hall | hotel | airport | harbour | church
    | market | beach | bridge | theatre | clinic | bakery | garage | college | cottage | lake | farm | office | tower
adjective: big | small | old | cold | gold | warm | hot | good | bad | cheap | deep | new | blue | green | grey
    | great | red | black | white | bright | light | brown | round | long | strong | short | sharp | fast | last
    | late | hard | dark | clean | soft | sweet | quiet | pretty | funny | sunny | heavy | ready | busy | dusty
animal: cat | rat | bat | dog | frog | horse | mouse | cow | sheep | bird | bear | duck | snake | whale | wolf
person: doctor | teacher | driver | writer | painter | baker | banker | singer | sister | brother | mother | father
    | neighbour | manager | lawyer | farmer | player | captain | cousin | son | daughter | friend
device: lights | fan | heater | radio | oven | alarm | camera | speaker | television | lamp | washer | dryer | door
room: kitchen | bedroom | bathroom | garage | garden | office | hall | basement | attic | den
unit: minutes | hours | days | weeks | months | years
subject: i | we | they | you | he | she | <name> | my <person> | the <person>
past: found | lost | bought | brought | sold | told | saw | caught | kept | left | made | paid | sent | took | met | read
    | heard | liked | needed | wanted | washed | watched | walked | worked | dropped | fixed | mixed | used | broke
join: and | but | so | because | when | while | before | after
thingy: <thing> | <thing> | <animal> | <food> | <adjective> <thing>
"""

_SENTENCES = {
    "Voicesearch": """
start: 3* <weather> | 3* <route> | 2* <fact> | 2* <play> | 3* <find> | 2* <remind> | <call>
weather: weather in <city> <when> | will it rain in <city> <when> | how cold is it in <city> | <city> weather <month>
route: directions to <city> <place> | how far is <city> from <city> | <adjective> <place> near <city>
    | nearest <place> to <name> street | how long to walk to the <place> | bus from <city> to <city> at <clock>
fact: how old is a <animal> | how long do you cook <food> | what is <number> times <number> | who is <name> <city>
    | what does a <animal> eat | how many <unit> in <number> <unit> | when was <city> <place> made
play: play <name> and the <adjective> <animal> | play <adjective> <thing> by <name> | show me the <adjective> <animal>
    | songs about <food> and <thing> | <adjective> <animal> video
find: where can i buy a <adjective> <thing> | <adjective> <food> in <city> | <place> opening hours <when>
    | <food> and <food> recipe | pictures of <adjective> <animal> | <name> <name> <city> <person>
remind: remind me to call <name> at <clock> | remind me <when> to buy <food> | set a timer for <number> <unit>
call: call <name> <name> | text <name> i am at the <place> | call the <place> in <city>
""",
    "Dictation": """
start: 2* <letter> | 3* <story> | 2* <plan> | <note> | 2* <thought>
letter: dear <name> , <thanks> | hi <name> , <thanks> , <meet> | <thanks> , <meet>
thanks: thank you for the <thingy> that you sent <when> | i read your letter about the <thing> in <city>
    | we were glad to hear that your <person> <past> the <thingy>
meet: i will meet you at the <place> <when> at <clock> | please bring the <thing> and some <food>
    | can we move the meeting with <name> to <clock> | tell <name> that the <thing> is <adjective>
story: <clause> <join> <clause> | <clause> , <join> <clause> | on <when> <clause>
clause: <subject> <past> a <thingy> near the <place> | <subject> <past> the <thingy> | <subject> <past> <name> in <city>
    | the <adjective> <animal> was in the <room> | <subject> <past> some <food> for the <person>
plan: we plan to <do> on the <tens> of <month> | i would like to <do> <when> <join> we <do> | let us <do> at <clock>
do: sell the <thing> | visit the <place> in <city> | paint the <room> <adjective> | cook <food> with <food>
    | write to the <person> | wait for <name> | walk to the <place> | fix the <adjective> <thing>
note: note to self , buy <food> and <food> for <name> | new paragraph , the <thing> cost <number> pounds
    | the total is <number> hours and <number> minutes
thought: i think the <person> is too <adjective> for this | it seems that <name> and <name> are both <adjective>
    | there is a <adjective> <place> behind the <place>
""",
    "Other search": """
start: <adjective> <adjective> <thing> | <adjective> <thing> for <person> | <thing> and <thing> price | <food> near <place>
    | buy <adjective> <thing> <city> | <place> jobs in <city> | used <thing> under <number> dollars
    | <animal> food <city> | <name> <person> <city> | <food> with <food> and <food> | <city> <place> map
    | how to fix a <thing> | how to draw a <animal> | <number> <thing> ideas | <room> <thing> with <thing>
    | <city> to <city> train <when> | best <food> in <city> | <adjective> <room> paint
""",
    "Farfield": """
start: 3* <switch> | 2* <timer> | 2* <music> | <ask> | 2* <shop> | <talk>
switch: turn <onoff> the <device> in the <room> | turn the <room> <device> <onoff> | make the <room> <adjective>
    | set the <room> <device> to <number> | is the <device> in the <room> <onoff>
onoff: on | off
timer: set a timer for <number> <unit> | wake me at <clock> <when> | set an alarm for <clock> | add <number> <unit>
    | remind <name> to feed the <animal> at <clock>
music: play some <adjective> music in the <room> | play the song about the <adjective> <animal> | stop the <room> radio
    | play <name> and <name> on the <room> speaker
ask: will it be <adjective> in <city> <when> | how do you cook <food> | what sound does a <animal> make
    | how far is the <place> from here | who is at the <room> door
shop: add <food> and <food> to my list | order more <food> and a <thing> | put <number> <thing> on the list
talk: call <name> on the <device> | tell <name> to bring the <thing> | good morning my name is <name>
""",
    "Call-center": """
start: 2* <hello> | 3* <problem> | 2* <account> | 2* <visit> | <price>
hello: thank you for calling the <city> <place> , this is <name> | hello this is <name> <name> , i am calling about my <thing>
    | may i have your name and number please | you are speaking to <name> , how can i help you <when>
problem: the <adjective> <thing> that i ordered on <when> is <broken> | my <device> is <broken> , and i want to <return> it
    | i was told the <thing> would come <when> , but it went to <city> | the <person> said that my <thing> was <broken>
broken: broken | late | lost | too <adjective> | not <adjective> | the wrong colour
return: return | change | cancel | replace | repair
account: my number is <digits> | the order number is <digits> | it ends with <digit> <digit> <digit> , and the name is <name>
    | could you spell the name <name> <name> for me
digits: <digit> <digit> <digit> <digit> | <digit> <digit> <tens> <digit> | <digit> zero <digit> <digit> <digit>
visit: we can send a <person> on <when> at <clock> | i can book you a room in <city> for <number> <unit>
    | please hold for <number> minutes while i check the <device>
price: that will be <number> dollars and <number> cents | you paid <number> pounds for the <thing> in <month>
    | there is no charge for the <adjective> <thing> , sir
""",
    "YouTube": """
start: 24* <vlog> | 20* <gaming> | 16* <lessons> | 14* <news> | 10* <cooking> | 9* <sports> | 7* <reviews>
vlog: hey everyone , <when> we are in <city> to see the <adjective> <place> | so <subject> <past> the <thingy> and <subject> <past> me
    | my <person> and i <past> a <thingy> by the <place> | this is the <room> where i keep my <thing> and my <animal>
gaming: now you have to take the <adjective> <thing> from the <animal> | watch out for the <animal> behind the <place>
    | i need <number> gold to buy the <adjective> <thing> , come on | go left at the <place> and kill the <adjective> <animal>
lessons: the <animal> is a <adjective> animal that eats <food> | in <month> the king of <city> <past> <number> boats
    | if you take <number> from <number> you get <number> | the word <thing> comes from an old word for <thing>
news: the <person> of <city> said <when> that the <place> is not <adjective> | police in <city> <past> a <adjective> <thing> near the <place>
    | more than <number> people <past> the <place> in <month> | good evening , a <person> from <city> <past> the <place>
cooking: add the <food> and <number> spoons of <food> , then mix | first wash the <food> and cut the <food> into <adjective> pieces
    | leave the <food> in the oven for <number> minutes <join> you make the <food>
sports: <name> takes the ball from <name> and runs to the <adjective> side | <city> beat <city> by <number> points on <when>
    | what a great shot by <name> , number <number> | the <adjective> player from <city> <past> the ball again
reviews: the <thing> is <adjective> but the <thing> feels <adjective> | i paid <number> dollars for this <adjective> <thing>
    | out of ten i give this <thing> a <digit> , because it is <adjective>
""",
    "Telephony": """
start: <open> , <chat> | <chat> | <chat> , <close> | <open> , <chat> , <close> | <open> <chat> <join> , <chat>
open: yeah | well | oh | no | right | okay | um | uh | so | you know | i mean | oh yeah | really | yeah no
close: you know | right | is that so | i guess | i think | or something | and all that | you see | isn't it
chat: i don't know if <name> <past> it | we were <doing> with <name> and <name> | my <person> lives in <city> now
    | it's been <number> <unit> since i <past> a <thing> | do you still have that <adjective> <thing> | it was really <adjective>
    | i can't stand <food> | he's been <doing> all day | they said it's going to be <adjective> <when> | she <past> her <thing> in <month>
    | that's what <name> told me | i was <doing> when the <person> <past> | are you <doing> <when> | we had <food> and <food>
    | the kids want a <animal> | i used to <do> in <city> | the <person> has <number> of them
doing: working | walking | talking | waiting | looking | cooking | shopping | living | driving | reading | sleeping
do: work | walk | talk | live | ski | swim | sing | teach | paint | run
""",
}

DOMAINS = tuple(_SENTENCES)

Grammar = dict[str, tuple[tuple[float, tuple[str, ...]], ...]]


@functools.cache
def _grammar(domain: str) -> Grammar:
    if domain not in _SENTENCES:
        raise ValueError(f"no domain {domain!r} in the embedded corpus; it has {', '.join(DOMAINS)}")
    rules: Grammar = {}
    text = re.sub(r"\n\s+\|", " |", _WORDS + _SENTENCES[domain])
    for line in text.strip().splitlines():
        name, _, body = line.partition(":")
        alternatives = []
        for alternative in body.split("|"):
            weight, star, words = alternative.rpartition("*")
            alternatives.append((float(weight) if star else 1.0, tuple(words.split())))
        total = sum(weight for weight, _ in alternatives)
        rules[name] = tuple((weight / total, words) for weight, words in alternatives)
    return rules


def _expand(grammar: Grammar, symbol: str, rng: np.random.Generator) -> list[str]:
    if not symbol.startswith("<"):
        return [symbol]
    alternatives = grammar[symbol[1:-1]]
    chosen = rng.choice(len(alternatives), p=[weight for weight, _ in alternatives])
    return [word for part in alternatives[chosen][1] for word in _expand(grammar, part, rng)]


def split_of(text: str) -> str:
    """The split that a sentence belongs to, whatever the domain: 70% train, 10% dev, 20% test."""
    share = hashlib.blake2b(text.encode(), digest_size=2).digest()[0] / 256
    return "train" if share < 0.7 else "dev" if share < 0.8 else "test"


def sentences(domain: str, split: str, rng: np.random.Generator, topic: str = "start") -> Iterator[str]:
    """Endless sentences of a domain, as eSpeak is to say them; `written` takes the pauses out.

    `topic` is a rule of the domain's grammar, such as YouTube's sub-domains. Raises ValueError for a domain or split
    that does not exist.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    grammar = _grammar(domain)
    while True:
        spoken = " ".join(_expand(grammar, f"<{topic}>", rng)).replace(" ,", ",")
        text = written(spoken)
        if len(text.split()) >= SHORTEST and split_of(text) == split:
            yield spoken


def written(spoken: str) -> str:
    """The transcript of a sentence: its words without the pauses."""
    return spoken.replace(",", "")


def topics(domain: str) -> dict[str, float]:
    """The sub-domains of a domain's grammar and their shares of its sentences (Fig. 2, for YouTube)."""
    return {words[0][1:-1]: share for share, words in _grammar(domain)["start"]}


def vocabulary() -> tuple[str, ...]:
    """All words that any domain can say, sorted."""
    words: set[str] = set()
    for domain in DOMAINS:
        for alternatives in _grammar(domain).values():
            words.update(word for _, parts in alternatives for word in parts if word[0] not in "<,")
    return tuple(sorted(words))
