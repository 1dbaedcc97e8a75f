"""A model folder, ready to answer: the one predictor behind commands and API."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from bertsmith.checkpoints.sentence_modules import Pooling
from bertsmith.checkpoints.sources import resolve, root
from bertsmith.core.command_line import command
from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.runtime import Precision
from bertsmith.inference import fill_mask, generation
from bertsmith.inference.arguments import as_text, as_texts, as_whole_number
from bertsmith.inference.backends.backend import BackendName
from bertsmith.inference.backends.torch_backend import Network
from bertsmith.inference.embedding import Embedding, choose, embed
from bertsmith.inference.engine import Progress, Scorer, check_vocabulary
from bertsmith.inference.fill_mask import Filled, WordProbability
from bertsmith.inference.folders import open_folder
from bertsmith.inference.generation import Written
from bertsmith.inference.likelihood import SentenceScore, score_sentences
from bertsmith.models.family import Pretrained, check_segments, generating_model
from bertsmith.models.gpt.tasks import GptForTask
from bertsmith.models.modules.packed import pack
from bertsmith.tasks.examples import Example, Limits
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.registry import kind_named, kind_of, read_task_config
from bertsmith.tasks.task_config import TASK_CONFIG, Columns, TaskConfig
from bertsmith.text import tables
from bertsmith.text.rows import Row
from bertsmith.text.tables import Table
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.tokenizer import Tokenizer

Input = Example | str | tuple[str, ...]
"""What a fine-tuned model is asked: see `Model.predict`."""


class Model:
    """A pre-trained or fine-tuned model, from `bertsmith.load`.

    Each method raises `UsageError` if the model cannot do it.

    Args:
        model: a folder or a name, as `checkpoints.sources.resolve` takes it.
        device: where every method computes: `cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there
            is one.
        precision: `fp32`; `bf16` is faster on hardware that has it and changes answers slightly;
            `auto` is `fp32`.
        backend: what computes predictions, vectors and masks: `torch`, `onnx` (ONNX Runtime) or
            `openvino`; `auto` measures which is the fastest on this CPU, in bf16 too unless
            `precision` is `fp32`; None: torch, and of an exported model the runtime that it was
            exported to.

    Raises:
        FolderError: the folder is damaged, or its tokenizer does not fit its model.
        UsageError: there is no such model or device, the device has no bf16, or the backend cannot
            compute the model.
        MissingExtra: the backend is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: Precision = "auto",
        backend: BackendName | Literal["auto"] | None = None,
    ) -> None:
        self.name = os.fspath(model)
        """As the user calls it."""
        self.folder = resolve(self.name)
        opened = open_folder(self.folder, device, precision, backend)
        self.backend, self.place, self._network = opened.backend, opened.place, opened.network
        self._default_embedding: Embedding | None = None
        if opened.export is not None and opened.export.layers is not None:
            assert opened.export.pooling is not None
            self._default_embedding = Embedding(
                pooling=(opened.export.pooling,), layers=opened.export.layers
            )
        self.choice = opened.choice
        """What was measured for the backend `auto`."""
        self.config = self.backend.config
        self.tokenizer = Tokenizer.load(self.folder)
        check_vocabulary(self.name, self.tokenizer, self.config.vocab_size)
        self._embeddings: dict[Any, Embedding] = {}

    @property
    def model(self) -> Network:
        """The model in torch.

        Raises:
            UsageError: it was exported, and its graph is all there is.
        """
        if self._network is None:
            raise UsageError(
                f"{self.name} is an exported model, which answers what it was exported for and "
                "nothing else; give the folder that it was exported from."
            )
        return self._network

    def fill_mask(self, text: str, *, top_k: int = 5, joint: bool = False) -> Filled:
        """The most probable pieces for every `[MASK]` in `text`; see `fill_mask.fill`.

        Raises:
            UsageError: the model has no masked-word head, the text no `[MASK]` or too many tokens,
                or `top_k` is out of range.
        """
        self._check_predicts_words("fill in blanks")
        text, top_k = as_text(text, "text"), as_whole_number(top_k, "top_k")
        return fill_mask.fill(self.backend, self.tokenizer, text, top_k=top_k, joint=joint)

    def word_probability(self, text: str, word: str) -> WordProbability:
        """How probable `word` is at the one `[MASK]` of `text`; see `fill_mask.word_probability`.

        Raises:
            UsageError: the model has no masked-word head, or the text or the word does not fit.
        """
        self._check_predicts_words("fill in blanks")
        text, word = as_text(text, "text"), as_text(word, "word")
        return fill_mask.word_probability(self.backend, self.tokenizer, text, word)

    def next_sentence(self, a: str, b: str) -> float:
        """Probability that `b` follows `a`, by the pre-training head (paper, section 3.1).

        Raises:
            UsageError: the model has no such head, or one segment.
        """
        if not self.backend.judges_pairs:
            raise UsageError(
                f"{self.name} has no next-sentence head: only a BERT that was pre-trained with a "
                "pair task can say whether a sentence follows. Train one with `bertsmith pretrain`."
            )
        check_segments(self.name, self.config)
        a, b = as_text(a, "a"), as_text(b, "b")
        limit = self.config.max_position_embeddings
        built = encode.pair(self.tokenizer, a, b, max_length=limit)
        scores_BC = self.backend.pair_scores(pack([built.ids], [built.segments]))
        return float(scores_BC.float().softmax(-1)[0, 0])

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Written:
        """Continues `prompt`; see `generation.generate` for the settings.

        Raises:
            UsageError: no pre-trained GPT, a text too long, or a setting out of range.
        """
        model = self.pretrained("generate text")
        generating = generating_model(model)
        if generating is None and model.objective == "forward":
            raise UsageError(
                f"{self.name} is a left-to-right BERT, and bertsmith generates text only with a "
                "GPT. The pipeline `text-generation` of transformers can use this folder; "
                "`bertsmith score` says how likely a text is."
            )
        if generating is None:
            raise UsageError(
                f"{self.name} is not a GPT; only a GPT can generate text. "
                f"`{command('pretrain', model='gpt')}` trains one. This model can fill in blanks "
                "(`bertsmith fill`) and say how likely a text is (`bertsmith score`)."
            )
        with self.place.autocast():
            return generation.generate(
                generating,
                self.tokenizer,
                as_text(prompt, "prompt"),
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=seed,
            )

    def log_likelihood(self, texts: Sequence[str]) -> list[SentenceScore]:
        """How likely each text is to a pre-trained model; see `likelihood`.

        Raises:
            UsageError: the model is not pre-trained, a text is empty or too long.
        """
        texts = as_texts(texts, "texts")
        model = self.pretrained("say how likely a text is")
        with self.place.autocast():
            return score_sentences(model, self.tokenizer, texts)

    def embed(
        self,
        texts: Sequence[str],
        *,
        pooling: Pooling | None = None,
        layers: Sequence[int] | None = None,
        prompt: str | None = None,
        normalize: bool = False,
        batch_size: int | None = None,
    ) -> NDArray[np.float32]:
        """A vector for each text, [N, D], as a folder of sentence-transformers says, else the mean.

        Args:
            texts: any.
            pooling: `mean`, `cls` or another of `Pooling`: pool the model's own states.
            layers: to average: 0 the embeddings, 1 the first; negative from the last, -1.
            prompt: name of a prompt of the folder, empty for none; None: the folder's default.
            normalize: scale each vector to length 1.
            batch_size: most texts at once; None: as many as the device computes well.

        Raises:
            UsageError, FolderError: as `embedding.choose`.
        """
        texts = as_texts(texts, "texts")
        how = self.embedding(pooling=pooling, layers=layers, prompt=prompt)
        return embed(self.backend, self.tokenizer, texts, how, normalize, batch_size)

    def embedding(
        self,
        *,
        pooling: Pooling | None = None,
        layers: Sequence[int] | None = None,
        prompt: str | None = None,
    ) -> Embedding:
        """How `embed` makes a vector of a text; see `embedding.choose`.

        Raises:
            UsageError, FolderError: as `embedding.choose`.
        """
        key = (pooling, None if layers is None else tuple(layers), prompt)
        if key not in self._embeddings:
            self._embeddings[key] = choose(
                root(self.name), self.config, *key, self._default_embedding
            )
        return self._embeddings[key]

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, inputs: Input, *, batch_size: int | None = None, progress: Progress | None = None
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        inputs: Sequence[Input] | Table,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> list[Prediction]: ...

    def predict(
        self,
        inputs: Input | Sequence[Input] | Table,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Prediction | list[Prediction]:
        """The answer of a fine-tuned model: one for one input, a list for many, in order.

        Args:
            inputs: a text (a tagger cuts it into words), a pair of texts, a question with its
                context, or an example of the class that the model's kind has (see `tasks.task`);
                a list of these; or a table (see `text.tables`) with the columns of the fine-tuning.
            batch_size: most inputs at once; None: as many as the device computes well.
            progress: told the inputs done and their number.

        Raises:
            UsageError: the model is not fine-tuned, or its kind cannot be asked so.
        """
        if isinstance(inputs, str | tuple | Example):
            [answer] = self.predict([inputs], batch_size=batch_size, progress=progress)
            return answer
        examples = self._examples(inputs)
        return self.scorer.predict(
            examples, self.task_config, progress=progress, batch_size=batch_size
        )

    def _examples(self, inputs: Sequence[Input] | Table) -> list[Example]:
        if not isinstance(inputs, Iterable) and not tables.is_table(inputs):
            raise UsageError(
                f"{option('inputs')} is {inputs!r:.40}; expected a text, a list of inputs, or a "
                "table."
            )
        if not tables.is_table(inputs) or (
            isinstance(inputs, Sequence) and not (inputs and isinstance(inputs[0], Mapping))
        ):
            return [self._example(item, number) for number, item in enumerate(inputs)]
        kind, columns = kind_named(self.task_config.kind), self.task_config.columns or Columns()
        return [
            kind.parse(Row(values, f"row {number}"), str(number), columns, labelled=False)
            for number, values in enumerate(tables.rows_of(inputs, "inputs"))
        ]

    def _example(self, item: Input, number: int) -> Example:
        if isinstance(item, Example):
            return item
        kind, where = kind_named(self.task_config.kind), f"input {number}"
        found = kind.example(item, where, number)
        if found is None:
            raise UsageError(
                f"{where}: a model of kind '{kind.name}' cannot be asked {item!r:.60}; give "
                f"{kind.asked}."
            )
        return found

    def pretrained(self, what: str) -> Pretrained:
        """The model, where it predicts words; `what` it is needed for, e.g. `fill in blanks`.

        Raises:
            UsageError: it does not.
        """
        self._check_predicts_words(what)
        assert isinstance(self.model, Pretrained)
        return self.model

    def _check_predicts_words(self, what: str) -> None:
        if self.backend.objective is not None:
            return
        raise UsageError(
            f"{self.name} has no head that predicts words, so it cannot {what}; give a pre-trained "
            "model, from `bertsmith pretrain`."
        )

    @property
    def is_tuned(self) -> bool:
        """Whether the model has been fine-tuned on a task."""
        return self.backend.head is not None

    @cached_property
    def task_config(self) -> TaskConfig:
        """How the model takes its inputs; without `task.json` what `config.json` says.

        Raises:
            UsageError: the model is not fine-tuned.
            FolderError: `task.json` is damaged.
        """
        head, max_length = self.backend.head, self.config.max_position_embeddings
        if head is None:
            raise self._not_tuned()
        if (self.folder / TASK_CONFIG).is_file():
            task_config = read_task_config(self.folder / TASK_CONFIG)
            same_kind = kind_named(task_config.kind) is kind_of(head)
            fits = same_kind and task_config.labels == head.labels
            if not fits or task_config.limits.max_length > max_length:
                raise FolderError(
                    f"{self.folder / TASK_CONFIG} does not fit the config.json beside it (kind, "
                    "labels or maximum length); restore both from a good copy, or fine-tune again."
                )
            return task_config
        if isinstance(self._network, GptForTask) and self._network.frame is not None:
            max_length += self._network.frame.missing
        name = kind_of(head).name
        return TaskConfig(
            task=name,
            kind=name,
            labels=head.labels,
            limits=Limits(max_length=max_length, stride=max_length // 2),
        )

    @cached_property
    def scorer(self) -> Scorer:
        """The fine-tuned model, ready for examples.

        Raises:
            UsageError: the model is not fine-tuned.
        """
        if self.backend.head is None:
            raise self._not_tuned()
        # A GPT of another program may have no special tokens; it never sees those of our layout.
        return Scorer(self.backend, self.tokenizer.with_special())

    def _not_tuned(self) -> UsageError:
        return UsageError(
            f"{self.name} has not been fine-tuned on a task; run "
            f"`{command('finetune', 'TASK', model=self.name)} ...` first."
        )
