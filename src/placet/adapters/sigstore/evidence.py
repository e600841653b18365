"""Evidence that was signed: Sigstore bundles, attestations of PyPI, DSSE envelopes (docs/evidence.md).

Implements `placet.ports.evidence_verifier.EvidenceVerifier` for these media types; other evidence is left to
others.  Nothing of Sigstore's or X.509 is imported before there is such evidence, and nothing here ever asks
a network: trusted roots and keys come from the trust root, log entries and timestamps from the bundle.

Leaves out: whom a rule accepts, and what a statement means.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from placet.adapters.sigstore.documents import read_bundle, read_pypi_attestation, to_document
from placet.adapters.sigstore.envelopes import parse_envelope, verify_envelope
from placet.adapters.sigstore.refusals import detail, invalid, not_verified, unsupported
from placet.adapters.trust_files import TrustFiles
from placet.core.decode import Object
from placet.core.encoding import Digest
from placet.core.errors import PlacetError
from placet.core.evidence.attestations import parse_attestation
from placet.core.evidence.facts import (
    DSSE_MEDIA_TYPE,
    PYPI_MEDIA_TYPE,
    SIGNATURE,
    SIGSTORE_MEDIA_TYPES,
    Evidence,
    EvidenceFact,
    kind_of,
)
from placet.core.statement import IntentStatement
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.adapters.sigstore.documents import Document
    from placet.adapters.sigstore.instances import Instance
    from placet.adapters.sigstore.keys import PlainKey
    from placet.adapters.sigstore.lean_roots import LeanInstance
    from placet.adapters.sigstore.verified import Verified

_IN_TOTO = "application/vnd.in-toto+json"
_PUBLIC_GOOD_FILE = "sigstore/trusted_root.json"
# A trust root has a handful of instances and keys; versions of them follow one another.
_MAX_KEPT = 256

Kept = TypeVar("Kept")


class SigstoreEvidence:
    """Verifies signed evidence with the roots and keys of the trust root.  One may serve many threads."""

    def __init__(self, files: TrustFiles) -> None:
        """Names where the trust root's files lie; nothing is read before it is needed."""
        self._files = files
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, str, Digest], object] = OrderedDict()

    def verify(
        self, statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        """Returns what was verified; an envelope with several signers yields a fact for each.

        Raises:
            VerificationError: EVIDENCE_INVALID, EVIDENCE_NOT_LOGGED, EVIDENCE_TIME.
            IndeterminateError: EVIDENCE_UNSUPPORTED, EVIDENCE_NOT_VERIFIED.
            MalformedError: it is not in its format.
        """
        facts: list[EvidenceFact] = []
        for item in evidence:
            try:
                facts += [_fact(item, verified) for verified in self._verify(item, trust)]
            except PlacetError:
                raise
            except ImportError as e:  # nothing was found false: what finds it is not whole here
                raise not_verified(
                    f"A library that verifies this evidence cannot be loaded here: {detail(e)}.",
                    "Install it again with: pip install --force-reinstall 'placet[sigstore]'",
                ) from e
            except Exception as e:  # hostile input reaches every library, and none names all that it raises
                raise invalid(f"The evidence does not verify: {detail(e)}.") from e
        return tuple(facts)

    def _verify(self, item: Evidence, trust: Trust) -> tuple[Verified, ...]:
        if item.media_type in SIGSTORE_MEDIA_TYPES:
            return (self._verify_bundle(read_bundle(item.content), trust),)
        if item.media_type == PYPI_MEDIA_TYPE:
            return (self._verify_bundle(read_pypi_attestation(item.content), trust),)
        if item.media_type == DSSE_MEDIA_TYPE:
            envelope = parse_envelope(item.content)
            _require_sigstore()
            return verify_envelope(envelope, self._keys(trust), lambda: self._instances(trust))
        return ()

    def _verify_bundle(self, bundle: Object, trust: Trust) -> Verified:
        """Asks the lean verifier first; it says yes, or leaves the bundle to sigstore-python."""
        _require_sigstore()
        from placet.adapters.sigstore.lean import verify_lean

        instances = self._lean_instances(trust)
        verified = verify_lean(bundle, instances) if instances else None
        return verified or self._verify_document(bundle, trust)

    def _verify_document(self, bundle: Object, trust: Trust) -> Verified:
        document = to_document(bundle)
        instances = self._instances(trust)
        keys = self._keys(trust) if document.has_key else ()
        return _verify_document(document, keys, instances)

    def _lean_instances(self, trust: Trust) -> tuple[LeanInstance, ...]:
        """Returns the instances that `_instances` would, or none where one is not of the common form."""
        from placet.adapters.sigstore.lean_roots import lean_public_good, load_lean_instance

        names = [n for n in self._files.names(trust, "sigstore/") if n.endswith(".json")]
        found = [self._load(name, trust, load_lean_instance) for name in names]
        if _PUBLIC_GOOD_FILE not in names:
            found.append(lean_public_good())
        instances = tuple(instance for instance in found if instance is not None)
        return instances if len(instances) == len(found) else ()

    def _instances(self, trust: Trust) -> tuple[Instance, ...]:
        """Returns the Sigstore instances of the trust root, the public good's own where it replaces none."""
        _require_sigstore()
        from placet.adapters.sigstore.instances import load_instance, public_good

        names = [n for n in self._files.names(trust, "sigstore/") if n.endswith(".json")]
        found = [self._load(name, trust, load_instance) for name in names]
        if _PUBLIC_GOOD_FILE not in names:
            found.append(public_good())
        return tuple(instance for instance in found if instance is not None)

    def _keys(self, trust: Trust) -> tuple[PlainKey, ...]:
        from placet.adapters.sigstore.keys import load_key, load_verdict_key

        names = [n for n in self._files.names(trust, "keys/") if n.endswith(".pub")]
        files = tuple(self._load(name, trust, load_key) for name in names)
        # What another gate of this deployment says is evidence, too, where a rule names gate and key.
        gates = (
            load_verdict_key(gate.id, key.der) for gate in trust.gates.values() for key in gate.verdict_keys
        )
        return (*files, *gates)

    def _load(self, name: str, trust: Trust, load: Callable[[str, bytes], Kept]) -> Kept:
        """Loads a file of the trust root once for each of its versions."""
        key = (load, name, trust.files[name])
        with self._lock:
            if key in self._kept:
                return self._kept[key]  # type: ignore[return-value]  # what was kept under this name
        loaded = load(name, self._files.read(name, trust))
        with self._lock:
            self._kept[key] = loaded
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return loaded


def _require_sigstore() -> None:
    try:
        import sigstore  # noqa: F401
    except ModuleNotFoundError as e:
        raise not_verified(
            "The evidence is signed with Sigstore, and the library that verifies it is not installed here.",
            "Install it with: pip install 'placet[sigstore]'",
        ) from e


def _verify_document(
    document: Document, keys: tuple[PlainKey, ...], instances: tuple[Instance, ...]
) -> Verified:
    from placet.adapters.sigstore.bundles import EvidenceBundle
    from placet.adapters.sigstore.key_bundles import verify_key_bundle
    from placet.adapters.sigstore.verifier import InstanceVerifier, unknown_instance

    bundle = EvidenceBundle(document)
    if document.has_key:
        return verify_key_bundle(bundle, keys, instances)
    certificate = bundle.signing_certificate
    refusals: list[Exception] = []
    for instance in instances:
        if authorities := instance.authorities_of(certificate):
            try:
                return InstanceVerifier(instance, authorities).verify(bundle)
            except ImportError:  # no instance's refusal: nobody can say
                raise
            except Exception as e:  # the next instance may have the same authority and other logs
                refusals.append(e)
    raise refusals[0] if refusals else unknown_instance()


def _fact(item: Evidence, verified: Verified) -> EvidenceFact:
    if verified.payload is None:
        kind, subjects = SIGNATURE, frozenset({f"sha256:{verified.digest}"})
        predicate_type, predicate = "", {}
    elif verified.payload_type != _IN_TOTO:
        raise unsupported("The signed envelope holds something else than an in-toto statement.")
    else:
        attestation = parse_attestation(verified.payload)
        kind, subjects = kind_of(attestation.predicate_type), attestation.subjects
        predicate_type, predicate = attestation.predicate_type, attestation.predicate
    return EvidenceFact(
        kind,
        item.digest,
        subjects,
        signer=verified.signer,
        signed_at=verified.signed_at,
        predicate_type=predicate_type,
        predicate=predicate,
        logged=verified.logged,
    )
