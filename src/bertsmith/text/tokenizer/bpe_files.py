"""A byte-pair tokenizer's files in Hugging Face's layout: GPT's, read strictly and written.

Two layouts are read: `tokenizer.json` (alone, or with any of the others), and OpenAI's `vocab.json`
with `merges.txt`. A `tokenizer_config.json` beside them tells the cleaning rules.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bertsmith.core.errors import FolderError, explain_os_error
from bertsmith.core.storage import parse_json, read_json, write_bytes, write_json
from bertsmith.text.tokenizer import added_tokens as added
from bertsmith.text.tokenizer import files as tokenizer_files
from bertsmith.text.tokenizer.added_tokens import (
    CLS,
    MASK,
    OPENAI_UNKNOWN,
    PAD,
    SEP,
    SPECIAL,
    UNK,
    Added,
)
from bertsmith.text.tokenizer.files import Cleaning, Frame, Normalizer, PreTokenizer

END = "</w>"
"""What a piece that ends a word ends with."""

Merges = tuple[tuple[str, str], ...]

VOCAB, MERGES, WHOLE, CONFIG = "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"

_VERSION = "#version: 0.2"
_NAMES = {PAD: "pad_token", UNK: "unk_token", CLS: "cls_token", SEP: "sep_token"}
_NAMES |= {MASK: "mask_token", OPENAI_UNKNOWN: "unk_token"}


def unknown_of(vocab: Sequence[str]) -> str:
    """The piece that stands for an unknown character."""
    return OPENAI_UNKNOWN if OPENAI_UNKNOWN in vocab else UNK


def tokenizer_json(
    vocab: tuple[str, ...],
    cleaning: Cleaning,
    merges: Merges,
    *,
    special: Collection[str],
    frame: Frame = "text",
    added_tokens: Sequence[Added] = (),
) -> dict[str, Any]:
    """The contents of `tokenizer.json`: a BERT's with another model.

    Args:
        vocab: the pieces, in order of their ids.
        cleaning: how text is cleaned.
        merges: the pairs to merge, the most urgent first.
        special: which pieces, written in a text, become themselves.
        frame: what is put around a text, if the vocabulary has it.
        added_tokens: those of the user.
    """
    id_of = {piece: index for index, piece in enumerate(vocab)}
    whole = tokenizer_files.tokenizer_json(SPECIAL, cleaning, recognise_special=True)
    outside = added.outside(added_tokens)
    framed = {CLS, SEP, MASK} <= id_of.keys()
    return whole | {
        "added_tokens": added.section(id_of, added_tokens, recognised=special),
        "post_processor": tokenizer_files.template(id_of, frame) if framed else None,
        "decoder": {"type": "BPEDecoder", "suffix": END},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown_of(vocab),
            "continuing_subword_prefix": "",
            "end_of_word_suffix": END,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {piece: index for piece, index in id_of.items() if piece not in outside},
            "merges": merges,
        },
    }


def write_folder(
    folder: Path,
    vocab: tuple[str, ...],
    cleaning: Cleaning,
    merges: Merges,
    *,
    whole: dict[str, Any],
    model_max_length: int,
    frame: Frame = "text",
) -> None:
    """Writes the four files, each whole or not at all; other files in `folder` are left alone.

    Args:
        folder: to write in.
        vocab: the model's own pieces, in order of their ids.
        cleaning: how text is cleaned.
        merges: the pairs to merge, the most urgent first.
        whole: the contents of `tokenizer.json`.
        model_max_length: the number of tokens at which `transformers` truncates.
        frame: what is put around a text.
    """
    write_json(folder / VOCAB, {piece: index for index, piece in enumerate(vocab)})
    lines = [_VERSION, *(f"{left} {right}" for left, right in merges)]
    write_bytes(folder / MERGES, "".join(f"{line}\n" for line in lines).encode())
    write_json(folder / WHOLE, whole)
    # `OpenAIGPTTokenizer` would build anew what `tokenizer.json` says, and lower-case always.
    config = tokenizer_files.class_keys(frame, "PreTrainedTokenizerFast") | {
        "do_lower_case": cleaning.lower_case,
        "strip_accents": cleaning.strip_accents,
        "tokenize_chinese_chars": cleaning.split_chinese,
        "model_max_length": model_max_length,
    }
    names = {_NAMES[piece]: piece for piece in vocab if piece in _NAMES}
    write_json(folder / CONFIG, config | names | {"unk_token": unknown_of(vocab)})


def is_folder(folder: Path) -> bool:
    """Whether `folder` holds byte pairs: files that WordPiece has not, or a model that says so.

    Raises:
        FolderError: `tokenizer.json` is damaged.
    """
    if (folder / "vocab.txt").is_file():
        return False
    if (folder / VOCAB).is_file() or (folder / MERGES).is_file():
        return True
    if not (folder / WHOLE).is_file():
        return False
    model = read_json(folder / WHOLE, _Glance).model
    return model.type == "BPE" or bool(bytes(model.merges))


def read_folder(folder: Path) -> tuple[tuple[str, ...], Cleaning, Merges, tuple[Added, ...]]:
    """Reads vocabulary, cleaning rules, merges and added tokens of a tokenizer (or model) folder.

    Raises:
        FolderError: a file is missing, damaged, or not of GPT's byte pairs.
    """
    path = folder / CONFIG
    config = read_json(path, _Config) if path.is_file() else _Config()
    if not (folder / WHOLE).is_file():
        own, cleaning, merges = _read_two(folder, config)
        vocab, tokens = added.read(folder, own)
        return vocab, cleaning, merges, tokens
    vocab, cleaning, merges, tokens = _read_whole(folder / WHOLE)
    if (folder / VOCAB).is_file():
        listed = _read_vocab(folder / VOCAB)
        if vocab[: len(listed)] != listed:
            raise FolderError(
                f"{folder / VOCAB} and {folder / WHOLE} hold different vocabularies; delete the "
                "one that does not belong to the model."
            )
    if (folder / MERGES).is_file() and _read_merges(folder / MERGES)[0] != merges:
        raise FolderError(
            f"{folder / MERGES} and {folder / WHOLE} hold different merges; one of the two is "
            "damaged or of another model: restore it from a good copy."
        )
    if config.do_lower_case not in (None, cleaning.lower_case):
        raise FolderError(
            f"{folder}: {CONFIG} says do_lower_case={config.do_lower_case} but {WHOLE} lower-cases="
            f"{cleaning.lower_case}; correct the wrong one."
        )
    return vocab, cleaning, merges, tokens


def _read_two(folder: Path, config: "_Config") -> tuple[tuple[str, ...], Cleaning, Merges]:
    for here, other in ((VOCAB, MERGES), (MERGES, VOCAB)):
        if not (folder / other).is_file():
            raise FolderError(
                f"{folder} holds {here} but no {other}; BPE needs both files. Put the missing one "
                "back."
            )
    vocab = _read_vocab(folder / VOCAB)
    merges, first_line = _read_merges(folder / MERGES)
    check_merges(vocab, merges, f"{folder / MERGES}, line", first=first_line)
    _check_word_ends(vocab, merges, folder / MERGES)
    cleaning = Cleaning(
        lower_case=config.do_lower_case is not False,
        strip_accents=config.strip_accents,
        split_chinese=config.tokenize_chinese_chars is not False,
    )
    return vocab, cleaning, merges


def _read_vocab(path: Path) -> tuple[str, ...]:
    return _in_order(read_json(path, dict[str, int]), str(path))


def _in_order(id_of: dict[str, int], source: str) -> tuple[str, ...]:
    piece_of = {index: piece for piece, index in id_of.items()}
    for index in range(len(id_of)):
        if index not in piece_of:
            raise FolderError(
                f"{source}: no piece has the id {index}; {len(id_of)} pieces must have the ids "
                f"0 to {len(id_of) - 1}. Restore the file from a good copy."
            )
    return check_vocab(tuple(piece_of[index] for index in range(len(piece_of))), source)


def _read_merges(path: Path) -> tuple[Merges, int]:
    """The merges, and the line that the first stands in."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    except UnicodeDecodeError as error:
        raise FolderError(
            f"{path}, byte {error.start}: not UTF-8; restore the file from a good copy."
        ) from error
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    first = 2 if lines[0].startswith("#version") else 1
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines[first - 1 :], first):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise FolderError(
                f"{path}, line {number}: expected two pieces with a space between them, found "
                f"{line[:40]!r}; restore the file from a good copy."
            )
        merges.append((left, right))
    return tuple(merges), first


def check_vocab(vocab: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Checks that `vocab` can be a GPT's vocabulary; `source` is named in errors."""
    if len(set(vocab)) < len(vocab) or "" in vocab:
        raise FolderError(
            f"{source}: a piece is empty or occurs twice; every piece must occur once."
        )
    if unknown_of(vocab) not in vocab:
        raise FolderError(
            f"{source}: found neither {OPENAI_UNKNOWN} nor {UNK} as the unknown token; this is "
            "not a GPT's vocabulary."
        )
    if not any(piece.endswith(END) for piece in vocab):
        raise FolderError(
            f"{source}: no piece ends with {END}, GPT's mark for the end of a word; this is not a "
            "GPT's vocabulary."
        )
    return vocab


def check_merges(vocab: tuple[str, ...], merges: Merges, source: str, *, first: int = 1) -> None:
    """Checks that all pieces of merges are in `vocab`; `source` and a number are named in errors.

    Args:
        vocab: the pieces.
        merges: pairs of them.
        source: where merges are, and what counts them, as in "merges.txt, line".
        first: the number of the first merge there.
    """
    known = frozenset(vocab)
    for number, (left, right) in enumerate(merges, first):
        for piece in (left, right, left + right):
            if piece not in known:
                raise FolderError(
                    f"{source} {number}: {left!r} and {right!r} are merged, but {piece!r} is not "
                    "in the vocabulary; the merges belong to another vocabulary, or one of the two "
                    "is damaged."
                )


def _check_word_ends(vocab: tuple[str, ...], merges: Merges, path: Path) -> None:
    """Every piece of several characters that ends a word must come out of a merge."""
    made = {left + right for left, right in merges}
    lost = [piece for piece in vocab if piece.endswith(END) and len(piece) > len(END) + 1]
    lost = [piece for piece in lost if piece not in made]
    if lost:
        raise FolderError(
            f"{path}: no merge makes {len(lost):,} pieces of {VOCAB}, the first {lost[0]!r}; the "
            "file was cut short or belongs to another vocabulary: restore it from a good copy."
        )


def _read_whole(path: Path) -> tuple[tuple[str, ...], Cleaning, Merges, tuple[Added, ...]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    whole = parse_json(data, _Whole, str(path))
    model, normalizer = whole.model, whole.normalizer
    if whole.pre_tokenizer is None or whole.pre_tokenizer.type != "BertPreTokenizer":
        raise FolderError(
            f"{path}: its pre-tokenizer is not BertPreTokenizer. Only GPT's BPE is supported, not "
            "that of other models."
        )
    if model.end_of_word_suffix != END or model.continuing_subword_prefix:
        raise FolderError(
            f"{path}: unsupported BPE settings: end_of_word_suffix={model.end_of_word_suffix!r}, "
            f"continuing_subword_prefix={model.continuing_subword_prefix!r}. Only GPT's ({END!r} "
            "and none) are supported."
        )
    if model.dropout or model.fuse_unk or model.byte_fallback or model.ignore_merges:
        raise FolderError(
            f"{path}: expected dropout=null and fuse_unk, byte_fallback and ignore_merges=false "
            "(GPT's); at least one differs."
        )
    if not normalizer.clean_text:
        raise FolderError(f"{path}: expected clean_text=true (GPT's), found false.")
    own = _in_order(added.own_ids(model.vocab, whole.added_tokens), str(path))
    vocab, tokens = added.read(path.parent, own, whole.added_tokens)
    if model.unk_token != unknown_of(vocab):
        raise FolderError(
            f"{path}: its unknown token is {model.unk_token!r}, expected {unknown_of(vocab)!r}; "
            "this is not a GPT's tokenizer."
        )
    merges: list[tuple[str, str]] = []
    for number, merge in enumerate(model.merges, 1):
        left, right = merge if isinstance(merge, tuple) else merge.partition(" ")[::2]
        if not left or not right:
            raise FolderError(
                f"{path}, merge {number}: expected two pieces, found {merge!r}; restore the file "
                "from a good copy."
            )
        merges.append((left, right))
    check_merges(vocab, tuple(merges), f"{path}, merge")
    cleaning = Cleaning(
        lower_case=normalizer.lowercase,
        strip_accents=normalizer.strip_accents,
        split_chinese=normalizer.handle_chinese_chars,
    )
    return vocab, cleaning, tuple(merges), tokens


class _Config(msgspec.Struct):
    """What concerns us in `tokenizer_config.json`; other tools' keys are theirs."""

    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None


class _GlanceModel(msgspec.Struct):
    type: str | None = None
    merges: msgspec.Raw = msgspec.Raw()


class _Glance(msgspec.Struct):
    """What tells one kind of `tokenizer.json` from another."""

    model: _GlanceModel


class _Model(msgspec.Struct, tag="BPE"):
    vocab: dict[str, int]
    merges: list[str | tuple[str, str]]
    unk_token: str | None = None
    end_of_word_suffix: str | None = None
    continuing_subword_prefix: str | None = None
    dropout: float | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False


class _Whole(msgspec.Struct):
    """What concerns us in `tokenizer.json`."""

    model: _Model
    normalizer: Normalizer
    pre_tokenizer: PreTokenizer | None = None
    added_tokens: list[Added] = []
