"""What must be true of a layout before `in_toto_verify` may see it.

`in_toto_verify` executes the inspections of a layout as commands, and those of every sublayout that a
functionary delegated a step to; it takes a layout without an expiry for one that is always fresh; it counts
keys, not people; and it reads the files that step names lead to.  Each of these is refused here, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.intoto.keys import check_key_types
from placet.core.decode import Object
from placet.core.errors import PolicyError, Reason, VerificationError
from placet.core.trust import Trust


class Parsed(NamedTuple):
    """A layout or link as in-toto loads it, beside the members that it states itself."""

    metadata: Any
    payload: Object


def load_metadata(path: Path, name: str) -> Parsed:
    """Loads a file as `in_toto_verify` will load it: with the same reader, of the same bytes.

    Raises:
        VerificationError: EVIDENCE_LAYOUT: in-toto cannot read it.
    """
    from in_toto.models.metadata import Envelope, Metadata  # type: ignore[import-untyped]

    try:
        metadata = Metadata.load(str(path))
        metadata.get_payload()  # a DSSE payload is looked at only now
        # Which member counts in a file that has both, in-toto decided when it chose the class.
        enveloped = isinstance(metadata, Envelope)
        payload = json.loads(metadata.payload if enveloped else path.read_bytes())
        if not enveloped:
            payload = payload["signed"]
    except Exception as e:  # whatever a hostile file makes it raise, RecursionError included
        raise VerificationError(
            Reason.EVIDENCE_LAYOUT,
            f"in-toto cannot read {name}: {type(e).__name__}: {str(e)[:200]}.",
            hint="Use the file as the in-toto tools wrote it.",
        ) from e
    return Parsed(metadata, payload)


def is_layout(parsed: Parsed) -> bool:
    """Tells whether it is a layout and not a link."""
    return bool(parsed.metadata.get_payload().type_ == "layout")


def check_layout(parsed: Parsed, name: str, people: Mapping[str, str]) -> None:
    """Refuses a layout that must not be verified here.

    Args:
        name: the file's name, for refusals.
        people: key ID → person, of every enrolled key.

    Raises:
        VerificationError: EVIDENCE_LAYOUT.
        PolicyError: EVIDENCE_LAYOUT: one person could meet a threshold alone.
        MalformedError: BAD_KEY.
    """
    layout = parsed.metadata.get_payload()
    if layout.inspect:
        raise VerificationError(
            Reason.EVIDENCE_LAYOUT,
            f"{name} has inspections: commands that in-toto would run on this machine. placet runs none.",
            hint="Take a layout without inspections; do what they check in a step of its own, whose "
            "functionary signs the result.",
        )
    if "expires" not in parsed.payload:
        # in-toto's reader would let it expire a month from now, whenever now is.
        raise VerificationError(
            Reason.EVIDENCE_LAYOUT, f"{name} does not say when it expires.", hint="Its owner adds `expires`."
        )
    check_key_types(layout.keys, name)
    for step in layout.steps:
        if "/" in step.name or "\\" in step.name or "\0" in step.name or step.name.startswith("."):
            raise VerificationError(
                Reason.EVIDENCE_LAYOUT, f"{name} has a step whose name is a path: {step.name[:80]!r}."
            )
        check_distinct_keys(step.name, step.pubkeys, layout.keys, people)


def check_distinct_keys(
    step: str, keyids: list[str], keys: Mapping[str, Object], people: Mapping[str, str]
) -> None:
    """Refuses a step where two keys belong to one person, or are one key: in-toto counts keys.

    Raises:
        PolicyError: EVIDENCE_LAYOUT.
    """
    holders: dict[str, str] = {}
    for keyid in keyids:
        key = keys.get(keyid, {})
        # The same key under two IDs is one functionary, whoever holds it.
        for holder in filter(None, (people.get(keyid), json.dumps(key.get("keyval"), sort_keys=True))):
            if holders.setdefault(holder, keyid) != keyid:
                who = holder if people.get(keyid) == holder else "one functionary"
                raise PolicyError(
                    Reason.EVIDENCE_LAYOUT,
                    f"In the step {step!r}, two keys belong to {who}; in-toto would count them as two.",
                    hint="Name one key of each person: `placet in-toto layout … --key KEYID`.",
                )


def holders_of(trust: Trust) -> dict[str, str]:
    """Returns whose every enrolled key is."""
    return {keyid: person.id for keyid, (person, _) in trust.credentials.items()}
