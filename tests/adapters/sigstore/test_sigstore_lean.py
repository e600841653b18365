"""The lean verifier may only say yes, and only where sigstore-python's verifier says yes to the same.

Both judge every real bundle, every form that the private Sigstore makes, and thousands of mutations of them.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from evidence_world import (
    ARTIFACT,
    JOB,
    ROOT,
    STATEMENT,
    Case,
    edited,
    flipped,
    github_attestations,
    go_provenance,
    npm_attestations,
    private_root,
    public_good,
    pypi_attestations,
    verify,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sigstore._internal.tuf import DEFAULT_TUF_URL
from sigstore._utils import read_embedded
from test_sigstore_oracle import stock_accepts

from placet.adapters.sigstore import lean
from placet.adapters.sigstore.lean_roots import load_lean_instance
from placet.core.errors import PlacetError
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, SIGSTORE_MEDIA_TYPES, EvidenceFact
from placet.testing.private_sigstore import PrivateSigstore, Shape

_SLOW = settings(
    max_examples=int(os.environ.get("LEAN_EXAMPLES", "200")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
ENTRY = ("verificationMaterial", "tlogEntries", 0)
CERTIFICATE = ("verificationMaterial", "certificate", "rawBytes")
STAMP = ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps", 0, "signedTimestamp")


class Judged:
    """Verifies a case twice: with the lean verifier, and without it."""

    def __init__(self, case: Case) -> None:
        self.asked: list[bool] = []
        self.facts = self._verify(case, self._lean)
        self.without = self._verify(case, lambda bundle, instances: None)
        self.lean_said_yes = any(self.asked)
        self._case = case

    def _lean(self, bundle: Any, instances: Any) -> Any:
        found = _LEAN(bundle, instances)
        self.asked.append(found is not None)
        return found

    def _verify(self, case: Case, chosen: Any) -> tuple[EvidenceFact, ...] | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lean, "verify_lean", chosen)
            try:
                return verify(case)
            except PlacetError:
                return None

    @property
    def agrees(self) -> bool:
        """Whether the lean verifier left the case alone, or all found the same."""
        if not self.lean_said_yes:
            return self.facts == self.without
        return self.without is not None and self.facts == self.without and self._stock_agrees(self.without[0])

    def _stock_agrees(self, fact: EvidenceFact) -> bool:
        """Whether sigstore-python by itself, without anything of ours, accepts the bundle."""
        if self._case.media_type not in SIGSTORE_MEDIA_TYPES:
            return True  # PyPI's words for a bundle: it reads no others than its own
        assert fact.signer is not None
        root = self._case.files.get(fact.signer.instance)
        return stock_accepts(self._case.content, root or _embedded_root())


@functools.cache
def _embedded_root() -> bytes:
    return read_embedded("trusted_root.json", DEFAULT_TUF_URL)


_LEAN = lean.verify_lean


@functools.cache
def _private() -> tuple[Case, ...]:
    cases = []
    for curve, intermediate in (("P-256", False), ("P-384", True)):
        sigstore = PrivateSigstore(b"lean" + curve.encode(), ca_curve=curve, intermediate=intermediate)  # type: ignore[arg-type]
        files = {ROOT: private_root(sigstore)}
        for rekor in ("v1", "v2", "intoto", "none"):
            for timestamp in (True, False):
                for version in ("0.1", "0.2", "0.3"):
                    shape = Shape(rekor=rekor, timestamp=timestamp, version=version)  # type: ignore[arg-type]
                    name = f"{curve} {rekor} {'stamped' if timestamp else 'plain'} {version}"
                    statement = sigstore.sign_statement(JOB, STATEMENT, shape)
                    cases.append(Case(f"statement {name}", statement, files=files))
                    if rekor != "intoto":
                        artifact = sigstore.sign_artifact(JOB, ARTIFACT, shape)
                        cases.append(Case(f"artifact {name}", artifact, files=files))
    return tuple(cases)


def _real(data: Path) -> Iterator[Case]:
    good = public_good(data)
    for folder in sorted((data / "sigstore-conformance" / "bundle-verify").iterdir()):
        if folder.is_dir():
            root = folder / "trusted_root.json"
            files = {ROOT: root.read_bytes() if root.exists() else good}
            if (folder / "key.pub").exists():
                files["keys/key.pub"] = (folder / "key.pub").read_bytes()
            yield Case(folder.name, (folder / "bundle.sigstore.json").read_bytes(), files=files)
    yield from go_provenance(data)
    yield from npm_attestations(data)
    yield from github_attestations(data)
    yield from pypi_attestations(data)


def test_every_form_of_the_private_sigstore() -> None:
    taken = set()
    for case in _private():
        judged = Judged(case)
        assert judged.agrees, case.name
        if judged.lean_said_yes:
            taken.add(case.name.partition(" ")[2])
    logged = {f"{rekor} stamped 0.3" for rekor in ("v1", "v2")} | {"v1 plain 0.3"}
    assert taken == {f"{curve} {shape}" for curve in ("P-256", "P-384") for shape in logged}


def test_every_real_bundle(test_data: Path) -> None:
    taken = []
    for case in _real(test_data):
        judged = Judged(case)
        assert judged.agrees, case.name
        taken += [case.name] * judged.lean_said_yes
    assert not [name for name in taken if name.endswith("_fail") and name not in _REFUSED_LATER]
    assert len(taken) >= 9, taken


# The suite has these refused for the signer or the artifact, of which a bundle's verification knows nothing.
_REFUSED_LATER = frozenset({"bundle-with-root-cert_fail", "wrong-material_fail"})


def test_the_same_with_every_root_at_once(test_data: Path) -> None:
    """Instances beside each other must not lend each other their keys."""
    sigstore = PrivateSigstore(b"beside")
    github = (test_data / "github" / "trusted_root_github.json").read_bytes()
    both = {"sigstore/private.json": private_root(sigstore), "sigstore/github.json": github}
    for case in (*list(github_attestations(test_data)), *list(pypi_attestations(test_data))):
        assert Judged(case._replace(files=both)).agrees, case.name


@functools.cache
def _seeds() -> tuple[Case, ...]:
    seeds = [case for case in _private() if Judged(case).lean_said_yes]
    data = os.environ.get("PLACET_TEST_DATA")
    if data:
        real = [case for case in _real(Path(data)) if case.media_type != DSSE_MEDIA_TYPE]
        seeds += [case for case in real if Judged(case).lean_said_yes]
    return tuple(seeds)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(lambda place, step: place[step], path, value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path] * bool(path) + [p for name, child in children for p in _places(child, (*path, name))]


def _put(top: Any, path: tuple[Any, ...], value: Any) -> None:
    _at(top, path[:-1])[path[-1]] = value


def _agree(case: Case, top: Any) -> None:
    judged = Judged(case._replace(content=json.dumps(top).encode()))
    assert judged.agrees


@_SLOW
@given(st.data())
def test_bytes_changed_anywhere(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(_seeds()))
    top = json.loads(case.content)
    place = data.draw(st.sampled_from([p for p in _places(top) if _is_base64(_at(top, p))]))
    raw = bytearray(base64.b64decode(_at(top, place)))
    kind = data.draw(st.sampled_from(["flip", "set", "cut", "grow"]))
    where = data.draw(st.integers(0, len(raw) - 1))
    if kind == "flip":
        raw[where] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "set":
        raw[where] = data.draw(st.integers(0, 255))
    elif kind == "cut":
        del raw[where:]
    else:
        raw += data.draw(st.binary(min_size=1, max_size=4))
    _put(top, place, base64.b64encode(raw).decode())
    _agree(case, top)


WORDS = [
    "",
    "0",
    "1",
    "01",
    " 1",
    "-1",
    "9" * 30,
    "AA==",
    "A",
    "v1",
    "0.0.1",
    "0.0.2",
    "dsse",
    "hashedrekord",
]
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-2, 2**70), st.sampled_from(WORDS), st.just([]))


@_SLOW
@given(st.data())
def test_members_of_other_values_and_members_more_or_less(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(_seeds()))
    top = json.loads(case.content)
    place = data.draw(st.sampled_from(_places(top)))
    kind = data.draw(st.sampled_from(["value", "remove", "add", "twice"]))
    holder = _at(top, place[:-1])
    if kind == "value":
        holder[place[-1]] = data.draw(VALUES)
    elif kind == "remove":
        del holder[place[-1]]
    elif isinstance(holder, dict):
        holder[data.draw(st.sampled_from(["x", "integratedTime", "publicKey", "keyid", "hashes"]))] = "1"
    else:
        holder.append(holder[0])
    _agree(case, top)


@_SLOW
@given(st.data())
def test_parts_of_other_bundles(data: st.DataObject) -> None:
    """Certificates, entries, proofs, promises, timestamps, envelopes: each true, and of another bundle."""
    case, other = (data.draw(st.sampled_from(_seeds())) for _ in range(2))
    top, donor = json.loads(case.content), json.loads(other.content)
    shared = [p for p in _places(top) if _has(donor, p)]
    assume(shared)  # a PyPI attestation has other members than a bundle
    for place in data.draw(st.lists(st.sampled_from(shared), min_size=1, max_size=3)):
        if _has(top, place):
            _put(top, place, _at(donor, place))
    _agree(case, top)


@_SLOW
@given(st.data())
def test_spellings_of_the_same(data: st.DataObject) -> None:
    """Base64 without padding or with line ends, numbers as numbers, checkpoints with other line ends."""
    case = data.draw(st.sampled_from(_seeds()))
    top = json.loads(case.content)
    place = data.draw(st.sampled_from([p for p in _places(top) if isinstance(_at(top, p), str)]))
    text = _at(top, place)
    change = data.draw(
        st.sampled_from(
            [
                lambda t: t.rstrip("="),
                lambda t: t + "\n",
                lambda t: t + "=",
                lambda t: t.replace("+", "-").replace("/", "_"),
                lambda t: int(t) if t.isdigit() else t.upper(),
                lambda t: t.replace("\n", "\r\n"),
                lambda t: t + t,
                lambda t: t.replace("\u2014", "-"),
            ]
        )
    )
    _put(top, place, change(text))
    _agree(case, top)


def _has(value: Any, path: tuple[Any, ...]) -> bool:
    try:
        _at(value, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _is_base64(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value) > 8 and bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False


def _whole(rekor: str = "v1") -> Case:
    return next(c for c in _private() if c.name == f"statement P-384 {rekor} stamped 0.3")


@pytest.mark.parametrize("rekor", ["v1", "v2"])
@pytest.mark.parametrize(
    "place",
    [
        CERTIFICATE,
        STAMP,
        (*ENTRY, "canonicalizedBody"),
        (*ENTRY, "inclusionProof", "rootHash"),
        (*ENTRY, "logId", "keyId"),
        ("dsseEnvelope", "payload"),
        ("dsseEnvelope", "signatures", 0, "sig"),
    ],
)
def test_one_bit_is_enough_for_the_lean_verifier_to_say_nothing(rekor: str, place: tuple[Any, ...]) -> None:
    case = _whole(rekor)
    assert Judged(case).lean_said_yes
    altered = Judged(case._replace(content=flipped(case.content, *place)))
    assert not altered.lean_said_yes
    # Rekor v1's promise proves the time without the timestamp; sigstore-python leaves out the false one.
    assert (altered.facts is None) == ((rekor, place) != ("v1", STAMP))


def test_the_promise_and_the_checkpoint_are_the_logs_own() -> None:
    case = _whole("v1")
    promise = (*ENTRY, "inclusionPromise", "signedEntryTimestamp")
    assert Judged(case._replace(content=flipped(case.content, *promise))).facts is None
    note = (*ENTRY, "inclusionProof", "checkpoint", "envelope")
    text = _at(json.loads(case.content), note)
    for changed in (text.replace("\n\n", "\nx\n\n", 1), text.rpartition("\u2014")[0], text + text[-100:]):
        judged = Judged(case._replace(content=edited(case.content, *note, to=changed)))
        assert judged.agrees and not judged.lean_said_yes


def test_another_sigstore_of_the_same_names_lends_nothing() -> None:
    """The authority's names are equal, its keys are not."""
    case = _whole("v2")
    stranger = PrivateSigstore(b"stranger", ca_curve="P-384", intermediate=True)
    judged = Judged(case._replace(files={ROOT: private_root(stranger)}))
    assert judged.facts is None and not judged.lean_said_yes


def test_roots_that_are_unusual_are_left_to_sigstore_python() -> None:
    sigstore = PrivateSigstore(b"roots")
    assert load_lean_instance("x", private_root(sigstore)) is not None
    top = sigstore.trusted_root()
    for place in _places(top):
        changed = json.loads(json.dumps(top))
        if isinstance(_at(changed, place[:-1]), dict):
            _at(changed, place[:-1])["unknown"] = 1
            assert load_lean_instance("x", json.dumps(changed).encode()) is None, place
    assert load_lean_instance("x", json.dumps(top | {"tlogs": top["tlogs"] * 2}).encode()) is None


def test_nothing_of_sigstores_models_is_imported_on_the_way() -> None:
    """What makes a cold verification cheap; a bundle of the common form needs none of it."""
    probe = Path(__file__).with_name("lean_probe.py")
    done = subprocess.run([sys.executable, str(probe)], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"sigstore.verify", "sigstore.models", "pydantic", "requests", "tuf", "rekor_types"}


@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_times_of_the_root_count_alike(rekor: str) -> None:
    """Authorities and logs that were retired before, or count only from later on."""
    case = _whole(rekor)
    root = json.loads(case.files[ROOT])
    refused = 0
    for place in [p for p in _places(root) if p[-1] == "validFor"]:
        for valid_for in (
            {"start": "2001-01-01T00:00:00Z", "end": "2002-01-01T00:00:00Z"},
            {"start": "2099-01-01T00:00:00Z"},
            {"start": "2001-01-01T00:00:00Z", "end": "2099-01-01T00:00:00.5Z"},
        ):
            changed = json.loads(json.dumps(root))
            _put(changed, place, valid_for)
            judged = Judged(case._replace(files={ROOT: json.dumps(changed).encode()}))
            assert judged.agrees, (place, valid_for)
            refused += judged.facts is None
    assert refused >= 4


@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_a_timestamp_twice_is_left_alone(rekor: str) -> None:
    top = json.loads(_whole(rekor).content)
    stamps = _at(top, STAMP[:-2])
    stamps.append(stamps[0])
    judged = Judged(_whole(rekor)._replace(content=json.dumps(top).encode()))
    assert judged.agrees and not judged.lean_said_yes


def test_leaves_on_other_curves_are_left_alone() -> None:
    sigstore = PrivateSigstore(b"curves", leaf_curve="P-384")
    for rekor in ("v1", "v2"):
        content = sigstore.sign_statement(JOB, STATEMENT, Shape(rekor=rekor))  # type: ignore[arg-type]
        judged = Judged(Case("P-384", content, files={ROOT: private_root(sigstore)}))
        assert judged.agrees and not judged.lean_said_yes


@pytest.mark.parametrize("member", ["tlogs", "ctlogs", "timestampAuthorities", "certificateAuthorities"])
@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_what_a_root_does_not_name_vouches_for_nothing(rekor: str, member: str) -> None:
    """The same bundle, with another Sigstore's logs or authorities in the root."""
    case = _whole(rekor)
    stranger = PrivateSigstore(b"stranger", ca_curve="P-384", intermediate=True).trusted_root()
    root = json.loads(case.files[ROOT]) | {member: stranger[member]}
    judged = Judged(case._replace(files={ROOT: json.dumps(root).encode()}))
    assert judged.agrees and not judged.lean_said_yes
    # A log's key under another's name, as whoever writes roots could put it.
    mixed = json.loads(case.files[ROOT])
    if member in ("tlogs", "ctlogs"):
        for own, other in zip(mixed[member], stranger[member], strict=True):
            own["publicKey"] = other["publicKey"]
        judged = Judged(case._replace(files={ROOT: json.dumps(mixed).encode()}))
        assert judged.agrees and not judged.lean_said_yes


@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_what_the_certificates_key_did_not_sign_is_refused_though_the_log_has_it(
    rekor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that does not check signatures must not make one of what is none."""
    for check in ("_check", "_check_digest"):
        monkeypatch.setattr(f"placet.testing.private_sigstore.rekor.{check}", lambda *_: None)
    sigstore = PrivateSigstore(b"careless")
    shape = Shape(rekor=rekor)  # type: ignore[arg-type]
    another = ec.generate_private_key(ec.SECP256R1())
    signatory = sigstore._certified(JOB, shape)._replace(key=another)
    content = sigstore._bundles.sign_statement(signatory, json.dumps(STATEMENT).encode(), shape)
    judged = Judged(Case("careless", content, files={ROOT: private_root(sigstore)}))
    assert judged.facts is None and not judged.lean_said_yes


def test_two_contents_are_left_alone() -> None:
    sigstore = PrivateSigstore(b"both")
    top = json.loads(sigstore.sign_statement(JOB, STATEMENT))
    top["messageSignature"] = json.loads(sigstore.sign_artifact(JOB, ARTIFACT))["messageSignature"]
    judged = Judged(Case("both", json.dumps(top).encode(), files={ROOT: private_root(sigstore)}))
    assert judged.agrees and not judged.lean_said_yes


def test_a_log_may_sign_with_ed25519() -> None:
    """As the public good's Rekor v2 does; the private one has other keys, so this signs anew."""
    case = _whole("v2")
    top, root, key = (
        json.loads(case.content),
        json.loads(case.files[ROOT]),
        ed25519.Ed25519PrivateKey.generate(),
    )
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    log_id = hashlib.sha256(spki).digest()
    old_id = _at(top, (*ENTRY, "logId", "keyId"))
    (log,) = (log for log in root["tlogs"] if log["logId"]["keyId"] == old_id)
    log["logId"]["keyId"] = base64.b64encode(log_id).decode()
    log["publicKey"] |= {"rawBytes": base64.b64encode(spki).decode(), "keyDetails": "PKIX_ED25519"}
    note_at = (*ENTRY, "inclusionProof", "checkpoint", "envelope")
    note = _at(top, note_at).partition("\n\n")[0] + "\n"
    name = note.partition("\n")[0]

    def signed(by: ed25519.Ed25519PrivateKey) -> Case:
        signature = base64.b64encode(log_id[:4] + by.sign(note.encode())).decode()
        _put(top, (*ENTRY, "logId", "keyId"), base64.b64encode(log_id).decode())
        _put(top, note_at, f"{note}\n\u2014 {name} {signature}\n")
        return case._replace(content=json.dumps(top).encode(), files={ROOT: json.dumps(root).encode()})

    judged = Judged(signed(key))
    assert judged.agrees and judged.lean_said_yes
    judged = Judged(signed(ed25519.Ed25519PrivateKey.generate()))
    assert judged.facts is None and not judged.lean_said_yes


@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_a_true_checkpoint_of_another_tree_proves_nothing(rekor: str) -> None:
    """Whoever makes a tree of their own shows the log's checkpoint beside it."""
    sigstore = PrivateSigstore(b"trees")
    files = {ROOT: private_root(sigstore)}
    earlier, later = (
        json.loads(sigstore.sign_statement(JOB, STATEMENT, Shape(rekor=rekor)))  # type: ignore[arg-type]
        for _ in range(2)
    )
    proof = (*ENTRY, "inclusionProof")
    for members in (("checkpoint",), ("checkpoint", "treeSize"), ("checkpoint", "rootHash")):
        top = json.loads(json.dumps(earlier))
        for member in members:
            _put(top, (*proof, member), _at(later, (*proof, member)))
        judged = Judged(Case("trees", json.dumps(top).encode(), files=files))
        assert judged.facts is None and not judged.lean_said_yes, members
    # A tree of one leaf, which anybody can make.
    top = json.loads(json.dumps(earlier))
    body = base64.b64decode(_at(top, (*ENTRY, "canonicalizedBody")))
    alone = base64.b64encode(hashlib.sha256(b"\0" + body).digest()).decode()
    _at(top, proof).update({"logIndex": "0", "treeSize": "1", "hashes": [], "rootHash": alone})
    judged = Judged(Case("trees", json.dumps(top).encode(), files=files))
    assert judged.facts is None and not judged.lean_said_yes


@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_a_path_to_a_root_that_the_log_never_signed_proves_nothing(rekor: str) -> None:
    """A tree of the right size, made up around the entry, beside the log's checkpoint for that size."""
    sigstore = PrivateSigstore(b"paths")
    content = sigstore.sign_statement(JOB, STATEMENT, Shape(rekor=rekor))  # type: ignore[arg-type]
    top = json.loads(content)
    proof = _at(top, (*ENTRY, "inclusionProof"))
    assert (proof["logIndex"], proof["treeSize"], len(proof["hashes"])) == ("1", "2", 1)
    leaf = hashlib.sha256(b"\0" + base64.b64decode(_at(top, (*ENTRY, "canonicalizedBody")))).digest()
    made_up = hashlib.sha256(b"\1" + b"x" * 32 + leaf).digest()
    proof["hashes"] = [base64.b64encode(b"x" * 32).decode()]
    proof["rootHash"] = base64.b64encode(made_up).decode()
    case = Case("paths", json.dumps(top).encode(), files={ROOT: private_root(sigstore)})
    judged = Judged(case)
    assert judged.facts is None and not judged.lean_said_yes
