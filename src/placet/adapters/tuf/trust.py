"""The trust root as TUF metadata: what administrators' and gates' side share (spec/08-trust.md).

`root` and `targets` are signed by administrators' hardware keys, k of n; `snapshot` and `timestamp` by online
keys that only say which versions are current.  TUF counts keys, placet counts people: each key in the root
metadata names its person, and a role in which one person holds two keys is refused on both sides.

python-tuf signs the OLPC canonical form of what it parsed.  What administrators sign is therefore kept as
those exact bytes, and metadata whose bytes would come out differently is refused.
"""

from __future__ import annotations

import datetime
import errno
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import Key, Signature  # type: ignore[attr-defined]
from tuf.api import exceptions as tuf_exceptions
from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization import SerializationError
from tuf.api.serialization.json import CanonicalJSONSerializer, JSONSerializer

from placet.adapters.securesystemslib import SkKey
from placet.core.encoding import KeyId
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
)
from placet.core.sshsig import NAMESPACE_TRUST

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = Root.type, Targets.type, Snapshot.type, Timestamp.type
SIGNED_BY_PEOPLE = (ROOT, TARGETS)
SIGNED_ONLINE = (SNAPSHOT, TIMESTAMP)

DAY = 86_400
# Long where people must come together, short where a machine signs; a small team need not run anything daily.
VALIDITY_SECONDS = {ROOT: 365 * DAY, TARGETS: 90 * DAY, SNAPSHOT: 30 * DAY, TIMESTAMP: 7 * DAY}
# A scope's owners are fewer than the administrators: what they signed lives shorter.
SCOPE_VALIDITY_SECONDS = 30 * DAY
# A snapshot ends with the first role that does.  Gates refresh daily and may miss a day, so rules that end
# sooner are not taken up: otherwise owners who signed for an hour would stop the gate for all others.
SCOPE_LEAST_LEFT_SECONDS = 2 * DAY

_NO_WAY_THERE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED})

Signed = Root | Targets | Snapshot | Timestamp


class Administrator(NamedTuple):
    """A person who signs trust metadata, with the one key that counts for them."""

    person: str
    key: SkKey


def utc(seconds: int) -> datetime.datetime:
    """Returns Unix seconds as python-tuf wants them."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def make_administrator(
    person: str, wire: bytes, *, kind: str, origins: Sequence[str], uv: bool
) -> Administrator:
    """Makes an administrator from a public key in SSH wire form.

    Raises:
        MalformedError: it is not a FIDO key, or a web key without an origin at which it may sign.
    """
    if kind == "webauthn" and not origins:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"The key of {person} signs on a web page, but no page is named.",
            hint="Name the terminal's page with --admin-origin http://<terminal>.<RP ID>:8470",
        )
    return Administrator(
        person, SkKey.from_wire(wire, kind=kind, origins=tuple(origins), uv=uv, person=person)
    )


def build_root(
    administrators: Sequence[Administrator],
    *,
    threshold: int,
    online_keys: Mapping[str, Key],
    version: int,
    expires_at: int,
) -> Root:
    """Builds root metadata in which `threshold` of the administrators sign `root` and `targets`.

    Raises:
        PolicyError: BAD_TRUST for a threshold that cannot be met, or two keys of one person.
    """
    root = Root(version=version, expires=utc(expires_at), consistent_snapshot=True)
    set_administrators(root, administrators, threshold=threshold)
    for role in SIGNED_ONLINE:
        root.add_key(online_keys[role], role)
    return root


def set_administrators(root: Root, administrators: Sequence[Administrator], *, threshold: int) -> None:
    """Makes these people the ones who sign `root` and `targets`, and nobody else.

    Raises:
        PolicyError: BAD_TRUST for a threshold that cannot be met, or two keys of one person.
    """
    if not 1 <= threshold <= len(administrators):
        raise PolicyError(
            Reason.BAD_TRUST,
            f"{threshold} signatures of {len(administrators)} administrators can never be collected.",
            hint="Choose a threshold from 1 to the number of administrators; 2 of 3 survives one lost key.",
        )
    if len({administrator.key.keyid for administrator in administrators}) != len(administrators):
        raise PolicyError(Reason.BAD_TRUST, "Two administrators have the same key.")
    for role in SIGNED_BY_PEOPLE:
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for administrator in administrators:
            root.add_key(administrator.key, role)
        root.roles[role].threshold = threshold
    check_people_hold_one_key(root)


def check_people_hold_one_key(root: Root) -> None:
    """Refuses roles of people in which a key has no person, or a person has two keys.

    Raises:
        PolicyError: BAD_TRUST.
        MalformedError: BAD_TRUST where a role names a key that the root does not hold.
    """
    for role in SIGNED_BY_PEOPLE:
        check_one_key_each(role, list(role_keys(root, role).values()))


def check_one_key_each(role: str, keys: Sequence[Key]) -> None:
    """Refuses a role in which a key has no person, a person has two keys, or one key stands twice.

    Raises:
        PolicyError: BAD_TRUST.
    """
    people: set[str] = set()
    points: set[bytes] = set()
    for key in keys:
        person = person_of(key)
        # The same key under another application has another key ID, and would be a second voice.
        point = key.raw if isinstance(key, SkKey) else b""
        if person in people or point in points:
            raise PolicyError(
                Reason.BAD_TRUST,
                f"Two keys of {person} may sign {role}; thresholds count people, so each may hold one.",
                hint="Keep the spare key in a safe, and replace the lost one in a new root when needed.",
            )
        people.add(person)
        points.add(point)


def person_of(key: Key) -> str:
    """Returns the person that holds a key of root metadata.

    Raises:
        PolicyError: BAD_TRUST where the key is no hardware key, names no person, or is for another purpose.
    """
    person = key.unrecognized_fields.get("person")
    named = isinstance(person, str) and person.isascii() and person.isprintable()
    if not isinstance(key, SkKey) or not isinstance(person, str) or not person or not named:
        raise PolicyError(
            Reason.BAD_TRUST, f"The key {key.keyid[:16]} in the root metadata belongs to no person."
        )
    if key.namespace != NAMESPACE_TRUST:
        # Or what its holder signs as a functionary could pass for a change of the trust root.
        raise PolicyError(
            Reason.BAD_TRUST, f"The key of {person} in the root metadata signs {key.namespace}, not trust."
        )
    return person


def role_keys(delegator: Root | Targets, role: str) -> dict[KeyId, Key]:
    """Returns the keys that may sign a role, as root says it, or targets for a delegated role.

    Raises:
        MalformedError: BAD_TRUST where it says nothing of that role, or does not hold a key that it names.
    """
    try:
        keyids = delegator.get_delegated_role(role).keyids
        return {KeyId(keyid): delegator.get_key(keyid) for keyid in keyids}
    except ValueError as e:
        raise MalformedError(Reason.BAD_TRUST, f"Nothing says who signs {role}: {e}.") from e


def administrators_of(delegator: Root | Targets, role: str = ROOT) -> dict[KeyId, str]:
    """Returns key ID → person for a role that people sign."""
    return {keyid: person_of(key) for keyid, key in role_keys(delegator, role).items()}


def type_of(role: str) -> str:
    """Returns the type of a role's metadata: delegated roles are targets, too."""
    return role if role in (*SIGNED_BY_PEOPLE, *SIGNED_ONLINE) else TARGETS


def encode_signed(signed: Signed) -> bytes:
    """Returns the exact bytes that signatures are made over."""
    return bytes(CanonicalJSONSerializer().serialize(signed))


def parse_signed(data: bytes, role: str) -> Signed:
    """Reads the bytes that `encode_signed` wrote.

    Raises:
        MalformedError: they are not the role's metadata, or python-tuf would sign other bytes than these.
    """
    try:
        members: dict[str, Any] = {"signed": json.loads(data), "signatures": []}
        metadata: Metadata[Any] = Metadata.from_dict(members)
        signed: Signed = metadata.signed
        encoded = encode_signed(signed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SerializationError) as e:
        raise MalformedError(
            Reason.BAD_TRUST, f"The prepared {role} metadata is damaged: {_innermost(e)}."
        ) from e
    if signed.type != type_of(role) or encoded != data:
        raise MalformedError(Reason.BAD_TRUST, f"The prepared bytes are not those of {role} metadata.")
    return signed


def assemble(signed: Signed, signatures: Mapping[KeyId, bytes]) -> bytes:
    """Returns the metadata file of a role that people signed: signature values are SSHSIGs."""
    collected = {str(keyid): Signature(keyid, blob.hex()) for keyid, blob in sorted(signatures.items())}
    metadata: Metadata[Any] = Metadata(cast(Any, signed), collected)
    return bytes(metadata.to_bytes(JSONSerializer()))


def parse_metadata(data: bytes, role: str) -> Metadata[Any]:
    """Reads a metadata file without judging its signatures.

    Raises:
        MalformedError: it is not metadata of this role.
    """
    with named_errors(f"{role}.json"):
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    if metadata.signed.type != type_of(role):
        raise MalformedError(Reason.BAD_TRUST, f"This is no {role} metadata.", actual=metadata.signed.type)
    return metadata


@contextmanager
def named_errors(where: str) -> Iterator[None]:
    """Turns python-tuf's errors into ours.  `where` is the repository or file, for the message."""
    try:
        yield
    except tuf_exceptions.RepositoryError as e:
        raise _name_refusal(e, where) from e
    except (tuf_exceptions.DownloadError, StorageError) as e:
        raise _name_failure(e, where) from e


def _name_refusal(error: tuf_exceptions.RepositoryError, where: str) -> PlacetError:
    """Names what is wrong with metadata or files that were there."""
    match error:
        case tuf_exceptions.ExpiredMetadataError():
            return IndeterminateError(
                Reason.TRUST_EXPIRED,
                f"The trust root at {where} has expired: {error}.",
                hint="An administrator renews it: `placet trust sign --renew` for root and targets, then "
                "`placet trust publish`. If that was done, somebody may be showing you an old copy.",
            )
        case tuf_exceptions.BadVersionNumberError():
            return VerificationError(
                Reason.BAD_TRUST,
                f"The trust root at {where} is older than one that was already accepted here: {error}.",
                hint="Somebody may want to bring back a revoked approver. Refresh from the real repository.",
            )
        case tuf_exceptions.UnsignedMetadataError():
            return VerificationError(
                Reason.BAD_TRUST,
                f"The trust root at {where} is not signed by enough of its administrators: {error}.",
                hint="Refresh from the real repository, or have the missing administrators sign.",
            )
        case tuf_exceptions.LengthOrHashMismatchError():
            return VerificationError(
                Reason.BAD_TRUST,
                f"A file of the trust root at {where} is not the one that was signed: {error}.",
            )
        case _:
            return MalformedError(
                Reason.BAD_TRUST, f"The trust root at {where} is malformed: {error} ({_innermost(error)})."
            )


def _name_failure(error: Exception, where: str) -> PlacetError:
    """Names why a file did not come."""
    match error:
        case tuf_exceptions.DownloadHTTPError():
            return IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"A file of the trust root is missing at {where}: {error}.",
                hint="Check the address; `placet trust publish` writes every file.",
            )
        case tuf_exceptions.DownloadLengthMismatchError():
            return MalformedError(
                Reason.TOO_LARGE,
                f"A file of the trust root at {where} is larger than it may be: {error}.",
                hint="Somebody may want to fill this disk, or it is no trust root: use another source.",
            )
        case _ if why := why_nobody_answers(error):
            return IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"Nobody answers at {where}: {why}.",
                hint="Check the address, and whether the server runs; nothing was changed.",
            )
        case tuf_exceptions.SlowRetrievalError():
            return IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"The trust root at {where} came too slowly: {_innermost(error)}.",
                hint="Try again, or refresh from a copy in a folder or elsewhere. Nothing was changed.",
            )
        case _:
            return IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"The trust root at {where} cannot be read: {_innermost(error)}.",
                hint="Check the address and the network, and try again; nothing was changed.",
            )


def why_nobody_answers(error: BaseException) -> str:
    """Returns why there was no connection at all; "" where there was one.

    urllib3 counts a refused connection among the time-outs, and python-tuf believes it.
    """
    first = _first(error)
    if not isinstance(first, ConnectionRefusedError | socket.gaierror) and (
        not isinstance(first, OSError) or first.errno not in _NO_WAY_THERE
    ):
        return ""
    return (first.strerror or f"{first}").strip(" .").lower()


def _innermost(error: BaseException) -> str:
    """Returns the text of what went wrong first; libraries wrap it in several layers that say less."""
    error = _first(error)
    return f"{error}".strip(" .") or type(error).__name__


def _first(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
