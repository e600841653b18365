"""What a person sees between the two touches: the in-toto link, every leaf of it."""

from __future__ import annotations

from placet.ceremony.link import ACTION_MATERIAL
from placet.ceremony.second_touch import SECTION_LINK, LinkView
from placet.terminal.screen import make_line
from placet.terminal.screen_parts import Block, Note, Section


def link_section(link: LinkView) -> Section:
    """Returns the link in full, one line for each leaf of its bytes."""
    note = Note(
        "plain",
        f"For {', '.join(link.layouts)}: it says that you approved this action and these artifacts, and "
        f"nothing else. {ACTION_MATERIAL} stands for the action with its target and parameters. Your key "
        "signs exactly these lines.",
    )
    return Section(
        SECTION_LINK, (Block((note,), tuple(make_line(i, row) for i, row in enumerate(link.rows))),)
    )
