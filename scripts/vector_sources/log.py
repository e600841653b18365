"""The log: its tree, its texts, its leaves and what they are made from."""

# ruff: noqa: E501, PLR0915 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from placet.core.bundle import Answer, IntentRequest, encode_answer
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature
from placet.core.encoding import Digest, KeyId, b64encode, encode_canonical, sha256_hex
from placet.core.tlog.checkpoint import Checkpoint, encode_checkpoint, sign_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.leaf import DecisionLeaf, Leaf, TrustLeaf, UseLeaf, encode_leaf, leaf_hash
from placet.core.tlog.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_proof,
    extend,
    hash_leaf,
    inclusion_proof,
)
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    ED25519,
    NoteSignature,
    NoteSigner,
    SignedNote,
    VerifierKey,
    encode_note,
    encode_signatures,
    parse_note,
)
from placet.core.tlog.proof import TlogProof, encode_proof
from placet.core.tlog.records import Use, encode_trust_record, encode_use_record, in_lower_half, use_message
from placet.testing.small_log import note_signer
from placet.testing.world import ALICE, BOB, NOW
from vector_sources.book import (
    REMOVED,
    SEED,
    Book,
    Voice,
    altered,
    b64,
    bundle_of,
    run_request,
    world,
)
from vector_sources.verdicts import Key

ORIGIN = "log.example/demo"
_ENTRIES = [b"", b"\0", b"\x10", b"\x20\x21", b"\x30\x31", b"@ABC", b"PQRSTUVW"]
_ONE, _TWO = "11" * 32, "22" * 32

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

def logs() -> Book:
    """The formats of the log, one requirement after the other."""
    book = Book("log")
    _trees(book)
    _consistency(book)
    _notes(book)
    _keys(book)
    _checkpoints(book)
    _cosignatures(book)
    _tiles(book)
    _proofs(book)
    _policies(book)
    _leaves(book)
    _records(book)
    return book


class Tree:
    """A tree in memory."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self._compact, made = extend(CompactRange(), [hash_leaf(entry) for entry in entries])
        self._nodes = {(level, index): value for level, index, value in made}
        self.root = self._compact.root()

    def read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def included(self, index: int) -> dict[str, Any]:
        hashes = inclusion_proof(index, len(self.entries), self.read)
        return {"entry": b64(self.entries[index]), "leafIndex": str(index), "treeSize": str(len(self.entries)), "hashes": [b64(value) for value in hashes], "rootHash": self.root.hex()}

    def continues(self, old: int) -> dict[str, Any]:
        hashes = consistency_proof(old, len(self.entries), self.read)
        return {"oldSize": str(old), "oldRoot": Tree(self.entries[:old]).root.hex(), "newSize": str(len(self.entries)), "newRoot": self.root.hex(), "hashes": [b64(value) for value in hashes]}


_TREE = Tree(_ENTRIES)
_LOG = note_signer(ORIGIN, ED25519, SEED)
_WITNESSES = {name: note_signer(f"{name}.example", COSIGNATURE_ED25519, SEED) for name in ("w1", "w2", "w3")}
_STATE = Checkpoint(ORIGIN, len(_ENTRIES), _TREE.root)
_TEXT = encode_checkpoint(_STATE)
_SIGNED = sign_checkpoint(_STATE, _LOG)


def _cosigned(times: dict[str, int], note: bytes = _SIGNED) -> bytes:
    text = parse_note(note).text
    return note + encode_signatures(tuple(cosign(text, _WITNESSES[name], time) for name, time in times.items()))


def _flip(data: bytes, at: int, bit: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def _trees(book: Book) -> None:
    def entries(*batches: list[bytes]) -> dict[str, Any]:
        return {"batches": [[b64(entry) for entry in batch] for batch in batches]}

    book.accept("log-root", "empty", "LOG-01", "The empty tree.", entries(), treeSize="0", rootHash=EMPTY_ROOT.hex())
    book.accept("log-root", "one", "LOG-01", "A tree of one entry is its leaf.", entries(_ENTRIES[:1]), treeSize="1", rootHash="6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
    book.accept("log-root", "seven", "LOG-01", "Seven entries, at once.", entries(_ENTRIES), treeSize="7", rootHash="ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c")
    book.accept("log-root", "batches", "LOG-01", "The same seven in three batches.", entries(_ENTRIES[:3], _ENTRIES[3:4], _ENTRIES[4:]), treeSize="7", rootHash=_TREE.root.hex())
    for index in range(len(_ENTRIES)):
        book.accept("log-inclusion", f"{index}-of-7", "LOG-01 LOG-02", "An entry with its proof.", _TREE.included(index))
    good = _TREE.included(2)

    def no(name: str, description: str, ids: str = "LOG-02", **changes: Any) -> None:
        book.refuse("log-inclusion", name, ids, description, good | changes, "log-proof-invalid", category="verification")

    pair = hash_leaf(_ENTRIES[0]) + hash_leaf(_ENTRIES[1])
    no("node-as-leaf", "Two hashes shown as an entry: without prefixes, this tree of two would be one of one.", "LOG-01", entry=b64(pair), leafIndex="0", treeSize="1", hashes=[], rootHash=Tree(_ENTRIES[:2]).root.hex())
    no("another-entry", "The proof of another entry.", entry=b64(_ENTRIES[3]))
    no("another-index", "The same hashes at another index.", leafIndex="3")
    no("index-is-size", "There is no entry after the last one.", leafIndex="7")
    no("negative-index", "There is no entry before the first one.", leafIndex="-1")
    no("another-size", "The same hashes in a tree with one level more.", treeSize="14")
    no("too-short", "A hash is missing.", hashes=good["hashes"][:-1])
    no("too-long", "A hash is left over.", hashes=[*good["hashes"], good["hashes"][0]])
    no("short-hash", "A hash of 31 bytes.", hashes=[b64(b"x" * 31), *good["hashes"][1:]])
    no("another-root", "Another root hash.", rootHash=_flip(_TREE.root, 31).hex())
    two = Tree(_ENTRIES[:2])
    no("taller-tree", "The proof goes on beyond the top of a tree of one.", entry=b64(_ENTRIES[1]), leafIndex="0", treeSize="1", hashes=[b64(two.read(0, 0))], rootHash=two.root.hex())
    no("empty-tree", "Nothing is in the empty tree.", treeSize="0", leafIndex="0", hashes=[], rootHash=EMPTY_ROOT.hex())


def _consistency(book: Book) -> None:
    for old in (0, 1, 3, 4, 6, 7):
        book.accept("log-consistency", f"{old}-to-7", "LOG-03", "A tree that grew.", _TREE.continues(old))
    good = _TREE.continues(3)

    def no(name: str, description: str, inputs: dict[str, Any]) -> None:
        book.refuse("log-consistency", name, "LOG-03", description, inputs, "log-inconsistent", category="verification")

    rewritten = Tree([*_ENTRIES[:1], b"rewritten", *_ENTRIES[2:]])
    no("rewritten-entry", "An old entry was rewritten (attack A14).", rewritten.continues(3) | {"oldRoot": good["oldRoot"]})
    no("dropped-entry", "An old entry was dropped (attack A14).", Tree([*_ENTRIES[:1], *_ENTRIES[2:], b"x"]).continues(3) | {"oldRoot": good["oldRoot"]})
    no("rolled-back", "The newer state is shorter (attack A14).", good | {"oldSize": "7", "oldRoot": good["newRoot"], "newSize": "3", "newRoot": good["oldRoot"]})
    no("rolled-back-to-itself", "The newer state is shorter, and claims the same root.", {"oldSize": "2", "oldRoot": good["oldRoot"], "newSize": "1", "newRoot": good["oldRoot"], "hashes": []})
    no("forked", "Two roots of one size (attack A14).", {"oldSize": "7", "oldRoot": rewritten.root.hex(), "newSize": "7", "newRoot": _TREE.root.hex(), "hashes": []})
    no("empty-is-not", "Another root than the empty tree's, of no entries.", _TREE.continues(0) | {"oldRoot": _TREE.root.hex()})
    no("empty-with-proof", "From the empty tree the proof is empty.", _TREE.continues(0) | {"hashes": good["hashes"][:1]})
    no("equal-with-proof", "Between equal sizes the proof is empty.", _TREE.continues(7) | {"hashes": good["hashes"][:1]})
    no("no-proof", "A proof is needed.", good | {"hashes": []})
    no("complete-no-proof", "Also from a complete tree.", _TREE.continues(4) | {"hashes": []})
    no("too-short", "A hash is missing.", good | {"hashes": good["hashes"][:-1]})
    no("too-long", "A hash is left over.", good | {"hashes": [*good["hashes"], good["hashes"][0]]})
    no("another-hash", "A hash with one bit changed.", good | {"hashes": [b64(_flip(_TREE.read(0, 2), 0)), *good["hashes"][1:]]})


def _notes(book: Book) -> None:
    signer = note_signer("author.example/key", ED25519, SEED)
    key = str(signer.verifier_key)
    text = b"Anything that ends\n\nwith a newline.\n"
    note = encode_note(SignedNote(text, (signer.sign(text),)))
    line = note.rpartition(b"\n\n")[2]
    stranger = "— stranger.example AAAAAAAA\n".encode()

    def ok(name: str, description: str, data: bytes, *signers: str, **facts: Any) -> None:
        book.accept("log-note", name, "LOG-04", description, {"note": b64(data), "key": key}, signers=list(signers), **facts)

    def no(name: str, description: str, data: bytes, reason: str = "bad-value", category: str = "malformed") -> None:
        book.refuse("log-note", name, "LOG-04", description, {"note": b64(data), "key": key}, reason, category=category)

    ok("signed", "The text may have empty lines.", note, "author.example/key", text=text.decode())
    ok("strangers", "Signatures by unknown keys, of any length, neither count nor harm.", note + stranger + "— author.example/key ".encode() + b64(b"\1\2\3\4" + b"x" * 2428).encode() + b"\n", "author.example/key", "stranger.example", "author.example/key")
    ok("names-of-others", "A key's name may have any letters.", note + "— prüfer.example/日本 AAAAAAAA\n".encode(), "author.example/key", "prüfer.example/日本")
    many = b"".join(f"— s{i}.example AAAAAAAA\n".encode() for i in range(64))
    ok("64-signatures", "As many as a note may have.", note + many[: many.rindex("—".encode())], "author.example/key", *(f"s{i}.example" for i in range(63)))
    no("65-signatures", "One more.", note + many, "too-many")
    no("crlf", "Lines end with U+000A alone.", note.replace(b"\n", b"\r\n"), "text-not-allowed")
    no("control", "A control character.", note.replace(b"Any", b"An\x01"), "text-not-allowed")
    no("del", "Delete is one, too.", note.replace(b"Any", b"An\x7f"), "text-not-allowed")
    no("not-utf8", "Not UTF-8.", note.replace(b"Any", b"An\xff"), "not-utf8")
    no("too-large", "More than 64 KiB.", b"x" * 65_536 + note, "too-large")
    no("unended", "The last line is not ended.", note[:-1])
    no("unsigned", "No signature.", text + b"\n")
    no("no-empty-line", "No empty line before the signatures.", b"one line\n" + line)
    no("hyphen", "A hyphen instead of the em dash.", note.replace("—".encode(), b"-"))
    no("en-dash", "An en dash.", note.replace("—".encode(), "–".encode()))
    no("two-spaces", "Two spaces.", note.replace("— ".encode(), "—  ".encode()))
    no("space-in-name", "A name with a space of Unicode's.", note.replace(b"author.", "author\u2003".encode()))
    no("plus-in-name", "A name with a plus.", note.replace(b"author.", b"author+"))
    no("long-name", "A name of 256 bytes.", note + b"\xe2\x80\x94 " + b"x" * 256 + b" AAAAAAAA\n")
    no("trailing-text", "Something after the signature.", note[:-1] + b" \n", "bad-base64")
    no("url-safe-base64", "Another alphabet.", note + "— stranger.example AA-_AAAA\n".encode(), "bad-base64")
    no("stray-bits", "A second spelling of the same bytes.", note + "— stranger.example AAAAAAB=\n".encode(), "bad-base64")
    no("unpadded", "No padding.", note + "— stranger.example AAAAAAA\n".encode(), "bad-base64")
    no("empty-signature", "A key ID alone.", note + "— stranger.example AAAAAA==\n".encode())
    no("twice", "Two signatures by one key.", note + line, "duplicate-value")
    no("altered", "One letter of the text was changed.", note.replace(b"Any", b"any"), "signature-invalid", "verification")
    no("unsigned-by-key", "Signed by strangers only.", text + b"\n" + stranger, "signature-invalid", "verification")
    no("another-name", "The key's ID under another name.", note.replace(b"author.example", b"eve.example"), "signature-invalid", "verification")


def _with_id(name: str, algorithm: int, raw: bytes) -> str:
    key_id = hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + raw).hexdigest()[:8]
    return f"{name}+{key_id}+{b64encode(bytes([algorithm]) + raw)}"


def _keys(book: Book) -> None:
    key = _LOG.verifier_key
    good = str(key)
    name, key_id, encoded = good.split("+", 2)

    def no(label: str, description: str, text: str, reason: str = "bad-key") -> None:
        book.refuse("log-key", label, "LOG-05", description, {"key": text}, reason, category="malformed")

    book.accept("log-key", "log", "LOG-05", "A log's key.", {"key": good}, keyName=ORIGIN, algorithm=1, keyId=key.key_id.hex())
    book.accept("log-key", "witness", "LOG-05", "A witness's key.", {"key": str(_WITNESSES["w1"].verifier_key)}, keyName="w1.example", algorithm=4)
    book.accept("log-key", "c2sp-example", "LOG-05", "The key of C2SP's own examples.", {"key": "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"}, keyName="example.com/foo", algorithm=1, keyId="530d903a")
    no("ml-dsa-44", "Named, and not read yet.", _with_id("w1.example", 6, b"\1" * 1312), "unsupported-type")
    no("ecdsa", "Another algorithm.", _with_id("w1.example", 2, key.public_key), "unsupported-type")
    no("no-algorithm", "Nothing.", f"{name}+{key_id}+", "unsupported-type")
    no("another-id", "The ID of another key.", f"{name}+00000000+{encoded}")
    no("another-algorithms-id", "The key's ID under another algorithm.", f"{name}+{key_id}+{b64encode(bytes([4]) + key.public_key)}")
    no("upper-case-id", "A second spelling of the ID.", f"{name}+{key_id.upper()}+{encoded}")
    no("short-id", "An ID of seven characters.", f"{name}+{key_id[1:]}+{encoded}")
    no("short-key", "A key of 31 bytes.", _with_id(ORIGIN, 1, key.public_key[:-1]))
    no("long-key", "A key of 33 bytes.", _with_id(ORIGIN, 1, key.public_key + b"\0"))
    no("no-name", "No name.", good.removeprefix(name), "bad-value")
    no("space", "A space in the name.", _with_id("log example", 1, key.public_key), "bad-value")
    no("control", "A control character in the name.", _with_id("log\x01example", 1, key.public_key), "bad-value")
    no("del", "Delete in the name.", _with_id("log\x7fexample", 1, key.public_key), "bad-value")
    no("second-base64", "A second spelling of base64.", good + "====", "bad-base64")
    no("newline", "A newline after it.", good + "\n", "bad-base64")
    for order, raw in (("1", b"\1" + bytes(31)), ("2", b"\xec" + b"\xff" * 30 + b"\x7f"), ("4", bytes(32)), ("8", bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))):
        no(f"order-{order}", f"A point of order {order}: anybody can sign for it.", _with_id(ORIGIN, 1, raw))
    no("not-canonical", "A second spelling of a point: its coordinate is not below the prime.", _with_id(ORIGIN, 1, b"\xf0" + b"\xff" * 30 + b"\x7f"))


def _checkpoints(book: Book) -> None:
    def ok(name: str, description: str, text: bytes, **facts: Any) -> None:
        book.accept("log-checkpoint", name, "LOG-06", description, {"text": b64(text)}, **facts)

    def no(name: str, description: str, text: bytes, reason: str = "bad-value") -> None:
        book.refuse("log-checkpoint", name, "LOG-06", description, {"text": b64(text)}, reason, category="malformed")

    origin, size, root = _TEXT.decode().splitlines()

    def spelled(a: str = origin, b: str = size, c: str = root, *more: str) -> bytes:
        return "".join(f"{line}\n" for line in (a, b, c, *more)).encode()

    ok("plain", "Three lines.", _TEXT, origin=ORIGIN, treeSize="7", rootHash=_TREE.root.hex(), extensions=[])
    ok("extensions", "Extension lines mean nothing, and are kept.", spelled(origin, size, root, "one", "two"), extensions=["one", "two"])
    ok("empty", "A log without entries.", spelled(b="0", c=b64(EMPTY_ROOT)), treeSize="0")
    ok("largest", "The largest tree.", spelled(b=str(2**63 - 1)), treeSize=str(2**63 - 1))
    ok("any-origin", "An origin need not be a key's name.", spelled("go.sum database tree"), origin="go.sum database tree")
    no("empty-with-root", "A log without entries has the empty root.", spelled(b="0"))
    no("too-many-entries", "One entry more.", spelled(b=str(2**63)))
    no("many-digits", "Very many entries.", spelled(b="9" * 5000))
    for name, number in (("leading-zero", "07"), ("plus", "+7"), ("minus", "-7"), ("hex", "0x7"), ("space", " 7"), ("underscore", "1_0"), ("other-digits", "\u0667"), ("no-size", "seven")):
        no(name, "The size has one spelling.", spelled(b=number))
    no("short-root", "A root of 31 bytes.", spelled(c=b64(_TREE.root[:-1])))
    no("stray-bits", "A second spelling of the root.", spelled(c=root[:-2] + ("p" if root[-2] != "p" else "q") + "="), "bad-base64")
    no("crlf", "Lines end with U+000A alone.", _TEXT.replace(b"\n", b"\r\n"), "text-not-allowed")
    no("two-lines", "No root.", spelled()[: -len(root) - 1])
    no("no-origin", "No origin.", spelled(a=""))
    no("long-origin", "An origin of 256 bytes.", spelled(a="x" * 256), "too-large")
    no("empty-extension", "An empty extension line.", spelled(origin, size, root, "", "two"))
    no("unended", "The last line is not ended.", _TEXT[:-1])

    def signed(name: str, description: str, note: bytes, key: VerifierKey, reason: str = "", ids: str = "LOG-07", category: str = "verification") -> None:
        inputs = {"note": b64(note), "key": str(key)}
        if reason:
            book.refuse("log-checkpoint", name, ids, description, inputs, reason, category=category)
        else:
            book.accept("log-checkpoint", name, ids, description, inputs, origin=ORIGIN, treeSize="7")

    key = _LOG.verifier_key
    other = note_signer("other.example", ED25519, SEED)
    signed("signed", "Signed by its log.", _SIGNED, key)
    signed("cosigned", "Cosignatures beside it neither count nor harm.", _cosigned({"w1": NOW, "w2": NOW}), key)
    signed("signed-by-another", "Signed by another key.", encode_note(SignedNote(_TEXT, (other.sign(_TEXT),))), key, "signature-invalid")
    signed("in-anothers-name", "One log signs another log's state.", encode_note(SignedNote(_TEXT, (other.sign(_TEXT),))), other.verifier_key, "key-mismatch")
    signed("another-size", "The size was changed.", _SIGNED.replace(b"\n7\n", b"\n8\n"), key, "signature-invalid")
    signed("extended", "A line was added.", _SIGNED.replace(b"\n\n", b"\nmore\n\n"), key, "signature-invalid")
    signed("witness-as-log", "A witness's key signs no checkpoint.", _cosigned({"w1": NOW}), _WITNESSES["w1"].verifier_key, "signature-invalid")
    signed("short-signature", "Half of a signature.", encode_note(SignedNote(_TEXT, (_LOG.sign(_TEXT)._replace(signature=b"x" * 32),))), key, "signature-invalid")


def _cosignatures(book: Book) -> None:
    witness = _WITNESSES["w1"]

    def inputs(note: bytes, key: VerifierKey = witness.verifier_key) -> dict[str, Any]:
        return {"note": b64(note), "key": str(key)}

    def no(name: str, description: str, note: bytes, key: VerifierKey = witness.verifier_key) -> None:
        book.refuse("log-cosignature", name, "LOG-08", description, inputs(note, key), "signature-invalid", category="verification")

    def put(signature: NoteSignature, note: bytes = _SIGNED) -> bytes:
        return note + encode_signatures((signature,))

    good = cosign(_TEXT, witness, NOW)
    for name, time in (("now", NOW), ("at-the-epoch", 0), ("at-the-end", 2**63 - 1)):
        book.accept("log-cosignature", name, "LOG-08", "Cosigned at a time.", inputs(_cosigned({"w1": time})), time=str(time))
    later = (NOW + 3600).to_bytes(8, "big")
    no("replayed-later", "An old cosignature under a new time (attack A14).", put(good._replace(signature=later + good.signature[8:])))
    newer = sign_checkpoint(_STATE._replace(tree_size=8), _LOG)
    no("replayed-elsewhere", "A cosignature of another checkpoint (attack A14).", put(good, newer))
    no("over-the-text-alone", "A signature over the text is no cosignature.", put(good._replace(signature=later + witness.private_key.sign(_TEXT))))
    far = 2**63
    message = b"cosignature/v1\ntime %d\n%s" % (far, _TEXT)
    no("beyond-the-end", "A time that C2SP does not have, rightly signed.", put(good._replace(signature=far.to_bytes(8, "big") + witness.private_key.sign(message))))
    no("short", "A byte is missing.", put(good._replace(signature=good.signature[:-1])))
    no("long", "A byte is left over.", put(good._replace(signature=good.signature + b"\0")))
    no("no-time", "A signature without a time.", put(good._replace(signature=good.signature[8:])))
    no("missing", "Cosigned by another witness.", _cosigned({"w2": NOW}))
    plain = NoteSigner("w1.example", ED25519, witness.private_key)
    no("plain-key", "A key that is for notes.", put(plain.sign(_TEXT)), plain.verifier_key)


def _tiles(book: Book) -> None:
    for path, level, index, width in (("tile/0/000", 0, 0, 256), ("tile/0/x001/x234/067", 0, 1234067, 256), ("tile/entries/x001/067.p/8", None, 1067, 8), ("tile/63/999.p/255", 63, 999, 255), ("tile/1/017.p/1", 1, 17, 1)):
        book.accept("log-tile-path", path.replace("/", "-"), "LOG-09", "A path.", {"path": path}, level=level, tileIndex=str(index), width=width)
    for name, path in {"needless-group": "tile/0/x000/067", "missing-x": "tile/0/001/067", "x-at-the-end": "tile/0/x001/x067", "unpadded": "tile/0/67", "level-64": "tile/64/000", "level-with-zero": "tile/00/000", "width-256": "tile/0/000.p/256", "width-0": "tile/0/000.p/0", "width-with-zero": "tile/0/000.p/08", "no-width": "tile/0/000.p/", "slash-first": "/tile/0/000", "go-sumdb": "tile/8/0/000", "other": "tile/data/000", "dots": "tile/0/../000", "other-digits": "tile/0/\u0660\u0660\u0660", "newline": "tile/0/000\n", "beyond": "tile/0/" + "x999/" * 6 + "999"}.items():
        book.refuse("log-tile-path", name, "LOG-09", "Not the one spelling of a path.", {"path": path}, "bad-value", category="malformed")
    book.accept("log-tile", "hashes", "LOG-09", "Two hashes.", {"tile": b64(_TREE.root * 2), "width": 2}, hashes=2)
    book.refuse("log-tile", "half-a-hash", "LOG-09", "One and a half.", {"tile": b64((_TREE.root * 2)[:48]), "width": 2}, "bad-value", category="malformed")
    book.refuse("log-tile", "wide", "LOG-09", "A tile of 257 hashes.", {"tile": b64(_TREE.root * 257), "width": 257}, "bad-value", category="malformed")
    book.accept("log-tile", "entries", "LOG-09", "An empty entry, and one of three bytes.", {"entries": b64(b"\0\0\0\3abc")}, entries=2)
    book.accept("log-tile", "256-entries", "LOG-09", "A full bundle.", {"entries": b64(b"\0\0" * 256)}, entries=256)
    book.refuse("log-tile", "257-entries", "LOG-09", "One entry more.", {"entries": b64(b"\0\0" * 257)}, "too-many", category="malformed")
    book.refuse("log-tile", "cut-entry", "LOG-09", "An entry that ends too early.", {"entries": b64(b"\0\4abc")}, "bad-value", category="malformed")
    book.refuse("log-tile", "cut-length", "LOG-09", "A length that ends too early.", {"entries": b64(b"\0\1a\0")}, "bad-value", category="malformed")


def _vkeys(*names: str) -> str:
    return "".join(f"witness {name} {_WITNESSES[name].verifier_key}\n" for name in names)


_POLICY = f"log {_LOG.verifier_key} https://log.example/demo\n{_vkeys('w1', 'w2', 'w3')}group all-of-them 2 w1 w2 w3\nquorum all-of-them\n"


def _proofs(book: Book) -> None:
    leaf = hash_leaf(_ENTRIES[2])
    hashes = inclusion_proof(2, len(_ENTRIES), _TREE.read)
    times = {"w1": NOW + 5, "w3": NOW + 7}
    good = TlogProof(2, hashes, _cosigned(times))
    text = encode_proof(good)

    def inputs(proof: TlogProof | str = good, **changes: Any) -> dict[str, Any]:
        return {"proof": proof if isinstance(proof, str) else encode_proof(proof), "leafHash": leaf.hex(), "policy": b64(_POLICY)} | changes

    def no(name: str, ids: str, description: str, given: dict[str, Any], reason: str, category: str = "malformed") -> None:
        book.refuse("log-proof", name, ids, description, given, reason, category=category)

    told = {name: str(time) for name, time in times.items()}
    book.accept("log-proof", "cosigned", "LOG-10 LOG-11", "A proof under a checkpoint that two witnesses cosigned.", inputs(quorum=True), origin=ORIGIN, leafIndex="2", treeSize="7", witnessTimes=told)
    book.accept("log-proof", "extra", "LOG-10", "With extra data, which nobody signs.", inputs(good._replace(extra=b"extra")), witnessTimes=told)
    book.accept("log-proof", "unwitnessed", "LOG-11", "Nobody cosigned; how many are enough is another question.", inputs(good._replace(checkpoint=_SIGNED)), witnessTimes={})
    one = Tree([_ENTRIES[2]])
    alone = sign_checkpoint(Checkpoint(ORIGIN, 1, one.root), _LOG)
    book.accept("log-proof", "no-hashes", "LOG-10", "The only entry needs no hashes.", inputs(TlogProof(0, (), alone)), treeSize="1")
    stranger = note_signer("stranger.example", COSIGNATURE_ED25519, SEED)
    strange = cosign(_TEXT, stranger, 1)
    book.accept("log-proof", "strangers", "LOG-11", "A cosignature by nobody of the policy, which does not even hold, neither counts nor harms.", inputs(good._replace(checkpoint=good.checkpoint + encode_signatures((strange._replace(signature=bytes(72)),)))), witnessTimes=told)
    mirror = note_signer("mirror.example", ED25519, SEED)
    both = f"log {mirror.verifier_key}\n{_POLICY}"
    book.accept("log-proof", "two-logs-sign", "LOG-11", "Another log of the policy signed, too; the origin says whose tree it is.", inputs(good._replace(checkpoint=_SIGNED + encode_signatures((mirror.sign(_TEXT),))), policy=b64(both)), origin=ORIGIN)

    no("other-format", "LOG-10", "Another first line.", inputs(text.replace("@v1", "@v2", 1)), "unsupported-type")
    no("crlf", "LOG-10", "Lines end with U+000A alone.", inputs(text.replace("\n", "\r\n")), "text-not-allowed")
    no("no-index", "LOG-10", "No index.", inputs(text.replace("index 2\n", "", 1)), "bad-value")
    no("two-indexes", "LOG-10", "Two.", inputs(text.replace("index 2\n", "index 2\nindex 2\n", 1)), "bad-base64")
    no("index-with-zero", "LOG-10", "The index has one spelling.", inputs(text.replace("index 2", "index 02", 1)), "bad-value")
    no("empty-extra", "LOG-10", "No extra data has no line.", inputs(text.replace("index 2", "extra \nindex 2", 1)), "bad-value")
    no("extra-after-index", "LOG-10", "The extra data comes first.", inputs(text.replace("index 2\n", "index 2\nextra eA==\n", 1)), "bad-base64")
    no("two-extras", "LOG-10", "Two of them.", inputs(text.replace("index 2\n", "extra eA==\nextra eA==\nindex 2\n", 1)), "bad-value")
    no("long-extra", "LOG-10", "More than 8192 bytes of it.", inputs(good._replace(extra=b"x" * 8193)), "bad-value")
    no("64-hashes", "LOG-10", "One hash more than the largest tree needs.", inputs(good._replace(hashes=(leaf,) * 64)), "too-many")
    no("short-hash", "LOG-10", "A hash of 31 bytes.", inputs(good._replace(hashes=(leaf[:-1],))), "bad-value")
    no("no-checkpoint", "LOG-10", "No checkpoint.", inputs(text[: text.index("\n\n") + 1]), "bad-value")
    no("too-large", "LOG-10", "Too long to be looked at.", inputs(text + "x" * 100_000 + "\n"), "too-large")
    no("unsigned", "LOG-10", "A checkpoint's text alone.", inputs(good._replace(checkpoint=_TEXT)), "bad-value")

    no("another-leaf", "LOG-11", "The proof of another entry.", inputs(leafHash=hash_leaf(_ENTRIES[3]).hex()), "log-proof-invalid", "verification")
    no("another-index", "LOG-11", "The proof moved to another index.", inputs(good._replace(leaf_index=3)), "log-proof-invalid", "verification")
    no("unknown-log", "LOG-11", "By a log that the policy does not name.", inputs(policy=b64(_POLICY.replace(str(_LOG.verifier_key), str(mirror.verifier_key)))), "log-unknown", "policy")
    no("anothers-tree", "LOG-11", "A log of the policy signed the state of a log that is not in it.", inputs(good._replace(checkpoint=encode_note(SignedNote(_TEXT, (mirror.sign(_TEXT),)))), policy=b64(_POLICY.replace(str(_LOG.verifier_key), str(mirror.verifier_key)))), "log-unknown", "policy")
    no("altered-checkpoint", "LOG-11", "The log did not sign this size.", inputs(text.replace("\n7\n", "\n8\n", 1)), "log-proof-invalid", "verification")
    broken = cosign(_TEXT, _WITNESSES["w2"], NOW)
    no("broken-cosignature", "LOG-11", "One witness of the policy did not sign what stands in its name.", inputs(good._replace(checkpoint=_cosigned(times) + encode_signatures((broken._replace(signature=_flip(broken.signature, 7)),)))), "log-proof-invalid", "verification")
    no("not-enough", "LOG-13", "One of the two witnesses that are needed.", inputs(good._replace(checkpoint=_cosigned({"w1": NOW})), quorum=True), "log-not-witnessed", "policy")


def _policies(book: Book) -> None:
    log = f"log {_LOG.verifier_key}\n"
    three = _vkeys("w1", "w2", "w3")

    def ok(name: str, ids: str, description: str, text: str | bytes, times: dict[str, int] | None = None, **facts: Any) -> None:
        given = {"policy": b64(text)} | ({"times": {name: str(time) for name, time in times.items()}} if times is not None else {})
        book.accept("log-policy", name, ids, description, given, **facts)

    def no(name: str, description: str, text: str | bytes, reason: str = "bad-value") -> None:
        book.refuse("log-policy", name, "LOG-12", description, {"policy": b64(text)}, reason, category="malformed")

    ok("plain", "LOG-12", "A policy in its plainest form.", _POLICY, plain=_POLICY)
    ok("minimal", "LOG-12", "The smallest one.", "quorum none\n", plain="quorum none\n", isQuorum=True)
    ok("as-people-write", "LOG-12", "White space and comments.", f"# ours\n\n\t{log}  {three}\n \t# theirs\ngroup\tg any  w1\tw2 \n\tquorum g\n", plain=f"{log}{three}group g 1 w1 w2\nquorum g\n")
    ok("keywords-as-names", "LOG-12", "Words of the format are names like others.", three.replace("witness w1", "witness all").replace("witness w2", "witness any").replace("witness w3", "witness quorum") + "group group 2 all any quorum\nquorum group\n")
    ok("other-letters", "LOG-12", "Names and addresses may have any letters.", three.replace("witness w1", "witness prüfer") + "quorum prüfer\n")
    vkey = {name: str(signer.verifier_key) for name, signer in _WITNESSES.items()}
    no("crlf", "Of control characters tab and newline alone.", _POLICY.replace("\n", "\r\n"), "text-not-allowed")
    no("del", "Delete is one, too.", _POLICY + "# \x7f\n", "text-not-allowed")
    no("not-utf8", "Not UTF-8.", b"# \xff\n" + _POLICY.encode(), "not-utf8")
    no("unended", "The last line is not ended.", _POLICY[:-1])
    no("too-large", "More than 64 KiB.", "#" + "x" * 65_536 + "\n" + _POLICY, "too-large")
    no("no-quorum-line", "No quorum.", log + three)
    no("two-quorums", "Two.", _POLICY + "quorum none\n")
    no("unknown-quorum", "A quorum that nobody defined.", three + "quorum w4\n")
    no("quorum-too-early", "A quorum that is defined below.", "quorum w1\n" + three)
    no("member-too-early", "A member that is defined below.", f"group g any w1\n{three}quorum g\n")
    no("none-as-member", "`none` is no member.", three + "group g any none w1\nquorum g\n")
    no("own-member", "A group in itself.", three + "group g any g w1\nquorum g\n")
    no("member-twice", "A member twice.", three + "group g 2 w1 w1\nquorum g\n")
    no("member-of-two", "A member of two groups.", three + "group g any w1 w2\ngroup h any w1 w3\nquorum h\n")
    no("no-members", "A group of nobody.", three + "group g all\nquorum g\n")
    for name, threshold in (("zero", "0"), ("more-than-all", "3"), ("leading-zero", "01"), ("negative", "-1"), ("word", "most")):
        no(f"threshold-{name}", "A threshold is from 1 to the number of members.", three + f"group g {threshold} w1 w2\nquorum g\n")
    no("named-none", "`none` is nobody's name.", f"witness none {vkey['w1']}\nquorum none\n", "duplicate-value")
    no("name-twice", "Two of one name.", f"witness w {vkey['w1']}\nwitness w {vkey['w2']}\nquorum w\n", "duplicate-value")
    no("group-named-as-witness", "A group and a witness of one name.", three + "group w1 any w2\nquorum w1\n", "duplicate-value")
    no("key-twice", "One key under two names: one witness that would count twice.", f"witness a {vkey['w1']}\nwitness b {vkey['w1']}\nquorum a\n", "duplicate-value")
    other = VerifierKey("other.example", COSIGNATURE_ED25519, _WITNESSES["w1"].verifier_key.public_key)
    no("key-renamed", "The same key with another name of its own.", f"witness a {vkey['w1']}\nwitness b {other}\nquorum a\n", "duplicate-value")
    own = VerifierKey("own.example", COSIGNATURE_ED25519, _LOG.verifier_key.public_key)
    no("own-witness", "A log that is its own witness.", f"{log}witness own {own}\nquorum own\n", "duplicate-value")
    no("log-twice", "A log twice.", log + log + "quorum none\n", "duplicate-value")
    no("log-with-witness-key", "A witness's key for a log.", f"log {vkey['w1']}\nquorum none\n", "unsupported-type")
    no("witness-with-log-key", "A log's key for a witness.", f"witness a {_LOG.verifier_key}\nquorum a\n", "unsupported-type")
    no("ml-dsa-44", "A witness whose algorithm is not read yet.", f"witness a {_with_id('a.example', 6, bytes(1312))}\nquorum a\n", "unsupported-type")
    no("inline-comment", "A comment has its own line.", f"log {_LOG.verifier_key} https://log.example # ours\nquorum none\n")
    no("not-a-url", "An address that is none.", f"log {_LOG.verifier_key} file:///etc\nquorum none\n")
    no("unknown-word", "An unknown word.", "logs\n" + _POLICY)
    signers = [note_signer(f"n{i}.example", COSIGNATURE_ED25519, SEED) for i in range(33)]
    witnesses = [f"witness n{i} {signer.verifier_key}\n" for i, signer in enumerate(signers)]
    ok("32-witnesses", "LOG-12", "As many as every reader takes.", "".join(witnesses[:32]) + "quorum n0\n")
    no("33-witnesses", "One more.", "".join(witnesses) + "quorum n0\n", "too-many")

    early, late = NOW, NOW + 1000

    def when(seen: int | None, not_before: int | None) -> dict[str, Any]:
        return {"seenBy": None if seen is None else str(seen), "notBefore": None if not_before is None else str(not_before)}

    ok("quorum-two", "LOG-13", "Two of three.", _POLICY, {"w1": early, "w2": late}, isQuorum=True, **when(late, early))
    ok("quorum-three", "LOG-13", "All three: one clock that is wrong moves nothing.", _POLICY, {"w1": early, "w2": late, "w3": 10**12}, isQuorum=True, **when(late, late))
    ok("no-quorum", "LOG-13", "One is not enough.", _POLICY, {"w1": early}, isQuorum=False, **when(None, None))
    ok("strangers-only", "LOG-13", "Names that the policy does not have.", _POLICY, {"w4": early, "all-of-them": early}, isQuorum=False, **when(None, None))
    ok("none", "LOG-13", "Nobody is needed, so nobody vouches for a time.", f"{log}{three}quorum none\n", {"w1": early}, isQuorum=True, **when(None, None))
    ok("one", "LOG-13", "One witness.", f"{log}{three}quorum w2\n", {"w1": late, "w2": early}, isQuorum=True, **when(early, early))
    nested = f"{log}{three}group inner any w2 w3\ngroup outer all w1 inner\nquorum outer\n"
    ok("nested", "LOG-13", "A group in a group.", nested, {"w1": early, "w2": late, "w3": late + 5}, isQuorum=True, **when(late, early))
    ok("nested-late", "LOG-13", "The other way round.", nested, {"w1": late + 9, "w2": early, "w3": late}, isQuorum=True, **when(late + 9, late))
    ok("nested-lacks", "LOG-13", "The inner group alone.", nested, {"w2": early, "w3": late}, isQuorum=False, **when(None, None))
    book.refuse("log-policy", "quorum-missing", "LOG-13", "A quorum is asked for.", {"policy": b64(_POLICY), "times": {"w1": str(early)}, "quorum": True}, "log-not-witnessed", category="policy")


def _leaves(book: Book) -> None:
    digest, key = Digest(_ONE), KeyId(_TWO)
    decision: Leaf = DecisionLeaf("approved", key, digest, digest, digest)
    used: Leaf = UseLeaf((Digest(_ONE), Digest(_TWO)), key, digest, digest, digest)
    trust: Leaf = TrustLeaf((KeyId(_ONE), KeyId(_TWO)), digest)
    for name, leaf in {"approved": decision, "denied": DecisionLeaf("denied", key, digest, digest, digest), "used": used, "used-without": UseLeaf((), key, digest, digest, digest), "trust": trust}.items():
        book.accept("log-leaf", name, "LOG-14 LOG-15", "A leaf.", {"leaf": b64(encode_leaf(leaf))}, leafHash=leaf_hash(leaf).hex())

    def no(name: str, ids: str, description: str, leaf: bytes, reason: str) -> None:
        book.refuse("log-leaf", name, ids, description, {"leaf": b64(leaf)}, reason, category="malformed")

    base = encode_leaf(decision)
    no("a-name", "LOG-14", "A name.", altered(base, {"/person": "alice"}), "unknown-member")
    no("a-target", "LOG-14", "What it is about.", altered(base, {"/payload/name": "deploy"}), "unknown-member")
    no("another-kind", "LOG-14", "Another kind.", altered(base, {"/kind": "seen"}), "bad-value")
    no("no-kind", "LOG-14", "No kind.", altered(base, {"/kind": REMOVED}), "wrong-type")
    no("no-report", "LOG-14", "A decision without a report.", altered(base, {"/report": REMOVED}), "missing-member")
    no("members-of-another", "LOG-14", "A use with a decision's members.", altered(base, {"/kind": "used"}), "missing-member")
    no("text-for-a-digest", "LOG-14", "Text where a digest belongs.", altered(base, {"/payload/sha256": "alice"}), "bad-digest")
    no("a-list", "LOG-14", "A list.", b"[]", "wrong-type")
    no("spaces", "LOG-15", "Another spelling.", base.replace(b",", b", "), "not-canonical")
    no("upper-case", "LOG-15", "Upper-case hexadecimal.", base.replace(b"22", b"AA"), "bad-digest")
    no("too-large", "LOG-15", "More than 16 KiB.", altered(base, {"/kind": "x" * 17_000}), "too-large")
    several = encode_leaf(used)
    no("unsorted", "LOG-15", "Approvals out of order.", altered(several, {"/approvals": [_TWO, _ONE]}), "not-canonical")
    no("approval-twice", "LOG-15", "An approval twice.", altered(several, {"/approvals": [_ONE, _ONE]}), "not-canonical")
    no("17-approvals", "LOG-15", "More than an envelope has signatures.", altered(several, {"/approvals": [f"{i:064x}" for i in range(17)]}), "too-many")
    changed = encode_leaf(trust)
    no("keys-unsorted", "LOG-15", "Keys out of order.", altered(changed, {"/keyids": [_TWO, _ONE]}), "not-canonical")
    no("no-keys", "LOG-15", "A trust change that nobody signed.", altered(changed, {"/keyids": []}), "bad-value")
    no("129-keys", "LOG-15", "Too many keys.", altered(changed, {"/keyids": [f"{i:064x}" for i in range(129)]}), "too-many")


def _records(book: Book) -> None:
    source = world()
    request = run_request(source)
    approval = source.approve(request, ALICE)
    answer = encode_answer(approval)

    def no(name: str, ids: str, description: str, record: bytes, reason: str, category: str = "malformed", kind: str = "log-record", **more: Any) -> None:
        book.refuse(kind, name, ids, description, {"record": b64(record)} | more, reason, category=category)

    text = "Deny: " + json.loads(request.payload)["predicate"]["display"]["text"]
    denied = IntentRequest(altered(request.payload, {"/predicate/decision": "deny", "/predicate/display/text": text}), ())
    bundle = bundle_of(source, denied, Voice(BOB))
    for name, made_by in {"approved": approval, "denied": Answer(bundle.envelope, bundle.reports[0])}.items():
        (signature,) = made_by.envelope.signatures
        report = {"payload": b64(made_by.report.payload), "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": s.keyid, "sig": b64(s.sig)} for s in made_by.report.signatures]}
        leaf = {"keyid": signature.keyid, "kind": name, "payload": {"sha256": sha256_hex(made_by.envelope.payload)}, "report": {"sha256": sha256_hex(encode_canonical(report))}, "signature": {"sha256": sha256_hex(signature.sig)}}
        book.accept("log-record", name, "LOG-16 LOG-14", "A person's decision.", {"record": b64(encode_answer(made_by))}, leaf=encode_canonical(leaf).decode())
    no("another-key-id", "LOG-16", "A key ID that is not the signature's.", altered(answer, {"/envelope/signatures/0/keyid": _ONE}), "key-mismatch", "verification")
    no("another-kind", "LOG-16", "A container of another kind.", altered(answer, {"/mediaType": "application/vnd.placet.request.v1+json"}), "bad-value")
    no("another-spelling", "LOG-16", "Another spelling.", answer.replace(b",", b", "), "not-canonical")

    gate = Key(7)
    use = Use(Digest(_ONE), (Digest(_ONE), Digest(_TWO)), "prod-eu", bytes(range(16)), "action", NOW)
    payload, message = use_message(use)
    made = Signature(KeyId(sha256_hex(gate.der)), in_lower_half(gate.sign(message)))
    record = encode_use_record(Envelope(payload, PAYLOAD_TYPE, (made,)))
    keys = [b64(gate.der)]
    book.accept("log-use", "signed", "LOG-17", "A use by its gate.", {"record": b64(record), "keys": keys}, gate="prod-eu", unit="action", approvals=[_ONE, _TWO])
    book.accept("log-use", "several-keys", "LOG-17", "One of the gate's keys.", {"record": b64(record), "keys": [b64(Key(8).der), *keys]}, gate="prod-eu")
    used = {"approvals": [_ONE, _TWO], "keyid": sha256_hex(gate.der), "kind": "used", "payload": {"sha256": _ONE}, "record": {"sha256": sha256_hex(payload)}, "signature": {"sha256": sha256_hex(made.sig)}}
    book.accept("log-record", "use", "LOG-16 LOG-17", "A use.", {"record": b64(record)}, leaf=encode_canonical(used).decode())
    no("another-gates-key", "LOG-17", "By a key that the gate does not have.", record, "unknown-key", "verification", "log-use", keys=[b64(Key(8).der)])
    no("claimed-key", "LOG-17", "In the name of a key that did not sign it.", altered(record, {"/envelope/signatures/0/keyid": sha256_hex(Key(8).der)}), "signature-invalid", "verification", "log-use", keys=[b64(Key(8).der)])

    r, s = decode_dss_signature(made.sig)
    upper = encode_dss_signature(r, _P256_ORDER - s)
    no("upper-half", "LOG-17", "The second signature that anybody can compute from the first.", altered(record, {"/envelope/signatures/0/sig": b64(upper)}), "signature-invalid", "verification", "log-use", keys=keys)

    def reworded(name: str, description: str, changes: dict[str, Any], reason: str) -> None:
        said = altered(payload, changes)
        envelope = Envelope(said, PAYLOAD_TYPE, (Signature(made.keyid, made.sig),))
        no(name, "LOG-17", description, encode_use_record(envelope), reason, kind="log-use", keys=keys)

    reworded("a-person", "A name in it.", {"/predicate/person": "alice"}, "unknown-member")
    reworded("no-gate", "No gate.", {"/predicate/gate": REMOVED}, "missing-member")
    reworded("short-id", "An ID of 15 bytes.", {"/predicate/id": b64(bytes(15))}, "bad-value")
    reworded("odd-unit", "A unit that is none.", {"/predicate/unit": "everything"}, "bad-digest")
    reworded("odd-time", "A time in another spelling.", {"/predicate/usedAt": "2026-11-23T10:00:00+00:00"}, "bad-time")
    reworded("unsorted", "Approvals out of order.", {"/predicate/approvals": [_TWO, _ONE]}, "not-canonical")
    reworded("another-subject", "A subject of another name.", {"/subject/0/name": "action"}, "bad-value")
    reworded("a-verdict", "Another predicate.", {"/predicateType": "https://slsa.dev/verification_summary/v1"}, "bad-value")
    no("two-signatures", "LOG-17", "Two signatures.", encode_use_record(Envelope(payload, PAYLOAD_TYPE, (made, Signature(KeyId(_ONE), made.sig)))), "too-many", kind="log-use", keys=keys)
    no("no-signature", "LOG-17", "None.", encode_use_record(Envelope(payload, PAYLOAD_TYPE, ())), "bad-value", kind="log-use", keys=keys)

    metadata = b'{\n "signatures": [\n  {"keyid": "%s", "sig": "00"},\n  {"keyid": "%s", "sig": "01"}\n ],\n "signed": {"_type": "root", "version": 2}\n}' % (_TWO.encode(), _ONE.encode())
    changed = {"keyids": [_ONE, _TWO], "kind": "trust", "payload": {"sha256": sha256_hex(metadata)}}
    book.accept("log-record", "trust-change", "LOG-18", "A new root, in the spelling that it was published in.", {"record": b64(encode_trust_record(metadata))}, leaf=encode_canonical(changed).decode())
    no("unsigned-metadata", "LOG-18", "Nobody signed.", encode_trust_record(b'{"signatures":[],"signed":{}}'), "bad-value")
    no("signed-twice", "LOG-18", "One key twice.", encode_trust_record(metadata.replace(_TWO.encode(), _ONE.encode())), "duplicate-value")
    no("no-key-id", "LOG-18", "A signature without a key ID.", encode_trust_record(b'{"signatures":[{"sig":"00"}],"signed":{}}'), "wrong-type")
    no("named-key", "LOG-18", "A name instead of a key ID.", encode_trust_record(b'{"signatures":[{"keyid":"alice","sig":"00"}],"signed":{}}'), "bad-digest")
    no("not-json", "LOG-18", "Not JSON.", encode_trust_record(b"root"), "not-json")
    no("not-base64", "LOG-18", "Not base64.", altered(encode_trust_record(metadata), {"/metadata": "?"}), "bad-base64")
