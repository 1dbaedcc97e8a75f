"""GPT's config: the numbers of its decoder, its presets, and its keys in `config.json`."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self, get_args

import msgspec

from bertsmith.core.errors import UsageError
from bertsmith.models.config import (
    SIZES,
    FamilyName,
    ModelConfig,
    Objective,
    block_bytes,
    check_heads,
    check_numbers,
)
from bertsmith.models.config_keys import INERT_KEYS, SameAs
from bertsmith.models.gpt.parameters import PARAMETERS
from bertsmith.models.operations import Step, transformer_operations, word_operations
from bertsmith.models.parameter_table import ParameterTable

GptActivation = Literal["gelu", "relu", "silu", "swish"]

_INERT_KEYS = (
    INERT_KEYS
    | dict.fromkeys(
        (
            "n_ctx pad_token_id predict_special_tokens summary_activation summary_first_dropout "
            "summary_proj_to_labels summary_type summary_use_proj"
        ).split(),
        ...,
    )
    | {"n_special": 0, "tie_word_embeddings": True, "is_decoder": False}
    | {"embedding_size": SameAs("n_embd"), "emb_size": SameAs("n_embd")}
)


class GptConfig(ModelConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of a GPT (Radford et al. 2018), by the names of `transformers`' `openai-gpt`."""

    family: ClassVar[FamilyName] = "gpt"
    display_name: ClassVar[str] = "GPT"
    model_type: ClassVar[str] = "openai-gpt"
    inert_keys: ClassVar[Mapping[str, object]] = _INERT_KEYS
    sizes: ClassVar[Mapping[str, object]] = SIZES
    parameters: ClassVar[ParameterTable] = PARAMETERS
    objective: ClassVar[Objective] = "forward"
    origin: ClassVar[str] = "In the format of GPT (Radford et al. 2018)."

    n_positions: int = 512
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    afn: GptActivation = "gelu"
    """`gelu` is the approximation by tanh here, as in the original code."""
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    @classmethod
    def preset(cls, size: str, *, vocab_size: int) -> Self:
        """The config of a preset, a row of `SIZES`."""
        layers, width = SIZES[size]
        return cls(vocab_size=vocab_size, n_embd=width, n_layer=layers, n_head=width // 64)

    @classmethod
    def check_choices(cls, keys: Mapping[str, object], source: str) -> None:
        """Refuses an unknown activation.

        Raises:
            UsageError: it is not computed here.
        """
        if keys.get("afn", "gelu") not in get_args(GptActivation):
            raise UsageError(
                f"{source}: afn is {keys['afn']!r}; bertsmith's GPT computes only 'gelu' (by tanh, "
                "as OpenAI's code), 'relu', 'silu' and 'swish'."
            )

    def with_dropout(self, p: float) -> Self:
        """The same config with `p` for every probability of dropout."""
        return msgspec.structs.replace(self, resid_pdrop=p, embd_pdrop=p, attn_pdrop=p)

    def forward_operations(self, step: Step) -> float:
        """Floating-point operations of a training step's forward pass."""
        blocks = transformer_operations(
            step, width=self.n_embd, inner=self.feed_forward_size, layers=self.n_layer
        )
        return blocks + word_operations(step, width=self.n_embd, vocab_size=self.vocab_size)

    @property
    def left_to_right(self) -> bool:
        """Always."""
        return True

    @property
    def attention_heads(self) -> int:
        """Of a layer."""
        return self.n_head

    @property
    def feed_forward_size(self) -> int:
        """Width inside a block."""
        return 4 * self.n_embd

    @property
    def bytes_per_token(self) -> int:
        """What training keeps of a token until the backward pass, about."""
        return block_bytes(self.n_embd) * self.n_layer

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.n_embd

    @property
    def num_hidden_layers(self) -> int:
        """Blocks."""
        return self.n_layer

    @property
    def max_position_embeddings(self) -> int:
        """Longest input in tokens."""
        return self.n_positions

    def validate(self, source: str) -> Self:
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        check_numbers(self, source)
        check_heads(self, source, heads="n_head", width="n_embd")
        return self
