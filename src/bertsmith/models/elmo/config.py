"""ELMo's config: the numbers of its characters and LSTMs, its presets, its keys on disk."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Self

import msgspec

from bertsmith.core.errors import UsageError
from bertsmith.models.config import LARGEST, FamilyName, ModelConfig, Objective, check_numbers
from bertsmith.models.elmo.parameters import PARAMETERS
from bertsmith.models.operations import Step, word_operations
from bertsmith.models.parameter_table import ParameterTable

_MOST_CHARACTERS = 1000
# A small model's characters: as published up to 4 of them together, which are most of a word piece.
_SMALL_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128))
_ROUND = 8
"""LSTM widths of matched models are multiples of it."""

# Highways, P, and LSTM width; filters up to a width in characters. From `small` on they are the
# published models (AllenNLP's small, medium and original), below them ours in proportion.
ELMO_SIZES: dict[str, tuple[int, int, int, int]] = {
    "tiny": (1, 64, 256, 4),
    "mini": (1, 128, 512, 5),
    "small": (1, 128, 1024, 7),
    "medium": (1, 256, 2048, 7),
    "base": (2, 512, 4096, 7),
}

# Keys of our own ELMo's folders beside its config.
_INERT_KEYS: dict[str, object] = dict.fromkeys(
    "architectures bertsmith_task dtype id2label label2id model_type problem_type".split(), ...
)


class ElmoConfig(ModelConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of an ELMo (Peters et al. 2018, section 3.4); the defaults are as published.

    Its `config.json` has `model_type` `elmo`, which is ours: `transformers` has no ELMo.
    """

    family: ClassVar[FamilyName] = "elmo"
    display_name: ClassVar[str] = "ELMo"
    model_type: ClassVar[str] = "elmo"
    inert_keys: ClassVar[Mapping[str, object]] = _INERT_KEYS
    sizes: ClassVar[Mapping[str, object]] = ELMO_SIZES
    parameters: ClassVar[ParameterTable] = PARAMETERS
    objective: ClassVar[Objective] = "both"
    origin: ClassVar[str] = "After ELMo (Peters et al. 2018)."
    library: ClassVar[str] = "bertsmith"
    summary: ClassVar[str] = (
        "{name}, {layers} LSTM layers of {feed_forward} in each direction, {width} wide together"
    )
    reads_characters: ClassVar[bool] = True
    frozen_in_tasks: ClassVar[bool] = True
    scratch_learning_rate: ClassVar[float | None] = 1e-3

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
    """Whether each layer from the second on adds its input to its output."""
    cell_clip: float = 3.0
    projection_clip: float = 3.0
    dropout: float = 0.1
    initializer_range: float = 0.02

    @classmethod
    def preset(cls, size: str, *, vocab_size: int) -> Self:
        """The config of a preset, a row of `ELMO_SIZES`."""
        highways, projection, width, widest = ELMO_SIZES[size]
        whole = cls(vocab_size=vocab_size)
        return msgspec.structs.replace(
            whole,
            filters=whole.filters[:widest],
            highways=highways,
            projection=projection,
            lstm_width=width,
        )

    def validate(self, source: str) -> Self:
        """Checks that the numbers fit together; returns self. `source` is named in errors."""
        check_numbers(self, source, may_be_zero=("highways", "skip_connections"))
        if not self.filters or min(map(min, self.filters)) < 1:
            raise UsageError(
                f"{source}: filters is {self.filters}; give at least one pair of width in "
                "characters and number, both at least 1."
            )
        lowest = max(3, max(self.filters)[0])
        if max(map(max, self.filters)) > LARGEST or self.characters > _MOST_CHARACTERS:
            raise UsageError(
                f"{source}: characters is {self.characters} and filters is {self.filters!s:.60}; "
                f"a word has at most {_MOST_CHARACTERS:,} characters, a width at most {LARGEST:,} "
                "filters."
            )
        if self.characters < lowest:
            raise UsageError(
                f"{source}: characters is {self.characters}; it must be at least {lowest}, for a "
                "character between the two marks of a word and for the widest filter."
            )
        return self

    def with_dropout(self, p: float) -> Self:
        """The same config with `p` for dropout."""
        return msgspec.structs.replace(self, dropout=p)

    @classmethod
    def matched(
        cls, size: str, reference: ModelConfig, count: Callable[[ModelConfig], int]
    ) -> "ElmoConfig":
        """As wide as `reference` both directions together; its LSTMs take the other parameters."""

        def sized(lstm_width: int) -> "ElmoConfig":
            return ElmoConfig(
                vocab_size=reference.vocab_size,
                filters=_SMALL_FILTERS,
                projection=reference.hidden_size // 2,
                lstm_width=lstm_width,
            )

        # Parameters rise in proportion to the width.
        narrow, wide = (count(sized(width)) for width in (_ROUND, 2 * _ROUND))
        units = round((count(reference) - narrow) / (wide - narrow)) + 1
        return sized(_ROUND * max(1, units))

    def forward_operations(self, step: Step) -> float:
        """Floating-point operations of a training step's forward pass."""
        filters = sum(count for _, count in self.filters)
        # Words are far shorter than the longest; ten characters stand for one.
        convolutions = 10 * self.char_width * sum(wide * count for wide, count in self.filters)
        token = convolutions + 2 * self.highways * filters**2 + filters * self.projection
        cell = 2 * self.projection * 4 * self.lstm_width + self.lstm_width * self.projection
        layers = 2 * (step.distinct * token + 2 * self.lstm_layers * cell * step.tokens)
        return layers + word_operations(step, width=self.projection, vocab_size=self.vocab_size)

    @property
    def feed_forward_size(self) -> int:
        """Width of an LSTM."""
        return self.lstm_width

    @property
    def description(self) -> str:
        """Its numbers, for a model card."""
        return (
            f"{self.lstm_layers} LSTM layers of {self.lstm_width} in each direction, projected to "
            f"{self.projection}, over characters"
        )

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
