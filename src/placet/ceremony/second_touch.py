"""The second touch: the in-toto link of the step ``approve``, shown in full and signed by the same key.

A link is another payload than the approval, so it costs a touch of its own: one that is announced before the
first, and that signs nothing which was not shown.  An approval without its link counts in full at the gate;
the link only makes `in_toto_verify` of others agree.  So whatever goes wrong here takes nothing from the
approval, and a courier that strips or swaps a link gains nothing: it could as well withhold the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from placet.ceremony.decide import Review
from placet.ceremony.link import STEP, link_message, link_payload, signed_link, verify_link
from placet.core.bundle import Answer
from placet.core.display import Row, check_complete, escape_value, iter_leaves
from placet.core.dsse import Envelope
from placet.core.encoding import KeyId, parse_json
from placet.core.errors import PlacetError, Reason, VerificationError
from placet.core.policy import Rule
from placet.core.sshsig import NAMESPACE_LINK, key_id, parse_sshsig, signed_data
from placet.core.statement import IntentStatement
from placet.core.trust import Trust

SECTION_LINK = "The in-toto link"
# In the order of the screen: artifacts and action are what the person compares.
_CAPTIONS = {
    "materials": "Material",
    "name": "Step",
    "command": "Command",
    "products": "Products",
    "byproducts": "By-products",
    "environment": "Environment",
    "_type": "Document",
}
# A link names up to as many artifacts as a statement; its own members are few.
_MAX_LINK_BYTES = 256 * 1024


class LinkView(NamedTuple):
    """A link that waits for its touch: its very bytes, one row for each leaf of them, and who asks for it."""

    payload: bytes
    rows: tuple[Row, ...]
    layouts: tuple[str, ...]


def layouts_of(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Returns the layouts for which whoever approves also signs a link."""
    return tuple(sorted({rule.layout for rule in rules if rule.layout}))


def asked_link(review: Review) -> LinkView | None:
    """Returns the link that goes with a decision; None where no rule names a layout, and for a denial.

    Raises:
        MalformedError: SUBJECT_MISMATCH: no link can say what the statement says.
        VerificationError: DISPLAY_INCOMPLETE.
    """
    layouts = layouts_of(review.rules)
    if not layouts or review.statement.decision != "approve":
        return None
    payload = link_payload(review.statement)
    value = parse_json(payload, max_bytes=_MAX_LINK_BYTES, what="in-toto link")
    rows = [
        Row(SECTION_LINK, _caption(pointer), shown, pointer)
        for pointer, shown in sorted(iter_leaves(value), key=lambda leaf: _order(leaf[0]))
    ]
    check_complete(rows, value)
    return LinkView(payload, tuple(rows), layouts)


def _order(pointer: str) -> int:
    return list(_CAPTIONS).index(_names(pointer)[0])


def _names(pointer: str) -> list[str]:
    return [name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/")[1:]]


def _caption(pointer: str) -> str:
    first, *rest = _names(pointer)
    caption = _CAPTIONS[first]
    return " ".join([caption, *map(_word, rest)])


def _word(name: str) -> str:
    """Returns a name so that its blanks cannot pass for the caption's own words."""
    shown = escape_value(name)
    return '"' + shown.replace('"', "\\u{22}") + '"' if " " in name or '"' in name else shown


def announce(link: LinkView | None) -> str:
    """Says before the first touch that there will be two, and what for; "" where there is one."""
    if link is None:
        return ""
    return (
        "To approve takes two touches of your key. The first signs the approval. The second signs the "
        f"in-toto link of the step {STEP}, which {', '.join(link.layouts)} asks for. "
        "The link is shown to you in full before you sign it."
    )


def link_challenge(view: LinkView) -> bytes:
    """Returns the WebAuthn challenge for the link that was shown."""
    return signed_data(NAMESPACE_LINK, link_message(view.payload))


def add_link(
    answer: Answer, view: LinkView, *, sshsig: bytes, statement: IntentStatement, trust: Trust, now: int
) -> Answer:
    """Checks a fresh signature over a link as whoever relies on it will, and adds it to its answer.

    Raises:
        MalformedError, VerificationError, PolicyError: the signature would not count; the answer stays as
            it is.
    """
    (approval,) = answer.envelope.signatures
    if key_id(parse_sshsig(sshsig).public_key) != approval.keyid:
        raise VerificationError(
            Reason.KEY_MISMATCH,
            "Another key signed the link than the approval.",
            hint="Touch the key with which you approved.",
        )
    link = signed_link(view.payload, approval.keyid, sshsig)
    verify_link(link, statement, trust=trust, at=now)
    return answer._replace(link=link)


def check_link(answer: Answer, statement: IntentStatement, *, trust: Trust, at: int) -> Envelope | None:
    """Returns the link of an answer, verified; None where it has none.

    Raises:
        MalformedError, VerificationError, PolicyError: it is another key's or another statement's, or is not
            signed as it must be.
    """
    if answer.link is None:
        return None
    if {s.keyid for s in answer.link.signatures} != {s.keyid for s in answer.envelope.signatures}:
        raise VerificationError(
            Reason.KEY_MISMATCH, "The in-toto link of an answer is signed by another key than the approval."
        )
    verify_link(answer.link, statement, trust=trust, at=at)
    return answer.link


def collect_links(
    answers: Iterable[Answer], approved_at: Mapping[KeyId, int], statement: IntentStatement, trust: Trust
) -> tuple[Envelope, ...]:
    """Returns the good links of approvals that count, one for each key.

    Whoever carries answers may strip links, swap them or add old ones.  A bad link is left out and takes
    nothing from its approval; a good one stays, even where the same approval comes again without it.

    Args:
        approved_at: the keys whose approvals count, each with the time of its decision.
    """
    found: dict[KeyId, Envelope] = {}
    for answer in answers:
        keyid = answer.envelope.signatures[0].keyid
        if keyid not in approved_at:
            continue
        try:
            link = check_link(answer, statement, trust=trust, at=approved_at[keyid])
        except PlacetError:
            continue
        if link is not None:
            found[keyid] = link
    return tuple(found.values())
