"""Everything a user can get wrong, as one small tree of errors.

Each message is one sentence that names the file (and line or byte), what was found, what was
expected and what to do. The command line prints it and exits with `EXIT_CODE`; a traceback seen by
a user is a bug.

A message names a parameter by `option`, because people set parameters in two ways: in Python they
read `batch_size is 0` and `add resume=True`, on the command line `--batch-size is 0` and `add
--resume`. `str(error)` is the Python text; `cli` alone turns `error.message` into flags.
"""

import difflib
import errno
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EXIT_CODE = 2

# Control characters that bracket a parameter in a message; without them the text is Python's.
OPTION_START, OPTION_END = "\x02", "\x03"


def option(name: str, value: object = None) -> str:
    """A parameter to name in a message, alone or with a value: `seeds`, `resume=True`.

    Args:
        name: of the parameter in Python; the flag has the same with hyphens.
        value: what it is set to; a string shows in quotes in Python, without on the command line.
    """
    if value is None:
        return f"{OPTION_START}{name}{OPTION_END}"
    shown = value if isinstance(value, bool | int | float | str | tuple) else str(value)
    return f"{OPTION_START}{name}={shown!r}{OPTION_END}"


def in_python(text: str) -> str:
    """A text whose parameters `option` named, as a Python user reads it."""
    return text.replace(OPTION_START, "").replace(OPTION_END, "")


RESUME = option("resume", True)


class BertsmithError(Exception):
    """Root of the tree: something in the user's hands is wrong, and the message says what."""

    exit_code = EXIT_CODE
    """What the command ends with."""

    def __str__(self) -> str:
        return in_python(self.message)

    @property
    def message(self) -> str:
        """The sentence, its parameters still marked by `option`."""
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross processes, whatever a constructor wants instead of the message."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[BertsmithError], args: tuple[Any, ...], state: dict[str, Any]
) -> BertsmithError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(BertsmithError):
    """A parameter or a configuration key is wrong."""


class DataError(BertsmithError):
    """A file of the user's text cannot be read as what it should be."""


class FolderError(BertsmithError):
    """A folder that bertsmith or `transformers` wrote is missing, damaged or does not fit."""


class MissingExtra(BertsmithError):
    """An optional dependency is needed; the message gives the `pip install` line."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs an optional package: run `pip install 'bertsmith[{extra}]'`."
        )


class DivergedError(BertsmithError):
    """The loss or a gradient is not finite; the weights were left as they were."""


class Stopped(BertsmithError):
    """A signal ended the job; what it had reached was saved, and the job can be continued."""

    def __init__(
        self,
        number: int,
        where: str,
        *,
        again: str = f"with {RESUME} ",
        kept: str = "everything up to there is",
    ) -> None:
        """For signal `number`; `where` the job stood, e.g. `at step 120`; how to run it `again`."""
        super().__init__(
            f"Stopped by {signal.Signals(number).name} {where}; {kept} saved: "
            f"run the same command {again}to continue."
        )
        self.number = number
        self.where = where
        # What a shell reports for a program that a signal ended.
        self.exit_code = 128 + number


class SystemFault(BertsmithError):
    """The operating system refused: no space, no permission, no such file."""


class ModelWarning(UserWarning):
    """Something in a model's folder has no effect here, and whoever made it may not expect so."""


def explain_os_error(error: OSError, doing: str, path: str | Path | None = None) -> SystemFault:
    """One sentence for an `OSError` met while `doing` something to `path`."""
    where = path if path is not None else error.filename
    place = f" {where}" if where else ""
    again = f"free some space and run the command again (pretrain and finetune: with {RESUME})"
    remedies = {
        errno.ENOSPC: f"the disk is full; {again}",
        errno.EDQUOT: f"the disk quota is used up; {again}",
        errno.EACCES: "permission denied; check the owner and mode of the path",
        errno.EPERM: "permission denied; check the owner and mode of the path",
        errno.EROFS: f"the file system is read-only; choose another place with {option('out')}",
        errno.EFBIG: "the file is larger than this shell or file system allows; raise the limit "
        "(`ulimit -f`) or choose another place",
        errno.ELOOP: "the link leads to itself; remove it",
        errno.ENOENT: "no such file or folder; check the spelling",
        errno.ENOTDIR: "a part of this path is a file, not a folder; check the spelling",
        errno.EISDIR: "this is a folder where a file was expected",
        errno.EMFILE: "too many open files; raise the limit with `ulimit -n`",
    }
    if doing == "write":
        remedies[errno.ENOENT] = f"no file can be made there; choose another {option('out')}"
    # fsspec raises the right class without a number.
    number = error.errno or {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}.get(
        type(error), 0
    )
    why = remedies.get(number, error.strerror or str(error) or type(error).__name__)
    return SystemFault(f"Could not {doing}{place}: {why}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """` (perhaps you meant 'x')` for the nearest known word, cases alike, or an empty string."""
    by_folded = {one.casefold(): one for one in reversed(list(known))}
    close = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f" (perhaps you meant '{by_folded[close[0]]}')" if close else ""
