"""BERT as an ONNX graph: padded inputs in, what its heads say out (paper, figures 1, 2 and 4).

Inputs are `graph.INPUTS`; padding has the mask 0 and comes after the tokens. Outputs have the names
that `transformers` and its exporters give them:

- a text or a choice: `logits` [B, C]; words: `logits` [B, L, C], at every token;
- a span: `start_logits` and `end_logits` [B, L];
- masked words: `logits` [B, L, V]; the next sentence: `logits` [B, 2]; of a model with both
  `prediction_logits` and `seq_relationship_logits`;
- vectors: `last_hidden_state` [B, L, D] and `sentence_embedding` [B, D], pooled.
"""

from collections.abc import Sequence

import torch
from torch import nn

from bertsmith.models.bert.heads import BertForNextSentence, BertForPretraining, Pooler
from bertsmith.models.bert.model import Bert
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.models.head_config import chosen_layers
from bertsmith.models.modules.graph import Graph, Output, Vectors
from bertsmith.models.modules.layers import Block
from bertsmith.models.modules.linear import NumberLinear

_HIDDEN = -10000.0
"""Added to the scores of what a token must not see, of which the softmax makes 0."""


def bert_graph(
    model: BertForTask | BertForPretraining | BertForNextSentence | Bert, vectors: Vectors | None
) -> bytes:
    """A model as an ONNX file.

    Args:
        model: any BERT; of an encoder alone vectors come.
        vectors: leave the heads out and pool the encoder's states so.

    Raises:
        MissingExtra: `onnx` is not installed.
        UsageError: the model has no such layer.
    """
    writer = _Writer(model if isinstance(model, Bert) else model.bert)
    if vectors is not None or isinstance(model, Bert):
        return writer.vectors(vectors or Vectors())
    if isinstance(model, BertForTask):
        return writer.task(model)
    return writer.pretraining(model)


class _Writer:
    """A graph with the encoder in it."""

    def __init__(self, bert: Bert) -> None:
        self.bert, self.graph = bert, Graph()

    # --- heads ----------------------------------------------------------------------------------

    def vectors(self, wanted: Vectors) -> bytes:
        """The graph whose outputs are hidden states, and vectors pooled from them."""
        graph, width = self.graph, self.bert.config.hidden_size
        count = len(self.bert.blocks) + 1
        chosen = chosen_layers(wanted.layers, count=count, parameter="layers")
        states = self._layers()
        hidden_BLD = states[chosen[0]]
        for layer in chosen[1:]:
            hidden_BLD = graph.op("Add", hidden_BLD, states[layer])
        if len(chosen) > 1:
            hidden_BLD = graph.op("Div", hidden_BLD, graph.number(len(chosen)))
        if wanted.pooling == "cls":
            pooled_BD = self._at_first(hidden_BLD)
        else:
            real_BL1 = graph.op("Unsqueeze", self._real(), graph.integers(2))
            summed_BD = graph.op(
                "ReduceSum", graph.op("Mul", hidden_BLD, real_BL1), graph.integers(1), keepdims=0
            )
            counts_B1 = graph.op("ReduceSum", real_BL1, graph.integers(1), keepdims=0)
            pooled_BD = graph.op("Div", summed_BD, counts_B1)
        graph.output("last_hidden_state", hidden_BLD)
        graph.output("sentence_embedding", pooled_BD)
        return graph.finish(
            [
                Output("last_hidden_state", ("batch", "sequence", width)),
                Output("sentence_embedding", ("batch", width)),
            ]
        )

    def pretraining(self, model: BertForPretraining | BertForNextSentence) -> bytes:
        """The graph of the heads of pre-training that the model has."""
        graph, config = self.graph, model.config
        words = model if isinstance(model, BertForPretraining) else None
        pairs = model.pooler is not None and model.next_sentence is not None
        hidden_BLD = self._layers(first_only=words is None)[-1]
        outputs = []
        if words is not None:
            with graph.part("mlm"):
                dense = graph.activation(
                    graph.linear(hidden_BLD, words.mlm.dense), config.hidden_act
                )
                transformed_BLD = graph.norm(dense, words.mlm.norm)
                words_DV = graph.weight(words.output_words.mT, "words")
                logits_BLV = graph.op("MatMul", transformed_BLD, words_DV)
                logits_BLV = graph.op("Add", logits_BLV, graph.weight(words.mlm.bias_V, "bias"))
            name = "prediction_logits" if pairs else "logits"
            graph.output(name, logits_BLV)
            outputs.append(Output(name, ("batch", "sequence", config.vocab_size)))
        if model.pooler is not None and model.next_sentence is not None:
            pooled_BD = self._pooled(self._at_first(hidden_BLD), model.pooler)
            name = "logits" if words is None else "seq_relationship_logits"
            graph.output(name, graph.linear(pooled_BD, model.next_sentence))
            outputs.append(Output(name, ("batch", 2)))
        return graph.finish(outputs)

    def task(self, model: BertForTask) -> bytes:
        """The graph of a fine-tuned model."""
        graph, head = self.graph, model.head
        if model.pooler is not None:
            state_BD = self._pooled(self._text_state(model), model.pooler)
            logits_BC = self._output_layer(state_BD, model.classifier)
            graph.output("logits", logits_BC)
            return graph.finish([Output("logits", ("batch", head.outputs), exact=head.is_number)])
        states_BLD = self._token_states(model)
        if model.span is not None:
            with graph.part("span"):
                logits_BL2 = graph.linear(states_BLD, model.span)
            names = ("start_logits", "end_logits")
            for number, name in enumerate(names):
                graph.output(name, graph.op("Gather", logits_BL2, graph.integer(number), axis=2))
            return graph.finish([Output(name, ("batch", "sequence")) for name in names])
        logits_BLC = self._output_layer(states_BLD, model.classifier)
        graph.output("logits", logits_BLC)
        return graph.finish([Output("logits", ("batch", "sequence", head.outputs))])

    def _output_layer(self, states: str, layer: nn.Linear | None) -> str:
        """Scores; of a regression in float64, as its bias may be large."""
        assert layer is not None
        graph = self.graph
        with graph.part("classifier"):
            if not isinstance(layer, NumberLinear):
                return graph.linear(states, layer)
            product = graph.op("MatMul", states, graph.weight(layer.weight.mT, "weight"))
            number = graph.op("Cast", product, to=_FLOAT64)
            if layer.bias is None:
                return number
            bias = graph.op("Cast", graph.weight(layer.bias, "bias"), to=_FLOAT64)
            return graph.op("Add", number, bias)

    def _token_states(self, model: BertForTask) -> str:
        """What the output layer sees of each token, [B, L, D]."""
        if model.bilstm is not None:
            return self._lstm(self._layers()[-1], model.bilstm.lstm)
        if model.features is None:
            return self._layers()[-1]
        graph, states = self.graph, self._layers()
        chosen = [states[layer] for layer in model.features.chosen]
        if model.features.mix is None:
            return self._lstm(graph.op("Concat", *chosen, axis=-1), model.features.lstm)
        weights = model.features.mix.softmax(0).tolist()
        parts = [
            graph.op("Mul", state, graph.number(weight))
            for state, weight in zip(chosen, weights, strict=True)
        ]
        return self._lstm(graph.op("Sum", *parts), model.features.lstm)

    def _text_state(self, model: BertForTask) -> str:
        """The state that stands for each sequence, [B, D], as `BertForTask` pools it."""
        if model.bilstm is None:
            decoder = model.config.is_decoder
            hidden_BLD = self._layers(first_only=not decoder)[-1]
            return self._at_last(hidden_BLD) if decoder else self._at_first(hidden_BLD)
        states_BLW, half = self._token_states(model), model.bilstm.lstm.hidden_size
        before_BH = self._cut(self._at_last(states_BLW), 0, half, axis=1)
        after_BH = self._cut(self._at_first(states_BLW), half, 2 * half, axis=1)
        return self.graph.op("Concat", before_BH, after_BH, axis=-1)

    def _pooled(self, state_BD: str, pooler: Pooler) -> str:
        """[B, D] -> [B, D]."""
        with self.graph.part("pooler"):
            return self.graph.op("Tanh", self.graph.linear(state_BD, pooler.dense))

    # --- the encoder ----------------------------------------------------------------------------

    def _layers(self, *, first_only: bool = False) -> list[str]:
        """The embeddings and the hidden states of each layer, [B, L, D].

        With `first_only` the last layer is computed for the first token alone, [B, 1, D].
        """
        bias = self._attention_bias()
        states = [self._embeddings()]
        for number, block in enumerate(self.bert.blocks):
            assert isinstance(block, Block)
            last = first_only and number == len(self.bert.blocks) - 1
            with self.graph.part(f"layer.{number}"):
                states.append(self._block(states[-1], block, bias, first_only=last))
        return states

    def _embeddings(self) -> str:
        """[B, L, D]."""
        graph, embeddings = self.graph, self.bert.embeddings
        with graph.part("embeddings"):
            length = graph.op("Gather", graph.op("Shape", "input_ids"), graph.integers(1), axis=0)
            zero = graph.integers(0)
            positions_PD = graph.weight(embeddings.position.weight, "positions")
            positions_LD = graph.op("Slice", positions_PD, zero, length, zero)
            words = graph.weight(embeddings.word.weight, "words")
            segments = graph.weight(embeddings.segment.weight, "segments")
            summed = graph.op(
                "Add",
                graph.op("Gather", words, "input_ids"),
                graph.op("Gather", segments, "token_type_ids"),
            )
            return graph.norm(graph.op("Add", summed, positions_LD), embeddings.norm)

    def _block(self, hidden_BLD: str, block: Block, bias: str, *, first_only: bool) -> str:
        graph = self.graph
        asked = self._cut(hidden_BLD, 0, 1, axis=1) if first_only else hidden_BLD
        with graph.part("attention"):
            attended = self._attention(hidden_BLD, asked, block, bias)
            summed = graph.op("Add", attended, asked)
            normed = graph.norm(summed, block.attention_norm)
        with graph.part("feed_forward"):
            layers = block.feed_forward
            inner = graph.activation(graph.linear(normed, layers.inner), layers.activation)
            summed = graph.op("Add", graph.linear(inner, layers.output), normed)
            return graph.norm(summed, block.feed_forward_norm)

    def _attention(self, hidden_BLD: str, asked: str, block: Block, bias: str) -> str:
        """Of the tokens `asked` to all of `hidden_BLD`, through the output layer."""
        graph, attention = self.graph, block.attention
        width = attention.output.in_features
        split = graph.integers(0, 0, attention.heads, width // attention.heads)

        # Three products, not one: runtimes know the pattern.
        def projected(name: str, x: str, number: int, order: Sequence[int]) -> str:
            with graph.part(name):
                rows = slice(number * width, (number + 1) * width)
                by_head = graph.op("Reshape", graph.linear(x, attention.qkv, rows=rows), split)
                return graph.op("Transpose", by_head, perm=list(order))

        queries = projected("query", asked, 0, (0, 2, 1, 3))
        keys = projected("key", hidden_BLD, 1, (0, 2, 3, 1))
        values = projected("value", hidden_BLD, 2, (0, 2, 1, 3))
        scale = graph.number((width / attention.heads) ** 0.5)
        scores = graph.op("Div", graph.op("MatMul", queries, keys), scale)
        weights = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", weights, values), perm=[0, 2, 1, 3])
        joined = graph.op("Reshape", mixed, graph.integers(0, 0, width))
        with graph.part("output"):
            return graph.linear(joined, attention.output)

    def _attention_bias(self) -> str:
        """What is added to the scores, [B, 1, 1, L], or [B, 1, L, L] of a decoder."""
        graph = self.graph
        with graph.part("mask"):
            seen = graph.op("Unsqueeze", self._real(), graph.integers(1, 2))
            bias = graph.op("Mul", graph.op("Sub", graph.number(1.0), seen), graph.number(_HIDDEN))
            if not self.bert.config.is_decoder:
                return bias
            length = graph.op("Gather", graph.op("Shape", "input_ids"), graph.integers(1), axis=0)
            square = graph.op("Concat", length, length, axis=0)
            later = graph.op(
                "Trilu",
                graph.op("Expand", graph.number(_HIDDEN), square),
                graph.integer(1),
                upper=1,
            )
            return graph.op("Add", bias, later)

    # --- small parts ----------------------------------------------------------------------------

    def _real(self) -> str:
        """1 for tokens, 0 for padding, float32 [B, L]."""
        return self.graph.op("Cast", "attention_mask", to=_FLOAT32)

    def _lengths(self) -> str:
        """Tokens of each sequence, int64 [B]."""
        return self.graph.op("ReduceSum", "attention_mask", self.graph.integers(1), keepdims=0)

    def _at_first(self, hidden_BLD: str) -> str:
        """The state of the first token of each sequence, [B, D]."""
        return self.graph.op("Gather", hidden_BLD, self.graph.integer(0), axis=1)

    def _at_last(self, hidden_BLD: str) -> str:
        """The state of the last token of each sequence, [B, D]."""
        graph = self.graph
        last_B = graph.op("Sub", self._lengths(), graph.integer(1))
        place_B1 = graph.op("Unsqueeze", last_B, graph.integers(1))
        return graph.op("GatherND", hidden_BLD, place_B1, batch_dims=1)

    def _cut(self, x: str, start: int, end: int, *, axis: int) -> str:
        graph = self.graph
        return graph.op(
            "Slice", x, graph.integers(start), graph.integers(end), graph.integers(axis)
        )

    def _lstm(self, states_BLD: str, lstm: nn.LSTM) -> str:
        """A bidirectional LSTM over the tokens of each sequence, [B, L, W].

        The way back is a second LSTM over the reversed tokens: OpenVINO does not keep to the
        lengths of an operation that runs both ways.
        """
        graph = self.graph
        lengths_B = self._lengths()

        def reversed_tokens(x_LBD: str) -> str:
            return graph.op("ReverseSequence", x_LBD, lengths_B, batch_axis=1, time_axis=0)

        x_LBD = graph.op("Transpose", states_BLD, perm=[1, 0, 2])
        for layer in range(lstm.num_layers):
            with graph.part(f"lstm.{layer}"):
                there = self._one_way(x_LBD, lstm, f"l{layer}")
                back = self._one_way(reversed_tokens(x_LBD), lstm, f"l{layer}_reverse")
                x_LBD = graph.op("Concat", there, reversed_tokens(back), axis=-1)
        return graph.op("Transpose", x_LBD, perm=[1, 0, 2])

    def _one_way(self, x_LBD: str, lstm: nn.LSTM, which: str) -> str:
        """[L, B, D] -> [L, B, H]."""
        graph = self.graph

        def parameter(*kinds: str) -> str:
            # ONNX has the gates in the order i, o, f, c, and both biases in one.
            parts = []
            for kind in kinds:
                in_gate, forget, cell, out = getattr(lstm, f"{kind}_{which}").chunk(4)
                parts.append(torch.cat([in_gate, out, forget, cell]))
            return graph.weight(torch.cat(parts)[None], kinds[0])

        parameters = parameter("weight_ih"), parameter("weight_hh"), parameter("bias_ih", "bias_hh")
        y_L1BH = graph.op("LSTM", x_LBD, *parameters, hidden_size=lstm.hidden_size)
        return graph.op("Squeeze", y_L1BH, graph.integers(1))


# Numbers of data types in ONNX.
_FLOAT32, _FLOAT64 = 1, 11
