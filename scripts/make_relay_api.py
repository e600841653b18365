"""Writes docs/relay-api.md from the relay's OpenAPI document; --check only compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from placet.relay._openapi_schemas import STATUS_TEXTS, reasons_of
from placet.relay.openapi import document

PAGE = Path(__file__).parent.parent / "docs" / "relay-api.md"
HEAD = """\
# The relay's API

Written by `scripts/make_relay_api.py` from the document that every relay serves at `/openapi.json`, which
has the schemas of all bodies. `placet.client` is a typed client for it.

{description}
A known caller sends `Authorization: Bearer TOKEN`; the [relay's operator](how-to-run-a-relay.md) gives
tokens out.

"""


def render(api: dict[str, Any]) -> str:
    """Returns the page."""
    parts = [HEAD.format(description=api["info"]["description"])]
    for path, item in api["paths"].items():
        shared = item.get("parameters", [])
        for method, operation in item.items():
            if method != "parameters":
                parts.append(_operation(method.upper(), path, operation, shared))
    parts.append(_refusals())
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]) -> str:
    lines = [
        f"## {method} {path}",
        "",
        f"{operation['summary']}. {operation.get('description', '')}".rstrip(),
        "",
    ]
    for parameter in [*shared, *operation.get("parameters", [])]:
        kind = parameter["in"] + _bounds(parameter["schema"])
        lines.append(f"- `{parameter['name']}` ({kind}): {parameter['description']}")
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        lines.append(f"- body: `{schema}`. {body['description']}")
    for status, reply in operation["responses"].items():
        if "$ref" not in reply:
            lines.append(f"- **{status}**: {reply['description']}")
    refused = [status for status, reply in operation["responses"].items() if "$ref" in reply]
    return "\n".join([*lines, f"- refused with {', '.join(refused)}", ""])


def _bounds(schema: dict[str, Any]) -> str:
    text = f", {' | '.join(schema['enum'])}" if "enum" in schema else ""
    text += f", {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""
    return text + (f", default {schema['default']}" if "default" in schema else "")


def _refusals() -> str:
    lines = ["## Refusals", "", "| status | what it means | reasons |", "|---:|---|---|"]
    for status, text in STATUS_TEXTS.items():
        reasons = ", ".join(f"`{reason}`" for reason in reasons_of(status))
        lines.append(f"| {status} | {text} | {reasons} |")
    lines += ["", "[Reasons](reasons.md) explains those that are not the relay's own.", ""]
    return "\n".join(lines)


def main() -> int:
    """Writes or compares the page; returns the exit code."""
    page = render(document())
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE} is not what the document says; run {sys.executable} {sys.argv[0]}")
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
