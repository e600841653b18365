"""Edits of the list of authenticator models, and who holds keys of them: files in, changed files out.

The format is in `placet.documents.models`.  A trust root in which a key counts as attested and its model is
not allowed cannot be staged, signed or used (TRU-04).  So a model that goes away takes its keys along: they
are replaced, or recorded as less than attested in the same change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from placet.ceremony.trust_edit import decode_file, encode_file, read_deployment
from placet.core.encoding import KeyId
from placet.core.errors import PolicyError, Reason
from placet.core.people import Credential, parse_people
from placet.core.trust import MODELS_FILE, PEOPLE_FILE
from placet.documents.models import Model, encode_models, find_model, read_models
from placet.documents.models import describe_models as describe_models

Files = Mapping[str, bytes]


class Holder(NamedTuple):
    """A key of a person, by its model."""

    person: str
    credential: Credential


def put_models(files: Files, models: Sequence[Model]) -> dict[str, bytes]:
    """Adds models, or replaces those of the same name.

    Raises:
        MalformedError: a value is not accepted, or there are too many.
    """
    kept = [
        old
        for old in read_models(files)
        if not any(find_model([old], new.aaguid, new.key_identifiers) for new in models)
    ]
    return {MODELS_FILE: encode_models(sorted([*kept, *models], key=lambda model: model.id))}


def get_model(files: Files, name: str) -> Model:
    """Returns the model that an administrator names by AAGUID or key identifier.

    Raises:
        PolicyError: MODEL_NOT_ALLOWED: it is not in the list.
    """
    models = read_models(files)
    found = find_model(models, name.lower(), [name.lower()])
    if found is None:
        known = ", ".join(model.id for model in models) or "none"
        raise PolicyError(
            Reason.MODEL_NOT_ALLOWED, f"The trust root lists no model {name}. It lists: {known}."
        )
    return found


def revoke_model(files: Files, name: str) -> dict[str, bytes]:
    """Marks a model as revoked: it stays in the list, and no key of it counts as attested.

    Raises:
        PolicyError: MODEL_NOT_ALLOWED: it is not in the list.
    """
    return put_models(files, [get_model(files, name)._replace(status="revoked")])


def remove_model(files: Files, name: str) -> dict[str, bytes]:
    """Takes a model out of the list.

    Raises:
        PolicyError: MODEL_NOT_ALLOWED: it is not in the list.
    """
    gone = get_model(files, name)
    return {MODELS_FILE: encode_models([model for model in read_models(files) if model != gone])}


def holders(files: Files) -> dict[str, tuple[Holder, ...]]:
    """Returns who holds keys of which model: AAGUID ("" where it is unknown) → keys.

    Raises:
        MalformedError: the files are no trust root.
    """
    found: dict[str, tuple[Holder, ...]] = {}
    for person in parse_people(decode_file(files, PEOPLE_FILE), read_deployment(files)):
        for credential in person.credentials:
            found[credential.aaguid] = (*found.get(credential.aaguid, ()), Holder(person.id, credential))
    return found


def attested_holders(files: Files, aaguid: str) -> tuple[Holder, ...]:
    """Returns the keys that count as attested because this model is allowed."""
    return tuple(
        holder for holder in holders(files).get(aaguid, ()) if holder.credential.assurance == "attested"
    )


def downgrade_keys(files: Files, keyids: Sequence[KeyId], assurance: str) -> dict[str, bytes]:
    """Records attested keys as `vouched` or `software`, as when their model is revoked.

    Raises:
        MalformedError: the files are no trust root.
    """
    value = decode_file(files, PEOPLE_FILE)
    for person in value["people"]:
        for credential in person["credentials"]:
            if credential["keyid"] in keyids:
                credential["assurance"] = assurance
                credential.pop("attestation", None)
    parse_people(value, read_deployment(files))
    return {PEOPLE_FILE: encode_file(value)}
