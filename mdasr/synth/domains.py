"""The seven application domains of the embedded corpus, and their proportions (§4.1, Table 1, Fig. 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus
from mdasr.perturb.room import RoomRanges
from mdasr.synth.channel import Channel

EXPONENT = 0.25
VOICESEARCH_MINUTES = 30.0
DEV_WORDS, TEST_WORDS = 800, 4500
DEV_SPEAKERS, TEST_SPEAKERS = 16, 48


@dataclass(frozen=True)
class Domain:
    """A domain: its hours in the paper, its minutes here, its training speakers, its pace, and its channels' shares.

    Table 1 has no row for Telephony, which is held out: its `hours` are those of the pool in §4.4.
    """

    name: str
    hours: float
    minutes: float
    speakers: int
    rate_wpm: tuple[float, float]
    channels: tuple[tuple[float, Channel], ...]
    topics: bool = False
    held_out: bool = False

    @property
    def slug(self) -> str:
        return self.name.lower().replace(" ", "-")


def tempered_minutes(hours: float, exponent: float = EXPONENT) -> float:
    """The minutes of a domain with `hours` in Table 1: 30 for Voicesearch, and proportional to hours^exponent.

    With the paper's own proportions (exponent 1), Call-center would have less than two minutes.
    """
    return VOICESEARCH_MINUTES * (hours / 16_000) ** exponent


def _domain(
    name: str,
    hours: float,
    speakers: int,
    rate_wpm: tuple[float, float],
    *channels: tuple[float, Channel],
    topics: bool = False,
) -> Domain:
    """Make a domain of Table 1."""
    return Domain(name, hours, tempered_minutes(hours), speakers, rate_wpm, channels, topics)


_LIVING_ROOM = RoomRanges(snr_db=(15.0, 30.0), rt60_s=(0.15, 0.45), distance_m=(1.0, 3.0), sources=(0, 2))
_ANY_ROOM = RoomRanges(snr_db=(20.0, 35.0), rt60_s=(0.1, 0.35), distance_m=(0.5, 2.0), sources=(0, 2))
_OFFICE = ("babble", "fan", "hum", "typing")
_OUTDOORS = ("babble", "cafeteria", "traffic", "wind")

_HANDSET = Channel(hiss_db=(30.0, 45.0))
_DESK = Channel()
_SPEAKER = Channel(noises=("fan", "hum", "music"), rooms=_LIVING_ROOM)
_HEADSET_CALL = Channel(noises=_OFFICE, snr_db=(25.0, 40.0), telephone=True)
_MOBILE_CALL = Channel(noises=_OUTDOORS, snr_db=(28.0, 40.0), telephone=True)
_MUSIC_BED = Channel(noises=("music",), snr_db=(15.0, 30.0))
_STREET = Channel(noises=_OUTDOORS, snr_db=(15.0, 30.0))
_STAGE = Channel(noises=_OUTDOORS, rooms=_ANY_ROOM)

_YOUTUBE = ((0.35, _DESK), (0.25, _MUSIC_BED), (0.15, _STREET), (0.15, _STAGE), (0.1, _HEADSET_CALL))

_ALL = (
    _domain("Voicesearch", 16_000.0, 150, (150.0, 185.0), (1.0, _HANDSET)),
    _domain("Dictation", 18_000.0, 100, (140.0, 170.0), (1.0, _DESK)),
    _domain("Other search", 1_000.0, 40, (150.0, 185.0), (1.0, _HANDSET)),
    _domain("Farfield", 8_000.0, 75, (135.0, 165.0), (1.0, _SPEAKER)),
    _domain("Call-center", 1_000.0, 24, (140.0, 165.0), (1.0, _HEADSET_CALL)),
    _domain("YouTube", 117_000.0, 300, (140.0, 170.0), *_YOUTUBE, topics=True),
    Domain("Telephony", 700.0, 45.0, 60, (125.0, 150.0), ((1.0, _MOBILE_CALL),), held_out=True),
)
DOMAINS: dict[str, Domain] = {domain.name: domain for domain in _ALL}


def find_domain(name: str) -> Domain:
    if name not in DOMAINS:
        raise ValueError(f"no domain {name!r} in the embedded corpus; it has {', '.join(DOMAINS)}")
    return DOMAINS[name]


@dataclass(frozen=True)
class Proportion:
    """A row of Table 1 or a slice of Fig. 2: its size here, its share in percent, and the values of the paper."""

    name: str
    minutes: float
    percent: float
    paper_hours: float | None = None
    paper_percent: float | None = None


def table1(corpora: Sequence[Corpus]) -> list[Proportion]:
    """Table 1 for training corpora, with the paper's values. Domains that it lacks (Telephony) are left out."""
    minutes: Counter[str] = Counter()
    for corpus in corpora:
        minutes[corpus.domain] += 60 * corpus.info["hours"]
    rows = [domain for name, domain in DOMAINS.items() if name in minutes and not domain.held_out]
    total = sum(minutes[domain.name] for domain in rows)
    paper = sum(domain.hours for domain in DOMAINS.values() if not domain.held_out)
    return [
        Proportion(
            name=domain.name,
            minutes=minutes[domain.name],
            percent=100 * minutes[domain.name] / total,
            paper_hours=domain.hours,
            paper_percent=100 * domain.hours / paper,
        )
        for domain in rows
    ]


def topic_of(utterance_id: str) -> str:
    """The sub-domain of an utterance: the last part of its id, in domains that have sub-domains."""
    return utterance_id.rsplit("-", 1)[-1]


def figure2(youtube: Corpus) -> list[Proportion]:
    """Fig. 2: the sub-domains of the YouTube corpus, the largest first."""
    samples: Counter[str] = Counter()
    for utterance in youtube:
        samples[topic_of(utterance.id)] += len(utterance.wave)
    total = sum(samples.values())
    return [Proportion(topic, count / RATE_HZ / 60, 100 * count / total) for topic, count in samples.most_common()]
