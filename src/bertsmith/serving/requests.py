"""The bodies of requests and answers, typed; the OpenAPI page is made of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_INPUTS = 256
"""Of one request."""
MAX_CHARACTERS = 200_000
"""Of one text."""

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Texts = Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
ModelName = Annotated[
    str | None,
    Field(default=None, description="Name of a served model. Default: the first that can answer."),
]


class Body(BaseModel):
    """What every request has."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: ModelName = None


class FillMask(Body):
    """Predict the words behind `[MASK]`."""

    text: Texts = Field(examples=["Paris is the [MASK] of France."])
    top_k: int = Field(default=5, ge=1, le=100)
    joint: bool = Field(default=False, description="Also fill several masks one after the other.")


class NextSentence(Body):
    """Judge whether `text_b` follows `text`."""

    text: Text = Field(examples=["He went to the shop."])
    text_b: Text = Field(examples=["He bought some milk."])


class Classify(Body):
    """Classify texts or pairs of texts, or give them a number."""

    text: Texts = Field(examples=["A wonderful film."])
    text_b: Texts | None = Field(default=None, description="Second text of each pair.")


class MultipleChoice(Body):
    """Choose the most plausible continuation."""

    text: Text = Field(examples=["She opened the door and"])
    choices: Annotated[list[Text], Field(min_length=2, max_length=32)] = Field(
        examples=[["walked in.", "ate the sky."]]
    )


class Tokens(Body):
    """Label the words of texts."""

    text: Texts = Field(examples=["Anna lives in Berlin."])


class Answer(Body):
    """Answer a question from a context."""

    question: Text = Field(examples=["Where does Anna live?"])
    context: Text = Field(examples=["Anna lives in Berlin."])


class Embeddings(Body):
    """Turn texts into vectors; the body that OpenAI's clients send."""

    # OpenAI's clients send fields that mean nothing here.
    model_config = ConfigDict(extra="ignore", strict=True)
    input: Texts = Field(examples=["A text."])
    encoding_format: Literal["float", "base64"] = "float"
    normalize: bool = Field(default=False, description="Scale each vector to length 1.")
    prompt: str | None = Field(
        default=None, description="Name of one of the model's prompts. Default: the model's own."
    )


class LogLikelihood(Body):
    """Say how likely texts are, token by token, in nats."""

    text: Texts = Field(examples=["The cat sat on the mat."])


class Generate(Body):
    """Continue a text with a GPT."""

    text: Text = Field(examples=["The city of"])
    max_new_tokens: int = Field(default=50, ge=1, le=1024)
    temperature: float = Field(default=1.0, ge=0, le=10)
    top_k: int = Field(default=0, ge=0, description="0: the whole vocabulary.")
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0)


class Tokenize(Body):
    """Show a text as the model reads it."""

    text: Texts = Field(examples=["unaffable"])


class Inspect(Body):
    """Look inside the model: embeddings, attention, expectations."""

    text: Text = Field(examples=["He sat on the bank."])
    text_b: Text | None = None
    top_k: int = Field(default=5, ge=1, le=50)


class Masks(Body):
    """Hide words as pre-training does."""

    text: Text = Field(examples=["The man went to the store."])
    text_b: Text | None = None
    share: float = Field(default=0.15, gt=0, lt=1, description="Share of the tokens to predict.")
    seed: int = Field(default=0, ge=0, lt=1 << 31)


class Results(BaseModel):
    """Answers in the order of the inputs."""

    model: str
    results: list[Any]


class EmbeddingRow(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingResults(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingRow]
    usage: dict[str, int]


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether every model can answer."""

    status: Literal["ok", "down"]
    models: dict[str, str] = Field(description="Of each that is down: why.")


class ServedModel(BaseModel):
    """A served model, and what it can do."""

    id: str
    object: Literal["model"]
    owned_by: str
    family: str
    kind: str | None = Field(description="Of a fine-tuned model, its kind of task.")
    labels: list[str]
    objective: str | None = Field(description="Of a pre-trained model, what it predicts.")
    operations: list[str] = Field(description="The paths under `/v1` that answer for it.")
    max_length: int = Field(description="Tokens of the longest input.")
    chinese_share: float = Field(description="Of the vocabulary, the part that is Chinese.")


class ServedModels(BaseModel):
    """The served models, the default first."""

    object: Literal["list"]
    data: list[ServedModel]


class Runs(BaseModel):
    """Names of trainings, the latest first."""

    object: Literal["list"]
    data: list[str]


class Run(BaseModel):
    """The curves of one training: pairs of step and value."""

    name: str
    finished: bool
    train: dict[str, list[tuple[int, float]]]
    evaluation: dict[str, list[tuple[int, float]]]
    baseline: dict[str, float] = Field(description="The same numbers for guessing by frequency.")


class Fault(BaseModel):
    """What was wrong."""

    message: str
    type: str
    request_id: str


class FaultBody(BaseModel):
    """An answer that is an error."""

    error: Fault
