"""BERT with the one small output layer of a task (paper, section 4 and figure 4).

- A text or a pair: the pooled `[CLS]` to classes, or to one number.
- A choice: the pooled `[CLS]` of each to one score.
- A span: a start and an end vector, their products with every token.
- A word: its first piece to tags; no CRF.
- A word from features (section 5.3): the encoder stays as it is, and a two-layer BiLSTM over chosen
  layers of it comes before the output layer.

A left-to-right encoder has read everything at the last token only, so there the pooled state is
that of the closing `[SEP]`. With a BiLSTM over its states (section 5.1, "+ BiLSTM") it is both
directions' last ones.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from bertsmith.core.errors import FolderError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import Pooler
from bertsmith.models.bert.model import Bert
from bertsmith.models.bert.parameters import LSTM_LAYERS
from bertsmith.models.head_config import (
    OWN_TASK,
    FeatureBased,
    HeadConfig,
    HeadSource,
    Level,
    Loss,
    chosen_layers,
    refuse_elmo_only,
)
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.initialization import initialize
from bertsmith.models.modules.linear import NumberLinear, OutputLinear, output_layer
from bertsmith.models.modules.packed import Packed

# The architecture that `transformers` loads a folder as.
ARCHITECTURES: dict[Level, str] = {
    "text": "BertForSequenceClassification",
    "choice": "BertForMultipleChoice",
    "token": "BertForTokenClassification",
    "span": "BertForQuestionAnswering",
}
PROBLEM_TYPES: dict[Loss, str] = {
    "cross-entropy": "single_label_classification",
    "squared-error": "regression",
    "binary-cross-entropy": "multi_label_classification",
}
"""Names of the losses of a text in `transformers`."""
POOLED: tuple[Level, ...] = ("text", "choice")


@dataclass(frozen=True)
class TaskBatch:
    """Packed inputs with what is asked of them."""

    packed: Packed
    targets: Tensor | None
    """Of a text its class, int64 [B], its number, float32 [B], or 1 for each label that it has,
    float32 [B, C]; of choices the right one, int64 [E]; of a span the first and last token, int64
    [B, 2]; of words their tags, int64 [P]. None where only the outputs are wanted."""
    words_P: Tensor | None = None
    """Indices into T of the first pieces of words that are tagged."""
    ends_P: Tensor | None = None
    """Of their last pieces."""
    group: int = 1
    """Sequences that are answered together (the choices of an example)."""

    @property
    def counts(self) -> dict[str, int]:
        """How many predictions the loss sums over."""
        return {"task": 0 if self.targets is None else len(self.targets)}

    @property
    def tokens(self) -> int:
        """T: real tokens."""
        return self.packed.ids_T.numel()

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            packed=self.packed.to(device),
            targets=move(self.targets),
            words_P=move(self.words_P),
            ends_P=move(self.ends_P),
        )


class FeatureHead(nn.Module):
    """Chosen layers, summed or side by side, through a two-layer BiLSTM: [T, D] each -> [T, W]."""

    def __init__(self, config: BertConfig, features: FeatureBased) -> None:
        super().__init__()
        layers = config.num_hidden_layers + 1
        self.chosen = chosen_layers(features.layers, count=layers, parameter="features")
        concat = features.combine == "concat"
        self.mix = None if concat else nn.Parameter(torch.zeros(len(self.chosen)))
        self.lstm = nn.LSTM(
            config.hidden_size * (len(self.chosen) if concat else 1),
            features.width // 2,
            num_layers=LSTM_LAYERS,
            bidirectional=True,
        )

    def forward(self, layers: list[Tensor], packed: Packed) -> Tensor:
        """The hidden states of the BiLSTM over each sequence."""
        chosen = [layers[layer] for layer in self.chosen]
        if self.mix is None:
            features_TD = torch.cat(chosen, -1)
        else:
            features_TD = torch.stack(chosen, -1) @ self.mix.softmax(0)
        return run_lstm(self.lstm, features_TD, packed.lengths)


class BiLstm(nn.Module):
    """One layer in both directions over packed sequences: [T, inputs] -> [T, width]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, width // 2, bidirectional=True)

    def forward(self, states_TD: Tensor, lengths: list[int]) -> Tensor:
        """`lengths` of the sequences, T together."""
        return run_lstm(self.lstm, states_TD, lengths)


def run_lstm(lstm: nn.LSTM, states_TD: Tensor, lengths: list[int]) -> Tensor:
    """The states of an LSTM over each sequence, [T, its width]."""
    rows = list(torch.split(states_TD, lengths))
    hidden: PackedSequence = lstm(pack_sequence(rows, enforce_sorted=False))[0]
    return torch.cat(unpack_sequence(hidden))


class BertForTask(nn.Module):
    """An encoder and the output layer of one kind of task."""

    def __init__(
        self,
        config: BertConfig,
        head: HeadConfig,
    ) -> None:
        """Draws weights.

        Args:
            config: the encoder's shape.
            head: the output layer; with `bilstm` a BiLSTM, as wide as the encoder, is before it.
        """
        super().__init__()
        self.config = config
        self.head = head
        self.bert = Bert(config)
        self.pooler = Pooler(config) if head.level in POOLED else None
        self.features = None if head.features is None else FeatureHead(config, head.features)
        self.bilstm = BiLstm(config.hidden_size, config.hidden_size) if head.bilstm else None
        self.dropout = Dropout(config.hidden_dropout_prob)
        width = config.hidden_size if head.features is None else head.features.width
        self.classifier: OutputLinear | None = None
        if head.level != "span":
            self.classifier = output_layer(width, head.outputs, number=head.is_number)
        self.span = OutputLinear(width, 2) if head.level == "span" else None
        self.class_weights: Tensor | None = None
        """Weight [C] of each class or label in the loss of a text; set by the run, not saved."""
        initialize(self, config.initializer_range)
        self.bert.requires_grad_(head.features is None)

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder drops nothing while its head is trained."""
        super().train(mode)
        if self.features is not None:
            self.bert.eval()
        return self

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Scores, fp32: of texts and choices [B, C] (numbers: fp64), words [P, C], spans [T, 2]."""
        packed = batch.packed
        if self.span is not None:
            hidden_TD = self.bert(packed)
            if self.bilstm is not None:
                hidden_TD = self.bilstm(hidden_TD, packed.lengths)
            answers_T2: Tensor = self.span(hidden_TD)
            return answers_T2
        assert self.classifier is not None
        if self.pooler is not None:
            rows = self.pooler(self._pooled(packed))
        elif self.bilstm is not None:
            assert batch.words_P is not None
            rows = self.bilstm(self.bert(packed), packed.lengths)[batch.words_P]
        elif self.features is not None:
            with torch.no_grad():
                layers = list(self.bert.layers(packed))
            assert batch.words_P is not None
            rows = self.features(layers, packed)[batch.words_P]
        else:
            rows = self.bert(packed, batch.words_P)
        scores: Tensor = self.classifier(self.dropout(rows))
        return scores

    def _pooled(self, packed: Packed) -> Tensor:
        """The state that stands for each sequence, [B, D]."""
        if self.bilstm is not None:
            states_TD = self.bilstm(self.bert(packed), packed.lengths)
            before_TD, after_TD = states_TD.chunk(2, -1)
            return torch.cat([before_TD[packed.lasts_B], after_TD[packed.firsts_B]], -1)
        rows_B = packed.lasts_B if self.config.is_decoder else packed.firsts_B
        first_BD: Tensor = self.bert(packed, rows_B)
        return first_BD

    @property
    def number_layer(self) -> NumberLinear | None:
        """The layer that gives the numbers of a regression; None in other tasks."""
        return self.classifier if isinstance(self.classifier, NumberLinear) else None

    def losses(self, batch: TaskBatch) -> dict[str, Tensor]:
        """The sum of the losses of a batch's predictions, by the keys of `batch.counts`."""
        scores = self.outputs(batch)
        return {"task": task_loss(self.head, scores, batch, self.class_weights)}

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its shape."""
        keys: dict[str, Any] = {"architectures": [ARCHITECTURES[self.head.level]]}
        # `transformers` pools the first token, whichever way the encoder reads.
        pools_the_last = self.config.is_decoder and self.pooler is not None
        if self.features is not None or self.bilstm is not None or pools_the_last:
            keys = {"architectures": ["BertModel"]} | self.head.keys
        return keys | label_keys(self.head)


def bert_for_task(config: BertConfig, head: HeadConfig, *_: object) -> BertForTask:
    """The model with fresh weights, without what only other families have in an output layer.

    Raises:
        UsageError: the head asks for what only an ELMo has.
    """
    refuse_elmo_only(head)
    return BertForTask(
        config, msgspec.structs.replace(head, extract_id=None, both_orders=False, paired=False)
    )


def check_bert_task(config: BertConfig, head: HeadConfig, source: HeadSource) -> None:
    """Refuses a left-to-right BERT of another program that predicts at `[CLS]`.

    Raises:
        FolderError: it is one.
    """
    if config.is_decoder and head.level in POOLED and not source.own:
        raise FolderError(
            f"{source.name}: a left-to-right model that predicts at [CLS] has seen no text there. "
            f"bertsmith's models predict at the last token (and have the key {OWN_TASK}). Run "
            "`bertsmith finetune` with it."
        )


def label_keys(head: HeadConfig) -> dict[str, Any]:
    """What `config.json` says of a task's outputs, by the names that `transformers` reads."""
    keys: dict[str, Any] = {}
    names = head.labels or (("score",) if head.is_number else ())
    if names:
        keys["id2label"] = {str(number): name for number, name in enumerate(names)}
        keys["label2id"] = {name: number for number, name in enumerate(names)}
    if head.level == "text":
        keys["problem_type"] = PROBLEM_TYPES[head.loss]
    return keys


def task_loss(
    head: HeadConfig, scores: Tensor, batch: TaskBatch, class_weights: Tensor | None
) -> Tensor:
    """The sum of the losses of a batch's predictions, from a model's `outputs` for it.

    `class_weights` [C] weigh the examples of each class, or the examples that have a label.
    """
    targets = batch.targets
    assert targets is not None
    match head.level, head.loss:
        case "text", "squared-error":
            numbers_B = targets.to(scores.dtype)
            return functional.mse_loss(scores[:, 0], numbers_B, reduction="sum").float()
        case "text", "binary-cross-entropy":
            # The mean over the labels of an example, as in `transformers`.
            return (
                functional.binary_cross_entropy_with_logits(
                    scores, targets, pos_weight=class_weights, reduction="sum"
                )
                / scores.shape[1]
            )
        case "choice", _:
            rows = scores.view(-1, batch.group)
            return functional.cross_entropy(rows, targets, reduction="sum")
        case "span", _:
            return _span_loss(scores, targets, batch.packed)
        case _:
            return functional.cross_entropy(scores, targets, weight=class_weights, reduction="sum")


def _span_loss(scores_T2: Tensor, targets_B2: Tensor, packed: Packed) -> Tensor:
    """Mean of the negative log-likelihoods of the start and the end, summed over sequences.

    The softmax is over the tokens of the own sequence (paper, section 4.2).
    """
    rows_T = torch.repeat_interleave(
        torch.arange(packed.sequences, device=scores_T2.device),
        packed.starts.diff().to(torch.int64),
        output_size=len(scores_T2),
    )
    padded = scores_T2.new_full((packed.sequences, packed.longest, 2), -torch.inf)
    padded = padded.index_put((rows_T, packed.positions_T), scores_T2)
    return functional.cross_entropy(padded, targets_B2, reduction="sum") / 2
