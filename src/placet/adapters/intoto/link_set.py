"""Link sets: the link files of one product, carried as one piece of evidence (spec/19-in-toto.md).

    {"files": {"build.2f89b927.link": "<base64>", "build.2f89b927/compile.0c6f5a31.link": "<base64>"}}

in canonical JSON.  A file in a folder belongs to the sublayout of that name.  Layouts that say what must hold
are never taken from here: they come from the trust root.
"""

from __future__ import annotations

from collections.abc import Mapping

from placet.core.actions import is_relative_path
from placet.core.bundle import MAX_REQUEST_BYTES
from placet.core.decode import read_map, read_object, read_string
from placet.core.encoding import b64decode_strict, b64encode, encode_canonical, parse_canonical_json
from placet.core.errors import MalformedError, Reason

# Every functionary of every step of a large layout.
MAX_FILES = 256
# File systems allow 255 bytes for one name.
MAX_NAME = 200
# A layout in a layout in a layout; deeper nesting only buys work for whoever verifies.
MAX_FOLDERS = 3
_SUFFIX = ".link"


def encode_link_set(files: Mapping[str, bytes]) -> bytes:
    """Encodes link files as evidence.

    Args:
        files: name, relative to the folder of links → contents.

    Raises:
        MalformedError: a name is none of a link, or there are none or too many.
    """
    for name in files:
        _check_name(name)
    _check_names(files)
    return encode_canonical({"files": {name: b64encode(data) for name, data in files.items()}})


def parse_link_set(content: bytes) -> dict[str, bytes]:
    """Parses a link set.

    Returns:
        Relative path → contents, safe to be written into an empty folder.

    Raises:
        MalformedError: wrong shape, size or spelling, or a name that is not that of a link.
    """
    value = parse_canonical_json(content, max_bytes=MAX_REQUEST_BYTES, what="link set")
    encoded = read_map(read_object(value, "", ["files"])["files"], "/files", max_items=MAX_FILES)
    files = {}
    for name, text in encoded.items():
        _check_name(name)
        at = f"/files/{name}"
        files[name] = b64decode_strict(read_string(text, at, max_length=2 * MAX_REQUEST_BYTES), at)
    _check_names(files)
    return files


def _check_name(name: str) -> None:
    # These names become paths: whoever made the set must not choose where a file is written.
    parts = name.split("/")
    plain = is_relative_path(name) and len(parts) <= MAX_FOLDERS + 1
    if not plain or not name.endswith(_SUFFIX) or any(len(p) > MAX_NAME or p.startswith(".") for p in parts):
        raise MalformedError(
            Reason.BAD_VALUE,
            f"{name[:80]!r} is not the name of a link.",
            path="/files",
            expected="STEP.KEYID.link, in folders of sublayouts at most",
        )


def _check_names(files: Mapping[str, bytes]) -> None:
    if not files:
        raise MalformedError(Reason.BAD_VALUE, "A link set has at least one link.", path="/files")
    if len(files) > MAX_FILES:
        raise MalformedError(
            Reason.TOO_MANY, f"A link set has at most {MAX_FILES} links, this one {len(files)}."
        )
    for name in files:
        folder = name
        while folder := folder.rpartition("/")[0]:
            if folder in files:  # one path cannot be both
                raise MalformedError(
                    Reason.DUPLICATE_VALUE, f"{folder[:80]!r} is a link and a folder.", path="/files"
                )
