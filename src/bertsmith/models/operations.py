"""Floating-point operations of a training step's forward pass, counted as the papers count them.

Two for a multiplication and its addition in a matrix product; sums, norms and activations are left
out.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What a training step holds, on average."""

    tokens: float
    sequences: float
    word_predictions: float
    """Of all word objectives together."""
    squares: float
    """Sum of the squares of the sequences' lengths: pairs of tokens that attend."""
    distinct: float
    """Different tokens, whose characters ELMo reads once."""


def transformer_operations(step: Step, *, width: int, inner: int, layers: int) -> float:
    """Of the blocks of a Transformer, `inner` wide in their feed-forward layers."""
    # The last layer's output and feed-forward are computed where something is predicted only.
    block = 3 * width**2 * layers
    rest = width**2 + 2 * width * inner
    rows = min(step.tokens, step.word_predictions + step.sequences)
    products = step.tokens * block + rest * ((layers - 1) * step.tokens + rows)
    return 2 * products + 4 * layers * width * step.squares


def word_operations(step: Step, *, width: int, vocab_size: int, transform: int = 0) -> float:
    """Of the predicted words: `transform` products before the one with the output weights."""
    return 2 * step.word_predictions * (width * vocab_size + transform)
