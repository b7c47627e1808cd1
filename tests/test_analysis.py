"""The analysis of §4.2 from corpora to cells: features, utterances, command, table, claims and picture."""

import json

import numpy as np
import pytest
import scipy.signal

from experiments.table2_similarity import PAPER, SIMILARITY_CLAIMS, similarity_table
from mdasr.analysis.domain_ivectors import (
    AnalysisOptions,
    by_domain,
    domain_ivectors,
    speech_features,
    turns,
    utterance_features,
)
from mdasr.analysis.ivectors import ExtractorOptions
from mdasr.analysis.similarity import Alikeness, Resemblance
from mdasr.analysis.ubm import UbmOptions
from mdasr.cli.main import main
from mdasr.corpus.records import Corpus, Utterance, encode_utterance, seal_corpus, shard_path, write_shard
from mdasr.perturb.bandwidth import narrowband

# One component: i-vectors are factors of the mean spectrum then, and the toy domains differ in nothing else.
OPTIONS = AnalysisOptions(10, 14, ubm=UbmOptions(1, 2), extractor=ExtractorOptions(2, 10))


def noise(rng: np.random.Generator, pole: float, seconds: float = 0.5) -> np.ndarray:
    """Make noise with a spectral tilt; features tell different tilts apart."""
    wave = scipy.signal.lfilter([1], [1, -pole], rng.standard_normal(int(16_000 * seconds)))
    return (wave / np.abs(wave).max() / 2).astype(np.float32)


def make_corpus(directory, domain: str, pole: float, speakers: int = 7, utterances: int = 14) -> Corpus:
    rng = np.random.default_rng(len(domain))
    voices = rng.uniform(-0.1, 0.1, speakers)
    made = [
        Utterance(f"u{i}", domain, domain, f"s{i % speakers}", "a",
                  (32767 * noise(rng, pole + voices[i % speakers])).astype(np.int16))
        for i in range(utterances)
    ]  # fmt: skip
    write_shard(shard_path(directory, "audio", 0, 1), map(encode_utterance, made))
    return seal_corpus(directory, domain, domain)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """The toy corpora: Telephony is similar to Call-center only."""
    folder = tmp_path_factory.mktemp("corpora")
    poles = {"Voicesearch": -0.6, "Dictation": 0.1, "Farfield": 0.2, "Call-center": 0.74, "YouTube": 0.3}
    return {name: make_corpus(folder / name, name, pole) for name, pole in (poles | {"Telephony": 0.8}).items()}


def test_features_do_not_depend_on_the_level_and_leave_out_pauses():
    wave = noise(np.random.default_rng(0), 0.5, 1.0)
    features = speech_features(wave)
    assert features.shape == (97, 60) and features.dtype == np.float32
    np.testing.assert_allclose(speech_features(wave / 50), features, atol=1e-3)
    paused = np.concatenate([wave, np.zeros(16_000, np.float32)])
    assert len(features) <= len(speech_features(paused)) <= len(features) + 4


@pytest.mark.parametrize("samples", [0, 1, 300, 16_000])
def test_silence_and_scraps_have_no_speech(samples):
    assert speech_features(np.zeros(samples, np.float32)).shape == (0, 60)
    assert speech_features(np.ones(min(samples, 300), np.float32)).shape == (0, 60)


def test_every_speaker_has_a_turn_before_one_has_a_second():
    speakers = list("aaabacb")
    assert [speakers[i] for i in turns(speakers)] == list("abcabaa")
    assert [*turns(speakers)][:3] == [0, 3, 5]


def test_utterances_are_drawn_by_seed_and_passed_over_without_speech(corpora, tmp_path):
    (first, *_), (again, *_), (other, *_) = (
        utterance_features(corpora["YouTube"], OPTIONS, seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    quiet = Utterance("q", "c", "d", "s", "a", np.zeros(8000, np.int16))
    write_shard(shard_path(tmp_path, "audio", 0, 1), [encode_utterance(quiet)])
    with pytest.raises(ValueError, match="no utterance has speech"):
        utterance_features(seal_corpus(tmp_path, "c", "d"), OPTIONS, 0)


def test_ivectors_of_domains_are_repeatable_and_tell_them_apart(corpora):
    first, again = (domain_ivectors(corpora, OPTIONS, 3) for _ in range(2))
    for name in corpora:
        np.testing.assert_array_equal(first[name].points, again[name].points)
        assert first[name].points.shape == (10, 2)
        assert len(set(first[name].speakers)) == 7
    middle = {name: cluster.points.mean(axis=0) for name, cluster in first.items()}
    away = {name: np.linalg.norm(middle[name] - middle["Telephony"]) for name in corpora}
    assert min((name for name in corpora if name != "Telephony"), key=away.get) == "Call-center"


def test_the_table_has_the_papers_rows_and_is_measured_again_at_8_khz(corpora, tmp_path, drawn):
    results = similarity_table(corpora, options=OPTIONS, pictures=tmp_path)
    json.dumps(results)
    for part in (results, results["heard_at_8_khz"]):
        cells = {cell["row"]: cell for cell in part["cells"]}
        assert cells.keys() == PAPER.keys()
        assert cells["Voicesearch"]["paper"] == {"silhouette": 0.0732, "similarity": 3.3}
        for cell in cells.values():
            for measure in ("silhouette", "similarity"):
                low, high = cell[f"{measure}_ci95"]
                assert low <= cell[measure] <= high
            assert (cell["utterances"], cell["speakers"], cell["ci95_over"]) == (10, 7, "speakers")
        assert [claim["id"] for claim in part["claims"]] == ["T2.a", "T2.b"]
    assert results["cells"][0]["row"] == "Call-center"
    assert results["cells"] != results["heard_at_8_khz"]["cells"]
    for name in ("table2.png", "table2_8khz.png"):
        (axes,) = drawn[name].axes
        assert {text.get_text() for text in axes.get_legend().texts} == {*PAPER, "Telephony"}
        assert (tmp_path / name).is_file() and all(len(cloud.get_offsets()) == 10 for cloud in axes.collections)
    with pytest.raises(ValueError, match="Table 2 needs a corpus of Call-center, Dictation"):
        similarity_table({"Voicesearch": corpora["Voicesearch"]})


def resemblance(silhouette: float, similarity: float, spread: float) -> Resemblance:
    found = Alikeness(silhouette, similarity)
    left = np.array(found) * (1 + spread * np.linspace(-0.1, 0.1, 10))[:, None]
    return Resemblance(found, left, np.tile(found, (10, 1)))


def test_verdicts_on_who_is_nearest_and_farthest():
    def verdicts(spread: float = 1.0, **changed: Resemblance) -> dict[str, str]:
        as_printed = {name: resemblance(*found, spread) for name, found in PAPER.items()}
        changed = {name.replace("_", "-"): value for name, value in changed.items()}
        return {claim.id: claim.verdict(as_printed | changed)["verdict"] for claim in SIMILARITY_CLAIMS}

    assert verdicts(0.1) == {"T2.a": "holds", "T2.b": "holds"}
    assert verdicts(3.0) == {"T2.a": "undecided", "T2.b": "undecided"}
    assert verdicts(0.1, Farfield=resemblance(0.09, 2.5, 0.1)) == {"T2.a": "holds", "T2.b": "fails"}
    # By one measure nearest, by the other not.
    assert verdicts(0.1, Call_center=resemblance(0.01, 4.0, 0.1))["T2.a"] == "fails"
    evidence = SIMILARITY_CLAIMS[0].verdict({name: resemblance(*found, 0.1) for name, found in PAPER.items()})
    assert "against Voicesearch: silhouette -0.0484 [" in evidence["evidence"]
    assert evidence["why"] == "", "where a claim holds nothing is in its way"
    farthest = {name: resemblance(*found, 0.1) for name, found in PAPER.items()}
    found = SIMILARITY_CLAIMS[1].verdict(farthest | {"Farfield": resemblance(0.09, 4.0, 0.1)})
    assert found["why"].startswith("against Farfield: silhouette ") and ";" not in found["why"]
    assert "similarity" not in found["why"], "by which Voicesearch is farther still"


def test_the_command_prints_the_nearest_first(corpora, tmp_path, capsys, drawn):
    directories = [str(corpora[name].directory) for name in ("Telephony", "Voicesearch", "Call-center")]
    out, picture = tmp_path / "json" / "out.json", tmp_path / "pictures" / "domains.png"
    arguments = ["--to", "Telephony", "--components", "1", "--dimensions", "2", "--utterances", "9", "--narrowband"]
    assert main(["similarity", *directories, *arguments, "--json", str(out), "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("| Call-center |") < printed.index("| Voicesearch |")
    written = json.loads(out.read_text())
    assert written["reference"] == "Telephony" and written["settings"]["narrowband"] is True
    assert [cell["row"] for cell in written["cells"]] == ["Call-center", "Voicesearch"]
    assert f"{written['cells'][0]['similarity']:.2f} [" in printed
    assert len(drawn["domains.png"].axes[0].collections) == 3 and picture.is_file()


def test_the_command_explains_what_it_cannot_compare(corpora, tmp_path, capsys):
    directories = [str(corpora[name].directory) for name in ("Telephony", "Voicesearch")]
    for arguments, message in (
        (
            [*directories, "--to", "Dictation"],
            "cannot compare with Dictation: the corpora have the domains Telephony, Voicesearch",
        ),
        ([directories[0], directories[0]], "named twice"),
        ([directories[0]], "cannot compare with Telephony"),
        ([*directories, "--components", "4"], "28 utterances cannot train i-vectors of 32 dimensions"),
        ([*directories, "--components", "9000"], "frames cannot train 9000 components"),
        ([*directories, str(tmp_path)], "is not a corpus"),
    ):
        assert main(["similarity", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_corpora_of_one_domain_are_told_apart(corpora, tmp_path):
    again = make_corpus(tmp_path / "more", "YouTube", 0.3)
    names = [*by_domain([corpora["YouTube"], again, corpora["Telephony"]])]
    assert names == [f"YouTube ({corpora['YouTube'].directory})", f"YouTube ({again.directory})", "Telephony"]


def test_at_8_khz_a_wideband_recording_sounds_like_a_narrowband_one():
    wave = noise(np.random.default_rng(1), 0.2, 1.0)
    wide, heard, twice = (
        speech_features(w)[:, :20].mean(axis=0) for w in (wave, narrowband(wave), narrowband(narrowband(wave)))
    )
    assert np.linalg.norm(heard - twice) < 0.05 * np.linalg.norm(wide - heard)
