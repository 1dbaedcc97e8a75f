"""JSON documents that carry their own SHA-256, so that any damage of theirs is noticed.

A sealed document ends in one more key, `sha256`: the checksum of all bytes of the file but those of
the checksum itself.
"""

import hashlib
import re

from bertsmith.core.errors import FolderError

_SEAL = re.compile(rb',?\n  "sha256": "([0-9a-f]{64})"\n\}\n\Z')


def sealed(document: bytes) -> bytes:
    """An object of JSON, indented by two, with its seal.

    Args:
        document: ends in a brace and a line break.
    """
    body = document.removesuffix(b"\n}\n")
    comma = b"" if body == document or body.endswith(b"{") else b","
    body = body.removesuffix(b"{}\n") + b"{" if body == document else body
    head, tail = body + comma + b'\n  "sha256": "', b'"\n}\n'
    return head + hashlib.sha256(head + tail).hexdigest().encode() + tail


def unsealed(data: bytes, source: str, *, required: bool) -> bytes:
    """The document without its seal, which is compared with the rest.

    Args:
        data: of the file.
        source: the file, for errors.
        required: whether a document without a seal is damaged; else it is given back as it is.

    Raises:
        FolderError: the seal does not fit, or is required and missing.
    """
    found = _SEAL.search(data)
    if found is None:
        if required:
            raise FolderError(
                f"{source} has no checksum at its end: it was cut short, edited, or written by an "
                "older version of bertsmith. Restore it from a good copy."
            )
        return data
    rest = data[: found.start(1)] + data[found.end(1) :]
    if hashlib.sha256(rest).hexdigest().encode() != found[1]:
        raise FolderError(
            f"{source} is damaged or was edited: its contents do not have the checksum at its end. "
            "Restore it from a good copy."
        )
    return data[: found.start()] + b"\n}\n"
