"""The keys that a change newly enrols, and the fingerprints by which administrators recognise them.

A key came to whoever prepared the draft over some courier.  Each administrator who signs therefore types, on
their own terminal, the fingerprint that its holder reads aloud; a key that somebody put in is not the one
that is read.  What is new is found by comparing what is published with the very bytes to be signed: a key
that stays with the same holder needs nothing, so that renewals need nothing.

The typed part of a fingerprint is not shown before it was typed: nobody can copy it from this screen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from placet.ceremony.fingerprint import SPOKEN_DIGITS, check_typed_fingerprint, spoken_fingerprint
from placet.ceremony.trust_change import group_digits, visible
from placet.core.decode import read_key_id
from placet.core.encoding import KeyId, parse_json
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason
from placet.core.people import parse_deployment, parse_people, parse_terminals
from placet.core.trust import DEPLOYMENT_FILE, MAX_FILE_BYTES, PEOPLE_FILE, TERMINALS_FILE

Files = Mapping[str, bytes]
_GROUP = 4
_HIDDEN = " ".join(["____"] * (SPOKEN_DIGITS // _GROUP))


class NewKey(NamedTuple):
    """A key, its holder (a person, or a terminal's name), and what it is for from now on."""

    holder: str
    keyid: KeyId
    purposes: tuple[str, ...]

    @property
    def purpose(self) -> str:
        """What the key is for, as one phrase."""
        return " and ".join(self.purposes)


_Holders = dict[tuple[str, KeyId], tuple[str, ...]]


def find_new_keys(
    old_files: Files, new_files: Files, old_metadata: Iterable[bytes], new_metadata: Iterable[bytes]
) -> tuple[NewKey, ...]:
    """Returns the keys that a change gives to somebody who does not hold them in what is published.

    Args:
        old_files: the published target files.
        new_files: those that the bytes to be signed name.
        old_metadata: signed parts of the published root and targets, which name who signs trust.
        new_metadata: the same for the bytes to be signed.

    Raises:
        MalformedError: a file is not what its name says.
    """
    old, new = _holders(old_files, old_metadata), _holders(new_files, new_metadata)
    return tuple(
        NewKey(holder, keyid, purposes)
        for (holder, keyid), purposes in new.items()
        if (holder, keyid) not in old
    )


def _holders(files: Files, metadata: Iterable[bytes]) -> _Holders:
    found: _Holders = {}

    def add(holder: str, keyid: KeyId, purpose: str) -> None:
        before = found.get((holder, keyid), ())
        if purpose not in before:
            found[holder, keyid] = (*before, purpose)

    for message in metadata:
        for holder, keyid, purpose in sorted(_signers(message)):
            add(holder, keyid, purpose)
    if DEPLOYMENT_FILE in files:
        deployment = parse_deployment(_decode(files, DEPLOYMENT_FILE))
        for person in parse_people(_decode(files, PEOPLE_FILE), deployment):
            for credential in person.credentials:
                add(person.id, credential.keyid, f"approves as a person ({credential.assurance})")
        for terminal in parse_terminals(_decode(files, TERMINALS_FILE), deployment):
            add(terminal.id, terminal.keyid, "reports as a terminal")
    return found


def _signers(message: bytes) -> list[tuple[str, KeyId, str]]:
    """Returns who signs trust, as root or targets say it."""
    value: Any = parse_json(message, max_bytes=MAX_FILE_BYTES, what="metadata")
    try:
        if value["_type"] == "root":
            used = {k for role in value["roles"].values() for k in role["keyids"]}
            return [
                (key["person"], read_key_id(keyid, "/keys"), "signs trust as an administrator")
                for keyid, key in value["keys"].items()
                if "person" in key and keyid in used
            ]
        delegations = value.get("delegations") or {"roles": [], "keys": {}}
        return [
            (
                delegations["keys"][keyid]["person"],
                read_key_id(keyid, "/keys"),
                f"signs {', '.join(role['paths'])}",
            )
            for role in delegations["roles"]
            for keyid in role["keyids"]
        ]
    except (KeyError, TypeError, AttributeError) as e:
        raise MalformedError(Reason.BAD_TRUST, "This is no root or targets metadata.") from e


def _decode(files: Files, name: str) -> Any:
    if name not in files:
        raise MalformedError(Reason.BAD_TRUST, f"The trust root has no {name}.")
    return parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name)


class Fingerprints:
    """What one administrator has typed of the new keys of one change."""

    def __init__(self, keys: tuple[NewKey, ...], signer: str | None = None) -> None:
        self.keys, self._signer = keys, signer
        # By holder too: what Zoe read of her key says nothing about Ben, under whose name it stands as well.
        self._typed: set[NewKey] = set()

    def left(self, own: Collection[KeyId] = ()) -> tuple[NewKey, ...]:
        """Returns the keys whose fingerprints are still to be typed.

        Args:
            own: keys that sign here and now, and so prove themselves to be the signer's; no more than that:
                under somebody else's name the same key is still to be asked for.
        """
        return tuple(key for key in self.keys if key not in self._typed and not self.is_own(key, own))

    def is_own(self, key: NewKey, own: Collection[KeyId]) -> bool:
        """Tells whether a key is the signer's and signs here, so that its signature proves it."""
        return key.holder == self._signer and key.keyid in own

    def type(self, key: NewKey, typed: str) -> None:
        """Takes what was typed for a key.

        Raises:
            PlacetError: it is not that key's fingerprint; nothing was taken.
        """
        check_typed_fingerprint(typed, key.keyid)
        self._typed.add(key)

    def type_for(self, holder: str, typed: str) -> NewKey:
        """Takes what was typed for any of a holder's new keys.

        Raises:
            PlacetError: no new key of that holder has this fingerprint.
        """
        keys = [key for key in self.keys if key.holder == holder]
        if not keys:
            raise PolicyError(
                Reason.KEY_MISMATCH,
                f"This change enrols no new key of {holder}.",
                hint="It enrols keys of: "
                + (", ".join(sorted({key.holder for key in self.keys})) or "nobody"),
            )
        refusal: PlacetError | None = None
        for key in keys:
            try:
                self.type(key, typed)
            except PlacetError as e:
                refusal = e
            else:
                return key
        raise PolicyError(
            Reason.KEY_MISMATCH, f"{holder}: {refusal}", hint=refusal.hint if refusal else ""
        ) from refusal

    def check_all_typed(self, own: Collection[KeyId] = ()) -> None:
        """Refuses to go on while a fingerprint is missing.

        Raises:
            PolicyError: KEY_MISMATCH, naming whose.
        """
        if missing := self.left(own):
            holders = ", ".join(visible(key.holder) for key in missing)
            raise PolicyError(
                Reason.KEY_MISMATCH,
                f"The fingerprints of new keys were not typed yet: {holders}.",
                hint="Have each of them read it aloud, and type what you hear. Nothing is signed without.",
            )

    def hide(self, text: str, own: Collection[KeyId] = ()) -> str:
        """Returns text for the screen, without what is still to be typed."""
        for key in self.left(own):
            spoken, rest = group_digits(key.keyid[:SPOKEN_DIGITS]), key.keyid[SPOKEN_DIGITS:]
            text = text.replace(f"{spoken} {group_digits(rest)}", f"{_HIDDEN} {group_digits(rest)}")
        return text

    def show(self, key: NewKey) -> str:
        """Returns a key's fingerprint, what is to be typed only after it was."""
        if any(key.keyid == other.keyid for other in self.left()):
            return self.hide(group_digits(key.keyid))
        return f"{spoken_fingerprint(key.keyid)}, in full {group_digits(key.keyid)}"
