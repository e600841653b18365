"""`SkKey`: our signatures under securesystemslib, with its traps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as DsseEnvelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, Key, Signature

from placet.adapters.securesystemslib import NAMESPACES, SkKey, register
from placet.adapters.tuf.trust import person_of
from placet.core.bundle import parse_bundle
from placet.core.dsse import envelope_to_object
from placet.core.errors import MalformedError, PolicyError
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_LINK, NAMESPACE_TRUST
from placet.testing.authenticator import BE, UP, UV, SoftSk, SoftTerminalKey, SoftWebAuthn
from placet.testing.world import ALICE, BOB, CAROL, World

MESSAGE = b'{"_type":"root"}'
SOFT = SoftSk("ed25519")
ORIGIN = "http://t1.demo.placet.localhost:8470"

Soft = SoftSk | SoftWebAuthn


def key_of(soft: Soft, **members: object) -> SkKey:
    origins = (ORIGIN,) if soft.kind == "webauthn" else ()
    return SkKey.from_wire(soft.wire, kind=soft.kind, origins=origins, **members)


def signature_of(
    soft: Soft, message: bytes = MESSAGE, namespace: str = NAMESPACE_TRUST, **knobs: int
) -> Signature:
    return Signature(soft.keyid, soft.sign(namespace, message, **knobs).hex())


@pytest.mark.parametrize(
    "soft", [SoftSk("ecdsa"), SoftSk("ed25519"), SoftWebAuthn()], ids=["ecdsa", "ed25519", "web"]
)
def test_each_kind_of_key_verifies_and_survives_its_dictionary(soft: Soft) -> None:
    register()
    key = key_of(soft, person="alice@example.com", future={"kept": "yes"})
    read = Key.from_dict(key.keyid, key.to_dict())
    assert read == key
    assert read.to_dict()["future"] == {"kept": "yes"}
    read.verify_signature(signature_of(soft), MESSAGE)


def test_every_failure_is_unverified_and_nothing_else() -> None:
    soft = SoftSk()
    key, good = key_of(soft), signature_of(soft)
    bad = [
        Signature(soft.keyid, "zz"),
        Signature(soft.keyid, ""),
        Signature(soft.keyid, good.signature.upper()),
        Signature(soft.keyid, " " + good.signature),
        Signature(soft.keyid, good.signature[:-2]),
        Signature(soft.keyid, None),  # type: ignore[arg-type]
        Signature(soft.keyid, "00" * 5000),
        signature_of(soft, b"something else"),
        signature_of(SoftSk()),
        signature_of(soft, namespace=NAMESPACE_INTENT),
        signature_of(soft, flags=UV),
        signature_of(soft, flags=UP),
        signature_of(soft, flags=UP | UV | BE),
    ]
    for signature in bad:
        with pytest.raises(UnverifiedSignatureError):
            key.verify_signature(signature, MESSAGE)
    with pytest.raises(UnverifiedSignatureError):
        key.verify_signature(None, MESSAGE)  # type: ignore[arg-type]


def test_a_signature_from_a_page_that_is_no_terminal_is_refused() -> None:
    soft = SoftWebAuthn()
    stray = soft.sign(NAMESPACE_TRUST, MESSAGE, web_origin="http://t9.demo.placet.localhost:8470")
    with pytest.raises(UnverifiedSignatureError, match="no enrolled terminal"):
        key_of(soft).verify_signature(Signature(soft.keyid, stray.hex()), MESSAGE)


def test_user_verification_is_waived_only_where_the_key_says_so() -> None:
    soft = SoftSk()
    key_of(soft, uv=False).verify_signature(signature_of(soft, flags=UP), MESSAGE)
    with pytest.raises(UnverifiedSignatureError):
        key_of(soft).verify_signature(signature_of(soft, flags=UP), MESSAGE)


def test_one_key_under_two_ids_is_refused() -> None:
    register()
    members = key_of(SoftSk()).to_dict()
    with pytest.raises(ValueError, match="key ID"):
        Key.from_dict("0" * 64, members)


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "sk-ssh-ed25519@openssh.com"},
        {"keyval": {}},
        {"keyval": {"public": "AAAA"}},
        {"kind": "piv"},
        {"uv": "yes"},
        {"backup": "maybe"},
        {"origins": "http://t1.demo.placet.localhost:8470"},
        {"namespace": "git"},
        {"namespace": ["link-v1@placet.dev"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_contradictory_key_is_refused_when_it_is_read(change: dict[str, object]) -> None:
    register()
    key = key_of(SoftSk())
    with pytest.raises(ValueError, match=key.keyid[:8]):
        Key.from_dict(key.keyid, key.to_dict() | change)


def test_a_plain_software_key_is_no_administrator() -> None:
    with pytest.raises(MalformedError):
        SkKey.from_wire(SoftTerminalKey().wire, kind="sk")


def test_securesystemslib_verifies_our_intent_envelope() -> None:
    world = World()
    bundle = parse_bundle(world.bundle(world.request_deploy(), ALICE, BOB))
    keys = [
        SkKey.from_wire(
            key.wire,
            kind=key.kind,
            origins=(world.origin("t1"), world.origin("t2")),
            namespace=NAMESPACE_INTENT,
        )
        for key in (world.keys[person] for person in (ALICE, BOB, CAROL))
    ]
    envelope = DsseEnvelope.from_dict(envelope_to_object(bundle.envelope))
    assert envelope.verify(keys, 2).keys() == {world.keys[ALICE].keyid, world.keys[BOB].keyid}
    with pytest.raises(VerificationError):
        envelope.verify(keys, 3)


def test_an_approval_never_counts_as_link_or_trust_change() -> None:
    world = World()
    envelope_object = envelope_to_object(parse_bundle(world.bundle(world.request_deploy(), ALICE)).envelope)
    for namespace in (NAMESPACE_TRUST, NAMESPACE_LINK):
        key = SkKey.from_wire(
            world.keys[ALICE].wire, kind="webauthn", origins=(world.origin("t1"),), namespace=namespace
        )
        envelope = DsseEnvelope.from_dict(
            {**envelope_object, "signatures": [dict(s) for s in envelope_object["signatures"]]}
        )
        with pytest.raises(VerificationError):
            envelope.verify([key], 1)


@pytest.mark.parametrize("stated", NAMESPACES)
def test_key_counts_for_the_one_purpose_that_it_states(stated: str) -> None:
    register()
    soft = SoftSk()
    key = key_of(soft, namespace=stated)
    read = Key.from_dict(key.keyid, key.to_dict())
    for made_for in NAMESPACES:
        signature = signature_of(soft, namespace=made_for)
        if made_for == stated:
            read.verify_signature(signature, MESSAGE)
        else:
            with pytest.raises(UnverifiedSignatureError, match="another purpose"):
                read.verify_signature(signature, MESSAGE)


def test_key_without_a_namespace_is_one_of_trust_metadata() -> None:
    """Roots that were signed before keys could state a namespace stay what they were, byte for byte."""
    members = key_of(SoftSk()).to_dict()
    assert "namespace" not in members
    assert key_of(SoftSk()).namespace == NAMESPACE_TRUST


def test_trust_root_takes_no_key_of_another_purpose() -> None:
    key = key_of(SoftSk(), namespace=NAMESPACE_LINK, person="alice@example.com")
    with pytest.raises(PolicyError, match="not trust"):
        person_of(key)
    assert person_of(key_of(SoftSk(), person="alice@example.com")) == "alice@example.com"


@given(st.binary(max_size=400), st.binary(max_size=80), st.sampled_from(["", "hex", "upper", "raw"]))
def test_whatever_a_signature_holds_only_one_exception_escapes(blob: bytes, data: bytes, form: str) -> None:
    """python-tuf and in-toto skip an unverified signature; anything else aborts the whole role."""
    good = SOFT.sign(NAMESPACE_TRUST, data)
    at = len(blob) % len(good)
    for made in (blob, good[:at] + blob, good[:at] + blob[:1] + good[at + 1 :] + blob[1:]):
        text = {"": "", "hex": made.hex(), "upper": made.hex().upper(), "raw": made.decode("latin-1")}[form]
        if text == good.hex():
            continue
        with pytest.raises(UnverifiedSignatureError):
            key_of(SOFT).verify_signature(Signature(SOFT.keyid, text), data)


@given(
    st.dictionaries(
        st.sampled_from(["keytype", "scheme", "keyval", "kind", "uv", "backup", "origins", "namespace"]),
        st.none() | st.booleans() | st.text(max_size=5) | st.lists(st.text(max_size=3)) | st.just({}),
    )
)
def test_whatever_a_key_holds_only_the_library_s_own_exceptions_escape(changes: dict[str, object]) -> None:
    register()
    key = key_of(SOFT)
    try:
        read = Key.from_dict(key.keyid, key.to_dict() | changes)
    except (ValueError, KeyError, TypeError):
        return
    with pytest.raises(UnverifiedSignatureError):
        read.verify_signature(Signature(key.keyid, "00"), b"")


def test_public_module_re_exports_what_it_lists() -> None:
    import placet.securesystemslib as public
    from placet.adapters import securesystemslib as home

    assert public.__all__ == sorted(public.__all__, key=lambda name: (name.upper() != name, name))
    assert public.SkKey is home.SkKey
    assert public.SshSkSigner is home.SshSkSigner
    public.register()
    assert SIGNER_FOR_URI_SCHEME["webauthn"] is public.WebAuthnSigner
    assert SIGNER_FOR_URI_SCHEME["ssh-sk"] is home.SshSkSigner
