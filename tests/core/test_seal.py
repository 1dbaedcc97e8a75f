"""JSON that carries its own checksum: every changed byte is noticed."""

import json
from pathlib import Path

import msgspec
import pytest

from bertsmith.core.errors import FolderError
from bertsmith.core.storage import read_json, write_json, write_sealed


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """Of a job."""

    name: str = "中文"
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize("value", [Settings(), {}, {"one": [1, {}]}])
def test_what_was_sealed_is_read_as_it_was(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, value)
    kind = type(value)
    assert read_json(path, kind, sealed=True) == read_json(path, kind) == value
    found = json.loads(path.read_text())
    assert len(found.pop("sha256")) == 64
    assert found == json.loads(msgspec.json.encode(value))


def test_every_changed_missing_or_added_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, Settings())
    whole = path.read_bytes()
    for place in range(len(whole)):
        for other in (
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
            whole[:place] + whole[place + 1 :],
            whole[:place] + b" " + whole[place:],
            whole[:place],
        ):
            path.write_bytes(other)
            with pytest.raises(FolderError, match=r"a\.json"):
                read_json(path, Settings, sealed=True)
    path.write_bytes(whole + b"\n")
    with pytest.raises(FolderError, match="no checksum at its end"):
        read_json(path, Settings, sealed=True)


def test_an_edited_file_is_named_and_a_missing_seal_where_there_must_be_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, Settings())
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(FolderError, match=r"a\.json is damaged or was edited"):
        read_json(path, Settings)
    write_json(path, Settings())
    assert read_json(path, Settings) == Settings()
    with pytest.raises(FolderError, match="no checksum at its end"):
        read_json(path, Settings, sealed=True)
