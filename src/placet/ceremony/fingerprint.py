"""Fingerprints of keys that a person reads aloud, and another types: the same 80 bits as words or as digits.

A key that a change newly enrols came over some courier.  The person who holds it reads its fingerprint aloud,
on a line on which their voice is known; each signing administrator types what they hear.  A courier who put
in a key of their own would have to find one with the same first 80 bits.

What was typed is compared by one rule, whoever asks: ten words in any case, or 20 to 64 hexadecimal digits,
with blanks or hyphens between them as one likes.  A refusal names the wrong place and never the right word,
so that nobody can be talked into correcting themselves.
"""

from __future__ import annotations

import re

from placet.ceremony.voice_words import EVEN_WORDS, ODD_WORDS
from placet.core.encoding import KeyId
from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError

SPOKEN_BYTES = 10
SPOKEN_DIGITS = 2 * SPOKEN_BYTES
_DIGITS = 64
# A line of what anybody reads aloud is far shorter.
_MAX_TYPED = 1024
_GROUP = 4

_SEPARATORS = re.compile(r"[\s-]+")
_HEX = re.compile(r"[0-9a-f]+")
_LISTS = (EVEN_WORDS, ODD_WORDS)
_KNOWN = tuple({word.lower(): byte for byte, word in enumerate(words)} for words in _LISTS)
_SYLLABLES = ("two", "three")

_ASK_AGAIN = (
    "Have the person read it once more, from their own screen. If it stays different, somebody has put in "
    "another key: sign nothing, and let them enrol again."
)


def fingerprint_words(keyid: KeyId) -> tuple[str, ...]:
    """Returns the ten words by which a key is read aloud."""
    spoken = bytes.fromhex(keyid[:SPOKEN_DIGITS])
    return tuple(_LISTS[at % 2][byte] for at, byte in enumerate(spoken))


def fingerprint_digits(keyid: KeyId) -> str:
    """Returns the same 80 bits as the words, in groups of four hexadecimal digits."""
    return " ".join(keyid[at : at + _GROUP] for at in range(0, SPOKEN_DIGITS, _GROUP))


def spoken_fingerprint(keyid: KeyId) -> str:
    """Returns what the holder of a key reads aloud: ten words, and the digits that say the same."""
    return f"{' '.join(fingerprint_words(keyid))} ({fingerprint_digits(keyid)})"


def check_typed_fingerprint(typed: str, keyid: KeyId) -> None:
    """Compares what somebody typed with a key.

    Raises:
        MalformedError: BAD_VALUE: it is too short, too long, or holds what is no word of the list.
        VerificationError: KEY_MISMATCH: it is the fingerprint of another key; the sentence says where.
    """
    if len(typed) > _MAX_TYPED:
        raise _malformed("That is longer than any fingerprint.")
    parts = [part for part in _SEPARATORS.split(typed.lower()) if part]
    if not parts:
        raise _malformed("No fingerprint was typed.")
    if all(_HEX.fullmatch(part) for part in parts):
        _check_digits("".join(parts), keyid)
    else:
        _check_words(parts, keyid)


def _check_digits(digits: str, keyid: KeyId) -> None:
    if not SPOKEN_DIGITS <= len(digits) <= _DIGITS:
        raise _malformed(
            f"{len(digits)} hexadecimal digits were typed; read aloud are {SPOKEN_DIGITS}, or all {_DIGITS}."
        )
    groups = range(0, len(digits), _GROUP)
    other = [
        at for at in groups if digits[at : at + _GROUP] != keyid[at : at + len(digits[at : at + _GROUP])]
    ]
    if other:
        named = [f"group {at // _GROUP + 1}, {digits[at : at + _GROUP]!r}," for at in other]
        raise _mismatch(named, len(groups))


def _check_words(words: list[str], keyid: KeyId) -> None:
    for at, word in enumerate(words[:SPOKEN_BYTES]):
        if word in _KNOWN[at % 2]:
            continue
        if word in _KNOWN[1 - at % 2]:
            raise _malformed(
                f"Word {at + 1}, {word!a}, cannot stand there: the words have two and three syllables by "
                f"turns, and this place has {_SYLLABLES[at % 2]}. One may be missing, or two changed places."
            )
        raise _malformed(f"Word {at + 1}, {word[:32]!a}, is no word of the list.")
    if len(words) != SPOKEN_BYTES:
        raise _malformed(f"{len(words)} words were typed; a fingerprint has {SPOKEN_BYTES}.")
    spoken = bytes.fromhex(keyid[:SPOKEN_DIGITS])
    other = [at for at, word in enumerate(words) if _KNOWN[at % 2][word] != spoken[at]]
    if other:
        raise _mismatch([f"word {at + 1}, {words[at]!r}," for at in other], SPOKEN_BYTES)


def _malformed(message: str) -> PlacetError:
    return MalformedError(
        Reason.BAD_VALUE, message, hint=f"Type the ten words as you hear them, or {SPOKEN_DIGITS} digits."
    )


def _mismatch(other: list[str], parts: int) -> PlacetError:
    # One slip is heard wrongly; where most differs, no slip explains it.
    if 2 * len(other) > parts:
        said = f"This is the fingerprint of another key: {len(other)} of {parts} parts differ."
    else:
        said = f"{' and '.join(other).capitalize()} {'is' if len(other) == 1 else 'are'} not of this key."
    return VerificationError(Reason.KEY_MISMATCH, said, hint=_ASK_AGAIN)
