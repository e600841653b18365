"""How people hear that a request waits for them, away from their terminal.

A notice is a tap on the shoulder.  It carries nothing that approves, nothing to click, and
nothing that was verified: whoever gets it goes to the approval terminal and reads there.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class NotifierError(Exception):
    """A group could not be told.  The text names no address, token or other secret of the group's."""


class Notice(NamedTuple):
    """What people are told: plain text."""

    title: str
    body: str


class Notifier(Protocol):
    """Tells groups of people.

    Obligations:

    - **Plain text, as it is.**  Nothing is added that a reader could click: no link, no button, no
      picture from elsewhere; nothing in the text is taken for markup.
    - **Nobody waits for it.**  `notify` never blocks the event loop, and gives up within
      a bounded time.  An ending process does not wait for it either.
    - **No secrets.**  The addresses of the groups, which often hold tokens, appear in no error and no log.
    """

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups."""
        ...

    def groups_for(self, *, target: str, gate: str) -> tuple[str, ...]:
        """Returns the groups that want to hear of requests for this target and gate, both as claimed."""
        ...

    async def notify(self, group: str, notice: Notice) -> None:
        """Tells a group.

        Raises:
            NotifierError: it could not be told, or only in part, or not in time.
        """
        ...
