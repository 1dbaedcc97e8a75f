"""Shows a pre-training batch as text, with its masks and pair labels."""

import re

from bertsmith.core.terminal import columns
from bertsmith.models.modules.packed import LanguageBatch, PretrainBatch, TextBatch
from bertsmith.pretraining.config import PairTask
from bertsmith.text.tokenizer.tokenizer import Tokenizer

_LABELS: dict[PairTask, tuple[str, str]] = {
    "nsp": (
        "next sentence (B follows A)",
        "random sentence (B is from another document)",
    ),
    "sop": ("in order (B follows A)", "swapped (A follows B)"),
    "none": ("", ""),
}

# A line may break before a space, and around every Chinese or Japanese character.
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff"
_BREAKABLE = re.compile(rf" ?(?:[{_WIDE}]|[^ {_WIDE}]+)")

LEGEND = "[MASK](original)  {random->original}  {kept: original}  mark the tokens to predict."
_FORWARD = "Every token but the first is predicted from those before it"
_BACKWARD = ", and every token but the last from those after it"


def describe(
    batch: TextBatch,
    tokenizer: Tokenizer,
    *,
    pair_task: PairTask,
    sequences: int = 3,
    width: int = 100,
) -> str:
    """A few examples of a batch, decoded, with masks and pair labels marked.

    They are spread evenly over the batch, which has its longest examples first.

    Args:
        batch: a batch of `Batches.at` or `heldout_batches`.
        tokenizer: the tokenizer of its ids.
        pair_task: pair task of the run.
        sequences: maximum number of examples.
        width: columns of the terminal; Chinese characters take two.

    Returns:
        Lines of plain text.
    """
    ids_T = batch.packed.ids_T.tolist()
    starts = batch.packed.starts.tolist()
    labels: dict[int, int] = {}
    if isinstance(batch, LanguageBatch):
        lines = [f"{_FORWARD}{_BACKWARD if batch.backward else ''}."]
    else:
        lines = [LEGEND]
        labels = dict(zip(batch.masked_P.tolist(), batch.labels_P.tolist(), strict=True))
    count = min(sequences, batch.packed.sequences)
    for number in range(count):
        row = number * batch.packed.sequences // count
        places = range(starts[row], starts[row + 1])
        lines += ["", f"Example {number + 1}: {len(places)} tokens"]
        if isinstance(batch, PretrainBatch):
            lines[-1] += _pair(batch, row, places, pair_task)
            lines.append(_predicted(places, ids_T, labels, tokenizer.mask_id))
        pieces = _pieces(places, ids_T, labels, tokenizer)
        lines += [f"  {line}" for line in wrap(pieces, width - 2)]
    return "\n".join(lines)


def _pair(batch: PretrainBatch, row: int, places: range, pair_task: PairTask) -> str:
    if batch.next_B is None:
        return ""
    in_b = int(batch.packed.segments_T[places.start : places.stop].sum())
    label = _LABELS[pair_task][int(batch.next_B[row])]
    return f" (A {len(places) - in_b - 2}, B {in_b - 1}, 3 special), {label}"


def _predicted(places: range, ids_T: list[int], labels: dict[int, int], mask_id: int) -> str:
    chosen = [place for place in places if place in labels]
    masked = sum(ids_T[place] == mask_id for place in chosen)
    kept = sum(ids_T[place] == labels[place] for place in chosen)
    return (
        f"  {len(chosen)} to predict: {masked} masked, {len(chosen) - masked - kept} replaced by a "
        f"random token, {kept} kept"
    )


def _pieces(
    places: range, ids_T: list[int], labels: dict[int, int], tokenizer: Tokenizer
) -> list[str]:
    """Words of the unchanged text, and every token to predict as a piece of its own."""
    pieces: list[str] = []
    run: list[int] = []
    for place in places:
        if place not in labels:
            run.append(ids_T[place])
            continue
        pieces += _BREAKABLE.findall(f" {tokenizer.decode(run)}")
        run = []
        [original] = tokenizer.tokens([labels[place]])
        [seen] = tokenizer.tokens([ids_T[place]])
        if ids_T[place] == tokenizer.mask_id:
            pieces.append(f" {seen}({original})")
        elif seen == original:
            pieces.append(f" {{kept: {original}}}")
        else:
            pieces.append(f" {{{seen}->{original}}}")
    return pieces + _BREAKABLE.findall(f" {tokenizer.decode(run)}")


def wrap(pieces: list[str], width: int) -> list[str]:
    """Wraps pieces, which include the space before them, to lines of at most `width` columns.

    A wider piece gets its own line.
    """
    lines = [""]
    used = 0
    for piece in pieces:
        needed = columns(piece)
        if used and used + needed > width:
            lines.append("")
            used = 0
        if not used:
            piece, needed = piece.lstrip(), columns(piece.lstrip())
        lines[-1] += piece
        used += needed
    return lines
