import numpy as np
import pytest
import torch

from bertsmith.models.modules.packed import PretrainBatch, micro_batches, pack


def test_pack_lays_sequences_end_to_end():
    packed = pack([[7, 8, 9], [5], [6, 4]], [[0, 0, 1], [0], [0, 1]])
    assert packed.ids_T.tolist() == [7, 8, 9, 5, 6, 4]
    assert packed.segments_T.tolist() == [0, 0, 1, 0, 0, 1]
    assert packed.positions_T.tolist() == [0, 1, 2, 0, 0, 1]
    assert packed.starts.tolist() == [0, 3, 4, 6]
    assert packed.starts.dtype == torch.int32
    assert (packed.longest, packed.sequences, packed.lengths) == (3, 3, [3, 1, 2])


@pytest.mark.parametrize(
    ("ids", "segments"), [([], None), ([[1], []], None), ([[1, 2]], [[0]]), ([[1]], [[0], [0]])]
)
def test_pack_refuses_what_cannot_be_packed(ids, segments):
    with pytest.raises(ValueError, match="pack"):
        pack(ids, segments)


def test_counts_name_the_objectives():
    packed = pack([[1, 2], [3, 4]])
    masked, labels = torch.tensor([1, 2, 3]), torch.tensor([5, 6, 7])
    with_pairs = PretrainBatch(packed, masked, labels, torch.tensor([0, 1]))
    assert with_pairs.counts == {"mlm": 3, "nsp": 2}
    assert PretrainBatch(packed, masked, labels, None).counts == {"mlm": 3}
    assert with_pairs.tokens == 4
    assert with_pairs.to(torch.device("cpu")).packed.ids_T is packed.ids_T


def test_ranks_cut_equally_often() -> None:
    cuts = micro_batches(np.array([9, 8, 7, 6, 5, 4, 3, 2, 1]), 2, micro_tokens=10)
    # 9, 7, 5 + 3 + 1 and 8, 6 + 4, 2
    assert [len(runs) for runs in cuts] == [3, 3]
    cuts = micro_batches(np.array([9, 4, 9, 4]), 2, micro_tokens=9)
    assert cuts == [[slice(0, 1), slice(1, 2)]] * 2
    cuts = micro_batches(np.array([9, 9, 9]), 2, micro_tokens=4)
    assert cuts == [[slice(0, 2)], [slice(0, 1)]]
