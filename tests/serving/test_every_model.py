"""Every endpoint on every family and kind of task: its answer is `Model`'s to 1e-5."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from service_process import Service

import bertsmith
from bertsmith.inference.inspection import inspect
from bertsmith.inference.predictor import Model

TEXTS = ["He likes the old man .", "the apples"]
PAIR = ("He sat down.", "It was late.")
QUESTION = ("Where does Anna live?", "Anna lives in Berlin. " * 20)
CHOICES = ("She opened the door and", "walked in.", "ate it.")


def _inside(model: Model) -> Any:
    family = model.config.family
    return [inspect(model.model, model.tokenizer, *PAIR, name=model.name, family=family, top_k=3)]


BODIES: dict[str, dict[str, Any]] = {
    "fill-mask": {"text": "the [MASK] .", "top_k": 3},
    "next-sentence": {"text": PAIR[0], "text_b": PAIR[1]},
    "log-likelihood": {"text": TEXTS},
    "generate": {"text": "the old", "max_new_tokens": 5, "temperature": 0.8, "seed": 3},
    "classify": {"text": TEXTS, "text_b": TEXTS[::-1]},
    "multiple-choice": {"text": CHOICES[0], "choices": list(CHOICES[1:])},
    "tokens": {"text": TEXTS},
    "answer": {"question": QUESTION[0], "context": QUESTION[1]},
    "inspect": {"text": PAIR[0], "text_b": PAIR[1], "top_k": 3},
}
EXPECTED: dict[str, Callable[[Model], Any]] = {
    "fill-mask": lambda model: [model.fill_mask("the [MASK] .", top_k=3)],
    "next-sentence": lambda model: [{"probability": model.next_sentence(*PAIR)}],
    "log-likelihood": lambda model: model.log_likelihood(TEXTS),
    "generate": lambda model: [
        model.generate("the old", max_new_tokens=5, temperature=0.8, seed=3)
    ],
    "classify": lambda model: model.predict(list(zip(TEXTS, TEXTS[::-1], strict=True))),
    "multiple-choice": lambda model: model.predict([CHOICES]),
    "tokens": lambda model: model.predict(TEXTS),
    "answer": lambda model: model.predict([QUESTION]),
    "inspect": _inside,
}
MODELS = "tiny-en,tiny-zh,gpt,elmo,reviews,topics,stars,endings,names,places".split(",")


def _close(got: Any, expected: Any, where: str) -> None:
    """Raises if two structures of JSON differ by more than 1e-5 anywhere."""
    if isinstance(expected, float):
        assert got == pytest.approx(expected, abs=1e-5), where
    elif isinstance(expected, dict):
        assert got.keys() - expected.keys() <= {"truncated"}, where
        for key, value in expected.items():
            _close(got[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for number, (one, other) in enumerate(zip(got, expected, strict=True)):
            _close(one, other, f"{where}[{number}]")
    else:
        assert got == expected, where


def _post(service: Service, path: str, **body: Any) -> Any:
    answer = httpx.post(f"{service.url}/v1/{path}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def folders(every_model: tuple[Service, list[str]]) -> dict[str, str]:
    return {Path(folder).name: folder for folder in every_model[1]}


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_the_models(
    every_model: tuple[Service, list[str]], folders: dict[str, str], name: str
) -> None:
    service, model = every_model[0], bertsmith.load(folders[name])
    served = httpx.get(f"{service.url}/v1/models").json()["data"]
    [operations] = [row["operations"] for row in served if row["id"] == name]
    for path in operations:
        if path in BODIES:
            got = _post(service, path, model=name, **BODIES[path])["results"]
            expected = msgspec.json.decode(msgspec.json.encode(EXPECTED[path](model)))
            _close(got, expected, path)
    rows = [
        row["embedding"] for row in _post(service, "embeddings", model=name, input=TEXTS)["data"]
    ]
    np.testing.assert_allclose(rows, model.embed(TEXTS), atol=1e-5)


def test_every_endpoint_is_compared(every_model: tuple[Service, list[str]]) -> None:
    served = httpx.get(f"{every_model[0].url}/v1/models").json()["data"]
    assert [row["id"] for row in served] == MODELS
    operations = {path for row in served for path in row["operations"]}
    # What these two do is no answer of a model; `test_service` and `test_playground` have them.
    assert operations - {"tokenize", "masks"} == {*BODIES, "embeddings"}


def test_the_client_of_openai_gets_its_vectors(
    every_model: tuple[Service, list[str]], folders: dict[str, str]
) -> None:
    openai = pytest.importorskip("openai")
    expected = bertsmith.load(folders["tiny-en"]).embed(TEXTS)
    with openai.OpenAI(base_url=f"{every_model[0].url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == MODELS
        for form in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            answer = client.embeddings.create(model="tiny-en", input=TEXTS, **form)
            rows = [row.embedding for row in answer.data]
            if form.get("encoding_format") == "base64":
                rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
            np.testing.assert_allclose(rows, expected, atol=1e-5)
        assert answer.usage.total_tokens > 0
        with pytest.raises(openai.NotFoundError, match="served: tiny-en"):
            client.embeddings.create(model="another", input="a")
