"""``models.json``: one spelling, bounded, and shown in full to those who sign."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placet.core.errors import MalformedError, Reason
from placet.documents.models import (
    MAX_MODELS,
    NO_AAGUID,
    Model,
    Source,
    describe_models,
    encode_models,
    find_model,
    parse_models,
    plain_text,
    read_models,
)

AAGUID, OTHER = "a0a0a0a0-0000-4000-8000-000000000007", "a0a0a0a0-0000-4000-8000-000000000008"
KEYS = ("ab" * 20, "cd" * 20)
FIDO2 = Model(
    AAGUID, (), "Acme Key 7", "allowed", (b"der",), ("careful",), Source("fido-mds", 3, "2026-12-01")
)
U2F = Model("", KEYS, "Acme U2F", "revoked", (b"one", b"two"))
GOOD = json.loads(encode_models([FIDO2, U2F]))


def changed(**members: Any) -> bytes:
    first = {name: value for name, value in (GOOD["models"][0] | members).items() if value is not ...}
    return json.dumps({"models": [first, GOOD["models"][1]]}).encode()


def test_what_is_written_is_read_and_found() -> None:
    assert parse_models(encode_models([FIDO2, U2F])) == (FIDO2, U2F)
    assert read_models({}) == ()
    for aaguid, keys, found in (
        (AAGUID, (), FIDO2),
        (OTHER, (), None),
        (OTHER, KEYS, None),
        ("", KEYS[1:], U2F),
        (NO_AAGUID, KEYS, U2F),
        ("", (), None),
    ):
        assert find_model([FIDO2, U2F], aaguid, keys) == found


@pytest.mark.parametrize(
    "members",
    [
        {"aaguid": ...},
        {"aaguid": NO_AAGUID},
        {"aaguid": AAGUID.upper()},
        {"aaguid": "x"},
        {"keyIdentifiers": ["ef" * 20]},
        {"aaguid": ..., "keyIdentifiers": [KEYS[0]]},
        {"aaguid": ..., "keyIdentifiers": []},
        {"aaguid": ..., "keyIdentifiers": ["AB" * 20]},
        {"status": "trusted"},
        {"roots": []},
        {"roots": ["!"]},
        {"roots": ["ZGVy"] * 65},
        {"description": ""},
        {"description": "a\u202eb"},
        {"description": "x" * 201},
        {"advisories": ["x"] * 17},
        {"advisories": ["\x1b[2J"]},
        {"source": {"kind": "vendor", "number": 1}},
        {"source": {"kind": "fido-mds"}},
        {"source": {"kind": "fido-mds", "number": 0, "nextUpdate": "2026-12-01"}},
        {"source": {"kind": "fido-mds", "number": True, "nextUpdate": "2026-12-01"}},
        {"source": {"kind": "fido-mds", "number": 1, "nextUpdate": "soon"}},
        {"extra": 1},
    ],
    ids=str,
)
def test_anything_else_is_malformed(members: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parse_models(changed(**members))


def test_no_model_stands_twice_and_there_are_not_too_many() -> None:
    for models in ([FIDO2, FIDO2], [U2F, U2F._replace(key_identifiers=KEYS[:1])]):
        with pytest.raises(MalformedError) as caught:
            encode_models(models)
        assert caught.value.reason is Reason.DUPLICATE_VALUE
    many = [FIDO2._replace(aaguid=f"{i:08x}-0000-4000-8000-000000000001") for i in range(MAX_MODELS + 1)]
    encode_models(many[1:])
    with pytest.raises(MalformedError):
        encode_models(many)


def test_every_member_changes_what_administrators_are_shown() -> None:
    rows = describe_models({"models.json": encode_models([FIDO2, U2F])})
    assert [(kind, name) for kind, name, _ in rows] == [
        ("authenticator model", AAGUID),
        ("authenticator model", KEYS[0]),
    ]
    shown = set()
    for model in (
        FIDO2,
        FIDO2._replace(description="Acme Key 8"),
        FIDO2._replace(status="revoked"),
        FIDO2._replace(roots=(b"other",)),
        FIDO2._replace(roots=(b"der", b"other")),
        FIDO2._replace(advisories=()),
        FIDO2._replace(source=Source("vendor")),
        FIDO2._replace(source=Source("fido-mds", 4, "2026-12-01")),
        FIDO2._replace(source=Source("fido-mds", 3, "2026-12-02")),
        U2F,
        U2F._replace(key_identifiers=(*KEYS, "ef" * 20)),
    ):
        ((_, _, text),) = describe_models({"models.json": encode_models([model])})
        assert text.isprintable()
        shown.add(text)
    assert len(shown) == 11
    software = FIDO2._replace(aaguid="01020304-0506-0708-0102-030405060708")
    assert "THIS IS SOFTWARE" in describe_models({"models.json": encode_models([software])})[0][2]


def test_text_of_others_is_plain_and_bounded() -> None:
    assert plain_text("YubiKey\u00ae \x1b[2J\n", 200) == "YubiKey\\u{ae} \\u{1b}[2J"
    assert plain_text("x" * 300, 200) == "x" * 197 + "..."
