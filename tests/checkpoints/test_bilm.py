"""The published ELMo files: read into the same numbers, written back, and refused when damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bertsmith.checkpoints.bilm import read_elmo, read_options, write_elmo
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo

h5py = pytest.importorskip("h5py")

# Every size differs, so that no axis can be taken for another.
FILTERS = [(1, 5), (2, 6), (3, 7)]
CHARACTERS, CHAR_WIDTH, WIDTH, PROJECTION, LAYERS, HIGHWAYS = 10, 4, 8, 3, 2, 2
OPTIONS = {
    "bidirectional": True,
    "lstm": {
        "use_skip_connections": True,
        "projection_dim": PROJECTION,
        "cell_clip": 3,
        "proj_clip": 0.5,
        "dim": WIDTH,
        "n_layers": LAYERS,
    },
    "char_cnn": {
        "activation": "relu",
        "filters": FILTERS,
        "n_highway": HIGHWAYS,
        "embedding": {"dim": CHAR_WIDTH},
        "n_characters": 261,
        "max_characters_per_token": CHARACTERS,
    },
    "dropout": 0.1,
    "n_tokens_vocab": 77,
    "n_epochs": 10,
    "all_clip_norm_val": 10.0,
}
CELL = "RNN_{}/RNN/MultiRNNCell/Cell{}/LSTMCell/"
SENTENCES = [["The", "cat", "supercalifragilistic", "."], ["café"], ["一", "a", "b"]]


def published_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (261, CHAR_WIDTH)}
    for number, (width, count) in enumerate(FILTERS):
        shapes[f"CNN/W_cnn_{number}"] = (1, width, CHAR_WIDTH, count)
        shapes[f"CNN/b_cnn_{number}"] = (count,)
    for number in range(HIGHWAYS):
        for name in ("carry", "transform"):
            shapes[f"CNN_high_{number}/W_{name}"] = (18, 18)
            shapes[f"CNN_high_{number}/b_{name}"] = (18,)
    shapes |= {"CNN_proj/W_proj": (18, PROJECTION), "CNN_proj/b_proj": (PROJECTION,)}
    for direction in range(2):
        for layer in range(LAYERS):
            cell = CELL.format(direction, layer)
            shapes[cell + "W_0"] = (2 * PROJECTION, 4 * WIDTH)
            shapes[cell + "B"] = (4 * WIDTH,)
            shapes[cell + "W_P_0"] = (WIDTH, PROJECTION)
    return shapes


def published_arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        name: draw.normal(scale=0.6, size=shape).astype(np.float32)
        for name, shape in published_shapes().items()
    }


def write_published(folder: Path, arrays: dict[str, np.ndarray], options=OPTIONS) -> list[Path]:
    paths = [folder / "options.json", folder / "weights.hdf5"]
    paths[0].write_text(json.dumps(options))
    with h5py.File(paths[1], "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return paths


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def published_layers(
    arrays: dict[str, np.ndarray], words: list[str], *, skips: bool = True
) -> np.ndarray:
    """bilm-tf's graph in float64, on the arrays as they are in the file."""
    a = {name: array.astype(np.float64) for name, array in arrays.items()}
    tokens = []
    for word in ["<S>", *words, "</S>"]:
        code = {"<S>": [256], "</S>": [257]}.get(word) or list(word.encode()[: CHARACTERS - 2])
        ids = [258, *code, 259] + [260] * (CHARACTERS - 2 - len(code))
        embedded = a["char_embed"][ids]
        found = []
        for number, (width, _) in enumerate(FILTERS):
            kernel = a[f"CNN/W_cnn_{number}"][0]
            places = [
                np.tensordot(embedded[start : start + width], kernel, 2)
                for start in range(CHARACTERS - width + 1)
            ]
            found.append(np.maximum(np.max(places, 0) + a[f"CNN/b_cnn_{number}"], 0))
        x = np.concatenate(found)
        for number in range(HIGHWAYS):
            high = f"CNN_high_{number}/"
            gate = sigmoid(x @ a[high + "W_carry"] + a[high + "b_carry"])
            new = np.maximum(x @ a[high + "W_transform"] + a[high + "b_transform"], 0)
            x = gate * new + (1 - gate) * x
        tokens.append(x @ a["CNN_proj/W_proj"] + a["CNN_proj/b_proj"])
    layers = [np.concatenate([tokens, tokens], 1)]
    ways = [np.array(tokens), np.array(tokens)[::-1]]
    for layer in range(LAYERS):
        for direction in range(2):
            cell_name = CELL.format(direction, layer)
            state, cell, states = np.zeros(PROJECTION), np.zeros(WIDTH), []
            for x in ways[direction]:
                both = np.concatenate([x, state])
                i, j, f, o = np.split(both @ a[cell_name + "W_0"] + a[cell_name + "B"], 4)
                cell = sigmoid(f + 1) * cell + sigmoid(i) * np.tanh(j)
                cell = cell.clip(-3, 3)
                state = (sigmoid(o) * np.tanh(cell)) @ a[cell_name + "W_P_0"]
                state = state.clip(-0.5, 0.5)
                states.append(state + x if layer and skips else state)
            ways[direction] = np.array(states)
        layers.append(np.concatenate([ways[0], ways[1][::-1]], 1))
    return np.array(layers)[:, 1:-1]


def test_published_files_give_the_published_layers(tmp_path):
    arrays = published_arrays()
    elmo = read_elmo(*write_published(tmp_path, arrays))
    assert not elmo.training
    for words, found in zip(SENTENCES, elmo.of_words(SENTENCES, may_cut=True), strict=True):
        expected = torch.from_numpy(published_layers(arrays, words)).float()
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)


def test_layers_without_skip_connections(tmp_path):
    arrays = published_arrays()
    options = OPTIONS | {"lstm": OPTIONS["lstm"] | {"use_skip_connections": False}}
    elmo = read_elmo(*write_published(tmp_path, arrays, options))
    for words, found in zip(SENTENCES, elmo.of_words(SENTENCES, may_cut=True), strict=True):
        expected = torch.from_numpy(published_layers(arrays, words, skips=False)).float()
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)
        assert not torch.allclose(
            found[2], torch.from_numpy(published_layers(arrays, words))[2].float()
        )
    write_elmo(tmp_path / "again", elmo)
    written = json.loads((tmp_path / "again" / "options.json").read_text())
    assert written["lstm"]["use_skip_connections"] is False


def test_every_known_number_is_in_its_place(tmp_path):
    arrays = {
        name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        for name, shape in published_shapes().items()
    }
    elmo = read_elmo(*write_published(tmp_path, arrays))
    encoder = elmo.encoder
    assert encoder.embedding.weight[0].tolist() == [0, 0, 0, 0]
    assert encoder.embedding.weight[1].tolist() == [0, 1, 2, 3]
    assert encoder.embedding.weight[261].tolist() == [1040, 1041, 1042, 1043]
    # Filter 2 of width 2, its first input over both characters: 0 * 6 + 2 and 4 * 6 + 2.
    assert encoder.convolutions[1].weight[2, 0].tolist() == [2, 26]
    assert encoder.highways[1].carry.weight[3, :3].tolist() == [3, 21, 39]
    assert encoder.projection.weight[1, :3].tolist() == [1, 4, 7]
    lstm = elmo.backward_lstms[1]
    assert lstm.input_weight[5].tolist() == [5, 37, 69]
    assert lstm.state_weight[5].tolist() == [101, 133, 165]
    assert lstm.bias.tolist() == list(range(32))
    assert lstm.projection[2, :3].tolist() == [2, 5, 8]
    assert elmo.config == ElmoConfig(
        vocab_size=77,
        characters=CHARACTERS,
        char_width=CHAR_WIDTH,
        filters=tuple(FILTERS),
        highways=HIGHWAYS,
        projection=PROJECTION,
        lstm_width=WIDTH,
        lstm_layers=LAYERS,
        cell_clip=3.0,
        projection_clip=0.5,
    )


@pytest.mark.parametrize("projection", [PROJECTION, 18])
def test_what_is_written_is_read_bit_for_bit(tmp_path, projection):
    config = ElmoConfig(
        vocab_size=4,
        characters=CHARACTERS,
        char_width=CHAR_WIDTH,
        filters=tuple(FILTERS),
        projection=projection,
        lstm_width=WIDTH,
        cnn_act="tanh",
        dropout=0.25,
    )
    torch.manual_seed(3)
    model = Elmo(config, ["[CLS]", "[SEP]", "a", "##b"]).eval()
    write_elmo(tmp_path / "a", model)
    back = read_elmo(tmp_path / "a" / "options.json", tmp_path / "a" / "weights.hdf5")
    assert back.config == config
    assert back.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    found = (one.of_words(SENTENCES, may_cut=True) for one in (model, back))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_published_arrays_come_back_bit_for_bit(tmp_path):
    arrays = published_arrays()
    write_elmo(tmp_path / "b", read_elmo(*write_published(tmp_path, arrays)))
    with h5py.File(tmp_path / "b" / "weights.hdf5") as file:
        for name, array in arrays.items():
            assert file[name].dtype == np.float32
            assert np.array_equal(file[name][...], array), name
    written = json.loads((tmp_path / "b" / "options.json").read_text())
    assert written["lstm"] == OPTIONS["lstm"]
    kept = OPTIONS["char_cnn"] | {"n_characters": 262, "filters": [list(row) for row in FILTERS]}
    assert written["char_cnn"] == kept
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "options.json",
        "weights.hdf5",
    ]


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    arrays = published_arrays()
    where = f"{tmp_path}/weights.hdf5"
    name = CELL.format(1, 0) + "W_P_0"
    less = {key: array for key, array in arrays.items() if key != name}
    with pytest.raises(FolderError) as caught:
        read_elmo(*write_published(tmp_path, less))
    assert str(caught.value).startswith(f"{where} lacks the dataset {name}, which ")

    with pytest.raises(FolderError) as caught:
        read_elmo(*write_published(tmp_path, arrays | {name: arrays[name].T}))
    assert f"{where}: {name} has shape (3, 8), " in str(caught.value)
    assert "options.json says (8, 3); one of the two" in str(caught.value)

    with pytest.raises(FolderError) as caught:
        read_elmo(*write_published(tmp_path, arrays | {"CNN/W_cnn_3": arrays["CNN/W_cnn_2"]}))
    assert f"{where}: 1 datasets have no place" in str(caught.value)
    assert "the first is CNN/W_cnn_3 (perhaps you meant 'CNN/W_cnn_" in str(caught.value)

    words = {key: np.full(array.shape, b"x") for key, array in arrays.items()}
    with pytest.raises(FolderError, match=r"weights.hdf5: \S+ holds \|S1, expected floating"):
        read_elmo(*write_published(tmp_path, words))
    counts = arrays | {name: arrays[name].astype(np.int64)}
    with pytest.raises(FolderError, match=f"{name} holds int64, expected floating-point numbers"):
        read_elmo(*write_published(tmp_path, counts))
    holes = arrays | {name: np.where(arrays[name] > 0, np.nan, arrays[name])}
    with pytest.raises(FolderError, match=f"{name} holds numbers that are not finite"):
        read_elmo(*write_published(tmp_path, holes))


@pytest.mark.parametrize("kept", [0, 700, 0.5, 0.95])
def test_a_damaged_file_is_refused(tmp_path, kept):
    options, weights = write_published(tmp_path, published_arrays())
    whole = weights.read_bytes()
    weights.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(FolderError) as caught:
        read_elmo(options, weights)
    assert str(caught.value).startswith(f"{weights} is damaged or not an HDF5 file (")


def test_missing_files_are_named(tmp_path):
    options, weights = write_published(tmp_path, published_arrays())
    with pytest.raises(FolderError, match="nowhere is missing; give the weights"):
        read_elmo(options, tmp_path / "nowhere")
    with pytest.raises(FolderError, match="nowhere is missing"):
        read_elmo(tmp_path / "nowhere", weights)


def changed(part: str | None, **values) -> dict:
    options = json.loads(json.dumps(OPTIONS))
    place = options if part is None else options[part]
    for name, value in values.items():
        if value is None:
            del place[name]
        else:
            place[name] = value
    return options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            changed("lstm", use_skip_connections="no"),
            FolderError,
            "'lstm.use_skip_connections' is a string, expected a boolean",
        ),
        (changed(None, bidirectional=False), UsageError, "bidirectional is False"),
        (changed("char_cnn", n_characters=300), UsageError, "n_characters is 300; bertsmith comp"),
        (changed("lstm", dim=None), FolderError, "lacks the key dim"),
        (changed(None, char_cnn=None), FolderError, "lacks the key char_cnn"),
        (changed(None, lstm=3), FolderError, "lstm is 3, expected an object"),
        (changed("lstm", dimension=3), FolderError, "unknown key 'dimension'"),
        (changed("lstm", dim=-1), UsageError, "lstm.dim is -1; it must be at least 1"),
        (changed("char_cnn", activation="gelu"), FolderError, "in 'char_cnn.activation'"),
        (changed("lstm", dim="8"), FolderError, "'lstm.dim' is a string, expected an integer; cor"),
        (changed("char_cnn", filters=[]), UsageError, "filters is (); give at least one pair of w"),
    ],
)
def test_options_that_are_not_computed_are_refused(tmp_path, options, error, message):
    path = tmp_path / "projection" / "options.json"
    path.parent.mkdir()
    path.write_text(json.dumps(options))
    with pytest.raises(error) as caught:
        read_options(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
