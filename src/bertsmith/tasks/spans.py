"""Right answers to questions about a text, by the rules of SQuAD's official scripts.

`evaluate-v1.1.py` and `evaluate-v2.0.py` normalise alike. They differ where a text normalises to
nothing ("The", or the "." that three questions of v1.1's development set list): v2.0 takes such a
prediction for no answer and passes over such right answers.

Words are what white space parts, as in the scripts: in Chinese, where nothing parts words, an
answer is mostly one word, and its F1 nearly its exact match.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """A text without case, ASCII punctuation and English articles, single spaces between words.

    Punctuation is taken out before articles and leaves no space: "the-end" becomes "theend".
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], predicted: str, *, may_be_impossible: bool) -> float:
    """1.0 if the prediction is one of the right answers, both normalised, else 0.0.

    Args:
        answers: every text that counts as right; empty: there is none (`may_be_impossible` only).
        predicted: empty for "no answer".
        may_be_impossible: go by the script of v2.0, where questions may have no answer.
    """
    return float(normalised(predicted) in _right(answers, may_be_impossible))


def answer_f1(answers: Sequence[str], predicted: str, *, may_be_impossible: bool) -> float:
    """Highest F1, over the right answers, of the words that one shares with the prediction.

    A word that occurs twice in both is shared twice. To predict no answer where there is none
    has an F1 of 1.0; arguments as for `exact_match`.
    """
    words = normalised(predicted).split()
    rights = [right.split() for right in _right(answers, may_be_impossible)]
    if may_be_impossible and not words:
        return float([] in rights)
    return max(_f1(right, words) for right in rights)


def _right(answers: Sequence[str], may_be_impossible: bool) -> list[str]:
    rights = [normalised(answer) for answer in answers]
    return [right for right in rights if right] or [""] if may_be_impossible else rights


def _f1(right: list[str], predicted: list[str]) -> float:
    shared = (Counter(right) & Counter(predicted)).total()
    return 2 * shared / (len(right) + len(predicted)) if shared else 0.0


def best_threshold(
    null_minus_best: NDArray[np.floating],
    has_answer: NDArray[np.bool_],
    *,
    scores: NDArray[np.float64],
) -> tuple[float, float]:
    """The threshold on "no answer" that scores best (`find_best_thresh` of `evaluate-v2.0.py`).

    A question is answered if its difference is at most the threshold. As in the script a threshold
    is one of the differences, or 0 for answering nothing, and the least of the best is taken. The
    score returned is always the one that the threshold gives, for which three things had to differ
    from the script: answering nothing is 1 below the least difference where 0 would answer some;
    questions of the same difference are answered together; a prediction such as "the" to a question
    without an answer keeps its score.

    Args:
        null_minus_best: score of "no answer" minus that of the best answer [N], N at least 1.
        has_answer: whether the question has an answer [N].
        scores: exact match or F1 of the best answer [N], whatever its difference.

    Returns:
        Threshold and mean score there, a share.
    """
    order = np.argsort(null_minus_best, kind="stable")
    differences = np.asarray(null_minus_best, np.float64)[order]
    unanswered = ~has_answer
    gains = (scores - unanswered)[order]
    totals = np.cumsum(np.concatenate([[unanswered.sum()], gains]))
    ends = np.append(differences[1:] != differences[:-1], True)
    # A whole unit below, not the next number: in single precision that may be the same number.
    nothing = 0.0 if differences[0] > 0 else differences[0] - 1
    thresholds = np.concatenate([[nothing], differences[ends]])
    reached = np.concatenate([totals[:1], totals[1:][ends]])
    best = int(reached.argmax())
    return float(thresholds[best]), float(reached[best]) / len(scores)
