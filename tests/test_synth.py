"""The embedded corpus: the same bits every time, splits that share nothing, alignments that sit on the
sound."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from functools import cache

import numpy as np
import pytest
import soundfile

from mdasr.core.waveforms import RATE_HZ
from mdasr.corpus.records import Corpus, Utterance, encode_utterance, seal_corpus, shard_path, write_shard
from mdasr.language import ngram
from mdasr.language.lexicon import ARPABET, SILENCE, Lexicon
from mdasr.perturb.equaliser import equalise
from mdasr.perturb.noises import KINDS, PER_KIND, make_noises
from mdasr.perturb.room import TRAINING_ROOMS
from mdasr.synth import embedded
from mdasr.synth.channel import Channel, mu_law, telephone, transmit
from mdasr.synth.domains import DOMAINS, figure2, table1, tempered_minutes, topic_of
from mdasr.synth.sentences import SHORTEST, SPLITS, all_words, sentences, split_of, topics, written
from mdasr.synth.speakers import VARIANTS, draw_speaker


@pytest.fixture(scope="module")
def snippets():
    """Make stand-ins for the noises, which take seconds to make; each kind is another noise."""
    rng = np.random.default_rng(0)
    kinds = {kind for domain in DOMAINS.values() for _, channel in domain.channels for kind in channel.noises}
    return {f"{kind}-train-00": 0.1 * rng.standard_normal(20_000, np.float32) for kind in sorted(kinds)}


@pytest.fixture(scope="module", autouse=True)
def few_noises():
    """One snippet of each kind, made once a split: to make all that corpora have takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdasr.perturb.noises.PER_KIND", dict.fromkeys(SPLITS, 1))
        patch.setattr(embedded, "_all_snippets", cache(make_noises))
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return embedded.make(tmp_path_factory.mktemp("dictation"), "Dictation", "test", words=460, workers=1)


def utterances(domain, snippets, count=6):
    return [embedded.make_utterance(DOMAINS[domain], "train", 0, f"000-{i:04d}", snippets) for i in range(count)]


# --- sentences


def test_sentences_are_what_they_were():
    # Platform-independent, unlike the audio: if this changes, so does the corpus, and VERSION with it.
    digest = hashlib.sha256()
    for domain, split in itertools.product(DOMAINS, SPLITS):
        for spoken in itertools.islice(sentences(domain, split, np.random.default_rng(7)), 20):
            digest.update(spoken.encode() + b"\n")
    assert embedded.VERSION == 4
    assert digest.hexdigest()[:16] == "ce32faeab092305b"


def test_splits_share_no_sentence():
    drawn = {
        split: {
            written(spoken)
            for domain in DOMAINS
            for spoken in itertools.islice(sentences(domain, split, np.random.default_rng(1)), 60)
        }
        for split in SPLITS
    }
    assert all(not drawn[a] & drawn[b] for a, b in itertools.combinations(SPLITS, 2))
    assert all(split_of(text) == split for split in SPLITS for text in drawn[split])
    test = drawn["test"]
    assert all(text not in test for domain in DOMAINS for text in embedded.lm_text(domain, 60))


def test_transcripts_have_words_of_the_vocabulary_and_nothing_else():
    words = {*all_words()}
    for domain in DOMAINS:
        for text in embedded.lm_text(domain, 100):
            assert {*text.split()} <= words
            assert len(text.split()) >= SHORTEST
    assert all(word.replace("'", "").isalpha() and word.islower() for word in words)
    assert 500 <= len(words) <= 700


def test_a_before_a_vowel_is_an():
    texts = " ".join(embedded.lm_text("YouTube", 400))
    assert re.search(r"\ban (old|attic|office|airport)\b", texts)
    assert not re.search(r"\ba (old|attic|office|airport|alarm|oven)\b", texts)
    assert not re.search(r"\ban (one|used|your|cold)\b", texts)


def test_a_trigram_model_does_not_solve_the_task():
    model = ngram.train_ngrams(
        [text.split() for domain in DOMAINS for text in embedded.lm_text(domain, 1500)], 3, all_words()
    )
    for domain in DOMAINS:
        dev = itertools.islice(sentences(domain, "dev", np.random.default_rng(0)), 100)
        assert 15 < model.perplexity([written(spoken).split() for spoken in dev]) < 60, domain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Radio", "train"), "'Radio'.*Voicesearch"),
        (("Dictation", "valid"), "'valid'.*train, dev, test"),
        (("Dictation", "train", "weather"), "topic 'weather'"),
    ],
)
def test_unknown_names_are_errors(arguments, message):
    domain, split, *topic = arguments
    with pytest.raises(ValueError, match=message):
        next(sentences(domain, split, np.random.default_rng(0), *topic))


# --- speakers


def test_splits_share_no_voice():
    for a, b in itertools.combinations(SPLITS, 2):
        assert not {*VARIANTS[a]} & {*VARIANTS[b]}
    assert [len(VARIANTS[split]) for split in SPLITS] == [48, 8, 16]
    everybody = {split: [draw_speaker("youtube", split, i, 0) for i in range(60)] for split in SPLITS}
    for split, speakers in everybody.items():
        assert {speaker.voice.variant or "default" for speaker in speakers} == {*VARIANTS[split]}
        assert len({speaker.voice.language for speaker in speakers}) == 8
    assert draw_speaker("youtube", "test", 3, 0) == everybody["test"][3]
    assert draw_speaker("youtube", "test", 3, 1) != everybody["test"][3]


# --- channel


def test_mu_law_is_as_fine_as_that_of_libsndfile():
    wave = 0.2 * np.random.default_rng(0).standard_normal(8000).astype(np.float32).clip(-4, 4)
    file = io.BytesIO()
    soundfile.write(file, wave, 8000, subtype="ULAW", format="WAV")
    file.seek(0)
    theirs, _ = soundfile.read(file, dtype="float32")
    ours_db, theirs_db = (10 * np.log10(np.mean(wave**2) / np.mean((w - wave) ** 2)) for w in (mu_law(wave), theirs))
    assert ours_db == pytest.approx(theirs_db, abs=1)
    # This is the purpose of companding: quiet speech keeps its ratio.
    quiet = wave / 30
    assert 10 * np.log10(np.mean(quiet**2) / np.mean((mu_law(quiet) - quiet) ** 2)) > 30
    assert mu_law(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_telephone_keeps_its_band_and_its_time():
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal(16_001).astype(np.float32)
    heard = telephone(wave)
    assert heard.shape == wave.shape
    assert heard.dtype == np.float32
    hz = np.fft.rfftfreq(len(heard), 1 / RATE_HZ)
    power = np.abs(np.fft.rfft(heard)) ** 2
    assert power[(hz > 4200)].mean() < 1e-5 * power[(hz > 500) & (hz < 3000)].mean()
    assert power[hz < 150].mean() < 1e-2 * power[(hz > 500) & (hz < 3000)].mean()
    lags = np.correlate(heard[1000:9000], wave[900:9100], "valid")
    assert np.abs(lags).argmax() == 100


def test_equaliser_gains_are_those_asked_for():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for hz, gain_db in ((1000.0, 3.0), (2500.0, -2.0)):
        tone = np.sin(2 * np.pi * hz * time_s).astype(np.float32)
        heard = equalise(tone, (100.0, 1000.0, 2500.0, 8000.0), (0.0, 3.0, -2.0, 0.0))
        assert np.allclose(heard[2000:-2000], tone[2000:-2000] * 10 ** (gain_db / 20), atol=0.01)


def test_background_is_as_loud_as_the_channel_says(snippets):
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal(RATE_HZ).astype(np.float32)
    channel = Channel(hiss_db=(80.0, 80.0), noises=("music",), snr_db=(12.0, 12.0))
    noise = transmit(wave, channel, rng, snippets, TRAINING_ROOMS) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(12, abs=0.2)
    with pytest.raises(ValueError, match="no noise snippet of the kinds bells"):
        transmit(wave, Channel(noises=("bells",)), rng, snippets, TRAINING_ROOMS)


def test_channels_name_kinds_of_noise_that_exist():
    for domain in DOMAINS.values():
        assert sum(share for share, _ in domain.channels) == pytest.approx(1)
        assert all({*channel.noises} <= {*KINDS} for _, channel in domain.channels)
    assert {*SPLITS} == {*PER_KIND}


# --- utterances


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_speaks(domain, snippets):
    for utterance, alignment in utterances(domain, snippets):
        assert utterance.domain == domain
        assert 0.03 < np.abs(utterance.samples).max() < 0.99
        assert alignment.id == utterance.id
        assert alignment.ends_s[-1] == pytest.approx(utterance.seconds, abs=1e-4)
        assert (np.diff(alignment.ends_s, prepend=0) > 0).all()
        assert {*alignment.phones} <= {*ARPABET, SILENCE}
        assert alignment.phones[0] == alignment.phones[-1] == SILENCE
        assert " ".join(word for word, _, _ in alignment.words) == utterance.text
        above_4k = np.abs(np.fft.rfft(utterance.samples))[int(4300 * utterance.seconds) :]
        narrow = float(np.mean(above_4k**2)) < 1e-6 * float(np.mean(np.abs(np.fft.rfft(utterance.samples)) ** 2))
        assert narrow == (utterance.source_rate_hz == 8000)
    if domain in ("Call-center", "Telephony"):
        assert utterance.source_rate_hz == 8000


def test_boundaries_sit_where_the_spectrum_changes(snippets):
    at, elsewhere = [], []
    for utterance, alignment in utterances("Dictation", snippets, 10):
        frames = np.lib.stride_tricks.sliding_window_view(utterance.samples, 256)[::80] * np.hanning(256)
        spectra = np.log(np.abs(np.fft.rfft(frames)).reshape(-1, 129)[:, :128].reshape(-1, 16, 8).mean(2) + 1e-4)
        change = np.sqrt(((spectra[4:] - spectra[:-4]) ** 2).mean(1))  # between 10 ms before and after
        places = np.round((np.asarray(alignment.ends_s[:-1]) * RATE_HZ - 128) / 80 - 2).astype(int)
        places = places[(places >= 0) & (places < len(change))]
        at.append(change[places].mean())
        elsewhere.append(change.mean())
    assert np.mean(at) > 1.7 * np.mean(elsewhere)


# --- corpora


@pytest.mark.slow
def test_bits_do_not_depend_on_workers_and_do_on_the_seed(tmp_path, corpus):
    again = embedded.make(tmp_path / "again", "Dictation", "test", words=460, workers=2)
    assert again.info["sha256"] == corpus.info["sha256"]
    assert [again.alignments("exact")[i] for i in range(len(again))] == [
        corpus.alignments("exact")[i] for i in range(len(corpus))
    ]
    other = embedded.make(tmp_path / "other", "Dictation", "test", seed=1, words=20, workers=1)
    assert other[0].text != corpus[0].text


def test_the_stored_hash_is_that_of_the_records(corpus):
    digest = hashlib.sha256()
    for utterance in (corpus[i] for i in range(len(corpus))):
        digest.update(encode_utterance(utterance))
    assert corpus.info["sha256"] == digest.hexdigest()
    assert 460 <= corpus.info["words"] <= 490
    assert corpus.info["embedded"]["split"] == "test"
    assert len(corpus.info["shards"]) == 2


def test_a_made_corpus_is_opened_and_an_interrupted_one_is_made_again(tmp_path):
    def make(**size):
        return embedded.make(tmp_path, "Other search", "dev", workers=1, **size)

    first = make(words=15)
    written_at = (tmp_path / "lengths.npy").stat().st_mtime_ns
    assert make(words=15).info == first.info
    assert (tmp_path / "lengths.npy").stat().st_mtime_ns == written_at
    with pytest.raises(ValueError, match=r"another corpus.*words 15.*words 16.*remove it"):
        make(words=16)
    (tmp_path / "align-exact.npy").unlink()
    leftover = tmp_path / "audio-00007-of-00009.array_record"
    leftover.write_bytes(b"half")
    assert make(words=15).info == first.info
    assert not leftover.exists()
    assert len(first.alignments("exact")) == len(first)


def test_a_shard_that_fails_says_which_and_why(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RuntimeError, match=r"(?s)Dictation dev, shard 0 of 1.*NotADirectoryError"):
        embedded.make(tmp_path / "file" / "below", "Dictation", "dev", words=10, workers=1)
    with pytest.raises(ValueError, match="there is no split 'valid'"):
        embedded.make(tmp_path / "corpus", "Dictation", "valid")
    with pytest.raises(ValueError, match="no domain 'Radio'"):
        embedded.make(tmp_path / "corpus", "Radio", "train")


def test_pronunciations_are_counted_as_heard(corpus):
    counts = embedded.observed_pronunciations(corpus)
    words = " ".join(corpus[i].text for i in range(len(corpus))).split()
    assert {word: sum(seen.values()) for word, seen in counts.items()} == {w: words.count(w) for w in words}
    dictionary = embedded.dictionary_pronunciations()
    assert tuple(sorted(dictionary)) == all_words()
    assert ("T", "UW") in dictionary["two"]
    assert Lexicon.from_counts(dictionary).words == all_words()


# --- proportions


def test_minutes_are_table_1_tempered():
    assert tempered_minutes(16_000.0) == 30
    assert tempered_minutes(1_000.0, exponent=1.0) == 30 / 16
    assert tempered_minutes(1_000.0) / tempered_minutes(117_000.0) == pytest.approx((1 / 117) ** 0.25)
    assert DOMAINS["Call-center"].minutes == pytest.approx(15)
    assert DOMAINS["Telephony"].minutes == 45


def silent_corpus(directory, domain, seconds) -> Corpus:
    wave = np.zeros(seconds * RATE_HZ, np.int16)
    utterance = Utterance("silence", "silence", domain, "nobody", "", wave)
    write_shard(shard_path(directory, "audio", 0, 1), [encode_utterance(utterance)])
    return seal_corpus(directory, "silence", domain)


def test_table_1_stands_beside_the_papers(tmp_path):
    seconds = {"Voicesearch": 36, "YouTube": 108, "Telephony": 180}
    rows = table1([silent_corpus(tmp_path / name, name, length) for name, length in seconds.items()])
    assert [row.name for row in rows] == ["Voicesearch", "YouTube"]
    assert [row.minutes for row in rows] == pytest.approx([0.6, 1.8])
    assert [row.percent for row in rows] == pytest.approx([25, 75])
    assert rows[1].paper_hours == 117_000
    assert rows[1].paper_percent == pytest.approx(100 * 117 / 161)


def test_figure_2_is_the_share_of_each_topic(tmp_path):
    made = embedded.make(tmp_path, "YouTube", "dev", words=60, workers=1)
    slices = figure2(made)
    assert sum(part.percent for part in slices) == pytest.approx(100)
    assert {part.name for part in slices} <= {*topics("YouTube")}
    assert sum(part.minutes for part in slices) == pytest.approx(60 * made.info["hours"], abs=0.01)
    first = topic_of(made[0].id)
    assert any(part.name == first for part in slices)
