"""Every kind of task by its name."""

from bertsmith.core.errors import nearest
from bertsmith.models.head_config import HeadConfig
from bertsmith.tasks.kind import TaskKind
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.tasks.kinds.multiple_choice import MULTIPLE_CHOICE
from bertsmith.tasks.kinds.question_answering import QUESTION_ANSWERING
from bertsmith.tasks.kinds.regression import REGRESSION
from bertsmith.tasks.kinds.token_classification import TOKEN_CLASSIFICATION

KINDS: dict[str, TaskKind] = {
    kind.name: kind
    for kind in (
        CLASSIFICATION,
        REGRESSION,
        MULTIPLE_CHOICE,
        TOKEN_CLASSIFICATION,
        QUESTION_ANSWERING,
    )
}


def kind_named(name: str) -> TaskKind:
    """The kind of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in KINDS:
        raise ValueError(f"'{name}' is no kind of task{nearest(name, KINDS)}")
    return KINDS[name]


def kind_of(head: HeadConfig) -> TaskKind:
    """The kind that an output layer is for."""
    [kind] = [one for one in KINDS.values() if (one.level, one.loss) == (head.level, head.loss)]
    return kind
