"""The language of a page: `written_in` chooses it, `t` gives the texts.

A text stands in English where it is used, as a template with named fields. `zh.json` maps the
templates to Chinese ones with the same fields; tests refuse a text without an entry.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources

import msgspec

from bertsmith.core.runtime import PageLanguage, page_language
from bertsmith.core.terminal import duration

_LANGUAGE: ContextVar[PageLanguage] = ContextVar("language", default="en")


@contextmanager
def written_in(language: PageLanguage | None) -> Iterator[None]:
    """Makes `t` give texts in `language` inside the block; None: the language of the locale."""
    token = _LANGUAGE.set(language or page_language())
    try:
        yield
    finally:
        _LANGUAGE.reset(token)


def current_language() -> PageLanguage:
    """The language that `t` gives texts in: English outside of `written_in`."""
    return _LANGUAGE.get()


def t(text: str, **fields: object) -> str:
    """`text` in the current language with its fields filled in, as `str.format` does.

    A name without an entry, such as that of a user's class, stays as it is.
    """
    template = text if current_language() == "en" else chinese().get(text, text)
    return template.format(**fields) if fields else template


def listed(names: Sequence[str], *, most: int | None = None) -> str:
    """Names in a row, with the separator of the language; `most` leaves out the rest by number."""
    shown = t(", ").join(names[:most])
    hidden = len(names) - len(names[:most])
    return t("{names} and {count:,} more", names=shown, count=hidden) if hidden else shown


def spent(seconds: float) -> str:
    """`8 s`, `12 min 42 s`, `3 h 05 min` in the current language."""
    return duration(seconds, (t("h"), t("min"), t("s")))


@cache
def chinese() -> dict[str, str]:
    """English template -> Chinese template."""
    file = resources.files("bertsmith.reports") / "zh.json"
    return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
