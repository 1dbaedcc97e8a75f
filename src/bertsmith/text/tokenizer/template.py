"""Which special tokens another program's tokenizer puts around a text."""

from pathlib import Path

import tokenizers

from bertsmith.core.errors import FolderError
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_PROBE = "a"


def special_ids(folder: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids before and after a single text, as `transformers` puts them around it.

    Without a `tokenizer.json` they are those of the vocabulary's kind: BERT's `[CLS]` and `[SEP]`,
    and none with OpenAI's byte pairs.

    Raises:
        FolderError: `tokenizer.json` is damaged, or there is no tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        tokenizer = Tokenizer.load(folder)
        if tokenizer.merges is None and tokenizer.has_special:
            return (tokenizer.cls_id,), (tokenizer.sep_id,)
        return (), ()
    try:
        encoded = tokenizers.Tokenizer.from_file(str(path)).encode(_PROBE)
    except Exception as error:  # What the library raises has no class.
        raise FolderError(
            f"{path} is not a tokenizer ({error}); restore it from a good copy."
        ) from error
    places = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
    if not places:
        return tuple(encoded.ids), ()
    return tuple(encoded.ids[: places[0]]), tuple(encoded.ids[places[-1] + 1 :])
