"""Plain text (`.txt`): documents between blank lines, or a text a line."""

import codecs
import io
import re
from collections.abc import Iterator
from itertools import chain

from bertsmith.core.errors import DataError
from bertsmith.text import streams
from bertsmith.text.rows import (
    LONGEST_DOCUMENT,
    MOST_LINES,
    TEXT,
    Row,
    Text,
    cut_at,
    is_blank,
    lines_with_places,
)

# A line break, blank lines, and whatever white space opens the next document.
_GAP = re.compile(r"\n[^\S\n]*\n\s*")


def texts(path: str, text_field: str) -> Iterator[Text]:
    """Documents between blank lines; any of the three customs of ending a line is understood."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    text, line, fed = "", 1, 0
    for block in chain(streams.text_blocks(path), [b""]):
        if not fed and block.startswith(codecs.BOM_UTF8):
            block, fed = block[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        try:
            text += decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode()
            newlines = io.IncrementalNewlineDecoder(None, translate=True).decode(before, final=True)
            line += text.count("\n") + newlines.count("\n")
            offset = fed + len(block) - len(error.object) + error.start
            raise streams.not_utf8(path, line, offset, error) from error
        fed += len(block)
        start = 0
        for gap in _GAP.finditer(text):
            end = gap.end()
            if end == len(text) and block:
                break  # the next block may go on with white space
            yield from _place(text[start : gap.start()], line)
            line += text.count("\n", start, end)
            start = end
        text = text[start:]
        while len(text) > LONGEST_DOCUMENT:
            end = cut_at(text)
            yield from _place(text[:end], line, cut=True)
            line += text.count("\n", 0, end)
            text = text[end:]
    yield from _place(text, line)


def _place(text: str, line: int, *, cut: bool = False) -> Iterator[Text]:
    """The document without the white space around it, and the line it begins on."""
    body = text.strip()
    if body:
        yield body, line + text.count("\n", 0, text.index(body[0])), cut


def rows(path: str) -> Iterator[Row]:
    """No line may be blank, but the last ones: what is said of line 7 must stand in row 7."""
    blank, blanks = "", 0
    for text, where in lines_with_places(path):
        if is_blank(text):
            blank, blanks = blank or where, blanks + 1
        if blank and (not is_blank(text) or blanks > MOST_LINES):
            raise DataError(f"{blank}: blank line; expected one text per line. Remove it.")
        if not blank:
            yield Row({TEXT: text.removesuffix("\r")}, where, path)
