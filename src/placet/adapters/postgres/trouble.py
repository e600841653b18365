"""What a failing database is for whoever uses a store or a ledger: their own errors."""

from __future__ import annotations

from placet.adapters.postgres.connection import Kind, Trouble
from placet.core.errors import IndeterminateError, Reason
from placet.ports.request_store import RequestStoreError, StoreBusyError, StoreFailedError, StoreFullError


def store_error(trouble: Trouble, *, in_doubt: bool = False, is_away: bool = False) -> RequestStoreError:
    """Returns the store's error for a failure.

    Args:
        in_doubt: a commit was under way, so that what became of it is not known.
        is_away: the database was told to be away (`postgres.news`), which is then all that there is to tell.
    """
    error = _store_error(trouble, in_doubt)
    error.operator_knows = is_away
    return error


def _store_error(trouble: Trouble, in_doubt: bool) -> RequestStoreError:
    if in_doubt:
        return StoreFailedError(
            f"{trouble.message} Whether this was stored is not known.",
            hint="Try again: what was stored already is not stored twice.",
        )
    match trouble.kind:
        case Kind.FULL:
            return StoreFullError(trouble.message, hint=f"Nothing was stored. {trouble.hint}")
        case Kind.BUSY | Kind.GONE:
            return StoreBusyError(trouble.message, hint=f"Nothing was stored. {trouble.hint}")
        case Kind.FAILED:
            return StoreFailedError(trouble.message, hint=trouble.hint)


def ledger_error(trouble: Trouble, *, in_doubt: bool = False) -> IndeterminateError:
    """Returns the ledger's error for a failure; gates deny on it.

    Args:
        in_doubt: a use may have been consumed.
    """
    hint = trouble.hint
    if in_doubt:
        hint = f"The use may have been consumed: `placet ledger show` tells. {hint}"
    return IndeterminateError(Reason.LEDGER_UNAVAILABLE, trouble.message, hint=hint)
