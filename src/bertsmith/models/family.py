"""BERT, GPT and ELMo behind one set of functions: a row for each family names its classes.

A model is built by its config's family, with the heads of pre-training or under a task's output
layer. A new family is a folder beside `bert/` and a row here and in `config_files`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from torch import nn

from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.storage import describe_validation
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.graph import bert_graph
from bertsmith.models.bert.heads import BertForNextSentence, BertForPretraining
from bertsmith.models.bert.model import Bert
from bertsmith.models.bert.tasks import (
    ARCHITECTURES,
    BertForTask,
    bert_for_task,
    check_bert_task,
)
from bertsmith.models.config import DEFAULT_FAMILY, FamilyName, ModelConfig
from bertsmith.models.config_files import MODEL_TYPES
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo, ElmoForPretraining
from bertsmith.models.elmo.tasks import ElmoForTask, elmo_for_task
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import Gpt, GptForPretraining
from bertsmith.models.gpt.tasks import (
    GPT_ARCHITECTURES,
    ForeignFrame,
    GptForTask,
    check_gpt_task,
    gpt_for_task,
)
from bertsmith.models.head_config import OWN_TASK, HeadConfig, HeadSource, Level, head_from_keys
from bertsmith.models.language_model import LanguageModel
from bertsmith.models.modules.graph import Vectors
from bertsmith.text.tokenizer.tokenizer import Frame

Encoder = Bert | Gpt | Elmo
Pretrained = LanguageModel
TaskModel = BertForTask | GptForTask | ElmoForTask


@dataclass(frozen=True, kw_only=True)
class Family:
    """The classes of a family's models; what needs no torch is in its config's class."""

    config: type[ModelConfig]
    encoder: Callable[[Any, Sequence[str]], Encoder]
    """From the config and the vocabulary."""
    pretraining: Callable[[Any, Sequence[str], bool], LanguageModel]
    """From the config, the vocabulary, and whether there is a pair task."""
    next_sentence: Callable[[Any], BertForNextSentence] | None = None
    """The encoder under the head of the pair task alone; None: the family has no such head."""
    task: Callable[[Any, HeadConfig, Sequence[str], ForeignFrame | None], TaskModel]
    """From the config, the output layer, the vocabulary, and the frame of a foreign GPT."""
    task_architectures: Mapping[Level, str] = field(default_factory=dict)
    """Class names in `transformers` of the fine-tuned models that it computes equally."""
    check_task: Callable[[Any, HeadConfig, HeadSource], ForeignFrame | None]
    """Refuses an output layer that came from a folder and cannot be computed; gives the frame of a
    GPT that another program fine-tuned."""
    task_frame: Frame = "text"
    """What `transformers` is to put around a text for a fine-tuned model."""
    graph: Callable[[Any, Vectors | None], bytes] | None = None
    """From any of its models, and the way to pool its states: an ONNX file; None: not written."""


FAMILIES: dict[FamilyName, Family] = {
    family.config.family: family
    for family in (
        Family(
            config=BertConfig,
            encoder=lambda config, pieces: Bert(config),
            pretraining=lambda config, pieces, pairs: BertForPretraining(config, pair_task=pairs),
            next_sentence=BertForNextSentence,
            task=bert_for_task,
            check_task=check_bert_task,
            task_architectures=ARCHITECTURES,
            graph=bert_graph,
        ),
        Family(
            config=GptConfig,
            encoder=lambda config, pieces: Gpt(config),
            pretraining=lambda config, pieces, pairs: GptForPretraining(config),
            task=gpt_for_task,
            check_task=check_gpt_task,
            task_architectures=GPT_ARCHITECTURES,
            task_frame="extract",
        ),
        Family(
            config=ElmoConfig,
            encoder=Elmo,
            pretraining=lambda config, pieces, pairs: ElmoForPretraining(config, pieces),
            task=elmo_for_task,
            check_task=lambda config, head, folder: None,
        ),
    )
}


# --- with the heads of pre-training -------------------------------------------------------------


def build(config: ModelConfig, *, pieces: Sequence[str], pair_task: bool) -> Pretrained:
    """A model with fresh weights, drawn from torch's default generator.

    Args:
        config: its numbers.
        pieces: the vocabulary, whose characters ELMo reads.
        pair_task: whether a BERT gets a pooler and a next-sentence head.
    """
    return FAMILIES[config.family].pretraining(config, pieces, pair_task)


def build_encoder(config: ModelConfig, *, pieces: Sequence[str]) -> Encoder:
    """The model alone, with fresh weights."""
    return FAMILIES[config.family].encoder(config, pieces)


def build_next_sentence(config: ModelConfig) -> BertForNextSentence:
    """The encoder under the head of the pair task alone, with fresh weights.

    Raises:
        ValueError: the family has no such head.
    """
    make = FAMILIES[config.family].next_sentence
    if make is None:
        raise ValueError(f"a {config.display_name} has no next-sentence head")
    return make(config)


def encoder_of(model: Pretrained | BertForNextSentence | TaskModel | Encoder) -> Encoder:
    """The model without its heads, where it has some: its attribute of the family's name."""
    found: Any = getattr(model, model.config.family, model)
    encoder: Encoder = found
    return encoder


def check_segments(name: str, config: ModelConfig) -> None:
    """Refuses pairs of texts for a model that tells no second text apart.

    Raises:
        UsageError: it has one segment; `name` is the model's.
    """
    if not config.reads_pairs:
        raise UsageError(
            f"{name} has 1 segment (type_vocab_size in config.json), but a pair of texts needs 2. "
            "Give single texts, or choose a model with 2 segments."
        )


def has_graph(config: ModelConfig) -> bool:
    """Whether `onnx_graph` writes models of this family."""
    return FAMILIES[config.family].graph is not None


def onnx_graph(
    model: Pretrained | BertForNextSentence | TaskModel | Encoder, vectors: Vectors | None = None
) -> bytes:
    """A model as an ONNX file, which takes padded inputs of any batch size and length.

    Args:
        model: with any heads.
        vectors: leave the heads out, and pool the encoder's states so; None: the heads of the
            model, and of an encoder alone the mean of its last layer.

    Raises:
        UsageError: models of this family have no graph, or no such layer.
        MissingExtra: `onnx` is not installed.
    """
    write = FAMILIES[model.config.family].graph
    if write is None:
        raise UsageError(
            f"{model.config.display_name} models run in torch alone: there is no ONNX graph of "
            f"them. Give a BERT, or use {option('backend', 'torch')}."
        )
    return write(model, vectors)


# What only one family's models can do. Each of these returns the model where it can.


def next_sentence_model(model: nn.Module) -> BertForPretraining | BertForNextSentence | None:
    """The model, if it judges whether a sentence follows another."""
    if (
        isinstance(model, BertForPretraining | BertForNextSentence)
        and model.next_sentence is not None
    ):
        return model
    return None


def generating_model(model: nn.Module) -> GptForPretraining | None:
    """The model, if it can continue a text token by token."""
    return model if isinstance(model, GptForPretraining) else None


def recurrent_model(model: nn.Module) -> ElmoForPretraining | None:
    """The model, if it has LSTMs instead of attention."""
    return model if isinstance(model, ElmoForPretraining) else None


# --- with the output layer of a task ------------------------------------------------------------


def build_for_task(
    config: ModelConfig,
    head: HeadConfig,
    *,
    pieces: Sequence[str] = (),
    frame: ForeignFrame | None = None,
) -> TaskModel:
    """A model for a task with fresh weights, drawn from torch's default generator.

    Args:
        config: of the encoder.
        head: the output layer.
        pieces: the vocabulary, whose characters ELMo reads.
        frame: of a GPT that another program fine-tuned.

    Raises:
        UsageError: the head has what only another family has.
    """
    return FAMILIES[config.family].task(config, head, pieces, frame)


def frame_of(model: Pretrained | TaskModel) -> Frame:
    """What `transformers` is to put around a text for the model, as its inputs are here."""
    if isinstance(model, LanguageModel):
        return "prompt" if model.config.left_to_right else "text"
    return FAMILIES[model.config.family].task_frame


def is_known_to_transformers(config_keys: dict[str, Any]) -> bool:
    """Whether `transformers` has a model under a task that gives the outputs of a folder's."""
    named = set(config_keys.get("architectures") or [])
    return bool(named & set(_task_architectures(config_keys).values()))


def is_for_task(config_keys: dict[str, Any]) -> bool:
    """Whether a folder's model is under the output layer of a task."""
    return OWN_TASK in config_keys or is_known_to_transformers(config_keys)


def task_head(
    config_keys: dict[str, Any],
    config: ModelConfig,
    labels: tuple[str, ...],
    *,
    source: str,
    special_ids: Callable[[], tuple[tuple[int, ...], tuple[int, ...]]] | None = None,
) -> tuple[HeadConfig, ForeignFrame | None]:
    """The output layer of a folder's model, and the frame of a GPT of another program.

    Args:
        config_keys: of its `config.json`.
        config: the same, read.
        labels: names of its classes.
        source: named in errors.
        special_ids: the tokens that the folder's tokenizer puts before and after a text, for a
            GPT of another program.

    Raises:
        FolderError: the model is not for a task, or for one that is not computed here; how its
            inputs are put together is not known; or the key of ours is damaged.
    """
    own = OWN_TASK in config_keys
    try:
        head = (
            head_from_keys(config_keys[OWN_TASK])
            if own
            else _head_of_theirs(config_keys, labels, source)
        )
    except msgspec.ValidationError as error:
        raise FolderError(
            f"{source}, {OWN_TASK}: {describe_validation(error, HeadConfig)}."
        ) from error
    frame = FAMILIES[config.family].check_task(config, head, HeadSource(source, own, special_ids))
    return msgspec.structs.replace(head, labels=labels if head.has_labels else ()), frame


def _head_of_theirs(config_keys: dict[str, Any], labels: Sequence[str], source: str) -> HeadConfig:
    named = [str(name) for name in config_keys.get("architectures") or []]
    table = _task_architectures(config_keys)
    levels: list[Level] = [level for level, name in table.items() if name in named]
    if not levels:
        raise FolderError(
            f"{source}: the model ({', '.join(named) or 'no architecture named'}) has not been "
            "fine-tuned on a task; run `bertsmith finetune` with it first."
        )
    if levels[0] != "text":
        return HeadConfig(level=levels[0])
    problem = config_keys.get("problem_type")
    if problem == "multi_label_classification":
        return HeadConfig(level="text", loss="binary-cross-entropy")
    number = problem == "regression" or len(labels) == 1
    if number and len(labels) > 1:
        raise FolderError(
            f"{source}: the model predicts {len(labels)} numbers for a text "
            f"(problem_type {problem}); bertsmith supports one per text. Use another model."
        )
    return HeadConfig(level="text", loss="squared-error" if number else "cross-entropy")


def _task_architectures(config_keys: dict[str, Any]) -> Mapping[Level, str]:
    family = MODEL_TYPES.get(str(config_keys.get("model_type")), DEFAULT_FAMILY)
    return FAMILIES[family].task_architectures
