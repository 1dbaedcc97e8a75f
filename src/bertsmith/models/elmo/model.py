"""ELMo (Peters et al. 2018, "Deep contextualized word representations") on packed input.

A token's characters become its vector, whatever is beside it; above it LSTM layers read each
sequence from left to right, and others from right to left. `Elmo` is called as `Bert` is. Of a text
in WordPieces each piece is a token (see `characters.py`), so that all models here see the same
ones; the published weights are for whole words, which `Elmo.of_words` takes.

Shapes beside those of `packed.py`: U distinct tokens, C character ids of a token, F filters,
P projection (a direction's width; `hidden_size` is 2P).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.core.errors import UsageError
from bertsmith.models.elmo.characters import (
    BEGIN,
    CHARACTER_IDS,
    END,
    PADDING,
    character_ids,
    piece_character_ids,
)
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.language_model import LanguageModel
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.linear import Linear
from bertsmith.models.modules.lstm import ProjectedLstm, steps_of
from bertsmith.models.modules.packed import LanguageBatch, Packed, TextBatch, pack

_CARRY_BIAS = -2.0
"""Initially, a highway passes most of its input through (bilm-tf)."""


class Highway(nn.Module):
    """`g relu(transform(x)) + (1 - g) x`, with `g` the sigmoid of `carry(x)` (bilm-tf's names)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.carry, self.transform = Linear(width, width), Linear(width, width)

    def forward(self, hidden_UF: Tensor) -> Tensor:
        """[U, F] -> [U, F]."""
        gate_UF = torch.sigmoid(self.carry(hidden_UF))
        return torch.lerp(hidden_UF, torch.relu(self.transform(hidden_UF)), gate_UF)


class CharacterEncoder(nn.Module):
    """Convolutions over a token's characters, the most of each over all places, and highways."""

    def __init__(self, config: ElmoConfig) -> None:
        """Weights are drawn as bilm-tf draws them, from torch's default generator."""
        super().__init__()
        width = sum(number for _, number in config.filters)
        self.widest = max(size for size, _ in config.filters)
        self.embedding = nn.Embedding(CHARACTER_IDS, config.char_width, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.char_width, number, size) for size, number in config.filters
        )
        self.activation = torch.relu if config.cnn_act == "relu" else torch.tanh
        self.highways = nn.ModuleList(Highway(width) for _ in range(config.highways))
        # The published code projects only where the widths differ.
        same = width == config.projection
        self.projection = nn.Identity() if same else Linear(width, config.projection)
        self._initialize(config)

    def _initialize(self, config: ElmoConfig) -> None:
        nn.init.uniform_(self.embedding.weight[1:], -1, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv1d | nn.Linear):
                assert part.bias is not None
                nn.init.zeros_(part.bias)
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=part.in_features**-0.5)
            elif isinstance(part, nn.Conv1d) and config.cnn_act == "relu":
                nn.init.uniform_(part.weight, -0.05, 0.05)
            elif isinstance(part, nn.Conv1d):
                nn.init.normal_(part.weight, std=part.weight[0].numel() ** -0.5)
        for highway in self.highways:
            assert isinstance(highway, Highway)
            nn.init.constant_(highway.carry.bias, _CARRY_BIAS)

    def forward(self, characters_UC: Tensor) -> Tensor:
        """int64 [U, C] -> [U, P]."""
        characters_UC = self._without_needless_padding(characters_UC)
        embedded = self.embedding(characters_UC).mT
        found = [convolution(embedded).amax(-1) for convolution in self.convolutions]
        hidden_UF = self.activation(torch.cat(found, -1))
        for highway in self.highways:
            hidden_UF = highway(hidden_UF)
        projected_UP: Tensor = self.projection(hidden_UF)
        return projected_UP

    def _without_needless_padding(self, characters_UC: Tensor) -> Tensor:
        """Columns up to one place of the widest filter on padding alone; more only repeat it."""
        used_C = (characters_UC != PADDING).any(0)
        longest = int(used_C.nonzero().max()) + 1
        return characters_UC[:, : longest + self.widest]


class Elmo(nn.Module):
    """The character encoder, and `lstm_layers` layers in each direction.

    From the second layer on a layer's input is added to its output, unless the config has no skip
    connections. Dropout, in training, is before every layer (bilm-tf).
    """

    characters_VC: Tensor

    def __init__(self, config: ElmoConfig, pieces: Sequence[str] = ()) -> None:
        """`pieces`: the vocabulary, by id; none for a model that sees whole words alone.

        Raises:
            ValueError: there are pieces, but not as many as the vocabulary's size says.
        """
        super().__init__()
        if pieces and len(pieces) != config.vocab_size:
            raise ValueError(f"{len(pieces)} pieces for a vocabulary of {config.vocab_size}")
        self.config = config
        self.encoder = CharacterEncoder(config)
        self.dropout = Dropout(config.dropout)
        self.forward_lstms, self.backward_lstms = (
            nn.ModuleList(
                ProjectedLstm(
                    config.projection,
                    width=config.lstm_width,
                    projection=config.projection,
                    cell_clip=config.cell_clip,
                    projection_clip=config.projection_clip,
                )
                for _ in range(config.lstm_layers)
            )
            for _ in range(2)
        )
        spelled = piece_character_ids(pieces, longest=config.characters)
        # The vocabulary says it all; a state that held it too could contradict it.
        self.register_buffer("characters_VC", spelled.ids_WC, persistent=False)

    def forward(self, packed: Packed, rows_R: Tensor | None = None) -> Tensor:
        """The last layer, [T, 2P], or [R, 2P] at `rows_R`, as `layers` has it."""
        return deque(self.layers(packed, rows_R), maxlen=1).pop()

    def layers(self, packed: Packed, rows_R: Tensor | None = None) -> Iterator[Tensor]:
        """The tokens' own vectors twice side by side, then both directions of each LSTM layer.

        [T, 2P] each, left to right first; with `rows_R` (int64 indices into T) the last is [R, 2P].
        """
        yield from self._layers(self.characters_VC, packed, rows_R)

    def _layers(
        self, spelled_VC: Tensor, packed: Packed, rows_R: Tensor | None = None
    ) -> Iterator[Tensor]:
        # A token's vector is the same wherever it stands: once for all its places.
        distinct_U, places_T = torch.unique(packed.ids_T, return_inverse=True)
        token_TP = self.encoder(spelled_VC[distinct_U])[places_T]
        yield torch.cat([token_TP, token_TP], -1)
        before_TP = after_TP = token_TP
        forward_steps = steps_of(packed, backward=False)
        backward_steps = steps_of(packed, backward=True)
        for number in range(self.config.lstm_layers):
            before_TP, after_TP = self.dropout(before_TP), self.dropout(after_TP)
            new_before_TP = self.forward_lstms[number](before_TP, forward_steps)
            new_after_TP = self.backward_lstms[number](after_TP, backward_steps)
            skips = number > 0 and self.config.skip_connections
            before_TP = new_before_TP + before_TP if skips else new_before_TP
            after_TP = new_after_TP + after_TP if skips else new_after_TP
            both = torch.cat([before_TP, after_TP], -1)
            last = number == self.config.lstm_layers - 1
            yield both[rows_R] if last and rows_R is not None else both

    def of_words(
        self, sentences: Sequence[Sequence[str]], *, may_cut: bool = False
    ) -> list[Tensor]:
        """For each sentence of whole words its layers, [1 + layers, words, 2P].

        Each is read between the words `BEGIN` and `END`, whose own states are left out (AllenNLP).

        Args:
            sentences: as words.
            may_cut: let a word of more bytes than the model's characters lose its end, as the
                published code does, instead of refusing it.

        Raises:
            UsageError: a sentence holds no word, or a word is too long.
        """
        if not sentences:
            return []
        for number, words in enumerate(sentences):
            if not words:
                raise UsageError(f"Sentence {number} (counted from 0) has no words; remove it.")
        numbers = {BEGIN: 0, END: 1}
        for word in chain.from_iterable(sentences):
            numbers.setdefault(word, len(numbers))
        framed = [[0, *(numbers[word] for word in words), 1] for words in sentences]
        spelled = character_ids(list(numbers), longest=self.config.characters)
        if spelled.cut and not may_cut:
            raise UsageError(
                f"{len(spelled.cut)} words are longer than {self.config.characters - 2} bytes, "
                f"the model's limit; the first is {spelled.cut[0]!r}. Pass may_cut=True to "
                "truncate them, as the published code does."
            )
        device = self.characters_VC.device
        packed = pack(framed).to(device)
        layers = torch.stack(list(self._layers(spelled.ids_WC.to(device), packed)))
        return [part[:, 1:-1] for part in torch.split(layers, packed.lengths, 1)]


class ScalarMix(nn.Module):
    """`gamma` times the layers' mean by learned weights, a softmax (paper, equation 1)."""

    def __init__(self, layers: int, *, normalised: bool = False) -> None:
        """`normalised`: each layer to mean 0 and variance 1 first, as bilm-tf's `weight_layers`.

        Both are taken over the whole batch, so that what else is in it changes the mix.
        """
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.gamma = nn.Parameter(torch.ones(()))
        self.normalised = normalised

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """[T, D] each -> [T, D].

        Raises:
            ValueError: there are not as many layers as weights.
        """
        if len(layers) != len(self.weights):
            raise ValueError(f"{len(layers)} layers for {len(self.weights)} weights")
        if self.normalised:
            layers = [nn.functional.layer_norm(layer, layer.shape, eps=1e-12) for layer in layers]
        shares = self.weights.softmax(0)
        mixed = sum(share * layer for share, layer in zip(shares, layers, strict=True))
        assert isinstance(mixed, Tensor)
        return self.gamma * mixed


class ElmoForPretraining(LanguageModel):
    """ELMo with one softmax over the vocabulary for both directions (paper, section 3.1)."""

    config: ElmoConfig

    def __init__(self, config: ElmoConfig, pieces: Sequence[str]) -> None:
        """The softmax is drawn with deviation 1 / sqrt(P), its bias 0 (bilm-tf)."""
        super().__init__()
        self.config = config
        self.elmo = Elmo(config, pieces)
        self.dropout = Dropout(config.dropout)
        self.word_VP = nn.Parameter(torch.empty(config.vocab_size, config.projection))
        self.bias_V = nn.Parameter(torch.zeros(config.vocab_size))
        nn.init.normal_(self.word_VP, std=config.projection**-0.5)

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its config."""
        return {"architectures": ["ElmoForPretraining"]}

    def predictions(self, batch: TextBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """For each objective the states that predict, [R, P], and the ids to predict, [R].

        A direction's state predicts the first token that it has not seen.
        """
        assert isinstance(batch, LanguageBatch)
        before_TP, after_TP = self.elmo(batch.packed).chunk(2, -1)
        followed_R, ids_T = batch.followed_R, batch.packed.ids_T
        asked = {"forward": (before_TP[followed_R], ids_T[followed_R + 1])}
        if batch.backward:
            asked["backward"] = (after_TP[followed_R + 1], ids_T[followed_R])
        return asked

    def transform(self, hidden_RP: Tensor) -> Tensor:
        """Dropout, in training."""
        dropped_RP: Tensor = self.dropout(hidden_RP)
        return dropped_RP

    @property
    def output_words(self) -> Tensor:
        """The softmax's weights, [V, P]."""
        return self.word_VP

    @property
    def output_bias(self) -> Tensor:
        """The softmax's."""
        return self.bias_V
