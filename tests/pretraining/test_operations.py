"""The operations of a training step are those that can be counted by hand."""

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import LanguageBatch, pack
from bertsmith.models.operations import Step
from bertsmith.pretraining.operations import mean_step, training_flops

STEP = Step(tokens=100, sequences=4, word_predictions=15, squares=2500, distinct=50)


def test_operations_of_a_bert_step():
    shape = BertConfig(
        vocab_size=1000, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    # Queries, keys and values of all tokens in both layers; output and feed-forward of all in the
    # first, of the 15 masked and the 4 first ones in the last; attention; transform and vocabulary.
    forward = 2 * (100 * 3 * 64 * 2 + (64 + 2 * 8 * 32) * (100 + 19)) + 4 * 2 * 8 * 2500
    words = 2 * 15 * (8 * 1000 + 64)
    assert training_flops(shape, STEP) == 3 * (forward + words)


def test_operations_of_a_gpt_and_an_elmo_step():
    gpt = GptConfig(vocab_size=1000, n_embd=8, n_layer=1, n_head=2)
    forward = 2 * (100 * 192 + (64 + 512) * 19) + 4 * 8 * 2500
    assert training_flops(gpt, STEP) == 3 * (forward + 2 * 15 * 8000)
    elmo = ElmoConfig(
        vocab_size=1000, filters=((2, 6),), highways=1, projection=4, lstm_width=16, char_width=5
    )
    token = 10 * 5 * 12 + 2 * 36 + 6 * 4
    cell = 2 * 4 * 64 + 16 * 4
    forward = 2 * (50 * token + 2 * 2 * cell * 100)
    assert training_flops(elmo, STEP) == 3 * (forward + 2 * 15 * 4000)


def test_a_step_is_counted_over_its_micro_batches():
    batches = [LanguageBatch(pack([[2, 7, 7, 3], [2, 3]]), backward=True)]
    batches += [LanguageBatch(pack([[2, 9, 3]]), backward=True)]
    step = mean_step([batches, batches])
    assert step == Step(tokens=9, sequences=3, word_predictions=12, squares=29, distinct=6)
