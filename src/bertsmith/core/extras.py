"""What is imported on use: optional packages, and parts of torch that take seconds to load."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from bertsmith.core.errors import MissingExtra


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Imports an optional module.

    Args:
        module: what to import, e.g. `pyarrow.parquet`.
        extra: the extra of bertsmith that installs it.
        purpose: what the user was doing, as the start of the sentence.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(extra, purpose) from error


def late(module: str) -> Any:
    """Imports a module of a required package that few runs need and that is slow to load."""
    return importlib.import_module(module)


def locate(package: str, *, extra: str, purpose: str) -> Path:
    """The folder of an optional package, found without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise MissingExtra(extra, purpose)
    return Path(found.origin).parent
