"""Bad rows are counted by what is wrong with them, and one message names them all."""

import pytest

from bertsmith.core.errors import DataError
from bertsmith.tasks.bad_rows import BadRows


def test_values_and_numbers_make_no_new_kind_and_columns_do():
    bad = BadRows(skip=True)
    for line, value in ((2, "x"), (5, "y z"), (9, "3")):
        bad.add(f"a.csv:{line}: the label '{value}' in column 'label' is no number; correct it.")
    bad.add("a.csv:7: the label 'x' in column 'stars' is no number; correct it.")
    assert bad.count == 4
    assert bad.lines() == [
        "3 rows (2, 5, 9): the label 'x' in column 'label' is no number; correct it",
        "1 row (7): the label 'x' in column 'stars' is no number; correct it",
    ]
    bad.judge("a.csv")


def test_ten_places_are_named_and_five_kinds():
    bad = BadRows()
    for line in range(1000):
        with bad.row():
            raise DataError(f"a.csv:{line}: the text in column '{'abcdefg'[line % 7]}' is empty.")
    with pytest.raises(DataError) as caught:
        bad.judge("a.csv")
    message = str(caught.value)
    assert message.startswith("a.csv: 1,000 rows cannot be used. 143 rows (0, 7, 14, 21, 28, 35, ")
    assert message.count("rows (") == 5
    assert "285 rows with 2 other faults" in message
    assert len(message) < 700
    assert "\n" not in message


def test_one_row_is_an_error_of_its_own():
    bad = BadRows()
    with bad.row():
        raise DataError("a.csv:3: the text is empty; remove the row.")
    with pytest.raises(DataError, match=r"the row\. skip_bad=True leaves such rows out\.$"):
        bad.judge("a.csv")
