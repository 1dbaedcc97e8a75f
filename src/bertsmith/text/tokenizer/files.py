"""A tokenizer's files in Hugging Face's layout, read strictly and written for `transformers`.

Three layouts are read: `tokenizer.json` (with or without `tokenizer_config.json`), `vocab.txt` with
`tokenizer_config.json`, and Google's `vocab.txt` alone. All three files are written.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bertsmith.core.errors import FolderError, explain_os_error
from bertsmith.core.storage import parse_json, write_bytes, write_json
from bertsmith.text.tokenizer import added_tokens as added
from bertsmith.text.tokenizer.added_tokens import CLS as CLS
from bertsmith.text.tokenizer.added_tokens import MASK as MASK
from bertsmith.text.tokenizer.added_tokens import PAD as PAD
from bertsmith.text.tokenizer.added_tokens import SEP as SEP
from bertsmith.text.tokenizer.added_tokens import SPECIAL as SPECIAL
from bertsmith.text.tokenizer.added_tokens import UNK as UNK
from bertsmith.text.tokenizer.added_tokens import Added

_SPECIAL = re.compile(r"\[\w+\]|<\w+>")

Frame = Literal["text", "prompt", "extract"]
"""What `transformers` is to put around a text: `[CLS] text [SEP]`, as BERT reads it; `[CLS] text`,
to be written on; or `[CLS] text [MASK]`, with the extract token of a fine-tuned GPT. A second text
follows behind `[SEP]`. Only the first tells the segments apart."""

# A longer word is one [UNK]: Hugging Face's number. Google's script has 200, but `transformers` has
# 100 whatever the files say, and a model must get the same ids here and there.
LONGEST_WORD = 100


class Cleaning(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to text before it is cut into pieces (Google's `BasicTokenizer`).

    `strip_accents=None` follows `lower_case`, as in Google's release.
    """

    lower_case: bool = True
    strip_accents: bool | None = None
    split_chinese: bool = True

    @property
    def strips_accents(self) -> bool:
        """Whether accents go, with the default resolved."""
        return self.lower_case if self.strip_accents is None else self.strip_accents


def normalizer_json(cleaning: Cleaning) -> dict[str, Any]:
    """The `normalizer` part of a `tokenizer.json`."""
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": cleaning.split_chinese,
        "strip_accents": cleaning.strip_accents,
        "lowercase": cleaning.lower_case,
    }


def tokenizer_json(
    vocab: tuple[str, ...],
    cleaning: Cleaning,
    *,
    recognise_special: bool,
    frame: Frame = "text",
    added_tokens: Sequence[Added] = (),
) -> dict[str, Any]:
    """The contents of `tokenizer.json`.

    Args:
        vocab: the pieces, in order of their ids.
        cleaning: how text is cleaned.
        recognise_special: whether `[MASK]` and the like, written in a text, become the special
            token. The file on disk does (as `transformers` writes it); text from a corpus must not.
        frame: what is put around a text.
        added_tokens: those of the user.
    """
    id_of = {piece: index for index, piece in enumerate(vocab)}
    outside = added.outside(added_tokens)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added.section(
            id_of, added_tokens, recognised=SPECIAL if recognise_special else ()
        ),
        "normalizer": normalizer_json(cleaning),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template(id_of, frame),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNK,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": {piece: index for piece, index in id_of.items() if piece not in outside},
        },
    }


def template(id_of: dict[str, int], frame: Frame) -> dict[str, Any]:
    """The `post_processor` part of a `tokenizer.json`."""
    segment = 1 if frame == "text" else 0
    ends = {"text": [SEP], "prompt": [], "extract": [MASK]}[frame]

    def special(piece: str, segment: int = 0) -> dict[str, Any]:
        return {"SpecialToken": {"id": piece, "type_id": segment}}

    first = [special(CLS), {"Sequence": {"id": "A", "type_id": 0}}]
    second = [special(SEP), {"Sequence": {"id": "B", "type_id": segment}}]
    return {
        "type": "TemplateProcessing",
        "single": [*first, *map(special, ends)],
        "pair": [*first, *second, *(special(piece, segment) for piece in ends)],
        "special_tokens": {
            piece: {"id": piece, "ids": [id_of[piece]], "tokens": [piece]}
            for piece in (CLS, SEP, *(piece for piece in ends if piece != SEP))
        },
    }


def class_keys(frame: Frame, usual: str) -> dict[str, Any]:
    """What `tokenizer_config.json` says of the class and of what the model is given.

    Args:
        frame: what is put around a text.
        usual: the class that frames a text as BERT does.
    """
    if frame == "text":
        return {"tokenizer_class": usual}
    # BERT's own class would frame texts its own way, and `OpenAIGPTModel` adds a word's vector for
    # every token type.
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
    }


def write_folder(
    folder: Path,
    vocab: tuple[str, ...],
    cleaning: Cleaning,
    *,
    model_max_length: int,
    frame: Frame = "text",
    added_tokens: Sequence[Added] = (),
) -> None:
    """Writes the three files, each whole or not at all; other files in `folder` are left alone."""
    own = vocab[: len(vocab) - len(added.outside(added_tokens))]
    write_bytes(folder / "vocab.txt", "".join(f"{piece}\n" for piece in own).encode())
    whole = tokenizer_json(
        vocab, cleaning, recognise_special=True, frame=frame, added_tokens=added_tokens
    )
    write_json(folder / "tokenizer.json", whole)
    write_json(
        folder / "tokenizer_config.json",
        class_keys(frame, "BertTokenizer")
        | {
            "do_lower_case": cleaning.lower_case,
            "strip_accents": cleaning.strip_accents,
            "tokenize_chinese_chars": cleaning.split_chinese,
            "model_max_length": model_max_length,
            "pad_token": PAD,
            "unk_token": UNK,
            "cls_token": CLS,
            "sep_token": SEP,
            "mask_token": MASK,
        },
    )


def read_folder(folder: Path) -> tuple[tuple[str, ...], Cleaning, tuple[Added, ...]]:
    """Reads vocabulary, cleaning rules and added tokens of a tokenizer (or model) folder.

    Raises:
        FolderError: no tokenizer there, a damaged file, or one that is not BERT's WordPiece.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; give one that holds a tokenizer.")
    config = _read_config(folder / "tokenizer_config.json")
    whole, plain = folder / "tokenizer.json", folder / "vocab.txt"
    if not whole.is_file() and not plain.is_file():
        raise FolderError(
            f"{folder} holds neither tokenizer.json nor vocab.txt; give a tokenizer's or a model's "
            "folder, or make one with `bertsmith tokenizer train`."
        )
    listed = read_vocab(plain) if plain.is_file() else None
    if not whole.is_file():
        assert listed is not None
        stated = config.do_lower_case
        cleaning = Cleaning(
            lower_case=not _has_capitals(listed) if stated is None else stated,
            strip_accents=config.strip_accents,
            split_chinese=config.tokenize_chinese_chars is not False,
        )
        vocab, tokens = added.read(folder, listed)
        return check_vocab(vocab, str(plain)), cleaning, tokens
    vocab, cleaning, tokens = _read_whole(whole)
    if listed is not None and vocab[: len(listed)] != listed:
        raise FolderError(
            f"{plain} and {whole} hold different vocabularies; delete the one that does not belong "
            "to the model."
        )
    if config.do_lower_case not in (None, cleaning.lower_case):
        raise FolderError(
            f"{folder}: tokenizer_config.json says do_lower_case={config.do_lower_case} but "
            f"tokenizer.json lower-cases={cleaning.lower_case}; correct the wrong one."
        )
    return vocab, cleaning, tokens


def _has_capitals(vocab: tuple[str, ...]) -> bool:
    """Whether a vocabulary is of text with capitals: one piece in a hundred, or more, has some.

    An uncased one has none but in special tokens. `transformers` would lower-case all text where
    no configuration says otherwise, and every piece with a capital would be lost.
    """
    capitals = (re.search("[A-Z]", piece) for piece in vocab if not _SPECIAL.fullmatch(piece))
    return sum(map(bool, capitals)) * 100 >= len(vocab)


class _Config(msgspec.Struct):
    """What concerns us in `tokenizer_config.json`; other tools' keys are theirs."""

    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None


def _read_config(path: Path) -> _Config:
    return parse_json(_read_bytes(path), _Config, str(path)) if path.is_file() else _Config()


def read_vocab(path: Path) -> tuple[str, ...]:
    """Reads a `vocab.txt`: one piece a line, the line number (from 0) is the id.

    Raises:
        FolderError: not UTF-8, an empty line, a piece twice, or a special token missing.
    """
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FolderError(
            f"{path}, line {line}, byte {error.start}: not UTF-8; save the vocabulary as UTF-8."
        ) from error
    lines = text.removesuffix("\n").split("\n")
    return _check_pieces([line.removesuffix("\r") for line in lines], str(path))


def check_vocab(pieces: list[str] | tuple[str, ...], source: str) -> tuple[str, ...]:
    """Checks that `pieces` can be a BERT vocabulary; `source` is named in errors."""
    found = _check_pieces(pieces, source)
    missing = [piece for piece in SPECIAL if piece not in found]
    if missing:
        raise FolderError(
            f"{source}: the special token{'s' * (len(missing) > 1)} {', '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} missing; a BERT vocabulary holds "
            f"{' '.join(SPECIAL)}: restore the file from a good copy."
        )
    return found


def _check_pieces(pieces: list[str] | tuple[str, ...], source: str) -> tuple[str, ...]:
    line_of: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if not piece:
            raise FolderError(f"{source}, line {line}: empty; expected one piece per line.")
        if piece in line_of:
            raise FolderError(
                f"{source}, line {line}: the piece {piece!r} is also in line {line_of[piece]}; "
                "every piece must occur once."
            )
        line_of[piece] = line
    return tuple(pieces)


def _read_whole(path: Path) -> tuple[tuple[str, ...], Cleaning, tuple[Added, ...]]:
    whole = parse_json(_read_bytes(path), _Whole, str(path))
    model, normalizer = whole.model, _joined(whole.normalizer, path)
    if whole.pre_tokenizer is None or whole.pre_tokenizer.type != "BertPreTokenizer":
        raise FolderError(
            f"{path}: its pre-tokenizer is not BertPreTokenizer; this is not a BERT's tokenizer."
        )
    if model.continuing_subword_prefix != "##" or model.unk_token != UNK:
        raise FolderError(
            f"{path}: unsupported WordPiece settings: "
            f"continuing_subword_prefix={model.continuing_subword_prefix!r}, "
            f"unk_token={model.unk_token!r}. Only BERT's ('##' and '{UNK}') are supported."
        )
    if model.max_input_chars_per_word != LONGEST_WORD or not normalizer.clean_text:
        raise FolderError(
            f"{path}: expected max_input_chars_per_word={LONGEST_WORD} and clean_text=true "
            f"(BERT's), found {model.max_input_chars_per_word} and "
            f"{str(normalizer.clean_text).lower()}."
        )
    id_of = added.own_ids(model.vocab, whole.added_tokens)
    piece_of = {index: piece for piece, index in id_of.items()}
    for index in range(len(piece_of)):
        if index not in piece_of:
            raise FolderError(f"{path}: no piece has the id {index}; ids must run without gaps.")
    own = tuple(piece_of[index] for index in range(len(piece_of)))
    vocab, tokens = added.read(path.parent, own, whole.added_tokens)
    cleaning = Cleaning(
        lower_case=normalizer.lowercase,
        strip_accents=normalizer.strip_accents,
        split_chinese=normalizer.handle_chinese_chars,
    )
    return check_vocab(vocab, str(path)), cleaning, tokens


class Normalizer(msgspec.Struct, tag="BertNormalizer"):
    """Of `tokenizer.json`: how text is cleaned."""

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True


class _Lowercase(msgspec.Struct, tag="Lowercase"):
    pass


class _Sequence(msgspec.Struct, tag="Sequence"):
    normalizers: list[_Lowercase | Normalizer]


def _joined(normalizer: Normalizer | _Sequence, path: Path) -> Normalizer:
    """One normalizer; sentence-transformers writes lower-casing as a step before BERT's."""
    if isinstance(normalizer, Normalizer):
        return normalizer
    *before, last = normalizer.normalizers or [_Lowercase()]
    if not isinstance(last, Normalizer) or not all(isinstance(one, _Lowercase) for one in before):
        raise FolderError(
            f"{path}: the normalizer is a Sequence of {len(before) + 1}, expected Lowercase, then "
            "BertNormalizer; other sequences are not supported."
        )
    if not before or last.lowercase:
        return last
    # The accents follow the last step's own setting, which by default strips none from this text.
    return msgspec.structs.replace(last, lowercase=True, strip_accents=bool(last.strip_accents))


class PreTokenizer(msgspec.Struct):
    """Of `tokenizer.json`: how text is cut into words."""

    type: str


class _Model(msgspec.Struct, tag="WordPiece"):
    vocab: dict[str, int]
    unk_token: str = UNK
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: int = LONGEST_WORD


class _Whole(msgspec.Struct):
    """What concerns us in `tokenizer.json`; a model other than WordPiece does not fit."""

    model: _Model
    normalizer: Normalizer | _Sequence
    pre_tokenizer: PreTokenizer | None = None
    added_tokens: list[Added] = []


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
