"""Writes ``src/placet/core/_unicode_tables.py``: the characters that a statement may not hold.

The tables are those of one Unicode version, whatever Python runs the verifier, so that a
statement admitted by one machine is admitted by all.  Version 14.0 is the oldest that a
supported Python ships (3.11); every later Python normalizes its assigned characters alike
(Unicode Standard Annex 15, section 3, stability).

usage: python3.11 scripts/make_unicode_tables.py
"""

import sys
import unicodedata
from pathlib import Path

VERSION = "14.0.0"
# Control, format, private use, unassigned, surrogate, and all separators; U+0020 alone is kept.
REFUSED = {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp", "Zs"}
TARGET = Path(__file__).parent.parent / "src/placet/core/_unicode_tables.py"
PER_LINE = 10


def main() -> int:
    if unicodedata.unidata_version != VERSION:
        print(f"needs a Python whose unicodedata is {VERSION}, this is {unicodedata.unidata_version}")
        return 2
    boundaries: list[int] = []
    inside = False
    for point in range(sys.maxunicode + 1):
        refused = unicodedata.category(chr(point)) in REFUSED and point != 0x20
        if refused != inside:
            boundaries.append(point)
            inside = refused
    lines = [
        "    " + ", ".join(f"{point:#x}" for point in boundaries[i : i + PER_LINE]) + ","
        for i in range(0, len(boundaries), PER_LINE)
    ]
    TARGET.write_text(
        '"""Characters refused in signed text (Unicode 14.0.0); written by '
        "scripts/make_unicode_tables.py.\n\n"
        "Sorted boundaries: from each even-numbered entry up to, but not including, the next, every code\n"
        "point is of category Cc, Cf, Co, Cn, Cs, Zl, Zp, or Zs other than U+0020.\n"
        '"""\n\n'
        f'UNICODE_VERSION = "{VERSION}"\n'
        "# fmt: off\n"
        "REFUSED_BOUNDARIES = (\n" + "\n".join(lines) + "\n)\n# fmt: on\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
