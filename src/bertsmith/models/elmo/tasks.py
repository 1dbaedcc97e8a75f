"""ELMo under a task's own small network (paper, section 3.2), with the calls of `BertForTask`.

The layers are mixed by learned weights, and a BiLSTM reads the mix. What comes after it:

- A text: its states' maximum and mean, a layer, the output.
- A pair of texts or a choice: each text attends to the other, and what it finds is compared by
  differences and products (ESIM, Chen et al. 2017, without its second BiLSTM); the rest is as for
  one text.
- A word: its first piece to tags; no CRF.
- A span: question and context attend to each other (BiDAF, Seo et al. 2017), and a second BiLSTM
  over the context gives start and end; those of `[CLS]` say that there is no answer.

Pairs come as one input and are taken apart here, because ELMo was trained on single texts: each is
read between `[CLS]` and `[SEP]`.

Shapes beside those of `packed.py`: S tokens of the texts taken apart; K tokens of the longest first
text and Q of the longest second; D is 2P, the width of ELMo's layers and of the BiLSTMs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn

from bertsmith.models.bert.tasks import POOLED, BiLstm, TaskBatch, label_keys, task_loss
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo, ScalarMix
from bertsmith.models.head_config import HeadConfig, refuse_bert_only
from bertsmith.models.modules.dropout import Dropout
from bertsmith.models.modules.initialization import initialize
from bertsmith.models.modules.linear import Linear, NumberLinear, output_layer
from bertsmith.models.modules.packed import Packed

_NEVER = -1e4
"""Score of a token that is neither `[CLS]` nor the context's: a probability of exactly 0."""


class Padded(NamedTuple):
    """The states of texts of one batch, each from its first token on."""

    states_BLD: Tensor
    real_BL: Tensor
    """bool: whether there is a token."""


class PairAttention(nn.Module):
    """Each text's tokens beside what they find in the other text (ESIM, sections 3.2 and 3.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.compare = Linear(4 * width, width)

    def forward(self, first: Padded, second: Padded) -> tuple[Padded, Padded]:
        """The same texts, D wide as before."""
        scores_BKQ = first.states_BLD @ second.states_BLD.mT
        return (
            self._beside(first, attend(scores_BKQ, second)),
            self._beside(second, attend(scores_BKQ.mT, first)),
        )

    def _beside(self, text: Padded, found_BLD: Tensor) -> Padded:
        own_BLD = text.states_BLD
        both = [own_BLD, found_BLD, own_BLD - found_BLD, own_BLD * found_BLD]
        return text._replace(states_BLD=torch.relu(self.compare(torch.cat(both, -1))))


class QuestionAttention(nn.Module):
    """The context beside what it finds in the question, and what the question finds in it.

    BiDAF, section 2, "Attention Flow Layer".
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.similarity = Linear(3 * width, 1, bias=False)

    def forward(self, context: Padded, question: Padded) -> Tensor:
        """[B, K, 4D] of the context."""
        context_BKD, question_BQD = context.states_BLD, question.states_BLD
        own_D, other_D, product_D = self.similarity.weight[0].chunk(3)
        scores_BKQ = (context_BKD * product_D) @ question_BQD.mT
        scores_BKQ = scores_BKQ + (context_BKD @ own_D)[:, :, None]
        scores_BKQ = scores_BKQ + (question_BQD @ other_D)[:, None]
        found_BKD = attend(scores_BKQ, question)
        # The context's tokens that some token of the question is most like.
        best_BK = scores_BKQ.masked_fill(~question.real_BL[:, None], -torch.inf).amax(-1)
        asked_B1D = attend(best_BK[:, None], context)
        parts = [context_BKD, found_BKD, context_BKD * found_BKD, context_BKD * asked_B1D]
        return torch.cat(parts, -1)


class ElmoForTask(nn.Module):
    """An ELMo and the network of one kind of task."""

    def __init__(
        self,
        config: ElmoConfig,
        pieces: Sequence[str],
        head: HeadConfig,
    ) -> None:
        """Draws weights as PyTorch does, and those of the output as BERT's.

        Args:
            config: the shape of the ELMo.
            pieces: the vocabulary, by id.
            head: the output layer; `frozen` keeps ELMo as it is, `paired` says of texts that they
                are pairs (of other levels it is known).
        """
        super().__init__()
        self.config = config
        level = head.level
        paired = level in ("choice", "span") or (head.paired and level != "token")
        self.head = msgspec.structs.replace(head, paired=paired)
        self.elmo = Elmo(config, pieces).requires_grad_(not head.frozen)
        width = config.hidden_size
        self.mix = ScalarMix(config.lstm_layers + 1)
        self.reader = BiLstm(width, width)
        self.pair = PairAttention(width) if paired and level != "span" else None
        self.question = QuestionAttention(width) if level == "span" else None
        self.spans = BiLstm(4 * width, width) if level == "span" else None
        pooled_width = width * (4 if paired else 2)
        self.hidden = Linear(pooled_width, width) if level in POOLED else None
        self.dropout = Dropout(config.dropout)
        self.output = output_layer(width, head.outputs, number=head.is_number)
        initialize(self.output, config.initializer_range)
        self.class_weights: Tensor | None = None
        """As `BertForTask.class_weights`."""

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder drops nothing while the network above it is trained."""
        super().train(mode)
        if self.head.frozen:
            self.elmo.eval()
        return self

    def outputs(self, batch: TaskBatch) -> Tensor:
        """As `BertForTask.outputs`."""
        if self.head.level == "span":
            return self._spans(batch.packed)
        if self.head.level == "token":
            assert batch.words_P is not None
            rows = self.read(batch.packed)[batch.words_P]
        else:
            assert self.hidden is not None
            rows = torch.tanh(self.hidden(self.dropout(self._pooled(batch.packed))))
        scores: Tensor = self.output(self.dropout(rows))
        return scores

    @property
    def number_layer(self) -> NumberLinear | None:
        """As `BertForTask.number_layer`."""
        return self.output if isinstance(self.output, NumberLinear) else None

    def losses(self, batch: TaskBatch) -> dict[str, Tensor]:
        """The sum of the losses of a batch's predictions, by the keys of `batch.counts`."""
        return {"task": task_loss(self.head, self.outputs(batch), batch, self.class_weights)}

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its shape; no class of `transformers`."""
        return self.head.keys | label_keys(self.head)

    def read(self, packed: Packed) -> Tensor:
        """The states of the first BiLSTM, [T, D]."""
        with torch.set_grad_enabled(not self.head.frozen and torch.is_grad_enabled()):
            layers = list(self.elmo.layers(packed))
        states_TD: Tensor = self.reader(self.dropout(self.mix(layers)), packed.lengths)
        return states_TD

    def _pooled(self, packed: Packed) -> Tensor:
        """[B, 2D] of single texts, [B, 4D] of pairs."""
        if self.pair is None:
            return pooled(padded(self.read(packed), packed))
        texts, _ = taken_apart(packed)
        both = self.pair(*halves(padded(self.read(texts), texts)))
        return torch.cat([pooled(text) for text in both], -1)

    def _spans(self, packed: Packed) -> Tensor:
        assert self.question is not None
        assert self.spans is not None
        texts, places_S = taken_apart(packed)
        question, context = halves(padded(self.read(texts), texts))
        beside_BKD = self.question(context, question)
        lengths = texts.lengths[packed.sequences :]
        states_SD = self.dropout(self.spans(beside_BKD[context.real_BL], lengths))
        scores_S2: Tensor = self.output(states_SD)
        places_S = places_S[-len(scores_S2) :]
        # The [SEP] after the context is no part of it.
        inside_S = ~torch.isin(places_S, packed.starts[1:] - 1)
        never_T2 = scores_S2.new_full((len(packed.ids_T), 2), _NEVER)
        return never_T2.index_put((places_S[inside_S],), scores_S2[inside_S])


def taken_apart(packed: Packed) -> tuple[Packed, Tensor]:
    """All first texts, then all second ones, as sequences of their own: `[CLS] text [SEP]` each.

    Args:
        packed: `[CLS] a [SEP] b [SEP]` each, of segments 0 and 1.

    Returns:
        2B sequences, and where in T their tokens come from, int64 [S].
    """
    pairs = packed.sequences
    rows_B = torch.arange(pairs, device=packed.ids_T.device)
    counts_B = packed.starts.diff().to(torch.int64)
    rows_T = torch.repeat_interleave(rows_B, counts_B, output_size=len(packed.ids_T))
    is_second_T = packed.segments_T == 1
    first_S, second_S = (~is_second_T).nonzero()[:, 0], is_second_T.nonzero()[:, 0]
    # A second text has no [CLS] of its own: it gets that of the pair.
    second_S = torch.cat([packed.firsts_B, second_S])
    second_S = second_S[torch.argsort(rows_T[second_S], stable=True)]
    places_S = torch.cat([first_S, second_S])
    text_S = torch.cat([rows_T[first_S], rows_T[second_S] + pairs])
    lengths = torch.bincount(text_S, minlength=2 * pairs)
    ends = lengths.cumsum(0)
    texts = Packed(
        ids_T=packed.ids_T[places_S],
        segments_T=torch.zeros_like(places_S),
        positions_T=torch.arange(len(places_S), device=ends.device) - (ends - lengths)[text_S],
        starts=torch.cat([ends.new_zeros(1), ends]).to(torch.int32),
        longest=int(lengths.max()),
    )
    return texts, places_S


def padded(states_TD: Tensor, packed: Packed) -> Padded:
    """Packed states as [B, L, D], with zeros where there is no token."""
    lengths_B = packed.starts.diff()
    real_BL = torch.arange(packed.longest, device=lengths_B.device) < lengths_B[:, None]
    blank_BLD = states_TD.new_zeros(*real_BL.shape, states_TD.shape[-1])
    # Both go sequence by sequence, token by token.
    return Padded(blank_BLD.index_put((real_BL,), states_TD), real_BL)


def halves(texts: Padded) -> tuple[Padded, Padded]:
    """The first and the second half of the texts, each as long as its longest."""

    def cut(states_BLD: Tensor, real_BL: Tensor) -> Padded:
        longest = int(real_BL.sum(1).max())
        return Padded(states_BLD[:, :longest], real_BL[:, :longest])

    (first, second), (first_real, second_real) = (part.chunk(2) for part in texts)
    return cut(first, first_real), cut(second, second_real)


def pooled(text: Padded) -> Tensor:
    """Maximum and mean of each text's states, side by side: [B, 2D]."""
    real_BL1 = text.real_BL[:, :, None]
    most_BD = text.states_BLD.masked_fill(~real_BL1, -torch.inf).amax(1)
    mean_BD = (text.states_BLD * real_BL1).sum(1) / real_BL1.sum(1)
    return torch.cat([most_BD, mean_BD], -1)


def attend(scores_BKQ: Tensor, over: Padded) -> Tensor:
    """For each of K the mean of the Q states of `over` by its scores, a softmax: [B, K, D]."""
    scores_BKQ = scores_BKQ.masked_fill(~over.real_BL[:, None], -torch.inf)
    return scores_BKQ.softmax(-1) @ over.states_BLD


def elmo_for_task(
    config: ElmoConfig, head: HeadConfig, pieces: Sequence[str], *_: object
) -> ElmoForTask:
    """The model with fresh weights, without what only other families have in an output layer.

    Raises:
        UsageError: the head asks for features or a BiLSTM, which only a BERT has.
    """
    refuse_bert_only(head)
    return ElmoForTask(
        config, pieces, msgspec.structs.replace(head, extract_id=None, both_orders=False)
    )
