"""GPT with the one output layer of a task (Radford et al. 2018, sections 3.2 and 3.3).

A task gives `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`; that is arranged here as the paper has it:
start, text, delimiter, text, extract. The last `[SEP]` becomes the extract token, where the model
has read everything and the answer is read; a pair whose order means nothing is read both ways.

- A text or a pair: the state at the extract token to classes, or to one number.
- A choice: the state at each one's extract token to one score.
- A span: a start and an end vector, their products with every token. Those of the first token,
  which stand for "no answer here", are taken at the extract token: the first has read nothing.
- A word: the state at its last piece, where the model has read all of it.
"""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.bert.tasks import TaskBatch, label_keys, task_loss
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import Gpt
from bertsmith.models.head_config import (
    OWN_TASK,
    HeadConfig,
    HeadSource,
    Level,
    refuse_bert_only,
    refuse_elmo_only,
)
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.initialization import initialize
from bertsmith.models.modules.linear import NumberLinear, OutputLinear, output_layer
from bertsmith.models.modules.packed import LanguageBatch, Packed
from bertsmith.models.modules.vocabulary import projected_cross_entropy

GPT_ARCHITECTURES: dict[Level, str] = {"text": "OpenAIGPTForSequenceClassification"}
"""The class of `transformers` for a fine-tuned GPT; it reads a pair in one order."""

LANGUAGE_WEIGHT = 0.5
"""Of the auxiliary objective (lambda, section 4.1)."""


@dataclass(frozen=True)
class ForeignFrame:
    """What `transformers` puts around a text for a GPT that it fine-tuned; at most one token each.

    Such a model answers at the last token, whichever that is.
    """

    start_id: int | None
    end_id: int | None

    @property
    def missing(self) -> int:
        """Tokens of `[CLS] a [SEP]` that the model does not read."""
        return (self.start_id is None) + (self.end_id is None)

    def around(self, packed: Packed) -> Packed:
        """`[CLS] a [SEP]` with these tokens instead.

        Raises:
            UsageError: an input is a pair, or has no token left.
        """
        if bool(packed.segments_T.any()):
            raise UsageError(
                "This GPT was fine-tuned by another program, and its folder does not store how "
                "it reads a pair of texts. Give single texts, or run `bertsmith finetune` with "
                "it."
            )
        if int(packed.starts.diff().min()) <= self.missing:
            raise UsageError("A text has no tokens; remove it.")
        ids_T, kept_T = packed.ids_T.clone(), torch.ones_like(packed.ids_T, dtype=torch.bool)
        for places_B, new in ((packed.firsts_B, self.start_id), (packed.lasts_B, self.end_id)):
            if new is None:
                kept_T[places_B] = False
            else:
                ids_T[places_B] = new
        fewer = torch.arange(len(packed.starts), device=ids_T.device) * self.missing
        return Packed(
            ids_T=ids_T[kept_T],
            segments_T=packed.segments_T[kept_T],
            positions_T=packed.positions_T[kept_T] - int(self.start_id is None),
            starts=(packed.starts - fewer).to(packed.starts.dtype),
            longest=packed.longest - self.missing,
        )


class GptForTask(nn.Module):
    """An encoder and the output layer of one kind of task, with the interface of `BertForTask`."""

    def __init__(
        self,
        config: GptConfig,
        head: HeadConfig,
        *,
        frame: ForeignFrame | None = None,
    ) -> None:
        """Draws weights.

        Args:
            config: the encoder's shape.
            head: the output layer. Its `extract_id` ends every input: `[MASK]`, of which a GPT has
                no other use. With `both_orders` a pair is read both ways and its states are added,
                as for similarity, where neither text comes first.
            frame: of a model that another program fine-tuned, whose head has no `extract_id`.

        Raises:
            ValueError: both orders of what is no pair.
        """
        super().__init__()
        if head.both_orders and head.level != "text":
            raise ValueError(f"both_orders is for pairs of texts, not for level {head.level}")
        self.config = config
        self.head = head
        self.frame = frame
        self.gpt = Gpt(config)
        self.dropout = Dropout(config.resid_pdrop)
        width = config.n_embd
        # No bias, as in equation 3 and in `transformers`.
        self.classifier: OutputLinear | None = None
        if head.level != "span":
            self.classifier = output_layer(width, head.outputs, number=head.is_number, bias=False)
        self.span = OutputLinear(width, 2) if head.level == "span" else None
        self.class_weights: Tensor | None = None
        """As `BertForTask.class_weights`."""
        initialize(self, config.initializer_range, cut=False)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """As `BertForTask.outputs`."""
        packed = self.arranged(batch.packed)
        rows_R = self._rows(packed, batch)
        return self._scores(self.gpt(packed, rows_R), packed)

    @property
    def number_layer(self) -> NumberLinear | None:
        """As `BertForTask.number_layer`; a GPT's has no bias."""
        return self.classifier if isinstance(self.classifier, NumberLinear) else None

    def losses(self, batch: TaskBatch) -> dict[str, Tensor]:
        """The sum of the losses of a batch's predictions, by the keys of `batch.counts`.

        With the language model's over the same input as auxiliary objective (equation 5). As in
        OpenAI's code it is a mean over the tokens of each input, so that no input's share depends
        on its neighbours; each prediction of the task brings `LANGUAGE_WEIGHT` of its input's. What
        the loop makes of it is the task's mean and `LANGUAGE_WEIGHT` times that of the language
        model, whatever the micro-batches.
        """
        packed = self.arranged(batch.packed)
        hidden_TD: Tensor = self.gpt(packed)
        rows_R = self._rows(packed, batch)
        scores = self._scores(hidden_TD if rows_R is None else hidden_TD[rows_R], packed)
        loss = task_loss(self.head, scores, batch, self.class_weights)
        shares_B = LANGUAGE_WEIGHT * self._predictions(packed, batch)
        return {"task": loss + self._language_loss(hidden_TD, packed, shares_B)}

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its shape."""
        known = None if self.head.both_orders else GPT_ARCHITECTURES.get(self.head.level)
        architecture = {"architectures": [known or "OpenAIGPTModel"]}
        own_keys = {} if self.frame is not None else self.head.keys
        return architecture | own_keys | label_keys(self.head)

    def arranged(self, packed: Packed) -> Packed:
        """The inputs as GPT reads them; with both orders [2B], the other way round in the end."""
        if self.frame is not None:
            return self.frame.around(packed)
        assert self.head.extract_id is not None
        ids_T = packed.ids_T.index_fill(0, packed.lasts_B, self.head.extract_id)
        arranged = replace(packed, ids_T=ids_T)
        if not self.head.both_orders:
            return arranged
        return Packed(
            ids_T=torch.cat([arranged.ids_T, _other_way_round(arranged)]),
            segments_T=torch.zeros_like(packed.segments_T).repeat(2),
            positions_T=packed.positions_T.repeat(2),
            starts=torch.cat([packed.starts, packed.starts[1:] + len(packed.ids_T)]),
            longest=packed.longest,
        )

    def _rows(self, packed: Packed, batch: TaskBatch) -> Tensor | None:
        """Indices into T of the states that answers are read from; None for all."""
        if self.head.level == "span":
            return None
        if self.head.level == "token":
            return batch.ends_P
        return packed.lasts_B

    def _scores(self, hidden_RD: Tensor, packed: Packed) -> Tensor:
        if self.span is not None:
            answers_T2: Tensor = self.span(hidden_RD)
            return answers_T2.index_copy(0, packed.firsts_B, answers_T2[packed.lasts_B])
        assert self.classifier is not None
        if self.head.both_orders:
            hidden_RD = torch.add(*hidden_RD.chunk(2))
        scores: Tensor = self.classifier(self.dropout(hidden_RD))
        return scores

    def _predictions(self, packed: Packed, batch: TaskBatch) -> Tensor:
        """How many predictions of the task are made from each input, [B] or, both ways, [2B]."""
        if self.head.level == "token":
            assert batch.words_P is not None
            counts_B = torch.bincount(_rows_of(packed, batch.words_P), minlength=packed.sequences)
            return counts_B.float()
        inputs = batch.group * (2 if self.head.both_orders else 1)
        return torch.full((packed.sequences,), 1 / inputs, device=packed.ids_T.device)

    def _language_loss(self, hidden_TD: Tensor, packed: Packed, shares_B: Tensor) -> Tensor:
        """Sum over inputs of their share times their mean negative log-likelihood per token."""
        followed_R = LanguageBatch(packed, backward=False).followed_R
        counts_B = packed.starts.diff() - 1
        shares_R = (shares_B / counts_B).repeat_interleave(counts_B, output_size=len(followed_R))
        labels_R = packed.ids_T[followed_R + 1]
        word_VD = self.gpt.embeddings.word.weight
        return projected_cross_entropy(hidden_TD[followed_R], word_VD, None, labels_R, shares_R)


def _other_way_round(packed: Packed) -> Tensor:
    """ids_T with the texts of every pair exchanged: start, b, delimiter, a, extract."""
    size = len(packed.ids_T)
    lengths_B = packed.starts.diff().to(torch.int64)
    rows_T = torch.arange(packed.sequences, device=lengths_B.device).repeat_interleave(
        lengths_B, output_size=size
    )
    # Tokens of b and the one behind it.
    seconds_B = torch.zeros_like(lengths_B).index_add_(0, rows_T, packed.segments_T)
    lengths_T, seconds_T, places_T = lengths_B[rows_T], seconds_B[rows_T], packed.positions_T
    delimiter_T = lengths_T - seconds_T - 1
    moved_T = torch.where(places_T < delimiter_T, places_T + seconds_T, places_T - delimiter_T)
    moved_T = torch.where(places_T == delimiter_T, seconds_T, moved_T)
    ends_T = (places_T == 0) | (places_T == lengths_T - 1)
    moved_T = torch.where(ends_T, places_T, moved_T)
    target_T = packed.firsts_B[rows_T] + moved_T
    return torch.empty_like(packed.ids_T).index_copy_(0, target_T, packed.ids_T)


def _rows_of(packed: Packed, places_P: Tensor) -> Tensor:
    """The sequences that tokens are in."""
    return torch.searchsorted(packed.starts[1:].to(torch.int64), places_P, right=True)


def gpt_for_task(
    config: GptConfig, head: HeadConfig, pieces: object, frame: ForeignFrame | None
) -> GptForTask:
    """The model with fresh weights, without what only other families have in an output layer.

    Raises:
        UsageError: the head asks for what only a BERT or an ELMo has.
    """
    refuse_bert_only(head)
    refuse_elmo_only(head)
    both = head.both_orders and head.level == "text"
    own = msgspec.structs.replace(head, both_orders=both, paired=False)
    return GptForTask(config, own, frame=frame)


def check_gpt_task(config: GptConfig, head: HeadConfig, source: HeadSource) -> ForeignFrame | None:
    """The frame of a GPT that another program fine-tuned; None for our own.

    Raises:
        FolderError: it is not known how the model's inputs are put together.
    """
    if source.own or source.special_ids is None:
        if head.extract_id is None:
            raise FolderError(
                f"{source.name}, {OWN_TASK}: extract_id, the last token of a fine-tuned GPT's "
                "inputs, is missing; restore the file from a good copy."
            )
        if not 0 <= head.extract_id < config.vocab_size:
            raise FolderError(
                f"{source.name}, {OWN_TASK}: extract_id is {head.extract_id}, but the vocabulary "
                f"has {config.vocab_size} pieces; restore the file from a good copy."
            )
        return None
    before, after = source.special_ids()
    known = all(0 <= token < config.vocab_size for token in before + after)
    if max(len(before), len(after)) > 1 or not known:
        raise FolderError(
            f"{source.name}: its tokenizer puts the tokens {before} before a text and {after} "
            "after it, expected at most one token of the vocabulary on each side. Run `bertsmith "
            "finetune` with this model."
        )
    return ForeignFrame(next(iter(before), None), next(iter(after), None))
