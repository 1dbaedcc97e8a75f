from pathlib import Path

import pytest

from bertsmith.errors import UsageError
from bertsmith.text.learn import train_tokenizer
from bertsmith.text.tokenizer import Tokenizer


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("one two three one two one\n" * 9)
    return str(path)


def test_a_rerun_replaces_the_tokenizer_alone(tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    first = train_tokenizer([text], out=out, size=30)
    (out / ".vocab.txt.7.partial").touch()  # a kill left it
    second = train_tokenizer([text], out=out, size=24)
    assert len(second.vocab) == 24 < len(first.vocab)
    assert Tokenizer.load(out).vocab == second.vocab


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "notes.txt"])
def test_nothing_else_is_written_over(tmp_path: Path, text: str, name: str) -> None:
    """Said before the work begins: the input is not even looked for."""
    out = tmp_path / "out"
    train_tokenizer([text], out=out, size=30)
    before = (out / "vocab.txt").read_bytes()
    (out / name).touch()
    with pytest.raises(UsageError, match=rf"--out .*out holds something else .*\({name}\)"):
        train_tokenizer([str(tmp_path / "nowhere.txt")], out=out, size=24)
    assert (out / "vocab.txt").read_bytes() == before
