"""The labels of a regression on a scale of mean 0 and deviation 1, and the way back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bertsmith.core.errors import DataError

# Smaller ones would leave an output layer in single precision without digits.
_LEAST_DEVIATION = 1e-30


@dataclass(frozen=True, slots=True)
class Standard:
    """A label is `offset + scale * standardised`."""

    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, labels: Sequence[float]) -> "Standard":
        """That of training labels: their mean and their deviation.

        Raises:
            DataError: they are too close to each other for single precision.
        """
        numbers = np.asarray(labels, np.float64)
        offset = float(numbers.mean())
        # A second time: the first mean is rounded, which counts where labels are large and close.
        offset += float((numbers - offset).mean())
        scale = float(np.sqrt(np.square(numbers - offset).mean()))
        if scale < _LEAST_DEVIATION:
            raise DataError(
                f"The training labels differ by only {scale:g}, too little to be learned; "
                "scale all numbers, for instance to thousands of them."
            )
        return cls(scale, offset)

    def standardised(self, labels: Sequence[float]) -> NDArray[np.float32]:
        """Labels as a model is trained on them."""
        return ((np.asarray(labels, np.float64) - self.offset) / self.scale).astype(np.float32)

    @contextmanager
    def folded(self, layer: nn.Linear | None) -> Iterator["Standard"]:
        """Puts scale and offset into an output layer for a while, for the model to be saved.

        The layer then has its old weights back, to the bit. Without a layer nothing is done.

        Yields:
            What is left to do with the outputs of the changed layer: nothing, but for what a bias
            in single precision rounds off, or where the layer has no bias.
        """
        if layer is None:
            yield self
            return
        weight, bias = layer.weight.detach().clone(), layer.bias
        kept = None if bias is None else bias.detach().clone()
        offset = self.offset
        with torch.no_grad():
            layer.weight.copy_(weight.double() * self.scale)
            if bias is not None and kept is not None:
                offset += float(kept) * self.scale
                bias.fill_(offset)
                offset -= float(bias)
        try:
            yield Standard(offset=offset)
        finally:
            with torch.no_grad():
                layer.weight.copy_(weight)
                if bias is not None and kept is not None:
                    bias.copy_(kept)


AS_IS = Standard()
"""Of numbers that stay as they are."""
