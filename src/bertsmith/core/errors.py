"""Everything a user can get wrong, as one small tree of errors.

A message is one or two short sentences: the file (and line or byte), what was found, what was
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
    """Root of the tree: the user can fix what is wrong, and the message says how."""

    exit_code = EXIT_CODE
    """Exit code of the command."""

    def __str__(self) -> str:
        return in_python(self.message)

    @property
    def message(self) -> str:
        """The text, with its parameters still marked by `option`."""
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by the attributes: a constructor may take something else than the message."""
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
    """A text or data file is not in the expected format."""


class FolderError(BertsmithError):
    """A folder that bertsmith or `transformers` wrote is missing, damaged or incompatible."""


class MissingExtra(BertsmithError):
    """An optional dependency is needed; the message gives the `pip install` line."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs an optional package: run `pip install 'bertsmith[{extra}]'`."
        )


class DivergedError(BertsmithError):
    """The loss or a gradient is not finite; the weights are unchanged."""


class Stopped(BertsmithError):
    """A signal ended the job. Its progress is saved, and the job can be continued."""

    def __init__(
        self,
        number: int,
        where: str,
        *,
        again: str = f"with {RESUME} ",
        kept: str = "progress is",
    ) -> None:
        """For signal `number`; `where` the job stood, e.g. `at step 120`; how to run it `again`."""
        super().__init__(
            f"Stopped by {signal.Signals(number).name} {where}; {kept} saved. "
            f"Run the same command {again}to continue."
        )
        self.number = number
        self.where = where
        # What a shell reports for a program that a signal ended.
        self.exit_code = 128 + number


class SystemFault(BertsmithError):
    """The operating system refused: no space, no permission, no such file."""


class ModelWarning(UserWarning):
    """A setting in a model folder has no effect in bertsmith, which its author may not expect."""


def explain_os_error(error: OSError, doing: str, path: str | Path | None = None) -> SystemFault:
    """The error to raise for an `OSError` while `doing` something to `path`."""
    where = path if path is not None else error.filename
    place = f" {where}" if where else ""
    again = f"free some space and run the command again (pretrain and finetune: with {RESUME})"
    remedies = {
        errno.ENOSPC: f"the disk is full; {again}",
        errno.EDQUOT: f"the disk quota is used up; {again}",
        errno.EACCES: "permission denied; check the owner and mode of the path",
        errno.EPERM: "permission denied; check the owner and mode of the path",
        errno.EROFS: f"the file system is read-only; choose another folder with {option('out')}",
        errno.EFBIG: "the file is larger than this shell or file system allows; raise the limit "
        "(`ulimit -f`) or choose another place",
        errno.ELOOP: "the link leads to itself; remove it",
        errno.ENOENT: "no such file or folder; check the spelling",
        errno.ENOTDIR: "part of this path is a file, not a folder; check the spelling",
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
    """` (perhaps you meant 'x')` for the nearest known word, ignoring case, or an empty string."""
    by_folded = {one.casefold(): one for one in reversed(list(known))}
    close = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f" (perhaps you meant '{by_folded[close[0]]}')" if close else ""
