"""Names and tokens of known callers, as operators write them into a service's files.

Only the SHA-256 of a token stands there, so that whoever reads the file cannot call.
"""

from __future__ import annotations

from typing import Any

from placet.core.encoding import Digest, is_hex

_MAX_NAME = 60
_PUNCTUATION = str.maketrans("._-", "000")


class TokenFileError(Exception):
    """The file is malformed; the text says where."""


def read_named_token(item: Any, where: str) -> tuple[str, Digest]:
    """Takes ``name`` and ``token_sha256`` out of a table.

    Args:
        item: the table; what is left in it is the caller's.
        where: for the message, such as ``in [[caller]] number 2``.

    Raises:
        TokenFileError: one of them is missing or malformed.
    """
    if not isinstance(item, dict):
        raise TokenFileError(f"{where}: not a table")
    name, digest = item.pop("name", None), item.pop("token_sha256", None)
    if not isinstance(name, str) or not _is_name(name):
        raise TokenFileError(
            f"{where}: name must be 1 to {_MAX_NAME} letters, digits, dots, hyphens and underscores"
        )
    if not isinstance(digest, str) or not is_hex(digest, 64):
        raise TokenFileError(
            f"{where}: token_sha256 must be 64 hexadecimal characters in lower case; "
            "printf %s TOKEN | sha256sum prints them"
        )
    return name, Digest(digest)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MAX_NAME and text.isascii() and text.translate(_PUNCTUATION).isalnum()
