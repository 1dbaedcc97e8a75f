"""GPT: equal to that of `transformers`, blind to what comes later, unmoved by how it is packed."""

import msgspec
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.model import Bert
from bertsmith.models.config import SIZES
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import Gpt, GptForPretraining
from bertsmith.models.modules import vocabulary
from bertsmith.models.modules.initialization import initialize
from bertsmith.models.modules.packed import LanguageBatch, pack
from bertsmith.models.modules.vocabulary import projected_cross_entropy
from bertsmith.models.parameters import to_ours, to_theirs

SHAPE = {
    "vocab_size": 61,
    "n_positions": 300,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 3,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "initializer_range": 0.2,
}
CONFIG = GptConfig(**SHAPE)
LENGTHS = {
    "two": [2],
    "ragged": [5, 17, 2, 9, 30, 3],
    "equal": [24] * 6,
    "runs": [32, 32, 32, 20, 20, 7],
    "beyond the dense limit": [290, 290, 270, 40],
}


def new_model(config: GptConfig = CONFIG, *, dtype: torch.dtype = torch.float32):
    torch.manual_seed(3)
    model = GptForPretraining(config).to(dtype).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def random_ids(lengths: list[int], *, seed: int = 7) -> list[list[int]]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(5, 61, (length,), generator=draw).tolist() for length in lengths]


def new_batch(ids: list[list[int]]) -> LanguageBatch:
    return LanguageBatch(pack(ids), backward=False)


def their_twin(model: GptForPretraining) -> OpenAIGPTLMHeadModel:
    theirs = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**msgspec.structs.asdict(model.config)))
    state = to_theirs(model.config, model.state_dict())
    report = theirs.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) <= {"lm_head.weight"}
    return theirs.eval()


def their_inputs(ids: list[list[int]]) -> tuple[dict[str, Tensor], Tensor]:
    real_BL = torch.arange(max(map(len, ids))) < torch.tensor([len(row) for row in ids])[:, None]
    inputs = {"input_ids": torch.zeros(real_BL.shape, dtype=torch.int64)}
    inputs["input_ids"][real_BL] = torch.tensor([token for row in ids for token in row])
    inputs["labels"] = inputs["input_ids"].masked_fill(~real_BL, -100)
    return inputs | {"attention_mask": real_BL.long()}, real_BL


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_logits_loss_and_gradients_equal_those_of_transformers(lengths, activation):
    ours = new_model(msgspec.structs.replace(CONFIG, afn=activation)).train()
    theirs = their_twin(ours).train()
    ids = random_ids(lengths)
    batch, (inputs, real_BL) = new_batch(ids), their_inputs(ids)
    output = theirs(**inputs)
    logits_TV = ours.logits(ours.gpt(batch.packed))
    torch.testing.assert_close(logits_TV, output.logits[real_BL], atol=1e-5, rtol=1e-5)
    loss = ours.losses(batch)["forward"] / batch.counts["forward"]
    torch.testing.assert_close(loss, output.loss, atol=1e-5, rtol=1e-6)

    loss.backward()
    output.loss.backward()
    mapped = to_theirs(CONFIG, {n: p.grad for n, p in ours.named_parameters()})
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert sorted(mapped) == sorted(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(mapped[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_names_go_there_and_back(tmp_path):
    ours = new_model()
    their_twin(ours).save_pretrained(tmp_path)
    theirs = OpenAIGPTLMHeadModel.from_pretrained(tmp_path).state_dict()
    assert "lm_head.weight" in theirs
    back = to_ours(CONFIG, theirs, source="x")
    assert back.keys() == ours.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, back[name]), name
    # Old releases: no prefix, and the masks beside the parameters.
    old = {name.removeprefix("transformer."): tensor for name, tensor in theirs.items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 9, 9), "position_ids": torch.arange(9)}
    assert to_ours(CONFIG, old, source="x").keys() == back.keys()


def test_tensors_that_do_not_fit_are_refused():
    theirs = to_theirs(CONFIG, new_model().state_dict())
    tied = theirs["transformer.tokens_embed.weight"]
    with pytest.raises(FolderError) as caught:
        to_ours(CONFIG, theirs | {"lm_head.weight": tied + 1}, source="m.safetensors")
    assert str(caught.value) == (
        "m.safetensors: lm_head.weight differs from transformer.tokens_embed.weight; bertsmith's "
        "GPT ties the two, as in the paper, so it cannot load this model unchanged."
    )
    with pytest.raises(FolderError) as caught:
        to_ours(msgspec.structs.replace(CONFIG, n_layer=2), theirs, source="m.safetensors")
    assert str(caught.value) == (
        "m.safetensors: 12 tensors have no place in a GPT of 2 layers, the first is "
        "transformer.h.2.attn.c_attn.bias (perhaps you meant 'transformer.h.1.attn.c_attn.bias'); "
        "check that config.json belongs to these weights."
    )
    with pytest.raises(KeyError, match="no row in the parameter table"):
        to_theirs(CONFIG, {"gpt.embeddings.segment.weight": tied})


def encoders(dtype: torch.dtype = torch.float64) -> tuple[Gpt, Bert]:
    torch.manual_seed(1)
    bert = Bert(
        BertConfig(
            vocab_size=61,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=64,
        )
    )
    initialize(bert, 0.2)
    return new_model(dtype=dtype).gpt, bert.to(dtype).eval()


@pytest.mark.parametrize("length", [12, 280])
def test_later_tokens_never_change_earlier_states(length):
    gpt, bert = encoders()
    [ids] = random_ids([length])
    for changed_from in (1, length // 2, length - 1):
        other = ids[:changed_from] + [65 - token for token in ids[changed_from:]]
        one, two = (gpt(pack([row, row[:3]])) for row in (ids, other))
        torch.testing.assert_close(one[:changed_from], two[:changed_from], atol=1e-12, rtol=0)
        assert (one[changed_from:length] - two[changed_from:length]).abs().amax(1).min() > 1e-3
        # BERT's do change, all of them, so the comparison can tell.
        one, two = (bert(pack([row, row[:3]])) for row in (ids, other))
        assert (one[:changed_from] - two[:changed_from]).abs().amax(1).min() > 1e-6


def test_a_text_cut_short_has_the_states_of_the_whole():
    gpt, _ = encoders()
    [ids] = random_ids([40])
    whole_TD = gpt(pack([ids]))
    cuts = [1, 2, 7, 39]
    packed = pack([ids[:cut] for cut in cuts])
    for hidden_LD, cut in zip(gpt(packed).split(cuts), cuts, strict=True):
        torch.testing.assert_close(hidden_LD, whole_TD[:cut], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_neighbours_and_micro_batches_change_nothing(dtype):
    model = new_model(dtype=dtype)
    ids = random_ids([12, 30, 5, 12, 21, 40, 7, 2])

    def asked(cuts: list[list[int]]) -> tuple[dict[int, Tensor], float, list[Tensor]]:
        model.zero_grad()
        found, total = {}, 0.0
        for numbers in cuts:
            batch = new_batch([ids[number] for number in numbers])
            states = model.gpt(batch.packed).detach().split(batch.packed.lengths)
            found |= dict(zip(numbers, states, strict=True))
            loss = model.losses(batch)["forward"]
            loss.backward()
            total += loss.item()
        return found, total, [parameter.grad.clone() for parameter in model.parameters()]

    whole, loss, gradients = asked([list(range(8))])
    exact = dtype == torch.float64
    close = {"atol": 1e-12 if exact else 1e-5, "rtol": 0.0}
    for cuts in (
        [[n] for n in range(8)],
        [[7, 6, 5, 4, 3, 2, 1, 0]],
        [[2, 3], [0, 1, 7], [4, 5, 6]],
    ):
        found, total, others = asked(cuts)
        for number in range(8):
            torch.testing.assert_close(found[number], whole[number], **close)
        # The loss is summed in fp32 whatever the model's type.
        assert total == pytest.approx(loss, rel=1e-6)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)


def test_chosen_rows_are_those_of_the_whole():
    gpt, _ = encoders()
    packed = pack(random_ids([24, 24, 9, 31]))
    rows_R = torch.tensor([30, 0, 47, 87, 30])
    torch.testing.assert_close(gpt(packed, rows_R), gpt(packed)[rows_R], atol=1e-12, rtol=1e-12)
    *_, before, last = gpt.layers(packed, rows_R)
    assert len(list(gpt.layers(packed))) == 4
    assert (tuple(before.shape), tuple(last.shape)) == ((88, 48), (5, 48))


def test_the_loss_is_of_each_next_token():
    model, batch = new_model(), new_batch(random_ids([4, 9, 2]))
    logits_TV = model.logits(model.gpt(batch.packed))
    rows = [0, 1, 2, *range(4, 12), 13]
    expected = functional.cross_entropy(
        logits_TV[rows], batch.packed.ids_T[[row + 1 for row in rows]], reduction="none"
    )
    assert batch.counts == {"forward": 12}
    torch.testing.assert_close(model.losses(batch)["forward"], expected.sum())


def test_evaluate_counts_losses_and_right_tokens(monkeypatch):
    model, batch = new_model(), new_batch(random_ids([20, 20, 11, 5]))
    monkeypatch.setattr(vocabulary, "_strip_and_block", lambda *_: (7, 2 * 7))
    [(name, (loss, right))] = model.evaluate(batch).items()
    assert name == "forward"
    assert loss == pytest.approx(model.losses(batch)["forward"].item(), rel=1e-5)
    guesses_T = model.logits(model.gpt(batch.packed)).argmax(-1)
    rows = [row for row in range(55) if row not in (19, 39, 50, 55)]
    ids_T = batch.packed.ids_T
    assert right == sum(int(guesses_T[row] == ids_T[row + 1]) for row in rows)


def test_the_loss_without_a_bias_is_pytorchs(monkeypatch):
    monkeypatch.setattr(vocabulary, "_strip_and_block", lambda *_: (4, 2 * 4))
    draw = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 61, (13,), generator=draw)
    values = [torch.randn(shape, generator=draw) for shape in ((13, 6), (61, 6))]
    ours = [value.clone().requires_grad_() for value in values]
    theirs = [value.clone().requires_grad_() for value in values]
    loss = projected_cross_entropy(*ours, None, labels)
    expected = functional.cross_entropy(functional.linear(*theirs), labels, reduction="sum")
    torch.testing.assert_close(loss, expected)
    (loss * 0.25).backward()
    (expected * 0.25).backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cuts", [[9], [1] * 9, [4, 1, 3, 1]])
def test_states_of_a_text_read_bit_by_bit_are_those_of_the_whole(cuts):
    gpt, _ = encoders()
    [ids] = random_ids([9])
    past, states = gpt.nothing_yet(), []
    for part in torch.tensor(ids).split(cuts):
        states.append(gpt.extend(part, past))
    torch.testing.assert_close(torch.cat(states), gpt(pack([ids])), atol=1e-12, rtol=1e-12)
    assert [layer.tokens for layer in past] == [9, 9, 9]


def test_too_long_a_sequence_is_refused():
    gpt, _ = encoders()
    message = "301 tokens; this model has positions for 300"
    with pytest.raises(ValueError, match=f"a sequence has {message}"):
        gpt(pack([[6] * 301]))
    past = gpt.nothing_yet()
    gpt.extend(torch.tensor([6] * 300), past)
    with pytest.raises(ValueError, match=f"the sequence would have {message}"):
        gpt.extend(torch.tensor([6]), past)


def test_training_drops_out_and_gives_every_parameter_a_finite_gradient():
    model = new_model(CONFIG.with_dropout(0.3))
    batch = new_batch(random_ids([20, 20, 11, 5]))
    assert torch.equal(model.losses(batch)["forward"], model.losses(batch)["forward"])
    model.train()
    loss = model.losses(batch)["forward"]
    assert loss != model.losses(batch)["forward"]
    loss.backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


def test_initial_weights_are_openais():
    torch.manual_seed(0)
    model = GptForPretraining(GptConfig(vocab_size=2000, n_embd=128, n_head=2, n_layer=1))
    word_VD = model.gpt.embeddings.word.weight
    assert word_VD.std().item() == pytest.approx(0.02, rel=0.01)
    # A normal with its tails: a thousandth lies beyond 3.3 deviations.
    assert (word_VD.abs() > 3.29 * 0.02).float().mean().item() == pytest.approx(1e-3, rel=0.2)
    assert model.gpt.blocks[0].attention.qkv.bias.abs().max() == 0
    assert model.gpt.blocks[0].attention_norm.weight.min() == 1
    assert model.config_keys == {"architectures": ["OpenAIGPTLMHeadModel"]}


def test_a_shape_comes_from_a_presets_name_or_a_file(tmp_path):
    assert len(SIZES) == 6
    for size, (layers, width) in SIZES.items():
        config = GptConfig.named(size, vocab_size=99).validate(size)
        shape = (config.n_layer, config.n_embd, config.n_head, config.vocab_size)
        assert shape == (layers, width, width // 64, 99)
    path = tmp_path / "config.json"
    path.write_text('{"n_embd": 32, "n_head": 4, "n_layer": 1}')
    expected = GptConfig(vocab_size=99, n_embd=32, n_head=4, n_layer=1)
    assert GptConfig.named(str(path), vocab_size=99) == expected
    with pytest.raises(UsageError, match=r"size='bas': not a preset \(perhaps you meant 'base'\)"):
        GptConfig.named("bas", vocab_size=99)


def test_the_keys_of_transformers_are_read(tmp_path):
    theirs = OpenAIGPTConfig(**SHAPE).to_dict()
    assert GptConfig.from_keys(theirs, "config.json") == CONFIG
    # As the published model's file of 2018 has them.
    old = {"n_ctx": 512, "n_special": 0, "predict_special_tokens": True, "n_embd": 64, "n_head": 2}
    assert GptConfig.from_keys(old | {"vocab_size": 9}, "x").n_embd == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"afn": "mish"},
            "c.json: afn is 'mish'; bertsmith's GPT computes only 'gelu' (by tanh, as OpenAI's "
            "code), 'relu', 'silu' and 'swish'.",
        ),
        (
            {"model_type": "gpt2"},
            "c.json: model_type is 'gpt2', expected 'openai-gpt'; this folder holds another "
            "architecture.",
        ),
        (
            {"tie_word_embeddings": False},
            "c.json: tie_word_embeddings is False; bertsmith computes only True.",
        ),
        ({"n_special": 3}, "c.json: n_special is 3; bertsmith computes only 0."),
        ({"n_layer": 0}, "c.json: n_layer is 0; it must be at least 1."),
        ({"attn_pdrop": 1.0}, "c.json: attn_pdrop is 1.0; it must be in [0, 1)."),
        (
            {"n_head": 5},
            "c.json: n_head is 5, which does not divide n_embd 48; choose a head count that does.",
        ),
    ],
)
def test_a_shape_that_is_not_computed_is_refused(changes, message):
    with pytest.raises(UsageError) as caught:
        GptConfig.from_keys(SHAPE | changes, "c.json")
    assert str(caught.value) == message


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(FolderError, match=r"unknown key 'n_layers' \(perhaps you meant 'n_layer'"):
        GptConfig.from_keys(SHAPE | {"n_layers": 4}, "c.json")
