"""The second touch of `placet approve`: the in-toto link is shown in full, asked for, signed, or left out."""

from __future__ import annotations

import sys
from collections.abc import Callable

from placet.ceremony.decide import Review
from placet.ceremony.link import link_message
from placet.ceremony.second_touch import LinkView, add_link, asked_link
from placet.core.bundle import Answer
from placet.core.errors import PlacetError
from placet.core.sshsig import NAMESPACE_LINK
from placet.core.trust import Trust
from placet.ports.authenticator import Authenticator, AuthenticatorError
from placet.terminal.link_screen import link_section
from placet.terminal.text import render_section, wrap

_WITHOUT = "The approval is signed and counts; it is sent without the in-toto link."


def second_touch(
    review: Review,
    answer: Answer,
    authenticator: Authenticator,
    *,
    trust: Trust,
    now: Callable[[], int],
    colour: bool,
) -> Answer:
    """Returns the answer with its in-toto link, or as it is: nothing that happens here takes it back.

    Args:
        answer: the approval, signed by the first touch.
        now: tells the time at which the link is judged.
    """
    try:
        link = asked_link(review)
        if link is None:
            return answer
        return _ask(review, link, answer, authenticator, trust, now, colour)
    except KeyboardInterrupt:
        print()
    except AuthenticatorError as e:
        print(f"\n{e}")
    except PlacetError as e:
        print("\n".join(["", *wrap(f"{e} {e.hint}".strip(), "")]))
    print("\n".join(wrap(_WITHOUT, "")))
    return answer


def _ask(
    review: Review,
    link: LinkView,
    answer: Answer,
    authenticator: Authenticator,
    trust: Trust,
    now: Callable[[], int],
    colour: bool,
) -> Answer:
    print("\nYour approval is signed. Now the second touch.\n")
    print(render_section(link_section(link), colour=colour))
    print("Type link to sign it with a second touch, anything else to send the approval")
    print("without it: ", end="", flush=True)
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        print()
    if line.strip() != "link":
        print("\n".join(wrap(_WITHOUT, "")))
        return answer
    print("Touch your key when it blinks.", flush=True)
    sshsig = authenticator.sign(NAMESPACE_LINK, link_message(link.payload))
    return add_link(answer, link, sshsig=sshsig, statement=review.statement, trust=trust, now=now())
