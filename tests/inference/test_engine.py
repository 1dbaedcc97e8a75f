"""Asking a model: the same answers alone or in company, and those of `transformers`' pipelines."""

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from by_kind import build
from heads import head_of
from torch import nn
from transformers import (
    BertConfig as TheirConfig,
)
from transformers import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    pipeline,
)

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.runtime import World
from bertsmith.inference.backends import torch_backend
from bertsmith.inference.backends.torch_backend import TorchBackend
from bertsmith.inference.engine import Scorer
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.models.head_config import FeatureBased
from bertsmith.tasks.examples import (
    AnswerExample,
    ChoiceExample,
    Example,
    Limits,
    TagExample,
    TextExample,
)
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.kinds.regression import NumberAnswer
from bertsmith.tasks.task_config import TaskConfig
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.training.parallel.place import Place

LETTERS = "abcdefghijklm"
VOCAB = (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"中文。", ".")
TOKENIZER = Tokenizer(VOCAB)
PLACE = Place(World(), torch.device("cpu"), "fp32")
SHAPE = {
    "vocab_size": len(VOCAB),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
}
CLASSES, TAGS = ("no", "yes", "maybe"), ("O", "B-X", "I-X")
LABELS = {"classification": CLASSES, "token-classification": TAGS, "features": TAGS}
CASES = (
    "classification",
    "regression",
    "multiple-choice",
    "token-classification",
    "question-answering",
    "features",
)


def kind_of(case: str) -> str:
    kind: str = "token-classification" if case == "features" else case  # type: ignore[assignment]
    return kind


def new_model(case: str) -> BertForTask:
    # A seed whose answers have margins: see `assert_clear`.
    torch.manual_seed(4)
    features = FeatureBased((-1, -2), width=12) if case == "features" else None
    config = BertConfig(**SHAPE)
    model = BertForTask(
        config, head_of(kind_of(case), labels=LABELS.get(case, ()), features=features)
    )
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model


def scorer_of(case: str) -> Scorer:
    return Scorer(TorchBackend(new_model(case), PLACE), TOKENIZER)


def taught_of(case: str, *, max_length: int = 24) -> TaskConfig:
    return TaskConfig(
        task=case,
        kind=kind_of(case),
        labels=LABELS.get(case, ()),
        limits=Limits(
            max_length, 7, "windows" if case in ("classification", "regression") else "truncate", 4
        ),
        thresholds=(0.0,) if case == "question-answering" else None,
    )


def new_examples(case: str, count: int = 10) -> list[Example]:
    """Of very different lengths, some of them longer than a window."""
    draw = random.Random(3)

    def words(most: int) -> list[str]:
        units = ("a", "bcd", "中", "文", "。", "zz", "efg", "h.")
        return draw.choices(units, k=draw.randint(1, most))

    match case:
        case "classification" | "regression":
            return [
                TextExample("", "", " ".join(words(40)), " ".join(words(4)) if n % 2 else "")
                for n in range(count)
            ]
        case "multiple-choice":
            return [
                ChoiceExample("", "", " ".join(words(9)), (*(" ".join(words(9)) for _ in "123"),))
                for _ in range(count)
            ]
        case "question-answering":
            return [
                AnswerExample("", "", " ".join(words(4)), " ".join(words(40))) for _ in range(count)
            ]
        case _:
            return [TagExample("", "", tuple(words(40)), None, n) for n in range(count)]


def numbers_in(value: object) -> list[float]:
    """Every number of an answer."""
    match value:
        case bool() | str() | None:
            return []
        case int() | float():
            return [float(value)]
        case dict():
            return [number for inner in value.values() for number in numbers_in(inner)]
        case _:
            return [number for inner in value for number in numbers_in(inner)]  # type: ignore


def words_in(value: object) -> list[str]:
    """Everything else."""
    match value:
        case str():
            return [value]
        case dict():
            return [word for inner in value.values() for word in words_in(inner)]
        case list():
            return [word for inner in value for word in words_in(inner)]
        case _:
            return []


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        mine, theirs = msgspec.to_builtins(one), msgspec.to_builtins(other)
        assert words_in(mine) == words_in(theirs)
        assert numbers_in(mine) == pytest.approx(numbers_in(theirs), abs=1e-5)


def assert_clear(scorer: Scorer, task_config: TaskConfig, examples: list[Example]) -> None:
    """Rounding decides no answer: scores that are off by a hundred times as much say the same."""
    features = scorer.features(examples, task_config)
    outputs = scorer.outputs(features)
    answers = [words_in(msgspec.to_builtins(one)) for one in scorer.predict(examples, task_config)]
    draw = np.random.default_rng(0)
    for _ in range(3):
        off = draw.uniform(-1e-4, 1e-4, outputs.shape).astype(np.float32)
        found = kind_named(task_config.kind).decode(features, outputs + off, examples, task_config)
        assert [words_in(msgspec.to_builtins(one)) for one in found] == answers


@pytest.mark.parametrize("case", CASES)
def test_batch_order_and_neighbours_change_no_answer(case, monkeypatch):
    scorer, task_config, examples = scorer_of(case), taught_of(case), new_examples(case)
    assert_clear(scorer, task_config, examples)
    together = scorer.predict(examples, task_config)
    assert len(together) == len(examples)
    # An answer that is always the same would show nothing.
    assert len({msgspec.json.encode(answer) for answer in together}) == len(examples)
    assert_same([scorer.predict([example], task_config)[0] for example in examples], together)
    order = list(range(len(examples)))
    random.Random(1).shuffle(order)
    shuffled = scorer.predict([examples[number] for number in order], task_config)
    assert_same(shuffled, [together[number] for number in order])
    for tokens in (1, 50, 10**6):
        monkeypatch.setitem(torch_backend.TOKENS_AT_ONCE, "cpu", tokens)
        assert_same(scorer.predict(examples, task_config), together)


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_in_the_order_of_the_features(case):
    scorer, task_config = scorer_of(case), taught_of(case)
    features = build(
        task_config.kind, new_examples(case), TOKENIZER, task_config.limits, task_config.labels
    )
    told = []
    outputs = scorer.outputs(features, lambda done, of: told.append((done, of)))
    assert told[-1] == (features.items, features.items)
    wide = {
        "classification": 3,
        "token-classification": 3,
        "features": 3,
        "question-answering": 2,
    }.get(case, 1)
    high = {"token-classification": features.words, "features": features.words}.get(
        case, features.rows
    )
    count = int(features.lengths.sum()) if case == "question-answering" else len(high)
    assert outputs.shape == (count, wide)
    assert outputs.dtype == (np.float64 if task_config.kind == "regression" else np.float32)
    assert not scorer.backend.model.training
    # Asked again, to the same bits.
    assert np.array_equal(outputs, scorer.outputs(features))


def test_nobody_is_asked_nothing():
    assert scorer_of("classification").predict([], taught_of("classification")) == []


def test_numbers_are_kept_within_the_bounds_of_the_task():
    scorer, task_config = scorer_of("regression"), taught_of("regression")
    examples = new_examples("regression")
    free = [answer.value for answer in scorer.predict(examples, task_config)]
    lower, upper = sorted(free)[2], sorted(free)[7]
    bound = msgspec.structs.replace(task_config, bounds=(lower, upper))
    expected = [NumberAnswer(min(max(value, lower), upper)) for value in free]
    assert scorer.predict(examples, bound) == expected


def save(folder: Path, case: str) -> Scorer:
    """Our folder, and a scorer of what is loaded from it as from a stranger's."""
    save_model(folder, new_model(case), TOKENIZER, card="# A model\n")
    return stranger(folder)


def stranger(folder: Path) -> Scorer:
    return Scorer(Model(folder).backend, TOKENIZER)


TEXTS = ["a bcd 中文。", "zz", "efg h. a a b", "中"]


def test_the_text_pipeline_of_transformers_gives_our_labels_and_probabilities(tmp_path):
    scorer = save(tmp_path, "classification")
    task_config = Model(tmp_path).task_config
    assert (task_config.kind, task_config.labels, task_config.limits.max_length) == (
        "classification",
        CLASSES,
        24,
    )
    singles = [TextExample("", "", text) for text in TEXTS]
    pairs = [TextExample("", "", text, "bcd 文") for text in TEXTS]
    assert_clear(scorer, task_config, singles)
    assert_clear(scorer, task_config, pairs)
    ours = scorer.predict(singles, task_config)
    peer = pipeline("text-classification", model=str(tmp_path), device=-1)
    for answer, rows in zip(ours, peer(TEXTS, top_k=None), strict=True):
        assert rows[0]["label"] == answer.label
        theirs = {row["label"]: row["score"] for row in rows}
        assert theirs == pytest.approx(answer.probabilities, abs=1e-5)
    theirs = peer([{"text": text, "text_pair": "bcd 文"} for text in TEXTS])
    for answer, row in zip(scorer.predict(pairs, task_config), theirs, strict=True):
        assert row["label"] == answer.label
        assert row["score"] == pytest.approx(answer.probabilities[answer.label], abs=1e-5)


def test_the_text_pipeline_gives_our_numbers(tmp_path):
    scorer = save(tmp_path, "regression")
    ours = scorer.predict(
        [TextExample("", "", text) for text in TEXTS], Model(tmp_path).task_config
    )
    theirs = pipeline("text-classification", model=str(tmp_path), device=-1)(TEXTS)
    assert [row["label"] for row in theirs] == ["score"] * 4
    values = [answer.value for answer in ours]
    assert [row["score"] for row in theirs] == pytest.approx(values, abs=1e-5)


def test_the_token_pipeline_gives_our_tags_and_probabilities(tmp_path):
    scorer = save(tmp_path, "token-classification")
    words = ("a", "bcd", "中", "文", "efg", "h", ".")
    task_config = Model(tmp_path).task_config
    assert task_config.labels == TAGS
    [answer] = scorer.predict([TagExample("", "", words)], task_config)
    peer = pipeline("token-classification", model=str(tmp_path), device=-1, ignore_labels=[])
    firsts = [row for row in peer(" ".join(words)) if not row["word"].startswith("##")]
    assert_clear(scorer, task_config, [TagExample("", "", words)])
    assert [row["entity"] for row in firsts] == answer.tags
    assert len(set(answer.tags)) > 1
    assert [row["score"] for row in firsts] == pytest.approx(answer.probabilities, abs=1e-5)


def test_models_of_transformers_are_asked_without_a_word_from_us(tmp_path):
    for peer, kind, labels in (
        (BertForSequenceClassification, "classification", ("LABEL_0", "LABEL_1")),
        (BertForTokenClassification, "token-classification", ("LABEL_0", "LABEL_1")),
        (BertForQuestionAnswering, "question-answering", ()),
    ):
        theirs = peer(TheirConfig(**SHAPE)).eval()
        theirs.save_pretrained(tmp_path / kind)
        TOKENIZER.save(tmp_path / kind)
        task_config = Model(tmp_path / kind).task_config
        assert (task_config.kind, task_config.labels, task_config.thresholds) == (kind, labels, ())
        assert task_config.limits == Limits(max_length=24, stride=12)
        scorer, examples = stranger(tmp_path / kind), new_examples(kind, 3)
        if kind == "classification":
            answers = scorer.predict([TextExample("", "", "a bcd")], task_config)
            ids = torch.tensor([[2, *TOKENIZER.encode("a bcd").ids, 3]])
            with torch.no_grad():
                shares = theirs(ids).logits.softmax(-1)[0].tolist()
            assert list(answers[0].probabilities.values()) == pytest.approx(shares, abs=1e-5)
        assert len(scorer.predict(examples, task_config)) == 3
