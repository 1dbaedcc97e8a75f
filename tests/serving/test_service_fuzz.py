"""Random bodies for every path: each gets an answer, or a fault in JSON."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.serving import requests

BODIES = {
    "fill-mask": requests.FillMask,
    "next-sentence": requests.NextSentence,
    "log-likelihood": requests.LogLikelihood,
    "generate": requests.Generate,
    "masks": requests.Masks,
    "classify": requests.Classify,
    "multiple-choice": requests.MultipleChoice,
    "tokens": requests.Tokens,
    "answer": requests.Answer,
    "embeddings": requests.Embeddings,
    "tokenize": requests.Tokenize,
    "inspect": requests.Inspect,
}
TEXTS = st.one_of(
    st.sampled_from(["the old [MASK] cold", "a", "", " ", "[MASK]", "[CLS] [SEP] [PAD]", "\x00"]),
    st.text(max_size=40),
    st.lists(st.sampled_from(["old", "[MASK]", "的", "é", "\u200d"]), max_size=90).map(" ".join),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.lists(TEXTS, max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS | st.lists(TEXTS, min_size=1, max_size=4),
    "input": TEXTS | st.lists(TEXTS, min_size=1, max_size=4),
    "choices": st.lists(TEXTS, min_size=2, max_size=4),
    "model": st.just("model"),
    "top_k": st.integers(0, 101),
    "max_new_tokens": st.integers(0, 20),
    "share": st.floats(0, 1),
    "seed": st.integers(-1, 1 << 64),
    "joint": st.booleans(),
    "normalize": st.booleans(),
    "encoding_format": st.sampled_from(["float", "base64", "hex"]),
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A path, and a body that fits it, or nearly."""
    path = draw(st.sampled_from(sorted(BODIES)))
    body = {}
    for name, field in BODIES[path].model_fields.items():
        if field.is_required() or draw(st.booleans()):
            usual = SENSIBLE.get(name, TEXTS)
            body[name] = draw(ODD if draw(st.integers(0, 9)) == 0 else usual)
    return path, body


def test_every_body_of_the_page_is_fuzzed(service: Any) -> None:
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    posts = {path.removeprefix("/v1/") for path, methods in paths.items() if "post" in methods}
    assert posts == BODIES.keys()


@pytest.fixture(scope="module")
def client(service: Any) -> Any:
    with httpx.Client(base_url=f"{service.url}/v1/", timeout=60) as opened:
        yield opened


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies())
def test_random_bodies_never_break_the_service(
    client: httpx.Client, drawn: tuple[str, dict[str, Any]]
) -> None:
    path, body = drawn
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 400, 404, 422, 503), (answer.status_code, answer.text)
    if answer.status_code == 200:
        assert answer.json()["model"] == "model"
    else:
        assert answer.json()["error"]["message"]
