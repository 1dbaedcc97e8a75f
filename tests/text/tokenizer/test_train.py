import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from bertsmith.cli.tokenizer import TokenizerShow, TokenizerTrain
from bertsmith.core.errors import UsageError
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.text.tokenizer.train import train_tokenizer
from bertsmith.text.tokenizer.trainer import Kind

SHARED = ["tokenizer.json", "tokenizer_config.json"]
FILES: dict[Kind, list[str]] = {
    "wordpiece": [*SHARED, "vocab.txt"],
    "bpe": ["merges.txt", *SHARED, "vocab.json"],
}


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
    with pytest.raises(UsageError, match=rf"out='.*out' holds other files .*\({name}\)"):
        train_tokenizer([str(tmp_path / "nowhere.txt")], out=out, size=24)
    assert (out / "vocab.txt").read_bytes() == before


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_byte_pairs(tmp_path: Path, text: str) -> None:
    found = train_tokenizer([text], out=tmp_path / "out", size=30, kind="bpe")
    assert found.vocab == (
        *SPECIAL, *"ehnortw", *(f"{c}</w>" for c in "ehnortw"),
        "ne</w>", "one</w>", "tw", "two</w>", "ee</w>", "hr", "hree</w>", "three</w>",
    )  # fmt: skip
    assert found.tokens(found.encode("One TWO tone").ids) == ["one</w>", "two</w>", "t", "one</w>"]
    assert (tmp_path / "out" / "merges.txt").read_text() == (
        "#version: 0.2\nn e</w>\no ne</w>\nt w\ntw o</w>\ne e</w>\nh r\nhr ee</w>\nt hree</w>\n"
    )
    again = Tokenizer.load(tmp_path / "out")
    assert again.fingerprint == found.fingerprint


def test_the_commands_know_byte_pairs(tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    TokenizerTrain(inputs=[text], out=out, vocab_size=30, kind="bpe", workers=1).run()
    assert names(out) == FILES["bpe"]
    shown = TokenizerShow(model=str(out), text="Two [MASK] tone").run()
    assert [line.split()[0] for line in shown.text.splitlines()[1:-1]] == [
        "two</w>", "[MASK]", "t", "one</w>"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_the_other_kind_leaves_no_vocabulary_behind(tmp_path: Path, text: str, kind: Kind) -> None:
    out = tmp_path / "out"
    for before in FILES:
        train_tokenizer([text], out=out, size=30, kind=before)
        found = train_tokenizer([text], out=out, size=30, kind=kind)
        assert names(out) == FILES[kind]
        assert Tokenizer.load(out).fingerprint == found.fingerprint


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("kind", FILES)
def test_any_number_of_workers_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, lower_case: bool
) -> None:
    monkeypatch.setattr("bertsmith.text.tokenizer.words._BLOCK_CHARACTERS", 500)
    draw = random.Random(2)
    words = [
        "".join(draw.choices("aeiouklmnrstÄé我果", k=draw.randrange(1, 9))) for _ in range(300)
    ]
    lines = [" ".join(draw.choices(words, k=9)).capitalize() + "." for _ in range(150)]
    path = tmp_path / "text.txt"
    written = []
    for workers in (1, 2, 3):
        path.write_text("\n\n".join(lines))
        out = tmp_path / f"out{workers}"
        made = train_tokenizer(
            [str(path)], out=out, size=250, kind=kind, lower_case=lower_case, workers=workers
        )
        assert len(made) == 250
        written.append({name: (out / name).read_bytes() for name in names(out)})
        lines = lines[::-1]
    assert list(written[0]) == FILES[kind]
    assert written[0] == written[1] == written[2]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out1")
    given = [*lines[:40], "Émile, 我果x KLMN? ☃"]
    expected = theirs(given, add_special_tokens=False)["input_ids"]
    assert [made.encode(line).ids for line in given] == expected
    assert made.unk_id not in made.encode_flat(lines)[0]
    assert ("Ä" in "".join(made.vocab)) is not lower_case
