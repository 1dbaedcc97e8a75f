"""What the output layer of a task is, as far as its settings need no torch."""

from collections.abc import Sequence
from typing import Literal

from bertsmith.core.errors import UsageError

Kind = Literal["classify", "regress", "choose", "tag", "answer"]
"""What a fine-tuned model says of its input (paper, section 4 and figure 4)."""
Combine = Literal["concat", "sum"]


def chosen_layers(layers: Sequence[int], *, count: int, flag: str) -> list[int]:
    """Layers counted from the embeddings at 0, of which negative ones were counted from the last.

    Args:
        layers: as the user numbers them.
        count: layers of the model, the embeddings counted.
        flag: what they were given with.

    Raises:
        UsageError: the model has no such layer, or none is named.
    """
    if not layers or any(not -count <= layer < count for layer in layers):
        raise UsageError(
            f"{flag} {','.join(map(str, layers))}: the model has layers 0 (embeddings) to "
            f"{count - 1}, or -{count} to -1 counted from the last; name at least one."
        )
    return [layer % count for layer in layers]
