"""Expectations on external parameters: what whoever starts a build may choose (spec/17-evidence.md).

A build is as trustworthy as the least expected thing that it was told, so everything that a rule does
not list is refused (EVD-11).  A listed text is a pattern as in targets; ``**`` stands for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placet.core.decode import read_ascii, read_map
from placet.core.errors import Reason
from placet.core.evidence.options import refuse
from placet.core.evidence.refusals import unmet
from placet.core.patterns import matches, read_pattern

_MAX_PARAMETERS = 64
_MAX_DEPTH = 8
_ANYTHING = "**"
_NOTHING: tuple[Any, ...] = (None, "", {}, [])


def read_parameters(value: Any, path: str) -> Mapping[str, Any]:
    """Reads the table of parameters that a rule expects.

    Raises:
        MalformedError: WRONG_TYPE, TOO_MANY, BAD_VALUE, BAD_POLICY.
    """
    _check_expected(read_map(value, path, max_items=_MAX_PARAMETERS), path, 0)
    return value  # type: ignore[no-any-return]  # a map, as was just checked


def _check_expected(value: Any, path: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise refuse("The parameters are nested too deeply.", path, f"At most {_MAX_DEPTH} levels are read.")
    if isinstance(value, dict):
        for name, item in read_map(value, path, max_items=_MAX_PARAMETERS).items():
            _check_expected(item, f"{path}/{read_ascii(name, path)}", depth + 1)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_expected(item, f"{path}/{i}", depth + 1)
    elif isinstance(value, str):
        if value:
            read_pattern(value, path)
    elif not isinstance(value, bool | int):
        raise refuse(
            "A parameter is text, a whole number, true, false, a list or a table.", path, "Correct it."
        )


def check_parameters(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    """Checks that the builder was told what the rule expects, and nothing else (EVD-11).

    Raises:
        PolicyError: EVIDENCE_PARAMETERS.
    """
    unexpected = sorted(name for name in actual if name not in expected and actual[name] not in _NOTHING)
    if unexpected:
        raise unmet(
            Reason.EVIDENCE_PARAMETERS,
            f"The build was given the parameter {unexpected[0][:64]!r}, which the rule does not expect.",
            expected=", ".join(sorted(expected)) or "none",
            actual=", ".join(name[:64] for name in unexpected[:8]),
        )
    for name, wanted in expected.items():
        if not _fits(wanted, actual.get(name)):
            raise unmet(
                Reason.EVIDENCE_PARAMETERS,
                f"The external parameter {name[:64]!r} of the build is not what the rule expects.",
                expected=str(wanted)[:200],
                actual=str(actual.get(name))[:200],
                hint="Build with the parameters that the rule lists; an administrator can change the list.",
            )


def _fits(wanted: Any, found: Any) -> bool:
    if wanted == _ANYTHING:
        return True
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and wanted.keys() == found.keys()
            and all(_fits(item, found[name]) for name, item in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(_fits(a, b) for a, b in zip(wanted, found, strict=True))
        )
    if isinstance(wanted, str):
        return isinstance(found, str) and matches(wanted, found)
    # true is not 1 here, whatever Python thinks.
    return type(wanted) is type(found) and bool(wanted == found)
