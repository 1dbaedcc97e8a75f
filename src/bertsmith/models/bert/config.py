"""BERT's config: the numbers of its encoder, its presets, and its keys in `config.json`."""

from collections.abc import Mapping
from typing import ClassVar, Self, get_args

import msgspec

from bertsmith.core.errors import UsageError, nearest
from bertsmith.models.bert.parameters import PARAMETERS
from bertsmith.models.config import (
    SIZES,
    Activation,
    FamilyName,
    ModelConfig,
    Objective,
    block_bytes,
    check_heads,
    check_numbers,
)
from bertsmith.models.config_keys import INERT_KEYS
from bertsmith.models.operations import Step, transformer_operations, word_operations
from bertsmith.models.parameter_table import ParameterTable


class BertConfig(ModelConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of a BERT encoder, by the names that `config.json` uses everywhere.

    Raises:
        UsageError: from `validate`, when the numbers do not fit together.
    """

    family: ClassVar[FamilyName] = "bert"
    display_name: ClassVar[str] = "BERT"
    model_type: ClassVar[str] = "bert"
    inert_keys: ClassVar[Mapping[str, object]] = INERT_KEYS
    sizes: ClassVar[Mapping[str, object]] = SIZES
    parameters: ClassVar[ParameterTable] = PARAMETERS
    objective: ClassVar[Objective] = "masked"
    origin: ClassVar[str] = (
        "An encoder in the format of BERT (Devlin et al., arXiv 1810.04805), with its pre-training "
        "heads."
    )

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    is_decoder: bool = False
    """Whether a token sees itself and those before it only (the paper's left-to-right model)."""

    @classmethod
    def preset(cls, size: str, *, vocab_size: int) -> Self:
        """The config of a preset, a row of `SIZES`."""
        layers, width = SIZES[size]
        return cls(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
        )

    @classmethod
    def check_choices(cls, keys: Mapping[str, object], source: str) -> None:
        """Refuses an unknown activation.

        Raises:
            UsageError: it is not computed here.
        """
        act = keys.get("hidden_act", "gelu")
        if isinstance(act, str) and act not in get_args(Activation):
            raise UsageError(
                f"{source}: hidden_act is {act!r}{nearest(act, get_args(Activation))}; bertsmith "
                f"computes {', '.join(get_args(Activation))}."
            )

    def with_dropout(self, p: float) -> Self:
        """The same config with `p` for both probabilities of dropout."""
        return msgspec.structs.replace(self, hidden_dropout_prob=p, attention_probs_dropout_prob=p)

    def directed(self, *, left_to_right: bool) -> Self:
        """The same config as a decoder or an encoder."""
        return msgspec.structs.replace(self, is_decoder=left_to_right)

    def forward_operations(self, step: Step) -> float:
        """Floating-point operations of a training step's forward pass."""
        width, inner = self.hidden_size, self.intermediate_size
        blocks = transformer_operations(
            step, width=width, inner=inner, layers=self.num_hidden_layers
        )
        return blocks + word_operations(
            step, width=width, vocab_size=self.vocab_size, transform=width**2
        )

    @property
    def left_to_right(self) -> bool:
        """Whether it is a decoder."""
        return self.is_decoder

    @property
    def title(self) -> str:
        """With the direction of a decoder."""
        return "Left-to-right BERT" if self.is_decoder else "BERT"

    @property
    def reads_pairs(self) -> bool:
        """Whether there are two segments."""
        return self.type_vocab_size >= 2

    @property
    def attention_heads(self) -> int:
        """Of a layer."""
        return self.num_attention_heads

    @property
    def feed_forward_size(self) -> int:
        """Width inside a block."""
        return self.intermediate_size

    @property
    def bytes_per_token(self) -> int:
        """What training keeps of a token until the backward pass, about."""
        return block_bytes(self.hidden_size) * self.num_hidden_layers

    def validate(self, source: str) -> Self:
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        check_numbers(self, source, may_be_zero=("pad_token_id", "is_decoder"))
        check_heads(self, source, heads="num_attention_heads", width="hidden_size")
        return self
