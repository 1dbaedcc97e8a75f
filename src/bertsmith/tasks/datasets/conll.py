"""Columns of words and tags: a word a line, its tag last, a blank line after each sentence.

CoNLL's (Tjong Kim Sang and De Meulder 2003) and their relatives. Columns are parted by tabs, else
by spaces. A line that begins with `-DOCSTART-` (in CoNLL-U `# newdoc`) begins a document. `grid`
says which columns hold words and tags. Tags are taken as they are, whatever the scheme.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from bertsmith.core.errors import DataError, explain_os_error
from bertsmith.tasks.datasets import columns
from bertsmith.tasks.datasets.columns import Line, Places
from bertsmith.tasks.entities import is_entity_tag
from bertsmith.tasks.examples import Example, TagExample
from bertsmith.tasks.notes import Notes

_LOOKED_AT = 100
"""Lines."""
_MANY_WORDS = 20
"""More, in a file of one sentence, are worth telling."""


def read_part(path: Path, part: str) -> list[Example]:
    """A task's reader, by `read`; only a test file may be without tags."""
    return read(path, labelled=None if part == "test" else True)


def has_tags(path: Path | str, labels: Collection[str]) -> bool:
    """Whether a file has columns, a tag last, and not running text or a table; by its beginning.

    Args:
        path: the file, possibly packed.
        labels: tags that may occur; those of entities may anyway.

    Raises:
        DataError: the file is not UTF-8.
        SystemFault: it cannot be read.
    """
    try:
        found = list(islice((line for line in columns.lines(path) if line.cells), _LOOKED_AT))
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    words = [line.cells for line in found if not (line.begins_document or line.may_be_comment)]
    # One line may end in what looks like a tag by chance ("vitamin B-12").
    return (len(words) > 1 or len(words) < len(found)) and all(
        len(cells) == len(words[0]) > 1
        and (cells[-1] == "O" or cells[-1] in labels or is_entity_tag(cells[-1]))
        for cells in words
    )


def read(
    path: Path | str,
    *,
    labelled: bool | None = True,
    words: str | None = None,
    tags: str | None = None,
    notes: Notes | None = None,
) -> list[Example]:
    """The sentences of one file, in order.

    In a file without `-DOCSTART-` each sentence is a document of its own: nothing says that it has
    to do with its neighbours.

    Args:
        path: the file, possibly packed.
        labelled: whether there is a column of tags; None if there is more than one column.
        words: number from 1, or name, of the column of words; None: see `grid`.
        tags: the same of the tags.
        notes: are told which columns were read, where these are not the first and the last.

    Raises:
        DataError: a line with more or fewer columns than the first, an empty word, words without
            tags where they must have them, a column that is not there, or no sentence at all; by
            file and line.
        SystemFault: the file cannot be read.
    """
    notes = notes or Notes()
    try:
        given = list(columns.lines(path))
    except OSError as error:
        raise explain_os_error(error, "read", path) from error
    given = columns.without_comments(given, path, notes)
    places = columns.places(given, path, labelled=labelled, words=words, tags=tags, notes=notes)
    if places is None:
        raise DataError(f"{path} is empty; give another file.")
    sentences = list(_sentences(given, path, places))
    documents = sum(line.begins_document for line in given)
    if len(sentences) == 1 and len(sentences[0][2]) > _MANY_WORDS:
        notes.say(f"{path}: no blank line ends a sentence, and all its words are one sentence")
    return [
        TagExample(
            f"{path}:{line}",
            str(number),
            tuple(word for word, _ in pairs),
            None if places.tag is None else tuple(tag for _, tag in pairs),
            document if documents else number,
            word_a_line=word_a_line,
        )
        for number, (line, document, pairs, word_a_line) in enumerate(sentences)
    ]


_Sentence = tuple[int, int, list[tuple[str, str]], bool]
"""The line it begins on, its document, its words with their tags, whether each has a line, one
after the other."""


def _sentences(given: list[Line], path: Path | str, places: Places) -> Iterator[_Sentence]:
    pairs: list[tuple[str, str]] = []
    begin = end = document = 0
    for line in [*given[places.header :], Line(0, [])]:
        if line.cells and not line.begins_document and not places.skips(line):
            found = places.pairs(line, path)
            if places.whole_sentences:
                yield line.number, document, found, False
                continue
            begin = begin if pairs else line.number
            pairs += found
            end = line.number
        elif not line.cells or line.begins_document:
            if pairs:
                yield begin, document, pairs, end - begin + 1 == len(pairs)
                pairs = []
            document += line.begins_document
