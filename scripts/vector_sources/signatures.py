"""Envelopes, SSHSIGs, and what a signature proves."""

# ruff: noqa: E501, PLR0915 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

from hashlib import sha256
from typing import Any

from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.encoding import b64url_encode
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    NAMESPACE_REQUEST,
    encode_ed25519_key,
    encode_sshsig,
    parse_sshsig,
    signed_data,
)
from placet.testing.authenticator import (
    AT,
    BE,
    BS,
    ED,
    UP,
    UV,
    SoftSk,
    SoftTerminalKey,
    SoftWebAuthn,
    encode_client_data,
)
from placet.testing.world import ALICE
from vector_sources.book import SEED, Book, b64, world

MESSAGE = pae(PAYLOAD_TYPE, b'{"an":"example"}')
ORIGIN = "http://t1.demo.placet.localhost:8470"
OTHER = "http://t2.demo.placet.localhost:8470"


def envelopes() -> Book:
    """DSSE."""
    book = Book("envelope")
    # The example of the DSSE specification, protocol.md.
    inputs = {"payloadType": "http://example.com/HelloWorld", "payload": b64(b"hello world")}
    encoded = b64(b"DSSEv1 29 http://example.com/HelloWorld 11 hello world")
    book.accept("pae", "specification", "ENV-01", "The example of DSSE itself.", inputs, pae=encoded)
    inputs = {"payloadType": "é", "payload": b64(b"")}
    book.accept("pae", "bytes", "ENV-01", "Lengths count bytes, not characters.", inputs, pae=b64("DSSEv1 2 é 0 "))
    key = world().keys[ALICE]
    one = {"keyid": key.keyid, "sig": b64(key.sign(NAMESPACE_INTENT, MESSAGE))}
    good: dict[str, Any] = {"payload": b64(b'{"an":"example"}'), "payloadType": PAYLOAD_TYPE, "signatures": [one]}
    some = [{"keyid": f"{i:064x}", "sig": b64(b"x")} for i in range(17)]

    def no(name: str, ids: str, description: str, changes: dict[str, Any], reason: str, path: str) -> None:
        book.refuse("envelope", name, ids, description, {"envelope": good | changes}, reason, path=path)

    book.accept("envelope", "one", "ENV-02 ENV-03 ENV-04 ENV-05 ENV-06 ENV-07", "One signature.", {"envelope": good}, signatures=1)
    book.accept("envelope", "sixteen", "ENV-03 ENV-05", "As many as there may be.", {"envelope": good | {"signatures": some[:16]}}, signatures=16)
    book.accept("envelope", "none", "ENV-03", "No signature yet.", {"envelope": good | {"signatures": []}}, signatures=0)
    no("payload-type", "ENV-02 INV-1", "Another payload type.", {"payloadType": "application/json"}, "unsupported-type", "/payloadType")
    no("too-many", "ENV-03", "17 signatures.", {"signatures": some}, "too-many", "/signatures")
    for name, text in (("url-safe", "-_8="), ("unpadded", "YQ"), ("white-space", "YWFh\nYWFh"), ("second-spelling", "YR=="), ("padding-inside", "YQ==YQ=="), ("excess-padding", "YWFh=")):
        no(f"base64-{name}", "ENV-04", f"Base64 {text!r}.", {"signatures": [one | {"sig": text}]}, "bad-base64", "/signatures/0/sig")
    no("base64-payload", "ENV-04", "A payload with stray bits.", {"payload": "e31="}, "bad-base64", "/payload")
    no("same-key-twice", "ENV-05", "Two signatures of one key.", {"signatures": [one, one | {"sig": b64(b"y")}]}, "duplicate-value", "/signatures")
    no("large-payload", "ENV-06", "A payload of 64 KiB and a byte.", {"payload": b64(bytes(65537))}, "too-large", "/payload")
    no("large-signature", "ENV-06", "A signature of 8 KiB and a byte.", {"signatures": [one | {"sig": b64(bytes(8193))}]}, "too-large", "/signatures/0/sig")
    no("extension", "ENV-07", "DSSE's experimental member.", {"signatures": [one | {"extension": {}}]}, "unknown-member", "/signatures/0")
    no("no-keyid", "ENV-07", "A signature without a hint.", {"signatures": [{"sig": "YQ=="}]}, "missing-member", "/signatures/0")
    no("key-id-upper-case", "ENV-07", "A key ID in upper case.", {"signatures": [one | {"keyid": "A" * 64}]}, "bad-digest", "/signatures/0/keyid")
    return book


def _inputs(key: Any, blob: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "signature": b64(blob),
        "message": b64(MESSAGE),
        "namespace": NAMESPACE_INTENT,
        "publicKey": b64(key.wire),
        "kind": getattr(key, "kind", "sk"),
        "origins": [ORIGIN],
        "requireUserVerification": True,
        "allowBackup": False,
    } | changes


def signatures() -> Book:
    """SSHSIG and WebAuthn."""
    book = Book("sshsig")
    page, sk, ed = SoftWebAuthn(seed=SEED), SoftSk("ecdsa", seed=SEED), SoftSk("ed25519", seed=SEED)
    plain, stranger = SoftTerminalKey(seed=SEED), SoftWebAuthn(seed=b"stranger")
    _keys(book, page, sk, ed, plain)
    blob = page.sign(NAMESPACE_INTENT, MESSAGE, counter=7)
    every = "SIG-02 SIG-03 SIG-04 SIG-05 SIG-06 SIG-07 SIG-08 SIG-09 SIG-10 WAN-01 WAN-02 WAN-03 WAN-04"
    web = f"{every} WAN-05 WAN-06 WAN-07 WAN-08 WAN-09 INV-1 INV-3 INV-9"
    book.accept("sshsig", "webauthn", web, "A browser page.", _inputs(page, blob), keyid=page.keyid, userVerified=True, counter=7, webOrigin=ORIGIN)
    for name, key in (("sk-ecdsa", sk), ("sk-ed25519", ed)):
        made = key.sign(NAMESPACE_INTENT, MESSAGE, counter=1)
        book.accept("sshsig", name, f"{every} WAN-07 INV-9", "A key used without a browser.", _inputs(key, made), counter=1, webOrigin=None)
    extra = page.sign(NAMESPACE_INTENT, MESSAGE, extra_members=',"other_keys_can_be_added_here":"do not compare"')
    book.accept("sshsig", "webauthn-extra-member", "WAN-08", "Chromium adds members at random.", _inputs(page, extra))
    with_data = page.sign(NAMESPACE_INTENT, MESSAGE, flags=UP | UV | ED, extensions=b"\xa1aaa1")
    book.accept("sshsig", "webauthn-extensions", "WAN-03", "Extension data with its flag.", _inputs(page, with_data))
    synced = page.sign(NAMESPACE_INTENT, MESSAGE, flags=UP | UV | BE | BS)
    book.accept("sshsig", "backup-allowed", "WAN-04", "A synced key where that is allowed.", _inputs(page, synced, allowBackup=True))
    unverified = page.sign(NAMESPACE_INTENT, MESSAGE, flags=UP)
    book.accept("sshsig", "unverified-allowed", "WAN-02", "No verification where none is asked.", _inputs(page, unverified, requireUserVerification=False), userVerified=False)

    def no(name: str, ids: str, description: str, made: bytes, reason: str, category: str, *, key: Any = page, **changes: Any) -> None:
        book.refuse("sshsig", name, ids, description, _inputs(key, made, **changes), reason, category=category)

    def signed(**knobs: Any) -> bytes:
        return page.sign(NAMESPACE_INTENT, MESSAGE, **knobs)

    bad, wrong, policy = "malformed", "verification", "policy"
    other = page.sign(NAMESPACE_INTENT, pae(PAYLOAD_TYPE, b'{"another":"example"}'))
    no("other-message", "SIG-03 WAN-06 INV-1", "A signature over other bytes (attack A6).", other, "challenge-mismatch", wrong)
    hashed = sha256(signed_data(NAMESPACE_INTENT, MESSAGE)).digest()
    no("hashed-challenge", "SIG-03", "The challenge is the hash of the data.", signed(client_data_override=encode_client_data(hashed, ORIGIN)), "challenge-mismatch", wrong)
    bare = page.sign(NAMESPACE_INTENT, b'{"an":"example"}')
    no("without-pae", "ENV-01 SIG-03", "The payload without its encoding.", bare, "challenge-mismatch", wrong)
    no("sk-other-message", "SIG-10 INV-1", "Other bytes, without a browser.", sk.sign(NAMESPACE_INTENT, b"other"), "signature-invalid", wrong, key=sk)
    no("ed25519-other-message", "SIG-10", "Other bytes, Ed25519.", ed.sign(NAMESPACE_INTENT, b"other"), "signature-invalid", wrong, key=ed)
    no("version", "SIG-04", "Version 2.", blob[:9] + b"\x02" + blob[10:], "bad-sshsig", bad)
    no("magic", "SIG-04", "Another preamble.", b"SSHSIX" + blob[6:], "bad-sshsig", bad)
    no("hash", "SIG-04", "SHA-256 over the message.", blob.replace(b"\0\0\0\6sha512", b"\0\0\0\6sha256"), "bad-sshsig", bad)
    reserved = blob.replace(b"@placet.dev\0\0\0\0\0\0\0\6sha512", b"@placet.dev\0\0\0\1x\0\0\0\6sha512")
    no("reserved", "SIG-04", "Something in the reserved field.", reserved, "bad-sshsig", bad)
    no("trailing-outside", "SIG-05", "A byte behind the blob.", blob + b"\0", "bad-sshsig", bad)
    no("trailing-inside", "SIG-05", "A byte behind the inner signature.", signed(trailing=b"\0"), "bad-sshsig", bad)
    no("truncated", "SIG-05", "A byte is missing.", blob[:-1], "bad-sshsig", bad)
    parts = parse_sshsig(blob)
    r, rest = parts.signature[4 : 4 + parts.signature[3]], parts.signature[4 + parts.signature[3] :]
    for name, number in (("leading-zero", b"\0\0" + r), ("negative", b"\xff" + r), ("empty", b"")):
        form = len(number).to_bytes(4, "big") + number + rest
        no(f"mpint-{name}", "SIG-06", "The number r in another form.", encode_sshsig(parts._replace(signature=form)), "bad-sshsig", bad)
    no("other-key", "SIG-07 INV-3", "The blob names another key.", stranger.sign(NAMESPACE_INTENT, MESSAGE), "key-mismatch", wrong)
    claimed = encode_sshsig(parse_sshsig(stranger.sign(NAMESPACE_INTENT, MESSAGE))._replace(public_key=page.wire))
    no("forged", "SIG-10 INV-3", "Another key's signature under this key's name.", claimed, "signature-invalid", wrong)
    no("namespace", "SIG-08", "A proof of who asks is no approval.", page.sign(NAMESPACE_REQUEST, MESSAGE), "namespace-mismatch", wrong)
    no("git", "SIG-08", "A git commit's signature is no approval.", page.sign("git", MESSAGE), "namespace-mismatch", wrong)
    relabelled = encode_sshsig(parse_sshsig(page.sign("git", MESSAGE))._replace(namespace=NAMESPACE_INTENT))
    no("relabelled", "SIG-08 SIG-03", "A git signature that says it is an approval.", relabelled, "challenge-mismatch", wrong)
    no("kind-page-as-sk", "SIG-09", "A page's signature for a key that has none.", blob, "signature-kind", wrong, kind="sk")
    posing = SoftSk("ecdsa", application="demo.placet.localhost", seed=SEED)
    no("kind-sk-as-page", "SIG-09", "No browser made this signature.", posing.sign(NAMESPACE_INTENT, MESSAGE), "signature-kind", wrong, key=posing, kind="webauthn")
    no("software-key", "SIG-09 SIG-01 INV-3 INV-9", "A plain key that needs no touch.", plain.sign(NAMESPACE_INTENT, MESSAGE), "signature-kind", wrong, key=plain)
    no("inner-type", "SIG-09", "An RSA signature.", blob.replace(b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com", b"rsa-sha2-512-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "signature-kind", bad)
    no("no-touch", "WAN-01 INV-3", "A preflight assertion (attack A10).", signed(flags=UV), "user-presence-missing", policy)
    no("no-touch-sk", "WAN-01", "An SSH key without touch.", sk.sign(NAMESPACE_INTENT, MESSAGE, flags=UV), "user-presence-missing", policy, key=sk)
    no("no-verification", "WAN-02 INV-3", "Touched, but not unlocked.", signed(flags=UP), "user-verification-missing", policy)
    no("attested-data-flag", "WAN-03", "A registration's flag.", signed(flags=UP | UV | AT), "flags-invalid", policy)
    no("extension-flag-alone", "WAN-03", "A flag without data.", signed(flags=UP | UV | ED), "flags-invalid", policy)
    no("extension-data-alone", "WAN-03", "Data without its flag.", signed(extensions=b"\xa1aaa1"), "flags-invalid", policy)
    no("reserved-flag", "WAN-03", "A flag that nobody defined.", signed(flags=UP | UV | 2), "flags-invalid", policy)
    no("synced", "WAN-04 INV-3", "A synced passkey (attack A10).", signed(flags=UP | UV | BE | BS), "backup-not-allowed", policy)
    no("eligible", "WAN-04", "A key that can be synced.", signed(flags=UP | UV | BE), "backup-not-allowed", policy)
    no("backed-up-not-eligible", "WAN-04", "A contradiction.", signed(flags=UP | UV | BS), "backup-not-allowed", policy, allowBackup=True)
    no("sibling-origin", "WAN-05 INV-3", "A page of another terminal (attack A9).", signed(web_origin=OTHER), "origin-not-allowed", policy)
    no("login-page", "WAN-05", "A login page on the same domain.", signed(web_origin="http://login.demo.placet.localhost:8470"), "origin-not-allowed", policy)
    no("other-port", "WAN-05", "The same host, another port.", signed(web_origin="http://t1.demo.placet.localhost:8471"), "origin-not-allowed", policy)
    no("claimed-origin", "WAN-08", "The blob claims another origin than the browser.", signed(web_origin=OTHER, claimed_origin=ORIGIN), "client-data", bad)
    no("other-rp-id", "WAN-07", "Signed for another RP ID.", signed(rp_id="example.com"), "signature-invalid", wrong)
    no("other-application", "WAN-07", "Signed for another application.", sk.sign(NAMESPACE_INTENT, MESSAGE, application="ssh:"), "signature-invalid", wrong, key=sk)
    no("cross-origin", "WAN-09", "Embedded in another site (attack A9).", signed(cross_origin=True), "cross-origin", policy)
    no("top-origin", "WAN-09", "Embedded, and it says in what.", signed(extra_members=',"topOrigin":"https://evil.example"'), "cross-origin", policy)
    flipped = encode_sshsig(parts._replace(counter=8))
    no("counter", "SIG-10", "A counter that was altered afterwards.", flipped, "signature-invalid", wrong)
    return book


def _keys(book: Book, page: Any, sk: Any, ed: Any, plain: Any) -> None:
    for name, key, kind in (("webauthn", page, "sk-ecdsa-sha2-nistp256@openssh.com"), ("sk-ecdsa", sk, "sk-ecdsa-sha2-nistp256@openssh.com"), ("sk-ed25519", ed, "sk-ssh-ed25519@openssh.com")):
        book.accept("public-key", name, "SIG-01 SIG-02", "An enrollable key.", {"publicKey": b64(key.wire)}, keyid=key.keyid, type=kind)
    data = b64(signed_data(NAMESPACE_INTENT, b"example"))
    book.accept("signed-data", "intent", "SIG-03", "What is signed, and what the challenge is.", {"namespace": NAMESPACE_INTENT, "message": b64(b"example")}, signedData=data)

    def no(name: str, description: str, wire: bytes) -> None:
        book.refuse("public-key", name, "SIG-01", description, {"publicKey": b64(wire)}, "bad-key", category="malformed")

    def field(text: bytes) -> bytes:
        return len(text).to_bytes(4, "big") + text

    no("rsa", "An RSA key.", field(b"ssh-rsa") + field(b"\1\0\1") + field(b"\1" * 256))
    no("plain-ecdsa", "A P-256 key that needs no touch.", field(b"ecdsa-sha2-nistp256") + field(b"nistp256") + field(page.point))
    no("other-curve", "A point of another curve.", page.wire.replace(b"nistp256\0\0\0A", b"nistp384\0\0\0A"))
    no("compressed-point", "A compressed point.", field(b"sk-ecdsa-sha2-nistp256@openssh.com") + field(b"nistp256") + field(b"\2" + page.point[1:33]) + field(b"ssh:"))
    no("no-application", "A key for nothing.", ed.wire[: -len(field(b"ssh:placet:demo"))] + field(b""))
    no("trailing", "A byte behind the key.", page.wire + b"\0")
    no("truncated", "A byte is missing.", page.wire[:-1])
    no("short-ed25519", "31 bytes.", encode_ed25519_key(bytes(31)))


def client_data() -> Book:
    """Client data."""
    book = Book("client-data")
    challenge = signed_data(NAMESPACE_INTENT, MESSAGE)
    encoded = b64url_encode(challenge)

    def inputs(text: bytes | str) -> dict[str, Any]:
        return {"clientDataJSON": b64(text), "challenge": b64(challenge), "webOrigin": ORIGIN}

    def no(name: str, ids: str, description: str, text: bytes | str, reason: str) -> None:
        book.refuse("client-data", name, ids, description, inputs(text), reason)

    good = encode_client_data(challenge, ORIGIN).decode()
    book.accept("client-data", "minimal", "WAN-06 WAN-08 WAN-09", "What a browser writes.", inputs(good))
    short = good.replace(',"crossOrigin":false', "")
    book.accept("client-data", "without-cross-origin", "WAN-08 WAN-09", "The member is optional.", inputs(short))
    book.accept("client-data", "more-members", "WAN-08", "Members may follow.", inputs(good[:-1] + ',"x":{"y":[1,"z"]}}'))
    no("registration", "WAN-08", "A registration.", good.replace("webauthn.get", "webauthn.create"), "client-data")
    no("challenge", "WAN-06", "Another challenge.", encode_client_data(b"other", ORIGIN), "challenge-mismatch")
    no("padded-challenge", "WAN-06", "The challenge with padding.", good.replace(encoded, encoded + "="), "challenge-mismatch")
    no("order", "WAN-08", "Members in another order.", f'{{"challenge":"{encoded}","type":"webauthn.get","origin":"{ORIGIN}","crossOrigin":false}}', "client-data")
    no("white-space", "WAN-08", "White space.", good.replace(":", ": ", 1), "client-data")
    no("origin-prefix", "WAN-08", "An origin that only begins alike.", good.replace(ORIGIN, ORIGIN + "0"), "client-data")
    no("duplicate-origin", "WAN-08", "A second origin.", good[:-1] + ',"origin":"https://evil.example"}', "duplicate-member")
    no("cross-origin-text", "WAN-09", "A truth in quotation marks.", good.replace("false", '"false"'), "cross-origin")
    no("not-json", "WAN-08", "No JSON.", b"\xff", "not-utf8")
    no("large", "WAN-08", "More than any browser writes.", good[:-1] + ',"x":"' + "y" * 4096 + '"}', "too-large")
    no("list", "WAN-08", "A list.", "[]", "client-data")
    escaped = ORIGIN.replace("t1", "\\u0074" + "1")
    other = inputs(good.replace(ORIGIN, escaped)) | {"webOrigin": escaped}
    book.refuse("client-data", "origin-escaped", "WAN-08 WAN-05", "An origin in another spelling.", other, "client-data")
    return book
