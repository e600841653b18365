"""placet: did a human consciously approve this specific action, right now?

    import placet

    trust = placet.parse_trust(Path("snapshot.json").read_bytes())
    expected = placet.Expected(target="pkg:pypi/app", subjects={"sha256:…"}, action_type="…")
    approval = placet.verify_for_use(bundle, trust=trust, gate="release", expected=expected, now=now)

`verify_for_use` returns a `VerifiedApproval` or raises a `PlacetError` with a named `Reason`.
It decides offline, from the gate's own trust snapshot.  Single use is the ledger's part:
`placet run`, or `placet.adapters.sqlite.ledger`.
"""

from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
)
from placet.core.trust import Trust, parse_trust
from placet.core.verify import (
    Expected,
    UnsafeAnyAction,
    VerifiedApproval,
    verify_for_audit,
    verify_for_use,
)

__all__ = [
    "Expected",
    "IndeterminateError",
    "MalformedError",
    "PlacetError",
    "PolicyError",
    "Reason",
    "Trust",
    "UnsafeAnyAction",
    "VerificationError",
    "VerifiedApproval",
    "parse_trust",
    "verify_for_audit",
    "verify_for_use",
]
