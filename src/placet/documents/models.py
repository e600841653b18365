"""Which authenticator models count as attested: ``models.json`` of the trust root.

    {"models": [{"aaguid"  or  "keyIdentifiers": [hex…], "description", "status": "allowed"|"revoked",
                 "roots": [DER, base64…], "advisories"?: [text…],
                 "source": {"kind": "vendor"} or {"kind": "fido-mds", "number", "nextUpdate"}}]}

The administrators pin each model with its vendor's root certificates and sign the list like every other file
of the trust root; where the certificates came from (the FIDO metadata service, a vendor's page) is a note.  A
U2F key has no AAGUID and is named by the identifiers of its certificates' keys.

`describe_models` shows it by meaning where administrators sign a change.  Certificates are judged elsewhere
(`placet.ports.attestation_verifier`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from placet.core.decode import read_ascii, read_choice, read_list, read_object
from placet.core.encoding import b64decode_strict, b64encode, parse_json, sha256_hex
from placet.core.errors import MalformedError, Reason
from placet.core.trust import MAX_FILE_BYTES, MODELS_FILE

Files = Mapping[str, bytes]

STATUSES = ("allowed", "revoked")
# The FIDO list has some 500 models in all; one of them pins 45 roots.
MAX_MODELS = 256
MAX_ROOTS = 64
MAX_ROOT_TEXT = 16 * 1024
MAX_KEY_IDENTIFIERS = 64
MAX_ADVISORIES = 16
MAX_DESCRIPTION, MAX_ADVISORY = 200, 400

_AAGUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY_IDENTIFIER = re.compile("[0-9a-f]{40}")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
NO_AAGUID = "00000000-0000-0000-0000-000000000000"

# Authenticator models that are software and say so; they can be enrolled as `software` only.
SOFTWARE_AAGUIDS = frozenset(
    {
        "01020304-0506-0708-0102-030405060708",  # Chromium's virtual authenticator
        "706c6163-6574-0000-4000-800000000001",  # placet.testing's software authenticator
    }
)


class Source(NamedTuple):
    """Where a model's roots came from: a vendor, or a FIDO metadata blob with its number and next update."""

    kind: str
    number: int = 0
    next_update: str = ""


VENDOR = Source("vendor")


class Model(NamedTuple):
    """One model.  `aaguid` is "" for U2F keys, which have `key_identifiers` instead.  `roots` are DER."""

    aaguid: str
    key_identifiers: tuple[str, ...]
    description: str
    status: str
    roots: tuple[bytes, ...]
    advisories: tuple[str, ...] = ()
    source: Source = VENDOR

    @property
    def id(self) -> str:
        """What names the model on the command line: the AAGUID, or the first key identifier."""
        return self.aaguid or self.key_identifiers[0]


def plain_text(text: str, limit: int) -> str:
    """Returns text of others as printable ASCII of bounded length: it is shown to people who decide."""
    plain = "".join(c if c.isascii() and c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text.strip())
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def parse_models(data: bytes) -> tuple[Model, ...]:
    """Reads ``models.json``.

    Raises:
        MalformedError: a member is missing or wrong, or two models are the same.
    """
    value = parse_json(data, max_bytes=MAX_FILE_BYTES, what=MODELS_FILE)
    items = read_list(read_object(value, "", required=["models"])["models"], "/models", max_items=MAX_MODELS)
    models = tuple(_parse_model(item, f"/models/{i}") for i, item in enumerate(items))
    names = [
        name for model in models for name in ((model.aaguid,) if model.aaguid else model.key_identifiers)
    ]
    if len(set(names)) != len(names):
        raise MalformedError(Reason.DUPLICATE_VALUE, "Two models are the same.", path="/models")
    return models


def _parse_model(value: Any, path: str) -> Model:
    optional = ["aaguid", "keyIdentifiers", "advisories"]
    members = read_object(
        value, path, required=["description", "status", "roots", "source"], optional=optional
    )
    if ("aaguid" in members) == ("keyIdentifiers" in members):
        raise MalformedError(Reason.BAD_VALUE, "A model has either an AAGUID or key identifiers.", path=path)
    roots = read_list(members["roots"], f"{path}/roots", max_items=MAX_ROOTS, min_items=1)
    advisories = read_list(members.get("advisories", []), f"{path}/advisories", max_items=MAX_ADVISORIES)
    return Model(
        aaguid=read_aaguid(members["aaguid"], f"{path}/aaguid") if "aaguid" in members else "",
        key_identifiers=_read_key_identifiers(members.get("keyIdentifiers"), f"{path}/keyIdentifiers"),
        description=read_ascii(members["description"], f"{path}/description", max_length=MAX_DESCRIPTION),
        status=read_choice(members["status"], f"{path}/status", STATUSES),
        roots=tuple(
            b64decode_strict(read_ascii(root, f"{path}/roots/{i}", max_length=MAX_ROOT_TEXT))
            for i, root in enumerate(roots)
        ),
        advisories=tuple(
            read_ascii(text, f"{path}/advisories/{i}", max_length=MAX_ADVISORY)
            for i, text in enumerate(advisories)
        ),
        source=_parse_source(members["source"], f"{path}/source"),
    )


def read_aaguid(value: Any, path: str = "") -> str:
    """Reads an AAGUID in its usual spelling, lower case with hyphens.

    Raises:
        MalformedError: BAD_VALUE.
    """
    text = read_ascii(value, path, max_length=36)
    if not _AAGUID.fullmatch(text) or text == NO_AAGUID:
        raise MalformedError(
            Reason.BAD_VALUE,
            "An AAGUID is 32 hexadecimal digits in groups of 8-4-4-4-12, and not all zero.",
            path=path,
            actual=text,
        )
    return text


def _read_key_identifiers(value: Any, path: str) -> tuple[str, ...]:
    if value is None:
        return ()
    items = read_list(value, path, max_items=MAX_KEY_IDENTIFIERS, min_items=1)
    for i, item in enumerate(items):
        if not _KEY_IDENTIFIER.fullmatch(read_ascii(item, f"{path}/{i}", max_length=40)):
            raise MalformedError(Reason.BAD_VALUE, "A key identifier is 40 hexadecimal digits.", path=path)
    return tuple(items)


def _parse_source(value: Any, path: str) -> Source:
    members = read_object(value, path, required=["kind"], optional=["number", "nextUpdate"])
    kind = read_choice(members["kind"], f"{path}/kind", ("vendor", "fido-mds"))
    if kind == "vendor":
        read_object(value, path, required=["kind"])
        return VENDOR
    read_object(value, path, required=["kind", "number", "nextUpdate"])
    number, update = members["number"], read_ascii(members["nextUpdate"], f"{path}/nextUpdate", max_length=10)
    if type(number) is not int or number < 1 or not _DATE.fullmatch(update):
        raise MalformedError(Reason.BAD_VALUE, "A FIDO blob has a number and a date.", path=path)
    return Source(kind, number, update)


def read_models(files: Files) -> tuple[Model, ...]:
    """Returns the models of a trust root's files; none where it has no list.

    Raises:
        MalformedError: ``models.json`` is malformed.
    """
    return parse_models(files[MODELS_FILE]) if MODELS_FILE in files else ()


def encode_models(models: Sequence[Model]) -> bytes:
    """Encodes ``models.json``.

    Raises:
        MalformedError: a value is not one that `parse_models` accepts.
    """
    data = json.dumps({"models": [_to_object(model) for model in models]}, indent=2, sort_keys=True).encode(
        "ascii"
    )
    parse_models(data)
    return data + b"\n"


def _to_object(model: Model) -> dict[str, Any]:
    value: dict[str, Any] = {
        "description": model.description,
        "status": model.status,
        "roots": [b64encode(root) for root in model.roots],
        "source": {"kind": model.source.kind},
    }
    value |= {"aaguid": model.aaguid} if model.aaguid else {"keyIdentifiers": list(model.key_identifiers)}
    if model.advisories:
        value["advisories"] = list(model.advisories)
    if model.source.kind == "fido-mds":
        value["source"] |= {"number": model.source.number, "nextUpdate": model.source.next_update}
    return value


def find_model(models: Sequence[Model], aaguid: str, key_identifiers: Sequence[str] = ()) -> Model | None:
    """Returns the model of an AAGUID, or of a U2F key's certificates."""
    if aaguid and aaguid != NO_AAGUID:
        return next((model for model in models if model.aaguid == aaguid), None)
    return next((model for model in models if set(model.key_identifiers) & set(key_identifiers)), None)


def describe_models(files: Files) -> list[tuple[str, str, str]]:
    """Returns rows (kind, name, text) for the difference that administrators sign; complete.

    Raises:
        MalformedError: ``models.json`` is malformed, which nobody must sign.
    """
    return [("authenticator model", model.id, describe_model(model)) for model in read_models(files)]


def describe_model(model: Model) -> str:
    """Returns everything that the trust root says about a model, but its ID."""
    parts = ["ALLOWED" if model.status == "allowed" else "REVOKED", _quoted(model.description)]
    if model.aaguid in SOFTWARE_AAGUIDS:
        parts.append("THIS IS SOFTWARE, which never exceeds level 1")
    parts.append(
        "from its vendor"
        if model.source.kind == "vendor"
        else f"from FIDO metadata number {model.source.number}, good until {model.source.next_update}"
    )
    parts += [f"key identifier {name}" for name in model.key_identifiers]
    parts += [f"advisory: {_quoted(text)}" for text in model.advisories]
    parts += [f"root SHA-256 {_grouped(sha256_hex(root))}" for root in model.roots]
    return "; ".join(parts)


def _quoted(text: str) -> str:
    # A vendor's words; in quotation marks they pass for none of ours.
    return json.dumps(text)


def _grouped(digest: str) -> str:
    return " ".join(digest[i : i + 4] for i in range(0, len(digest), 4))
