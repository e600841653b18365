"""How ``placet trust --help`` lists its commands: by what somebody wants to do."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    _Subparsers = argparse._SubParsersAction

GROUPS = {
    "begin": ("init", "checklist"),
    "people and keys": (
        "add-person",
        "edit-person",
        "invite",
        "prove",
        "enroll",
        "replace-key",
        "fingerprint",
        "models",
        "add-issuer",
        "remove-issuer",
        "revoke",
    ),
    "rules and scopes": (
        "set-policy",
        "remove-policy",
        "set-scope",
        "delegate",
        "undelegate",
        "renew-scope",
        "set-file",
        "remove-file",
        "add-action",
    ),
    "administrators": (
        "set-administrators",
        "add-administrator",
        "remove-administrator",
        "replace-administrator",
        "rotate-online-keys",
    ),
    "sign and publish": ("sign", "export", "collect", "discard", "publish", "online-keys", "keep-fresh"),
    "gates and terminals": ("add-gate", "set-gate", "add-terminal", "refresh"),
    "watch": ("status", "show", "history", "verify", "attach"),
}

_COLUMN = 25


class GroupedCommands(_Subparsers):
    """Commands whose summaries argparse does not list by itself, one below the other."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Takes what `ArgumentParser.add_subparsers` gives."""
        super().__init__(*arguments, **named)
        self.summaries: dict[str, str] = {}

    def add_parser(self, name: str, **named: Any) -> argparse.ArgumentParser:
        """Adds a command; its ``help`` is what the list says of it."""
        self.summaries[name] = named.pop("help")
        parser: argparse.ArgumentParser = super().add_parser(name, **named)
        return parser

    def describe(self) -> str:
        """Returns the list, by group."""
        lines = []
        for group, names in GROUPS.items():
            lines.append(f"{group}:")
            lines += [f"  {name:<{_COLUMN - 2}}{self.summaries[name]}" for name in names]
            lines.append("")
        return "\n".join(lines)
