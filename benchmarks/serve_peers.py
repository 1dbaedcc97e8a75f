"""FastAPI with `transformers` or `sentence-transformers`: peers, started by `serve.py`."""

import sys
from collections.abc import Callable
from typing import Any

import torch

FIELDS = {"embeddings": "input", "classify": "text"}
"""Where a request has its text, by task."""

Answers = Callable[[list[str]], list[dict[str, Any]]]


def transformers_answers(folder: str, task: str) -> Answers:
    """A function from texts to an answer each, as one writes it with `transformers`."""
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = AutoModel if task == "embeddings" else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder).eval()

    def answer(batch: list[str]) -> list[dict[str, Any]]:
        with torch.inference_mode():
            encoded = tokenizer(
                batch, truncation=True, max_length=256, padding=True, return_tensors="pt"
            )
            found = model(**encoded)
        if task == "embeddings":
            mask = encoded["attention_mask"][..., None]
            vectors = (found.last_hidden_state * mask).sum(1) / mask.sum(1)
            return [{"embedding": vector} for vector in vectors.tolist()]
        return [{"probabilities": row} for row in found.logits.softmax(-1).tolist()]

    return answer


def sentence_transformers_answers(folder: str) -> Answers:
    """The same with `sentence-transformers`."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")

    def answer(batch: list[str]) -> list[dict[str, Any]]:
        found = model.encode(batch, show_progress_bar=False)
        return [{"embedding": vector} for vector in found.tolist()]

    return answer


def run_fastapi(name: str, task: str, folder: str, *, port: int) -> None:
    """A FastAPI that answers each request alone."""
    import uvicorn
    from fastapi import FastAPI

    answers = (
        sentence_transformers_answers(folder)
        if name == "sentence-transformers"
        else transformers_answers(folder, task)
    )
    if name == "fastapi-1":
        torch.set_num_threads(1)
    app = FastAPI()

    @app.post(f"/v1/{task}")
    def answer(body: dict[str, str]) -> Any:
        return answers([body[FIELDS[task]]])[0]

    uvicorn.run(app, port=port, log_level="error")


if __name__ == "__main__":
    run_fastapi(*sys.argv[1:4], port=int(sys.argv[4]))
