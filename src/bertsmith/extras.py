"""Optional packages, imported where they are needed and named when they are missing."""

import importlib
from typing import Any

from bertsmith.errors import MissingExtra


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
