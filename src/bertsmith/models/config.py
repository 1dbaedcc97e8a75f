"""The shapes of the three architectures, by the names that their `config.json` uses, and presets.

Every shape is a typed, frozen structure; an unknown key is an error that names the nearest known
one. A preset is a row of a table, never a branch in the code that uses it.
"""

from typing import Literal

import msgspec

from bertsmith.core.errors import UsageError

Architecture = Literal["bert", "gpt", "elmo"]
Objective = Literal["masked", "forward", "both"]
"""What is predicted: masked words, or every word from those before it, or also from those after."""
Activation = Literal[
    "gelu",
    "gelu_python",
    "gelu_new",
    "gelu_fast",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "gelu_accurate",
    "relu",
    "silu",
    "swish",
    "tanh",
]
"""By the names of `transformers`; several of them are one function, written differently."""
GptActivation = Literal["gelu", "relu", "silu", "swish"]
_LARGEST = 1 << 28
"""Of a number in a shape; the bytes of a product of two of them are a number of 64 bits."""
_MOST_CHARACTERS = 1000


_LARGEST_PADDING = 1024


def fits_vocabulary(rows: int, pieces: int) -> bool:
    """Whether a model with so many rows of embeddings is for a vocabulary of so many pieces.

    Models are padded to a round number of rows; no text gives rise to those behind the vocabulary.
    """
    return 0 <= rows - pieces <= _LARGEST_PADDING


class BertConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a BERT encoder, by the names that `config.json` uses everywhere.

    Raises:
        UsageError: from `validate`, when the numbers do not fit together.
    """

    vocab_size: int
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

    def with_dropout(self, p: float) -> "BertConfig":
        """The same shape with `p` for both probabilities of dropout."""
        return msgspec.structs.replace(self, hidden_dropout_prob=p, attention_probs_dropout_prob=p)

    @property
    def bytes_per_token(self) -> int:
        """What training keeps of a token until the backward pass, about."""
        return _block_bytes(self.hidden_size) * self.num_hidden_layers

    @property
    def head_width(self) -> int:
        """Width of one attention head (H)."""
        return self.hidden_size // self.num_attention_heads

    def validate(self, source: str) -> "BertConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        _check_numbers(self, source, may_be_zero=("pad_token_id", "is_decoder"))
        _check_heads(self, source, heads="num_attention_heads", width="hidden_size")
        return self


class GptConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a GPT (Radford et al. 2018), by the names of `transformers`' `openai-gpt`."""

    vocab_size: int
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

    def with_dropout(self, p: float) -> "GptConfig":
        """The same shape with `p` for every probability of dropout."""
        return msgspec.structs.replace(self, resid_pdrop=p, embd_pdrop=p, attn_pdrop=p)

    @property
    def bytes_per_token(self) -> int:
        """What training keeps of a token until the backward pass, about."""
        return _block_bytes(self.n_embd) * self.n_layer

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

    def validate(self, source: str) -> "GptConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        _check_numbers(self, source)
        _check_heads(self, source, heads="n_head", width="n_embd")
        return self


class ElmoConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of an ELMo (Peters et al. 2018, section 3.4); the defaults are the published one's.

    Its `config.json` has `model_type` `elmo`, which is ours: `transformers` has no ELMo.
    """

    vocab_size: int
    """Tokens of the softmax."""
    characters: int = 50
    """Character ids of a token, its begin and end counted."""
    char_width: int = 16
    filters: tuple[tuple[int, int], ...] = (
        (1, 32),
        (2, 32),
        (3, 64),
        (4, 128),
        (5, 256),
        (6, 512),
        (7, 1024),
    )
    """Width in characters and number of the convolutions."""
    highways: int = 2
    cnn_act: Literal["relu", "tanh"] = "relu"
    projection: int = 512
    """Of the characters and of each LSTM's output (P); a direction is P wide, both are 2P."""
    lstm_width: int = 4096
    lstm_layers: int = 2
    skip_connections: bool = True
    """Whether the input of a layer from the second on is added to its output."""
    cell_clip: float = 3.0
    projection_clip: float = 3.0
    dropout: float = 0.1
    initializer_range: float = 0.02

    def validate(self, source: str) -> "ElmoConfig":
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        _check_numbers(self, source, may_be_zero=("highways", "skip_connections"))
        if not self.filters or min(map(min, self.filters)) < 1:
            raise UsageError(
                f"{source}: filters is {self.filters}; give at least one, as its width in "
                "characters and its number, both from 1 on."
            )
        lowest = max(3, max(self.filters)[0])
        if max(map(max, self.filters)) > _LARGEST or self.characters > _MOST_CHARACTERS:
            raise UsageError(
                f"{source}: characters is {self.characters} and filters is {self.filters!s:.60}; "
                f"a word has at most {_MOST_CHARACTERS:,} characters, a width at most {_LARGEST:,} "
                "filters."
            )
        if self.characters < lowest:
            raise UsageError(
                f"{source}: characters is {self.characters}; it must be at least {lowest}, for a "
                "character between the two marks of a word and for the widest filter."
            )
        return self

    def with_dropout(self, p: float) -> "ElmoConfig":
        """The same shape with `p` for dropout."""
        return msgspec.structs.replace(self, dropout=p)

    @property
    def bytes_per_token(self) -> int:
        """What training keeps of a token until the backward pass, at most about.

        In fp32 an LSTM's four gates, its cell, the cell's tanh, the output and four rows of P; and
        the filters at every character with the highways, as if no token were there twice.
        """
        lstm = 7 * self.lstm_width + 4 * self.projection
        filters = sum(number for _, number in self.filters)
        characters = filters * (self.characters + 8 * self.highways)
        return 4 * (2 * self.lstm_layers * lstm + characters)

    @property
    def hidden_size(self) -> int:
        """2P: both directions side by side."""
        return 2 * self.projection

    @property
    def num_hidden_layers(self) -> int:
        """LSTM layers."""
        return self.lstm_layers

    @property
    def max_position_embeddings(self) -> int:
        """An LSTM reads inputs of any length."""
        return 1 << 20


Shape = BertConfig | GptConfig | ElmoConfig


def _block_bytes(width: int) -> int:
    """What a Transformer's block keeps of a token: some 24 rows of bf16."""
    return 24 * 2 * width


def _check_numbers(shape: Shape, source: str, *, may_be_zero: tuple[str, ...] = ()) -> None:
    for field in msgspec.structs.fields(shape):
        value = getattr(shape, field.name)
        lowest = 0 if field.name in may_be_zero else 1
        if isinstance(value, int) and value < lowest:
            raise UsageError(f"{source}: {field.name} is {value}; it must be at least {lowest}.")
        if isinstance(value, int) and value > _LARGEST:
            raise UsageError(f"{source}: {field.name} is {value}; it must be at most {_LARGEST:,}.")
        if field.name.endswith(("_prob", "_pdrop", "dropout")):
            if not 0 <= value < 1:
                raise UsageError(f"{source}: {field.name} is {value}; it must be in [0, 1).")
        elif isinstance(value, float) and value <= 0:
            raise UsageError(f"{source}: {field.name} is {value}; it must be above 0.")


def _check_heads(shape: Shape, source: str, *, heads: str, width: str) -> None:
    if getattr(shape, width) % getattr(shape, heads):
        raise UsageError(
            f"{source}: {heads} is {getattr(shape, heads)}, which does not divide {width} "
            f"{getattr(shape, width)}; choose a head count that does."
        )


# Layers and width: Base and Large from the paper, section 3; the small ones are Google's (Turc et
# al. 2019). Heads are 64 wide and the feed-forward is four times the width in all of them.
SIZES: dict[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
