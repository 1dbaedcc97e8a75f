"""What `--show-batch` prints."""

import numpy as np
import torch

from bertsmith.models.modules.packed import PretrainBatch, packed_from_flat
from bertsmith.pretraining.show import LEGEND, describe, wrap
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

ENGLISH = Tokenizer((*SPECIAL, "the", "cat", "##s", "sat", ".", "dog"))


def batch(ids: list[int], masked: list[int], labels: list[int], label: int | None) -> PretrainBatch:
    ids_T = np.array(ids)
    segments_T = np.cumsum(ids_T == 3) - (ids_T == 3) if label is not None else ids_T * 0
    return PretrainBatch(
        packed=packed_from_flat(ids_T, segments_T, np.array([len(ids)])),
        masked_P=torch.tensor(masked),
        labels_P=torch.tensor(labels),
        next_B=None if label is None else torch.tensor([label]),
    )


def test_masks_and_pair_are_marked() -> None:
    made = batch([2, 5, 4, 7, 8, 9, 3, 10, 8, 9, 3], [2, 7, 8], [6, 6, 8], 1)
    assert describe(made, ENGLISH, pair_task="nsp").splitlines() == [
        LEGEND,
        "",
        "Example 1: 11 tokens (A 5, B 3, 3 special), random sentence (B is from another document)",
        "  3 to predict: 1 masked, 1 replaced by a random token, 1 kept",
        "  [CLS] the [MASK](cat) ##s sat. [SEP] {dog->cat} {kept: sat} . [SEP]",
    ]
    assert "next sentence (B follows A)" in describe(
        batch([2, 5, 3, 6, 3], [1], [5], 0), ENGLISH, pair_task="nsp"
    )
    assert "swapped (A follows B)" in describe(
        batch([2, 5, 3, 6, 3], [1], [5], 1), ENGLISH, pair_task="sop"
    )


def test_single_sequences_have_no_pair() -> None:
    text = describe(batch([2, 5, 4, 3], [2], [6], None), ENGLISH, pair_task="none")
    assert "Example 1: 4 tokens\n" in text


def test_chinese_lines_fit_the_width() -> None:
    characters = "我喜欢苹果他也爱吃梨"
    tokenizer = Tokenizer((*SPECIAL, *characters, "。"))
    ids = [2, *(5 + i % 10 for i in range(60)), 15, 3]
    ids[9] = 4
    lines = describe(
        batch(ids, [9], [13], None), tokenizer, pair_task="none", width=40
    ).splitlines()[4:]
    assert len(lines) == 4
    assert all(len(line.encode("gbk")) <= 40 for line in lines)
    assert "[MASK](吃)" in "".join(lines)
    plain = "".join(lines).replace(" ", "").replace("[MASK](吃)", "吃")
    assert plain == f"[CLS]{characters * 6}。[SEP]"


def test_wrap_keeps_every_piece_whole() -> None:
    assert wrap(["one", " two", " three", " seventeen"], 9) == ["one two", "three", "seventeen"]
    assert wrap([" abcdefgh", " x"], 4) == ["abcdefgh", "x"]


def test_so_many_are_shown_evenly_from_the_batch() -> None:
    ids_T = np.array([2, 5, 6, 5, 3, 2, 5, 6, 3, 2, 6, 3, 2, 5, 3])
    made = PretrainBatch(
        packed=packed_from_flat(ids_T, ids_T * 0, np.array([5, 4, 3, 3])),
        masked_P=torch.tensor([], dtype=torch.int64),
        labels_P=torch.tensor([], dtype=torch.int64),
        next_B=None,
    )
    lines = describe(made, ENGLISH, pair_task="none", sequences=2).splitlines()
    assert [line for line in lines if line.startswith("Example")] == [
        "Example 1: 5 tokens",
        "Example 2: 3 tokens",
    ]
    assert [line for line in lines if "CLS" in line] == [
        "  [CLS] the cat the [SEP]",
        "  [CLS] cat [SEP]",
    ]
    one = batch([2, 5, 3], [1], [5], None)
    assert describe(one, ENGLISH, pair_task="none", sequences=0) == LEGEND
