"""The ceremony's sheet as a printer gets it: one page of A4, from a real Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from placet.ceremony.checklist import Sheet, sheet_html
from placet.testing.chromium import ChromiumSession

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("count", [1, 5, 9])
def test_it_prints_on_one_page_of_a4(chromium: ChromiumSession, tmp_path: Path, count: int) -> None:
    sheet = Sheet(
        deployment="production",
        rp_id="production.placet.localhost",
        administrators=tuple(f"administrator-{n}@subsidiary.example.com" for n in range(count)),
        threshold=1,
        draft_root="ab" * 32,
        published_root="",
        new_keys=tuple(f"person-{n}@example.com" for n in range(12)),
        gates=tuple(f"gate-{n}" for n in range(8)),
        valid_until=(("root", "2027-11-23T06:35:52Z"), ("targets", "2027-02-21T06:35:52Z")),
    )
    chromium.page.set_content(sheet_html(sheet))
    printed = chromium.page.pdf(prefer_css_page_size=True)
    chromium.page.goto("about:blank")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1
    (box,) = re.findall(rb"/MediaBox\s*\[([^\]]*)\]", printed)
    width, height = [float(number) for number in box.split()[2:]]
    assert (round(width), round(height)) == (595, 842)
