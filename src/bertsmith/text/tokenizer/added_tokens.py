"""Tokens that a user put beside a vocabulary: read, and matched in text, as `transformers` does.

They stand in `tokenizer.json` (`added_tokens`), or beside a `vocab.txt` in `tokenizer_config.json`
(`added_tokens_decoder`), `added_tokens.json` and `special_tokens_map.json`. The `tokenizers`
library finds them before the text is cut into words, by these flags:

- `single_word`: only where no letter or digit touches it;
- `lstrip`, `rstrip`: with the white space to its left or right;
- `normalized`: in the cleaned text, itself cleaned (`[ENT]` is found in `[ent]`), not as written.

BERT's five special tokens are added tokens too, but `Tokenizer` matches them only where the caller
allows it: a corpus that mentions `[MASK]` must not get one.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.core.errors import FolderError
from bertsmith.core.storage import read_json

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
OPENAI_UNKNOWN = "<unk>"
_MODELS = frozenset({*SPECIAL, OPENAI_UNKNOWN})

CONFIG = "tokenizer_config.json"
# In the order in which `transformers` adds those that the vocabulary lacks.
_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class Added(msgspec.Struct, frozen=True):
    """An added token with its flags, as `tokenizer.json` has them."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False
    outside: bool = False
    """Whether the model's own vocabulary lacks it (not in the file)."""

    @property
    def as_json(self) -> dict[str, Any]:
        """As in `tokenizer.json`."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        del fields["outside"]
        return fields


def outside(added: Sequence[Added]) -> frozenset[str]:
    """Those that the model's own vocabulary lacks."""
    return frozenset(token.content for token in added if token.outside)


def own_ids(vocab: dict[str, int], added: Sequence[Added]) -> dict[str, int]:
    """A `vocab` of `tokenizer.json`, with special tokens of BERT and GPT that are only added.

    They count as the model's own, unless they stand behind a user's token.
    """
    lacking = [token for token in added if token.content not in vocab]
    users = min((token.id for token in lacking if token.content not in _MODELS), default=None)
    own = (token for token in lacking if users is None or token.id < users)
    return {token.content: token.id for token in own} | vocab


def section(
    id_of: Mapping[str, int], added: Sequence[Added], *, recognised: Collection[str]
) -> list[dict[str, Any]]:
    """The `added_tokens` part of a `tokenizer.json`.

    Args:
        id_of: every piece's id.
        added: tokens that are always matched, and flags of special ones.
        recognised: special tokens of the model that are matched where a text holds them.
    """
    tokens = {piece: special_token(id_of[piece], piece) for piece in recognised}
    tokens |= {token.content: token for token in added}
    own = _MODELS - {*recognised}
    kept = [token for content, token in tokens.items() if content not in own]
    return [token.as_json for token in sorted(kept, key=lambda token: token.id)]


def identity(added: Sequence[Added]) -> list[Any]:
    """What added tokens say of ids; nothing where there are none, as in fingerprints of old."""
    return [msgspec.to_builtins(added)] if added else []


def special_token(index: int, content: str) -> Added:
    """A special token with the flags that `transformers` gives it."""
    return Added(index, content, normalized=False, special=True)


class _Token(msgspec.Struct):
    """An added token in a configuration file; without `normalized`, a special one is not."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = False

    def placed(self, index: int, *, special: bool = False) -> Added:
        special = special or self.special
        normalized = not special if self.normalized is None else self.normalized
        return Added(
            index, self.content, self.single_word, self.lstrip, self.rstrip, normalized, special
        )


class _Names(msgspec.Struct):
    """What `special_tokens_map.json`, or `tokenizer_config.json`, says of special tokens."""

    bos_token: _Token | str | None = None
    eos_token: _Token | str | None = None
    unk_token: _Token | str | None = None
    sep_token: _Token | str | None = None
    pad_token: _Token | str | None = None
    cls_token: _Token | str | None = None
    mask_token: _Token | str | None = None
    additional_special_tokens: list[_Token | str] | None = None
    extra_special_tokens: list[_Token | str] | dict[str, _Token | str] | None = None

    @property
    def named(self) -> list[_Token | str]:
        """Those with a role, and those with a name that the user gave."""
        found = [getattr(self, f"{name}_token") for name in _NAMED]
        if isinstance(self.extra_special_tokens, dict):
            found += self.extra_special_tokens.values()
        return [token for token in found if token is not None]

    @property
    def extra(self) -> list[_Token | str]:
        """Those without a role, newer key first."""
        newer = self.extra_special_tokens
        listed = newer if isinstance(newer, list) else []
        return [*listed, *(self.additional_special_tokens or [])]

    def over(self, other: "_Names") -> "_Names":
        """The names here, and the `other`'s where there are none here."""
        mine = {name: getattr(self, name) for name in self.__struct_fields__}
        given = {name: value for name, value in mine.items() if value is not None}
        return msgspec.structs.replace(other, **given)


class _Config(_Names):
    added_tokens_decoder: dict[int, _Token] | None = None


def read(
    folder: Path, vocab: Sequence[str], whole: Sequence[Added] = ()
) -> tuple[tuple[str, ...], tuple[Added, ...]]:
    """The vocabulary with the added tokens of a folder behind it, and these with their flags.

    Of BERT's special tokens only those with unusual flags are among them.

    Args:
        folder: of a tokenizer or model.
        vocab: the model's own pieces, in order of their ids.
        whole: `added_tokens` of `tokenizer.json`.

    Raises:
        FolderError: a file is damaged, or gives a token another id than `transformers` would.
    """
    config = _optional(folder / CONFIG, _Config) or _Config()
    names: _Names = config
    if config.added_tokens_decoder is not None:
        listed = config.added_tokens_decoder
        wanted = {index: token.placed(index) for index, token in listed.items()}
        source = folder / CONFIG
        _check_listed(source, wanted, vocab, whole)
    else:
        names = (_optional(folder / "special_tokens_map.json", _Names) or _Names()).over(config)
        source = folder / "added_tokens.json"
        special = {_content(token) for token in names.named}
        if isinstance(names.extra_special_tokens, list):
            special.update(map(_content, names.extra_special_tokens))
        beside: dict[str, int] = _optional(source, dict[str, int]) or {}
        wanted = {
            index: _Token(token, special=token in special).placed(index)
            for token, index in beside.items()
        }
        wanted |= {token.id: token for token in whole}
        source = source if beside else folder / "tokenizer.json"
    return _placed(vocab, [wanted[index] for index in sorted(wanted)], names, source)


def _placed(
    vocab: Sequence[str], wanted: list[Added], names: _Names, source: Path
) -> tuple[tuple[str, ...], tuple[Added, ...]]:
    """Gives ids as the library does: a piece's own, else the next behind all others."""
    id_of = {piece: index for index, piece in enumerate(vocab)}
    found: dict[str, Added] = {}

    def add(token: Added) -> int:
        outside = token.content not in id_of
        index = id_of.setdefault(token.content, len(id_of))
        outside = outside or index >= len(vocab)
        found[token.content] = msgspec.structs.replace(token, id=index, outside=outside)
        return index

    named = {_content(token) for token in names.named}
    for token in wanted:
        if not token.content:
            raise FolderError(f"{source}: an added token is empty; remove it.")
        index = add(msgspec.structs.replace(token, special=token.special or token.content in named))
        if index != token.id:
            raise FolderError(
                f"{source}: the added token {token.content!r} has the id {token.id}, but "
                f"transformers gives it {index}; correct the file that is wrong."
            )
    for raw in [*names.named, *names.extra]:
        extra = raw if isinstance(raw, _Token) else _Token(raw)
        missing = extra.content in SPECIAL and extra.content not in id_of  # refused later
        if extra.content and extra.content not in found and not missing:
            add(extra.placed(0, special=True))
    own = _MODELS & id_of.keys()
    usual = {special_token(id_of[piece], piece) for piece in own}
    kept = (token for token in found.values() if _as_inside(token) not in usual)
    return tuple(id_of), tuple(sorted(kept, key=lambda token: token.id))


def _as_inside(token: Added) -> Added:
    return msgspec.structs.replace(token, outside=False)


def _check_listed(
    source: Path, wanted: dict[int, Added], vocab: Sequence[str], whole: Sequence[Added]
) -> None:
    """`transformers` follows `tokenizer_config.json`, where it lists added tokens, alone."""
    known = {token.content for token in wanted.values()} | {*vocab}
    lost = [token.content for token in whole if token.content not in known]
    if lost:
        raise FolderError(
            f"{source}: added_tokens_decoder lacks the added token {lost[0]!r} of tokenizer.json; "
            "delete that key, or save the tokenizer again."
        )


def _content(token: _Token | str) -> str:
    return token if isinstance(token, str) else token.content


def _optional(path: Path, kind: Any) -> Any:
    return read_json(path, kind) if path.is_file() else None
