"""Others' words in a notice: nothing stays of them that could be clicked.

Chat programs make links of anything that looks like one: so of the text only letters, digits and a little
punctuation stay, and dots, colons, slashes and the rest become a middle dot, which joins no domain name.
"""

from __future__ import annotations

import re
import unicodedata

_MAX_SUMMARY = 100
_KEPT_PUNCTUATION = frozenset(" ,-'()")
# Two letters apart, and no program sees an address in it.
_LINK_WORDS = re.compile(r"(?i)(ht)(?=tp)|(ww)(?=w)|(mail)(?=to)|(xn)(?=--)")
# Phones and mail programs offer to call any number that is long enough, however it is spaced.
_MAX_DIGITS = 6
_NUMBER = re.compile(r"\d(?:[ ,'()·-]*\d)+")


def neutralise(text: str) -> str:
    """Returns the first line of a requester's text as something that no program makes a link of."""
    # Compatibility forms first: full-width letters would become ASCII again in somebody's chat program.
    line = unicodedata.normalize("NFKC", text.strip().partition("\n")[0])
    kept = "".join(c if _stays(c) else "·" for c in line)
    kept = re.sub("·{2,}", "·", kept)
    if len(kept) > _MAX_SUMMARY:
        kept = kept[: _MAX_SUMMARY - 1].rstrip() + "…"
    return _NUMBER.sub(_shorten, _LINK_WORDS.sub(lambda found: f"{found[0]}·", kept))


def _shorten(number: re.Match[str]) -> str:
    places = [i for i, c in enumerate(number[0]) if c.isdecimal()]
    return number[0] if len(places) <= _MAX_DIGITS else number[0][: places[_MAX_DIGITS - 1] + 1] + "…"


def _stays(c: str) -> bool:
    # Letters and digits; combining marks could be stacked sky-high.
    return c in _KEPT_PUNCTUATION or unicodedata.category(c) in {"Lu", "Ll", "Lt", "Lo", "Nd"}
