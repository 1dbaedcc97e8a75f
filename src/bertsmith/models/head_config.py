"""The output layer of a fine-tuned model: all that a model knows of its task, without torch."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from bertsmith.core.errors import UsageError, option

Level = Literal["text", "choice", "token", "span"]
"""What gets scores (paper, section 4 and figure 4): a text or pair of texts; each of several
continuations, one score; each word; each token, as the start and as the end of an answer."""
Loss = Literal["cross-entropy", "squared-error", "binary-cross-entropy"]
"""Cross-entropy: exactly one of several. Squared error: a number. Binary cross-entropy: any of
several labels, each by itself."""
Combine = Literal["concat", "sum"]

OWN_TASK = "bertsmith_task"
"""Key of `config.json` that holds a `HeadConfig` where `transformers` has no class for it."""

OLD_KINDS: dict[str, tuple[Level, Loss]] = {
    "classify": ("text", "cross-entropy"),
    "regress": ("text", "squared-error"),
    "choose": ("choice", "cross-entropy"),
    "tag": ("token", "cross-entropy"),
    "answer": ("span", "cross-entropy"),
}
"""What folders of older versions call the kinds of tasks, in `config.json` and `task.json`."""


class FeatureBased(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which layers of a frozen encoder are the features (paper, table 7)."""

    layers: tuple[int, ...] = (-4, -3, -2, -1)
    """0: the embeddings; 1, 2, ...: the layers; negative from the last, -1."""
    combine: Combine = "concat"
    """`concat`: side by side; `sum`: with a learned weight for each (a softmax)."""
    width: int = 768
    """Of the BiLSTM, both directions together (the paper's)."""


class HeadConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The output layer of a task and how the encoder is used under it."""

    level: Level
    loss: Loss = "cross-entropy"
    labels: tuple[str, ...] = ()
    """Names of the outputs, where they have names."""
    features: FeatureBased | None = None
    """Of a feature-based BERT that tags words."""
    bilstm: bool = False
    """Whether a BERT has a BiLSTM before its output layer."""
    extract_id: int | None = None
    """The token that ends a GPT's inputs."""
    both_orders: bool = False
    """Whether a GPT reads pairs in both orders, for tasks where the order has no meaning."""
    frozen: bool = False
    """Whether an ELMo is frozen."""
    paired: bool = False
    """Whether an ELMo's inputs are pairs."""

    @property
    def outputs(self) -> int:
        """Scores of a text, a choice, a word or a token."""
        return 2 if self.level == "span" else max(len(self.labels), 1)

    @property
    def is_number(self) -> bool:
        """Whether the one output is a number, which is computed in fp64."""
        return self.loss == "squared-error"

    @property
    def has_labels(self) -> bool:
        """Whether the outputs have names."""
        return self.level in ("text", "token") and not self.is_number

    @property
    def keys(self) -> dict[str, Any]:
        """For `config.json`, without defaults and without the labels, which have keys there."""
        found = msgspec.to_builtins(msgspec.structs.replace(self, labels=()))
        # `omit_defaults` compares objects, not texts.
        if self.loss == HeadConfig(level=self.level).loss:
            found.pop("loss", None)
        return {OWN_TASK: found}


class HeadSource(NamedTuple):
    """Where an output layer was read from, for the checks of its family."""

    name: str
    """The folder, named in errors."""
    own: bool
    """Whether bertsmith wrote it; else another program did."""
    special_ids: Callable[[], tuple[tuple[int, ...], tuple[int, ...]]] | None
    """The tokens that the folder's tokenizer puts before and after a text."""


def head_from_keys(value: Any) -> HeadConfig:
    """The head that the key `OWN_TASK` of a `config.json` describes, without labels.

    Raises:
        msgspec.ValidationError: it is damaged.
    """
    old = OLD_KINDS.get(str(value.get("kind"))) if isinstance(value, dict) else None
    if old:
        level, loss = old
        value = {name: one for name, one in value.items() if name != "kind"}
        value |= {"level": level, "loss": loss}
    return msgspec.convert(value, HeadConfig)


def refuse_bert_only(head: HeadConfig) -> None:
    """Refuses what only a BERT has in an output layer.

    Raises:
        UsageError: the head asks for features or a BiLSTM.
    """
    if head.features is not None:
        raise UsageError(
            f"{option('features')} applies only to BERT: an ELMo mixes its layers itself, and a "
            "GPT is fine-tuned as a whole. Remove it."
        )
    if head.bilstm:
        raise UsageError(f"{option('bilstm')} applies only to BERT; remove it.")


def refuse_elmo_only(head: HeadConfig) -> None:
    """Refuses what only an ELMo has in an output layer.

    Raises:
        UsageError: the head asks for a frozen encoder, which a BERT has as `features`.
    """
    if head.frozen:
        raise UsageError(
            f"{option('frozen')} applies only to ELMo; remove it. For a frozen BERT use "
            f"{option('features')}."
        )


def chosen_layers(layers: Sequence[int], *, count: int, parameter: str) -> list[int]:
    """Layers counted from the embeddings at 0, of which negative ones were counted from the last.

    Args:
        layers: as the user numbers them.
        count: layers of the model, the embeddings counted.
        parameter: what they were given with.

    Raises:
        UsageError: the model has no such layer, or none is named.
    """
    if not layers or any(not -count <= layer < count for layer in layers):
        raise UsageError(
            f"{option(parameter, tuple(layers))}: the model has layers 0 "
            f"(embeddings) to {count - 1}, or -{count} to -1 counted from the last; name at least "
            "one."
        )
    return [layer % count for layer in layers]
