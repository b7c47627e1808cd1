"""One name for a training: if any ingredient changes, the name changes."""

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments import collection
from experiments.laboratory import Laboratory
from experiments.models import MULTI, VSD, VSD_CODEC, VSD_NOISE, adapted_model
from experiments.nouns import Model
from mdasr.align import flat_start, tree_growth
from mdasr.core.digests import Named
from mdasr.corpus.records import Corpus
from mdasr.language import espeak
from mdasr.language.lexicon import Lexicon
from mdasr.perturb import Codec, Policy, noises, recipe
from mdasr.perturb.noises import SoundSource
from mdasr.synth import embedded
from mdasr.training import ingredients
from mdasr.training.ingredients import Training
from mdasr.training.pipeline import train_recognizer
from mdasr.training.regimes import AS_PUBLISHED, Regime
from mdasr.training.scales import MINI, Scale
from mdasr.training.speech_split import DomainSpeech
from mdasr.training.word_models import Shared, Wording
from tests.toy_speech import toy_corpus

ONE_MORE = (*ingredients.FAST_CODECS, Codec("opus", 24))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Make a folder with two corpora, a lexicon, two lists of questions, two noises and two room responses."""
    for name, domain in (("a", "Toy"), ("b", "Other")):
        toy_corpus(tmp_path / name, [0.5] * 9, domain=domain)
    for name, phone in (("one", "AA"), ("two", "S")):
        Lexicon({"ah": ((("AA",), 1.0),), "s": (((phone,), 1.0),)}).write(tmp_path / f"{name}.dict")
        (tmp_path / f"{name}.txt").write_text(f"{phone}\n")
        (tmp_path / name).mkdir()
        tone = np.sin(np.arange(1600) * (0.1 if name == "one" else 0.2))
        soundfile.write(tmp_path / name / "x.wav", tone, 16_000)
    return tmp_path


def corpus(directory: Path) -> DomainSpeech:
    return DomainSpeech.of(Corpus(directory))


@pytest.fixture
def training(folder) -> Training:
    words = Wording(folder / "one.dict", questions=folder / "one.txt", tree_on=("Toy",))
    speech = (corpus(folder / "a"), corpus(folder / "b"))
    return Training(speech, MINI, noise_on=("Toy",), codecs=True, sounds=SoundSource(folder / "one"), words=words)


def parts(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths to all fields within a dataclass that are not dataclasses."""
    if not dataclasses.is_dataclass(value):
        return [path]
    return [each for part in dataclasses.fields(value) for each in parts(getattr(value, part.name), (*path, part.name))]


def changed(value: object, path: tuple[str, ...]):
    """Return `value` with another part at a path; nothing checks the part."""
    other = copy.deepcopy(value)
    owner = other
    for name in path[:-1]:
        owner = getattr(owner, name)
    object.__setattr__(owner, path[-1], another(getattr(owner, path[-1])))
    return other


def another(part):
    match part:
        case bool() | None:
            return not part
        case int():
            return part + 1
        case float():
            return part / 2 or 0.5
        case "uniform":
            return "kim"  # rooms are looked up by name
        case str():
            return part + "x"
        case tuple():
            return (*part[:-1], another(part[-1])) if part else ("x",)
    return changed(part, parts(part)[0])


def wording(training: Training, **changes) -> Training:
    return dataclasses.replace(training, words=dataclasses.replace(training.words, **changes))


def heard(folder: Path, **changes) -> DomainSpeech:
    return dataclasses.replace(corpus(folder / "a"), **changes)


def kept(training: Training, speech: DomainSpeech, share: float) -> Training:
    return dataclasses.replace(training, parent=Named("one", list), keep=(speech,), keep_share=share)


# Changes by the field of `Training`; each function gets the training and the folder of its files.
CHANGES = {
    "speech": [
        lambda t, f: dataclasses.replace(t, speech=t.speech[:1]),
        lambda t, f: dataclasses.replace(t, speech=(heard(f, seed=1), t.speech[1])),
        lambda t, f: dataclasses.replace(t, speech=(heard(f, dev=corpus(f / "b").train), t.speech[1])),
        lambda t, f: dataclasses.replace(t, speech=(heard(f, train=corpus(f / "b").train), t.speech[1])),
    ],
    "scale": [lambda t, f, p=p: dataclasses.replace(t, scale=changed(t.scale, p)) for p in parts(MINI)],
    "seed": [lambda t, f: dataclasses.replace(t, seed=1)],
    "share": [lambda t, f: dataclasses.replace(t, share=0.5)],
    "noise_on": [
        lambda t, f: dataclasses.replace(t, noise_on=()),
        lambda t, f: dataclasses.replace(t, noise_on=("Toy", "Other")),
    ],
    "codecs": [lambda t, f: dataclasses.replace(t, codecs=False)],
    "warp": [lambda t, f: dataclasses.replace(t, warp=True)],
    "augment": [lambda t, f, a=a: dataclasses.replace(t, augment=(a,)) for a in ingredients.AUGMENTATIONS],
    "sounds": [
        lambda t, f: dataclasses.replace(t, sounds=SoundSource(f / "two")),
        lambda t, f: dataclasses.replace(t, sounds=SoundSource()),
        lambda t, f: dataclasses.replace(t, sounds=SoundSource(split="dev")),
        lambda t, f: dataclasses.replace(t, sounds=SoundSource(seed=1)),
        lambda t, f: dataclasses.replace(t, sounds=SoundSource(f / "one", f / "one")),
        lambda t, f: dataclasses.replace(t, sounds=SoundSource(f / "one", f / "two")),
    ],
    "words": [
        lambda t, f: wording(t, lexicon=f / "two.dict"),
        lambda t, f: wording(t, lexicon=None),
        lambda t, f: wording(t, phones=("AA", "S", "SIL")),
        lambda t, f: wording(t, questions=f / "two.txt"),
        lambda t, f: wording(t, tree_on=()),
        lambda t, f: wording(t, text=Named("some text", list)),
        lambda t, f: wording(t, alignment=Named("d1ge57", str)),
        lambda t, f: dataclasses.replace(t, words=Shared({"lexicon": "shared"}, str, list)),
    ],
    "parent": [lambda t, f, name=name: dataclasses.replace(t, parent=Named(name, list)) for name in ("one", "two")],
    "regime": [lambda t, f, p=p: dataclasses.replace(t, regime=changed(t.regime, p)) for p in parts(AS_PUBLISHED)],
    "keep": [lambda t, f, n=n: kept(t, corpus(f / n), 0.2) for n in ("a", "b")],
    "keep_share": [lambda t, f, share=share: kept(t, corpus(f / "b"), share) for share in (0.1, 0.2)],
    "features_on": [lambda t, f: dataclasses.replace(t, features_on="accelerator")],
}  # fmt: skip
VERSIONS = (
    (ingredients, "TRAINING_VERSION"),
    (recipe, "VERSION"),
    (tree_growth, "VERSION"),
    (flat_start, "VERSION"),
    (espeak, "VERSION"),
)


def test_every_field_of_a_training_is_changed_here():
    assert {*CHANGES} == {part.name for part in dataclasses.fields(Training)}


@pytest.mark.parametrize("part", CHANGES)
def test_another_ingredient_gives_another_name(training, folder, part):
    names = [training.name, *(change(training, folder).name for change in CHANGES[part])]
    assert len({*names}) == len(names)
    assert dataclasses.replace(training).name == names[0], "the same ingredients, the same name"


@pytest.mark.parametrize(("module", "version"), VERSIONS)
def test_another_version_of_the_code_gives_another_name(training, monkeypatch, module, version):
    before = training.name
    monkeypatch.setattr(module, version, getattr(module, version) + 1)
    assert training.name != before


@pytest.mark.parametrize("path", parts(Policy()), ids=".".join)
def test_another_policy_gives_another_name(training, monkeypatch, path):
    before, policy = training.name, training.policy
    monkeypatch.setattr(Training, "policy", lambda _, domain: changed(policy(domain), path))
    assert training.name != before


def test_ingredients_of_another_kind_with_the_same_fields_are_told_apart(training):
    @dataclasses.dataclass(frozen=True)
    class OtherScale(Scale):
        pass

    other = OtherScale(**{part.name: getattr(MINI, part.name) for part in dataclasses.fields(Scale)})
    assert dataclasses.replace(training, scale=other).name != training.name


def test_ingredients_are_flat_json_with_names(training):
    made_of = training.made_of()
    assert json.loads(json.dumps(made_of)) == made_of
    assert not [value for value in made_of.values() if isinstance(value, dict)]
    assert made_of["scale.learning_rate"] == MINI.learning_rate and made_of["codecs"][0].startswith("mp3 128k")


def test_a_begun_training_of_something_else_is_named_before_anything_is_made(training, tmp_path):
    made_of = training.made_of() | {"scale.learning_rate": 0.5}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "run.json").write_text(json.dumps({"made_of": made_of}))
    with pytest.raises(ValueError, match=r"made otherwise: scale\.learning_rate was 0\.5 and is now 0\.006\. Train to"):
        train_recognizer(training, tmp_path / "m")
    assert [path.name for path in (tmp_path / "a").glob("align-*.npy")] == ["align-exact.npy"]
    (tmp_path / "m" / "run.json").write_text(json.dumps({"data": ["of the first edition"]}))
    with pytest.raises(ValueError, match="training_version was None and is now"):
        train_recognizer(training, tmp_path / "m")


# The registry

BUILDING_ON = {VSD: (), VSD_NOISE: (), VSD_CODEC: (), adapted_model(VSD_CODEC, "10 hrs"): (VSD_CODEC,)}


@pytest.fixture
def laboratory(tmp_path):
    return Laboratory(tmp_path, MINI)


def folders(laboratory: Laboratory) -> dict[Model, Path]:
    return {model: Laboratory(laboratory.workdir, MINI).directory(model) for model in BUILDING_ON}


@pytest.mark.parametrize(
    ("module", "name", "new", "those"),
    [
        (ingredients, "FAST_CODECS", ONE_MORE, (VSD_CODEC, adapted_model(VSD_CODEC, "10 hrs"))),
        (noises, "VERSION", 99, (VSD_NOISE,)),
        (noises, "PER_KIND", {"train": 1, "dev": 1, "test": 1}, (VSD_NOISE,)),
        (ingredients, "TRAINING_VERSION", 99, (*BUILDING_ON,)),
        (recipe, "VERSION", 99, (*BUILDING_ON,)),
        (tree_growth, "VERSION", 99, (*BUILDING_ON,)),
        (espeak, "VERSION", 99, (*BUILDING_ON,)),
        (embedded, "VERSION", 99, (*BUILDING_ON,)),
        (collection, "TREE_DOMAINS", ("Dictation",), (*BUILDING_ON,)),
        (collection, "ARPABET", ("AA", "S"), (*BUILDING_ON,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_registrys_folders_change_with_what_models_are_made_of(laboratory, monkeypatch, module, name, new, those):
    before = folders(laboratory)
    monkeypatch.setattr(module, name, new)
    after = folders(laboratory)
    assert {model for model in before if before[model] != after[model]} == {*those}
    assert not laboratory.root.exists(), "nothing is made for a name"


@pytest.mark.parametrize("path", parts(MINI), ids=".".join)
def test_the_registrys_folders_change_with_the_scale(laboratory, path):
    other = dataclasses.replace(laboratory, scale=changed(MINI, path))
    assert other.directory(VSD).name != laboratory.directory(VSD).name


def test_the_registrys_folders_change_with_the_model_and_the_seed(laboratory):
    models = [
        MULTI,
        *(dataclasses.replace(MULTI, **{part: new}) for part, new in {
            "domains": VSD.domains, "noise_on": VSD.domains, "codecs": True, "share": 0.5, "parent": VSD,
            "regime": Regime(longer=2.0)}.items()),
        dataclasses.replace(MULTI, parent=VSD_NOISE),
    ]  # fmt: skip
    names = [laboratory.directory(model) for model in models]
    names.append(dataclasses.replace(laboratory, seed=1).directory(MULTI))
    assert len({*names}) == len(names) == 9
    renamed = laboratory.directory(dataclasses.replace(MULTI, name="Other"))
    assert renamed.name.rpartition("-")[2] == names[0].name.rpartition("-")[2], "a name is not an ingredient"


def test_a_maps_folders_change_with_its_speech_its_aligner_and_its_sounds(folder, monkeypatch):
    given = '[domains.A]\ntrain = "a"\ntest = "a"\n[domains.B]\ntrain = "b"\n'
    model = Model("of A", ("A",), noise_on=("A",))

    def named(text: str) -> str:
        (folder / "map.toml").write_text(text)
        return Laboratory(folder, MINI, map=folder / "map.toml").directory(model).name

    sounds = ('[noises]\ntrain = "one"\n', '[noises]\ntrain = "two"\n', '[responses]\ntrain = "one"\n')
    others = given.partition("[domains.B]")[0], given.replace('"b"', '"a"'), given.replace('n = "a"', 'n = "b"')
    names = [named(text) for text in (given, *others, given + 'dev = "a"\n', *(given + each for each in sounds))]
    monkeypatch.setattr(flat_start, "VERSION", 99)
    names.append(named(given))
    assert len({*names}) == len(names)
    assert not [*folder.glob("*/align-????????????.npy")], "nothing is aligned for a name"
