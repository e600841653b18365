"""How Sigstore evidence is refused: each refusal with its own reason and a next step.

EVIDENCE_INVALID       a signature, a certificate or a log's proof is false
EVIDENCE_NOT_LOGGED    the entry of the transparency log, or its proof, is missing
EVIDENCE_TIME          nothing proves when it was signed, or it was signed at the wrong time
EVIDENCE_UNSUPPORTED   a form that this version does not read; nobody can say whether it is true
EVIDENCE_NOT_VERIFIED  this machine lacks what it takes: a library, a key, a readable trusted root
"""

from __future__ import annotations

from placet.core.errors import IndeterminateError, Reason, VerificationError

_ASK_AGAIN = "Ask again with evidence that its maker has just made; do not use this artifact until then."
_MAX_DETAIL = 300


def invalid(message: str, *, hint: str = _ASK_AGAIN) -> VerificationError:
    """Returns the refusal of evidence that is false."""
    return VerificationError(Reason.EVIDENCE_INVALID, message, path="/evidence", hint=hint)


def not_logged(message: str) -> VerificationError:
    """Returns the refusal of evidence without an entry, or a proof, of the transparency log."""
    return VerificationError(
        Reason.EVIDENCE_NOT_LOGGED,
        message,
        path="/evidence",
        hint="Fetch the bundle again where it was published; sign again with a client that logs.",
    )


def wrong_time(message: str) -> VerificationError:
    """Returns the refusal of evidence that nothing shows to be signed while its certificate was valid."""
    return VerificationError(
        Reason.EVIDENCE_TIME,
        message,
        path="/evidence",
        hint="Sign again with a client that asks a timestamp authority or a log for a signed time.",
    )


def unsupported(message: str, *, hint: str = "") -> IndeterminateError:
    """Returns the refusal of evidence in a form that this version does not read."""
    return IndeterminateError(
        Reason.EVIDENCE_UNSUPPORTED,
        message,
        path="/evidence",
        hint=hint
        or "Make it in a form that docs/evidence.md lists, such as a Sigstore bundle of version 0.3.",
    )


def not_verified(message: str, hint: str) -> IndeterminateError:
    """Returns the refusal of evidence that could be verified elsewhere, but not with what is here."""
    return IndeterminateError(Reason.EVIDENCE_NOT_VERIFIED, message, path="/evidence", hint=hint)


def detail(error: BaseException) -> str:
    """Returns what another library's error says, in words that fit into a sentence."""
    text = _of_model(error) or (str(error.args[0]) if error.args else "")
    # What follows is a print of whole data structures.
    text = text.split(": expected", 1)[0].split("\n", 1)[0].strip(" .:")
    return text[:_MAX_DETAIL] or type(error).__name__


def _of_model(error: BaseException) -> str:
    """Returns the first finding of a pydantic model, "" for other errors; pydantic is not imported here."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return ""
    found = errors()[0]
    place = ".".join(str(part) for part in found.get("loc", ())) or "the document"
    return f"{place}: {found.get('msg', '')}"
