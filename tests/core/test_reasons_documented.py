"""Each reason is explained, once, with what to do next; and each is given somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from placet.core.errors import Reason

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"^### ([a-z0-9-]+)\n(.+)$", re.MULTILINE)


def test_the_documentation_has_each_reason_once() -> None:
    found = SECTION.findall((ROOT / "docs" / "reasons.md").read_text())
    assert sorted(name for name, _ in found) == sorted(reason.value for reason in Reason)
    assert all(len(text) > 40 for _, text in found)


def test_undecidable_reasons_are_marked() -> None:
    text = dict(SECTION.findall((ROOT / "docs" / "reasons.md").read_text()))
    marked = {name for name, said in text.items() if said.startswith("*Undecided.*")}
    undecided = {
        vector["expect"]["reason"]
        for path in (ROOT / "vectors").glob("*.json")
        for vector in json.loads(path.read_text()).get("vectors", [])
        if vector["expect"].get("category") == "indeterminate"
    }
    assert len(undecided) > 5
    # No vector can show these: there is no trust or library yet, or what is missing is a relay's answer.
    asking = {"relay-unavailable", "relay-refused", "relay-nonsense", "relay-lied", "approval-pending"}
    signing = {"signing-unavailable", "signing-unfinished"}
    logging = {"log-unavailable", "log-damaged"}
    assert marked == undecided | {"trust-unavailable", "evidence-unsupported"} | asking | signing | logging


def test_each_reason_is_given_somewhere() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py") if path.name != "errors.py")
    unused = [reason.name for reason in Reason if not re.search(rf"Reason\.{reason.name}\b", source)]
    assert unused == []
