"""Uses in the log: how a gate's record is signed, and what others take of it (spec/15-use.md).

A use record names the leaves of the approvals that counted, so a monitor can lay every use beside its
approval.  Only a key that the trust root names for the very gate can speak of its uses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from placet.core.bundle import IntentBundle
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature
from placet.core.encoding import Digest, KeyId, sha256_hex
from placet.core.errors import PolicyError, Reason
from placet.core.tlog.decisions import decisions_of
from placet.core.tlog.leaf import leaf_hash
from placet.core.tlog.records import (
    Use,
    encode_use_record,
    in_lower_half,
    parse_use_record,
    use_message,
    verify_use,
)
from placet.core.trust import Trust
from placet.core.verdict.keys import GatePublicKey


def approval_leaves(bundle: IntentBundle, keyids: Collection[KeyId]) -> tuple[Digest, ...]:
    """Returns the hexadecimal leaf hashes of a bundle's decisions by these keys, sorted (USE-14).

    A decision without a terminal's report has no leaf: no log takes it.
    """
    leaves = decisions_of(bundle, sha256_hex(bundle.envelope.payload)).values()
    return tuple(sorted(Digest(leaf_hash(leaf).hex()) for leaf in leaves if leaf.keyid in keyids))


def make_use_record(use: Use, key: GatePublicKey, sign: Callable[[bytes], bytes]) -> bytes:
    """Returns a use's record.

    Args:
        key: the gate's use key.
        sign: signs with it: a DER-encoded ECDSA signature with SHA-256.
    """
    payload, message = use_message(use)
    signature = Signature(KeyId(key.digest), in_lower_half(sign(message)))
    return encode_use_record(Envelope(payload, PAYLOAD_TYPE, (signature,)))


def verify_use_record(record: bytes, trust: Trust) -> Use:
    """Verifies that the gate which a record names made it.

    Raises:
        MalformedError: the bytes are no use record, or not in its one spelling.
        PolicyError: UNKNOWN_GATE.
        VerificationError: UNKNOWN_KEY where the gate has no such use key; SIGNATURE_INVALID.
    """
    parsed = parse_use_record(record)
    gate = trust.gates.get(parsed.use.gate)
    if gate is None:  # USE-13
        raise PolicyError(
            Reason.UNKNOWN_GATE,
            f"The trust root knows no gate {parsed.use.gate!r}.",
            path="/predicate/gate",
            expected=tuple(sorted(trust.gates)),
            hint="An administrator adds it with `placet trust add-gate`; then refresh trust.",
        )
    return verify_use(parsed, gate.use_keys)
