"""The complete description of a model's training, made before anything is trained; its digest names the training."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mdasr.acoustic.row_schedule import Source, balanced, subset
from mdasr.core.digests import Named, digest, flat
from mdasr.corpus.records import Corpus
from mdasr.model.directory import Language, Recognizer, params_digest
from mdasr.perturb import Policy, recipe
from mdasr.perturb.masks import MaskRanges
from mdasr.perturb.noises import SoundSource
from mdasr.perturb.speed import THREE_SPEEDS
from mdasr.training.plan import FAST_CODECS, FeaturesOn, room_ranges
from mdasr.training.pool import Pool
from mdasr.training.regimes import AS_PUBLISHED, Regime
from mdasr.training.scales import NETWORK, Scale
from mdasr.training.speech_split import AlignmentOf, DomainSpeech
from mdasr.training.word_models import Shared, Wording, flat_alignment

TRAINING_VERSION = 5  # raise it with every change after which the same ingredients give another model
# Further perturbations that a training may ask for, beyond the paper: the fields of the policy that each one sets.
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "speed": {"speeds": THREE_SPEEDS},
    "equaliser": {"equaliser_probability": 0.5},
    "clipping": {"clipping_probability": 0.2},
    "masks": {"masks": MaskRanges(times=2, bands=2)},
}
WARP = (0.88, 1.12)  # about the spread of adults' vocal tracts


@dataclass(frozen=True)
class Training:
    """The ingredients of a model: speech, distortions, words, scale, seed, and the model that it starts from.

    - `share`: the part of the speech to train on, of all that is not held out.
    - `noise_on`: the domains with rooms and noise (§4.3.4 leaves some out).
    - `codecs` and `warp` (other vocal tracts), if true, are for all domains.
    - `augment` names further perturbations of all domains, among `AUGMENTATIONS`.
    - `words` are made of this speech, or shared with other trainings.
    - With a `parent` the training is a fine-tuning (§4.4). It may `keep` showing speech of the parent's domains, which
      is then `keep_share` of the audio, so that the network does not forget them.
    - `regime` says how the training differs from the paper's.

    Raises ValueError for noise, or a tree, on domains that have no speech here, and for an unknown perturbation. Raises
    it, too, for speech to keep without a parent, or with a share outside (0, 1).
    """

    speech: tuple[DomainSpeech, ...]
    scale: Scale
    seed: int = 0
    share: float = 1.0
    noise_on: tuple[str, ...] = ()
    codecs: bool = False
    warp: bool = False
    sounds: SoundSource = field(default_factory=SoundSource)
    words: Wording | Shared = field(default_factory=Wording)
    parent: Named[Recognizer] | None = None
    regime: Regime = AS_PUBLISHED
    features_on: FeaturesOn = "host"
    augment: tuple[str, ...] = ()
    keep: tuple[DomainSpeech, ...] = ()
    keep_share: float = 0.0

    def __post_init__(self) -> None:
        if unknown := sorted({*self.augment} - {*AUGMENTATIONS}):
            raise ValueError(f"no perturbation is called {unknown[0]!r}; there are {', '.join(AUGMENTATIONS)}")
        if self.keep and not (self.parent and self.regime == AS_PUBLISHED):
            raise ValueError("speech to keep is for fine-tuning all parameters of a model")
        if bool(self.keep) != (0 < self.keep_share < 1):
            raise ValueError(
                f"keep_share is {self.keep_share}; with speech to keep, it lies between 0 and 1, else it is 0"
            )
        domains = {speech.domain for speech in (*self.speech, *self.keep)}
        tree_on = self.words.tree_on if isinstance(self.words, Wording) else ()
        for what, named in (("noise", self.noise_on), ("the tree", tree_on)):
            if strange := sorted({*named} - domains):
                known = ", ".join(sorted(domains))
                raise ValueError(f"{what} on {', '.join(strange)}: the corpora's domains are {known}")

    def policy(self, domain: str) -> Policy:
        """The possible distortions of an utterance of `domain` in training."""
        noisy = domain in self.noise_on
        further = {name: value for each in self.augment for name, value in AUGMENTATIONS[each].items()}
        return Policy(
            noise_probability=self.scale.noise_probability if noisy else 0.0,
            rooms=room_ranges(self.scale),
            noises=self.sounds.noise_ids() if noisy else (),
            codecs=FAST_CODECS if self.codecs else (None,),
            warp=WARP if self.warp else (1.0, 1.0),
            gain_db=self.scale.gain_db,
            noise_alone_probability=self.scale.noise_alone if noisy else 0.0,
            measured=tuple(sorted(self.sounds.responses)) if noisy else (),
            clean_probability=self.regime.clean_share,
            **{"speeds": self.scale.speeds, **further},
        )

    def made_of(self) -> dict[str, Any]:
        """Every ingredient by name, in the form of JSON; it needs no corpus to be made and nothing to be aligned."""
        ingredients = {
            "training_version": TRAINING_VERSION,
            **self.speech_made_of(),
            "noise_on": sorted(self.noise_on),
            "codecs": [str(codec) for codec in FAST_CODECS if codec] if self.codecs else [],
            "policies": [digest(self.policy(speech.domain)) for speech in (*self.speech, *self.keep)],
            "augment": sorted(self.augment),
            "warp": self.warp,
            "recipe_version": recipe.VERSION,
            **(self.sounds.made_of if self.noise_on else {"noises": "", "responses": ""}),
            **(self.words.made_of if isinstance(self.words, Shared) else self.words.made_of(bool(self.parent))),
            "scale": self.scale,
            "seed": self.seed,
            "parent": self.parent.made_of if self.parent else "",
            **(
                {"keep": [[s.train.made_of, s.held_out] for s in self.keep], "keep_share": self.keep_share}
                if self.keep
                else {}
            ),
            "regime": self.regime,
            "features_on": self.features_on,
        }
        return json.loads(json.dumps(dict(flat(ingredients))))

    def speech_made_of(self) -> dict[str, Any]:
        return {
            "domains": [speech.domain for speech in self.speech],
            "data": [speech.train.made_of for speech in self.speech],
            "held_out": [speech.held_out for speech in self.speech],
            "share": self.share,
        }

    @property
    def name(self) -> str:
        """Twelve hex digits that depend on all ingredients."""
        return digest(self.made_of())

    def corpora(self) -> list[Corpus]:
        return [corpus for speech in (*self.speech, *self.keep) for corpus in speech.corpora()]

    def to_train_on(self, alignment_of: AlignmentOf) -> tuple[Source, ...]:
        """The share of the speech to train on, with each domain repeated as the regime says."""
        whole = [speech.to_train_on(alignment_of, self.policy(speech.domain)) for speech in self.speech]
        return tuple(balanced([subset(source, self.share) for source in whole], self.regime.sampling_exponent))

    def to_keep(self, alignment_of: AlignmentOf, seconds: float) -> tuple[Source, ...]:
        """The speech to keep, shown as often as its share beside `seconds` of new speech needs."""
        kept = [speech.to_train_on(alignment_of, self.policy(speech.domain)) for speech in self.keep]
        if self.keep and not (of_kept := sum(source.seconds() for source in kept)):
            raise ValueError("the speech to keep has no aligned utterance")
        odds = self.keep_share / (1 - self.keep_share)
        return tuple(replace(source, repeats=odds * seconds / of_kept) for source in kept)

    def to_tune_on(self, alignment_of: AlignmentOf) -> tuple[Source, ...]:
        return tuple(speech.to_tune_on(alignment_of) for speech in self.speech)

    def pool(self, alignment_of: AlignmentOf) -> Pool:
        noises, responses = (self.sounds.noises, self.sounds.responses) if self.noise_on else ({}, {})
        sources = self.to_train_on(alignment_of)
        kept = self.to_keep(alignment_of, sum(source.repeats * source.seconds() for source in sources))
        return Pool(sources, self.to_tune_on(alignment_of), noises, responses, kept)


def starting_from(model: Recognizer) -> Named[Recognizer]:
    """An existing model as the parent of a training; its network and its words identify it."""
    made_of = {"params": params_digest(model.params), "words": digest(dict(model.graph.made_of))}
    return Named(made_of, lambda: model)


def adapting(training: Training, model: Recognizer) -> Training:
    """The same training as a fine-tuning of `model`, with the network of that model."""
    kept = {name: getattr(model.config, name) for name in NETWORK}
    return replace(training, parent=starting_from(model), scale=replace(training.scale, **kept))


def keeping(training: Training, speech: Sequence[DomainSpeech], share: float) -> Training:
    """The same fine-tuning with `speech` to keep, if there is any. It has rooms and noise where the new speech does."""
    noise_on = (*training.noise_on, *(each.domain for each in speech if training.noise_on))
    return replace(
        training, keep=tuple(speech), keep_share=share if speech else 0.0, noise_on=(*dict.fromkeys(noise_on),)
    )


def share_words(training: Training, root: Path) -> Shared:
    """The words of a training, for other trainings, too; they are made where they do not exist yet.

    They are stored in a folder of `root` whose name depends on what they are made of.
    """
    words, scale = training.words, training.scale
    assert isinstance(words, Wording)
    spoken = {f"words_{name}": value for name, value in training.speech_made_of().items()}
    made_of = {**spoken, **words.made_of(adapts=False)}
    topology = scale.criterion.outputs.topology
    directory = root / digest([TRAINING_VERSION, made_of, scale.leaves, scale.ngram_order, topology])
    lexicon = functools.cache(lambda: words.pronunciations(training.corpora()))

    @functools.cache
    def alignment() -> str:
        return words.alignment.get() if words.alignment else flat_alignment(training.corpora(), lexicon())

    def alignment_of(corpus: Corpus) -> str:
        return alignment()

    @functools.cache
    def language() -> Language:
        if not (directory / "graph" / "graph.json").exists():
            dev = () if words.text else training.to_tune_on(alignment_of)
            words.grow(training.to_train_on(alignment_of), dev, lexicon(), scale, directory)
        return Language.read(directory)

    return Shared(made_of, alignment_of, language)
