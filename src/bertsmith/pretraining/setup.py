"""The parts of a pre-training run: model, training batches, evaluation batches.

Separate from `run`, because showing examples, measuring the cost of a step and saving untrained
models need the same parts.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from bertsmith.checkpoints.folder import load_config, load_pretraining, save_model
from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.runtime import derive_seed
from bertsmith.corpus.mixture import open_data
from bertsmith.corpus.shards import Corpus, Split
from bertsmith.models.config import ModelConfig, fits_vocabulary
from bertsmith.models.config_files import CONFIGS
from bertsmith.models.family import Pretrained, build, encoder_of
from bertsmith.models.modules.packed import TextBatch
from bertsmith.pretraining.batches import Batches, heldout_batches
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.pretraining.initial_weights import structure, word_columns
from bertsmith.pretraining.plan import recipe_line
from bertsmith.pretraining.show import describe
from bertsmith.pretraining.word_vectors import word_vectors
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.parallel.place import Place
from bertsmith.training.schedule import Phase

_COUNTED_TOKENS = 10_000_000
"""Tokens of the corpus to count neighbours in; takes a few seconds, and more changes little."""


def resolve_model_config(config: PretrainConfig, corpus: Corpus) -> ModelConfig:
    """The model's config, with the run's dropout.

    Raises:
        UsageError: the size is unknown, its numbers do not fit, a phase is longer than the
            positions, or the pair task needs a second segment that the model lacks.
        FolderError: the config is for another vocabulary than the corpus.
    """
    vocab_size = corpus.manifest.vocab_size
    model_config = CONFIGS[config.model].named(config.size, vocab_size=vocab_size)
    padded = (
        fits_vocabulary(model_config.vocab_size, vocab_size) and not model_config.reads_characters
    )
    if model_config.vocab_size != vocab_size and not padded:
        raise FolderError(
            f"{config.size} is for a vocabulary of {model_config.vocab_size:,} pieces, but the "
            f"corpus {config.data} was prepared with one of {vocab_size:,}; prepare the "
            "corpus with that model's tokenizer."
        )
    if model_config.reads_characters and corpus.tokenizer.merges is not None:
        raise UsageError(
            f"The corpus {config.data} was prepared with byte pairs, but "
            f"{model_config.display_name} reads the characters of WordPieces; prepare it with a "
            f"tokenizer of {option('kind', 'wordpiece')}."
        )
    longest = max(phase.length for phase in config.phases)
    if longest > model_config.max_position_embeddings:
        raise UsageError(
            f"{option('phases')} has sequences of {longest} tokens, but the model has only "
            f"{model_config.max_position_embeddings} positions; shorten the phase, or give a "
            "config.json with more positions."
        )
    if config.pair_task != "none" and not model_config.reads_pairs:
        raise UsageError(
            f"{config.size} has type_vocab_size 1, but {option('pair_task', config.pair_task)} "
            f"needs 2 segments; give a config.json with 2, or {option('pair_task', 'none')}."
        )
    return model_config.directed(left_to_right=config.left_to_right).with_dropout(config.dropout)


def build_model(
    config: PretrainConfig, model_config: ModelConfig, corpus: Corpus, folder: Path | None
) -> tuple[Pretrained, list[str]]:
    """A model with initial weights, or with those of `folder`.

    Initial weights are a function of the seed only. Returns the model and the names of the heads
    that `folder` lacks, which get random weights.
    """
    pair_task, pieces = config.pair_task != "none", corpus.tokenizer.vocab
    torch.manual_seed(derive_seed(config.seed, "weights"))
    if folder is None:
        model = build(model_config, pieces=pieces, pair_task=pair_task)
        if config.initial_weights == "structured":
            _structure(model, config, corpus)
        return model, []
    loaded, fresh = load_pretraining(folder, pair_task=pair_task, fresh_heads=True)
    found = loaded.config.with_dropout(config.dropout)
    reads_left = found.left_to_right
    if reads_left != model_config.left_to_right:
        direction = "a left-to-right" if reads_left else "a bidirectional"
        raise UsageError(
            f"{folder} is {direction} BERT; {'add' if reads_left else 'remove'} "
            f"{option('left_to_right', True)}, or start from another model."
        )
    if found != model_config:
        raise UsageError(
            f"{config.size} does not match the model in {folder}; give the old config, or start a "
            "new run in another folder."
        )
    # Built again, because the folder's dropout may differ from the run's.
    model = build(model_config, pieces=pieces, pair_task=pair_task)
    model.load_state_dict(loaded.state_dict())
    return model, fresh


def _structure(model: Pretrained, config: PretrainConfig, corpus: Corpus) -> None:
    rank = word_columns(encoder_of(model))
    padding = model.config.vocab_size - corpus.manifest.vocab_size
    vectors_VR = None
    if rank:
        texts = corpus.split("train").spread(_COUNTED_TOKENS)
        vectors_VR = word_vectors(texts, vocab_size=model.config.vocab_size, rank=rank)
    structure(
        model,
        unigrams_V=torch.from_numpy(np.pad(corpus.unigrams_V, (0, padding))),
        vectors_VR=vectors_VR,
        special_ids=(corpus.tokenizer.cls_id, corpus.tokenizer.sep_id),
        seed=derive_seed(config.seed, "structured weights"),
    )


def training_batches(
    config: PretrainConfig,
    corpus: Corpus,
    micro_tokens: int,
    cursors: list[dict[str, int]],
    *,
    pin: bool = False,
) -> list[Batches]:
    """The batches of each phase; `cursors` are those of the run to continue, `pin` is for GPUs."""
    return [
        Batches(
            corpus.split("train"),
            corpus.tokenizer,
            sources=corpus.sources,
            length=phase.length,
            batch_size=config.batch_size,
            objective=config.objective,
            pair_task=config.pair_task,
            mlm_probability=config.mlm_probability,
            whole_word_masking=config.whole_word_masking,
            mask_mix=config.mask_mix,
            short_seq_prob=config.short_seq_prob,
            seed=derive_seed(config.seed, "phase", index),
            micro_tokens=micro_tokens,
            cursor=cursors[index] if index < len(cursors) else None,
            pin=pin,
        )
        for index, phase in enumerate(config.phases)
    ]


def evaluation_batches(
    config: PretrainConfig, split: Split, tokenizer: Tokenizer, micro_tokens: int
) -> list[TextBatch]:
    """Evaluation batches of the last phase's length, the same for all runs of a corpus and task."""
    return heldout_batches(
        split,
        tokenizer,
        sequences=config.evaluate_sequences,
        length=config.phases[-1].length,
        objective=config.objective,
        pair_task=config.pair_task,
        whole_word_masking=config.whole_word_masking,
        micro_tokens=micro_tokens,
    )


def check_tokenizer(fingerprint: str, model: str, corpus: Corpus) -> None:
    """Refuses a model with another tokenizer than the corpus.

    Raises:
        FolderError: the fingerprints differ.
    """
    if fingerprint != corpus.manifest.tokenizer_fingerprint:
        raise FolderError(
            f"The corpus {corpus.name} was prepared with another tokenizer than that of {model}; "
            "prepare it again with the tokenizer of the model."
        )


def show_batch(config: PretrainConfig, count: int) -> str:
    """The first `count` training examples of a run, decoded, with masks and pair labels marked.

    Raises:
        FolderError: the corpus is missing or damaged.
        DataError: the corpus is too small for one example.
    """
    corpus = open_data(config.data)
    [batches, *rest] = training_batches(config, corpus, 0, [])
    for other in rest:
        other.close()
    with batches:
        [batch] = batches.at(0)
        shown = describe(batch, corpus.tokenizer, pair_task=config.pair_task, sequences=count)
        return f"{recipe_line(config)}\n{shown}"


def first_steps(
    config: PretrainConfig, corpus: Corpus, count: int
) -> list[tuple[Phase, list[list[TextBatch]]]]:
    """The micro-batches of the first `count` steps of each phase.

    Raises:
        DataError: the corpus is too small for one example.
    """
    with ExitStack() as stack:
        phases = [
            stack.enter_context(batches) for batches in training_batches(config, corpus, 0, [])
        ]
        return [
            (phase, [batches.at(step) for step in range(count)])
            for phase, batches in zip(config.phases, phases, strict=True)
        ]


def save_untrained(config: PretrainConfig, out: Path) -> None:
    """Writes the model of a run before its first step, to compare with.

    Raises:
        UsageError: the settings do not fit the corpus.
        FolderError: the corpus is missing or damaged.
        SystemFault: the disk is full, ...
    """
    corpus = open_data(config.data, verify=False)
    model, _ = build_model(config, resolve_model_config(config, corpus), corpus, None)
    save_model(out, model, corpus.tokenizer, card="# Initial weights, not trained\n")


def open_corpus(folder: str | Path, place: Place) -> Corpus:
    """Opens a corpus or a mixture; the processes share the work of verifying its checksums.

    Raises:
        FolderError: the corpus is missing or damaged.
    """
    place.first_decides(lambda: open_data(folder, verify=False))
    corpus = open_data(folder, verify=False)
    place.together(lambda: corpus.verify(place.world.rank, place.world.size))
    return corpus


def open_held_out(folder: Path, corpus: Corpus, place: Place) -> Split:
    """The training split of another corpus, to evaluate on.

    Raises:
        FolderError: the corpus is missing, damaged, or has another tokenizer than `corpus`.
    """
    other = open_corpus(folder, place)
    check_tokenizer(other.manifest.tokenizer_fingerprint, str(folder), corpus)
    return other.split("train")


def check_start(config: PretrainConfig, corpus: Corpus) -> None:
    """Refuses to start from a model that does not fit the run.

    Raises:
        UsageError: the model is of another family.
        FolderError: the corpus was prepared with another tokenizer.
    """
    folder = config.start_folder
    if folder is None:
        return
    found = load_config(folder).family
    if found != config.model:
        raise UsageError(
            f"{option('start', config.start)} has {CONFIGS[found].display_name} weights, but this "
            f"run has {option('model', config.model)}; give {option('model', found)}."
        )
    check_tokenizer(Tokenizer.load(folder).fingerprint, str(config.start), corpus)
