"""The API as OpenAPI 3.1, served at ``/openapi.json``."""

from __future__ import annotations


def document() -> dict[str, object]:
    """Returns the document."""
    return {"openapi": "3.1.0", "info": {"title": "placet relay", "version": "1"}, "paths": {}}
