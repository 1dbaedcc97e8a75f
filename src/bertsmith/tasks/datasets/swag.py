"""SWAG's csv files (Zellers et al. 2018): a sentence, the beginning of the next, four endings.

A choice is the beginning and one ending, as the paper's section 4.4 has it: each of the four is
paired with the first sentence.
"""

from pathlib import Path

from bertsmith.core.errors import DataError
from bertsmith.tasks.examples import ChoiceExample, Example
from bertsmith.text import rows
from bertsmith.text.formats.registry import read_rows

_ENDINGS = tuple(f"ending{number}" for number in range(4))


def read(path: Path, part: str) -> list[Example]:
    """The examples of one file with the official columns; only a test file may be without labels.

    Raises:
        DataError: a ragged row, a missing column, an empty text or a label that is not 0 to 3, by
            file and line.
        SystemFault: the file cannot be read.
    """
    return [
        _example(row, number, is_test=part == "test") for number, row in enumerate(read_rows(path))
    ]


def _example(row: rows.Row, number: int, *, is_test: bool) -> ChoiceExample:
    first, beginning, *endings = (_text(row, name) for name in ("sent1", "sent2", *_ENDINGS))
    # The second sentence may have no beginning: then the endings are whole sentences.
    choices = tuple(f"{beginning} {ending}".strip() for ending in endings)
    for name, text in zip(("sent1", *_ENDINGS), (first, *choices), strict=True):
        if not text:
            raise DataError(f"{row.where}: the text in column '{name}' is empty; remove the row.")
    label = None
    if not is_test or row.values.get("label"):
        found = _text(row, "label")
        if found not in ("0", "1", "2", "3"):
            raise DataError(
                f"{row.where}: the label '{found}' is not a number from 0 to 3; correct the row."
            )
        label = int(found)
    # The official files number their rows in a column without a name.
    key = row.values.get("") or str(number)
    return ChoiceExample(row.where, key, first, choices, label)


def _text(row: rows.Row, name: str) -> str:
    advice = "check that this is the right file, with SWAG's official columns"
    value: str = rows.column(row, name, advice=advice)
    return value.strip()
