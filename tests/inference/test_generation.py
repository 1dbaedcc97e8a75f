"""Writing on: token for token as `transformers` does it, and drawn by the rules."""

import math

import msgspec
import pytest
import torch
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel, pipeline

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.errors import UsageError
from bertsmith.inference.generation import generate
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import GptForPretraining
from bertsmith.models.modules.packed import pack
from bertsmith.models.parameters import to_theirs
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

WORDS = "red green blue old new big small warm cold kind the a ? . , - ##s".split()
TOKENIZER = Tokenizer([*SPECIAL, *WORDS])
CONFIG = GptConfig(
    vocab_size=len(TOKENIZER), n_positions=24, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
)


def new_model(seed: int = 0) -> GptForPretraining:
    torch.manual_seed(seed)
    return GptForPretraining(CONFIG).eval()


def write(text: str, model: GptForPretraining | None = None, **options):
    return generate(model or new_model(), TOKENIZER, text, **options)


@pytest.mark.parametrize("text", ["", "the old", "big blue kinds, small"])
@pytest.mark.parametrize("tokens", [1, 7, 40])
def test_greedy_is_token_for_token_that_of_transformers(text, tokens):
    for seed in range(4):
        ours = new_model(seed)
        theirs = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**msgspec.structs.asdict(CONFIG))).eval()
        theirs.load_state_dict(to_theirs(ours.config, ours.state_dict()), strict=False)
        theirs.tie_weights()
        prompt = [TOKENIZER.cls_id, *TOKENIZER.encode(text).ids]
        output = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            suppress_tokens=never_written(TOKENIZER),
            max_length=min(len(prompt) + tokens, 24),
            eos_token_id=TOKENIZER.sep_id,
            pad_token_id=TOKENIZER.pad_id,
            return_dict_in_generate=True,
            output_logits=True,
        )
        expected = output.sequences[0, len(prompt) :].tolist()
        found = write(text, ours, max_new_tokens=tokens, temperature=0)
        assert [one.token for one in found.tokens] == TOKENIZER.tokens(expected)
        for one, scores, token in zip(found.tokens, output.logits, expected, strict=True):
            their_log = float(scores[0].log_softmax(-1)[token])
            assert math.isclose(one.log_probability, their_log, abs_tol=1e-5)
        whole = [token for token in prompt[1:] + expected if token != TOKENIZER.sep_id]
        assert (found.prompt, found.text) == (text, TOKENIZER.decode(whole))


LETTERS = "abdeghiklnorstuw"
PAIRS = Tokenizer(
    [*SPECIAL, *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "re", "red</w>", "th"],
    merges=[("r", "e"), ("re", "d</w>"), ("t", "h")],
)


def never_written(tokenizer) -> list[int]:
    """What stands in no text."""
    return sorted(tokenizer.special_ids - {tokenizer.sep_id})


def written_there(folder, text: str) -> list[int]:
    """What the pipeline of `transformers` writes on, without a word about special tokens."""
    [found] = pipeline("text-generation", model=str(folder), device=-1)(
        text,
        do_sample=False,
        max_new_tokens=12,
        return_tensors=True,
        suppress_tokens=never_written(Tokenizer.load(folder)),
    )
    return found["generated_token_ids"]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, PAIRS], ids=["wordpiece", "byte pairs"])
def test_the_pipeline_of_transformers_writes_on_alike(tokenizer, tmp_path):
    shape = msgspec.structs.replace(CONFIG, vocab_size=len(tokenizer))
    ended = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = GptForPretraining(shape).eval()
        if seed == 2:
            # A model that ends its text at once.
            model.gpt.embeddings.word.weight.data[tokenizer.sep_id] *= 0
            torch.nn.init.zeros_(model.gpt.blocks[-1].feed_forward_norm.weight)
            torch.nn.init.ones_(model.gpt.blocks[-1].feed_forward_norm.bias)
            model.gpt.embeddings.word.weight.data[tokenizer.sep_id] += 9
        save_model(tmp_path / str(seed), model, tokenizer, card="")
        ours = generate(model, tokenizer, "red old", max_new_tokens=12, temperature=0)
        prompt = [tokenizer.cls_id, *tokenizer.encode("red old").ids]
        new = [tokenizer.vocab.index(one.token) for one in ours.tokens]
        assert written_there(tmp_path / str(seed), "red old") == prompt + new
        ended.append(new[-1] == tokenizer.sep_id)
    assert ended[2]
    assert not all(ended)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, PAIRS], ids=["wordpiece", "byte pairs"])
def test_the_pipeline_of_transformers_writes_on_with_a_left_to_right_bert(tokenizer, tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.5,
        is_decoder=True,
    )
    model = BertForPretraining(config, pair_task=False).eval()
    save_model(tmp_path, model, tokenizer, card="")
    found = written_there(tmp_path, "red old")
    start = [tokenizer.cls_id, *tokenizer.encode("red old").ids]
    assert found[: len(start)] == start
    assert len(found) > len(start)
    with torch.no_grad():
        scores_TV = model.logits(model.bert(pack([found])))
        scores_TV[:, never_written(tokenizer)] = -torch.inf
    for place in range(len(start), len(found)):
        assert int(scores_TV[place - 1].argmax()) == found[place]


def with_fixed_scores(scores: dict[str, float]) -> GptForPretraining:
    """A model that holds the same tokens likely wherever it is, by their log-scores."""
    model = new_model()
    torch.nn.init.zeros_(model.gpt.embeddings.word.weight)
    last = model.gpt.blocks[-1].feed_forward_norm
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    with torch.no_grad():
        last.bias[0] = 1.0
        model.gpt.embeddings.word.weight[:, 0] = -100.0
        for token, score in scores.items():
            model.gpt.embeddings.word.weight[TOKENIZER.vocab.index(token), 0] = score
    return model


SCORES = {
    token: math.log(share)
    for token, share in {"red": 0.4, "green": 0.3, "blue": 0.2, "old": 0.1}.items()
}


def drawn(**options) -> dict[str, float]:
    """How often each token comes first, over 400 seeds."""
    model = with_fixed_scores(SCORES)
    counts: dict[str, int] = {}
    for seed in range(400):
        [one] = write("the", model, max_new_tokens=1, seed=seed, **options).tokens
        counts[one.token] = counts.get(one.token, 0) + 1
    return {token: count / 400 for token, count in sorted(counts.items())}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"red": 0.4, "green": 0.3, "blue": 0.2, "old": 0.1}),
        ({"top_k": 2}, {"red": 4 / 7, "green": 3 / 7}),
        # The fewest tokens that together have at least that much.
        ({"top_p": 0.65}, {"red": 4 / 7, "green": 3 / 7}),
        ({"top_p": 0.75}, {"red": 4 / 9, "green": 3 / 9, "blue": 2 / 9}),
        # Of what `top_k` left.
        ({"top_k": 3, "top_p": 0.7}, {"red": 4 / 7, "green": 3 / 7}),
        ({"temperature": 0.5}, {"red": 16 / 30, "green": 9 / 30, "blue": 4 / 30, "old": 1 / 30}),
        ({"temperature": 1e-320}, {"red": 1.0}),
        ({"top_k": 1}, {"red": 1.0}),
        ({"top_p": 1e-9}, {"red": 1.0}),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(options, expected):
    found = drawn(**options)
    assert found.keys() == expected.keys()
    for token, share in expected.items():
        # Three and a half deviations of 400 draws.
        assert abs(found[token] - share) <= 3.5 * math.sqrt(share * (1 - share) / 400)


def test_probabilities_are_the_models_whatever_is_drawn_from():
    options = {"max_new_tokens": 9, "temperature": 2.0, "top_k": 5, "seed": 2}
    model = new_model()
    found = write("the old", model, **options)
    ids = [TOKENIZER.cls_id, *TOKENIZER.encode("the old").ids]
    for one in found.tokens:
        log_V = model.logits(model.gpt(pack([ids]))[-1]).detach().log_softmax(-1)
        token = TOKENIZER.vocab.index(one.token)
        assert math.isclose(one.log_probability, float(log_V[token]), abs_tol=1e-5)
        assert int((log_V > log_V[token]).sum()) < 5
        ids.append(token)
    assert len(found.tokens) == 9
    assert found == write("the old", model, **options)
    assert found != write("the old", model, **options | {"seed": 4})


def test_writing_ends_at_the_end_of_the_text_or_of_the_positions():
    ending = with_fixed_scores({"[SEP]": 0.0})
    found = write("the old", ending, temperature=0)
    assert (found.text, [one.token for one in found.tokens]) == ("the old", ["[SEP]"])
    endless = with_fixed_scores({"##s": 0.0})
    found = write("the old", endless, temperature=0, max_new_tokens=99)
    assert len(found.tokens) == 24 - 3
    assert found.text == "the old" + 21 * "s"
    assert len(write("the old", endless, temperature=0, max_new_tokens=4).tokens) == 4


def test_a_prompt_needs_a_position_behind_it():
    assert len(write("the " * 22, max_new_tokens=9).tokens) == 1
    with pytest.raises(UsageError) as caught:
        write("the " * 23)
    assert str(caught.value) == (
        "The text has 24 tokens, [CLS] counted; this model has positions for 24 and needs one to "
        "write on: shorten the text."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1."),
        ({"temperature": -0.1}, "temperature is -0.1; it must be 0 or a number above."),
        ({"temperature": math.nan}, "temperature is nan; it must be 0 or a number above."),
        ({"temperature": math.inf}, "temperature is inf; it must be 0 or a number above."),
        ({"top_k": -1}, "top_k is -1; it must be from 1 to 22, or 0 for all tokens."),
        ({"top_k": 23}, "top_k is 23; it must be from 1 to 22, or 0 for all tokens."),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1."),
        ({"top_p": 1.1}, "top_p is 1.1; it must be above 0 and at most 1."),
        ({"seed": -1}, "seed is -1; it must be from 0 to 9,223,372,036,854,775,807."),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(UsageError) as caught:
        write("the", **options)
    assert str(caught.value) == message
