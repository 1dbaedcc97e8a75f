"""What the configs of all model families have in common.

A family's config is a typed, frozen structure with the names that its `config.json` uses. Beside
its fields it answers what the rest of the package asks of a family without loading torch.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Self

import msgspec

from bertsmith.core.errors import UsageError
from bertsmith.core.storage import parse_json
from bertsmith.models.config_keys import computed_keys, read_config_keys
from bertsmith.models.operations import Step
from bertsmith.models.parameter_table import ParameterTable

FamilyName = Literal["bert", "gpt", "elmo"]
DEFAULT_FAMILY: FamilyName = "bert"
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
"""By the names of `transformers`; several name the same function."""
LARGEST = 1 << 28
"""Of a number in a config; the bytes of a product of two of them are a number of 64 bits."""
_LARGEST_PADDING = 1024


def fits_vocabulary(rows: int, pieces: int) -> bool:
    """Whether a model with so many rows of embeddings is for a vocabulary of so many pieces.

    Models are padded to a round number of rows; no text gives rise to those behind the vocabulary.
    """
    return 0 <= rows - pieces <= _LARGEST_PADDING


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers that a model is built from, by the names of its family's `config.json`."""

    family: ClassVar[FamilyName]
    display_name: ClassVar[str]
    model_type: ClassVar[str]
    """In `config.json`."""
    inert_keys: ClassVar[Mapping[str, object]]
    """Keys of `config.json` that do not affect the computation; see `config_keys.computed_keys`."""
    sizes: ClassVar[Mapping[str, object]]
    """The presets, by name."""
    parameters: ClassVar[ParameterTable]
    """Names of parameters here and in a folder."""
    objective: ClassVar[Objective]
    """Default dropout in pre-training."""
    origin: ClassVar[str]
    """The model's origin: the end of a model card's description."""
    library: ClassVar[str] = "transformers"
    """Class that loads its pre-trained models."""
    summary: ClassVar[str] = (
        "{name}, {layers} layers, {width} wide, {heads} heads, feed-forward {feed_forward}, up to "
        "{positions} tokens"
    )
    """A model in a line, by the fields of `info.model.ModelInfo`."""
    reads_characters: ClassVar[bool] = False
    """Whether it reads pieces as characters; the vocabulary then has no padding rows."""
    frozen_in_tasks: ClassVar[bool] = False
    """Whether fine-tuning freezes it by default."""
    scratch_learning_rate: ClassVar[float | None] = None
    """From random weights by the recipe `modern`; None: it depends on the width."""

    vocab_size: int

    @classmethod
    def preset(cls, size: str, *, vocab_size: int) -> Self:
        """The config of a preset, a row of `sizes`."""
        raise NotImplementedError

    @classmethod
    def named(cls, size: str, *, vocab_size: int) -> Self:
        """The config named by `size`: a preset's name or the path of a `config.json`.

        Raises:
            UsageError: `size` is neither, or the numbers do not fit together.
            FolderError: the file is not JSON or holds an unknown key.
        """
        if size in cls.sizes:
            return cls.preset(size, vocab_size=vocab_size)
        keys = {"vocab_size": vocab_size} | read_config_keys(size, cls.sizes)
        return cls.from_keys(keys, size)

    @classmethod
    def from_keys(cls, keys: Mapping[str, object], source: str) -> Self:
        """A `config.json`'s content; keys that compute nothing are left out.

        Raises:
            UsageError: another family, a setting that is not computed here, numbers that do not
                fit.
            FolderError: an unknown key or a wrong type.
        """
        fields = [field.name for field in msgspec.structs.fields(cls)]
        kept = computed_keys(
            keys, source, fields=fields, model_type=cls.model_type, inert=cls.inert_keys
        )
        cls.check_choices(kept, source)
        return parse_json(msgspec.json.encode(kept), cls, source).validate(source)

    @classmethod
    def check_choices(cls, keys: Mapping[str, object], source: str) -> None:
        """Refuses a name, such as an activation's, of what is not computed here."""

    def validate(self, source: str) -> Self:
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        raise NotImplementedError

    def with_dropout(self, p: float) -> Self:
        """The same config with `p` for every probability of dropout."""
        raise NotImplementedError

    def directed(self, *, left_to_right: bool) -> Self:
        """The same config, reading in the direction that a run asks for, where it can."""
        return self

    def forward_operations(self, step: Step) -> float:
        """Floating-point operations of a training step's forward pass."""
        raise NotImplementedError

    @classmethod
    def matched(
        cls, size: str, reference: "ModelConfig", count: Callable[["ModelConfig"], int]
    ) -> "ModelConfig":
        """A config of about as many parameters as `reference`, which has the preset `size`.

        Args:
            size: a preset.
            reference: of another family.
            count: the number of parameters of a config.
        """
        return cls.named(size, vocab_size=reference.vocab_size)

    @property
    def left_to_right(self) -> bool:
        """Whether a token sees itself and those before it only."""
        return False

    @property
    def title(self) -> str:
        """The family and, where it is not the family's own, the direction that it reads in."""
        return self.display_name

    @property
    def reads_pairs(self) -> bool:
        """Whether it can distinguish the two texts of a pair."""
        return True

    @property
    def attention_heads(self) -> int:
        """Of a layer; 0 without attention."""
        return 0

    @property
    def feed_forward_size(self) -> int:
        """Width inside a layer."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """Its numbers, for a model card."""
        return (
            f"{self.num_hidden_layers} layers, {self.hidden_size} wide, {self.attention_heads} "
            "heads"
        )

    @property
    def bytes_per_token(self) -> int:
        """What training keeps of a token until the backward pass, about."""
        raise NotImplementedError

    @property
    def hidden_size(self) -> int:
        """Width of a token's state (D)."""
        raise NotImplementedError

    @property
    def num_hidden_layers(self) -> int:
        """Layers above the embeddings."""
        raise NotImplementedError

    @property
    def max_position_embeddings(self) -> int:
        """Longest input in tokens."""
        raise NotImplementedError


def block_bytes(width: int) -> int:
    """What a Transformer's block keeps of a token: some 24 rows of bf16."""
    return 24 * 2 * width


def check_numbers(config: ModelConfig, source: str, *, may_be_zero: tuple[str, ...] = ()) -> None:
    """Checks each number of a config by itself.

    Raises:
        UsageError: one is out of range; `source` is named.
    """
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        lowest = 0 if field.name in may_be_zero else 1
        if isinstance(value, int) and value < lowest:
            raise UsageError(f"{source}: {field.name} is {value}; it must be at least {lowest}.")
        if isinstance(value, int) and value > LARGEST:
            raise UsageError(f"{source}: {field.name} is {value}; it must be at most {LARGEST:,}.")
        if field.name.endswith(("_prob", "_pdrop", "dropout")):
            if not 0 <= value < 1:
                raise UsageError(f"{source}: {field.name} is {value}; it must be in [0, 1).")
        elif isinstance(value, float) and value <= 0:
            raise UsageError(f"{source}: {field.name} is {value}; it must be above 0.")


def check_heads(config: ModelConfig, source: str, *, heads: str, width: str) -> None:
    """Checks that the heads divide the width; both by the names of their fields.

    Raises:
        UsageError: they do not; `source` is named.
    """
    if getattr(config, width) % getattr(config, heads):
        raise UsageError(
            f"{source}: {heads} is {getattr(config, heads)}, which does not divide {width} "
            f"{getattr(config, width)}; choose a head count that does."
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
