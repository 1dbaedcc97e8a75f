"""Lines of columns, and which columns hold the words and the tags.

Where nothing is said, words are the first column and tags the last, with these exceptions:

- A first line that names columns (`token`, `tag`, ...) is not a word.
- If the first column numbers the words of each sentence, words are the second. With ten columns
  that is CoNLL-U (or CoNLL-X): tags are column 4 (UPOS). Lines of ranges (`1-2`) and empty nodes
  (`5.1`) are left out, because the words of a range have their own lines.
- If every line has two cells with equally many words, a line is a whole sentence.

A line that begins with `#` and a space or tab, before the first word of a sentence, is a comment
unless it has as many columns as the others and ends in a tag.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertsmith.core.errors import DataError, nearest, option
from bertsmith.tasks.entities import is_entity_tag
from bertsmith.tasks.notes import Notes
from bertsmith.text import rows, streams
from bertsmith.text.formats.delimited import lone_return

_DOCUMENT = "-DOCSTART-"
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b")
_COMMENT = re.compile(r"#(\s|$|\s*\w+\s*=)")
_SPACES = re.compile(" +")
_INDEX = re.compile(r"\d+")
_PART_INDEX = re.compile(r"\d+[-.]\d+")
_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_WORD_NAMES = frozenset(("word", "words", "token", "tokens", "form", "text", "sentence"))
_TAG_NAMES = frozenset(
    ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "pos_tags", "upos")
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file; a blank one has no cells."""

    number: int
    cells: list[str]
    has_tabs: bool = False
    may_be_comment: bool = False
    begins_document: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where the words and the tags are."""

    word: int
    tag: int | None
    """None: they are not needed, or not there."""
    width: int
    first: int
    """The line by which the width is known."""
    header: int = 0
    """Lines that are passed over at the beginning of the file."""
    whole_sentences: bool = False
    """Whether a line is a sentence."""
    is_indexed: bool = False

    def skips(self, line: Line) -> bool:
        """Whether a line is a range of words or an empty node, beside the words' own lines."""
        return self.is_indexed and _PART_INDEX.fullmatch(line.cells[0]) is not None

    def pairs(self, line: Line, path: Path | str) -> list[tuple[str, str]]:
        """The words of a line, each with its tag (empty if there is no column of tags).

        Raises:
            DataError: too few or too many columns, or a cell without text.
        """
        where, cells = f"{path}:{line.number}", line.cells
        if len(cells) != self.width:
            raise DataError(
                f"{where}: found {len(cells)} {'columns' if len(cells) > 1 else 'column'}, "
                f"expected {self.width} as in line {self.first}; a blank line ends a sentence."
            )
        word, tag = cells[self.word], "" if self.tag is None else cells[self.tag]
        if not word.strip() or (self.tag is not None and not tag.strip()):
            raise DataError(
                f"{where}: the {'tag' if word.strip() else 'word'} is empty; expected a word first "
                "and its tag last."
            )
        if self.whole_sentences:
            return list(zip(word.split(), tag.split(), strict=True))
        return [(word, tag)]


def lines(path: Path | str) -> Iterator[Line]:
    """The lines of a file in columns.

    Raises:
        DataError: the file is not UTF-8, or a carriage return ends a line.
    """
    for number, text in enumerate(streams.decoded_lines(str(path), longest=rows.LONGEST_ROW), 1):
        line = text.rstrip(" \r\n")
        if "\r" in line:
            raise lone_return(f"{path}:{number}")
        has_tabs = "\t" in line
        cells = line.split("\t") if has_tabs else _SPACES.split(line)
        if not line.strip():
            cells = []
        yield Line(
            number,
            cells,
            has_tabs,
            may_be_comment=_COMMENT.match(line) is not None,
            begins_document=bool(cells) and cells[0] == _DOCUMENT,
        )


def without_comments(given: Sequence[Line], path: Path | str, notes: Notes) -> list[Line]:
    """The lines that are no comments; `# newdoc` becomes one that begins a document."""
    plain = [line for line in _with_words(given) if not line.may_be_comment]
    if not plain or len(plain) == sum(bool(line.cells) for line in given):
        return list(given)
    width, has_tabs = len(plain[0].cells), any(line.has_tabs for line in plain)
    known = {line.cells[-1] for line in plain}
    kept: list[Line] = []
    count = 0
    for line in given:
        begins = not kept or not kept[-1].cells or kept[-1].begins_document
        is_word = (
            len(line.cells) == width
            and line.has_tabs == has_tabs
            and (line.cells[-1] in known or is_entity_tag(line.cells[-1]))
        )
        if not (line.may_be_comment and begins and not is_word):
            kept.append(line)
            continue
        count += 1
        if _NEW_DOCUMENT.match(" ".join(line.cells)):
            kept.append(Line(line.number, line.cells, begins_document=True))
    if count:
        notes.say(f"{path}: {count:,} lines that begin with '#' are read as comments")
    return kept


def places(
    given: Sequence[Line],
    path: Path | str,
    *,
    labelled: bool | None,
    words: str | None,
    tags: str | None,
    notes: Notes,
) -> Places | None:
    """Where the words and tags of a file are; None if it has no line of words.

    Arguments and errors as for `conll.read`.
    """
    data = _with_words(given)
    if not data:
        return None
    first = data[0]
    width = len(first.cells)
    is_indexed = _is_indexed(given, width)
    names = _names(data, is_indexed=is_indexed, chosen=[name for name in (words, tags) if name])
    has_header = bool(names) and names != list(_CONLLU)
    word, tag = (1 if is_indexed else 0), width - 1
    if has_header:
        lowered = [name.lower() for name in names]
        word = next((at for at, name in enumerate(lowered) if name in _WORD_NAMES), word)
        tag = next((at for at in range(width)[::-1] if lowered[at] in _TAG_NAMES), tag)
    elif names:
        tag = _CONLLU.index("UPOS")
    where = f"{path}:{first.number}"
    if words is not None and (labelled or width > 1):
        word = _chosen(words, width, names, where, "words")
    if tags is not None and labelled:
        tag = _chosen(tags, width, names, where, "tags")
    needs_tags = labelled or (labelled is None and width > 1 and tag != word)
    if labelled and (tag == word or (not first.has_tabs and _has_commas(path, first.cells))):
        raise _no_tags(where, path, first.cells, is_indexed=is_indexed)
    body = data[has_header:]
    whole = width == 2 and not is_indexed and bool(needs_tags) and _are_whole(body)
    found = Places(
        word,
        tag if needs_tags else None,
        width,
        first.number,
        header=given.index(first) + 1 if has_header else 0,
        whole_sentences=whole,
        is_indexed=is_indexed,
    )
    _say(found, data, path, names, notes)
    if labelled and names and not has_header and {line.cells[tag] for line in data} == {"_"}:
        raise DataError(
            f"{where}: column {tag + 1} ({names[tag]}) has '_' in every line, expected tags; "
            f"choose another with {option('tags')}."
        )
    return found


def _has_commas(path: Path | str, cells: Sequence[str]) -> bool:
    return streams.endings(str(path))[0] == ".csv" and any(
        "," in cell and len(cell) > 1 for cell in cells
    )


def _no_tags(where: str, path: Path | str, cells: Sequence[str], *, is_indexed: bool) -> DataError:
    if _has_commas(path, cells):
        return DataError(
            f"{where}: the columns are separated by commas, expected a word first and its tag "
            "last, separated by a tab or spaces; write the file with tabs and a blank line after "
            "each sentence, or give lists of words and tags as .jsonl or .parquet."
        )
    if is_indexed:
        return DataError(
            f"{where}: the first column numbers the words, and there is only one more; expected "
            "the number, the word and its tag."
        )
    if len(cells) > 1:
        return DataError(
            f"{where}: words and tags are the same column; choose two with {option('words')} and "
            f"{option('tags')}."
        )
    return DataError(
        f"{where}: found one column, expected a word first and its tag last, separated by a "
        "tab or spaces; give lists of words and tags as .jsonl or .parquet."
    )


def _with_words(given: Sequence[Line]) -> list[Line]:
    return [line for line in given if line.cells and not line.begins_document]


def _is_indexed(given: Sequence[Line], width: int) -> bool:
    """Whether the first column numbers the words of each sentence, from 0 or 1 on."""
    before, several = -1, False
    for line in given:
        if not line.cells or line.begins_document:
            before = -1
            continue
        index = line.cells[0]
        if width < 2 or len(line.cells) != width:
            return False
        if _PART_INDEX.fullmatch(index):
            continue
        if not index.isascii() or not _INDEX.fullmatch(index):
            return False
        number = int(index)
        if number > 1 if before < 0 else number <= before:
            return False
        several = several or before >= 0
        before = number
    return several


def _names(data: Sequence[Line], *, is_indexed: bool, chosen: Sequence[str]) -> list[str]:
    """The names of the columns: those of CoNLL-U, or those that the first line has; else none."""
    cells = data[0].cells
    if is_indexed and len(cells) == len(_CONLLU):
        return list(_CONLLU)
    lowered = {cell.lower() for cell in cells}
    usual = lowered & _WORD_NAMES and lowered & _TAG_NAMES and len(lowered) == len(cells)
    by_name = [name for name in chosen if not name.isdecimal()]
    if len(data) > 1 and (usual or (by_name and set(by_name) <= set(cells))):
        return cells
    return []


def _chosen(name: str, width: int, names: Sequence[str], where: str, flag: str) -> int:
    if name in names:
        return list(names).index(name)
    if name.isdecimal() and 1 <= int(name) <= width:
        return int(name) - 1
    listed = f", which are called {', '.join(names)}" if names else ""
    raise DataError(
        f"{where}: {option(flag, name)}: no such column{nearest(name, names)}; the file has "
        f"{width} columns{listed}: give a number from 1 to {width}{' or a name' if names else ''}."
    )


def _are_whole(data: Sequence[Line]) -> bool:
    counts = [
        tuple(len(cell.split()) for cell in line.cells) for line in data if len(line.cells) == 2
    ]
    return (
        len(counts) == len(data)
        and all(line.has_tabs for line in data)
        and all(words == tags for words, tags in counts)
        and any(words > 1 for words, _ in counts)
    )


def _say(
    found: Places, data: Sequence[Line], path: Path | str, names: Sequence[str], notes: Notes
) -> None:
    """Tells what is not as usual."""
    if found.whole_sentences:
        notes.say(f"{path}: every line is a sentence, its words and their tags separated by spaces")
        return
    usual = found.word == 0 and found.tag in (None, found.width - 1)
    if usual and not found.header:
        return

    def called(at: int) -> str:
        return f"column {at + 1}" + (f" ({names[at]})" if names else "")

    line = f"{path}: words are {called(found.word)}"
    if found.tag is not None:
        line += f", tags {called(found.tag)}; `words` and `tags` choose others"
    notes.say(line)
    parts = sum(found.skips(line) for line in data)
    if parts:
        notes.say(
            f"{path}: {parts:,} lines of ranges (1-2) or empty nodes (5.1) are left out; the words "
            "in them have their own lines"
        )
