"""A model folder: what `transformers` loads unchanged, and what it writes, loaded here.

config.json  model.safetensors  vocab.txt  tokenizer.json  tokenizer_config.json  README.md
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bertsmith.checkpoints.headers import WEIGHTS, has_weights
from bertsmith.checkpoints.tensors import save_tensors
from bertsmith.checkpoints.weights import Weights, open_weights, outline
from bertsmith.core.errors import FolderError, option
from bertsmith.core.storage import read_json, write_bytes, write_json
from bertsmith.models import parameters
from bertsmith.models.bert.heads import BertForNextSentence
from bertsmith.models.config import ModelConfig
from bertsmith.models.config_files import config_from_keys, config_keys
from bertsmith.models.family import (
    Encoder,
    Pretrained,
    TaskModel,
    build,
    build_encoder,
    build_for_task,
    build_next_sentence,
    frame_of,
    is_for_task,
    task_head,
)
from bertsmith.models.gpt.tasks import ForeignFrame
from bertsmith.models.head_config import HeadConfig
from bertsmith.text.tokenizer.template import special_ids
from bertsmith.text.tokenizer.tokenizer import Tokenizer

CONFIG = "config.json"
_MOST_LABELS = 1_000_000
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def save_model(
    folder: Path, model: Pretrained | TaskModel, tokenizer: Tokenizer, *, card: str
) -> None:
    """Writes the model, its tokenizer and `card` (a README.md in Markdown) into `folder`.

    Each file is whole or absent, and `config.json` comes last.

    Raises:
        SystemFault: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    state = parameters.to_theirs(config, model.state_dict())
    save_tensors(folder / WEIGHTS, state, {"format": "pt"})
    frame = frame_of(model)
    tokenizer.save(folder, model_max_length=config.max_position_embeddings, frame=frame)
    write_bytes(folder / "README.md", card.encode())
    keys = model.config_keys | {"dtype": "float32"} | config_keys(config)
    if frame != "text" and tokenizer.has_special:
        # By these `transformers` ends what a model writes, and tells padding from text.
        keys |= {"bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}
        keys.setdefault("pad_token_id", tokenizer.pad_id)
    write_json(folder / CONFIG, keys)


def load_config(folder: Path) -> ModelConfig:
    """The config of the model in `folder`, which the weights beside it have too.

    Raises:
        FolderError: not a model folder, its config.json is damaged, or it says other numbers than
            the weights have.
        UsageError: the config describes something that is not computed here.
    """
    config = config_from_keys(_read_keys(folder), str(folder / CONFIG))
    if has_weights(folder):
        open_weights(folder, config)
    return config


def _open(folder: Path) -> Weights:
    return open_weights(folder, config_from_keys(_read_keys(folder), str(folder / CONFIG)))


def _read_keys(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; give the folder of a model.")
    if not (folder / CONFIG).is_file():
        hint = "give the folder of a model, with config.json and model.safetensors in it"
        newest = max(folder.glob("checkpoints/step-*"), default=None)
        if newest is not None:
            hint = f"the run has not finished; its newest checkpoint is {newest}"
        elif (folder / "job.json").is_file():
            hint = (
                "the fine-tuning in it has not finished; run its command again with "
                f"{option('resume', True)}"
            )
        raise FolderError(f"{folder} holds no {CONFIG}; {hint}.")
    keys = read_json(folder / CONFIG, dict[str, Any])
    names = keys.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FolderError(
            f"{folder / CONFIG}: architectures is {names!r:.60}, expected a list of names; correct "
            "it."
        )
    return keys


def load_pretraining(
    folder: Path, *, pair_task: bool | None = None, fresh_heads: bool = False
) -> tuple[Pretrained, list[str]]:
    """The pre-training model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith or by `transformers`.
        pair_task: whether to build a BERT's next-sentence head; None: if the folder has one.
        fresh_heads: draw heads that the folder lacks anew instead of refusing.

    Returns:
        The model, and the names of the heads that were drawn anew.

    Raises:
        FolderError: weights are missing, damaged or of another shape than config.json says.
    """
    weights = _open(folder)
    config = weights.config
    if pair_task is None:
        pair_task = config.parameters.pair_head in weights.stored
    pieces = _pieces(folder, config)
    make = partial(build, config, pieces=pieces, pair_task=pair_task)
    state = weights.state_for(outline(make), heads=True)
    model = make()
    missing = _fill(model, state)
    encoder = config.parameters.encoder
    lost = [name for name in missing if name.startswith(encoder) or not fresh_heads]
    if lost:
        raise FolderError(
            f"{weights.lacks(lost)}. A pre-trained {config.display_name} "
            "has them; the folder holds another kind of model."
        )
    return model.eval(), sorted({name.split(".")[0] for name in missing})


def load_encoder(folder: Path, model: TaskModel) -> list[str]:
    """Puts the encoder (and a BERT's pooler) of any model folder under a task's new output layer.

    Returns:
        The names of the parts that the folder lacks and that keep their fresh weights.

    Raises:
        FolderError: the encoder is missing, damaged or of another shape.
    """
    weights = _open(folder)
    encoder = model.config.parameters.encoder
    parts = (encoder, "pooler.") if "pooler.dense.weight" in model.state_dict() else (encoder,)
    expected = {name: value for name, value in model.state_dict().items() if name.startswith(parts)}
    words = f"{encoder}embeddings.word.weight"
    fresh_VD = expected.get(words, torch.empty(0))[weights.config.vocab_size :]
    if words in expected:
        expected[words] = expected[words][: weights.config.vocab_size]
    state = weights.state_for(expected)
    if words in state:
        # Special tokens that were put behind the vocabulary keep their fresh weights.
        state[words] = torch.cat([state[words], fresh_VD])
    missing = [name for name in _fill(model, state) if name in expected]
    lost = [name for name in missing if name.startswith(encoder)]
    if lost:
        raise FolderError(
            f"{weights.lacks(lost)}. They belong to the encoder; the folder holds another kind of "
            "model."
        )
    return ["pooler"] if any(name.startswith("pooler.") for name in missing) else []


def load_any(folder: Path) -> Pretrained | BertForNextSentence | TaskModel | Encoder:
    """The model in `folder`, whatever it is: fine-tuned, pre-trained, or an encoder.

    In fp32 on the CPU, in evaluation mode.

    Raises:
        FolderError: weights are missing, damaged or do not fit.
    """
    if is_for_task(_read_keys(folder)):
        return load_task(folder)
    weights = _open(folder)
    config = weights.config
    if config.parameters.word_head in weights.stored:
        return load_pretraining(folder)[0]
    if config.parameters.pair_head in weights.stored:
        return _filled(weights, partial(build_next_sentence, config))
    make = partial(build_encoder, config, pieces=_pieces(folder, config))
    return _filled(weights, make, prefix=config.parameters.encoder)


def _filled(weights: Weights, make: Callable[[], ModuleT], *, prefix: str = "") -> ModuleT:
    """The model with all of its weights, in evaluation mode; its names lack `prefix`."""
    state = weights.state_for(outline(make), prefix=prefix)
    model = make()
    missing = _fill(model, state)
    if missing:
        lost = [f"{prefix}{name}" for name in missing]
        raise FolderError(
            f"{weights.lacks(lost)}. config.json requires them. Restore the folder from a good "
            "copy, or fine-tune the model again."
        )
    return model.eval()


def load_task(folder: Path) -> TaskModel:
    """The fine-tuned model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith, or by `transformers` for one of the architectures it has.

    Raises:
        FolderError: weights are missing, damaged or do not fit, or it is not a fine-tuned model.
    """
    config, head, frame = _read_task(folder)
    make = partial(build_for_task, config, head, pieces=_pieces(folder, config), frame=frame)
    return _filled(open_weights(folder, config), make)


def load_head(folder: Path) -> HeadConfig:
    """The output layer of the fine-tuned model in `folder`, from its config.json alone.

    Raises:
        FolderError: config.json is damaged, or the model is not fine-tuned.
    """
    return _read_task(folder)[1]


def _read_task(folder: Path) -> tuple[ModelConfig, HeadConfig, ForeignFrame | None]:
    """Config, output layer, and the frame of a GPT of another program."""
    keys = _read_keys(folder)
    source = str(folder / CONFIG)
    labels = tuple(_labels(keys, source))
    config = config_from_keys(keys, source)
    head, frame = task_head(
        keys, config, labels, source=source, special_ids=partial(special_ids, folder)
    )
    return config, head, frame


def _labels(keys: dict[str, Any], source: str) -> list[str]:
    # `transformers` leaves out what is its default.
    names = keys.get("id2label")
    if not names:
        count = keys.get("num_labels") or keys.get("_num_labels") or 2
        if not isinstance(count, int) or not 1 <= count <= _MOST_LABELS:
            raise FolderError(
                f"{source}: num_labels is {count!r:.60}, expected a number from 1 to "
                f"{_MOST_LABELS:,}; correct it."
            )
        names = {str(number): f"LABEL_{number}" for number in range(count)}
    try:
        labels = [str(names[str(number)]) for number in range(len(names))]
    except (TypeError, KeyError) as error:
        raise FolderError(
            f"{source}: id2label is {names!r}, expected a name for each class from 0 on; "
            "correct it."
        ) from error
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise FolderError(
            f"{source}: id2label calls {labels.count(twice[0])} classes '{twice[0]}'; give each "
            "class a different name."
        )
    return labels


def _pieces(folder: Path, config: ModelConfig) -> tuple[str, ...]:
    """The vocabulary, where the model reads its characters."""
    if not config.reads_characters:
        return ()
    pieces = Tokenizer.load(folder).vocab
    if len(pieces) != config.vocab_size:  # no padding, as each row is spelled
        raise FolderError(
            f"{folder / CONFIG}: vocab_size is {config.vocab_size:,}, but the tokenizer beside it "
            f"has {len(pieces):,} pieces; one of the two is from another model."
        )
    return pieces


def _fill(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Loads what is there; returns what is not."""
    expected = model.state_dict()
    model.load_state_dict(expected | state)
    return sorted(expected.keys() - state.keys())


def parameter_count(model: nn.Module) -> int:
    """Numbers that training changes; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
