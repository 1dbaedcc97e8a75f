"""Whether BERT wins, from differences that are known."""

import pytest

from bertsmith.comparison.bootstrap import Difference
from bertsmith.comparison.verdict import verdicts

SYSTEMS = ("bert", "gpt", "elmo", "untrained", "no-nsp")
BETTER, WORSE, UNSURE = (0.02, (0.01, 0.03)), (-0.02, (-0.03, -0.01)), (0.02, (-0.01, 0.05))


def found(other, outcome, *, task="rte", first="bert", second=None):
    value, interval = outcome
    return Difference(
        task=task, first=first, second=second or other, value=value, interval=interval
    )


def verdict(outcomes, systems=SYSTEMS):
    [one] = verdicts(
        ["rte"], systems, [found(other, outcome) for other, outcome in outcomes.items()]
    )
    return one


@pytest.mark.parametrize(
    ("gpt", "elmo", "untrained", "answer"),
    [
        (BETTER, BETTER, BETTER, "yes"),
        (BETTER, BETTER, WORSE, "no"),
        (WORSE, UNSURE, BETTER, "no"),
        (BETTER, BETTER, UNSURE, "undecided"),
        (UNSURE, UNSURE, UNSURE, "undecided"),
    ],
)
def test_bert_wins_where_it_beats_every_rival(gpt, elmo, untrained, answer):
    one = verdict({"gpt": gpt, "elmo": elmo, "untrained": untrained, "no-nsp": WORSE})
    assert one.answer == answer
    assert one.rivals == ("gpt", "elmo", "untrained")
    assert one.against["no-nsp"] == "no"
    assert one.against["gpt"] == {BETTER: "yes", WORSE: "no", UNSURE: "undecided"}[gpt]


def test_with_ablations_alone_all_are_rivals():
    one = verdict({"no-nsp": BETTER}, ("bert", "no-nsp"))
    assert (one.answer, one.rivals) == ("yes", ("no-nsp",))


def test_one_run_tells_nothing():
    assert verdict({"gpt": (0.5, None)}, ("bert", "gpt")).answer == "undecided"


def test_a_pair_may_stand_either_way_round():
    [one] = verdicts(["rte"], ["gpt", "bert"], [found("", WORSE, first="gpt", second="bert")])
    assert one.against == {"gpt": "yes"}


def test_each_task_has_its_own_and_without_bert_there_is_none():
    differences = [found("gpt", BETTER), found("gpt", WORSE, task="cola")]
    differences.append(found("elmo", BETTER, first="gpt"))
    both = verdicts(["rte", "cola"], ("bert", "gpt"), differences)
    assert [(one.task, one.answer) for one in both] == [("rte", "yes"), ("cola", "no")]
    assert verdicts(["rte"], ("gpt", "elmo"), differences) == []
