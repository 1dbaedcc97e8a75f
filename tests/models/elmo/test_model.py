"""ELMo: the paper's formulas, what each direction sees, and its losses."""

import math

import pytest
import torch
from msgspec.structs import asdict, replace
from torch import Tensor

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.elmo.characters import character_ids
from bertsmith.models.elmo.config import ELMO_SIZES, ElmoConfig
from bertsmith.models.elmo.model import Elmo, ElmoForPretraining, ScalarMix
from bertsmith.models.modules.packed import LanguageBatch, pack

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##a", "the", "##ing", "über"]
CONFIG = ElmoConfig(
    vocab_size=len(PIECES),
    characters=12,
    char_width=4,
    filters=((1, 5), (2, 6), (4, 7)),
    highways=2,
    projection=6,
    lstm_width=10,
    lstm_layers=3,
    cell_clip=0.5,
    projection_clip=0.4,
    dropout=0.0,
)
LENGTHS = [5, 9, 2, 7]
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """In float64, in evaluation mode, with weights that differ from 0 and meet the limits."""
    generator = torch.Generator().manual_seed(1)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += 0.5 * noise
    return model


def new_elmo(config: ElmoConfig = CONFIG) -> Elmo:
    torch.manual_seed(0)
    return lively(Elmo(config, PIECES))


def new_pretraining(config: ElmoConfig = CONFIG) -> ElmoForPretraining:
    torch.manual_seed(0)
    return lively(ElmoForPretraining(config, PIECES))


def sequences(seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [2, *torch.randint(5, len(PIECES), (length - 2,), generator=generator).tolist(), 3]
        for length in LENGTHS
    ]


def token_vector(elmo: Elmo, ids_C: Tensor) -> Tensor:
    """One token, place by place and filter by filter (paper, section 3.4)."""
    encoder = elmo.encoder
    embedded = encoder.embedding.weight[ids_C]
    found = []
    for convolution in encoder.convolutions:
        size = convolution.kernel_size[0]
        places = [
            torch.einsum("cw,fwc->f", embedded[start : start + size], convolution.weight)
            + convolution.bias
            for start in range(len(ids_C) - size + 1)
        ]
        found.append(torch.stack(places).amax(0))
    vector = torch.cat(found)
    vector = torch.relu(vector) if elmo.config.cnn_act == "relu" else torch.tanh(vector)
    for highway in encoder.highways:
        gate = 1 / (1 + torch.exp(-(highway.carry.weight @ vector + highway.carry.bias)))
        new = (highway.transform.weight @ vector + highway.transform.bias).clamp(min=0)
        vector = gate * new + (1 - gate) * vector
    return encoder.projection.weight @ vector + encoder.projection.bias


def lstm_written_out(layer, inputs_LP: Tensor) -> Tensor:
    state, cell = torch.zeros(6).double(), torch.zeros(10).double()
    states = []
    for row in inputs_LP:
        gates = layer.input_weight @ row + layer.state_weight @ state + layer.bias
        i, j, f, o = gates.split(10)
        cell = torch.sigmoid(f + 1) * cell + torch.sigmoid(i) * torch.tanh(j)
        cell = cell.clamp(-0.5, 0.5)
        state = (layer.projection @ (torch.sigmoid(o) * torch.tanh(cell))).clamp(-0.4, 0.4)
        states.append(state)
    return torch.stack(states)


def layers_written_out(elmo: Elmo, tokens_LP: Tensor) -> list[Tensor]:
    """The layers of one sequence, from its tokens' own vectors."""
    layers = [torch.cat([tokens_LP, tokens_LP], -1)]
    before, after = tokens_LP, tokens_LP
    for number in range(3):
        new_before = lstm_written_out(elmo.forward_lstms[number], before)
        new_after = lstm_written_out(elmo.backward_lstms[number], after.flip(0)).flip(0)
        before = new_before if number == 0 else new_before + before
        after = new_after if number == 0 else new_after + after
        layers.append(torch.cat([before, after], -1))
    return layers


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layers_are_those_of_the_formulas(activation):
    elmo, rows = new_elmo(replace(CONFIG, cnn_act=activation)), sequences()
    found = torch.stack(list(elmo.layers(pack(rows)))).split(LENGTHS, 1)
    assert found[0].shape == (4, 5, 12)
    for row, layers in zip(rows, found, strict=True):
        tokens = torch.stack([token_vector(elmo, elmo.characters_VC[piece]) for piece in row])
        expected = torch.stack(layers_written_out(elmo, tokens))
        torch.testing.assert_close(layers, expected, **EXACT)
    # A layer without a residual shows that the limit takes part.
    assert 0.1 < (torch.cat(found, 1)[1].abs() == 0.4).double().mean() < 0.9


def test_without_a_difference_in_width_nothing_is_projected():
    elmo = new_elmo(replace(CONFIG, projection=18))
    assert not any(name.startswith("encoder.projection") for name in elmo.state_dict())
    assert next(elmo.layers(pack(sequences()))).shape == (23, 36)


def test_whole_words_are_read_between_the_frames_words():
    elmo = new_elmo()
    sentences = [["the", "überlong-word", "a"], ["a"]]
    found = elmo.of_words(sentences, may_cut=True)
    assert [tuple(layers.shape) for layers in found] == [(4, 3, 12), (4, 1, 12)]
    for words, layers in zip(sentences, found, strict=True):
        spelled = character_ids(["<S>", *words, "</S>"], longest=12)
        tokens = torch.stack([token_vector(elmo, ids_C) for ids_C in spelled.ids_WC])
        expected = torch.stack(layers_written_out(elmo, tokens))[:, 1:-1]
        torch.testing.assert_close(layers, expected, **EXACT)
    assert elmo.of_words([]) == []
    without = Elmo(CONFIG).double().eval()
    without.load_state_dict(elmo.state_dict())
    again = without.of_words(sentences, may_cut=True)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_no_word_is_cut_and_no_sentence_is_empty_unasked():
    elmo = new_elmo()
    longest = ["überlange", "überlanges", "a" * 10]
    with pytest.raises(UsageError) as caught:
        elmo.of_words([["the"], longest, ["überlanges", "b" * 99]])
    assert str(caught.value) == (
        "2 words are longer than 10 bytes, the model's limit; the first is 'überlanges'. Pass "
        "may_cut=True to truncate them, as the published code does."
    )
    cut, whole = elmo.of_words([["überlanges"], ["überlange"]], may_cut=True)
    # Where a word is in a batch may move its last bit.
    torch.testing.assert_close(cut, whole, **EXACT)
    with pytest.raises(UsageError) as caught:
        elmo.of_words([["the"], [], ["a"]])
    assert str(caught.value) == "Sentence 1 (counted from 0) has no words; remove it."


def test_a_token_is_encoded_once_however_often_it_stands_there(monkeypatch):
    elmo, seen = new_elmo(), []
    encode = elmo.encoder.forward
    monkeypatch.setattr(elmo.encoder, "forward", lambda ids: seen.append(len(ids)) or encode(ids))
    elmo(pack([[2, 7, 7, 8, 3], [2, 8, 7, 3]]))
    assert seen == [4]


def test_no_direction_sees_what_it_is_to_predict():
    elmo = new_elmo()
    [row] = [row for row in sequences() if len(row) == 9]
    whole = torch.stack(list(elmo.layers(pack([row]))))
    for place in range(9):
        changed = [*row]
        changed[place] = 5 + (row[place] + 1) % 8
        other = torch.stack(list(elmo.layers(pack([changed]))))
        before, after = (other - whole)[1:].abs().chunk(2, -1)
        # To rounding: with another token, others are multiplied in other groups.
        assert (before[:, :place] < 1e-12).all()
        assert (after[:, place + 1 :] < 1e-12).all()
        # And everything else does see it.
        assert before[:, place:].amax(-1).min() > 1e-9
        assert after[:, : place + 1].amax(-1).min() > 1e-9


def test_order_neighbours_and_cuts_change_no_output():
    elmo, rows = new_elmo(), sequences()
    whole = torch.stack(list(elmo.layers(pack(rows)))).split(LENGTHS, 1)
    for chosen in ([3, 1, 0, 2], [1], [2], [0, 3]):
        found = torch.stack(list(elmo.layers(pack([rows[number] for number in chosen]))))
        expected = torch.cat([whole[number] for number in chosen], 1)
        torch.testing.assert_close(found, expected, **EXACT)


def test_chosen_rows_are_those_of_the_whole():
    elmo, packed = new_elmo(), pack(sequences())
    rows_R = torch.tensor([4, 0, 22, 4])
    layers, chosen = list(elmo.layers(packed)), list(elmo.layers(packed, rows_R))
    assert all(torch.equal(one, other) for one, other in zip(layers[:3], chosen[:3], strict=True))
    assert torch.equal(chosen[3], layers[3][rows_R])
    assert torch.equal(elmo(packed), layers[3])
    assert torch.equal(elmo(packed, rows_R), layers[3][rows_R])


def batch_of(rows: list[list[int]]) -> LanguageBatch:
    return LanguageBatch(pack(rows), backward=True)


def test_losses_are_of_the_next_token_and_of_the_one_before():
    model, rows = new_pretraining(), sequences()
    expected, right = {"forward": 0.0, "backward": 0.0}, {"forward": 0, "backward": 0}
    for row in rows:
        before, after = model.elmo(pack([row])).chunk(2, -1)
        for place in range(len(row) - 1):
            for name, state, label in (
                ("forward", before[place], row[place + 1]),
                ("backward", after[place + 1], row[place]),
            ):
                scores_V = model.word_VP @ state + model.bias_V
                expected[name] -= scores_V.log_softmax(0)[label].item()
                right[name] += int(scores_V.argmax()) == label
    batch = batch_of(rows)
    assert batch.counts == {"backward": 19, "forward": 19}
    losses, scores = model.losses(batch), model.evaluate(batch)
    assert losses.keys() == scores.keys() == batch.counts.keys()
    for name in expected:
        assert losses[name].item() == pytest.approx(expected[name], rel=1e-6)
        assert scores[name][0] == pytest.approx(expected[name], rel=1e-6)
        assert scores[name][1] == right[name]
    one_way = LanguageBatch(batch.packed, backward=False)
    assert model.losses(one_way).keys() == {"forward"}
    assert model.config_keys == {"architectures": ["ElmoForPretraining"]}


def test_micro_batches_change_no_loss_and_no_gradient():
    model, rows = new_pretraining(), sequences()

    def total(parts: list[list[list[int]]]) -> tuple[float, list[Tensor]]:
        model.zero_grad()
        value = 0.0
        for part in parts:
            losses = model.losses(batch_of(part))
            (losses["forward"] + losses["backward"]).backward()
            value += losses["forward"].item() + losses["backward"].item()
        return value, [parameter.grad.clone() for parameter in model.parameters()]

    # The losses are summed in fp32 whatever the model's type.
    loss, gradients = total([rows])
    for parts in ([rows[::-1]], [rows[:1], rows[1:]], [[row] for row in rows]):
        other, others = total(parts)
        assert math.isclose(loss, other, rel_tol=1e-6)
        for one, second in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, second, rtol=1e-5, atol=1e-6)


def test_training_gives_every_parameter_a_finite_gradient():
    torch.manual_seed(0)
    model = ElmoForPretraining(CONFIG.with_dropout(0.2), PIECES).train()
    losses = model.losses(batch_of(sequences()))
    (losses["forward"] + losses["backward"]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
    # The mask is no character.
    assert model.elmo.encoder.embedding.weight.grad[0].abs().max() == 0


def test_under_autocast_losses_are_the_same_to_its_precision():
    model, batch = new_pretraining().float(), batch_of(sequences())
    expected = model.losses(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.losses(batch)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=0.02)
    (losses["forward"] + losses["backward"]).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_training_drops_out_and_evaluation_does_not():
    torch.manual_seed(0)
    model, batch = ElmoForPretraining(CONFIG.with_dropout(0.5), PIECES), batch_of(sequences())
    model.eval()
    assert torch.equal(model.losses(batch)["forward"], model.losses(batch)["forward"])
    model.train()
    assert not torch.equal(model.losses(batch)["forward"], model.losses(batch)["forward"])
    # The token layer itself is whole: what is dropped is an LSTM's input.
    assert torch.equal(next(model.elmo.layers(batch.packed)), next(model.elmo.layers(batch.packed)))


def test_an_untrained_model_is_as_good_as_chance():
    torch.manual_seed(0)
    model = ElmoForPretraining(ElmoConfig.named("tiny", vocab_size=len(PIECES)), PIECES).eval()
    batch = batch_of(sequences())
    for name, (loss, _) in model.evaluate(batch).items():
        assert loss / batch.counts[name] == pytest.approx(math.log(len(PIECES)), rel=0.1)


def test_initial_weights_are_bilm_tfs():
    torch.manual_seed(0)
    config = replace(CONFIG, filters=((3, 400),), char_width=16, projection=100)
    model = ElmoForPretraining(config, PIECES)
    encoder = model.elmo.encoder
    assert encoder.embedding.weight[0].abs().max() == 0
    assert 0.99 < encoder.embedding.weight.abs().max() <= 1
    assert 0.049 < encoder.convolutions[0].weight.abs().max() <= 0.05
    for part in encoder.highways:
        assert part.carry.bias.unique().tolist() == [-2]
        assert part.transform.bias.unique().tolist() == [0]
        assert part.carry.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert encoder.projection.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert model.word_VP.std().item() == pytest.approx(0.1, rel=0.1)
    assert model.bias_V.abs().max() == 0
    tanh = Elmo(replace(config, cnn_act="tanh"))
    found = tanh.encoder.convolutions[0].weight.std().item()
    assert found == pytest.approx(48**-0.5, rel=0.02)


def test_the_mix_is_a_weighted_mean_times_gamma():
    layers = [torch.randn(5, 4, dtype=torch.float64) for _ in range(3)]
    mix = ScalarMix(3).double()
    torch.testing.assert_close(mix(layers), sum(layers) / 3)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log())
        mix.gamma.fill_(4.0)
    expected = 4 * (layers[0] + 2 * layers[1] + 5 * layers[2]) / 8
    torch.testing.assert_close(mix(layers), expected, **EXACT)
    normalised = ScalarMix(3, normalised=True).double()
    expected = sum((layer - layer.mean()) / layer.var(correction=0).sqrt() for layer in layers) / 3
    torch.testing.assert_close(normalised(layers), expected)
    with pytest.raises(ValueError, match="2 layers for 3 weights"):
        mix(layers[:2])


def test_pieces_must_be_those_of_the_vocabulary():
    with pytest.raises(ValueError, match=f"3 pieces for a vocabulary of {len(PIECES)}"):
        Elmo(CONFIG, ["a", "b", "c"])


# Shapes.


def test_presets_are_the_published_models_from_small_on():
    assert list(ELMO_SIZES) == ["tiny", "mini", "small", "medium", "base"]
    # Of the biLM without its softmax, in millions, as AllenNLP's page of models gives them.
    for size, millions in (("small", 13.6), ("medium", 28.0), ("base", 93.6)):
        config = ElmoConfig.named(size, vocab_size=7)
        with torch.device("meta"):
            elmo = Elmo(config)
        count = sum(parameter.numel() for parameter in elmo.parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.06), size
    assert ElmoConfig.named("base", vocab_size=7) == ElmoConfig(vocab_size=7)


def test_a_shape_survives_its_keys(tmp_path):
    keys = asdict(CONFIG) | {"model_type": "elmo", "architectures": ["ElmoForPretraining"]}
    assert ElmoConfig.from_keys(keys, "c") == CONFIG
    path = tmp_path / "shape.json"
    path.write_text('{"projection": 32, "filters": [[1, 8]]}')
    expected = ElmoConfig(vocab_size=9, projection=32, filters=((1, 8),))
    assert ElmoConfig.named(str(path), vocab_size=9) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "bert"}, "c: model_type is 'bert', expected 'elmo'"),
        ({"projection": 0}, "c: projection is 0; it must be at least 1."),
        ({"cell_clip": 0.0}, "c: cell_clip is 0.0; it must be above 0."),
        ({"dropout": 1.0}, "c: dropout is 1.0; it must be in [0, 1)."),
        ({"filters": []}, "c: filters is (); give at least one"),
        ({"filters": [[2, 0]]}, "c: filters is ((2, 0),); give at least one"),
        ({"characters": 3}, "c: characters is 3; it must be at least 4"),
        ({"filters": [[1, 4]], "characters": 2}, "c: characters is 2; it must be at least 3"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changed, message):
    with pytest.raises(UsageError) as caught:
        ElmoConfig.from_keys(asdict(CONFIG) | changed, "c")
    assert message in str(caught.value)


def test_an_unknown_key_or_size_is_refused():
    with pytest.raises(FolderError, match="unknown key 'projektion'"):
        ElmoConfig.from_keys(asdict(CONFIG) | {"projektion": 3}, "c")
    with pytest.raises(UsageError, match="'base'"):
        ElmoConfig.named("bass", vocab_size=5)
    with pytest.raises(UsageError, match="choose one of tiny, mini, small, medium, base or"):
        ElmoConfig.named("large", vocab_size=5)
