"""The table of word embeddings, of which a fine-tuning may train the rows that it needs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class WordEmbedding(nn.Embedding):
    """Token ids to rows of a table: int64 [T] -> [T, D].

    The table is half of a small model's weights, and the examples of a fine-tuning meet a part of
    its rows. Gradients, their length, moments and updates of all the others are only zeros that
    travel through memory, so `train_only` leaves those rows out (docs/log.md has what that saves).
    They stay as they were pre-trained: AdamW's weight decay does not shrink what is never trained.
    """

    def __init__(self, pieces: int, width: int) -> None:
        super().__init__(pieces, width)
        # Of `train_only`: the table as it was, and the row of `weight` that each id has, or -1.
        self.register_buffer("table_VD", None, persistent=False)
        self.register_buffer("rows_V", None, persistent=False)
        self.table_VD: Tensor | None
        self.rows_V: Tensor | None

    def train_only(self, ids_U: Tensor) -> None:
        """Makes `weight` the rows of these ids; in training there must be no others.

        `state_dict` still gives the whole table, and out of training every id has its row.
        """
        self.table_VD = self.weight.data
        self.rows_V = ids_U.new_full((len(self.table_VD),), -1)
        self.rows_V[ids_U] = torch.arange(len(ids_U), device=ids_U.device)
        self.weight = nn.Parameter(self.table_VD[ids_U])

    def forward(self, ids_T: Tensor) -> Tensor:
        """[T] -> [T, D]."""
        if self.table_VD is None or self.rows_V is None:
            return super().forward(ids_T)
        rows_T = self.rows_V[ids_T]
        if self.training:
            return functional.embedding(rows_T, self.weight)
        trained_TD = functional.embedding(rows_T.clamp(min=0), self.weight)
        kept_TD = functional.embedding(ids_T, self.table_VD)
        return torch.where((rows_T < 0)[:, None], kept_TD, trained_TD)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.table_VD is not None and self.rows_V is not None:
            whole_VD = self.table_VD.clone()
            whole_VD[self.rows_V >= 0] = self.weight.detach()[self.rows_V[self.rows_V >= 0]]
            destination[f"{prefix}weight"] = whole_VD
